// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// syncError is why the present state of the mesh is not known.
type syncError struct {
	kind     kind
	endpoint string
	cause    error
}

type kind uint8

const (
	waiting kind = iota
	unreachable
	untrusted // the server's certificate
	plain     // one side has TLS, and the other has not
	files     // of the TLS settings
	token     // its file
	unauthenticated
	malformed // resources that cannot be decoded
)

// connectionError returns why a connection failed.
func connectionError(endpoint string, encrypted bool, err error) *syncError {
	e := &syncError{kind: unreachable, endpoint: endpoint, cause: err}
	var own *syncError
	if errors.As(err, &own) {
		own.endpoint = endpoint
		return own
	}
	var f *failure
	if errors.As(err, &f) {
		err = f.err // the server's text, without what grpc puts around it
	}
	var notTLS tls.RecordHeaderError
	text := status.Convert(err).Message()
	switch code := status.Code(err); {
	case code == codes.Unauthenticated || code == codes.PermissionDenied:
		e.kind = unauthenticated
	// gRPC returns what failed below it as text only.
	case errors.As(err, &notTLS), strings.Contains(text, "first record does not look like a TLS handshake"),
		!encrypted && strings.Contains(text, "error reading server preface"):
		e.kind = plain
	case encrypted && (strings.Contains(text, "x509: ") || strings.Contains(text, "tls: ")):
		e.kind = untrusted
	}
	e.cause = errors.New(text)
	return e
}

// Error names the remedy.
func (e *syncError) Error() string {
	switch e.kind {
	case waiting:
		return fmt.Sprintf("istiod at %s has not sent all workloads and services yet", e.endpoint)
	case untrusted:
		return fmt.Sprintf("the TLS handshake with istiod at %s fails: set identity.istio.tls.ca_file to the mesh's root certificate "+
			"(root-cert.pem of the config map istio-ca-root-cert), and identity.istio.tls.server_name_override where the endpoint is not a name in "+
			"istiod's certificate (%v)", e.endpoint, e.cause)
	case plain:
		return fmt.Sprintf("identity.istio.tls does not match istiod at %s: istiod has TLS at port 15012, and plain text at 15010, "+
			"which needs identity.istio.tls: {insecure: true} (%v)", e.endpoint, e.cause)
	case files:
		return fmt.Sprintf("cannot use identity.istio.tls: mount the files that it names, in PEM (%v)", e.cause)
	case token:
		return fmt.Sprintf("cannot read the token for istiod: set identity.istio.token_file to a projected service account token with the "+
			"audience istio-ca, as deploy/examples/istio.yaml shows (%v)", e.cause)
	case unauthenticated:
		return fmt.Sprintf("istiod at %s rejects the collector's credentials: set identity.istio.token_file to a projected service account token of this "+
			"cluster that is not expired and has the audience istio-ca, and identity.istio.cluster_id to the cluster's id in istiod (%v)", e.endpoint, e.cause)
	case malformed:
		return fmt.Sprintf("istiod at %s sent resources that could not be decoded (rejected with a NACK); the others are in use: %v", e.endpoint, e.cause)
	}
	return fmt.Sprintf("cannot connect to istiod at %s, and retries: %v", e.endpoint, e.cause)
}

// key is equal for equal errors. Their causes differ, in ports and times.
func (e *syncError) key() string { return fmt.Sprint(e.kind) }
