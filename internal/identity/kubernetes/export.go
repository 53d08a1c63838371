// SPDX-License-Identifier: Apache-2.0

package kubernetes

import "github.com/kmesh-net/otelcol-kmesh/internal/identity"

// Index returns what the source knows, for whoever serves it to others.
func (s *Source) Index() *identity.Index { return s.index }
