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

// resource is one that is watched, with how it fares.
type resource struct {
	group, name string
	informer    cache.SharedIndexInformer
	// handled tells whether the first list has been handled to its end.
	handled cache.ResourceEventHandlerRegistration

	mu      sync.Mutex
	listing error // why it cannot be listed
	failing error // why it cannot be watched

	sight sight
}

// lister is what the client has for every kind of object.
type lister[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// watched makes a resource of what the client lists and watches.  set hears of the present state of each object, as strip
// left it, and whether it was there before the watch began.
func watched[L runtime.Object, T any](client kubernetes.Interface, group, name string, from lister[L], example runtime.Object,
	strip cache.TransformFunc, set func(o T, initial bool, now time.Time), remove func(o T, now time.Time),
) *resource {
	r := &resource{group: group, name: name}
	// A list that cannot be had, and a watch that cannot be taken up again, are tried again here: the informer itself would
	// wait for long, and in silence.
	r.informer = cache.NewSharedIndexInformerWithOptions(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return persist(ctx, func() (L, error) { return from.List(ctx, options) }, later, r.listed)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			repeat := later
			if options.SendInitialEvents != nil {
				repeat = laterElseList
			}
			w, err := persist(ctx, func() (watch.Interface, error) { return opened(from.Watch(ctx, options)) }, repeat, r.taken)
			if err != nil {
				return nil, err
			}
			r.sight.begin(time.Now())
			return &seen{Interface: w, end: func() { r.sight.end(time.Now()) }}, nil
		},
	}, client), example, cache.SharedIndexInformerOptions{})

	// Neither can fail before the informer runs.
	_ = r.informer.SetTransform(strip)
	_ = r.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			r.taken(err)
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

// ended says whether a watch ended as every watch does one day, and cannot go on from there, as that is too long ago (410).
// It is no failure: a new list follows, of which the informer tells the differences.
func ended(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

func (r *resource) listed(err error) {
	if err != nil && ended(err) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listing = err
}

func (r *resource) taken(err error) {
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
