// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	within = 20 * time.Second
	often  = 5 * time.Millisecond
)

// istiod is a server of the discovery protocol whose answers a test gives.
type istiod struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	t       *testing.T
	address string
	server  *grpc.Server
	streams chan *stream

	mu     sync.Mutex
	accept func(metadata.MD) error
}

// stream is a connection of the source.
type stream struct {
	t        *testing.T
	metadata metadata.MD
	requests chan *discovery.DeltaDiscoveryRequest
	answers  chan *discovery.DeltaDiscoveryResponse
	end      chan error
	gone     <-chan struct{}
	nonce    int
}

func startIstiod(t *testing.T, address string, config *tls.Config) *istiod {
	t.Helper()
	s := &istiod{t: t, streams: make(chan *stream, 100)}
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	s.address = listener.Addr().String()
	var options []grpc.ServerOption
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	s.server = grpc.NewServer(options...)
	discovery.RegisterAggregatedDiscoveryServiceServer(s.server, s)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.server.Serve(listener)
	}()
	t.Cleanup(func() {
		s.server.Stop()
		<-served
	})
	return s
}

// accepts decides who may connect.
func (s *istiod) accepts(decide func(metadata.MD) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accept = decide
}

func (s *istiod) DeltaAggregatedResources(server discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	from, _ := metadata.FromIncomingContext(server.Context())
	s.mu.Lock()
	accept := s.accept
	s.mu.Unlock()
	if accept != nil {
		if err := accept(from); err != nil {
			return err
		}
	}
	c := &stream{
		t: s.t, metadata: from, gone: server.Context().Done(), end: make(chan error, 1),
		requests: make(chan *discovery.DeltaDiscoveryRequest, 100), answers: make(chan *discovery.DeltaDiscoveryResponse, 100),
	}
	go func() {
		for {
			request, err := server.Recv()
			if err != nil {
				return
			}
			c.requests <- request
		}
	}()
	s.streams <- c
	for {
		select {
		case answer := <-c.answers:
			if err := server.Send(answer); err != nil {
				return err
			}
		case err := <-c.end:
			return err
		case <-c.gone:
			return nil
		}
	}
}

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(within):
		require.FailNow(t, "no "+what)
		panic("unreachable")
	}
}

// connected waits for a stream, and its first request.
func (s *istiod) connected() (*stream, *discovery.DeltaDiscoveryRequest) {
	s.t.Helper()
	c := receive(s.t, "connection", s.streams)
	return c, c.request()
}

func (c *stream) request() *discovery.DeltaDiscoveryRequest {
	c.t.Helper()
	return receive(c.t, "request", c.requests)
}

// sends answers, and returns the next request of the source.
func (c *stream) sends(answer *discovery.DeltaDiscoveryResponse) *discovery.DeltaDiscoveryRequest {
	c.t.Helper()
	c.nonce++
	answer.TypeUrl, answer.Nonce = AddressType, fmt.Sprintf("nonce-%d", c.nonce)
	c.answers <- answer
	said := c.request()
	require.Equal(c.t, answer.Nonce, said.ResponseNonce)
	require.Equal(c.t, AddressType, said.TypeUrl)
	require.Empty(c.t, said.ResourceNamesSubscribe)
	return said
}

func (c *stream) breaks() { c.end <- status.Error(codes.Unavailable, "istiod goes away") }

func resourceOf(name, version string, message []byte) *discovery.Resource {
	return &discovery.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: AddressType, Value: message}}
}

func resources(version string, all ...*Address) *discovery.DeltaDiscoveryResponse {
	answer := &discovery.DeltaDiscoveryResponse{}
	for _, a := range all {
		answer.Resources = append(answer.Resources, resourceOf(nameOf(a), version, encode(a)))
	}
	return answer
}

func removed(names ...string) *discovery.DeltaDiscoveryResponse {
	return &discovery.DeltaDiscoveryResponse{RemovedResources: names}
}

func nameOf(a *Address) string {
	if a.Workload != nil {
		return a.Workload.UID
	}
	return a.Service.Namespace + "/" + a.Service.Hostname
}

func ips(texts ...string) [][]byte {
	var all [][]byte
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text).AsSlice())
	}
	return all
}

const httpbinHost = "httpbin.default.svc.cluster.local"

func podOf(name string, addresses ...string) *Address {
	return &Address{Workload: &Workload{
		UID: "Kubernetes//Pod/default/" + name, Name: name, Namespace: "default", WorkloadName: name, CanonicalName: name,
		CanonicalRevision: "latest", ServiceAccount: "default", ClusterID: "Kubernetes", Addresses: ips(addresses...),
	}}
}

func httpbin() *Address {
	a := podOf("httpbin-5c5944c58c-v9mlk", "10.244.0.11", "fd00::11")
	a.Workload.WorkloadName, a.Workload.CanonicalName, a.Workload.CanonicalRevision = "httpbin", "httpbin", "v1"
	a.Workload.Services = map[string][]Port{"default/" + httpbinHost: {{8000, 80}}}
	return a
}

func httpbinService() *Address {
	return &Address{Service: &Service{
		Name: "httpbin", Namespace: "default", Hostname: httpbinHost, Ports: []Port{{8000, 80}},
		Addresses: []NetworkAddress{{Address: ips("10.96.5.5")[0]}, {Address: ips("fd00:96::5")[0]}},
	}}
}

// statuses keeps what OnStatus got.
type statuses struct {
	mu  sync.Mutex
	all []string
}

func (s *statuses) hear(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.all = append(s.all, "in sync")
		return
	}
	s.all = append(s.all, err.Error())
}

func (s *statuses) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return ""
	}
	return s.all[len(s.all)-1]
}

// world is a source that runs.
type world struct {
	*Source
	statuses
	t *testing.T
}

// plainText is the configuration for an istiod without TLS.
func plainText(endpoint string) *Config {
	config := NewDefaultConfig()
	config.Endpoint, config.TLS.Insecure = endpoint, true
	return config
}

func startWorld(t *testing.T, config *Config) *world {
	t.Helper()
	return startWorldAs(t, config, identity.SourceSettings{}, environmentPod(), config.loadTLS)
}

func startWorldAs(t *testing.T, config *Config, settings identity.SourceSettings, self pod, loadTLS func() (*tls.Config, error)) *world {
	t.Helper()
	w := &world{t: t}
	settings.Retain, settings.OnStatus = time.Minute, w.hear
	w.Source = newSource(config, settings, self, loadTLS)
	require.NoError(t, w.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// who has the address at a time, and of which service is the port there.
func (w *world) who(address string, at time.Time) string {
	to := netip.MustParseAddrPort(address)
	workload, _ := w.Resolve(identity.End{Address: to}, at)
	name := "nobody"
	if workload != nil {
		name = workload.Name
	}
	if s := w.Service(netip.AddrPort{}, to, workload, at); s != nil {
		name += " of " + s.Host
	}
	return name
}

func (w *world) is(address, want string) {
	w.t.Helper()
	require.Equal(w.t, want, w.who(address, time.Now()))
}

// says waits until the source reported something.
func (w *world) says(want string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.last() != "" && contains(w.last(), want) }, within, often,
		"should have said %q, not %q", want, w.last())
}
