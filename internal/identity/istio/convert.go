// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	// maxName is the longest name that Kubernetes gives, in bytes: a longer one is cut, so that labels are bounded.
	maxName = 253
	// maxKey bounds what identifies a resource, which cannot be cut. Istio's are made of a few names.
	maxKey = 8 * maxName
	// ofSlice is in the uid of what stands behind a service without a selector: an address in an EndpointSlice.
	ofSlice = "/discovery.k8s.io/EndpointSlice/"
)

// entry is a resource as it is held: with the addresses of all its networks.
type entry struct {
	name      string // of the resource, where entries are held on demand
	version   string
	workload  *identity.Workload // without addresses; nil: it is a service
	service   *identity.Service  // without addresses
	addresses []located
	network   string     // of the workload
	cluster   string     // of the workload
	node      string     // of the workload
	from      Provenance // of the workload, from a directory
}

// sameIdentity returns whether both are versions of one workload, or of one service.
func (e *entry) sameIdentity(o *entry) bool {
	switch {
	case e.workload != nil && o.workload != nil:
		return e.workload.UID == o.workload.UID
	case e.service != nil && o.service != nil:
		return e.service.Key() == o.service.Key()
	}
	return false
}

// located is an address in a network. The same address in another network belongs to another workload.
type located struct {
	network string
	address netip.Addr
}

// mesh is what istiod leaves out.
type mesh struct {
	clusterID   string // of workloads that have none
	trustDomain string // the same: istiod leaves the mesh's default out
}

// convert makes an entry of a resource. The error says why it cannot be used.
func (m *mesh) convert(a *Address) (*entry, error) {
	if a.Workload != nil {
		return m.workload(a.Workload)
	}
	return serviceOf(a.Service)
}

func (m *mesh) workload(w *Workload) (*entry, error) {
	if err := isKey("uid", w.UID, maxKey); err != nil {
		return nil, err
	}
	memberships, err := membershipsOf(w.Services)
	if err != nil {
		return nil, err
	}
	e := &entry{network: shared(w.Network), cluster: shared(cmp.Or(w.ClusterID, m.clusterID)), node: shared(w.Node)}
	for _, bytes := range w.Addresses {
		address, err := parseAddress(bytes)
		if err != nil {
			return nil, err
		}
		e.add(e.network, address)
	}
	name := w.Name
	if strings.Contains(w.UID, ofSlice) && len(memberships) > 0 {
		// It belongs to no pod, and istiod names it after the slice, whose name is generated for each slice.
		name, _, _ = strings.Cut(memberships[0].Service.Host, ".")
	}
	names := identity.Names{
		Workload:          bounded(cmp.Or(w.WorkloadName, name)), // a bare pod, or a VM, owns itself
		CanonicalService:  bounded(w.CanonicalName),
		CanonicalRevision: bounded(w.CanonicalRevision),
		Namespace:         bounded(w.Namespace),
		Principal: identity.Principal(bounded(cmp.Or(w.TrustDomain, m.trustDomain)), bounded(w.Namespace),
			bounded(w.ServiceAccount)),
		Cluster: bounded(cmp.Or(w.ClusterID, m.clusterID)),
	}.Handle()
	tunnel := identity.TunnelNone // a sidecar's TLS is no tunnel
	if w.HBONE {
		tunnel = identity.TunnelHBONE
	}
	e.workload = &identity.Workload{
		UID: w.UID, Name: cmp.Or(bounded(name), identity.Unknown), NodeName: identity.NewNodeName(e.node),
		Names: names, Tunnel: tunnel, HostNetwork: w.HostNetwork, Services: memberships, Site: identity.NewSite(bounded(w.Region), bounded(w.Zone)),
	}
	return e, nil
}

func serviceOf(s *Service) (*entry, error) {
	if err := isKey("hostname", s.Hostname, maxName); err != nil {
		return nil, err
	}
	if err := isKey("namespace", cmp.Or(s.Namespace, identity.Unknown), maxName); err != nil {
		return nil, err
	}
	ports, err := portsOf(s.Ports)
	if err != nil {
		return nil, err
	}
	key := keyOf(s.Namespace, s.Hostname)
	e := &entry{service: &identity.Service{
		Host: key.Host, Name: cmp.Or(bounded(s.Name), key.Host), Namespace: key.Namespace, Ports: ports,
	}}
	for i := range s.Addresses {
		n := &s.Addresses[i]
		address, err := parseAddress(n.Address)
		if err != nil {
			return nil, err
		}
		if n.Range && int(n.Length) < address.BitLen() {
			continue // a range is for routing: no workload has all its addresses
		}
		e.add(shared(n.Network), address)
	}
	return e, nil
}

// add keeps an address that a workload can have.
func (e *entry) add(network string, address netip.Addr) {
	if address.IsUnspecified() {
		return
	}
	e.addresses = append(e.addresses, located{network, address})
}

func (e *entry) has(network string, address netip.Addr) bool {
	return slices.Contains(e.addresses, located{network, address})
}

// within returns the addresses in one network, sorted, so that another order is no other version.
func (e *entry) within(network string) []netip.Addr {
	var all []netip.Addr
	for _, at := range e.addresses {
		if at.network == network {
			all = append(all, at.address)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

func membershipsOf(services map[string][]Port) ([]identity.Membership, error) {
	if len(services) == 0 {
		return nil, nil
	}
	all := make([]identity.Membership, 0, len(services))
	for text, sent := range services {
		namespace, host, ok := strings.Cut(text, "/")
		if !ok || host == "" {
			return nil, fmt.Errorf("services: %.80q is not NAMESPACE/HOSTNAME", text)
		}
		if err := isKey("services", text, 2*maxName+1); err != nil {
			return nil, err
		}
		ports, err := portsOf(sent)
		if err != nil {
			return nil, fmt.Errorf("services: %w", err)
		}
		all = append(all, identity.Membership{Service: keyOf(namespace, host), Ports: ports})
	}
	slices.SortFunc(all, func(a, b identity.Membership) int { return a.Service.Compare(b.Service) })
	return all, nil
}

func portsOf(sent []Port) ([]identity.Port, error) {
	var all []identity.Port
	for _, p := range sent {
		if p.Service > 65535 || p.Target > 65535 {
			return nil, fmt.Errorf("%d to %d are not two ports", p.Service, p.Target)
		}
		all = append(all, identity.Port{Service: uint16(p.Service), Target: uint16(p.Target)})
	}
	return all, nil
}

// keyOf identifies a service. Each pod behind it has the key: it is kept once.
func keyOf(namespace, host string) identity.ServiceKey {
	return identity.ServiceKey{Namespace: shared(cmp.Or(namespace, identity.Unknown)), Host: shared(host)}
}

// shared returns the text in memory that equal texts share.
func shared(text string) string { return unique.Make(text).Value() }

func parseAddress(bytes []byte) (netip.Addr, error) {
	address, ok := netip.AddrFromSlice(bytes)
	if !ok {
		return address, fmt.Errorf("an address has %d bytes, not 4 or 16", len(bytes))
	}
	return address.Unmap(), nil
}

func isKey(field, text string, most int) error {
	switch {
	case text == "":
		return errors.New(field + " is empty")
	case len(text) > most:
		return fmt.Errorf("%s has %d bytes, more than %d", field, len(text), most)
	}
	return nil
}

// bounded cuts a name that is too long, at the beginning of a character.
func bounded(name string) string {
	if len(name) <= maxName {
		return name
	}
	cut := maxName
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return strings.Clone(name[:cut])
}
