// SPDX-License-Identifier: Apache-2.0

package kubernetes

import "github.com/kmesh-net/otelcol-kmesh/internal/identity"

// Index returns what the source knows, for a directory that serves it.
func (s *Source) Index() *identity.Index { return s.index }
