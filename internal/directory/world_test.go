// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
)

const (
	within = 20 * time.Second
	often  = 2 * time.Millisecond
)

// world is a directory over an index that a test fills.
type world struct {
	*Server
	t        testing.TB
	index    *identity.Index
	listener *bufconn.Listener
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOver(t, identity.NewIndex(time.Minute))
}

func newWorldOver(t testing.TB, index *identity.Index) *world {
	t.Helper()
	w := &world{t: t, index: index, listener: bufconn.Listen(1 << 16)}
	w.Server = New(w.index, Bounds{Subscriptions: 1000}, zaptest.NewLogger(t))
	w.Serve(true)
	server := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(server, w.Server)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(w.listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return w
}

// agent is a client that a test controls.
type agent struct {
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	t testing.TB
}

func (w *world) connect() *agent {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:directory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.listener.DialContext(ctx) }))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	require.NoError(w.t, err)
	return &agent{stream, w.t}
}

// agentOn connects an agent of a node, which subscribes to names.
func (w *world) agentOn(node string, names ...string) *agent {
	w.t.Helper()
	a := w.connect()
	request := &discovery.DeltaDiscoveryRequest{Node: nodeOf(node), ResourceNamesSubscribe: names}
	if len(names) == 0 {
		request.ResourceNamesSubscribe, request.ResourceNamesUnsubscribe = []string{"*"}, []string{"*"}
	}
	a.says(request)
	return a
}

func nodeOf(name string) *core.Node {
	return &core.Node{Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"NODE_NAME": structpb.NewStringValue(name)}}}
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (a *agent) says(request *discovery.DeltaDiscoveryRequest) {
	a.t.Helper()
	request.TypeUrl = istio.AddressType
	require.NoError(a.t, a.Send(request))
}

func (a *agent) subscribes(names ...string) {
	a.t.Helper()
	a.says(&discovery.DeltaDiscoveryRequest{ResourceNamesSubscribe: names})
}

func (a *agent) unsubscribes(names ...string) {
	a.t.Helper()
	a.says(&discovery.DeltaDiscoveryRequest{ResourceNamesUnsubscribe: names})
}

// hears receives a response, which has these resources, and removes these names.
func (a *agent) hears(names, removed []string) *discovery.DeltaDiscoveryResponse {
	a.t.Helper()
	response, err := a.Recv()
	require.NoError(a.t, err)
	var got []string
	for _, r := range response.Resources {
		got = append(got, r.Name)
	}
	require.Equal(a.t, names, got)
	require.Equal(a.t, removed, response.RemovedResources)
	require.NotEmpty(a.t, response.Nonce)
	return response
}

// fails receives the end of the stream.
func (a *agent) fails(want string) {
	a.t.Helper()
	_, err := a.Recv()
	require.ErrorContains(a.t, err, want)
}

func pod(name, node string, addresses ...string) *identity.Workload {
	w := &identity.Workload{
		UID: "Kubernetes//Pod/default/" + name, Name: name, NodeName: identity.NewNodeName(node),
		Names: identity.Names{Workload: name, Namespace: "default", Cluster: "Kubernetes"}.Handle(),
	}
	for _, a := range addresses {
		w.Addresses = append(w.Addresses, netip.MustParseAddr(a))
	}
	return w
}

func uid(name string) string { return "Kubernetes//Pod/default/" + name }

func (w *world) puts(all ...*identity.Workload) {
	for _, each := range all {
		w.index.Put(each, identity.Span{From: time.Now(), Reported: true}, time.Now())
	}
}

func (w *world) removes(name string) { w.index.Remove(uid(name), time.Now()) }
