// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// AddressType is the type of the resources.
	AddressType = "type.googleapis.com/istio.workload.Address"

	// maxResponse bounds a response: istiod sends everything in one.
	maxResponse = 256 << 20
	// maxVersions bounds the known versions in a request: istiod rejects more than 4 MiB.
	maxVersions = 3 << 20
	// connectWithin bounds the making of one connection.
	connectWithin = 5 * time.Second
	// quiet is the silence after which istiod is pinged. It rejects clients that ping more often than every 15 s.
	quiet, answerWithin = 20 * time.Second, 5 * time.Second
	// maxRejected bounds what is remembered of resources that cannot be decoded.
	maxRejected = 1000
)

// listen connects to istiod, and applies its responses until the stream ends.
func (s *Source) listen(ctx context.Context) error {
	config, err := s.loadTLS()
	if err != nil {
		return &syncError{kind: files, cause: err}
	}
	shown, err := s.config.token(config != nil)
	if err != nil {
		return &syncError{kind: token, cause: err}
	}
	// All that belongs to the stream ends with this call.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := s.connect(ctx, config)
	if err != nil {
		return failed(config, err)
	}
	defer func() { _ = conn.Close() }()
	client, err := s.client(conn)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	pairs := []string{"clusterid", s.config.ClusterID} // by which istiod finds the API server that checks the token
	if shown != "" {
		pairs = append(pairs, "authorization", "Bearer "+shown)
	}
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(client).
		DeltaAggregatedResources(metadata.AppendToOutgoingContext(ctx, pairs...))
	if err != nil {
		return failed(config, err)
	}
	if s.demand != nil {
		return failed(config, s.converse(ctx, cancel, stream, s.node(shown)))
	}
	request, whole := s.subscription(shown)
	if err := stream.Send(request); err != nil && !isEOF(err) { // at the end of the stream, Recv returns why
		return failed(config, err)
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return failed(config, err)
		}
		if response.TypeUrl != AddressType {
			continue // not asked for
		}
		refusal := s.take(response, whole, time.Now())
		whole = false
		answer := &discovery.DeltaDiscoveryRequest{TypeUrl: AddressType, ResponseNonce: response.Nonce}
		if refusal != nil {
			answer.ErrorDetail = &spb.Status{Code: int32(codes.InvalidArgument), Message: refusal.Error()}
		}
		if err := stream.Send(answer); err != nil && !isEOF(err) {
			return failed(config, err)
		}
	}
}

// connect makes the connection. If gRPC did, it would log each failure itself.
func (s *Source) connect(ctx context.Context, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.config.Endpoint)
	if err != nil {
		return nil, err
	}
	heard := heardConn{conn, s}
	if config == nil {
		return heard, nil
	}
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(s.config.Endpoint) // Validate has looked at it
	}
	secure := tls.Client(heard, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

// client returns a gRPC client of a connection. It makes no other.
func (s *Source) client(conn net.Conn) (*grpc.ClientConn, error) {
	given := make(chan net.Conn, 1)
	given <- conn
	return grpc.NewClient("passthrough:///"+s.config.Endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the connection is encrypted, or is not to be
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case conn := <-given:
				return conn, nil
			default:
				return nil, net.ErrClosed
			}
		}),
		grpc.WithNoProxy(), // istiod is in the cluster, whatever proxy the environment has
		grpc.WithDisableServiceConfig(),
		grpc.WithUserAgent("otelcol-kmesh"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectWithin}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: quiet, Timeout: answerWithin}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)))
}

// heardConn notes when istiod last sent anything, be it the answer to a ping.
type heardConn struct {
	net.Conn
	source *Source
}

func (c heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.source.heard.Store(int64(time.Since(c.source.began)))
	}
	return n, err
}

// subscription is the first request of a stream: everything, except what is known already. whole means that the known versions
// are left out, so that the first response has everything.
func (s *Source) subscription(shown string) (request *discovery.DeltaDiscoveryRequest, whole bool) {
	versions := s.registry.versions()
	size := 0
	for name, version := range versions {
		size += len(name) + len(version) + 8 // and what is around them
	}
	if size > maxVersions {
		versions, whole = nil, true
	}
	return &discovery.DeltaDiscoveryRequest{
		Node:                    s.node(shown),
		TypeUrl:                 AddressType,
		ResourceNamesSubscribe:  []string{"*"},
		InitialResourceVersions: versions,
	}, whole
}

// node is who asks.
func (s *Source) node(shown string) *core.Node {
	return &core.Node{
		Id: s.pod.nodeID(shown),
		Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"CLUSTER_ID": structpb.NewStringValue(s.config.ClusterID),
			"NODE_NAME":  structpb.NewStringValue(s.settings.NodeName),
		}},
	}
}

// take applies a response, and returns why resources of it cannot be used.
func (s *Source) take(response *discovery.DeltaDiscoveryResponse, whole bool, now time.Time) error {
	received := int64(len(response.Resources) + len(response.RemovedResources))
	s.behind.Add(received)
	defer s.behind.Add(-received)
	c, refused := s.read(response, whole)
	s.registry.apply(c, now)
	s.applied(c, refused)
	if len(refused) == 0 {
		return nil
	}
	return oneOf(refused)
}

// read decodes a response; refused are the resources that cannot be used.
func (s *Source) read(response *discovery.DeltaDiscoveryResponse, whole bool) (c *change, refused map[string]error) {
	c = &change{
		put: make(map[string]*entry, len(response.Resources)), remove: response.RemovedResources,
		whole: whole, kept: make(map[string]bool),
	}
	refused = make(map[string]error)
	for _, resource := range response.Resources {
		e, err := s.mesh.read(resource)
		if err != nil {
			refused[resource.GetName()] = err
			c.kept[resource.GetName()] = true // its version before is better than nothing
			continue
		}
		c.put[resource.Name] = e
	}
	s.mu.Lock()
	c.first, c.lost = !s.once, s.lost
	s.mu.Unlock()
	return c, refused
}

func (m *mesh) read(resource *discovery.Resource) (*entry, error) {
	if err := isKey("the resource's name", resource.GetName(), maxKey); err != nil {
		return nil, err
	}
	if got := resource.GetResource().GetTypeUrl(); got != AddressType {
		return nil, fmt.Errorf("its type is %.80q", got)
	}
	a, err := Decode(resource.GetResource().GetValue())
	if err != nil {
		return nil, err
	}
	e, err := m.convert(a)
	if err != nil {
		return nil, err
	}
	e.version = resource.GetVersion()
	if e.workload != nil {
		from, err := provenanceOf(resource.GetMetadata())
		if err != nil {
			return nil, err
		}
		e.from, e.workload.PodUID, e.workload.Node, e.workload.Claimed = from, from.Pod, from.Node, from.Claimed
	}
	return e, nil
}

// oneOf returns the error that is first by name, with the number of all.
func oneOf(refused map[string]error) error {
	first := ""
	for name := range refused {
		if first == "" || name < first {
			first = name
		}
	}
	if n := len(refused); n > 1 {
		return fmt.Errorf("%d resources, e.g. %.200q: %w", n, first, refused[first])
	}
	return fmt.Errorf("resource %.200q: %w", first, refused[first])
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// failed keeps whether the connection was to be encrypted, which decides the remedy.
func failed(config *tls.Config, err error) error { return &failure{config != nil, err} }

type failure struct {
	encrypted bool
	err       error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// encrypted returns whether the failed connection was to be encrypted.
func encrypted(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.encrypted
}
