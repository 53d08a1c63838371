// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Address is what is read of an istio.workload.Address: exactly one of the two.
type Address struct {
	Workload *Workload
	Service  *Service
}

// Workload is what is read of an istio.workload.Workload.
type Workload struct {
	UID, Name, Namespace             string
	Addresses                        [][]byte // 4 or 16 bytes each
	Network                          string
	HBONE, HostNetwork               bool
	TrustDomain, ServiceAccount      string
	Node                             string
	CanonicalName, CanonicalRevision string
	WorkloadName                     string
	ClusterID                        string
	Region, Zone                     string            // of its locality
	Services                         map[string][]Port // by NAMESPACE/HOSTNAME
}

// Service is what is read of an istio.workload.Service.
type Service struct {
	Name, Namespace, Hostname string
	Addresses                 []NetworkAddress
	Ports                     []Port
}

// NetworkAddress is an address in a network.
type NetworkAddress struct {
	Network string
	Address []byte
	Range   bool  // it is a range of addresses
	Length  uint8 // of the range's prefix, in bits
}

// Port of a service and of the workloads behind it, as they are sent: not yet known to be ports.
type Port struct{ Service, Target uint32 }

// Decode reads an istio.workload.Address. Fields without a use for telemetry are skipped; the result shares no
// memory with the message. The error names the malformed field.
func Decode(message []byte) (*Address, error) {
	a := &Address{}
	err := fields(message, func(f field) error {
		// Of a oneof the last one counts, and a second part of the same one is merged: that is legal, though no server sends it.
		switch {
		case f.kind != protowire.BytesType:
		case f.number == 1:
			a.Service, a.Workload = nil, orNew(a.Workload)
			return in("workload", f.message(a.Workload.field))
		case f.number == 2:
			a.Workload, a.Service = nil, orNew(a.Service)
			return in("service", f.message(a.Service.field))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if a.Workload == nil && a.Service == nil {
		return nil, errors.New("neither a workload nor a service")
	}
	return a, nil
}

func orNew[T any](t *T) *T {
	if t == nil {
		return new(T)
	}
	return t
}

func in(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (w *Workload) field(f field) error {
	switch f.number {
	case 20:
		return f.text("uid", &w.UID)
	case 1:
		return f.text("name", &w.Name)
	case 2:
		return f.text("namespace", &w.Namespace)
	case 3:
		f.bytes(func(b []byte) { w.Addresses = append(w.Addresses, append([]byte(nil), b...)) })
	case 4:
		return f.text("network", &w.Network)
	case 5:
		f.integer(func(v uint64) { w.HBONE = int32(v) == 1 })
	case 6:
		return f.text("trust_domain", &w.TrustDomain)
	case 7:
		return f.text("service_account", &w.ServiceAccount)
	case 9:
		return f.text("node", &w.Node)
	case 10:
		return f.text("canonical_name", &w.CanonicalName)
	case 11:
		return f.text("canonical_revision", &w.CanonicalRevision)
	case 13:
		return f.text("workload_name", &w.WorkloadName)
	case 18:
		return f.text("cluster_id", &w.ClusterID)
	case 22:
		return in("services", w.membership(f))
	case 24:
		return in("locality", f.message(w.locality))
	case 25:
		f.integer(func(v uint64) { w.HostNetwork = int32(v) == 1 })
	}
	return nil
}

func (w *Workload) locality(f field) error {
	switch f.number {
	case 1:
		return f.text("region", &w.Region)
	case 2:
		return f.text("zone", &w.Zone)
	}
	return nil
}

// membership reads an entry of the map of services.
func (w *Workload) membership(f field) error {
	if f.kind != protowire.BytesType {
		return nil
	}
	var key string
	var ports []Port
	err := f.message(func(f field) error {
		switch f.number {
		case 1:
			return f.text("key", &key)
		case 2:
			return f.message(func(f field) error {
				if f.number != 1 {
					return nil
				}
				return addPort(f, &ports)
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if w.Services == nil {
		w.Services = make(map[string][]Port)
	}
	w.Services[key] = ports
	return nil
}

func (s *Service) field(f field) error {
	switch f.number {
	case 1:
		return f.text("name", &s.Name)
	case 2:
		return f.text("namespace", &s.Namespace)
	case 3:
		return f.text("hostname", &s.Hostname)
	case 4:
		if f.kind != protowire.BytesType {
			return nil
		}
		var a NetworkAddress
		if err := f.message(a.field); err != nil {
			return in("addresses", err)
		}
		s.Addresses = append(s.Addresses, a)
	case 5:
		return in("ports", addPort(f, &s.Ports))
	}
	return nil
}

func (a *NetworkAddress) field(f field) error {
	switch f.number {
	case 1:
		return f.text("network", &a.Network)
	case 2:
		f.bytes(func(b []byte) { a.Address = append([]byte(nil), b...) })
	case 3:
		f.integer(func(v uint64) { a.Range, a.Length = true, uint8(min(uint32(v), 255)) })
	}
	return nil
}

func addPort(f field, to *[]Port) error {
	if f.kind != protowire.BytesType {
		return nil
	}
	var p Port
	err := f.message(func(f field) error {
		switch f.number {
		case 1:
			f.integer(func(v uint64) { p.Service = uint32(v) })
		case 2:
			f.integer(func(v uint64) { p.Target = uint32(v) })
		}
		return nil
	})
	*to = append(*to, p)
	return err
}

// field of a message: value is its content if it has a length, else varint.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  []byte
	varint uint64
}

// fields returns each field of a message in turn.
func fields(message []byte, each func(field) error) error {
	for len(message) > 0 {
		f := field{}
		var n int
		if f.number, f.kind, n = protowire.ConsumeTag(message); n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		switch f.kind {
		case protowire.BytesType:
			f.value, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			f.varint, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(f.number, f.kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// A field of another type than the one it should have is passed over, as one whose number is not known is.

func (f *field) message(each func(field) error) error {
	if f.kind != protowire.BytesType {
		return nil
	}
	return fields(f.value, each)
}

func (f *field) bytes(to func([]byte)) {
	if f.kind == protowire.BytesType {
		to(f.value)
	}
}

func (f *field) text(name string, to *string) error {
	if f.kind != protowire.BytesType {
		return nil
	}
	if !utf8.Valid(f.value) {
		return fmt.Errorf("%s is not UTF-8", name)
	}
	*to = string(f.value)
	return nil
}

func (f *field) integer(to func(uint64)) {
	if f.kind == protowire.VarintType {
		to(f.varint)
	}
}
