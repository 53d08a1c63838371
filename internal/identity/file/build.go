// SPDX-License-Identifier: Apache-2.0

package file

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// build checks the entries and makes identities of them.
func build(doc *document, at lines) (*Identities, error) {
	all := &Identities{}
	services := make(map[identity.ServiceKey]int, len(doc.Services)) // → the line of the entry
	for i := range doc.Services {
		entry, line := &doc.Services[i], at.service(i)
		s, err := entry.build()
		if err != nil {
			return nil, inEntry(line, "service", entry.Hostname, i, err)
		}
		if first, twice := services[s.Key()]; twice {
			return nil, inEntry(line, "service", entry.Hostname, i,
				fmt.Errorf("line %d has the same namespace and hostname: remove one of the two", first))
		}
		services[s.Key()] = line
		all.Services = append(all.Services, s)
	}
	uids := make(map[string]int, len(doc.Workloads))
	for i := range doc.Workloads {
		entry, line := &doc.Workloads[i], at.workload(i)
		w, err := entry.build(services)
		if err != nil {
			return nil, inEntry(line, "workload", cmp.Or(entry.UID, entry.Name), i, err)
		}
		if first, twice := uids[w.UID]; twice {
			return nil, inEntry(line, "workload", entry.UID, i,
				fmt.Errorf("line %d has the same uid: give each workload its own", first))
		}
		uids[w.UID] = line
		all.Workloads = append(all.Workloads, w)
	}
	all.Warnings = sharedAddresses(all.Workloads, at)
	return all, nil
}

// maxWarnings bounds the warnings about one file.
const maxWarnings = 10

// sharedAddresses finds those that two workloads have which are not on the host's network: only the one with the lower uid is ever
// found at it.
func sharedAddresses(workloads []*identity.Workload, at lines) []string {
	var warnings []string
	holders := make(map[netip.Addr]int, len(workloads))
	for i, w := range workloads {
		if w.HostNetwork {
			continue
		}
		for _, a := range w.Addresses {
			first, shared := holders[a]
			switch {
			case !shared:
				holders[a] = i
			case first != i && len(warnings) < maxWarnings:
				warnings = append(warnings, fmt.Sprintf("line %d: workload %q: line %d has the address %s too: "+
					"only %q is ever found at it; write network_mode: HOST_NETWORK if they share their host's", at.workload(i), w.UID,
					at.workload(first), a, min(w.UID, workloads[first].UID)))
			}
		}
	}
	return warnings
}

func inEntry(line int, kind, name string, i int, err error) error {
	what := fmt.Sprintf("%s %q", kind, name)
	if name == "" {
		what = fmt.Sprintf("%s number %d", kind, i+1)
	}
	return fmt.Errorf("line %d: %s: %w", line, what, err)
}

func (s *service) build() (*identity.Service, error) {
	if err := required("hostname", s.Hostname, "httpbin.default.svc.cluster.local"); err != nil {
		return nil, err
	}
	if err := required("name", s.Name, "httpbin"); err != nil {
		return nil, err
	}
	if err := required("namespace", s.Namespace, "default"); err != nil {
		return nil, err
	}
	addresses, err := parseAddresses(s.Addresses)
	if err != nil {
		return nil, err
	}
	ports, err := parsePorts(s.Ports)
	if err != nil {
		return nil, err
	}
	return &identity.Service{Host: s.Hostname, Name: s.Name, Namespace: s.Namespace, Addresses: addresses, Ports: ports}, nil
}

