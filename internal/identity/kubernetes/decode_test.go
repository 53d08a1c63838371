// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
)

var (
	decodesWhole = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	decodesUsed  = shortening{decodesWhole}
)

// encoded is an object as an API server sends it.
func encoded(t testing.TB, o runtime.Object) []byte {
	t.Helper()
	version := corev1.SchemeGroupVersion
	switch o.(type) {
	case *discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList:
		version = discoveryv1.SchemeGroupVersion
	}
	return encodedAs(t, o, version)
}

func encodedAs(t testing.TB, o runtime.Object, version schema.GroupVersion) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, scheme.Codecs.EncoderForVersion(decodesWhole, version).Encode(o, &out))
	return out.Bytes()
}

func decoded(t testing.TB, by runtime.Decoder, data []byte) runtime.Object {
	t.Helper()
	o, _, err := by.Decode(data, nil, nil)
	require.NoError(t, err)
	return o
}

// readOf is all that the registry, the follower and the list get from an object.
func readOf(o runtime.Object) any {
	switch o := o.(type) {
	case *corev1.Pod:
		return []any{testCluster.pod(o), o.ResourceVersion, o.Annotations[metav1.InitialEventsAnnotationKey]}
	case *corev1.Service:
		return []any{testCluster.service(o), o.ResourceVersion}
	case *corev1.Node:
		return []any{testCluster.node(o), o.ResourceVersion}
	case *discoveryv1.EndpointSlice:
		return []any{sliceOf(o), o.ResourceVersion}
	}
	return o
}

// randomly fills every field of an object, and those that mean something with what may be in them.
func randomly(seed int64) *randfill.Filler {
	address := func(c randfill.Continue) string {
		return []string{"", "10.244.0.5", "fd00::5", "127.0.0.1", "nonsense"}[c.Intn(5)]
	}
	keys := []string{
		labelWorkloadName, labelCanonicalName, labelCanonicalRevision, labelName, labelVersion, labelApp, labelAppVersion,
		labelTemplateHash, labelRolloutHash, labelDeploymentConfig, labelTunnel, annotationAmbient, annotationMirror,
		corev1.LabelTopologyRegion, corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion, corev1.LabelFailureDomainBetaZone,
		discoveryv1.LabelServiceName, metav1.InitialEventsAnnotationKey, "last-applied-configuration",
	}
	return randfill.NewWithSeed(seed).NilChance(0.3).NumElements(0, 4).Funcs(
		func(m *metav1.ObjectMeta, c randfill.Continue) {
			c.FillNoCustom(m)
			m.Labels, m.Annotations = map[string]string{}, map[string]string{}
			for _, of := range []map[string]string{m.Labels, m.Annotations} {
				for range c.Intn(6) {
					of[keys[c.Intn(len(keys))]] = []string{"", "true", "http", "enabled", "x"}[c.Intn(5)]
				}
			}
		},
		func(o *metav1.OwnerReference, c randfill.Continue) {
			c.FillNoCustom(o)
			o.Kind = []string{"ReplicaSet", "Job", "Node", "ReplicationController", "StatefulSet"}[c.Intn(5)]
			o.Name = []string{"web-true", "web-x", "backup-28374650"}[c.Intn(3)]
		},
		func(s *metav1.Time, c randfill.Continue) { s.Time = time.Unix(c.Int63n(2e9), 0) },
		func(s *metav1.MicroTime, c randfill.Continue) { s.Time = time.UnixMicro(c.Int63n(2e15)) },
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewQuantity(c.Int63n(1000), resource.DecimalSI)
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = []intstr.IntOrString{intstr.FromInt32(8080), intstr.FromString("http"), {}}[c.Intn(3)]
		},
		func(k *corev1.PodConditionType, c randfill.Continue) {
			*k = []corev1.PodConditionType{corev1.PodReady, corev1.PodReadyToStartContainers}[c.Intn(2)]
		},
		func(s *corev1.ConditionStatus, c randfill.Continue) {
			*s = []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse}[c.Intn(2)]
		},
		func(p *corev1.PodPhase, c randfill.Continue) {
			*p = []corev1.PodPhase{corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed}[c.Intn(4)]
		},
		func(p *corev1.Protocol, c randfill.Continue) {
			*p = []corev1.Protocol{"", corev1.ProtocolTCP, corev1.ProtocolUDP}[c.Intn(3)]
		},
		func(k *corev1.ServiceType, c randfill.Continue) {
			*k = []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeExternalName}[c.Intn(3)]
		},
		func(k *corev1.NodeAddressType, c randfill.Continue) {
			*k = []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName}[c.Intn(3)]
		},
		func(k *discoveryv1.AddressType, c randfill.Continue) {
			*k = []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeFQDN}[c.Intn(2)]
		},
		func(p *corev1.ContainerPort, c randfill.Continue) { c.FillNoCustom(p); p.HostIP = address(c) },
		func(p *corev1.PodIP, c randfill.Continue) { p.IP = address(c) },
		func(s *corev1.PodStatus, c randfill.Continue) { c.FillNoCustom(s); s.PodIP = address(c) },
		func(a *corev1.NodeAddress, c randfill.Continue) { c.FillNoCustom(a); a.Address = address(c) },
		func(s *corev1.ServiceSpec, c randfill.Continue) {
			c.FillNoCustom(s)
			s.ClusterIP, s.ClusterIPs, s.ExternalIPs = address(c), nil, nil
			for range c.Intn(3) {
				s.ClusterIPs, s.ExternalIPs = append(s.ClusterIPs, address(c)), append(s.ExternalIPs, address(c))
			}
		},
		func(i *corev1.LoadBalancerIngress, c randfill.Continue) { c.FillNoCustom(i); i.IP = address(c) },
		func(e *discoveryv1.Endpoint, c randfill.Continue) {
			c.FillNoCustom(e)
			e.Addresses = []string{address(c)}
			if e.TargetRef != nil {
				e.TargetRef.Kind = []string{"Pod", "Node", ""}[c.Intn(3)]
				e.TargetRef.Namespace = []string{"", "default"}[c.Intn(2)]
			}
		},
		func(m *metav1.ManagedFieldsEntry, c randfill.Continue) {
			m.Manager, m.FieldsV1 = c.String(10), &metav1.FieldsV1{Raw: []byte(`{"f:spec":{}}`)}
		},
	)
}

