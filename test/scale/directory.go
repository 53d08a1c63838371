// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kmesh-net/otelcol-kmesh/extension/kmeshdirectoryextension"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
)

// usage is the memory of a process.
type usage struct{ Heap, Resident uint64 }

// runDirectory is a replica: a process of its own, as in a gateway.
func runDirectory(args []string) error {
	flags := flag.NewFlagSet("directory", flag.ContinueOnError)
	endpoint, stats := flags.String("endpoint", "", "where agents connect to"), flags.String("stats", "", "where its memory is read")
	if err := flags.Parse(args); err != nil {
		return err
	}
	factory := kmeshdirectoryextension.NewFactory()
	config := factory.CreateDefaultConfig().(*kmeshdirectoryextension.Config)
	config.NetAddr.Endpoint, config.Kubernetes.AuthType = *endpoint, kubernetes.AuthKubeConfig
	d, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), config)
	if err != nil {
		return err
	}
	if err := d.Start(context.Background(), componenttest.NewNopHost()); err != nil {
		return err
	}
	server := &http.Server{Addr: *stats, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(used())
	})}
	return server.ListenAndServe()
}

// used is the memory of this process after a collection.
func used() usage {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := usage{Heap: m.HeapAlloc}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.SplitSeq(string(status), "\n") {
		if text, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
			u.Resident = kib << 10
		}
	}
	return u
}

// directory is a replica that runs.
type directory struct {
	process
	address, stats string
	synced         time.Duration // from its start until it served
}

func (c *cluster) startDirectories(ctx context.Context, n int) ([]*directory, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var all []*directory
	for i := range n {
		d := &directory{}
		if d.address, err = freeAddress(); err != nil {
			return nil, err
		}
		if d.stats, err = freeAddress(); err != nil {
			return nil, err
		}
		d.process = process{
			path: self, args: []string{"directory", "-endpoint", d.address, "-stats", d.stats}, env: []string{"KUBECONFIG=" + c.kubeconfig},
			ready: "http://" + d.stats, log: filepath.Join(c.work, fmt.Sprintf("directory-%d.log", i)),
		}
		if err := d.begin(ctx); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// begin starts it, and waits until it serves.
func (d *directory) begin(ctx context.Context) error {
	began := time.Now()
	if err := d.start(ctx); err != nil {
		return err
	}
	err := eventually(ctx, readyWithin, func() error { return serves(ctx, d.address) })
	d.synced = time.Since(began)
	return err
}

// serves asks a directory as an agent does.
func serves(ctx context.Context, address string) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: istio.AddressType, ResourceNamesSubscribe: []string{"/" + addressOf(0)}}); err != nil {
		return err
	}
	response, err := stream.Recv()
	if err == nil && len(response.Resources) != 1 {
		err = errors.New("the directory does not know the first pod")
	}
	return err
}

func (d *directory) heap(ctx context.Context) (u usage, err error) {
	body, err := get(ctx, "http://"+d.stats)
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal(body, &u)
}
