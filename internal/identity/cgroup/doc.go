// SPDX-License-Identifier: Apache-2.0

// Package cgroup finds the pod of a process from the path of its cgroup.
//
// The probe has the id of a socket's cgroup v2, which is the inode number of a folder. [Tree] walks the mounted
// hierarchy once a second, and sooner when an id is asked for that it does not know: a folder's entries carry the ids,
// and its number of links shows whether anything is below, so that a walk opens the few folders that have others in them.
// open_by_handle_at(2) would find one id at once, but takes CAP_DAC_READ_SEARCH, which lets its holder read every file of
// the host.
//
// On hosts whose pods have cgroups of version 1 every socket is in version 2's root.  /proc/PID/cgroup has the pod there, as
// long as the process lives.
package cgroup
