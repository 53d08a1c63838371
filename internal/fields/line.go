// SPDX-License-Identifier: Apache-2.0

package fields

import (
	"math/bits"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
)

// Line is a record in the making: the values of its fields, and in one text its body and, behind that, what else was
// formatted for it. So a record's texts are one allocation. It is not safe for concurrent use.
type Line struct {
	fields  []field
	record  record
	present uint64  // the set of the fields that it has, by their place in fields
	values  []value // by the same
	text    []byte
	body    int    // length of the body
	done    string // text, once it is complete
	// The keys of each set of fields that was met, without values: a copy of them costs less than to put each key, which
	// looks for it among all that are there.
	shapes map[uint64]pcommon.Map
}

// value is a number, a string, or a string that the line has between from and to. The field shows which; the others are of an earlier
// record.
type value struct {
	number   int64
	text     string
	from, to int
}

// NewLine returns a line with the fields of a use.
func NewLine(use Use) *Line {
	fields := used(use)
	return &Line{fields: fields, values: make([]value, len(fields)), shapes: make(map[uint64]pcommon.Map)}
}

// Body returns what Kmesh's log has as the line. It is valid after Fill.
func (l *Line) Body() string { return l.done[:l.body] }

// CopyTo adds the fields to attributes, which must be empty.
func (l *Line) CopyTo(attributes pcommon.Map) {
	l.shape().CopyTo(attributes)
	rest := l.present
	for _, to := range attributes.All() {
		i := bits.TrailingZeros64(rest)
		rest &= rest - 1
		switch v := &l.values[i]; {
		case l.fields[i].number != nil:
			to.SetInt(v.number)
		case l.fields[i].format != nil:
			to.SetStr(l.done[v.from:v.to])
		default:
			to.SetStr(v.text)
		}
	}
}

// shape returns the keys of the line's fields, each with an empty value.
func (l *Line) shape() pcommon.Map {
	shape, met := l.shapes[l.present]
	if !met {
		shape = pcommon.NewMap()
		shape.EnsureCapacity(bits.OnesCount64(l.present))
		for i := range l.fields {
			if l.present&(1<<i) != 0 {
				shape.PutEmpty(l.fields[i].name)
			}
		}
		l.shapes[l.present] = shape
	}
	return shape
}

// Fill makes the line of an event.
func (l *Line) Fill(event Event, f *flow.Flow) {
	l.record.set(event, f)
	l.present, l.text = 0, l.text[:0]
	for i := range l.fields {
		if body := l.fields[i].body; body != nil && body(&l.record) {
			l.add(i, true)
		}
	}
	l.body = len(l.text)
	for i := range l.fields {
		if l.present&(1<<i) == 0 {
			l.add(i, false)
		}
	}
	l.done = string(l.text)
}

// add adds a field, and writes it to the body, too, if it is part of that.
func (l *Line) add(i int, body bool) {
	f, v, start := &l.fields[i], &l.values[i], len(l.text)
	switch {
	case f.text != nil:
		text := f.text(&l.record)
		if f.optional && !known(text) {
			return
		}
		v.text = flow.Text(text)
		if body {
			l.begin(f)
			l.text = appendEscaped(l.text, v.text)
		}
	case f.number != nil:
		v.number = f.number(&l.record)
		if body {
			l.begin(f)
			l.text = strconv.AppendInt(l.text, v.number, 10)
		}
	default:
		if body {
			l.begin(f)
		}
		from := len(l.text)
		l.text = f.format(l.text, &l.record)
		if f.optional && len(l.text) == from {
			l.text = l.text[:start]
			return
		}
		v.from, v.to = from, len(l.text)
	}
	l.present |= 1 << i
}

// begin begins a field's part of the body.
func (l *Line) begin(f *field) {
	prefix := f.prefix
	if len(l.text) == 0 {
		prefix = prefix[len(separator):]
	}
	l.text = append(l.text, prefix...)
}

// appendEscaped appends a value to the body. A process may be called anything: its name must not look like another field.
func appendEscaped(to []byte, value string) []byte {
	if strings.IndexByte(value, '=') < 0 && strings.IndexByte(value, '\\') < 0 && !strings.Contains(value, ", ") {
		return append(to, value...)
	}
	for i := range len(value) {
		switch c := value[i]; {
		case c == '=', c == '\\', c == ',' && i+1 < len(value) && value[i+1] == ' ':
			to = append(to, '\\', c)
		default:
			to = append(to, c)
		}
	}
	return to
}
