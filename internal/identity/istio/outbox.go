// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	spb "google.golang.org/genproto/googleapis/rpc/status"
)

// maxNames bounds the names in one request.
const maxNames = 5000

// outbox holds what is to be sent on a stream. What is put there while there is none goes with the next one's first request.
type outbox struct {
	ready chan struct{} // holds one

	mu    *sync.Mutex
	acks  []*discovery.DeltaDiscoveryRequest
	unsub map[string]struct{} // sent before sub
	sub   map[string]struct{}
}

func newOutbox() outbox {
	return outbox{
		ready: make(chan struct{}, 1), mu: new(sync.Mutex),
		unsub: make(map[string]struct{}), sub: make(map[string]struct{}),
	}
}

// send has what is there sent.
func (o *outbox) send() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

func (o *outbox) subscribe(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sub[name] = struct{}{}
}

func (o *outbox) unsubscribe(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.sub, name)
	o.unsub[name] = struct{}{}
}

// repeat subscribes again: the server does not answer a name that is subscribed to already.
func (o *outbox) repeat(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unsub[name], o.sub[name] = struct{}{}, struct{}{}
}

// acknowledge answers a response; nil: all of it is in use.
func (o *outbox) acknowledge(nonce string, refusal *spb.Status) {
	o.mu.Lock()
	o.acks = append(o.acks, &discovery.DeltaDiscoveryRequest{TypeUrl: AddressType, ResponseNonce: nonce, ErrorDetail: refusal})
	o.mu.Unlock()
	o.send()
}

// clear drops what is there: the first request of a stream contains everything.
func (o *outbox) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acks = nil
	clear(o.unsub)
	clear(o.sub)
}

// requests takes what is to be sent. istiod wants the names apart from the acknowledgements.
func (o *outbox) requests() []*discovery.DeltaDiscoveryRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.acks
	o.acks = nil
	for len(o.unsub) > 0 {
		all = append(all, &discovery.DeltaDiscoveryRequest{TypeUrl: AddressType, ResourceNamesUnsubscribe: some(o.unsub)})
	}
	for len(o.sub) > 0 {
		all = append(all, &discovery.DeltaDiscoveryRequest{TypeUrl: AddressType, ResourceNamesSubscribe: some(o.sub)})
	}
	return all
}

// some takes at most maxNames out.
func some(names map[string]struct{}) []string {
	out := make([]string, 0, min(len(names), maxNames))
	for name := range names {
		if len(out) == maxNames {
			break
		}
		out = append(out, name)
		delete(names, name)
	}
	return out
}
