package kubernetes

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// How the source shows who it is, as other receivers spell it.
const (
	AuthServiceAccount = "serviceAccount" // the pod's own token
	AuthKubeConfig     = "kubeConfig"     // of $KUBECONFIG, else ~/.kube/config
	AuthNone           = "none"           // to the API server of the environment, without a token and without checking who answers
)

// Settings of a Source.
type Settings struct {
	AuthType string // one of the above; default: AuthServiceAccount
	Context  string // of the kubeconfig; default: its current one
	// Client is used in place of one by AuthType.
	Client kubernetes.Interface

	ClusterID     string // default: Kubernetes
	ClusterDomain string // that services' host names end with; default: cluster.local
	TrustDomain   string // of principals; empty: not known, and so is no principal

	Retain time.Duration // how long a removed workload still answers for its last connections
	Logger *zap.Logger   // default: none
	// Locator tells the pods of processes on the node's own network; nil: their address alone does.  The source closes it.
	Locator Locator
	// OnStatus is told, from another goroutine, that the source does not know the cluster's present state, and with nil that
	// it does again.  On changes only.
	OnStatus func(error)
}

// Locator is an identity.Locator that looks until it is closed.
type Locator interface {
	identity.Locator
	Close() error
}

func (s *Settings) defaults() {
	s.AuthType = cmp.Or(s.AuthType, AuthServiceAccount)
	s.ClusterID = cmp.Or(s.ClusterID, "Kubernetes")
	s.ClusterDomain = cmp.Or(s.ClusterDomain, "cluster.local")
	if s.Logger == nil {
		s.Logger = zap.NewNop()
	}
	if s.OnStatus == nil {
		s.OnStatus = func(error) {}
	}
}

// client makes the client that AuthType asks for.  It connects to nothing yet.
func (s *Settings) client() (kubernetes.Interface, error) {
	if s.Client != nil {
		return s.Client, nil
	}
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	config.UserAgent = "otelcol-kmesh"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.WarningHandler = rest.NoWarnings{} // they would go to stderr, past the logger
	reread(config)
	config.Dial = dialer.DialContext
	return kubernetes.NewForConfig(config)
}

// dialer finds out within 6 s that an API server is gone without a word. By itself the client would after 45 s, and who
// got an address meanwhile would be taken for who had it.
var dialer = &net.Dialer{
	Timeout:         5 * time.Second,
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 3},
}

// reread has a token read from its file again as soon as the API server refuses the one at hand. By itself the client
// would go on with that one for up to a minute.
func reread(config *rest.Config) {
	if config.BearerTokenFile == "" {
		return
	}
	config.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedFileTokenSource(config.BearerTokenFile)))
	config.BearerToken, config.BearerTokenFile = "", ""
}

func (s *Settings) config() (*rest.Config, error) {
	switch s.AuthType {
	case AuthServiceAccount:
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("identity.kubernetes.auth_type serviceAccount: %w: run in a pod with a service account, "+
				"or write auth_type: kubeConfig", err)
		}
		config.Proxy = direct
		return config, nil
	case AuthKubeConfig:
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(),
			&clientcmd.ConfigOverrides{CurrentContext: s.Context}).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("identity.kubernetes.auth_type kubeConfig: %w: set KUBECONFIG to a kubeconfig's path, "+
				"and identity.kubernetes.context to one of its contexts", err)
		}
		return config, nil
	case AuthNone:
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("identity.kubernetes.auth_type none: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT " +
				"are not both set: set them to the API server's address and port")
		}
		return &rest.Config{
			Host:            "https://" + net.JoinHostPort(host, port),
			TLSClientConfig: rest.TLSClientConfig{Insecure: true}, // as in other receivers
			Proxy:           direct,
		}, nil
	}
	return nil, fmt.Errorf("identity.kubernetes.auth_type %q is not known: write serviceAccount, kubeConfig or none", s.AuthType)
}

// direct takes no proxy: the API server is in the cluster, whatever the environment says of the world outside.
func direct(*http.Request) (*url.URL, error) { return nil, nil }
