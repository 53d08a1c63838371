// SPDX-License-Identifier: Apache-2.0

package page

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/graph"
	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/live"
)

// writeTimeout is how long a viewer's connection may take no data.
const writeTimeout = 5 * time.Second

// Policy allows what the page needs: itself. Styles are set by script on elements, which the policy does not govern.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Graph is what is shown.
type Graph interface {
	Link(graph.LinkID) *graph.Detail
	Node(id uint32) *graph.Detail
}

// New gives the handler of all paths.
func New(g Graph, feed *live.Feed) (http.Handler, error) {
	files, err := assets()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for path, file := range files {
		mux.Handle("GET "+path, file)
	}
	mux.Handle("GET /api/graph", serveGraph(feed))
	mux.Handle("GET /api/node", serveNode(g))
	mux.Handle("GET /api/link", serveLink(g))
	mux.Handle("GET /api/events", serveEvents(feed))
	return secure(mux), nil
}

// secure sets the headers of every answer.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

func serveGraph(feed *live.Feed) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, feed.Snapshot()) }
}

func serveNode(g Graph) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := number(r, "id")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeDetail(w, g.Node(id))
	}
}

func serveLink(g Graph) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, fromErr := number(r, "from")
		to, toErr := number(r, "to")
		if err := errors.Join(fromErr, toErr); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeDetail(w, g.Link(graph.LinkID{From: from, To: to, Kind: graph.LinkKind(r.FormValue("kind"))}))
	}
}

func number(r *http.Request, name string) (uint32, error) {
	n, err := strconv.ParseUint(r.FormValue(name), 10, 32)
	if err != nil {
		return 0, errors.New(name + " is no number of a node")
	}
	return uint32(n), nil
}

func writeDetail(w http.ResponseWriter, d *graph.Detail) {
	if d == nil {
		http.Error(w, "it is no longer on the map", http.StatusNotFound)
		return
	}
	writeJSON(w, d)
}

func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(data) // a viewer that left
}

func serveEvents(feed *live.Feed) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		viewer, err := feed.Join()
		if err != nil {
			w.Header().Set("Retry-After", "10")
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer viewer.Leave()
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Accel-Buffering", "no") // nginx passes events on at once
		stream(w, r, viewer)
	}
}

// stream writes events until the viewer leaves or takes no data in time. The server's write_timeout is for whole answers:
// a stream has one for each event.
func stream(w http.ResponseWriter, r *http.Request, viewer *live.Viewer) {
	control := http.NewResponseController(w)
	for {
		select {
		case <-r.Context().Done():
			return
		case event, ok := <-viewer.Events():
			if !ok {
				return
			}
			if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return
			}
			_, err := w.Write(event)
			if err == nil {
				err = control.Flush()
			}
			if err != nil {
				if r.Context().Err() == nil {
					viewer.Slow()
				}
				return
			}
		}
	}
}
