// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
)

// settle is how long a record waits for a name.
const settle = 5 * time.Second

// newSource is what a real agent asks with.
func newSource(endpoint, node string) *istio.Source {
	config := istio.NewDefaultConfig()
	config.Endpoint, config.OnDemand, config.TLS.Insecure = endpoint, true, true
	return istio.New(config, identity.SourceSettings{NodeName: node, Retain: time.Minute, Settle: settle})
}

func nameAt(source identity.Resolver, address string, at time.Time) string {
	w, _ := source.Resolve(identity.End{Address: netip.AddrPortFrom(netip.MustParseAddr(address), 8080)}, at)
	if w == nil {
		return ""
	}
	return w.Name
}

// runAgent is a process that meets peers, and prints its memory.
func runAgent(args []string) error {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	endpoint := flags.String("endpoint", "", "the directory")
	pods, peers := flags.Int("pods", 0, "of the cluster"), flags.Int("peers", 0, "that it meets")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx := context.Background()
	source := newSource(*endpoint, "node-0")
	if err := source.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	for i := range *peers {
		n := i * *pods / *peers
		if err := eventually(ctx, time.Minute, func() error {
			if got := nameAt(source, addressOf(n), time.Now()); got != podName(n) {
				return fmt.Errorf("%s is %q, not %s", addressOf(n), got, podName(n))
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(used())
}

// agentHeap is the heap of an agent that knows its peers.
func agentHeap(ctx context.Context, endpoint string, pods, peers int) (uint64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, "agent", "-endpoint", endpoint, "-pods", strconv.Itoa(pods), "-peers", strconv.Itoa(peers)) // #nosec G204 -- itself
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("agent: %w", err)
	}
	var u usage
	return u.Heap, json.Unmarshal(out, &u)
}

// relay takes connections to whichever replica is there, as a Kubernetes service does.
type relay struct {
	listener net.Listener
	targets  []string
	next     atomic.Uint64
}

func newRelay(targets ...string) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, targets: targets}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	first := int(r.next.Add(1))
	for i := range r.targets {
		to, err := net.Dial("tcp", r.targets[(first+i)%len(r.targets)])
		if err != nil {
			continue
		}
		defer func() { _ = to.Close() }()
		go func() {
			_, _ = io.Copy(to, conn)
			_ = to.Close()
		}()
		_, _ = io.Copy(conn, to)
		return
	}
}

// simulated is the protocol's side of an agent, without what keeps the names.
type simulated struct {
	conn   *grpc.ClientConn
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func connectSimulated(ctx context.Context, endpoint, node string) (*simulated, error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	s := &simulated{conn, stream}
	if err := stream.Send(&discovery.DeltaDiscoveryRequest{
		TypeUrl: istio.AddressType, ResourceNamesSubscribe: []string{"*"}, ResourceNamesUnsubscribe: []string{"*"},
		Node: &core.Node{Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"NODE_NAME": structpb.NewStringValue(node)}}},
	}); err != nil {
		return nil, err
	}
	_, err = stream.Recv()
	return s, err
}

// ask asks for one address, and returns how long the answer took.
func (s *simulated) ask(address string) (time.Duration, error) {
	began := time.Now()
	if err := s.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: istio.AddressType, ResourceNamesSubscribe: []string{"/" + address}}); err != nil {
		return 0, err
	}
	want := netip.MustParseAddr(address).AsSlice()
	for {
		response, err := s.stream.Recv()
		if err != nil {
			return 0, err
		}
		for _, r := range response.Resources {
			if a, err := istio.Decode(r.Resource.Value); err == nil && a.Workload != nil && len(a.Workload.Addresses) == 1 && string(a.Workload.Addresses[0]) == string(want) {
				return time.Since(began), nil
			}
		}
	}
}

// rollOut connects all agents at once, each of which asks for its peers.
func rollOut(ctx context.Context, s *settings, c *cluster, replicas []*directory, r *report, watches int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before, err := c.reads(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	took := make([][]time.Duration, s.agents)
	agents := make([]*simulated, s.agents)
	var connected, all sync.WaitGroup
	errs := make(chan error, s.agents)
	for i := range s.agents {
		connected.Add(1)
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1)) // #nosec G404 -- which pods it meets
			a, err := connectSimulated(ctx, replicas[i%len(replicas)].address, fmt.Sprintf("node-%d", i))
			connected.Done()
			if err != nil {
				errs <- err
				return
			}
			agents[i] = a
			pace := time.NewTicker(100 * time.Millisecond) // 10 new peers a second, each agent
			defer pace.Stop()
			for range s.peers {
				<-pace.C
				d, err := a.ask(addressOf(random.IntN(s.pods)))
				if err != nil {
					errs <- err
					return
				}
				took[i] = append(took[i], d)
			}
		})
	}
	connected.Wait()
	r.row("roll-out: %d agents are connected and have their nodes' pods within", time.Since(began).Round(time.Millisecond).String(), s.agents)
	all.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	after, err := c.reads(ctx)
	if err != nil {
		return err
	}
	now, err := c.watches(ctx)
	if err != nil {
		return err
	}
	// The replicas' own watches end after 5 to 10 minutes, and begin again.
	r.row("roll-out: lists and watches begun at the API server", fmt.Sprint(after-before))
	r.row("watches at the API server, with the agents beside the replicas", fmt.Sprintf("%+d", now-watches))
	var every []time.Duration
	for _, each := range took {
		every = append(every, each...)
	}
	r.row("address lookup of %d agents, %d each: p50, p99, longest", quantiles(every), s.agents, s.peers)
	heap, err := replicas[0].heap(ctx)
	if err != nil {
		return err
	}
	r.row("directory: heap with its half of the agents", bytesOf(heap.Heap))
	for _, a := range agents {
		_ = a.conn.Close()
	}
	return nil
}
