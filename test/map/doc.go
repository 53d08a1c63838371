// SPDX-License-Identifier: Apache-2.0

// Package livemap tests the live map in a real browser, with the build tag e2e as root: the built distribution, real
// traffic between network namespaces, and Debian's Chromium.
package livemap
