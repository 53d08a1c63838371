// SPDX-License-Identifier: Apache-2.0

// Package accesslog writes flows as access log records, in batches of plog.Logs.
//
// Its fields, with their names and order, are in internal/fields.
package accesslog
