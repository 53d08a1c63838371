package kubernetes

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

const (
	// unheard is how long before the end of a watch something may have happened that it did not tell any more.
	unheard = time.Second
	// blink is a gap between two watches that is too short to miss anything: every watch ends after some minutes.
	blink = 500 * time.Millisecond
	// silence is how long there may be no watch until that is worth a word, whatever the reason.
	silence = 3 * time.Second
	// catchUp is how long a watch takes to tell what happened while there was none.
	catchUp = 2 * time.Second
)

// sight tells whether an address may have been given on while nobody watched. What is known of it then is not certain,
// and a record waits as it does for a name that is not known at all.
type sight struct {
	lost atomic.Int64 // since when what is known is in doubt, in ns on the wall clock; 0: it is not

	mu       sync.Mutex
	ended    time.Time // when the last watch ended; zero: it goes on, or never began
	regained time.Time // when the one after it began; zero: none has
}

// end is told when a watch ended.
func (s *sight) end(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.regained = now, time.Time{}
	s.lost.CompareAndSwap(0, now.Add(-unheard).UnixNano()) // else it caught up with nothing yet
}

// begin is told when the next watch began.
func (s *sight) begin(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.IsZero() {
		return
	}
	s.regained = now
	if s.lost.Load() == s.ended.Add(-unheard).UnixNano() && now.Sub(s.ended) < blink {
		s.clear()
	}
}

// tick says whether doubts have just ended.
func (s *sight) tick(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.regained.IsZero() || now.Sub(s.regained) < catchUp {
		return false
	}
	s.clear()
	return true
}

// silent says whether nobody has watched for long: the client tries on by itself, for 10 s and without a word, when
// connections break.
func (s *sight) silent(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended.IsZero() && s.regained.IsZero() && now.Sub(s.ended) >= silence
}

func (s *sight) clear() {
	s.ended, s.regained = time.Time{}, time.Time{}
	s.lost.Store(0)
}

// doubts says whether who is known to have had an address may not have been the one who began a connection then.
func (s *sight) doubts(at time.Time) bool {
	lost := s.lost.Load()
	return lost != 0 && at.UnixNano() >= lost
}

// seen is a watch that says when it ends: the informer stops each one when it is done with it.
type seen struct {
	watch.Interface
	once sync.Once
	end  func()
}

func (w *seen) Stop() {
	w.once.Do(w.end)
	w.Interface.Stop()
}
