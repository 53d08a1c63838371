// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Encode writes an istio.workload.Address that Decode reads. Equal addresses have equal bytes.
func Encode(a *Address) []byte {
	if a.Workload != nil {
		return appendMessage(nil, 1, a.Workload.encode())
	}
	return appendMessage(nil, 2, a.Service.encode())
}

func (w *Workload) encode() []byte {
	b := make([]byte, 0, 512)
	b = appendText(b, 1, w.Name)
	b = appendText(b, 2, w.Namespace)
	for _, a := range w.Addresses {
		b = appendMessage(b, 3, a)
	}
	b = appendText(b, 4, w.Network)
	b = appendFlag(b, 5, w.HBONE)
	b = appendText(b, 6, w.TrustDomain)
	b = appendText(b, 7, w.ServiceAccount)
	b = appendText(b, 9, w.Node)
	b = appendText(b, 10, w.CanonicalName)
	b = appendText(b, 11, w.CanonicalRevision)
	b = appendText(b, 13, w.WorkloadName)
	b = appendText(b, 18, w.ClusterID)
	b = appendText(b, 20, w.UID)
	for _, key := range slices.Sorted(maps.Keys(w.Services)) {
		b = appendMessage(b, 22, appendMessage(appendText(nil, 1, key), 2, appendPorts(nil, 1, w.Services[key])))
	}
	if w.Region != "" || w.Zone != "" {
		b = appendMessage(b, 24, appendText(appendText(nil, 1, w.Region), 2, w.Zone))
	}
	return appendFlag(b, 25, w.HostNetwork)
}

func (s *Service) encode() []byte {
	b := appendText(nil, 1, s.Name)
	b = appendText(b, 2, s.Namespace)
	b = appendText(b, 3, s.Hostname)
	for i := range s.Addresses {
		at := &s.Addresses[i]
		n := appendMessage(appendText(nil, 1, at.Network), 2, at.Address)
		if at.Range {
			n = appendNumber(n, 3, uint64(at.Length))
		}
		b = appendMessage(b, 4, n)
	}
	return appendPorts(b, 5, s.Ports)
}

func appendText(b []byte, n protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), text)
}

func appendMessage(b []byte, n protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), message)
}

