// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cluster is what identities have in common.
type cluster struct{ id, domain, trustDomain string }

// strip makes of an object what is kept of it: a pod's is a tenth. It is an informer's Transform, and also gets what is
// stripped already.
func (c *cluster) strip(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Pod:
		return c.pod(o), nil
	case *corev1.Service:
		return c.service(o), nil
	case *discoveryv1.EndpointSlice:
		return sliceOf(o), nil
	case *corev1.Node:
		return c.node(o), nil
	}
	return object, nil
}

// meta keeps what an informer needs, the name and the version, and what distinguishes objects of one name.
func meta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp,
	}
}

// nameOf is namespace/name. There is one copy of each in memory: endpoint slices name pods over and over.
func nameOf(namespace, name string) string { return unique.Make(namespace + "/" + name).Value() }

func name(m *metav1.ObjectMeta) string { return nameOf(m.Namespace, m.Name) }
