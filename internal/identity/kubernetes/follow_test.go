// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func TestThePausesGrow(t *testing.T) {
	p := pauses{random: func(d time.Duration) time.Duration { return d - 1 }}
	for _, want := range []time.Duration{400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000} {
		require.Equal(t, want*time.Millisecond-1, p.next(time.Second, errLost))
	}
	require.Equal(t, 400*time.Millisecond-1, p.next(steady, errLost), "it went well for a while")
	require.Equal(t, 9*time.Second, p.next(0, apierrors.NewTooManyRequests("wait", 9)), "the API server knows better")
	require.GreaterOrEqual(t, (&pauses{}).next(0, nil), firstPause)
}

// server is an API server that a test plays: it gives the answers to one kind of request.
type server struct {
	lists   chan func(metav1.ListOptions) (runtime.Object, error)
	watches chan func(metav1.ListOptions) (watch.Interface, error)
}

// follow starts a follower of pods.
func (s *server) follow(t *testing.T, stream bool) (*follower, *registry) {
	t.Helper()
	gap := identity.NewGap()
	r := newTestRegistry(identity.WithGap(gap, time.Minute))
	s.lists = make(chan func(metav1.ListOptions) (runtime.Object, error), 10)
	s.watches = make(chan func(metav1.ListOptions) (watch.Interface, error), 10)
	f := &follower{
		kindOf: kindOf{
			name: ofPods,
			list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				select {
				case answer := <-s.lists:
					return answer(o)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			},
			watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				select {
				case answer := <-s.watches:
					return answer(o)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			},
			set: func(o runtime.Object, in *list, now time.Time) {
				if p, ok := o.(*corev1.Pod); ok {
					r.setPod(r.cluster.pod(p), in, now)
				}
			},
			remove: func(o metav1.Object, now time.Time) { r.removePod(o.GetNamespace()+"/"+o.GetName(), now) },
			sweep:  r.sweepPods,
		},
		canStream: stream, lastHeard: neverReported, gap: gap, onBack: func(uint64, uint64) {}, onListed: func() {},
		pauses: pauses{random: func(time.Duration) time.Duration { return 0 }},
	}
	return f, r
}

func (s *server) run(t *testing.T, f *follower) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func versioned(p *corev1.Pod, version string) *corev1.Pod { p.ResourceVersion = version; return p }

func podList(version string, pods ...*corev1.Pod) func(metav1.ListOptions) (runtime.Object, error) {
	return func(metav1.ListOptions) (runtime.Object, error) {
		all := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: version}}
		for _, p := range pods {
			all.Items = append(all.Items, *p)
		}
		return all, nil
	}
}

func held(t *testing.T, r *registry, address, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return serviceOfPod(r, address+":80", time.Now()) == want }, within, often, "%s should be %s", address, want)
}

func TestAWatchThatIsLostIsFollowedByAList(t *testing.T) {
	var s server
	f, r := s.follow(t, false)
	var from, to atomic.Uint64
	f.onBack = func(a, b uint64) { from.Store(a); to.Store(b) }
	asked := make(chan metav1.ListOptions, 10)
	note := func(o metav1.ListOptions, answer runtime.Object, err error) (runtime.Object, error) {
		asked <- o
		return answer, err
	}
	s.lists <- func(o metav1.ListOptions) (runtime.Object, error) {
		all, err := podList("100", podOf("stays", "10.244.0.5"), podOf("goes", "10.244.0.6"))(o)
		return note(o, all, err)
	}
	events := watch.NewFake()
	s.watches <- func(o metav1.ListOptions) (watch.Interface, error) { asked <- o; return events, nil }
	s.run(t, f)
	require.Equal(t, "0", (<-asked).ResourceVersion)
	require.Equal(t, "100", (<-asked).ResourceVersion)
	events.Add(versioned(podOf("comes", "10.244.0.7"), "117"))
	held(t, r, "10.244.0.7", "comes")
	require.Zero(t, f.gap.Lasts(time.Now()))

	// It is lost. The etcd went back to what it was before.
	tooLarge := apierrors.NewTimeoutError("Too large resource version", 1)
	tooLarge.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
	events.Stop()
	require.Eventually(t, func() bool { return f.gap.Lasts(time.Now()) > 0 }, within, often)
	s.lists <- func(o metav1.ListOptions) (runtime.Object, error) { return note(o, nil, tooLarge) }
	s.lists <- func(o metav1.ListOptions) (runtime.Object, error) {
		all, err := podList("50", podOf("stays", "10.244.0.5"), podOf("comes", "10.244.0.8"))(o)
		return note(o, all, err)
	}
	again := watch.NewFake()
	s.watches <- func(o metav1.ListOptions) (watch.Interface, error) { asked <- o; return again, nil }
	o := <-asked
	require.Equal(t, "117", o.ResourceVersion)
	require.Equal(t, metav1.ResourceVersionMatchNotOlderThan, o.ResourceVersionMatch)
	require.Empty(t, (<-asked).ResourceVersion, "the etcd itself is asked")
	require.Equal(t, "50", (<-asked).ResourceVersion)
	held(t, r, "10.244.0.5", "stays")
	held(t, r, "10.244.0.6", "nobody")
	held(t, r, "10.244.0.7", "nobody")
	held(t, r, "10.244.0.8", "comes")
	require.Equal(t, uint64(117), from.Load())
	require.Equal(t, uint64(50), to.Load())
	require.Zero(t, f.gap.Lasts(time.Now()))
	require.Zero(t, f.behind.Load())
}

