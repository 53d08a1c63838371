// SPDX-License-Identifier: Apache-2.0

package file

import (
	"fmt"
	"net/netip"
)

// document is the whole file. Keys are those of istio.workload.Workload and istio.workload.Service in snake case; those
// without a use for telemetry are accepted, so that entries can be copied from Istio, and not used.
type document struct {
	Workloads []workload `yaml:"workloads"`
	Services  []service  `yaml:"services"`
}

type workload struct {
	UID               string            `yaml:"uid"`
	Name              string            `yaml:"name"`
	Namespace         string            `yaml:"namespace"`
	Addresses         []string          `yaml:"addresses"`
	WorkloadName      string            `yaml:"workload_name"`
	CanonicalName     string            `yaml:"canonical_name"`
	CanonicalRevision string            `yaml:"canonical_revision"`
	ServiceAccount    string            `yaml:"service_account"`
	TrustDomain       string            `yaml:"trust_domain"`
	ClusterID         string            `yaml:"cluster_id"`
	TunnelProtocol    string            `yaml:"tunnel_protocol"`
	NetworkMode       string            `yaml:"network_mode"`
	Services          map[string][]port `yaml:"services"`
	Locality          locality          `yaml:"locality"`

	// Not used.
	Hostname              any `yaml:"hostname"`
	Network               any `yaml:"network"`
	NetworkGateway        any `yaml:"network_gateway"`
	Node                  any `yaml:"node"`
	WorkloadType          any `yaml:"workload_type"`
	Waypoint              any `yaml:"waypoint"`
	NativeTunnel          any `yaml:"native_tunnel"`
	ApplicationTunnel     any `yaml:"application_tunnel"`
	AuthorizationPolicies any `yaml:"authorization_policies"`
	Status                any `yaml:"status"`
	Capacity              any `yaml:"capacity"`
}

// locality is where a workload runs.
type locality struct {
	Region string `yaml:"region"`
	Zone   string `yaml:"zone"`

	// Not used.
	Subzone any `yaml:"subzone"`
}

type service struct {
	Name      string   `yaml:"name"`
	Namespace string   `yaml:"namespace"`
	Hostname  string   `yaml:"hostname"`
	Addresses []string `yaml:"addresses"`
	Ports     []port   `yaml:"ports"`

	// Not used.
	SubjectAltNames any `yaml:"subject_alt_names"`
	Waypoint        any `yaml:"waypoint"`
	LoadBalancing   any `yaml:"load_balancing"`
	IPFamilies      any `yaml:"ip_families"`
	Canonical       any `yaml:"canonical"`
}

type port struct {
	ServicePort int `yaml:"service_port"`
	TargetPort  int `yaml:"target_port"`
}

// parseAddress takes one address as it is written; no network before it and no prefix length behind it.
func parseAddress(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return addr, fmt.Errorf("address %q is not an IP address: write one like 10.244.0.11 or fd00::11", text)
	}
	if addr.Zone() != "" {
		return addr, fmt.Errorf("address %q has a zone: write it without %%%s", text, addr.Zone())
	}
	return addr.Unmap(), nil
}
