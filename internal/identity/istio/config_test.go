// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheConnectionIsEncryptedUnlessItIsConfiguredOtherwise(t *testing.T) {
	config := NewDefaultConfig()
	tls, err := config.loadTLS()
	require.NoError(t, err)
	require.NotNil(t, tls)
	config.TLS.Insecure = true
	tls, err = config.loadTLS()
	require.NoError(t, err)
	require.Nil(t, tls)
	config.TLS.CAFile = filepath.Join(t.TempDir(), "missing.pem")
	_, err = config.loadTLS()
	require.ErrorContains(t, err, "missing.pem")
}
