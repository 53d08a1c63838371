// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// exemplar is one of a series.
type exemplar struct {
	labels map[string]string
	value  float64
}

// exemplars returns those of the last hour that a query's series have.
func (p *prometheus) exemplars(query string) ([]exemplar, error) {
	now := time.Now()
	body, err := get(p.url + "/api/v1/query_exemplars?" + url.Values{
		"query": {query},
		"start": {strconv.FormatInt(now.Add(-time.Hour).Unix(), 10)},
		"end":   {strconv.FormatInt(now.Add(time.Minute).Unix(), 10)},
	}.Encode())
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data []struct {
			Exemplars []struct {
				Labels map[string]string
				Value  string
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("exemplars of %s: %w: %s", query, err, body)
	}
	var all []exemplar
	for _, series := range answer.Data {
		for _, e := range series.Exemplars {
			value, err := strconv.ParseFloat(e.Value, 64)
			if err != nil {
				return nil, fmt.Errorf("exemplars of %s: %w", query, err)
			}
			all = append(all, exemplar{e.Labels, value})
		}
	}
	return all, nil
}
