// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	// pageSize is that of client-go's lists.
	pageSize = 500
	// shortestWatch and a random part of as much again is how long a watch is to last, as client-go has it.
	shortestWatch = 5 * time.Minute
	// early is how long before its time a watch may end without having been lost.
	early = 2 * time.Second
	// quickly is how soon the next watch must begin after one that ended at its time.
	quickly = 500 * time.Millisecond
	// unseen is how long before it was lost a watch may have missed events.
	unseen = time.Second
)

// follower keeps one kind of object in the registry. It lists all, and watches from there. A watch that ends before its time was
// lost: everything is listed again, because what the new connection leads to may not know of what the old one's server had
// reported: an API server that is behind, or an etcd that was restored from a backup and starts its versions again.
type follower struct {
	kindOf
	canStream bool                  // the client can ask for the list as a part of the watch
	lastHeard func() time.Time      // when the API server last sent anything; zero: unknown
	onBack    func(from, to uint64) // the versions went back
	onListed  func()                // everything was listed
	gap       *identity.Gap
	pauses    pauses

	listed  atomic.Bool  // once
	behind  atomic.Int64 // objects received, and not yet in the registry
	round   uint32
	version string // of the newest object or list; empty: none. As is round, of the goroutine that runs.

	mu      sync.Mutex
	failure error     // why it cannot be listed or watched
	verb    string    // which of the two
	since   time.Time // when it began to fail so
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	for {
		began := time.Now()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		f.lose(time.Now())
		if !pause(ctx, f.pauses.next(time.Since(began), err)) {
			return
		}
	}
}

// lose notes that there is no watch.
func (f *follower) lose(now time.Time) {
	if !f.listed.Load() {
		return // nothing is known that could be wrong
	}
	since := now.Add(-unseen)
	if heard := f.lastHeard(); !heard.IsZero() && heard.Before(since) {
		since = heard
	}
	f.gap.Begin(since)
}

// follow lists, and watches until a watch is lost.
func (f *follower) follow(ctx context.Context) error {
	in := f.nextList()
	if f.canStream {
		err := f.watchFor(ctx, metav1.ListOptions{
			SendInitialEvents: ptr(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		}, in)
		if !refusesStream(err) {
			return f.watchOn(ctx, err)
		}
	}
	if err := f.listAll(ctx, in); err != nil {
		f.note("list", err)
		return err
	}
	return f.watchOn(ctx, nil)
}

// watchOn watches for what follows, until a watch is lost. err is how the one before ended; nil: at its time.
func (f *follower) watchOn(ctx context.Context, err error) error {
	for err == nil && ctx.Err() == nil {
		begin := time.Now()
		err = f.watchFor(ctx, metav1.ListOptions{ResourceVersion: f.version}, nil)
		if err == nil && time.Since(begin) < quickly {
			return errLost
		}
	}
	return err
}

func (f *follower) nextList() *list {
	f.round++
	in := &list{round: f.round}
	if lasts := f.gap.Lasts(time.Now()); lasts > 0 {
		in.lost = time.Now().Add(-lasts)
	}
	return in
}

// complete ends a list.
func (f *follower) complete(in *list, version string) {
	f.sweep(in, time.Now())
	before, _ := strconv.ParseUint(f.version, 10, 64)
	if now, err := strconv.ParseUint(version, 10, 64); err == nil && now < before {
		f.onBack(before, now)
	}
	f.version = version
	f.listed.Store(true)
	f.onListed()
	f.gap.End()
	f.note("", nil)
}

// listAll asks for all objects. What the API server has in memory will do, if it is not older than what is known. It cannot be
// newer than an etcd that was restored from a backup: then the etcd itself is asked.
func (f *follower) listAll(ctx context.Context, in *list) error {
	options := metav1.ListOptions{ResourceVersion: "0", Limit: pageSize}
	if f.version != "" {
		options.ResourceVersion, options.ResourceVersionMatch = f.version, metav1.ResourceVersionMatchNotOlderThan
	}
	for {
		all, err := f.list(ctx, options)
		switch {
		case err != nil && options.ResourceVersionMatch != "" && (apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) || ended(err)):
			options = metav1.ListOptions{Limit: pageSize}
			continue
		case err != nil:
			return err
		}
		if err := meta.EachListItem(all, func(o runtime.Object) error {
			f.behind.Add(1)
			f.set(o, in, time.Now())
			f.behind.Add(-1)
			return nil
		}); err != nil {
			return err
		}
		page, err := meta.ListAccessor(all)
		if err != nil {
			return err
		}
		if page.GetContinue() == "" {
			f.complete(in, page.GetResourceVersion())
			return nil
		}
		options = metav1.ListOptions{Limit: pageSize, Continue: page.GetContinue()}
	}
}

