// SPDX-License-Identifier: Apache-2.0

// Package architecture compares the drawing of the packages in docs/architecture.md with the imports in the source.
package architecture
