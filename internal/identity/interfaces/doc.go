// SPDX-License-Identifier: Apache-2.0

// Package interfaces lists the addresses that a machine has: those of this process's network namespace, and those of all others
// that can be seen.
package interfaces
