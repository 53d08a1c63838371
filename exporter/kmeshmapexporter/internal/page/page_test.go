// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bufio"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/graph"
	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/live"
)

// still is a graph that shows one drawing.
type still struct{ drawn graph.Drawn }

func (s *still) Draw() *graph.Drawn { return &s.drawn }

func (s *still) Node(id uint32) *graph.Detail {
	if id == 1 {
		return &graph.Detail{Step: 5}
	}
	return nil
}

func (s *still) Link(id graph.LinkID) *graph.Detail {
	if id == (graph.LinkID{From: 1, To: 2, Kind: graph.LinkPair}) {
		return &graph.Detail{Step: 5}
	}
	return nil
}

func serve(t *testing.T) (*httptest.Server, *live.Feed) {
	t.Helper()
	g := &still{graph.Drawn{Nodes: []graph.Node{{ID: 1, Kind: graph.KindWorkload, Name: `</script><img src=x onerror=alert(1)>`}}}}
	feed := live.NewFeed(live.Settings{Source: g, MaxViewers: 1, Window: time.Minute})
	handler, err := New(g, feed)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		feed.Close()
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return server, feed
}

// answer is a response that was read.
type answer struct {
	StatusCode int
	Header     http.Header
}

func get(t *testing.T, url string, header ...string) (answer, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header}, string(body)
}

func TestEveryAnswerHasAStrictPolicy(t *testing.T) {
	server, _ := serve(t)
	for _, path := range []string{"/", "/map.js", "/api/graph", "/nothing"} {
		response, _ := get(t, server.URL+path)
		got := response.Header.Get("Content-Security-Policy")
		assert.Contains(t, got, "default-src 'none'", path)
		assert.NotContains(t, got, "unsafe", path)
		assert.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"), path)
		assert.Equal(t, "DENY", response.Header.Get("X-Frame-Options"), path)
	}
}

func TestThePageIsCompressedAndNotSentTwice(t *testing.T) {
	server, _ := serve(t)
	for path, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/map.js": "text/javascript; charset=utf-8", "/map.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml",
	} {
		plain, body := get(t, server.URL+path, "Accept-Encoding", "identity")
		require.Equal(t, 200, plain.StatusCode, path)
		assert.Equal(t, contentType, plain.Header.Get("Content-Type"))
		packed, compressed := get(t, server.URL+path, "Accept-Encoding", "gzip")
		require.Equal(t, "gzip", packed.Header.Get("Content-Encoding"))
		reader, err := gzip.NewReader(strings.NewReader(compressed))
		require.NoError(t, err)
		unpacked, err := io.ReadAll(reader)
		require.NoError(t, err)
		assert.Equal(t, body, string(unpacked))
		require.NotEqual(t, plain.Header.Get("ETag"), packed.Header.Get("ETag"))
		again, nothing := get(t, server.URL+path, "Accept-Encoding", "gzip", "If-None-Match", packed.Header.Get("ETag"))
		assert.Equal(t, http.StatusNotModified, again.StatusCode)
		assert.Empty(t, nothing)
	}
}

// The page is part of every collector with this exporter, and of its first view over a slow link.
func TestTheBundleIsSmall(t *testing.T) {
	total := 0
	files, err := assets()
	require.NoError(t, err)
	for _, file := range files {
		total += len(file.(*asset).compressed)
	}
	t.Logf("%d bytes compressed", total)
	assert.Less(t, total, 400_000)
}

func TestDetails(t *testing.T) {
	server, _ := serve(t)
	for path, status := range map[string]int{
		"/api/node?id=1": 200, "/api/node?id=7": 404, "/api/node": 400, "/api/node?id=-1": 400,
		"/api/link?from=1&to=2&kind=pair": 200, "/api/link?from=1&to=2&kind=other": 404, "/api/link?from=x&to=2": 400,
	} {
		response, body := get(t, server.URL+path)
		assert.Equal(t, status, response.StatusCode, "%s: %s", path, body)
	}
	response, err := http.Post(server.URL+"/api/graph", "text/plain", nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}

func TestNamesAreDataInJSON(t *testing.T) {
	server, _ := serve(t)
	response, body := get(t, server.URL+"/api/graph")
	assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
	assert.NotContains(t, body, "<img")
	assert.Contains(t, body, `\u003cimg`)
}

func TestEventsStreamUntilTheViewerLeaves(t *testing.T) {
	server, feed := serve(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/events", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "event: snapshot\n", line)
	second, _ := get(t, server.URL+"/api/events")
	assert.Equal(t, http.StatusServiceUnavailable, second.StatusCode)
	assert.NotEmpty(t, second.Header.Get("Retry-After"))
	require.NoError(t, response.Body.Close())
	require.Eventually(t, func() bool { return feed.Counts().Viewers == 0 }, 10*time.Second, time.Millisecond)
}
