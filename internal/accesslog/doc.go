// SPDX-License-Identifier: Apache-2.0

// Package accesslog writes flows as access log records, in batches of plog.Logs.
//
// The fields are a table in fields.go; their names and order are those of Kmesh's access log.
package accesslog
