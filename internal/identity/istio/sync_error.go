package istio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ailment is why the present state of the mesh is not known.
type ailment struct {
	kind     kind
	endpoint string
	cause    error
}

type kind uint8

const (
	well kind = iota
	waiting
	unreachable
	untrusted // the server's certificate
	plain     // the server talks plain text, or TLS where it should not
	files     // of the TLS settings
	token     // its file
	unauthenticated
	malformed // resources that cannot be read
)

// ailing tells why a connection failed.
func ailing(endpoint string, encrypted bool, err error) *ailment {
	a := &ailment{kind: unreachable, endpoint: endpoint, cause: err}
	var own *ailment
	if errors.As(err, &own) {
		own.endpoint = endpoint
		return own
	}
	var f *failure
	if errors.As(err, &f) {
		err = f.err // whose text is the server's, without what grpc puts around it
	}
	var notTLS tls.RecordHeaderError
	text := status.Convert(err).Message()
	switch code := status.Code(err); {
	case code == codes.Unauthenticated || code == codes.PermissionDenied:
		a.kind = unauthenticated
	// grpc gives what failed below it as text only.
	case errors.As(err, &notTLS), strings.Contains(text, "first record does not look like a TLS handshake"),
		!encrypted && strings.Contains(text, "error reading server preface"):
		a.kind = plain
	case strings.Contains(text, "authentication handshake failed") &&
		(strings.Contains(text, "x509: ") || strings.Contains(text, "tls: ")):
		a.kind = untrusted
	}
	a.cause = errors.New(text)
	return a
}

// Error tells the user what to do.
func (a *ailment) Error() string {
	switch a.kind {
	case waiting:
		return fmt.Sprintf("istiod at %s has not told all workloads and services yet", a.endpoint)
	case untrusted:
		return fmt.Sprintf("cannot agree with istiod at %s on TLS: set identity.istio.tls.ca_file to the mesh's root certificate "+
			"(root-cert.pem of the config map istio-ca-root-cert), and identity.istio.tls.server_name_override where the endpoint is not a name in "+
			"istiod's certificate (%v)", a.endpoint, a.cause)
	case plain:
		return fmt.Sprintf("istiod at %s and identity.istio.tls do not agree on encryption: istiod has TLS at port 15012, and plain text at 15010, "+
			"which takes identity.istio.tls: {insecure: true} (%v)", a.endpoint, a.cause)
	case files:
		return fmt.Sprintf("cannot use identity.istio.tls: mount the files that it names, and see that they are PEM (%v)", a.cause)
	case token:
		return fmt.Sprintf("cannot read the token for istiod: set identity.istio.token_file to a projected service account token with the "+
			"audience istio-ca, as deploy/examples/istio.yaml shows (%v)", a.cause)
	case unauthenticated:
		return fmt.Sprintf("istiod at %s does not accept who we are: set identity.istio.token_file to a projected service account token of this "+
			"cluster that is not expired and has the audience istio-ca, and identity.istio.cluster_id to the cluster's id in istiod (%v)", a.endpoint, a.cause)
	case malformed:
		return fmt.Sprintf("istiod at %s tells what cannot be read, and was told so; the rest is in use: %v", a.endpoint, a.cause)
	}
	return fmt.Sprintf("cannot reach istiod at %s, which is tried again: %v", a.endpoint, a.cause)
}

// key is the same as long as the ailment is.  Its cause tells ports and times that are not.
func (a *ailment) key() string { return fmt.Sprint(a.kind) }
