// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"unicode/utf8"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// NetworkConfig is an entry of identity.networks: the name of ranges of addresses.
type NetworkConfig struct {
	Name  string   `mapstructure:"name"`
	CIDRs []string `mapstructure:"cidrs"`
}

// NewNetworks returns the ranges that have a name, nil if there are none. The error reports everything that is wrong.
func NewNetworks(networks []NetworkConfig) (*identity.Networks, error) {
	if len(networks) == 0 {
		return nil, nil
	}
	named := new(identity.Networks)
	var errs []error
	owners := make(map[netip.Prefix]string)
	for i := range networks {
		network := &networks[i]
		key := fmt.Sprintf("identity.networks[%d]", i)
		errs = append(errs, validNetworkName(key+".name", network.Name))
		if len(network.CIDRs) == 0 {
			errs = append(errs, fmt.Errorf("%s.cidrs is empty: write the address ranges of %q, e.g. [10.0.0.0/8]", key, network.Name))
		}
		for j, text := range network.CIDRs {
			at := fmt.Sprintf("%s.cidrs[%d]", key, j)
			cidr, err := parseCIDR(at, text)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if owner, found := owners[cidr]; found {
				errs = append(errs, fmt.Errorf("%s is %s, which is in network %q already: list each range once", at, cidr, owner))
				continue
			}
			owners[cidr] = network.Name
			named.Add(network.Name, cidr)
		}
	}
	return named, errors.Join(errs...)
}

// validNetworkName rejects the names that labels have for unknown ends.
func validNetworkName(key, name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("%s is %q, which is not UTF-8: use a name in UTF-8", key, name)
	case name == identity.Unknown || name == identity.Other:
		return fmt.Errorf("%s is %q, which is the value for unknown ends: use another name", key, name)
	case name == "":
		return fmt.Errorf("%s is empty: write the name, e.g. corp", key)
	}
	return nil
}

// parseCIDR parses a range as the index of networks holds it: masked, and IPv4 not mapped to IPv6.
func parseCIDR(key, text string) (netip.Prefix, error) {
	cidr, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is %q: it must be an address and the length of a prefix, e.g. 10.0.0.0/8 or 2001:db8::/32", key, text)
	}
	if masked := cidr.Masked(); masked != cidr {
		return netip.Prefix{}, fmt.Errorf("%s is %s, which has host bits set: write %s", key, cidr, masked)
	}
	if cidr.Addr().Is4In6() && cidr.Bits() >= 96 {
		cidr = netip.PrefixFrom(cidr.Addr().Unmap(), cidr.Bits()-96)
	}
	return cidr, nil
}
