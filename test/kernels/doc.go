// SPDX-License-Identifier: Apache-2.0

// Package kernels tests what is built here on kernels other than the one that runs: run.sh boots
// each in an emulated machine.
package kernels
