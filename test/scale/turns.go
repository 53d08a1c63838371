// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
)

const (
	turnAddresses = 20
	vacant        = time.Second // between the deletion of a pod and the next one's first connection
	life          = 500 * time.Millisecond
	pace          = 10 * time.Millisecond // of the lookups of an address
)

// met counts what lookups found.
type met struct{ right, late, unknown, wrong atomic.Int64 }

// turnsAndOutages gives addresses from pod to pod, while three real agents look them up, a replica is killed and started
// again, and the API server is away.
func turnsAndOutages(ctx context.Context, s *settings, c *cluster, replicas []*directory, r *report) error {
	through, err := newRelay(replicas[0].address, replicas[1].address)
	if err != nil {
		return err
	}
	defer func() { _ = through.listener.Close() }()
	var agents []*istio.Source
	for i := range 3 {
		a := newSource(through.address(), fmt.Sprintf("node-%d", i))
		if err := a.Start(ctx); err != nil {
			return err
		}
		defer func() { _ = a.Close() }()
		agents = append(agents, a)
	}
	for _, a := range agents {
		if err := eventually(ctx, time.Minute, func() error {
			if !a.InSync() {
				return fmt.Errorf("an agent is not in sync")
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := latency(ctx, c, agents, r); err != nil {
		return err
	}

	steady := &met{}
	if err := turns(ctx, s, c, agents, steady, "steady"); err != nil {
		return err
	}
	r.row("%d address turns, 3 agents: lookups right, right within settle, unknown, wrong", steady.String(), turnAddresses*s.turns)

	killed := &met{}
	var restart error
	var restarting sync.WaitGroup
	restarting.Go(func() {
		for _, d := range replicas {
			d.kill()
			if restart = d.begin(ctx); restart != nil {
				return
			}
		}
	})
	if err := turns(ctx, s, c, agents, killed, "killed"); err != nil {
		return err
	}
	restarting.Wait()
	if restart != nil {
		return restart
	}
	r.row("the same while each replica is killed and started again in turn", killed.String())
	r.row("a replica serves after its start within", replicas[0].synced.Round(time.Millisecond).String())

	return outage(ctx, s, c, agents, r)
}

func (m *met) String() string {
	return fmt.Sprintf("%d, %d, %d, **%d**", m.right.Load(), m.late.Load(), m.unknown.Load(), m.wrong.Load())
}

// look looks an address up as a record of a connection that begins now does: at once, and until settle is over.
func (m *met) look(ctx context.Context, a *istio.Source, address, name string, done *sync.WaitGroup) {
	began := time.Now()
	switch got := nameAt(a, address, began); got {
	case name:
		m.right.Add(1)
		return
	case "":
	default:
		m.mistake(address, got, name, began)
		return
	}
	done.Go(func() {
		again := time.NewTicker(pace)
		defer again.Stop()
		for time.Since(began) < settle && ctx.Err() == nil {
			<-again.C
			switch got := nameAt(a, address, began); got {
			case "":
			case name:
				m.late.Add(1)
				return
			default:
				m.mistake(address, got, name, began)
				return
			}
		}
		m.unknown.Add(1)
	})
}

// mistake counts a lookup that named somebody else, and shows the first ones.
func (m *met) mistake(address, got, name string, began time.Time) {
	if m.wrong.Add(1) <= 10 {
		fmt.Fprintf(os.Stderr, "scale: %s is %s, not %s, for a connection of %s ago\n", address, got, name, time.Since(began))
	}
}

// turns gives each of the addresses to pods in turn.
func turns(ctx context.Context, s *settings, c *cluster, agents []*istio.Source, m *met, label string) error {
	var looking sync.WaitGroup
	defer looking.Wait()
	var all sync.WaitGroup
	errs := make(chan error, turnAddresses)
	for i := range turnAddresses {
		all.Go(func() {
			address := fmt.Sprintf("10.9.9.%d", i+1)
			for turn := range s.turns {
				name := fmt.Sprintf("tenant-%s-%d-%d", label, i, turn)
				// The address is there before anybody knows it, and the kubelet writes down the second.
				if err := c.create(ctx, pod(name, name, "another-node", address, time.Now())); err != nil {
					errs <- err
					return
				}
				until := time.Now().Add(life)
				for time.Now().Before(until) {
					for _, a := range agents {
						m.look(ctx, a, address, name, &looking)
					}
					<-time.After(pace)
				}
				if err := c.delete(ctx, name); err != nil {
					errs <- err
					return
				}
				<-time.After(vacant)
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// latency is how long after the API server's own watch a waiting agent knows a new pod.
func latency(ctx context.Context, c *cluster, agents []*istio.Source, r *report) error {
	watch, err := c.client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{LabelSelector: "new=yes"})
	if err != nil {
		return err
	}
	defer watch.Stop()
	var took []time.Duration
	for i := range 100 {
		address, name := fmt.Sprintf("10.9.8.%d", i+1), fmt.Sprintf("new-%d", i)
		for _, a := range agents {
			_ = nameAt(a, address, time.Now())
		}
		if err := eventually(ctx, time.Minute, func() error {
			for _, a := range agents {
				if a.Asker().Demand().Asked > 0 {
					return fmt.Errorf("an agent has no answer yet")
				}
			}
			return nil
		}); err != nil {
			return err
		}
		p := pod(name, name, "another-node", address, time.Now())
		p.Labels["new"] = "yes"
		known := make(chan time.Time, len(agents))
		for _, a := range agents {
			go func() {
				for nameAt(a, address, time.Now()) != name && ctx.Err() == nil {
					<-time.After(time.Millisecond / 2)
				}
				known <- time.Now()
			}()
		}
		if err := c.create(ctx, p); err != nil {
			return err
		}
		<-watch.ResultChan()
		<-watch.ResultChan() // with its address
		reported := time.Now()
		for range agents {
			took = append(took, max(0, (<-known).Sub(reported)))
		}
	}
	r.row("a new pod is known to a waiting agent after a watch reported its address: p50, p99, longest", quantiles(took))
	return nil
}

// outage has the API server away.
func outage(ctx context.Context, s *settings, c *cluster, agents []*istio.Source, r *report) error {
	m := &met{}
	var looking sync.WaitGroup
	known := []int{1, s.pods / 3, s.pods / 2}
	for _, n := range known {
		for _, a := range agents {
			if err := eventually(ctx, time.Minute, func() error {
				if nameAt(a, addressOf(n), time.Now()) != podName(n) {
					return fmt.Errorf("an agent does not know %s", podName(n))
				}
				return nil
			}); err != nil {
				return err
			}
		}
	}
	c.apiServer.kill()
	until := time.Now().Add(s.away)
	for time.Now().Before(until) {
		for _, n := range known {
			for _, a := range agents {
				m.look(ctx, a, addressOf(n), podName(n), &looking)
			}
		}
		<-time.After(20 * pace)
	}
	if err := c.apiServer.start(ctx); err != nil {
		return err
	}
	back := time.Now()
	for _, n := range known {
		for _, a := range agents {
			if err := eventually(ctx, 2*time.Minute, func() error {
				if got := nameAt(a, addressOf(n), time.Now()); got != podName(n) {
					return fmt.Errorf("%s is %q", addressOf(n), got)
				}
				return nil
			}); err != nil {
				return err
			}
		}
	}
	looking.Wait()
	r.row("API server away for %s: lookups of known addresses right, right within settle, unknown, wrong", m.String(), s.away)
	r.row("after its return all is known again within", time.Since(back).Round(time.Millisecond).String())
	return nil
}