// Every field is filled, so that one that is read, and is not in the table, makes a difference.
func TestNothingThatIsUsedIsLeftOut(t *testing.T) {
	longer := 0
	for seed := range int64(2000) {
		filler := randomly(seed)
		for _, o := range []runtime.Object{&corev1.Pod{}, &corev1.Service{}, &corev1.Node{}, &discoveryv1.EndpointSlice{}} {
			filler.Fill(o)
			data := encoded(t, o)
			short, ok := shortened(data)
			require.True(t, ok)
			require.Less(t, len(short), len(data))
			whole := decoded(t, decodesWhole, data)
			require.Equal(t, readOf(whole), readOf(decoded(t, decodesUsed, data)), "%T of seed %d", o, seed)
			if p, ok := whole.(*corev1.Pod); ok && len(testCluster.pod(p).workload.Addresses) > 0 && len(hostPorts(p)) > 0 {
				longer++
			}
		}
	}
	require.Greater(t, longer, 100, "pods with addresses and ports")
}

func TestAListIsShortenedByItsItems(t *testing.T) {
	pods := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7", Continue: "page 2"}}
	for i := range 3 {
		pods.Items = append(pods.Items, *realPod(i))
	}
	data := encoded(t, pods)
	pods = decoded(t, decodesWhole, data).(*corev1.PodList)
	got := decoded(t, decodesUsed, data).(*corev1.PodList)
	require.Equal(t, pods.ListMeta, got.ListMeta)
	require.Len(t, got.Items, len(pods.Items))
	for i := range pods.Items {
		require.Equal(t, readOf(&pods.Items[i]), readOf(&got.Items[i]))
		require.Empty(t, got.Items[i].ManagedFields)
		require.Empty(t, got.Items[i].Spec.Volumes)
		require.Len(t, got.Items[i].Spec.Containers, 1, "the one with a port")
		require.Empty(t, got.Items[i].Spec.Containers[0].Env)
	}
}

