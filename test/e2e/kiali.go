// SPDX-License-Identifier: Apache-2.0

//go:build e2e && kiali

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

const kialiPath = "../../.tools/kiali"

// kiali is a real Kiali of a cluster and a Prometheus, without its pages.
type kiali struct {
	program
	url string
}

func startKiali(t testing.TB, c *cluster, p *prometheus) *kiali {
	t.Helper()
	kubeconfig, token := c.kubeconfig(t, "kiali")
	require.NoError(t, os.WriteFile(token, []byte(adminToken), 0o600))
	dir, port := t.TempDir(), testhost.FreePort(t)
	path := filepath.Join(dir, "kiali.yaml")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `
auth: {strategy: anonymous}
deployment: {cluster_wide_access: true, instance_name: kiali, namespace: default, remote_secret_path: %q, view_only_mode: true}
external_services:
  custom_dashboards: {enabled: false}
  grafana: {enabled: false}
  istio: {istio_api_enabled: false}
  prometheus: {url: %q, cache_enabled: false}
  tracing: {enabled: false}
kubernetes_config: {cluster_name: Kubernetes}
server:
  address: 127.0.0.1
  port: %d
  web_root: /kiali
  static_content_root_directory: %q
  observability: {metrics: {enabled: false}}
`, kubeconfig, p.url, port, dir), 0o600))
	// Of its pages it reads the first, to write its address into it.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.html"), []byte("<html></html>"), 0o600))
	k := &kiali{url: fmt.Sprintf("http://127.0.0.1:%d/kiali", port)}
	k.program = program{
		name: "kiali", path: kialiPath, args: []string{"-config", path}, ready: k.url + "/healthz",
		env: []string{"LOG_LEVEL=info", "KUBECONFIG=" + kubeconfig},
	}
	k.start(t)
	return k
}

// graph returns the edges of a namespace's graph, with the bytes per second that Kiali shows on each. rate is sent or received.
func (k *kiali) graph(kind, namespace, rate string) (map[string]float64, error) {
	body, err := get(k.url + "/api/namespaces/graph?" + url.Values{
		"namespaces": {namespace}, "graphType": {kind}, "rateTcp": {rate}, "duration": {"10s"},
		"injectServiceNodes": {"false"}, "appenders": {"deadNode"},
	}.Encode())
	if err != nil {
		return nil, err
	}
	var answer struct {
		Elements struct {
			Nodes []struct{ Data json.RawMessage }
			Edges []struct {
				Data struct {
					Source, Target string
					Traffic        struct {
						Protocol string
						Rates    map[string]string
						// By response code, which is - for every TCP.
						Responses map[string]struct{ Hosts map[string]string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("graph: %w: %s", err, body)
	}
	names := make(map[string]string)
	for _, n := range answer.Elements.Nodes {
		var d struct{ ID, NodeType, Workload, App, Version, Service string }
		if err := json.Unmarshal(n.Data, &d); err != nil {
			return nil, fmt.Errorf("graph: %w: %s", err, n.Data)
		}
		if strings.Contains(string(n.Data), `"-"`) {
			return nil, fmt.Errorf("something is called -: %s", n.Data)
		}
		switch d.NodeType {
		case "workload":
			names[d.ID] = d.Workload
		case "app":
			names[d.ID] = strings.TrimSpace(d.App + " " + d.Version)
		case "service":
			names[d.ID] = d.Service
		default:
			names[d.ID] = d.NodeType
		}
	}
	edges := make(map[string]float64)
	for _, e := range answer.Elements.Edges {
		for _, response := range e.Data.Traffic.Responses {
			if _, nameless := response.Hosts["-"]; nameless {
				return nil, fmt.Errorf("a service is called -: %s", body)
			}
		}
		for name, text := range e.Data.Traffic.Rates {
			if name != e.Data.Traffic.Protocol {
				continue
			}
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, fmt.Errorf("graph: %w", err)
			}
			edges[names[e.Data.Source]+" > "+names[e.Data.Target]+" "+name] += value
		}
	}
	return edges, nil
}
