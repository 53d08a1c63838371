// SPDX-License-Identifier: Apache-2.0

// Package sink has what the last stages of all signals have in common: what they are given, what they need, the queue of a
// signal of records, and the numbers that they report. A signal's own package makes its sink of these.
package sink
