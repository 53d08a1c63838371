// SPDX-License-Identifier: Apache-2.0

package spans

import (
	"unique"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// unknownService is what the semantic conventions call a service without a name.
const unknownService = "unknown_service"

// ofAgent are the attributes of the agent's resource that a workload's resource has too.
var ofAgent = []string{"host.name", "k8s.node.name"}

// owner identifies the resource of one workload's spans.
type owner struct {
	pod   string
	names unique.Handle[identity.Names]
}

// reporter returns the end whose socket was read; nil: unknown.
func reporter(f *flow.Flow) *identity.Workload {
	w := f.Source
	if f.Connection.Direction == flow.Inbound {
		w = f.Destination
	}
	if !w.Known() {
		return nil
	}
	return w
}

func ownerOf(w *identity.Workload) owner {
	if w == nil {
		return owner{}
	}
	return owner{w.Name, w.Names}
}

// describe writes the resource of a workload, as other tracing has it.
func (w *Writer) describe(who *identity.Workload, to pcommon.Map) {
	if who == nil {
		to.PutStr("service.name", unknownService)
	} else {
		names := who.Names.Value()
		put(to, "service.name", names.CanonicalService)
		put(to, "service.namespace", names.Namespace)
		put(to, "service.version", names.CanonicalRevision)
		if w.pods {
			put(to, "k8s.pod.name", who.Name)
			put(to, "k8s.namespace.name", names.Namespace)
			put(to, "k8s.cluster.name", names.Cluster)
		}
	}
	for _, name := range ofAgent {
		if v, has := w.resource.Attributes().Get(name); has {
			v.CopyTo(to.PutEmpty(name))
		}
	}
}

func put(to pcommon.Map, name, value string) {
	if value != "" && value != identity.Unknown {
		to.PutStr(name, flow.Text(value))
	}
}
