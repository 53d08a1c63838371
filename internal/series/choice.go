// SPDX-License-Identifier: Apache-2.0

package series

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// regular stands for all labels of a set that are not optional.
const regular = "*"

// CheckAttributes returns an error unless a set can have only these labels; none means all that are not optional.
func CheckAttributes(set Set, names []string) error {
	chosen, err := labelsNamed(set, names)
	if err != nil {
		return err
	}
	if missing := connectionNeeded &^ chosen; set == Connection && missing != 0 {
		return fmt.Errorf("without %s two connections can have the same labels: keep them, or use another set", missing)
	}
	return nil
}

// labelsNamed returns the labels of a set that the names choose.
func labelsNamed(set Set, names []string) (chosen labels, err error) {
	if len(names) == 0 {
		return labelsOf(set), nil
	}
	known := labelsOf(set) | optionalLabels
	for _, name := range names {
		if name == regular {
			chosen |= labelsOf(set)
			continue
		}
		l := label(slices.Index(labelNames[:], name))
		if l >= numLabels || !known.has(l) {
			return 0, fmt.Errorf("%q is not a label of the set: they are %s", name, known)
		}
		chosen |= 1 << l
	}
	return chosen, nil
}

// String lists the labels.
func (s labels) String() string {
	var names []string
	for l := range numLabels {
		if s.has(l) {
			names = append(names, labelNames[l])
		}
	}
	return strings.Join(names, ", ")
}

// choice is which labels a set has. Keys are reduced to them, so flows that differ only in others are one series.
type choice struct {
	labels              labels
	count               int
	istio               bool // the values are Istio's
	source, destination namesChoice

	// What keys have of the services and pods that were met, so that a record costs a lookup.
	services map[*identity.Service]unique.Handle[serviceNames]
	pods     map[*identity.Workload]unique.Handle[podNames]
}

// newChoice returns that of a set, whose names CheckAttributes accepts.
func newChoice(set Set, names []string) *choice {
	chosen, _ := labelsNamed(set, names)
	return &choice{
		labels:      chosen,
		istio:       set == Istio,
		count:       bits.OnesCount64(uint64(chosen)),
		source:      newNamesChoice(chosen >> labelSourceWorkload),
		destination: newNamesChoice(chosen >> labelDestinationWorkload),
		services:    make(map[*identity.Service]unique.Handle[serviceNames]),
		pods:        make(map[*identity.Workload]unique.Handle[podNames]),
	}
}

// reduce returns traits less those that no label shows.
func (c *choice) reduce(t traits) traits {
	if !c.labels.has(labelReporter) {
		t.direction = 0
	}
	if !c.labels.has(labelFlags) {
		t.flags = noFlags
	}
	if !c.labels.has(labelPolicy) {
		t.mutualTLS = false
	}
	t.topology = c.reduceTopology(t.topology)
	return t
}

func (c *choice) reduceTopology(both unique.Handle[topologies]) (none unique.Handle[topologies]) {
	if c.labels&optionalLabels == 0 || both == none {
		return none
	}
	if c.labels&optionalLabels == optionalLabels {
		return both
	}
	t := both.Value()
	for _, field := range []struct {
		shown label
		text  *string
	}{
		{labelSourceRegion, &t.source.Region}, {labelSourceZone, &t.source.Zone},
		{labelDestinationRegion, &t.destination.Region}, {labelDestinationZone, &t.destination.Zone},
	} {
		if !c.labels.has(field.shown) {
			*field.text = ""
		}
	}
	return unique.Make(t)
}

// maxMet bounds the services, and the pods, that are kept with their names. Some are gone, or were published anew.
const maxMet = 4096

// serviceOf returns the names of a service; nil: unknown.
func (c *choice) serviceOf(s *identity.Service) unique.Handle[serviceNames] {
	names, met := c.services[s]
	if !met {
		n := serviceNames{unknown, unknown, unknown}
		if s != nil {
			n = serviceNames{s.Host, s.Name, s.Namespace}
		}
		names = c.reduceService(n)
		if len(c.services) >= maxMet {
			clear(c.services)
		}
		c.services[s] = names
	}
	return names
}

// podOf returns the names of an end; nil: unknown.
func (c *choice) podOf(w *identity.Workload) unique.Handle[podNames] {
	names, met := c.pods[w]
	if !met {
		n := unknownPod
		switch {
		case w == nil:
		case w.Kind == identity.KindNetwork:
			n = networkPod
		default:
			n = podNames{w.Name, w.Namespace(), ""}
		}
		names = c.reducePod(n)
		if len(c.pods) >= maxMet {
			clear(c.pods)
		}
		c.pods[w] = names
	}
	return names
}

func (c *choice) reduceService(n serviceNames) unique.Handle[serviceNames] {
	if !c.labels.has(labelService) {
		n.host = ""
	}
	if !c.labels.has(labelServiceNamespace) {
		n.namespace = ""
	}
	if !c.labels.has(labelServiceName) {
		n.name = ""
	}
	return unique.Make(n)
}

func (c *choice) reducePod(n podNames) unique.Handle[podNames] {
	if !c.labels.has(labelPodAddress) {
		n.place = ""
	}
	if !c.labels.has(labelPodNamespace) {
		n.namespace = ""
	}
	if !c.labels.has(labelPodName) {
		n.name = ""
	}
	return unique.Make(n)
}

// namesChoice is which labels one end has.
type namesChoice struct {
	workload, service, revision, namespace, principal, cluster bool
	whole                                                      bool // all of them
	reduced                                                    map[unique.Handle[identity.Names]]unique.Handle[identity.Names]
}

// newNamesChoice takes labels, those of the end first.
func newNamesChoice(of labels) namesChoice {
	has := func(l label) bool { return of.has(l - labelSourceWorkload) }
	c := namesChoice{
		workload: has(labelSourceWorkload), service: has(labelSourceService) || has(labelSourceApp),
		revision:  has(labelSourceRevision) || has(labelSourceVersion),
		namespace: has(labelSourceNamespace), principal: has(labelSourcePrincipal), cluster: has(labelSourceCluster),
		reduced: make(map[unique.Handle[identity.Names]]unique.Handle[identity.Names]),
	}
	c.whole = c.workload && c.service && c.revision && c.namespace && c.principal && c.cluster
	return c
}

// maxReduced bounds the names whose reduced form is kept, so that a record costs a lookup.
const maxReduced = 65_536

// reduce returns the names less those that no label shows.
func (c *namesChoice) reduce(whole unique.Handle[identity.Names]) unique.Handle[identity.Names] {
	if c.whole {
		return whole
	}
	if reduced, found := c.reduced[whole]; found {
		return reduced
	}
	n := whole.Value()
	for _, field := range []struct {
		kept bool
		name *string
	}{
		{c.workload, &n.Workload}, {c.service, &n.CanonicalService}, {c.revision, &n.CanonicalRevision},
		{c.namespace, &n.Namespace}, {c.principal, &n.Principal}, {c.cluster, &n.Cluster},
	} {
		if !field.kept {
			*field.name = ""
		}
	}
	reduced := unique.Make(n)
	if len(c.reduced) >= maxReduced {
		clear(c.reduced)
	}
	c.reduced[whole] = reduced
	return reduced
}

// showsAddress returns whether an end that is named after its address has the address in its labels.
func (c *namesChoice) showsAddress() bool { return c.workload || c.service }
