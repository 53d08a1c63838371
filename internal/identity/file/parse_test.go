// SPDX-License-Identifier: Apache-2.0

package file

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const examples = "../../../testdata/identity/"

func parseExample(t *testing.T, name string) *Identities {
	t.Helper()
	text, err := os.ReadFile(examples + name)
	require.NoError(t, err)
	found, err := Parse(text)
	require.NoError(t, err)
	return found
}

func TestTheContractsExample(t *testing.T) {
	found := parseExample(t, "identity.yaml")
	httpbin := identity.ServiceKey{Namespace: "default", Host: "httpbin.default.svc.cluster.local"}
	require.Equal(t, &Identities{
		Workloads: []*identity.Workload{
			{
				UID: "Kubernetes//Pod/default/httpbin-5c5944c58c-v9mlk", Name: "httpbin-5c5944c58c-v9mlk",
				Names: identity.Names{
					Workload: "httpbin", CanonicalService: "httpbin", CanonicalRevision: "v1",
					Namespace: "default", Principal: "-", Cluster: "Kubernetes",
				}.Handle(),
				Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.11")},
				Services:  []identity.Membership{{Service: httpbin, Ports: []identity.Port{{Service: 8000, Target: 80}}}},
			},
			{
				UID: "Kubernetes//Pod/default/sleep-868754fbfc-kjbvz", Name: "sleep-868754fbfc-kjbvz",
				Names: identity.Names{
					Workload: "sleep", CanonicalService: "sleep", CanonicalRevision: "latest",
					Namespace: "default", Principal: "-", Cluster: "Kubernetes",
				}.Handle(),
				Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.10")},
			},
		},
		Services: []*identity.Service{{
			Host: httpbin.Host, Name: "httpbin", Namespace: "default",
			Addresses: []netip.Addr{netip.MustParseAddr("10.96.5.5")}, Ports: []identity.Port{{Service: 8000, Target: 80}},
		}},
	}, found)
}

func TestEveryKeyOfAnEntry(t *testing.T) {
	found := parseExample(t, "mesh.yaml")
	require.Len(t, found.Workloads, 3)
	require.Len(t, found.Services, 2)
	require.Equal(t, &identity.Workload{
		UID: "east//Pod/shop/cart-7d9c5b8f6d-2xkqp", Name: "cart-7d9c5b8f6d-2xkqp",
		Names: identity.Names{
			Workload: "cart-v2", CanonicalService: "cart", CanonicalRevision: "v2",
			Namespace: "shop", Principal: "spiffe://cluster.local/ns/shop/sa/cart", Cluster: "east",
		}.Handle(),
		Tunnel:    identity.TunnelHBONE,
		Addresses: []netip.Addr{netip.MustParseAddr("10.8.1.7"), netip.MustParseAddr("fd00:8::7")},
		Services: []identity.Membership{
			{Service: identity.ServiceKey{Namespace: "shop", Host: "all.shop.example"}, Ports: []identity.Port{{Service: 443, Target: 8443}}},
			{
				Service: identity.ServiceKey{Namespace: "shop", Host: "cart.shop.svc.cluster.local"},
				Ports:   []identity.Port{{Service: 80, Target: 8080}, {Service: 9090, Target: 9090}},
			},
		},
	}, found.Workloads[0])
	require.True(t, found.Workloads[1].HostNetwork)
	require.Equal(t, identity.Topology{Region: "eu-1", Zone: "eu-1a"}, found.Workloads[1].Topology())
	require.Equal(t, identity.Topology{Region: "-", Zone: "-"}, found.Workloads[0].Topology())
	require.Equal(t, &identity.Workload{
		UID: "east/vm/legacy-1", Name: "legacy-1",
		Names: identity.Names{
			Workload: "legacy-1", CanonicalService: "legacy-1", CanonicalRevision: "latest", Namespace: "-", Principal: "-", Cluster: "-",
		}.Handle(),
		Addresses: []netip.Addr{netip.MustParseAddr("192.168.9.4")},
	}, found.Workloads[2])
	require.Equal(t, &identity.Service{Host: "all.shop.example", Name: "all", Namespace: "shop"}, found.Services[1])
}

