// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is one series at one time, as both query APIs give it.
type sample struct {
	labels map[string]string
	value  float64 // exact for every integer below 2^53
}

// String is the sample in Prometheus' text format, the labels in the order of their names.
func (s sample) String() string {
	var pairs []string
	for name, value := range s.labels {
		if name != "__name__" {
			pairs = append(pairs, fmt.Sprintf("%s=%q", name, value))
		}
	}
	slices.Sort(pairs)
	return fmt.Sprintf("%s{%s} %s", s.labels["__name__"], strings.Join(pairs, ","),
		strconv.FormatFloat(s.value, 'f', -1, 64))
}

// without is the sample less the named labels.
func (s sample) without(names ...string) sample {
	rest := make(map[string]string, len(s.labels))
	for name, value := range s.labels {
		if !slices.Contains(names, name) {
			rest[name] = value
		}
	}
	return sample{labels: rest, value: s.value}
}

// query evaluates a PromQL expression now.
func (p *prometheus) query(expression string) ([]sample, error) {
	return instant(p.url+"/api/v1/query", expression)
}

// instant asks an API that answers as Prometheus' instant query does, Loki's among them.
func instant(api, expression string) ([]sample, error) {
	return instantAt(api, expression, time.Time{})
}

// instantAt evaluates the expression at a time; zero: now.
func instantAt(api, expression string, at time.Time) ([]sample, error) {
	parameters := url.Values{"query": {expression}}
	if !at.IsZero() {
		parameters.Set("time", strconv.FormatInt(at.Unix(), 10))
	}
	body, err := get(api + "?" + parameters.Encode())
	if err != nil {
		return nil, err
	}
	var answer struct {
		Status string
		Data   struct {
			ResultType string
			Result     []struct {
				Metric map[string]string
				Value  [2]json.RawMessage // seconds, and the value as text
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("query %s: %w: %s", expression, err, body)
	}
	if answer.Status != "success" || answer.Data.ResultType != "vector" {
		return nil, fmt.Errorf("query %s: not a vector: %s", expression, body)
	}
	samples := make([]sample, 0, len(answer.Data.Result))
	for _, r := range answer.Data.Result {
		var text string
		if err := json.Unmarshal(r.Value[1], &text); err != nil {
			return nil, fmt.Errorf("query %s: %w: %s", expression, err, body)
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("query %s: %w", expression, err)
		}
		samples = append(samples, sample{labels: r.Metric, value: value})
	}
	return samples, nil
}

// by gives the values by one of the labels; each of its values must be there once.
func by(label string, samples []sample) (map[string]int64, error) {
	values := make(map[string]int64, len(samples))
	for _, s := range samples {
		key := s.labels[label]
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("two samples with %s=%q: %v", label, key, samples)
		}
		values[key] = int64(s.value)
	}
	return values, nil
}
