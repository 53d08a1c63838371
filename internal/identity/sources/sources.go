// SPDX-License-Identifier: Apache-2.0

// Package sources has the registry of the identity sources. A new source is a folder beside this one, and one line here.
package sources

import (
	"maps"
	"os"
	"slices"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/file"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/host"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/istio"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
)

// registry has each source's default configuration, by the name that users write.
var registry = map[string]func() identity.SourceConfig{
	"file":       func() identity.SourceConfig { return file.NewDefaultConfig() },
	"host":       func() identity.SourceConfig { return host.NewDefaultConfig() },
	"istio":      func() identity.SourceConfig { return istio.NewDefaultConfig() },
	"kubernetes": func() identity.SourceConfig { return kubernetes.NewDefaultConfig() },
}

// Auto is the name that stands for the source that suits the environment.
const Auto = "auto"

// candidates are what Auto can stand for: in a pod, and elsewhere.
const inPod, elsewhere = "kubernetes", "host"

const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path, no secret

// NewDefaultConfigs returns the default configuration of every source, by name.
func NewDefaultConfigs() map[string]identity.SourceConfig {
	configs := make(map[string]identity.SourceConfig, len(registry))
	for name, newDefaultConfig := range registry {
		configs[name] = newDefaultConfig()
	}
	return configs
}

// Names returns what users can write as the source's name, Auto first.
func Names() []string {
	return append([]string{Auto}, slices.Sorted(maps.Keys(registry))...)
}

// Select returns the name of the source that a user means: Auto is kubernetes in a pod with a service account, else host.
func Select(name string) string {
	if name != Auto {
		return name
	}
	if _, err := os.Stat(serviceAccountToken); err == nil && os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return inPod
	}
	return elsewhere
}

// Candidates returns every source that Select may return for the name in some environment.
func Candidates(name string) []string {
	if name == Auto {
		return []string{inPod, elsewhere}
	}
	return []string{name}
}
