// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"strings"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// refer counts the services that a workload is behind, in place of those of its version before.
func (d *demand) refer(e, old *entry, now time.Time) {
	if e.workload == nil {
		return
	}
	for i := range e.workload.Services {
		key := e.workload.Services[i].Service
		if d.behind[key]++; d.behind[key] == 1 {
			d.republish(key, now)
		}
	}
	if old == nil {
		return
	}
	for i := range old.workload.Services {
		d.unrefer(old.workload.Services[i].Service, now)
	}
}

func (d *demand) unrefer(key identity.ServiceKey, now time.Time) {
	if d.behind[key]--; d.behind[key] > 0 {
		return
	}
	delete(d.behind, key)
	if e := d.entries[ServiceName(key)]; e != nil && !d.keeps(e) {
		d.drop(e, identity.Span{Until: now}, now)
		d.out.unsubscribe(e.name)
	}
	d.republish(key, now)
}

// republish publishes a service as far as it is known: whole if its address is held, else by its name, which the workloads
// behind it tell. A name that is no Kubernetes service's is not enough: it is asked for.
func (d *demand) republish(key identity.ServiceKey, now time.Time) {
	name := ServiceName(key)
	e := d.entries[name]
	short, derived := shortName(key)
	switch {
	case e != nil:
		d.publish(e, identity.Since(now, now), now)
		return
	case d.behind[key] == 0:
		d.index.RemoveService(key, now)
		if !derived {
			d.out.unsubscribe(name)
		}
		return
	case !derived:
		d.out.subscribe(name)
	}
	d.index.UpsertService(&identity.Service{Host: key.Host, Name: short, Namespace: key.Namespace}, time.Time{}, now)
}

// byName returns whether a service is held for the workloads behind it.
func (d *demand) byName(key identity.ServiceKey) bool {
	_, derived := shortName(key)
	return !derived && d.behind[key] > 0
}

// shortName returns the name of a Kubernetes service, whose host name is NAME.NAMESPACE.svc.DOMAIN; of any other one all
// that is known is the host name.
func shortName(key identity.ServiceKey) (name string, derived bool) {
	name, rest, _ := strings.Cut(key.Host, ".")
	if strings.HasPrefix(rest, key.Namespace+".svc.") && name != "" {
		return name, true
	}
	return key.Host, false
}