func appendNumber(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendFlag(b []byte, n protowire.Number, set bool) []byte {
	if !set {
		return b
	}
	return appendNumber(b, n, 1)
}

func appendPorts(b []byte, n protowire.Number, ports []Port) []byte {
	for _, p := range ports {
		b = appendMessage(b, n, appendNumber(appendNumber(nil, 1, uint64(p.Service)), 2, uint64(p.Target)))
	}
	return b
}

// AddressOf returns a workload as the workload API has it. What converting it yields has the same names.
func AddressOf(w *identity.Workload) *Address {
	names := w.Names.Value()
	out := &Workload{
		UID: w.UID, Name: known(w.Name), Namespace: known(w.Namespace()), Node: w.NodeName.String(),
		HBONE: w.Tunnel == identity.TunnelHBONE, HostNetwork: w.HostNetwork,
		WorkloadName: known(names.Workload), CanonicalName: known(names.CanonicalService),
		CanonicalRevision: known(names.CanonicalRevision), ClusterID: known(names.Cluster),
	}
	topology := w.Topology()
	out.Region, out.Zone = known(topology.Region), known(topology.Zone)
	for _, a := range w.Addresses {
		out.Addresses = append(out.Addresses, a.AsSlice())
	}
	if domain, account, ok := partsOf(names.Principal); ok {
		out.TrustDomain, out.ServiceAccount = domain, account
	}
	for i := range w.Services {
		m := &w.Services[i]
		if out.Services == nil {
			out.Services = make(map[string][]Port, len(w.Services))
		}
		out.Services[ServiceName(m.Service)] = ports(m.Ports)
	}
	return &Address{Workload: out}
}

// AddressOfService is AddressOf for a service.
func AddressOfService(s *identity.Service) *Address {
	out := &Service{Name: known(s.Name), Namespace: known(s.Namespace), Hostname: s.Host, Ports: ports(s.Ports)}
	for _, a := range s.Addresses {
		out.Addresses = append(out.Addresses, NetworkAddress{Address: a.AsSlice()})
	}
	return &Address{Service: out}
}

// ServiceName is the name of a service's resource: NAMESPACE/HOSTNAME.
func ServiceName(key identity.ServiceKey) string { return known(key.Namespace) + "/" + key.Host }

// AddressName is the name by which an address in a network is asked for: NETWORK/IP.
func AddressName(network string, a netip.Addr) string { return network + "/" + a.String() }

// ParseAddressName reads what AddressName writes. Names of other resources are no such names.
func ParseAddressName(name string) (network string, a netip.Addr, ok bool) {
	network, text, found := strings.Cut(name, "/")
	if !found {
		return "", netip.Addr{}, false
	}
	a, err := netip.ParseAddr(text)
	return network, a.Unmap(), err == nil && a.Zone() == ""
}

// partsOf takes a principal apart.
func partsOf(principal string) (domain, account string, ok bool) {
	rest, ok := strings.CutPrefix(principal, "spiffe://")
	if !ok {
		return "", "", false
	}
	domain, rest, ok = strings.Cut(rest, "/ns/")
	if !ok {
		return "", "", false
	}
	_, account, ok = strings.Cut(rest, "/sa/")
	return domain, account, ok
}

// known is empty for what is not known, which is how the workload API says so.
func known(text string) string {
	if text == identity.Unknown {
		return ""
	}
	return text
}

func ports(all []identity.Port) []Port {
	out := make([]Port, len(all))
	for i, p := range all {
		out[i] = Port{Service: uint32(p.Service), Target: uint32(p.Target)}
	}
	return out
}

// Provenance is what a directory knows of a workload that the workload API has no field for. It travels in the resource's
// metadata, where istiod has nothing.
type Provenance struct {
	From, Sure time.Time // as in identity.Span; a zero From: not known
	Reported   bool      // likewise
	Pod        identity.PodUID
	Node       bool // it is a node
	Claimed    bool // as in identity.Workload
}

// The keys of the metadata. Times are ns since 1970, as text: a number of JSON is too short.
const (
	provenanceKey = "kmesh.directory"
	fromKey       = "from"
	sureKey       = "sure"
	reportedKey   = "reported"
	podKey        = "pod" // 32 hexadecimal digits
	nodeKey       = "node"
	claimedKey    = "claimed"
)

// NewResource makes the resource of an address, with a version that is the same wherever its content is.
func NewResource(name string, a *Address, p Provenance) *discovery.Resource {
	message := Encode(a)
	hash := fnv.New64a()
	_, _ = hash.Write(message)
	_, _ = hash.Write(p.Pod[:])
	return &discovery.Resource{
		Name: name, Version: strconv.FormatUint(hash.Sum64(), 36),
		Resource: &anypb.Any{TypeUrl: AddressType, Value: message},
		Metadata: p.metadata(),
	}
}

func (p *Provenance) metadata() *core.Metadata {
	fields := make(map[string]*structpb.Value, 4)
	for key, t := range map[string]time.Time{fromKey: p.From, sureKey: p.Sure} {
		if !t.IsZero() {
			fields[key] = structpb.NewStringValue(strconv.FormatInt(t.UnixNano(), 10))
		}
	}
	for key, set := range map[string]bool{reportedKey: p.Reported, nodeKey: p.Node, claimedKey: p.Claimed} {
		if set {
			fields[key] = structpb.NewBoolValue(true)
		}
	}
	if p.Pod != (identity.PodUID{}) {
		fields[podKey] = structpb.NewStringValue(hex.EncodeToString(p.Pod[:]))
	}
	if len(fields) == 0 {
		return nil
	}
	return &core.Metadata{FilterMetadata: map[string]*structpb.Struct{provenanceKey: {Fields: fields}}}
}

// provenanceOf reads the metadata of a resource; what istiod sends has none.
func provenanceOf(m *core.Metadata) (p Provenance, err error) {
	fields := m.GetFilterMetadata()[provenanceKey].GetFields()
	for key, to := range map[string]*time.Time{fromKey: &p.From, sureKey: &p.Sure} {
		if text := fields[key].GetStringValue(); text != "" {
			ns, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return p, fmt.Errorf("metadata: %s is %.80q", key, text)
			}
			*to = time.Unix(0, ns)
		}
	}
	p.Reported = fields[reportedKey].GetBoolValue()
	p.Pod, _ = identity.ParsePodUID(fields[podKey].GetStringValue())
	p.Node = fields[nodeKey].GetBoolValue()
	p.Claimed = fields[claimedKey].GetBoolValue()
	return p, nil
}