func TestBadFilesSayWhatIsWrongWhereAndWhatToDo(t *testing.T) {
	const one = "workloads:\n  - uid: a\n    name: pod-a\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":           {"", "it is empty: write `workloads: []` if there are none"},
		"only a comment":  {"# nothing\n", "it is empty: write `workloads: []` if there are none"},
		"not YAML":        {"workloads: [", "not YAML: line 1: did not find expected node content"},
		"another kind":    {"- a\n", "line 1: list where a mapping of keys to values belongs"},
		"a mapping":       {"workloads: {uid: a}\n", "line 1: mapping where a list belongs"},
		"two documents":   {one + "---\n" + one, "something follows the first YAML document: put all workloads and services into one, without `---` between them"},
		"unknown key":     {one + "    adresses: [10.0.0.1]\n", `line 4: unknown key "adresses" in a workload: remove it, or correct its spelling`},
		"unknown top key": {"pods: []\n", `line 1: unknown key "pods" in a file: remove it, or correct its spelling`},
		"unknown port key": {
			"services:\n  - {name: s, namespace: n, hostname: h, ports: [{port: 80}]}\n",
			`line 2: unknown key "port" in a port: remove it, or correct its spelling`,
		},
		"a key twice":       {one + "    name: pod-b\n", `line 4: mapping key "name" already defined at line 3`},
		"no uid":            {"workloads:\n  - name: pod-a\n", `line 2: workload "pod-a": uid is missing: write one like Kubernetes//Pod/default/httpbin-5c5944c58c-v9mlk`},
		"no name":           {"workloads:\n  - uid: a\n", `line 2: workload "a": name is missing: write one like httpbin-5c5944c58c-v9mlk`},
		"nothing":           {"workloads:\n  - {}\n", `line 2: workload number 1: uid is missing: write one like Kubernetes//Pod/default/httpbin-5c5944c58c-v9mlk`},
		"an empty item":     {one + "  -\n  - {uid: b}\n", `line 4: a list's item is empty: remove its dash, or write what is missing`},
		"an empty address":  {one + "    addresses: [10.0.0.1, ~]\n", `line 4: a list's item is empty: remove its dash, or write what is missing`},
		"uid twice":         {one + "  - {uid: a, name: pod-b}\n", `line 4: workload "a": line 2 has the same uid: give each workload its own`},
		"bad address":       {one + "    addresses: [10.244.0.300]\n", `line 2: workload "a": address "10.244.0.300" is not an IP address: write one like 10.244.0.11 or fd00::11`},
		"an address range":  {one + "    addresses: [10.0.0.0/8]\n", `line 2: workload "a": address "10.0.0.0/8" is not an IP address: write one like 10.244.0.11 or fd00::11`},
		"a zone":            {one + "    addresses: [fe80::1%eth0]\n", `line 2: workload "a": address "fe80::1%eth0" has a zone: write it without %eth0`},
		"one address":       {one + "    addresses: 10.0.0.1\n", `line 4: text "10.0.0.1" where a list belongs`},
		"bad tunnel":        {one + "    tunnel_protocol: hbone\n", `line 2: workload "a": tunnel_protocol "hbone" is not known: write HBONE or NONE`},
		"bad network mode":  {one + "    network_mode: HOST\n", `line 2: workload "a": network_mode "HOST" is not known: write STANDARD or HOST_NETWORK`},
		"service's key":     {one + "    services: {httpbin: []}\n", `line 2: workload "a": services: "httpbin" is not NAMESPACE/HOSTNAME: write it like default/httpbin.default.svc.cluster.local`},
		"a missing service": {one + "    services: {default/h: []}\n", `line 2: workload "a": services: "default/h" is not in this file: add it under the file's ` + "`services`, or remove it here"},
		"service's port": {
			"workloads: [{uid: a, name: p, services: {n/h: [{service_port: 80, target_port: 65536}]}}]\nservices: [{name: s, namespace: n, hostname: h}]\n",
			`line 1: workload "a": services: "n/h": target_port 65536 is not a port: write a number from 1 to 65535, or leave it out if it is the service_port`,
		},
		"no port":             {"services:\n  - {name: s, namespace: n, hostname: h, ports: [{target_port: 80}]}\n", `line 2: service "h": service_port 0 is not a port: write a number from 1 to 65535`},
		"a port's name":       {"services:\n  - {name: s, namespace: n, hostname: h, ports: [{service_port: http}]}\n", `line 2: text "http" where a whole number belongs`},
		"no hostname":         {"services:\n  - {name: s}\n", `line 2: service number 1: hostname is missing: write one like httpbin.default.svc.cluster.local`},
		"no service name":     {"services:\n  - {hostname: h, namespace: n}\n", `line 2: service "h": name is missing: write one like httpbin`},
		"no namespace":        {"services:\n  - {hostname: h, name: n}\n", `line 2: service "h": namespace is missing: write one like default`},
		"bad service address": {"services:\n  - {hostname: h, name: n, namespace: n, addresses: [nowhere]}\n", `line 2: service "h": address "nowhere" is not an IP address: write one like 10.244.0.11 or fd00::11`},
		"service twice":       {"services:\n  - {hostname: h, name: n, namespace: n}\n  - {hostname: h, name: m, namespace: n}\n", `line 3: service "h": line 2 has the same namespace and hostname: remove one of the two`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			require.EqualError(t, err, c.want)
		})
	}
}

func TestAFileWithoutIdentitiesIsGood(t *testing.T) {
	found, err := Parse([]byte("workloads: []\n"))
	require.NoError(t, err)
	require.Equal(t, &Identities{}, found)
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"identity.yaml", "mesh.yaml"} {
		text, err := os.ReadFile(examples + name)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte("workloads:\n  - &a {uid: a, name: b, waypoint: [1, {2: 3}]}\n  - <<: *a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		found, err := Parse(text)
		if err != nil {
			require.NotContains(t, err.Error(), "file.workload", "a Go type means nothing to a user")
			return
		}
		uids := map[string]bool{}
		for _, w := range found.Workloads {
			require.False(t, uids[w.UID], "uid twice")
			uids[w.UID] = true
			names := w.Names.Value()
			for _, text := range []string{w.UID, w.Name, w.Namespace(), names.Workload, names.CanonicalService, names.CanonicalRevision, names.Namespace, names.Principal, names.Cluster} {
				require.NotEmpty(t, text)
				require.Equal(t, strings.ToValidUTF8(text, "?"), text)
			}
		}
		for _, s := range found.Services {
			require.NotEmpty(t, s.Host)
			require.NotEmpty(t, s.Name)
			require.NotEmpty(t, s.Namespace)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text, err := os.ReadFile(examples + "mesh.yaml")
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
