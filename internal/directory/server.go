// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Server answers agents from an index. Each agent has a goroutine that sends, and at most one note of a change for each of
// its subscriptions: an agent that does not read delays no other, and takes no more memory.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	index  *identity.Index
	bounds Bounds
	// maxLocal bounds the workloads of a node that an agent has not been sent. An agent that is further behind must reconnect.
	maxLocal int
	logger   *zap.Logger
	counts   counts

	mu        sync.Mutex
	streams   map[*stream]struct{}
	byAddress map[netip.Addr][]*stream       // that are subscribed to it
	byNode    map[string][]*stream           // of agents on it
	pods      map[string]map[string]struct{} // of each node, by UID
	workloads map[string]*identity.Workload  // by UID
	closed    bool
	// serving ends when the cluster is not watched: what changes meanwhile is not known.
	serving chan struct{} // closed when it ends; nil: it has not begun
}

// Bounds limit an agent.
type Bounds struct {
	Subscriptions int // of one agent
}

// counts are those of Stats.
type counts struct {
	responses, resources, removals, requests, rejected, refused atomic.Uint64
	subscriptions                                               atomic.Int64
}

// Stats are what a server did, and holds.
type Stats struct {
	Agents, Subscriptions                   int
	Requests, Responses, Resources, Removed uint64
	Rejected                                uint64 // responses that an agent could not use
	Refused                                 uint64 // streams that came while the cluster was not watched, or asked for too much
}

var (
	_ discovery.AggregatedDiscoveryServiceServer = (*Server)(nil)
	_ identity.Observer                          = (*Server)(nil)
)

// New returns a server of an index, into which nothing has been put yet. It refuses agents until Serve.
func New(index *identity.Index, bounds Bounds, logger *zap.Logger) *Server {
	s := &Server{
		index: index, bounds: bounds, maxLocal: 4096, logger: logger, streams: make(map[*stream]struct{}),
		byAddress: make(map[netip.Addr][]*stream), byNode: make(map[string][]*stream),
		pods: make(map[string]map[string]struct{}), workloads: make(map[string]*identity.Workload),
	}
	index.Observe(s)
	return s
}

// Serve accepts agents while the cluster is watched. When it is not, their streams end, so that they look for another
// directory, and treat what they know as uncertain.
func (s *Server) Serve(watched bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case watched && s.serving == nil:
		s.serving = make(chan struct{})
	case !watched && s.serving != nil:
		close(s.serving)
		s.serving = nil
	}
}

// Close ends the streams of all agents.
func (s *Server) Close() {
	s.Serve(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// Stats returns what the server did, and holds now.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	agents := len(s.streams)
	s.mu.Unlock()
	c := &s.counts
	return Stats{
		Agents: agents, Subscriptions: int(c.subscriptions.Load()),
		Requests: c.requests.Load(), Responses: c.responses.Load(), Resources: c.resources.Load(), Removed: c.removals.Load(),
		Rejected: c.rejected.Load(), Refused: c.refused.Load(),
	}
}

var errAway = status.Error(codes.Unavailable, "the directory does not watch the cluster at present: try another one, or later")

// DeltaAggregatedResources implements the discovery service: one call for each agent.
func (s *Server) DeltaAggregatedResources(server discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	first, err := server.Recv()
	if err != nil {
		return err
	}
	st := newStream(s, first)
	serving := s.add(st)
	if serving == nil {
		s.counts.refused.Add(1)
		return errAway
	}
	defer s.remove(st)
	if err := st.take(first); err != nil {
		s.counts.refused.Add(1)
		return err
	}
	received := make(chan error, 1)
	go func() { received <- st.receive(server) }()
	sent := make(chan error, 1)
	go func() { sent <- st.send(server) }()
	// When this returns, the stream's context ends, and with it whatever waits for the agent.
	select {
	case err = <-received:
	case err = <-sent:
	case <-serving:
		err = errAway
	case <-st.done:
		err = status.Error(codes.ResourceExhausted, "the agent does not read what it is sent")
	}
	st.end()
	return err
}

// add takes an agent in; nil: at present none is taken.
func (s *Server) add(st *stream) (serving chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving == nil {
		return nil
	}
	s.streams[st] = struct{}{}
	if st.node != "" {
		s.byNode[st.node] = append(s.byNode[st.node], st)
		for uid := range s.pods[st.node] {
			st.noteLocal(uid)
		}
	}
	return s.serving
}

func (s *Server) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	without(s.byNode, st.node, st)
	addresses := st.close()
	for _, a := range addresses {
		without(s.byAddress, a, st)
	}
	s.counts.subscriptions.Add(-int64(len(addresses)))
}

// subscribe adds an address to those of an agent. A change locks the server, and then the stream, and so does this.
func (s *Server) subscribe(st *stream, a netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	added, err := st.add(a, s.bounds.Subscriptions)
	if added {
		s.byAddress[a] = append(s.byAddress[a], st)
		s.counts.subscriptions.Add(1)
	}
	return err
}

func (s *Server) unsubscribe(st *stream, a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.drop(a) {
		without(s.byAddress, a, st)
		s.counts.subscriptions.Add(-1)
	}
}

// without takes a stream out.
func without[K comparable](from map[K][]*stream, key K, st *stream) {
	all := from[key]
	i := slices.Index(all, st)
	switch {
	case i < 0:
	case len(all) == 1:
		delete(from, key)
	default:
		all[i] = all[len(all)-1]
		all[len(all)-1] = nil
		from[key] = all[:len(all)-1]
	}
}

// WorkloadChanged implements identity.Observer: it notes the change for the agents that it concerns.
func (s *Server) WorkloadChanged(old, w *identity.Workload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != nil {
		delete(s.workloads, old.UID)
		node := old.NodeName.String()
		delete(s.pods[node], old.UID)
		if len(s.pods[node]) == 0 {
			delete(s.pods, node)
		}
		s.noteWorkload(old)
	}
	if w != nil {
		s.workloads[w.UID] = w
		if node := w.NodeName.String(); node != "" {
			if s.pods[node] == nil {
				s.pods[node] = make(map[string]struct{})
			}
			s.pods[node][w.UID] = struct{}{}
		}
		s.noteWorkload(w)
	}
}

func (s *Server) noteWorkload(w *identity.Workload) {
	s.noteAddresses(w.Addresses)
	if node := w.NodeName.String(); node != "" {
		for _, st := range s.byNode[node] {
			st.noteLocal(w.UID)
		}
	}
}

// workload returns the one with the UID; nil: there is none.
func (s *Server) workload(uid string) *identity.Workload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workloads[uid]
}

// ServiceChanged implements identity.Observer.
func (s *Server) ServiceChanged(old, changed *identity.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range []*identity.Service{old, changed} {
		if v != nil {
			s.noteAddresses(v.Addresses)
		}
	}
}

func (s *Server) noteAddresses(addresses []netip.Addr) {
	for _, a := range addresses {
		for _, st := range s.byAddress[a.Unmap()] {
			st.note(a.Unmap())
		}
	}
}

// settled waits until what the index knows is certain, for as long as ctx lasts.
func (s *Server) settled(done <-chan struct{}) bool {
	if !s.index.Doubted(time.Now()) {
		return true
	}
	ticker := time.NewTicker(doubtInterval)
	defer ticker.Stop()
	for s.index.Doubted(time.Now()) {
		select {
		case <-done:
			return false
		case <-ticker.C:
		}
	}
	return true
}

// doubtInterval is how often an answer that waits for certainty is looked at again.
const doubtInterval = 50 * time.Millisecond
