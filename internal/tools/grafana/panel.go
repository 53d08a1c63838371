// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/logs"
	"github.com/grafana/grafana-foundation-sdk/go/loki"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Units as Grafana spells them.
const (
	perSecond      = "cps"
	bytesPerSecond = "Bps"
	bytes10        = "bytes"
	ratio          = "percentunit"
	number         = "short"
	seconds        = "s"
)

// A panel is as wide as half or a quarter of the 24 columns, or all of them.
const (
	full    = 24
	half    = 12
	quarter = 6
)

// query is an expression with the legend of its series, or the name of its column.
type query struct{ expression, legend string }

// panel is what all panels state.
type panel struct {
	title, description, unit string
	queries                  []query
	links                    []cog.Builder[dashboard.DashboardLink]
}

func source(kind string) common.DataSourceRef {
	uid := "${" + kind + "}"
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}

func graph(p panel) *timeseries.PanelBuilder {
	b := timeseries.NewPanelBuilder().Title(p.title).Description(p.description).Datasource(source("prometheus")).
		Unit(p.unit).Min(0).FillOpacity(10).ShowPoints(common.VisibilityModeNever).Span(half).Height(8).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeTable).Placement(common.LegendPlacementBottom).
			ShowLegend(true).Calcs([]string{"mean", "max"})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		DataLinks(p.links)
	for _, q := range p.queries {
		b.WithTarget(prometheus.NewDataqueryBuilder().Expr(q.expression).LegendFormat(q.legend).Range())
	}
	return b
}

// exemplars is a graph with a dot for each exemplar.
func exemplars(p panel) *timeseries.PanelBuilder {
	b := graph(panel{title: p.title, description: p.description, unit: p.unit, links: p.links})
	for _, q := range p.queries {
		b.WithTarget(prometheus.NewDataqueryBuilder().Expr(q.expression).LegendFormat(q.legend).Range().Exemplar(true))
	}
	return b
}

// value shows the newest value of one query.
func value(p panel, steps ...dashboard.Threshold) *stat.PanelBuilder {
	zero := dashboard.Threshold{Color: "green"}
	b := stat.NewPanelBuilder().Title(p.title).Description(p.description).Datasource(source("prometheus")).
		Unit(p.unit).Span(quarter).Height(4).GraphMode(common.BigValueGraphModeArea).NoValue("0").
		Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(append([]dashboard.Threshold{zero}, steps...))).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
	for _, q := range p.queries {
		b.WithTarget(prometheus.NewDataqueryBuilder().Expr(q.expression).LegendFormat(q.legend).Range())
	}
	return b
}

func from(limit float64, color string) dashboard.Threshold {
	return dashboard.Threshold{Value: &limit, Color: color}
}

// list is a table of one instant query, a row for each series, the largest first.
func list(p panel) *table.PanelBuilder {
	b := table.NewPanelBuilder().Title(p.title).Description(p.description).Datasource(source("prometheus")).
		Unit(p.unit).Span(full).Height(8).DataLinks(p.links).
		SortBy([]cog.Builder[common.TableSortByFieldState]{common.NewTableSortByFieldStateBuilder().DisplayName("Value").Desc(true)}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{"excludeByName": map[string]any{"Time": true}}})
	for _, q := range p.queries {
		b.WithTarget(prometheus.NewDataqueryBuilder().Expr(q.expression).LegendFormat(q.legend).Format(prometheus.PromQueryFormatTable).Instant())
	}
	return b
}

// counted is a list of an instant LogQL query.
func counted(p panel) *table.PanelBuilder {
	b := table.NewPanelBuilder().Title(p.title).Description(p.description).Datasource(source("loki")).
		Unit(p.unit).Span(full).Height(8).DataLinks(p.links).
		SortBy([]cog.Builder[common.TableSortByFieldState]{common.NewTableSortByFieldStateBuilder().DisplayName("Value #A").Desc(true)}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{"excludeByName": map[string]any{"Time": true}}})
	for _, q := range p.queries {
		b.WithTarget(loki.NewDataqueryBuilder().Expr(q.expression).LegendFormat(q.legend).QueryType("instant"))
	}
	return b
}

// logGraph is a graph of a LogQL metric query.
func logGraph(p panel) *timeseries.PanelBuilder {
	b := graph(panel{title: p.title, description: p.description, unit: p.unit}).Datasource(source("loki"))
	for _, q := range p.queries {
		b.WithTarget(loki.NewDataqueryBuilder().Expr(q.expression).LegendFormat(q.legend).QueryType("range"))
	}
	return b
}

func lines(p panel) *logs.PanelBuilder {
	b := logs.NewPanelBuilder().Title(p.title).Description(p.description).Datasource(source("loki")).
		Span(full).Height(12).ShowTime(true).WrapLogMessage(true).EnableLogDetails(true).SortOrder(common.LogsSortOrderDescending)
	for _, q := range p.queries {
		b.WithTarget(loki.NewDataqueryBuilder().Expr(q.expression).QueryType("range").MaxLines(500))
	}
	return b
}

func row(title string) *dashboard.RowBuilder { return dashboard.NewRowBuilder(title) }
