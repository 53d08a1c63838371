// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"context"
	"net/netip"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

// gatherFor is how long names are gathered for one request.
const gatherFor = 5 * time.Millisecond

// deltaStream is a stream of the discovery protocol.
type deltaStream = discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

// converse asks for addresses on a stream until it ends.
func (s *Source) converse(ctx context.Context, cancel context.CancelFunc, stream deltaStream, node *core.Node) error {
	first, whole := s.demand.opening(node)
	if err := stream.Send(first); err != nil && !isEOF(err) { // at the end of the stream, Recv returns why
		return err
	}
	var sending sync.WaitGroup
	sending.Go(func() { s.demand.out.sendTo(ctx, stream) })
	defer sending.Wait()
	defer cancel()
	opening := true
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		if response.TypeUrl != AddressType {
			continue // not asked for
		}
		now := time.Now()
		received := int64(len(response.Resources) + len(response.RemovedResources))
		s.behind.Add(received)
		c, refused := s.read(response, whole)
		s.demand.apply(c, opening, now)
		s.applied(c, refused)
		s.behind.Add(-received)
		opening, whole = false, false
		var refusal *spb.Status
		if len(refused) > 0 {
			refusal = &spb.Status{Code: int32(codes.InvalidArgument), Message: oneOf(refused).Error()}
		}
		s.demand.out.acknowledge(response.Nonce, refusal)
	}
}

// sendTo sends until the stream or the context ends.
func (o *outbox) sendTo(ctx context.Context, stream deltaStream) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.ready:
		}
		for _, request := range o.requests() {
			if stream.Send(request) != nil {
				return // Recv returns why
			}
		}
		select { // one request for the names of some milliseconds
		case <-ctx.Done():
			return
		case <-time.After(gatherFor):
		}
	}
}

// opening is the first request of a stream: all names that are held, with the versions of what is known. whole means that the
// versions are left out, so that the first response has everything.
func (d *demand) opening(node *core.Node) (request *discovery.DeltaDiscoveryRequest, whole bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.clear()
	request = &discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: AddressType}
	again := time.Now().Add(answerDue)
	d.wants.Range(func(a netip.Addr, w *want) bool {
		if !w.local {
			request.ResourceNamesSubscribe = append(request.ResourceNamesSubscribe, AddressName(d.network, a))
			w.againAt = again
		}
		return true
	})
	for key := range d.behind {
		if d.byName(key) {
			request.ResourceNamesSubscribe = append(request.ResourceNamesSubscribe, ServiceName(key))
		}
	}
	if len(request.ResourceNamesSubscribe) == 0 {
		// No name at all would mean everything. To subscribe to that and not to is how ztunnel says nothing.
		request.ResourceNamesSubscribe, request.ResourceNamesUnsubscribe = []string{"*"}, []string{"*"}
	}
	request.InitialResourceVersions = make(map[string]string, len(d.entries))
	size := 0
	for name, e := range d.entries {
		request.InitialResourceVersions[name] = e.version
		size += len(name) + len(e.version) + 8
	}
	if size > maxVersions {
		request.InitialResourceVersions, whole = nil, true
	}
	return request, whole
}
