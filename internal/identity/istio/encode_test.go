// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Messages as istiod writes them. The module in the folder conformance compares the reading with Istio's own types.

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

func appendPorts(b []byte, n protowire.Number, ports []Port) []byte {
	for _, p := range ports {
		b = appendMessage(b, n, appendNumber(appendNumber(nil, 1, uint64(p.Service)), 2, uint64(p.Target)))
	}
	return b
}

func encode(a *Address) []byte {
	if w := a.Workload; w != nil {
		return appendMessage(nil, 1, encodeWorkload(w))
	}
	s := a.Service
	var b []byte
	b = appendText(appendText(appendText(b, 1, s.Name), 2, s.Namespace), 3, s.Hostname)
	for _, at := range s.Addresses {
		n := appendMessage(appendText(nil, 1, at.Network), 2, at.Address)
		if at.Range {
			n = appendNumber(n, 3, uint64(at.Length))
		}
		b = appendMessage(b, 4, n)
	}
	b = appendPorts(b, 5, s.Ports)
	b = appendMessage(b, 7, appendText(nil, 1, "a waypoint, which says nothing here"))
	return appendMessage(nil, 2, b)
}

func encodeWorkload(w *Workload) []byte {
	var b []byte
	b = appendText(appendText(b, 1, w.Name), 2, w.Namespace)
	for _, a := range w.Addresses {
		b = appendMessage(b, 3, a)
	}
	b = appendText(b, 4, w.Network)
	if w.HBONE {
		b = appendNumber(b, 5, 1)
	}
	b = appendText(appendText(appendText(b, 6, w.TrustDomain), 7, w.ServiceAccount), 9, w.Node)
	b = appendText(appendText(appendText(b, 10, w.CanonicalName), 11, w.CanonicalRevision), 13, w.WorkloadName)
	b = appendNumber(b, 17, 1) // unhealthy: named all the same
	b = appendText(appendText(b, 18, w.ClusterID), 20, w.UID)
	for _, key := range slices.Sorted(maps.Keys(w.Services)) {
		b = appendMessage(b, 22, appendMessage(appendText(nil, 1, key), 2, appendPorts(nil, 1, w.Services[key])))
	}
	if w.HostNetwork {
		b = appendNumber(b, 25, 1)
	}
	return b
}
