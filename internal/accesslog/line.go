// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"strconv"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// line is a record in the making: the values of its fields, and in one text its body and, behind that, what else was
// formatted for it. So a record's texts are one allocation.
type line struct {
	record  record
	present uint64  // the set of the fields that it has, by their place in fields
	values  []value // by the same
	text    []byte
	body    int // length of the body
}

// value is a number, a string, or a string that the line has between from and to.
type value struct {
	number   int64
	text     string
	from, to int
}

func newLine() line { return line{values: make([]value, len(fields))} }

// fill makes the line of an event.
func (l *line) fill(event Event, f *flow.Flow) {
	l.record.set(event, f)
	l.present, l.text = 0, l.text[:0]
	for i := range fields {
		if body := fields[i].body; body != nil && body(&l.record) {
			l.add(i, true)
		}
	}
	l.body = len(l.text)
	for i := range fields {
		if l.present&(1<<i) == 0 {
			l.add(i, false)
		}
	}
}

// add adds a field, and writes it to the body, too, if it is part of that.
func (l *line) add(i int, body bool) {
	f, v, start := &fields[i], &l.values[i], len(l.text)
	switch {
	case f.text != nil:
		text := f.text(&l.record)
		if f.optional && !known(text) {
			return
		}
		*v = value{text: flow.Text(text)}
		if body {
			l.name(f.name)
			l.text = append(l.text, v.text...)
		}
	case f.number != nil:
		*v = value{number: f.number(&l.record)}
		if body {
			l.name(f.name)
			l.text = strconv.AppendInt(l.text, v.number, 10)
		}
	default:
		if body {
			l.name(f.name)
		}
		from := len(l.text)
		l.text = f.format(l.text, &l.record)
		if f.optional && len(l.text) == from {
			l.text = l.text[:start]
			return
		}
		*v = value{from: from, to: len(l.text)}
	}
	l.present |= 1 << i
}

// name begins a field's part of the body.
func (l *line) name(name string) {
	if len(l.text) > 0 {
		l.text = append(l.text, ", "...)
	}
	l.text = append(l.text, name...)
	l.text = append(l.text, '=')
}
