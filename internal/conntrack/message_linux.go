// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// From linux/netfilter/nfnetlink_conntrack.h: the enums cntl_msg_types, ctattr_type, ctattr_tuple, ctattr_ip and
// ctattr_l4proto.
const (
	messageGet = 1

	attrTupleOrig  = 1
	attrTupleReply = 2

	attrTupleIP    = 1
	attrTupleProto = 2

	attrIPv4Source      = 1
	attrIPv4Destination = 2
	attrIPv6Source      = 3
	attrIPv6Destination = 4

	attrProtoNumber          = 1
	attrProtoSourcePort      = 2
	attrProtoDestinationPort = 3
)

// headerSize is that of struct nfgenmsg: the family, a version and a resource, both 0.
const headerSize = 4

var errNoReply = errors.New("conntrack: the answer has no reply tuple")

// request returns the query for the entry of a TCP connection, by the addresses of its packets before NAT. It requests an
// acknowledgement, because the kernel flags the entry as one of several messages, and something must be the last.
func request(source, destination netip.AddrPort) (netlink.Message, error) {
	family, ipSource, ipDestination := byte(unix.AF_INET), uint16(attrIPv4Source), uint16(attrIPv4Destination)
	if source.Addr().Is6() {
		family, ipSource, ipDestination = unix.AF_INET6, attrIPv6Source, attrIPv6Destination
	}
	if source.Addr().Is6() != destination.Addr().Is6() {
		return netlink.Message{}, fmt.Errorf("conntrack: %s and %s have different address families", source, destination)
	}
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(attrTupleOrig, func(e *netlink.AttributeEncoder) error {
		e.Nested(attrTupleIP, func(e *netlink.AttributeEncoder) error {
			e.Bytes(ipSource, source.Addr().AsSlice())
			e.Bytes(ipDestination, destination.Addr().AsSlice())
			return nil
		})
		e.Nested(attrTupleProto, func(e *netlink.AttributeEncoder) error {
			e.Uint8(attrProtoNumber, unix.IPPROTO_TCP)
			e.Uint16(attrProtoSourcePort, source.Port())
			e.Uint16(attrProtoDestinationPort, destination.Port())
			return nil
		})
		return nil
	})
	attributes, err := e.Encode()
	if err != nil {
		return netlink.Message{}, err
	}
	return netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | messageGet, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append([]byte{family, 0, 0, 0}, attributes...),
	}, nil
}

// sources returns where a connection's first packet came from, and where its packets go after NAT: the source of the replies.
func sources(messages []netlink.Message) (original, reply netip.AddrPort, err error) {
	if len(messages) == 0 || len(messages[0].Data) < headerSize {
		return original, reply, errNoReply
	}
	d, err := netlink.NewAttributeDecoder(messages[0].Data[headerSize:])
	if err != nil {
		return original, reply, err
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case attrTupleOrig:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				original = netip.AddrPortFrom(tupleSource(d))
				return nil
			})
		case attrTupleReply:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				reply = netip.AddrPortFrom(tupleSource(d))
				return nil
			})
		}
	}
	none := netip.AddrPort{}
	if err := d.Err(); err != nil {
		return none, none, err
	}
	if !reply.IsValid() || reply.Port() == 0 {
		return none, none, errNoReply
	}
	return original, reply, nil
}

func tupleSource(d *netlink.AttributeDecoder) (address netip.Addr, port uint16) {
	for d.Next() {
		switch d.Type() {
		case attrTupleIP:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					if d.Type() == attrIPv4Source || d.Type() == attrIPv6Source {
						address, _ = netip.AddrFromSlice(d.Bytes())
					}
				}
				return nil
			})
		case attrTupleProto:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					if d.Type() == attrProtoSourcePort {
						port = d.Uint16()
					}
				}
				return nil
			})
		}
	}
	return address, port
}