func TestAListThatIsAPartOfAWatch(t *testing.T) {
	var s server
	f, r := s.follow(t, true)
	events := watch.NewFake()
	s.watches <- func(o metav1.ListOptions) (watch.Interface, error) {
		if o.SendInitialEvents == nil || !*o.SendInitialEvents || o.ResourceVersion != "" || !o.AllowWatchBookmarks {
			return nil, apierrors.NewBadRequest("it should be a stream of what the etcd has now")
		}
		return events, nil
	}
	s.run(t, f)
	events.Add(versioned(podOf("p", "10.244.0.5"), "3"))
	require.False(t, f.listed.Load())
	end := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "100", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
	events.Action(watch.Bookmark, end)
	events.Add(versioned(podOf("q", "10.244.0.6"), "101")) // it was read after the bookmark
	require.True(t, f.listed.Load())
	held(t, r, "10.244.0.6", "q")
	events.Delete(versioned(podOf("p", "10.244.0.5"), "102"))
	held(t, r, "10.244.0.5", "nobody")
	require.Equal(t, inSync, f.syncError(time.Now()).kind)
}

func TestAnAPIServerThatCannotStreamIsAskedForAList(t *testing.T) {
	for name, refusal := range map[string]error{
		"too old":      apierrors.NewInvalid(schema.GroupKind{}, "", nil),
		"older":        apierrors.NewBadRequest("sendInitialEvents"),
		"not allowed":  apierrors.NewForbidden(schema.GroupResource{Resource: ofPods}, "", errors.New("RBAC")),
		"unauthorized": apierrors.NewUnauthorized("expired"),
	} {
		t.Run(name, func(t *testing.T) {
			var s server
			f, r := s.follow(t, true)
			s.watches <- func(metav1.ListOptions) (watch.Interface, error) { return nil, refusal }
			s.lists <- podList("100", podOf("p", "10.244.0.5"))
			s.watches <- func(metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil }
			s.run(t, f)
			held(t, r, "10.244.0.5", "p")
		})
	}
}

func TestAListInPages(t *testing.T) {
	var s server
	f, r := s.follow(t, false)
	for i, more := range []string{"page 2", ""} {
		s.lists <- func(o metav1.ListOptions) (runtime.Object, error) {
			if (o.Continue == "page 2") != (i == 1) || o.Limit != pageSize {
				return nil, apierrors.NewBadRequest("the pages are mixed up")
			}
			all, err := podList("100", podOf([]string{"p", "q"}[i], []string{"10.244.0.5", "10.244.0.6"}[i]))(o)
			all.(*corev1.PodList).Continue = more
			return all, err
		}
	}
	s.watches <- func(metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil }
	s.run(t, f)
	held(t, r, "10.244.0.5", "p")
	held(t, r, "10.244.0.6", "q")
}

// An API server that starts refuses for a moment what it will allow.
func TestARefusalIsAnErrorWhenItPersists(t *testing.T) {
	f := &follower{kindOf: kindOf{name: "nodes"}, gap: identity.NewGap()}
	f.listed.Store(true)
	f.note("watch", apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("RBAC")))
	now := time.Now()
	require.Equal(t, hesitating, f.syncError(now).kind)
	f.note("watch", apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("RBAC")))
	require.Equal(t, forbidden, f.syncError(now.Add(toleratedRefusal)).kind)
	f.note("watch", errLost)
	require.Equal(t, hesitating, f.syncError(now).kind)
	require.Equal(t, failed, f.syncError(now.Add(toleratedRefusal)).kind)
	f.note("", nil)
	require.Equal(t, inSync, f.syncError(now.Add(toleratedRefusal)).kind)
}

