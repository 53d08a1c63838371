// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// A cluster has as many workloads as pods, and the allocator rounds each up to one of its sizes: 128 bytes, then 144. What
// is common to many workloads is interned or shared instead.
func TestAWorkloadFitsItsSizeClass(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Workload{}), uintptr(128))
}

func TestANamespaceIsThatOfTheNames(t *testing.T) {
	require.Equal(t, Unknown, (&Workload{}).Namespace(), "without names")
	require.Equal(t, Unknown, (&Workload{Names: Names{Workload: "sleep"}.Handle()}).Namespace())
	require.Equal(t, "shop", (&Workload{Names: Names{Workload: "sleep", Namespace: "shop"}.Handle()}).Namespace())
}

func TestANodeNameIsTheSameForAllItsWorkloads(t *testing.T) {
	require.Equal(t, "node-1", NewNodeName("node-1").String())
	require.Equal(t, NewNodeName("node-1"), NewNodeName("node-1"))
	require.NotEqual(t, NewNodeName("node-1"), NewNodeName("node-2"))
	require.Equal(t, NodeName{}, NewNodeName(""), "unknown")
	require.Empty(t, NodeName{}.String())
}
