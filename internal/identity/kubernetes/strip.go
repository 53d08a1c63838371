package kubernetes

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// strip leaves of an object what is used here: a pod's is a fiftieth.  It is an informer's Transform, and gets
// cache.DeletedFinalStateUnknown too, which stays as it is.
func strip(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Pod:
		return stripPod(o), nil
	case *corev1.Service:
		return stripService(o), nil
	case *discoveryv1.EndpointSlice:
		return stripSlice(o), nil
	case *corev1.Node:
		return stripNode(o), nil
	}
	return object, nil
}

// meta keeps what the informers need: the name, and the version by which a watch resumes.
func meta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp,
	}
}

func stripPod(p *corev1.Pod) *corev1.Pod {
	s := &corev1.Pod{ObjectMeta: meta(&p.ObjectMeta)}
	for _, key := range podLabels {
		if value, ok := p.Labels[key]; ok {
			if s.Labels == nil {
				s.Labels = make(map[string]string)
			}
			s.Labels[key] = value
		}
	}
	if value, ok := p.Annotations[annotationAmbient]; ok {
		s.Annotations = map[string]string{annotationAmbient: value}
	}
	if c := metav1.GetControllerOfNoCopy(p); c != nil {
		s.OwnerReferences = []metav1.OwnerReference{{Kind: c.Kind, Name: c.Name, Controller: c.Controller}}
	}
	s.Spec.ServiceAccountName = p.Spec.ServiceAccountName
	s.Spec.HostNetwork = p.Spec.HostNetwork
	s.Status.Phase = p.Status.Phase
	s.Status.PodIP, s.Status.PodIPs = p.Status.PodIP, p.Status.PodIPs
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReadyToStartContainers {
			s.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime}}
		}
	}
	return s
}

func stripService(o *corev1.Service) *corev1.Service {
	s := &corev1.Service{ObjectMeta: meta(&o.ObjectMeta)}
	s.Spec.Type = o.Spec.Type
	s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.ExternalIPs = o.Spec.ClusterIP, o.Spec.ClusterIPs, o.Spec.ExternalIPs
	for i := range o.Spec.Ports {
		p := &o.Spec.Ports[i]
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port, TargetPort: p.TargetPort})
	}
	for i := range o.Status.LoadBalancer.Ingress {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress,
			corev1.LoadBalancerIngress{IP: o.Status.LoadBalancer.Ingress[i].IP})
	}
	return s
}

func stripSlice(o *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: meta(&o.ObjectMeta), AddressType: o.AddressType}
	if name, ok := o.Labels[discoveryv1.LabelServiceName]; ok {
		s.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	}
	for i := range o.Ports {
		p := &o.Ports[i]
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
	}
	s.Endpoints = make([]discoveryv1.Endpoint, len(o.Endpoints))
	for i := range o.Endpoints {
		e, stripped := &o.Endpoints[i], &s.Endpoints[i]
		if t := e.TargetRef; t != nil && t.Kind == "Pod" {
			stripped.TargetRef = &corev1.ObjectReference{Kind: t.Kind, Namespace: t.Namespace, Name: t.Name}
		} else {
			stripped.Addresses = e.Addresses
		}
	}
	return s
}

func stripNode(o *corev1.Node) *corev1.Node {
	n := &corev1.Node{ObjectMeta: meta(&o.ObjectMeta)}
	n.Status.Addresses = o.Status.Addresses
	return n
}
