// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	pollInterval = time.Second
	// patience bounds how many polls wait for a file that never rests.
	patience = 5
	// coarse is how exact the time of a file's change is at least, over all file systems.
	coarse = 2 * time.Second
	// reread is how often the file is read although it seems unchanged.
	reread = time.Minute
	// maxSize is far more than a cluster's identities take: what is larger is not an identity file.
	maxSize = 64 << 20
)

// Source answers from an identity file.
type Source struct {
	identity.Resolver
	path     string
	settings identity.SourceSettings
	index    *identity.Index
	stop     context.CancelFunc
	done     sync.WaitGroup
	inSync   atomic.Bool
	behind   atomic.Bool // the file has a version that is not in use

	// Of the goroutine that polls.
	file     os.FileInfo       // as it was read last; nil: it may have changed at the same time
	readAt   time.Time         // when that was
	loaded   [sha256.Size]byte // what the index has
	seen     [sha256.Size]byte // what the last poll read
	restless int               // how many polls in a row read something new
	rejected [sha256.Size]byte // what cannot be used
	reason   error             // why
	failure  string            // what was reported last; empty: nothing
	uids     map[string]struct{}
	services map[identity.ServiceKey]struct{}
}

// New returns a source that knows nothing before Start.
func New(config *Config, settings identity.SourceSettings) *Source {
	index := identity.NewIndex(settings.Retain)
	return &Source{Resolver: index, path: config.Path, settings: settings.WithDefaults(), index: index}
}

// Start reads the file and follows its changes until Close. The error names the path and the remedy.
func (s *Source) Start(context.Context) error {
	if err := s.load(time.Now()); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background()) // Start's own context may end with Start
	s.stop = stop
	s.done.Go(func() {
		ticker := time.NewTicker(pollInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ticker.C:
				s.poll(now)
			}
		}
	})
	return nil
}

// Close stops following the file. It may be called without Start, and twice.
func (s *Source) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.done.Wait()
	return nil
}

// Held counts the identities of the version in use.
func (s *Source) Held() identity.Held { return s.index.Held() }

// Named returns whether a workload of the file has the names, or had them within retain.
func (s *Source) Named(names unique.Handle[identity.Names]) bool { return s.index.Named(names) }

// Behind is 1 while the file has a version that is not in use.
func (s *Source) Behind() int {
	if s.behind.Load() {
		return 1
	}
	return 0
}

// InSync is true while the file's present version is in use.
func (s *Source) InSync() bool { return s.inSync.Load() }

// load reads the first version, whose identities existed before.
func (s *Source) load(now time.Time) error {
	text, _, err := read(s.path)
	if err != nil {
		return err
	}
	found, err := s.parse(text)
	if err != nil {
		return err
	}
	s.apply(found, time.Time{}, now)
	s.loaded = sha256.Sum256(text)
	s.seen = s.loaded
	s.inSync.Store(true)
	return nil
}

// unchanged returns whether the file is as it was read: the same, not a new one in its place, as a Kubernetes ConfigMap is swapped
// behind a symbolic link. A time stamp is too coarse for two changes at once.
func (s *Source) unchanged(now time.Time) bool {
	if s.file == nil || s.restless > 0 || now.Sub(s.readAt) >= reread {
		return false
	}
	info, err := os.Stat(s.path)
	return err == nil && os.SameFile(info, s.file) && info.ModTime().Equal(s.file.ModTime()) && info.Size() == s.file.Size()
}

// poll checks whether the file changed, at last by content.
func (s *Source) poll(now time.Time) {
	s.index.Expire(now)
	if s.unchanged(now) {
		return
	}
	text, info, err := read(s.path)
	if err != nil {
		s.file = nil
		s.fail(err)
		return
	}
	if s.file, s.readAt = info, now; now.Sub(info.ModTime()) < coarse {
		s.file = nil
	}
	sum := sha256.Sum256(text)
	s.behind.Store(sum != s.loaded)
	switch {
	case sum == s.loaded:
		s.seen, s.restless = sum, 0
		s.recovered()
		return
	case s.reason != nil && sum == s.rejected:
		s.seen, s.restless = sum, 0
		s.fail(s.reason)
		return
	case sum != s.seen && s.restless < patience:
		// It may be half written: wait until it rests.
		s.seen = sum
		s.restless++
		return
	}
	s.restless = 0
	found, err := s.parse(text)
	if err != nil {
		s.rejected, s.reason = sum, err
		s.fail(err)
		return
	}
	s.apply(found, now, now)
	s.loaded = sum
	s.behind.Store(false)
	s.settings.Logger.Info("reloaded the identity file", zap.String("path", s.path),
		zap.Int("workloads", len(found.Workloads)), zap.Int("services", len(found.Services)))
	s.recovered()
}

func (s *Source) parse(text []byte) (*Identities, error) {
	found, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("identity file %s: %w", s.path, err)
	}
	for _, warning := range found.Warnings {
		s.settings.Logger.Warn("an address in the identity file is not one workload's alone", zap.String("path", s.path), zap.String("entry", warning))
	}
	return found, nil
}

// fail reports a failure once.
func (s *Source) fail(err error) {
	s.inSync.Store(false)
	if s.failure == err.Error() {
		return
	}
	s.failure = err.Error()
	s.settings.Logger.Error("the identity file's new version is rejected; the one before stays in use", zap.Error(err))
	s.settings.OnStatus(err)
}

func (s *Source) recovered() {
	s.inSync.Store(true)
	if s.failure == "" {
		return
	}
	s.failure = ""
	s.settings.Logger.Info("the identity file is valid again", zap.String("path", s.path))
	s.settings.OnStatus(nil)
}

// apply puts what was found into the index. Removals come first: an address that passes to another workload has one holder.
func (s *Source) apply(found *Identities, since, now time.Time) {
	uids := make(map[string]struct{}, len(found.Workloads))
	for _, w := range found.Workloads {
		uids[w.UID] = struct{}{}
	}
	services := make(map[identity.ServiceKey]struct{}, len(found.Services))
	for _, service := range found.Services {
		services[service.Key()] = struct{}{}
	}
	for uid := range s.uids {
		if _, stays := uids[uid]; !stays {
			s.index.Remove(uid, now)
		}
	}
	for key := range s.services {
		if _, stays := services[key]; !stays {
			s.index.RemoveService(key, now)
		}
	}
	for _, service := range found.Services {
		s.index.UpsertService(service, since, now)
	}
	for _, w := range found.Workloads {
		s.index.Upsert(w, since, now)
	}
	s.uids, s.services = uids, services
}

// check returns an error if the path is not that of a file.
func check(path string) error {
	switch info, err := os.Stat(path); {
	case err != nil:
		return unreadable(path, err)
	case !info.Mode().IsRegular(): // opening a pipe would wait for its writer
		return fmt.Errorf("identity file %s: not a regular file: correct identity.file.path", path)
	}
	return nil
}

// read returns the file's text, and what it was like before it was read.
func read(path string) ([]byte, os.FileInfo, error) {
	if err := check(path); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	if len(text) > maxSize {
		return nil, nil, fmt.Errorf("identity file %s: larger than %d MiB: is identity.file.path right?", path, maxSize>>20)
	}
	return text, info, nil
}

func unreadable(path string, err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err // the path is named already
	}
	remedy := "check identity.file.path, and that the collector may read it"
	if errors.Is(err, os.ErrNotExist) {
		remedy = "create it, or correct identity.file.path"
	}
	return fmt.Errorf("identity file %s: %w: %s", path, err, remedy)
}
