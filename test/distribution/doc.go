// SPDX-License-Identifier: Apache-2.0

// Package distribution holds the tests of the built distribution, run with the build
// tag e2e as root: that its examples start and stop, that bad surroundings get one clear
// error each, and that a user's own manifest builds with our receiver in it.
package distribution
