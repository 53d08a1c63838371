// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// pod is who istiod believes to talk to. The namespace must be that of the token's service account, and is read from the token
// where there is one.
type pod struct{ name, namespace, ip string }

// environmentPod returns the pod of the environment's POD_NAME, POD_NAMESPACE and POD_IP.
func environmentPod() pod {
	host, _ := os.Hostname()
	return pod{
		name:      cmp.Or(os.Getenv("POD_NAME"), host, "otelcol-kmesh"),
		namespace: os.Getenv("POD_NAMESPACE"),
		ip:        cmp.Or(os.Getenv("POD_IP"), "127.0.0.1"), // istiod wants one, and needs none
	}
}

// token reads the token for a connection, which may be none.
func (c *Config) token(encrypted bool) (string, error) {
	path := c.TokenFile
	if path == "" && encrypted && exists(tokenPath) {
		path = tokenPath
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

// nodeID is the pod's ID as a ztunnel: istiod sends workloads to no other kind of node.
func (p *pod) nodeID(token string) string {
	namespace := cmp.Or(namespaceOf(token), p.namespace, "istio-system")
	// A ~ would end a part.
	name := strings.ReplaceAll(p.name, "~", "-")
	return "ztunnel~" + p.ip + "~" + name + "." + namespace + "~" + namespace + ".svc.cluster.local"
}

// namespaceOf reads the namespace of a service account's token, or returns nothing: istiod rejects a node of another
// one. The token's signature is istiod's to check.
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
