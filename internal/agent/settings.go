// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

// Settings are what the user configured, and where the signals go. The receiver's README.md describes the keys.
type Settings struct {
	HostName string
	NodeName string // of the Kubernetes node, as the environment has it; empty: unknown
	Logger   *zap.Logger
	// Resource and InstrumentationScope are those of everything that is emitted.
	Resource             pcommon.Resource
	InstrumentationScope pcommon.InstrumentationScope
	// Status gets the error of a part of the agent, and nil when the part recovers. It may be called from several goroutines,
	// and repeat itself.
	Status func(part string, err error)

	// Metrics is nil without a metrics pipeline.
	Metrics       consumer.Metrics
	MetricsReport delivery.MetricsReport
	// Logs is nil without a logs pipeline.
	Logs       consumer.Logs
	LogsReport delivery.LogsReport
	// Traces is nil without a traces pipeline.
	Traces       consumer.Traces
	TracesReport delivery.TracesReport

	CollectionInterval time.Duration
	// EnabledMetrics are the names of the metrics that are emitted.
	EnabledMetrics map[string]bool
	// Attributes are the labels that each set keeps, which CheckAttributes accepts; none: all.
	Attributes map[string][]string

	FailureReasons        bool // response_flags of failed connects
	HistogramSize         int  // of the latency set: the most buckets; 0: the default
	ConnectionMinDuration time.Duration
	AccessLog             AccessLogSettings
	Identity              IdentitySettings

	ConnectionSecurityPolicy    string
	Scope                       string // ScopeKnown, ScopeAll, or empty: what suits the source
	IncludeLoopback             bool
	Exclude                     []naming.Rule
	AggregationCardinalityLimit int
	SeriesExpiration            time.Duration
	InitialZero                 bool
	CgroupPath                  string
	TraceSalt                   string // empty: trace ids are those of the contract
}

// AccessLogSettings select the events that become log records.
type AccessLogSettings struct {
	Events []string
	Period time.Duration // of EventPeriodic
	// QueueBytes bounds the memory of records that wait for the next consumer; 0: DefaultLogQueueBytes.
	QueueBytes int
	NoBody     bool // records have attributes only
	TCPInfo    bool // records and spans have the details of tcp_info
}

// DefaultLogQueueBytes bounds the queue of access log records.
const DefaultLogQueueBytes = delivery.DefaultQueueBytes

// IdentitySettings are where the names of the ends come from.
type IdentitySettings struct {
	Name                     string // of the source, for the log
	Source                   identity.SourceConfig
	Settle, Retain           time.Duration
	Networks                 *identity.Networks // nil: none
	UnknownDestinationsLimit int
}

// The scopes, as users write them.
const (
	ScopeKnown = "known"
	ScopeAll   = "all"
)

// The events of the access log, as users write them.
const (
	EventClosed   = "closed"
	EventFailed   = "failed"
	EventOpened   = "opened"
	EventPeriodic = "periodic"
)

// The sets of metrics.
const (
	ServiceSet    = string(series.Service)
	WorkloadSet   = string(series.Workload)
	ConnectionSet = string(series.Connection)
	IstioSet      = string(series.Istio)
	LatencySet    = string(series.Latency)
)

// MetricSets returns the set of each metric.
func MetricSets() map[string]string {
	sets := make(map[string]string)
	for _, m := range series.Metrics() {
		sets[m.Name] = string(m.Set)
	}
	return sets
}

// CheckAttributes returns an error unless the set can have these labels.
func CheckAttributes(set string, names []string) error {
	return series.CheckAttributes(series.Set(set), names)
}

// naming returns the settings of naming.
func (s *Settings) naming() naming.Settings {
	n := naming.Settings{Scope: s.scope(), Exclude: s.Exclude, Settle: s.Identity.Settle, Networks: s.Identity.Networks}
	if s.Identity.Source.Capabilities().Services {
		n.NodeName, n.Local = s.NodeName, newLocals().has
	} else {
		n.PairLimit = -1 // a process at both ends is found by their addresses
	}
	return n
}

// series returns the settings of the series.
func (s *Settings) series() series.Settings {
	attributes := make(map[series.Set][]string, len(s.Attributes))
	for set, names := range s.Attributes {
		attributes[series.Set(set)] = names
	}
	return series.Settings{
		Enabled:               s.EnabledMetrics,
		Attributes:            attributes,
		FailureReasons:        s.FailureReasons,
		HistogramSize:         s.HistogramSize,
		SecurityPolicy:        s.ConnectionSecurityPolicy,
		ConnectionMinDuration: s.ConnectionMinDuration,
		CardinalityLimit:      s.AggregationCardinalityLimit,
		UnknownAddresses:      s.Identity.unknownAddresses(),
		Expiration:            s.SeriesExpiration,
		InitialZero:           s.InitialZero,
		Networks:              s.Identity.Networks,
	}
}

// settings returns those of the access log.
func (s *AccessLogSettings) settings() accesslog.Settings {
	selects := func(event string) bool { return slices.Contains(s.Events, event) }
	return accesslog.Settings{
		Closed: selects(EventClosed), Failed: selects(EventFailed),
		Opened: selects(EventOpened), Periodic: selects(EventPeriodic),
		Period: s.Period,
		NoBody: s.NoBody, TCPInfo: s.TCPInfo,
	}
}

// unknownAddresses returns the limit for series, where 0 is the default.
func (s *IdentitySettings) unknownAddresses() int {
	if s.UnknownDestinationsLimit == 0 {
		return -1
	}
	return s.UnknownDestinationsLimit
}

// scope returns which connections count. A host's processes talk to anybody; users of a mesh ask about its workloads.
func (s *Settings) scope() naming.Scope {
	switch {
	case s.Scope == ScopeAll:
		return naming.ScopeAll
	case s.Scope == ScopeKnown:
		return naming.ScopeKnown
	case s.Identity.Source.Capabilities().Services:
		return naming.ScopeKnown
	default:
		return naming.ScopeAll
	}
}
