// SPDX-License-Identifier: Apache-2.0

// Package fields has the fields of the records that report one event of one connection end: name, type, and how each is
// filled. The access log and spans are made of them.
package fields
