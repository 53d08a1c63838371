// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/web"
)

// types are the files that the page has. Nothing guesses them from contents.
var types = map[string]string{
	"index.html": "text/html; charset=utf-8",
	"map.js":     "text/javascript; charset=utf-8",
	"map.css":    "text/css; charset=utf-8",
	"icon.svg":   "image/svg+xml",
}

// asset is a file of the page, as it is and compressed.
type asset struct {
	contentType, etag string
	plain, compressed []byte
}

// assets gives the page's files by their path, compressed once for all exporters.
var assets = sync.OnceValues(loadAssets)

func loadAssets() (map[string]http.Handler, error) {
	all := make(map[string]http.Handler)
	for name, contentType := range types {
		content, err := fs.ReadFile(web.Bundle(), name)
		if err != nil {
			return nil, fmt.Errorf("the page's bundle: %w", err)
		}
		a := &asset{contentType: contentType, plain: content, compressed: compress(content)}
		sum := sha256.Sum256(content)
		a.etag = hex.EncodeToString(sum[:16])
		path := "/" + name
		if name == "index.html" {
			path = "/{$}"
		}
		all[path] = a
	}
	return all, nil
}

func compress(content []byte) []byte {
	var out bytes.Buffer
	// Neither fails: the level is one of gzip's, and memory takes all.
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	_, _ = w.Write(content)
	_ = w.Close()
	return out.Bytes()
}

// ServeHTTP implements http.Handler.
func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, etag := a.plain, `"`+a.etag+`"`
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body, etag = a.compressed, `"`+a.etag+`-gzip"`
		w.Header().Set("Content-Encoding", "gzip")
	}
	h := w.Header()
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache") // ask again each time: a new version of the collector has another page
	h.Set("ETag", etag)
	if strings.Contains(r.Header.Get("If-None-Match"), etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = w.Write(body) // a viewer that left
}
