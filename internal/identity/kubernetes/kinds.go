// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// lister is what the client has for every kind of object.
type lister[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// kindOf is a kind of object that is watched, and what becomes of its objects. Nothing else keeps them: the registry has what is
// needed of each.
type kindOf struct {
	group, name string
	list        func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch       func(context.Context, metav1.ListOptions) (watch.Interface, error)
	set         func(o runtime.Object, in *list, now time.Time)
	remove      func(o metav1.Object, now time.Time)
	sweep       func(in *list, now time.Time)
}

// the kinds' names.
const (
	ofNodes    = "nodes"
	ofServices = "services"
	ofSlices   = "endpointslices"
	ofPods     = "pods"
)

func kinds(client apiClient, r *registry) []kindOf {
	core, discovery := client.CoreV1(), client.DiscoveryV1()
	key := func(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }
	return []kindOf{
		kind(corev1.GroupName, ofNodes, core.Nodes(),
			func(o *corev1.Node, in *list, now time.Time) { r.setNode(r.cluster.node(o), in, now) },
			func(o metav1.Object, now time.Time) { r.removeNode(o.GetName(), now) }, r.sweepNodes),
		kind(corev1.GroupName, ofServices, core.Services(metav1.NamespaceAll),
			func(o *corev1.Service, in *list, now time.Time) { r.setService(r.cluster.service(o), in, now) },
			func(o metav1.Object, now time.Time) { r.removeService(key(o), now) }, r.sweepServices),
		kind(discoveryv1.GroupName, ofSlices, discovery.EndpointSlices(metav1.NamespaceAll),
			func(o *discoveryv1.EndpointSlice, in *list, now time.Time) { r.setSlice(sliceOf(o), in, now) },
			func(o metav1.Object, now time.Time) { r.removeSlice(key(o), now) }, r.sweepSlices),
		kind(corev1.GroupName, ofPods, core.Pods(metav1.NamespaceAll),
			func(o *corev1.Pod, in *list, now time.Time) { r.setPod(r.cluster.pod(o), in, now) },
			func(o metav1.Object, now time.Time) { r.removePod(key(o), now) }, r.sweepPods),
	}
}

func kind[L runtime.Object, T runtime.Object](group, name string, from lister[L], set func(T, *list, time.Time),
	remove func(metav1.Object, time.Time), sweep func(*list, time.Time),
) kindOf {
	return kindOf{
		group: group, name: name, remove: remove, sweep: sweep, watch: from.Watch,
		list: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return from.List(ctx, options)
		},
		set: func(o runtime.Object, in *list, now time.Time) {
			if o, ok := o.(T); ok {
				set(o, in, now)
			}
		},
	}
}
