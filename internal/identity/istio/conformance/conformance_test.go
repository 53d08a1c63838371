// SPDX-License-Identifier: Apache-2.0

// Package conformance compares how resources of the workload API are read with Istio's own Go types.
package conformance

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"istio.io/istio/pkg/workloadapi"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
)

// expected is what Istio's types say, in ours.
func expected(a *workloadapi.Address) *istio.Address {
	if s := a.GetService(); s != nil {
		want := &istio.Service{Name: s.Name, Namespace: s.Namespace, Hostname: s.Hostname, Ports: portsOf(s.Ports)}
		for _, n := range s.Addresses {
			at := istio.NetworkAddress{Network: n.Network, Address: n.Address, Range: n.Length != nil}
			if at.Range {
				at.Length = uint8(min(n.GetLength(), 255))
			}
			want.Addresses = append(want.Addresses, at)
		}
		return &istio.Address{Service: want}
	}
	w := a.GetWorkload()
	want := &istio.Workload{
		UID: w.Uid, Name: w.Name, Namespace: w.Namespace, Addresses: w.Addresses, Network: w.Network,
		HBONE:       w.TunnelProtocol == workloadapi.TunnelProtocol_HBONE,
		HostNetwork: w.NetworkMode == workloadapi.NetworkMode_HOST_NETWORK,
		TrustDomain: w.TrustDomain, ServiceAccount: w.ServiceAccount, Node: w.Node,
		CanonicalName: w.CanonicalName, CanonicalRevision: w.CanonicalRevision, WorkloadName: w.WorkloadName, ClusterID: w.ClusterId,
		Region: w.GetLocality().GetRegion(), Zone: w.GetLocality().GetZone(),
	}
	for key, ports := range w.Services {
		if want.Services == nil {
			want.Services = make(map[string][]istio.Port)
		}
		want.Services[key] = portsOf(ports.Ports)
	}
	return &istio.Address{Workload: want}
}

func portsOf(ports []*workloadapi.Port) []istio.Port {
	var all []istio.Port
	for _, p := range ports {
		all = append(all, istio.Port{Service: p.ServicePort, Target: p.TargetPort})
	}
	return all
}

// fill sets every field of a message, also those that say nothing for telemetry, to something random, or leaves it out.
func fill(m protoreflect.Message, random *rand.Rand, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if random.IntN(4) == 0 || f.Message() != nil && (depth == 0 || f.Message().FullName() == "google.protobuf.Any") {
			continue
		}
		switch {
		case f.IsMap():
			for range random.IntN(3) {
				v := m.Mutable(f).Map().NewValue()
				fill(v.Message(), random, depth-1)
				m.Mutable(f).Map().Set(protoreflect.ValueOfString(text(random)).MapKey(), v)
			}
		case f.IsList():
			for range random.IntN(3) {
				list := m.Mutable(f).List()
				if f.Message() == nil {
					list.Append(scalar(f, random))
					continue
				}
				v := list.NewElement()
				fill(v.Message(), random, depth-1)
				list.Append(v)
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), random, depth-1)
		default:
			m.Set(f, scalar(f, random))
		}
	}
}

func text(random *rand.Rand) string {
	return []string{"a", "default/ü", "x.y.svc", "ns/sa~"}[random.IntN(4)]
}

func scalar(f protoreflect.FieldDescriptor, random *rand.Rand) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text(random))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{10, 0, 0, byte(random.IntN(255))})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(random.IntN(3)))
	}
	return protoreflect.ValueOfUint32(random.Uint32())
}

func TestResourcesAreReadAsIstioWritesThem(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		a := &workloadapi.Address{}
		fill(a.ProtoReflect(), random, 5)
		message, err := proto.Marshal(a)
		require.NoError(t, err)
		got, err := istio.Decode(message)
		if a.Type == nil {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err)
		// From the wire, so that an empty message is what Istio's own reading makes of it.
		back := &workloadapi.Address{}
		require.NoError(t, proto.Unmarshal(message, back))
		require.Equal(t, expected(back), got)
	}
}

// What arrives may be damaged: both take it, and say the same, or both refuse.
func FuzzAgainstIstiosTypes(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		a := &workloadapi.Address{}
		fill(a.ProtoReflect(), random, 3)
		message, err := proto.Marshal(a)
		require.NoError(f, err)
		f.Add(message)
		f.Add(slices.Concat(message, []byte{0x12, 0}))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		back := &workloadapi.Address{}
		if proto.Unmarshal(message, back) != nil || back.Type == nil {
			return // fields that are not read may be what is wrong with it
		}
		got, err := istio.Decode(message)
		require.NoError(t, err)
		require.Equal(t, expected(back), got)
	})
}
