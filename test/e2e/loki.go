// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// line is a log record as Loki gives it back.
type line struct {
	at     time.Time
	body   string
	labels map[string]string // of the stream, and the record's attributes with `_` for `.`
}

// sums evaluates a LogQL metric query now.
func (l *loki) sums(expression string) ([]sample, error) {
	return instant(l.url+"/loki/api/v1/query", expression)
}

// lines gives all the lines of the last hour that a LogQL query selects, the oldest first.
func (l *loki) lines(query string) ([]line, error) {
	now := time.Now()
	body, err := get(l.url + "/loki/api/v1/query_range?" + url.Values{
		"query": {query},
		"start": {strconv.FormatInt(now.Add(-time.Hour).UnixNano(), 10)},
		"end":   {strconv.FormatInt(now.Add(time.Minute).UnixNano(), 10)},
		"limit": {strconv.Itoa(l.entries)},
	}.Encode())
	if err != nil {
		return nil, err
	}
	var answer struct {
		Status string
		Data   struct {
			ResultType string
			Result     []struct {
				Stream map[string]string
				Values [][2]string // ns since 1970, and the line
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("query %s: %w: %.1000s", query, err, body)
	}
	if answer.Status != "success" || answer.Data.ResultType != "streams" {
		return nil, fmt.Errorf("query %s: not streams: %.1000s", query, body)
	}
	var lines []line
	for _, stream := range answer.Data.Result {
		for _, value := range stream.Values {
			ns, err := strconv.ParseInt(value[0], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("query %s: %w", query, err)
			}
			lines = append(lines, line{at: time.Unix(0, ns), body: value[1], labels: stream.Stream})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	return lines, nil
}
