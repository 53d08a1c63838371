// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"cmp"
	"net/netip"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// The labels and annotations that telemetry uses.
const (
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

// pod is what is left of a Pod.
type pod struct {
	metav1.ObjectMeta
	workload *identity.Workload // without its services; nil: it has no address, or no more
	ready    time.Time          // when its network was ready; zero: unknown
}

func (c *cluster) pod(p *corev1.Pod) *pod {
	stripped := &pod{ObjectMeta: meta(&p.ObjectMeta)}
	if w := c.workload(p); len(w.Addresses) > 0 && !terminated(p) {
		stripped.workload = w
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue {
			stripped.ready = c.LastTransitionTime.Time
		}
	}
	return stripped
}

// workload names a pod.
func (c *cluster) workload(p *corev1.Pod) *identity.Workload {
	l := p.Labels
	tunnel := identity.TunnelNone
	if l[labelTunnel] == "http" || p.Annotations[annotationAmbient] == "enabled" {
		tunnel = identity.TunnelHBONE
	}
	return &identity.Workload{
		UID:    c.id + "//Pod/" + p.Namespace + "/" + p.Name,
		PodUID: podUID(p),
		Name:   p.Name, Namespace: p.Namespace,
		Names: identity.Names{
			Workload:          owner(p),
			CanonicalService:  cmp.Or(l[labelCanonicalName], l[labelName], l[labelApp]),
			CanonicalRevision: cmp.Or(l[labelCanonicalRevision], l[labelVersion], l[labelAppVersion]),
			Namespace:         p.Namespace,
			Principal:         identity.Principal(c.trustDomain, p.Namespace, p.Spec.ServiceAccountName),
			Cluster:           c.id,
		}.Handle(),
		Tunnel:      tunnel,
		HostNetwork: p.Spec.HostNetwork,
		Addresses:   addressesOf(p),
	}
}

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
	var all []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// terminated returns whether the pod has given up its address: the object of a Job's pod stays long after it.
func terminated(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// hadSince is when the pod got its address, which may be long before it was reported, after an outage of the watch. The
// kubelet reports when the network was ready. Where it does not, the report is new, or else, of a pod that was
// there before us, its creation is all that is known.
func (p *pod) hadSince(initial bool, now time.Time) time.Time {
	switch {
	case !p.ready.IsZero():
		return earlier(p.ready, now)
	case initial:
		return earlier(p.CreationTimestamp.Time, now)
	}
	return now
}

// earlier also takes care of clocks that differ from ours.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
