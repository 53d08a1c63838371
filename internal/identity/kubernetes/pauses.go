// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// The pauses before everything is listed again grow from firstPause to longestPause, and have a random part of as much again. Both
// are client-go's, but the first one, which is shorter: records wait for their names. An API server that fails must not get
// lists from every node for that.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 30 * time.Second
	// steady is the time without an error after which the pauses start from the first one again.
	steady = 30 * time.Second
)

// pauses are the waits of one follower.
type pauses struct {
	last   time.Duration
	random func(time.Duration) time.Duration // nil: rand.N
}

// next returns the pause after a phase that worked for a time, and ended with err.
func (p *pauses) next(went time.Duration, err error) time.Duration {
	if p.last == 0 || went >= steady {
		p.last = firstPause
	} else {
		p.last = min(2*p.last, longestPause)
	}
	random := p.random
	if random == nil {
		random = rand.N[time.Duration]
	}
	pause := p.last + random(p.last)
	if seconds, wants := apierrors.SuggestsClientDelay(err); wants {
		pause = max(pause, time.Duration(seconds)*time.Second)
	}
	return pause
}
