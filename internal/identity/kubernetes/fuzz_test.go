// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"net/netip"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// FuzzObjects has a registry take in whatever an API server may send, in any order, and take all of it away again.
func FuzzObjects(f *testing.F) {
	pod, service := podOf("web-0", "10.244.0.5", "fd00::5"), serviceOf("web", "10.96.0.1", servicePort("http", 80, "http"))
	slice := sliceFor("web", "web-1", map[string]int32{"http": 8080}, toPod("web-0", "10.244.0.5"), toAddress("192.0.2.1", "10.244.0.5"))
	for kind, object := range []interface{ Marshal() ([]byte, error) }{pod, service, slice, &corev1.Node{}} {
		encoded, err := object.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte{byte(kind)}, encoded, encoded)
		f.Add([]byte{byte(kind), 0, 1, 2, 3}, encoded, encoded[:len(encoded)/2])
	}
	f.Fuzz(func(t *testing.T, order, first, second []byte) {
		if len(order) > 64 {
			return
		}
		r := newTestRegistry()
		all := kinds(fake.NewClientset(), r)
		for i, o := range order {
			message := first
			if i%2 == 1 {
				message = second
			}
			k := all[int(o)%len(all)]
			in := theFirst
			if o&0x80 != 0 {
				in = nil
			}
			switch k.name {
			case ofPods:
				if p := new(corev1.Pod); p.Unmarshal(message) == nil {
					k.set(p, in, after(float64(i)))
				}
			case ofServices:
				if s := new(corev1.Service); s.Unmarshal(message) == nil {
					k.set(s, in, after(float64(i)))
				}
			case ofSlices:
				if s := new(discoveryv1.EndpointSlice); s.Unmarshal(message) == nil {
					k.set(s, in, after(float64(i)))
				}
			case ofNodes:
				if n := new(corev1.Node); n.Unmarshal(message) == nil {
					k.set(n, in, after(float64(i)))
				}
			}
			r.tick(after(float64(i)))
			serviceOfPod(r, "10.244.0.5:8080", after(float64(i)))
		}
		for _, k := range all {
			k.sweep(&list{round: 2}, after(100))
		}
		r.tick(after(103))
		if held := r.index.Held(); held != (identity.Held{}) {
			t.Errorf("%+v are left", held)
		}
		if n := len(r.pods) + len(r.services) + len(r.slices) + len(r.nodes) + len(r.of) + len(r.claims) + len(r.leaving); n > 0 {
			t.Errorf("%d entries are left", n)
		}
		if w, _ := r.index.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.5:80")}, after(104)); w != nil {
			t.Errorf("%s has an address", w.UID)
		}
	})
}

// FuzzShortened compares what is read of objects that are decoded whole with what is read of them as the source decodes them.
func FuzzShortened(f *testing.F) {
	slice := sliceFor("web", "web-1", map[string]int32{"http": 8080}, toPod("web-0", "10.244.0.5"), toAddress("192.0.2.1"))
	objects := []func() kruntime.Object{
		func() kruntime.Object { return realPod(0) },
		func() kruntime.Object { return serviceOf("web", "10.96.0.1", servicePort("http", 80, "http")) },
		func() kruntime.Object { return slice },
		func() kruntime.Object { return &corev1.Node{} },
	}
	for i, object := range objects {
		message, err := object().(interface{ Marshal() ([]byte, error) }).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), message)
		f.Add(byte(i), append(message, message...)) // a decoder joins the two
		f.Add(byte(i), message[:len(message)/2])
	}
	f.Fuzz(func(t *testing.T, kind byte, message []byte) {
		version, name := "v1", []string{"Pod", "Service", "EndpointSlice", "Node"}[kind%4]
		if name == "EndpointSlice" {
			version = discoveryv1.SchemeGroupVersion.String()
		}
		envelope := kruntime.Unknown{TypeMeta: kruntime.TypeMeta{APIVersion: version, Kind: name}, Raw: message}
		data, err := envelope.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		data = append(envelopePrefix[:4:4], data...)
		whole, _, err := decodesWhole.Decode(data, nil, nil)
		if err != nil {
			return
		}
		short, _, err := decodesUsed.Decode(data, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := readOf(whole), readOf(short); !reflect.DeepEqual(a, b) {
			t.Errorf("%+v is read of the whole, %+v of what is used", a, b)
		}
	})
}

// FuzzEvents has a follower take whatever a watch may deliver.
func FuzzEvents(f *testing.F) {
	f.Add("ADDED", []byte("x"), true)
	f.Add("BOOKMARK", []byte{}, false)
	f.Fuzz(func(t *testing.T, kind string, message []byte, listing bool) {
		var s server
		follower, _ := s.follow(&testing.T{}, true)
		p := new(corev1.Pod)
		if p.Unmarshal(message) != nil {
			return
		}
		var in *list
		if listing {
			in = follower.nextList()
		}
		_ = follower.take(watch.Event{Type: watch.EventType(kind), Object: p}, &in)
		if n := follower.behind.Load(); n != 0 {
			t.Errorf("%d objects are behind", n)
		}
	})
}
