package istio

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
)

// TokenPath is where Istio's own proxies have their service account's token.
const TokenPath = "/var/run/secrets/tokens/istio-token" //nolint:gosec // a path, no secret

// Settings of a Source.
type Settings struct {
	Endpoint string // HOST:PORT of istiod
	// TLS gives the settings for the next connection, so that files which change are read again; nil settings: plain text.
	// A nil func is plain text too.
	TLS func() (*tls.Config, error)
	// TokenFile holds the service account's token, and is read for each connection, as it is exchanged every hour or so.
	// Default: TokenPath where that is there and the connection is encrypted, else none.
	TokenFile string

	ClusterID   string // default: Kubernetes
	TrustDomain string // of workloads of which istiod does not tell one, as of the mesh's default; empty: not known
	// Network is whose addresses are met on this node; default: that of the node's own workloads.
	Network  string
	NodeName string // of the Kubernetes node; empty: not known

	// Who istiod believes to talk to. Default: the pod of the environment's POD_NAME, POD_NAMESPACE and POD_IP. The
	// namespace must be that of the token's service account, and is read from the token where there is one.
	PodName, PodNamespace, PodIP string

	Retain time.Duration // how long a removed workload still answers for its last connections
	Logger *zap.Logger   // default: none
	// OnStatus is told, from another goroutine, that the source does not know the mesh's present state, and with nil that it
	// does again.  On changes only.
	OnStatus func(error)
}

func (s *Settings) defaults() error {
	if s.Endpoint == "" {
		return errors.New("identity.istio.endpoint is empty: write HOST:PORT of istiod, e.g. istiod.istio-system.svc:15012")
	}
	if s.TLS == nil {
		s.TLS = func() (*tls.Config, error) { return nil, nil }
	}
	s.ClusterID = cmp.Or(s.ClusterID, "Kubernetes")
	host, _ := os.Hostname()
	s.PodName = cmp.Or(s.PodName, os.Getenv("POD_NAME"), host, "otelcol-kmesh")
	s.PodNamespace = cmp.Or(s.PodNamespace, os.Getenv("POD_NAMESPACE"))
	s.PodIP = cmp.Or(s.PodIP, os.Getenv("POD_IP"), "127.0.0.1") // istiod wants one, and needs none
	if s.Logger == nil {
		s.Logger = zap.NewNop()
	}
	if s.OnStatus == nil {
		s.OnStatus = func(error) {}
	}
	return nil
}

// token reads the token for a connection, which may be none.
func (s *Settings) token(encrypted bool) (string, error) {
	path := s.TokenFile
	if path == "" && encrypted && exists(TokenPath) {
		path = TokenPath
	}
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err // names the file
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	return string(text), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// nodeID is who istiod believes to talk to: it tells workloads to its ztunnels.
func (s *Settings) nodeID(token string) string {
	namespace := cmp.Or(namespaceOf(token), s.PodNamespace, "istio-system")
	// A ~ would end a part.
	name := strings.ReplaceAll(s.PodName, "~", "-")
	return "ztunnel~" + s.PodIP + "~" + name + "." + namespace + "~" + namespace + ".svc.cluster.local"
}

// namespaceOf reads the namespace of a service account's token, or gives nothing: istiod refuses who says to be of another
// one.  The token's signature is istiod's to check.
func namespaceOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"` // system:serviceaccount:NAMESPACE:NAME
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	account, ok := strings.CutPrefix(claims.Subject, "system:serviceaccount:")
	if !ok {
		return ""
	}
	namespace, _, _ := strings.Cut(account, ":")
	return namespace
}