func TestAWatchWithoutAnAnswerIsNone(t *testing.T) {
	var s server
	f, _ := s.follow(t, false)
	s.watches <- func(metav1.ListOptions) (watch.Interface, error) { return watch.NewEmptyWatch(), nil }
	require.ErrorIs(t, f.watchFor(context.Background(), metav1.ListOptions{}, nil), errNoAnswer)
}

func TestWhatEndsAWatch(t *testing.T) {
	require.True(t, ended(apierrors.NewResourceExpired("too old")))
	code, answered := answer(apierrors.NewInternalError(errors.New("etcd")))
	require.True(t, answered)
	require.Equal(t, http.StatusInternalServerError, code)
	require.False(t, refusesStream(errors.New("connection refused")))
	require.False(t, refusesStream(nil))

	var s server
	f, _ := s.follow(t, false)
	events := watch.NewFakeWithChanSize(1, false)
	events.Error(&metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired})
	s.watches <- func(metav1.ListOptions) (watch.Interface, error) { return events, nil }
	require.True(t, ended(f.watchFor(context.Background(), metav1.ListOptions{}, nil)))
	require.NoError(t, f.failure, "a list follows")
}

func TestAnAnswerCostsNoAllocation(t *testing.T) {
	r := newTestRegistry()
	r.setPod(testCluster.pod(podOf("p", "10.244.0.5")), theFirst, noon)
	source := &Source{Resolver: r.index}
	end := identity.End{Address: netip.MustParseAddrPort("10.244.0.5:80")}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if w, settled := source.Resolve(end, noon); w == nil || !settled {
			t.Error("nobody")
		}
	}))
}

// A pod is deleted, and its address given to another, while the watch of the pods is away.
func TestNothingIsCertainWhileThePodsCannotBeWatched(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, podOf("first", "10.244.0.5"))
	var away atomic.Bool
	var watches []watch.Interface // under the client's lock
	w.client.PrependWatchReactor("pods", func(a clienttesting.Action) (bool, watch.Interface, error) {
		if away.Load() {
			return true, nil, apierrors.NewInternalError(context.DeadlineExceeded)
		}
		opened, err := w.client.Tracker().Watch(a.GetResource(), "")
		watches = append(watches, opened)
		return true, opened, err
	})
	w.client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		if away.Load() {
			return true, nil, apierrors.NewInternalError(context.DeadlineExceeded)
		}
		return false, nil, nil
	})
	require.NoError(t, w.Start(ctx))
	require.Eventually(t, w.InSync, within, often)
	resolve := func(at time.Time) (string, bool) {
		p, settled := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.5:80")}, at)
		if p == nil {
			return "nobody", settled
		}
		return p.Name, settled
	}
	who, settled := resolve(time.Now())
	require.Equal(t, "first", who)
	require.True(t, settled)
	began := time.Now().Add(-10 * time.Second)

	away.Store(true)
	w.client.Lock()
	for _, opened := range watches {
		opened.Stop()
	}
	w.client.Unlock()
	require.Eventually(t, func() bool { return !w.InSync() }, within, often)
	require.Eventually(t, func() bool { _, settled := resolve(time.Now()); return !settled }, within, often)
	who, settled = resolve(began)
	require.Equal(t, "first", who)
	require.True(t, settled, "it began while everything was known")

	require.NoError(t, w.client.CoreV1().Pods("default").Delete(ctx, "first", metav1.DeleteOptions{}))
	w.do(w.client.CoreV1().Pods("default").Create(ctx, podOf("second", "10.244.0.5"), metav1.CreateOptions{}))
	generation := w.Generation()
	away.Store(false)
	w.becomes("10.244.0.5:80", "second")
	require.Eventually(t, func() bool { _, settled := resolve(time.Now()); return settled }, within, often)
	require.Greater(t, w.Generation(), generation+2, "what waited is tried again")
	require.True(t, w.InSync())
}

// Services are listed late: until then no record counts.
func TestNothingIsSettledBeforeEachKindWasListed(t *testing.T) {
	w := newWorld(t, podOf("p", "10.244.0.5"))
	listed := make(chan struct{})
	w.client.PrependReactor("list", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
		select {
		case <-listed:
			return false, nil, nil
		default:
			return true, nil, apierrors.NewInternalError(errors.New("slow"))
		}
	})
	require.NoError(t, w.Start(context.Background()))
	w.becomes("10.244.0.5:80", "p")
	end := identity.End{Address: netip.MustParseAddrPort("10.244.0.5:80")}
	_, settled := w.Resolve(end, time.Now())
	require.False(t, settled)
	generation := w.Generation()
	close(listed)
	require.Eventually(t, func() bool { _, settled := w.Resolve(end, time.Now()); return settled }, within, often)
	require.Greater(t, w.Generation(), generation)
}
