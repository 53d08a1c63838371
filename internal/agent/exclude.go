// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"math"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
)

// ExcludeConfig is a rule of exclude.
type ExcludeConfig struct {
	CIDRs      []string `mapstructure:"cidrs"`
	Ports      []int    `mapstructure:"ports"`
	Direction  string   `mapstructure:"direction"`
	Namespaces []string `mapstructure:"namespaces"`
	Workloads  []string `mapstructure:"workloads"`
}

// maxExcludeRules bounds the rules, each of which may be asked about each record.
const maxExcludeRules = 64

// NewExclude returns the rules. The error reports everything that is wrong.
func NewExclude(configs []ExcludeConfig) ([]naming.Rule, error) {
	if len(configs) > maxExcludeRules {
		return nil, fmt.Errorf("exclude has %d rules: write at most %d, a rule may have many cidrs and ports", len(configs), maxExcludeRules)
	}
	var rules []naming.Rule
	var errs []error
	for i := range configs {
		rule, err := configs[i].rule(fmt.Sprintf("exclude[%d]", i))
		rules, errs = append(rules, rule), append(errs, err)
	}
	return rules, errors.Join(errs...)
}

func (c *ExcludeConfig) rule(key string) (rule naming.Rule, _ error) {
	if len(c.CIDRs)+len(c.Ports)+len(c.Namespaces)+len(c.Workloads) == 0 && c.Direction == "" {
		return rule, fmt.Errorf("%s is empty, and would exclude everything: write cidrs, ports, direction, namespaces or workloads", key)
	}
	var errs []error
	for j, text := range c.CIDRs {
		cidr, err := parseCIDR(fmt.Sprintf("%s.cidrs[%d]", key, j), text)
		rule.CIDRs, errs = append(rule.CIDRs, cidr), append(errs, err)
	}
	for j, port := range c.Ports {
		if port < 1 || port > math.MaxUint16 {
			errs = append(errs, fmt.Errorf("%s.ports[%d] is %d: a port is 1 to 65535", key, j, port))
			continue
		}
		rule.Ports = append(rule.Ports, uint16(port))
	}
	switch c.Direction {
	case "":
	case "outbound":
		rule.Directions = []flow.Direction{flow.Outbound}
	case "inbound":
		rule.Directions = []flow.Direction{flow.Inbound}
	default:
		errs = append(errs, fmt.Errorf("%s.direction is %q: it must be outbound or inbound; without it a rule matches both", key, c.Direction))
	}
	for _, names := range []struct {
		key  string
		from []string
		to   *[]string
	}{{"namespaces", c.Namespaces, &rule.Namespaces}, {"workloads", c.Workloads, &rule.Workloads}} {
		for j, name := range names.from {
			if name == "" {
				errs = append(errs, fmt.Errorf("%s.%s[%d] is empty: write a name, or leave it out", key, names.key, j))
			}
		}
		*names.to = names.from
	}
	return rule, errors.Join(errs...)
}