var (
	errLost     = errors.New("the connection to the API server was lost")
	errNoAnswer = errors.New("the connection ended before the API server answered")
)

// watchFor watches until its time is over, which is no error. in is the list that the watch begins with; nil: none.
func (f *follower) watchFor(ctx context.Context, options metav1.ListOptions, in *list) error {
	lasts := shortestWatch + rand.N(shortestWatch) // #nosec G404 -- so that nodes do not come together
	options.TimeoutSeconds, options.AllowWatchBookmarks = ptr(int64(lasts/time.Second)), true
	begin := time.Now()
	w, err := f.watch(ctx, options)
	if err == nil && reflect.TypeOf(w) == reflect.TypeOf(watch.NewEmptyWatch()) {
		err = errNoAnswer // the client makes it of a connection that breaks before the answer
	}
	if err != nil {
		if in == nil || !refusesStream(err) {
			f.note("watch", err)
		}
		return err
	}
	defer w.Stop()
	if in == nil {
		f.note("", nil)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, more := <-w.ResultChan():
			if !more {
				if in == nil && time.Since(begin) >= lasts-early {
					return nil
				}
				f.note("watch", errLost)
				return errLost
			}
			if err := f.take(event, &in); err != nil {
				if !ended(err) {
					f.note("watch", err)
				}
				return err
			}
		}
	}
}

// take applies one event; in becomes nil with the end of the list that the watch begins with.
func (f *follower) take(event watch.Event, in **list) error {
	f.behind.Add(1)
	defer f.behind.Add(-1)
	if event.Type == watch.Error {
		return apierrors.FromObject(event.Object)
	}
	o, err := meta.Accessor(event.Object)
	if err != nil {
		return fmt.Errorf("the API server sent a %T: %w", event.Object, err)
	}
	switch event.Type {
	case watch.Added, watch.Modified:
		f.set(event.Object, *in, time.Now())
	case watch.Deleted:
		f.remove(o, time.Now())
	case watch.Bookmark:
		if *in != nil && o.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
			f.complete(*in, o.GetResourceVersion())
			*in = nil
		}
	}
	if *in == nil {
		f.version = o.GetResourceVersion()
	}
	return nil
}

// ended returns whether a watch cannot resume because its resource version is too old (410). That is no failure: a new list
// follows.
func ended(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// refusesStream returns whether the API server does not send a list as a part of a watch: it is too old, or does not allow the
// watch, of which a list's error is clearer.
func refusesStream(err error) bool {
	switch code, _ := answer(err); code {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusForbidden, http.StatusUnauthorized,
		http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// answer returns the API server's status code, if it answered.
func answer(err error) (code int, answered bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return 0, false
	}
	return int(status.Status().Code), true
}

// note keeps why it fails; nil: it does not.
func (f *follower) note(verb string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil || f.failure == nil || refused(err) != refused(f.failure) {
		f.since = time.Now()
	}
	f.verb, f.failure = verb, err
}

// refused returns whether the API server rejects who asks, or what for.
func refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

func ptr[T any](v T) *T { return &v }
