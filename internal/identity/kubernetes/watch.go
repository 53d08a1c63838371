// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// resource is a kind of object that is watched, with the errors of that.
type resource struct {
	group, name string
	informer    cache.SharedIndexInformer
	// handled knows whether the first list has been handled completely.
	handled cache.ResourceEventHandlerRegistration

	mu      sync.Mutex
	listing error // why it cannot be listed
	failing error // why it cannot be watched

	gap watchGap
}

// lister is what the client has for every kind of object.
type lister[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// watched makes a resource of what the client lists and watches. set gets the present state of each object, as strip left it, and
// whether it existed before the watch began.
func watched[L runtime.Object, T any](client kubernetes.Interface, group, name string, from lister[L], example runtime.Object,
	strip cache.TransformFunc, set func(o T, initial bool, now time.Time), remove func(o T, now time.Time),
) *resource {
	r := &resource{group: group, name: name}
	// A list or a watch that fails is retried here: the informer itself would wait for long, and report nothing.
	r.informer = cache.NewSharedIndexInformerWithOptions(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return persist(ctx, func() (L, error) { return from.List(ctx, options) }, retryable, r.noteList)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			repeat := retryable
			if options.SendInitialEvents != nil {
				repeat = retryableElseList
			}
			w, err := persist(ctx, func() (watch.Interface, error) { return opened(from.Watch(ctx, options)) }, repeat, r.noteWatch)
			if err != nil {
				return nil, err
			}
			r.gap.begin(time.Now())
			return &endingWatch{Interface: w, end: func() { r.gap.end(time.Now()) }}, nil
		},
	}, client), example, cache.SharedIndexInformerOptions{})

	// Neither can fail before the informer runs.
	_ = r.informer.SetTransform(strip)
	_ = r.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			r.noteWatch(err)
		}
	})
	r.handled, _ = r.informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, initial bool) {
			if o, ok := o.(T); ok {
				set(o, initial, time.Now())
			}
		},
		UpdateFunc: func(_, o any) {
			if o, ok := o.(T); ok {
				set(o, false, time.Now())
			}
		},
		DeleteFunc: func(o any) {
			if unseen, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = unseen.Obj // it went while nobody watched: this is its last state that is known
			}
			if o, ok := o.(T); ok {
				remove(o, time.Now())
			}
		},
	})
	return r
}

// ended returns whether a watch cannot resume because its resource version is too old (410). That is no failure: a new list
// follows, and the informer reports the differences.
func ended(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

func (r *resource) noteList(err error) {
	if err != nil && ended(err) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listing = err
}

func (r *resource) noteWatch(err error) {
	if err != nil && ended(err) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = err
	if err == nil {
		r.listing = nil
	}
}

// ofPods is a resource's name.
const ofPods = "pods"

// resources are all that is watched.
func resources(client kubernetes.Interface, r *registry) []*resource {
	core, discovery := client.CoreV1(), client.DiscoveryV1()
	return []*resource{
		watched(client, corev1.GroupName, "nodes", core.Nodes(), &corev1.Node{}, r.cluster.strip, r.setNode, r.removeNode),
		watched(client, corev1.GroupName, "services", core.Services(metav1.NamespaceAll), &corev1.Service{},
			r.cluster.strip, r.setService, r.removeService),
		watched(client, discoveryv1.GroupName, "endpointslices", discovery.EndpointSlices(metav1.NamespaceAll), &discoveryv1.EndpointSlice{},
			r.cluster.strip, r.setSlice, r.removeSlice),
		watched(client, corev1.GroupName, ofPods, core.Pods(metav1.NamespaceAll), &corev1.Pod{}, r.cluster.strip, r.setPod, r.removePod),
	}
}
