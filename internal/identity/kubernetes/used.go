// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is used of each kind of object, by the field numbers of k8s.io/api's generated.proto. A pod's manifest is a few KiB of
// which this is a tenth. A field that is read must be listed here; TestNothingThatIsUsedIsLeftOut compares.
var (
	usedMetadata = &part{fields: fields{
		1: nil, 3: nil, 5: nil, 6: nil, 8: nil, // name, namespace, uid, resourceVersion, creationTimestamp
		11: nil, // labels
		12: {keys: []string{annotationAmbient, annotationMirror, metav1.InitialEventsAnnotationKey}},
		13: {fields: fields{1: nil, 3: nil, 6: nil}}, // ownerReferences: kind, name, controller
	}}
	usedContainer = &part{fields: fields{
		6: {fields: fields{2: nil, 3: nil, 4: nil, 5: nil}}, // ports: hostPort, containerPort, protocol, hostIP
	}}
	usedState = &part{fields: fields{
		2: nil,                              // running
		3: {fields: fields{5: nil, 6: nil}}, // terminated: startedAt, finishedAt
	}}
	usedContainerStatus = &part{fields: fields{2: usedState, 3: usedState}} // state, lastState
	usedPod             = &part{fields: fields{
		1: usedMetadata,
		2: {fields: fields{
			2: usedContainer, 20: usedContainer, // containers, initContainers
			8: nil, 10: nil, 11: nil, // serviceAccountName, nodeName, hostNetwork
		}},
		3: {fields: fields{
			1: nil, 6: nil, 7: nil, 12: nil, // phase, podIP, startTime, podIPs
			2: {keys: []string{string(corev1.PodReadyToStartContainers)}}, // conditions, whose first field is the type
			8: usedContainerStatus, 10: usedContainerStatus,               // of containers, of initContainers
		}},
	}}
	usedService = &part{fields: fields{
		1: usedMetadata,
		2: {fields: fields{1: nil, 3: nil, 4: nil, 5: nil, 18: nil}}, // ports, clusterIP, type, externalIPs, clusterIPs
		3: {fields: fields{1: nil}},                                  // loadBalancer
	}}
	usedSlice = &part{fields: fields{
		1: usedMetadata,
		2: {fields: fields{1: nil, 4: {fields: fields{1: nil, 2: nil, 3: nil}}}}, // endpoints: addresses, targetRef: kind, namespace, name
		3: nil, 4: nil,                                                           // ports, addressType
	}}
	usedNode = &part{fields: fields{
		1: usedMetadata,
		3: {fields: fields{5: nil}}, // status: addresses
	}}
)

// used has them by the API version and the kind. What is not in it is decoded whole, e.g. a Status.
var used = map[string]*part{
	"v1/Pod": usedPod, "v1/PodList": listOf(usedPod),
	"v1/Service": usedService, "v1/ServiceList": listOf(usedService),
	"v1/Node": usedNode, "v1/NodeList": listOf(usedNode),
	"discovery.k8s.io/v1/EndpointSlice": usedSlice, "discovery.k8s.io/v1/EndpointSliceList": listOf(usedSlice),
}

func listOf(item *part) *part { return &part{fields: fields{1: nil, 2: item}} }