func (w *workload) build(services map[identity.ServiceKey]int) (*identity.Workload, error) {
	if err := required("uid", w.UID, "Kubernetes//Pod/default/httpbin-5c5944c58c-v9mlk"); err != nil {
		return nil, err
	}
	if err := required("name", w.Name, "httpbin-5c5944c58c-v9mlk"); err != nil {
		return nil, err
	}
	addresses, err := parseAddresses(w.Addresses)
	if err != nil {
		return nil, err
	}
	tunnel, err := parseTunnel(w.TunnelProtocol)
	if err != nil {
		return nil, err
	}
	hostNetwork, err := parseNetworkMode(w.NetworkMode)
	if err != nil {
		return nil, err
	}
	memberships, err := w.memberships(services)
	if err != nil {
		return nil, err
	}
	return &identity.Workload{
		UID: w.UID, Name: w.Name,
		Names: identity.Names{
			Workload:          cmp.Or(w.WorkloadName, w.Name), // a bare pod, or a VM, owns itself
			CanonicalService:  w.CanonicalName,
			CanonicalRevision: w.CanonicalRevision,
			Namespace:         w.Namespace,
			Principal:         identity.Principal(w.TrustDomain, w.Namespace, w.ServiceAccount),
			Cluster:           w.ClusterID,
		}.Handle(),
		Tunnel: tunnel, HostNetwork: hostNetwork, Addresses: addresses, Services: memberships,
		Site: identity.NewSite(w.Locality.Region, w.Locality.Zone),
	}, nil
}

func (w *workload) memberships(services map[identity.ServiceKey]int) ([]identity.Membership, error) {
	var all []identity.Membership
	for _, text := range slices.Sorted(maps.Keys(w.Services)) {
		namespace, host, ok := strings.Cut(text, "/")
		if !ok || namespace == "" || host == "" {
			return nil, fmt.Errorf("services: %q is not NAMESPACE/HOSTNAME: write it like default/httpbin.default.svc.cluster.local", text)
		}
		key := identity.ServiceKey{Namespace: namespace, Host: host}
		if _, known := services[key]; !known {
			return nil, fmt.Errorf("services: %q is not in this file: add it under the file's `services`, or remove it here", text)
		}
		ports, err := parsePorts(w.Services[text])
		if err != nil {
			return nil, fmt.Errorf("services: %q: %w", text, err)
		}
		all = append(all, identity.Membership{Service: key, Ports: ports})
	}
	slices.SortFunc(all, func(a, b identity.Membership) int { return a.Service.Compare(b.Service) })
	return all, nil
}

func required(key, value, example string) error {
	if value == "" {
		return fmt.Errorf("%s is missing: write one like %s", key, example)
	}
	return nil
}

func parseAddresses(texts []string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, text := range texts {
		addr, err := parseAddress(text)
		if err != nil {
			return nil, err
		}
		all = append(all, addr)
	}
	return all, nil
}

func parsePorts(ports []port) ([]identity.Port, error) {
	var all []identity.Port
	for _, p := range ports {
		if p.ServicePort < 1 || p.ServicePort > 65535 {
			return nil, fmt.Errorf("service_port %d is not a port: write a number from 1 to 65535", p.ServicePort)
		}
		if p.TargetPort < 0 || p.TargetPort > 65535 {
			return nil, fmt.Errorf("target_port %d is not a port: write a number from 1 to 65535, or leave it out if it is the service_port", p.TargetPort)
		}
		target := cmp.Or(p.TargetPort, p.ServicePort) // as in a Kubernetes service
		all = append(all, identity.Port{Service: uint16(p.ServicePort), Target: uint16(target)})
	}
	return all, nil
}

func parseTunnel(text string) (identity.Tunnel, error) {
	switch text {
	case "", "NONE", "LEGACY_ISTIO_MTLS": // a sidecar's TLS is no tunnel
		return identity.TunnelNone, nil
	case "HBONE":
		return identity.TunnelHBONE, nil
	}
	return 0, fmt.Errorf("tunnel_protocol %q is not known: write HBONE or NONE", text)
}

func parseNetworkMode(text string) (hostNetwork bool, err error) {
	switch text {
	case "", "STANDARD":
		return false, nil
	case "HOST_NETWORK":
		return true, nil
	}
	return false, fmt.Errorf("network_mode %q is not known: write STANDARD or HOST_NETWORK", text)
}
