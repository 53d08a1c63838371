// SPDX-License-Identifier: Apache-2.0

package identity

// hostPort is a port of a node.
type hostPort struct {
	node string
	port uint16
}

// Declare sets the ports of a node that lead to a pod: those that it declares as host ports and, if it is on the node's
// network, those of its containers. It must come before the pod is put, as a pod's ports never change. They are forgotten when it is gone.
func (x *Index) Declare(uid string, ports []uint16) {
	if len(ports) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.declared[uid] = ports
}

// hostPorts are the ports of its node that lead to a workload; w may be nil.
func (x *Index) hostPorts(w *Workload) []hostPort {
	if w == nil || w.NodeName == (NodeName{}) {
		return nil
	}
	ports := x.declared[w.UID]
	if len(ports) == 0 {
		return nil
	}
	node, all := w.NodeName.String(), make([]hostPort, len(ports))
	for i, port := range ports {
		all[i] = hostPort{node, port}
	}
	return all
}

// declarer is the pod that declares the port of a node; nil: none does.
func (x *Index) declarer(node string, port uint16, at moment) *Workload {
	h := x.byHostPort.read(hostPort{node, port})
	if h == nil {
		return nil
	}
	at, ok, _ := h.moment(at, x.lagAt(at))
	if !ok {
		return nil
	}
	for t := range h.all {
		if t.covers(at) {
			return t.holder
		}
	}
	return nil
}

// nodeAt is the node that has an address; nil: it is no node's.
func (x *Index) nodeAt(a address, at moment) *Workload {
	h := x.holders.read(a)
	if h == nil {
		return nil
	}
	for t := range h.all {
		if t.shares() && t.holder.Node && t.covers(at) {
			return t.holder
		}
	}
	return nil
}

// nodePort is the service with a port on every node; nil: none has it.
func (x *Index) nodePort(port uint16, at moment) *Service {
	h := x.byNodePort.read(port)
	if h == nil {
		return nil
	}
	at, ok, _ := h.moment(at, x.lag)
	if !ok {
		return nil
	}
	var best *Service
	for t := range h.all {
		if t.covers(at) {
			best = lower(best, t.holder)
		}
	}
	return best
}
