// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package identity

// OwnNetns returns the network namespace of this process.
func OwnNetns() Netns { return Netns{} }
