// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"regexp"
	"strings"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// The labels and annotations that telemetry uses.
const (
	labelWorkloadName      = "service.istio.io/workload-name"
	labelCanonicalName     = "service.istio.io/canonical-name"
	labelCanonicalRevision = "service.istio.io/canonical-revision"
	labelName              = "app.kubernetes.io/name"
	labelVersion           = "app.kubernetes.io/version"
	labelApp               = "app"
	labelAppVersion        = "version"
	labelTemplateHash      = "pod-template-hash"          // Deployments
	labelRolloutHash       = "rollouts-pod-template-hash" // Argo Rollouts
	labelDeploymentConfig  = "deploymentconfig"           // OpenShift
	labelTunnel            = "networking.istio.io/tunnel"
	annotationAmbient      = "ambient.istio.io/redirection"
	annotationMirror       = "kubernetes.io/config.mirror" // of a static pod's object
)

// cluster is what identities have in common.
type cluster struct{ id, domain, trustDomain string }

// pod is what is read of a Pod.
type pod struct {
	key      string             // namespace/name
	object   uint64             // distinguishes objects of one name
	workload *identity.Workload // without its services
	node     string
	created  time.Time
	accepted time.Time // by its kubelet
	ready    time.Time // when its network was ready; zero: unknown
	started  time.Time // its first container, as far as it is known; zero: none
	over     bool      // it has ended by itself, and has no address any more
	finished time.Time // its last container; zero: unknown
	ports    []uint16  // of its node that lead to it
}

// second is what the times in a status are rounded down to.
const second = time.Second

var objectSeed = maphash.MakeSeed()

func (c *cluster) pod(p *corev1.Pod) *pod {
	w := c.workload(p)
	read := &pod{
		key: w.UID[len(uidOfPod):], object: maphash.String(objectSeed, string(p.UID)) | 1,
		workload: w, node: p.Spec.NodeName, created: p.CreationTimestamp.Time,
		over: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
	}
	read.ports = hostPorts(p)
	if p.Status.StartTime != nil {
		read.accepted = p.Status.StartTime.Time
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue {
			read.ready = c.LastTransitionTime.Time
		}
	}
	for _, all := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range all {
			read.container(&all[i].State)
			read.container(&all[i].LastTerminationState)
		}
	}
	return read
}

// hostPorts are the ports of its node that a pod declares. One for loopback alone leads to it from nowhere else.
func hostPorts(p *corev1.Pod) []uint16 {
	var all []uint16
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			for j := range containers[i].Ports {
				port := &containers[i].Ports[j]
				number := port.HostPort
				if number == 0 && p.Spec.HostNetwork {
					number = port.ContainerPort
				}
				at, err := netip.ParseAddr(port.HostIP)
				if number == 0 || !isTCP(port.Protocol) || err == nil && at.IsLoopback() {
					continue
				}
				all = append(all, uint16(number)) // the API server has checked it
			}
		}
	}
	return all
}

// container notes when a container ran.
func (p *pod) container(s *corev1.ContainerState) {
	if s.Running != nil {
		p.started = earliest(p.started, s.Running.StartedAt.Time)
	}
	if t := s.Terminated; t != nil {
		p.started = earliest(p.started, t.StartedAt.Time)
		if t.FinishedAt.After(p.finished) {
			p.finished = t.FinishedAt.Time
		}
	}
}

// span is when the pod had its address, as far as its status shows it; known says that it was listed, not reported as news. A
// kubelet looks at its pods once a second, and rounds what it writes down to whole seconds.
func (p *pod) span(listed bool, now time.Time) identity.Span {
	s := identity.Span{}
	switch accepted := cmp.Or(p.accepted, p.created); {
	case !p.ready.IsZero():
		s.From = earliest(p.started, p.ready)
		s.Sure = s.From.Add(second)
	case !p.started.IsZero() && !accepted.IsZero(): // of a container that started again, the first start may not be known
		s.From, s.Sure = earliest(accepted, p.started), p.started.Add(second)
	case (listed || p.over) && !accepted.IsZero():
		s.From, s.Sure = accepted, now
	default:
		s.From, s.Reported = now, true
	}
	// Clocks differ.
	s.From, s.Sure = earliest(s.From, now), earliest(s.Sure, now)
	if p.over && !p.finished.IsZero() {
		s.Last = earliest(p.finished, now)
		s.Until = earliest(p.finished.Add(second), now)
	}
	return s
}

