// SPDX-License-Identifier: Apache-2.0

// Package page serves the map: its page, the graph as JSON, and the events.
package page
