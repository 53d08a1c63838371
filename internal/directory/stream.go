// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"net/netip"
	"strconv"
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
)

// stream is the call of an agent.
type stream struct {
	server *Server
	node   string // where the agent runs; empty: unknown
	ready  chan struct{}
	done   chan struct{} // closed when the call ends
	once   sync.Once

	mu    sync.Mutex
	subs  map[netip.Addr]*subscription
	dirty map[netip.Addr]bool // of subs, what changed since it was sent; true: to be answered in any case
	local map[string]struct{} // workloads of the node that changed, by UID
	names map[string]struct{} // names to be answered once
	held  map[string]string   // what the agent had before it came, with the versions, until the first response
	ended bool

	// Of the goroutine that sends.
	mine  map[string]string // of the workloads of the node, what was sent, with the versions
	nonce uint64
}

// subscription is an address that an agent asked for.
type subscription struct {
	sent []sent // what the agent has of it; of the goroutine that sends
}

type sent struct{ name, version string }

func newStream(s *Server, first *discovery.DeltaDiscoveryRequest) *stream {
	st := &stream{
		server: s, node: first.GetNode().GetMetadata().GetFields()["NODE_NAME"].GetStringValue(),
		ready: make(chan struct{}, 1), done: make(chan struct{}),
		subs: make(map[netip.Addr]*subscription), dirty: make(map[netip.Addr]bool),
		local: make(map[string]struct{}), names: make(map[string]struct{}),
		held: first.InitialResourceVersions, mine: make(map[string]string),
	}
	for name := range st.held {
		st.names[name] = struct{}{}
	}
	return st
}

func (st *stream) end() { st.once.Do(func() { close(st.done) }) }

// close returns the addresses that are subscribed to. No more come.
func (st *stream) close() []netip.Addr {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
	addresses := make([]netip.Addr, 0, len(st.subs))
	for a := range st.subs {
		addresses = append(addresses, a)
	}
	clear(st.subs)
	return addresses
}

// note has the address sent again.
func (st *stream) note(a netip.Addr) {
	st.mu.Lock()
	if _, noted := st.dirty[a]; !noted && st.subs[a] != nil {
		st.dirty[a] = false
	}
	st.mu.Unlock()
	st.wake()
}

// noteLocal has a workload of the node sent again.
func (st *stream) noteLocal(uid string) {
	st.mu.Lock()
	st.local[uid] = struct{}{}
	slow := len(st.local) > st.server.maxLocal
	st.mu.Unlock()
	if slow {
		st.end()
	}
	st.wake()
}

func (st *stream) wake() {
	select {
	case st.ready <- struct{}{}:
	default:
	}
}

// receive takes the agent's requests until the stream ends.
func (st *stream) receive(server discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for {
		request, err := server.Recv()
		if err != nil {
			return err
		}
		if err := st.take(request); err != nil {
			st.server.counts.refused.Add(1)
			return err
		}
	}
}

// take takes a request.
func (st *stream) take(request *discovery.DeltaDiscoveryRequest) error {
	if request.TypeUrl != istio.AddressType {
		return status.Errorf(codes.InvalidArgument, "the directory has resources of the type %s only, not %.80q", istio.AddressType, request.TypeUrl)
	}
	if e := request.ErrorDetail; e != nil {
		st.server.counts.rejected.Add(1)
		st.server.logger.Warn("an agent could not use an answer", zap.String("node", st.node), zap.String("reason", e.GetMessage()))
	}
	if request.ResponseNonce == "" {
		st.server.counts.requests.Add(1)
	}
	everything := false
	for _, name := range request.ResourceNamesSubscribe {
		if name == "*" {
			everything = true
			continue
		}
		if err := st.subscribe(name); err != nil {
			return err
		}
	}
	for _, name := range request.ResourceNamesUnsubscribe {
		if name == "*" {
			everything = false
			continue
		}
		st.unsubscribe(name)
	}
	if everything {
		return status.Error(codes.InvalidArgument, "the directory sends addresses that are asked for only: set identity.istio.on_demand of the receiver kmesh to true")
	}
	st.wake()
	return nil
}

func (st *stream) subscribe(name string) error {
	network, a, isAddress := istio.ParseAddressName(name)
	if isAddress && network == "" {
		return st.server.subscribe(st, a)
	}
	// A resource's own name, or an address of another network, which nobody has here.
	st.mu.Lock()
	defer st.mu.Unlock()
	st.names[name] = struct{}{}
	return nil
}

func (st *stream) unsubscribe(name string) {
	if network, a, isAddress := istio.ParseAddressName(name); isAddress && network == "" {
		st.server.unsubscribe(st, a)
	}
}

// add subscribes to an address; false: it was subscribed to already, and is answered again.
func (st *stream) add(a netip.Addr, most int) (added bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.ended:
		return false, nil
	case st.subs[a] != nil:
	case len(st.subs) >= most:
		return false, status.Errorf(codes.ResourceExhausted, "more than %d addresses are subscribed to: lower identity.istio.max_addresses "+
			"of the receiver kmesh, or raise max_addresses of the directory", most)
	default:
		st.subs[a] = &subscription{}
		added = true
	}
	st.dirty[a] = true
	return added, nil
}

// drop gives an address up; false: it was not subscribed to.
func (st *stream) drop(a netip.Addr) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	_, subscribed := st.subs[a]
	delete(st.subs, a)
	delete(st.dirty, a)
	return subscribed
}

// send answers, and sends what changes, until the stream ends.
func (st *stream) send(server discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	first := true
	for {
		select {
		case <-st.done:
			return nil
		case <-server.Context().Done():
			return server.Context().Err()
		case <-st.ready:
		}
		if !st.server.settled(st.done) {
			return nil
		}
		response := st.response()
		if !first && len(response.Resources) == 0 && len(response.RemovedResources) == 0 {
			continue
		}
		first = false
		st.nonce++
		response.Nonce = strconv.FormatUint(st.nonce, 10)
		if err := server.Send(response); err != nil {
			return err
		}
		st.server.counts.responses.Add(1)
		st.server.counts.resources.Add(uint64(len(response.Resources)))
		st.server.counts.removals.Add(uint64(len(response.RemovedResources)))
	}
}
