// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

// apiClient asks for the kinds of objects that are used; kubernetes.Interface is one, too.
type apiClient interface {
	CoreV1() corev1client.CoreV1Interface
	DiscoveryV1() discoveryv1client.DiscoveryV1Interface
}

// decodingClient decodes what is used of the objects.
type decodingClient struct {
	core      *corev1client.CoreV1Client
	discovery *discoveryv1client.DiscoveryV1Client
}

func (c decodingClient) CoreV1() corev1client.CoreV1Interface                { return c.core }
func (c decodingClient) DiscoveryV1() discoveryv1client.DiscoveryV1Interface { return c.discovery }

func newClient(config *rest.Config, by *http.Client) (apiClient, error) {
	core, err := restClient(config, by, "/api", corev1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	discovery, err := restClient(config, by, "/apis", discoveryv1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	return decodingClient{corev1client.New(core), discoveryv1client.New(discovery)}, nil
}

// restClient is what NewForConfigAndClient of a group makes, but for the decoder, which that has no setting for.
func restClient(config *rest.Config, by *http.Client, path string, version schema.GroupVersion) (*rest.RESTClient, error) {
	of := rest.CopyConfig(config)
	of.APIPath, of.GroupVersion = path, &version
	of.ContentType = runtime.ContentTypeProtobuf
	of.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	of.NegotiatedSerializer = negotiated{rest.CodecFactoryForGeneratedClient(scheme.Scheme, scheme.Codecs).WithoutConversion()}
	return rest.RESTClientForConfigAndClient(of, by)
}

// client makes the client that AuthType asks for. It does not connect yet.
func (c *Config) client() (apiClient, *hearing, error) {
	config, err := c.rest()
	if err != nil {
		return nil, nil, err
	}
	config.UserAgent = "otelcol-kmesh"
	config.WarningHandler = rest.NoWarnings{} // they would go to stderr, past the logger
	reread(config)
	heard := &hearing{}
	roundTripper, err := transportOf(config, heard)
	if err != nil {
		return nil, nil, fmt.Errorf("connect as identity.kubernetes.auth_type %s says: %w", c.AuthType, err)
	}
	client, err := newClient(config, &http.Client{Transport: roundTripper})
	return client, heard, err
}

// reread has a token read from its file again as soon as the API server rejects the present one. By itself the client would keep
// that for up to a minute.
func reread(config *rest.Config) {
	if config.BearerTokenFile == "" {
		return
	}
	config.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedFileTokenSource(config.BearerTokenFile)))
	config.BearerToken, config.BearerTokenFile = "", ""
}

// rest returns how to reach the API server.
func (c *Config) rest() (*rest.Config, error) {
	switch c.AuthType {
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
			&clientcmd.ConfigOverrides{CurrentContext: c.Context}).ClientConfig()
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
	return nil, fmt.Errorf("identity.kubernetes.auth_type %q is not known: write serviceAccount, kubeConfig or none", c.AuthType)
}

// direct takes no proxy: the API server is in the cluster, whatever proxy the environment has.
func direct(*http.Request) (*url.URL, error) { return nil, nil }
