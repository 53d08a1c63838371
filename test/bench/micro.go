// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// micro runs Go's benchmarks beside the code, whose figures are the CPU's alone.
func micro(ctx context.Context, b *bench) (err error) {
	rows := [][]string{{"benchmark", "ns", "allocations", "others"}}
	for _, of := range []struct{ pattern, folder string }{
		{"Flush|FewerLabels", "./internal/series"},
		{"Log$", "./internal/accesslog"},
		{"Write$", "./internal/spans"},
		{"FromRingToSeries", "./internal/agent"},
		{"DecodeRecord|AddToKnownSeries|Snapshot", "./internal/agent ./internal/series"},
		{"Resolve|Service", "./internal/identity/..."},
		{"Sync$", "./internal/identity/kubernetes"},
	} {
		lines, failed := goBench(ctx, of.pattern, strings.Fields(of.folder)...)
		err = errors.Join(err, failed)
		for _, l := range lines {
			rows = append(rows, []string{l.name, l.value("ns/op"), l.value("allocs/op"), l.others()})
			b.budgets(l)
		}
	}
	b.report.table("Steps of the way", "`go test -bench`, medians of three. Times are of this machine, and of this run.", rows...)
	return err
}

// budgets states the rows that a benchmark decides.
func (b *bench) budgets(l benchLine) {
	switch {
	case l.name == "Flush/10000":
		b.flush = l.values["ns/series"]
	case l.name == "Flush/100000":
		ms, ratio := l.values["ns/op"]/1e6, l.values["ns/series"]/b.flush
		b.report.row("100,000 series, one flush to `pmetric`", "≤ 150 ms", fmt.Sprintf("%.0f ms", ms), ms <= 150)
		b.report.row("the same, linear in the series: ns per series over that at 10,000", "≤ 1.2", fmt.Sprintf("%.2f", ratio), ratio <= 1.2)
	case strings.HasPrefix(l.name, "FromRingToSeries"):
		n := l.values["allocs/op"]
		b.report.row("allocations per record from ring to series", "0", fmt.Sprintf("%.0f", n), n == 0)
	case l.name == "Sync/10000":
		s := l.values["ns/op"] / 1e9
		b.report.row("10,000 pods, 1,000 services, 30,000 endpoints: in sync", "≤ 5 s", fmt.Sprintf("%.2f s", s), s <= 5)
	case l.name == "Sync/150000": // it fails above its budget
		heap := l.values["heap-B/pod"]
		b.report.row("heap for each of 150,000 pods, with all that it is behind", "≤ 600 B", fmt.Sprintf("%.0f B", heap), heap <= 600)
	case l.name == "ResolveUnderChanges": // it fails if a look-up allocates
		ns := l.values["median-ns/lookup"]
		b.report.row("a look-up among them under 1,000 changes/s, without an allocation", "≤ 100 ns at the median", fmt.Sprintf("%.0f ns", ns), ns <= 100)
	}
}

// benchLine is one result of go test -bench.
type benchLine struct {
	name   string
	values map[string]float64 // by unit
}

func (l benchLine) value(unit string) string {
	return strconv.FormatFloat(l.values[unit], 'f', -1, 64)
}

func (l benchLine) others() string {
	var all []string
	for unit, v := range l.values {
		if unit != "ns/op" && unit != "allocs/op" && unit != "B/op" {
			all = append(all, strconv.FormatFloat(v, 'g', 4, 64)+" "+unit)
		}
	}
	return strings.Join(all, ", ")
}

func goBench(ctx context.Context, pattern string, folders ...string) ([]benchLine, error) {
	args := append([]string{"test", "-run", "^$", "-bench", pattern, "-benchmem", "-count", "3"}, folders...)
	cmd := exec.CommandContext(ctx, "go", args...) // #nosec G204 -- our own words
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return medians(parseBench(string(out))), err
}

// parseBench reads lines such as `BenchmarkLog-2   123   456 ns/op   0 allocs/op`.
func parseBench(text string) (all []benchLine) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(words[0], "Benchmark")
		if dash := strings.LastIndexByte(name, '-'); dash > 0 {
			name = name[:dash] // the number of cores
		}
		l := benchLine{name: name, values: make(map[string]float64)}
		for i := 2; i+1 < len(words); i += 2 {
			if v, err := strconv.ParseFloat(words[i], 64); err == nil {
				l.values[words[i+1]] = v
			}
		}
		all = append(all, l)
	}
	return all
}

// medians joins the lines of one name.
func medians(lines []benchLine) (all []benchLine) {
	at := make(map[string]int)
	units := make(map[string]map[string]figures)
	for _, l := range lines {
		if _, known := at[l.name]; !known {
			at[l.name] = len(all)
			units[l.name] = make(map[string]figures)
			all = append(all, benchLine{name: l.name, values: make(map[string]float64)})
		}
		for unit, v := range l.values {
			units[l.name][unit] = append(units[l.name][unit], v)
		}
	}
	for name, i := range at {
		for unit, f := range units[name] {
			all[i].values[unit] = f.median()
		}
	}
	return all
}
