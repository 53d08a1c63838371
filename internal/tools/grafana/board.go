// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const tag = "kmesh"

// board is a dashboard with what all have: the data sources, and links to the others.
func board(uid, title, description string, variables ...cog.Builder[dashboard.VariableModel]) *dashboard.DashboardBuilder {
	b := dashboard.NewDashboardBuilder(title).Uid(uid).Description(description).Tags([]string{tag}).
		Timezone(common.TimeZoneBrowser).Time("now-1h", "now").Refresh("30s").Tooltip(dashboard.DashboardCursorSyncCrosshair).Editable().
		Link(dashboard.NewDashboardLinkBuilder("Kmesh").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{tag}).
			AsDropdown(true).IncludeVars(true).KeepTime(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("prometheus").Label("Prometheus").Type("prometheus"))
	for _, v := range variables {
		b.WithVariable(v)
	}
	return b
}

func lokiSource() cog.Builder[dashboard.VariableModel] {
	return dashboard.NewDatasourceVariableBuilder("loki").Label("Loki").Type("loki")
}

// choice is a variable with the values of a label, of which all are chosen at first.
func choice(name, label, metric, of string) cog.Builder[dashboard.VariableModel] {
	query := "label_values(" + metric + ", " + of + ")"
	all := ".*"
	text, everything := "All", "$__all"
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source("prometheus")).
		Query(dashboard.StringOrMap{String: &query}).Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc).Multi(true).IncludeAll(true).AllValue(all).
		Current(dashboard.VariableOption{
			Text:  dashboard.StringOrArrayOfString{String: &text},
			Value: dashboard.StringOrArrayOfString{String: &everything},
		})
}

// to is a link from a row of a table or a series of a graph to another dashboard, over the same time.
func to(title, uid, variables string) cog.Builder[dashboard.DashboardLink] {
	url := "/d/" + uid + "?${__url_time_range}&${prometheus:queryparam}" + variables
	return dashboard.NewDashboardLinkBuilder(title).Type(dashboard.DashboardLinkTypeLink).Url(url)
}

func toService() cog.Builder[dashboard.DashboardLink] {
	return to("Service", "kmesh-service", "&var-service=${__data.fields.destination_service}")
}

func toWorkload() cog.Builder[dashboard.DashboardLink] {
	return to("Workload", "kmesh-workload", "&var-workload=${__data.fields.source_workload}")
}

func toLog() cog.Builder[dashboard.DashboardLink] {
	return to("Connection log", "kmesh-connection-log", "&var-service=${__data.fields.destination_service}")
}