// earliest ignores what is not known.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// uidOfPod begins the UID of a pod. Istio's has the cluster's ID before it, which all have in common here.
const uidOfPod = "//Pod/"

// workload names a pod. Its UID, name and key share memory.
func (c *cluster) workload(p *corev1.Pod) *identity.Workload {
	l := p.Labels
	uid := uidOfPod + p.Namespace + "/" + p.Name
	return &identity.Workload{
		UID:    uid,
		PodUID: podUID(p),
		Name:   uid[len(uid)-len(p.Name):], NodeName: identity.NewNodeName(p.Spec.NodeName),
		Names: identity.Names{
			Workload:          workloadName(p),
			CanonicalService:  first(l, labelCanonicalName, labelName, labelApp),
			CanonicalRevision: first(l, labelCanonicalRevision, labelVersion, labelAppVersion),
			Namespace:         p.Namespace,
			Principal:         identity.Principal(c.trustDomain, p.Namespace, p.Spec.ServiceAccountName),
			Cluster:           c.id,
		}.Handle(),
		Tunnel:      tunnel(p),
		HostNetwork: p.Spec.HostNetwork,
		Addresses:   addressesOf(p),
	}
}

func tunnel(p *corev1.Pod) identity.Tunnel {
	if p.Labels[labelTunnel] == "http" || p.Annotations[annotationAmbient] == "enabled" {
		return identity.TunnelHBONE
	}
	return identity.TunnelNone
}

// first returns the value of the first label that is there. One that is there and empty says that there is no value, as in Istio.
func first(labels map[string]string, names ...string) string {
	for _, name := range names {
		if value, ok := labels[name]; ok {
			return value
		}
	}
	return ""
}

// shared returns the text in memory that equal texts share.
func shared(text string) string { return unique.Make(text).Value() }

// podUID is what the kubelet calls the pod in cgroups. A static pod's object is a mirror of what the kubelet runs under the
// hash of the manifest: its own UID is in no path.
func podUID(p *corev1.Pod) identity.PodUID {
	text := string(p.UID)
	if hash := p.Annotations[annotationMirror]; hash != "" {
		text = hash
	}
	uid, _ := identity.ParsePodUID(text)
	return uid
}

// workloadName is what the label says, else the owner. A label that is there and empty says that there is no owner.
func workloadName(p *corev1.Pod) string {
	if name, ok := p.Labels[labelWorkloadName]; ok {
		return cmp.Or(name, p.Name)
	}
	return owner(p)
}

// scheduled matches the name that a CronJob gives its Jobs: the minute of the schedule behind its own.
var scheduled = regexp.MustCompile(`^(.+)-\d{8,10}$`)

// owner is what made the pod, derived from the pod alone: a Deployment's ReplicaSet is the Deployment's name and the
// template's hash, a CronJob's Job is the CronJob's name and a time.
func owner(p *corev1.Pod) string {
	controller := metav1.GetControllerOfNoCopy(p)
	if controller == nil {
		return p.Name
	}
	switch controller.Kind {
	case "ReplicaSet":
		for _, hash := range []string{p.Labels[labelTemplateHash], p.Labels[labelRolloutHash]} {
			if name, ok := strings.CutSuffix(controller.Name, "-"+hash); ok && hash != "" && name != "" {
				return name
			}
		}
	case "ReplicationController":
		return cmp.Or(p.Labels[labelDeploymentConfig], controller.Name)
	case "Job":
		if parts := scheduled.FindStringSubmatch(controller.Name); parts != nil {
			return parts[1]
		}
	case "Node": // a static pod: the kubelet mirrors it, nothing owns it
		return p.Name
	}
	return controller.Name
}

func addressesOf(p *corev1.Pod) []netip.Addr {
	texts := make([]string, 0, 2)
	for _, ip := range p.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	if len(texts) == 0 && p.Status.PodIP != "" {
		texts = append(texts, p.Status.PodIP)
	}
	return parse(texts)
}

// parse leaves out what is no address: the API server has checked what can be checked.
func parse(texts []string) []netip.Addr {
	if len(texts) == 0 {
		return nil
	}
	all := make([]netip.Addr, 0, len(texts))
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}
