// SPDX-License-Identifier: Apache-2.0

// Package docs holds the tests of the documentation: that links lead somewhere, and that what the text states about
// the code is what the code says.
package docs