// What the table does not have, and what is broken, is what client-go makes of it.
func TestOtherObjectsAreDecodedWhole(t *testing.T) {
	status := &metav1.Status{Status: metav1.StatusFailure, Message: "gone", Reason: metav1.StatusReasonGone, Code: 410}
	got := decoded(t, decodesUsed, encodedAs(t, status, schema.GroupVersion{Version: "v1"})).(*metav1.Status)
	require.Equal(t, "gone", got.Message)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}}
	require.NotEmpty(t, decoded(t, decodesUsed, encoded(t, secret)).(*corev1.Secret).ManagedFields)

	whole := encoded(t, realPod(0))
	for end := range whole {
		a, _, wholeErr := decodesWhole.Decode(whole[:end], nil, nil)
		b, _, err := decodesUsed.Decode(whole[:end], nil, nil)
		if wholeErr == nil {
			require.NoError(t, err, "cut at %d", end)
			require.Equal(t, readOf(a), readOf(b), "cut at %d", end)
		} else {
			require.Error(t, err, "cut at %d", end)
		}
	}
	_, _, err := decodesUsed.Decode([]byte("{}"), nil, nil)
	require.ErrorContains(t, err, "protobuf")
}

// realPod is as an API server has it: a Deployment's, with a sidecar, and an init container that has ended.
func realPod(i int) *corev1.Pod {
	p := nthPod(i)
	p.GenerateName, p.Finalizers = p.Name[:len(p.Name)-5], nil
	p.Annotations["kubectl.kubernetes.io/default-container"] = "c"
	p.ManagedFields = nil
	for _, manager := range []string{"kube-controller-manager", "kubelet"} {
		p.ManagedFields = append(p.ManagedFields, metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1",
			Time: &metav1.Time{Time: after(-60)}, FieldsV1: &metav1.FieldsV1{Raw: []byte(strings.Repeat(`{"f:spec":{"f:containers":{}}}`, 40))},
		})
	}
	p.Spec.Volumes = []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}}}},
		{Name: "kube-api-access-x2k4p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}},
		}}}},
	}
	mounts := []corev1.VolumeMount{{Name: "config", MountPath: "/etc/config"}, {Name: "kube-api-access-x2k4p", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}}
	limits := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("512Mi")}
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}, PeriodSeconds: 10}
	p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "registry.example/team/init:1.2.3", VolumeMounts: mounts}}
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "sidecar", Image: "registry.example/team/sidecar:1.2.3", VolumeMounts: mounts})
	c := &p.Spec.Containers[0]
	c.Image, c.VolumeMounts, c.LivenessProbe, c.ReadinessProbe = "registry.example/team/checkout:1.2.3", mounts, probe, probe
	c.Resources = corev1.ResourceRequirements{Limits: limits, Requests: limits}
	c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}
	p.Spec.Tolerations = []corev1.Toleration{
		{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodScheduled} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: after(-55)}})
	}
	p.Status.StartTime, p.Status.HostIP, p.Status.QOSClass = &metav1.Time{Time: after(-60)}, "172.20.0.1", corev1.PodQOSGuaranteed
	for _, name := range []string{"c", "sidecar"} {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: name, Ready: true, Image: c.Image, ImageID: c.Image + "@sha256:" + strings.Repeat("ab", 32), ContainerID: "containerd://" + strings.Repeat("cd", 32),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Time{Time: after(-50)}}},
		})
	}
	p.Status.InitContainerStatuses = []corev1.ContainerStatus{{
		Name: "init", Image: "registry.example/team/init:1.2.3", ContainerID: "containerd://" + strings.Repeat("ef", 32),
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			Reason: "Completed", StartedAt: metav1.Time{Time: after(-58)}, FinishedAt: metav1.Time{Time: after(-55)},
		}},
	}}
	return p
}

// BenchmarkDecode decodes one pod as a watch reports it, and a list of 10,000 that is not streamed.
func BenchmarkDecode(b *testing.B) {
	pods := &corev1.PodList{}
	for i := range manyPods {
		pods.Items = append(pods.Items, *realPod(i))
	}
	for _, c := range []struct {
		name  string
		data  []byte
		count int
	}{{"pod", encoded(b, &pods.Items[0]), 1}, {"list", encoded(b, pods), manyPods}} {
		for _, d := range []struct {
			name string
			by   runtime.Decoder
		}{{"whole", decodesWhole}, {"used", decodesUsed}} {
			b.Run(fmt.Sprintf("%s/%s", c.name, d.name), func(b *testing.B) {
				before := heap()
				o := decoded(b, d.by, c.data)
				held := heap() - before
				b.ReportAllocs()
				for b.Loop() {
					o = decoded(b, d.by, c.data)
				}
				b.ReportMetric(float64(len(c.data))/float64(c.count), "wire-B/pod")
				if c.count > 1 {
					b.ReportMetric(float64(held)/float64(c.count), "heap-B/pod")
				}
				require.NotNil(b, o)
			})
		}
	}
}
