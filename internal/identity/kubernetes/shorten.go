// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"bytes"
	"errors"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// part is what is used of a protobuf message.
type part struct {
	fields fields
	keys   []string // the message is used, whole, if its first field is one of them: an entry of a map, a condition
}

// fields are those of a message that are used, and what of each; nil: all of it.
type fields map[protowire.Number]*part

var (
	// envelopePrefix is before each object that the API server encodes as protobuf, be it an answer or a watch's event.
	envelopePrefix = []byte{'k', '8', 's', 0}
	errKey         = errors.New("the key is no string")
)

// shorter is what real objects become: a quarter, for which no memory needs to grow.
const shorter = 4

// The fields of the message behind the prefix, a runtime.Unknown.
const (
	envelopeType = 1 // of a message: 1 apiVersion, 2 kind
	envelopeRaw  = 2
)

// shortened returns an encoded object without what is not used of it; false: of an unknown kind, or not understood.
func shortened(data []byte) ([]byte, bool) {
	message, ok := bytes.CutPrefix(data, envelopePrefix)
	if !ok {
		return nil, false
	}
	of := used[kindIn(message)]
	if of == nil {
		return nil, false
	}
	envelope := part{fields: fields{envelopeType: nil, envelopeRaw: of, 3: nil, 4: nil}} // contentEncoding, contentType
	short, err := envelope.appendTo(append(make([]byte, 0, len(data)/shorter), envelopePrefix...), message)
	return short, err == nil
}

// kindIn returns apiVersion/kind; empty: unknown.
func kindIn(envelope []byte) string {
	meta, err := lastBytes(envelope, envelopeType)
	if err != nil {
		return ""
	}
	version, err := lastBytes(meta, 1)
	if err != nil {
		return ""
	}
	kind, err := lastBytes(meta, 2)
	if err != nil {
		return ""
	}
	return string(version) + "/" + string(kind)
}

// lastBytes returns the value of a field that is no number; of several ones the last counts, as in a decoder.
func lastBytes(message []byte, of protowire.Number) (value []byte, err error) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeField(message)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		if number == of {
			if kind != protowire.BytesType {
				return nil, errKey
			}
			value = contentOf(message[:size])
		}
		message = message[size:]
	}
	return value, nil
}

// contentOf returns the content of a field of BytesType that was parsed before.
func contentOf(field []byte) []byte {
	_, _, tag := protowire.ConsumeTag(field)
	content, _ := protowire.ConsumeBytes(field[tag:])
	return content
}

// appendTo appends what is used of a message, in its order.
func (p *part) appendTo(out, message []byte) ([]byte, error) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeField(message)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		field := message[:size]
		message = message[size:]
		of, isUsed := p.fields[number]
		switch {
		case !isUsed:
		case of == nil || kind != protowire.BytesType:
			out = append(out, field...)
		default:
			var err error
			if out, err = of.appendField(out, number, field); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// appendField appends a field whose value is a message. It is left out if nothing of it is used: to what reads the objects, a
// container without ports is as good as none.
func (p *part) appendField(out []byte, number protowire.Number, field []byte) ([]byte, error) {
	content := contentOf(field)
	if p.keys != nil {
		key, err := lastBytes(content, 1)
		if err != nil || !slices.Contains(p.keys, string(key)) {
			return out, err
		}
		return append(out, field...), nil
	}
	// The length is known afterwards, and takes no more room than the present one.
	start := len(out)
	out = protowire.AppendTag(out, number, protowire.BytesType)
	length := len(out)
	out = append(out, make([]byte, protowire.SizeVarint(uint64(len(content))))...)
	begin := len(out)
	out, err := p.appendTo(out, content)
	if err != nil {
		return nil, err
	}
	written := len(out) - begin
	if written == 0 {
		return out[:start], nil
	}
	moved := protowire.AppendVarint(out[:length], uint64(written))
	return append(moved, out[begin:]...), nil
}
