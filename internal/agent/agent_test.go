// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/file"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// subject is an agent between a fake kernel and the sinks.
type subject struct {
	*Agent
	statuses
	kernel *fakeProbe
	source *fakeSource
	logged *observer.ObservedLogs
}

// statuses are what the parts of an agent reported, without repetitions.
type statuses struct {
	mu    sync.Mutex
	last  map[string]string // by part
	lines []string
}

func (s *statuses) hear(part string, err error) {
	line := part + ": OK"
	if err != nil {
		line = part + ": " + err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, known := s.last[part]; line == before || err == nil && !known {
		return
	}
	if s.last == nil {
		s.last = make(map[string]string)
	}
	s.last[part] = line
	s.lines = append(s.lines, line)
}

func (s *statuses) reported() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// configured are the settings of an agent, and of the sinks of its signals.
type configured struct {
	Settings
	series    series.Settings
	accessLog accesslog.Config
	metrics   consumer.Metrics // nil: no such pipeline
	logs      consumer.Logs    // likewise
}

// complete returns the settings with the signals.
func (c *configured) complete() Settings {
	settings := c.Settings
	if c.metrics != nil {
		settings.Signals = append(settings.Signals, Signal{"metrics", func(s sink.Settings) Sink {
			return series.NewSink(c.series, s, c.metrics, noReport{})
		}})
	}
	if c.logs != nil {
		settings.Signals = append(settings.Signals, Signal{"logs", func(s sink.Settings) Sink {
			return accesslog.NewSink(&c.accessLog, s, c.logs, noReport{})
		}})
	}
	return settings
}

// join makes an agent of parts that are open.
func (c *configured) join(source identity.Source, p Probe, translation Translation) *Agent {
	settings := c.complete()
	sinks, _ := newSinks(&settings, source)
	return newAgent(&settings, source, sinks, p, translation)
}

// newSettings are those of an agent whose source knows services, with a log of what it says.
func newSettings(metrics consumer.Metrics, logs consumer.Logs) (*configured, *observer.ObservedLogs) {
	core, logged := observer.New(zap.InfoLevel)
	return &configured{
		Settings: Settings{
			HostName: "node-1", Resource: pcommon.NewResource(), InstrumentationScope: pcommon.NewInstrumentationScope(), Logger: zap.New(core), Status: func(string, error) {},
			CollectionInterval: 5 * time.Second,
			Identity:           IdentitySettings{Source: file.NewDefaultConfig(), Settle: 5 * time.Second, Retain: time.Minute},
		},
		series: series.Settings{
			Enabled: metricsOf(series.Service), ConnectionMinDuration: 5 * time.Second, UnknownAddresses: 1000, Expiration: 10 * time.Minute,
		},
		accessLog: accesslog.NewDefaultConfig(),
		metrics:   metrics, logs: logs,
	}, logged
}

// metricsOf returns the metrics of sets.
func metricsOf(sets ...series.Set) map[string]bool {
	enabled := make(map[string]bool)
	for _, m := range series.Metrics() {
		if slices.Contains(sets, m.Set) {
			enabled[m.Name] = true
		}
	}
	return enabled
}

// noReport is nobody who counts what the consumers took.
type noReport struct{}

func (noReport) StartMetricsOp(ctx context.Context) context.Context { return ctx }
func (noReport) EndMetricsOp(context.Context, string, int, error)   {}
func (noReport) StartLogsOp(ctx context.Context) context.Context    { return ctx }
func (noReport) EndLogsOp(context.Context, string, int, error)      {}
func (noReport) StartTracesOp(ctx context.Context) context.Context  { return ctx }
func (noReport) EndTracesOp(context.Context, string, int, error)    {}

// newSubject makes an agent; change may be nil, and so may a consumer, which is a signal without a pipeline.
func newSubject(t *testing.T, change func(*configured), metrics consumer.Metrics, logs consumer.Logs) *subject {
	t.Helper()
	settings, logged := newSettings(metrics, logs)
	if change != nil {
		change(settings)
	}
	s := &subject{kernel: &fakeProbe{}, source: &fakeSource{}, logged: logged}
	settings.Status = s.hear
	s.Agent = settings.join(s.source, s.kernel, nil)
	return s
}

// hourly leaves the collection of the counters to Stop.
func hourly(s *configured) { s.CollectionInterval, s.series.Expiration = time.Hour, 24*time.Hour }

func endpoint(text string) (e bpf.TCPEndpoint) {
	address := netip.MustParseAddrPort(text)
	bytes := address.Addr().As16()
	for i := range e.Addr {
		e.Addr[i] = binary.NativeEndian.Uint32(bytes[4*i:])
	}
	e.Port = address.Port()>>8 | address.Port()<<8
	return e
}

// closed is the record of a connection of 250 ms from sleep to httpbin, as its client's end closes it.
func closed(id uint64) *probe.Record {
	now := uint64(time.Now().UnixNano())
	counters := probe.Counters{Opened: 1, Sent: 100, Received: 2000, Retransmits: 3, Lost: 1}
	return &probe.Record{
		Id: id, Start: now - 250e6, Now: now, Total: counters, Delta: counters,
		MinRttUs: ^uint32(0), Kind: probe.KindClosed, Direction: probe.Outbound, State: probe.LastACK,
		Source: endpoint("10.244.0.10:40000"), Destination: endpoint("10.244.0.11:80"),
	}
}

func failed(id uint64) *probe.Record {
	r := closed(id)
	r.Kind, r.Error = probe.KindFailed, uint16(unix.ECONNREFUSED)
	r.Total, r.Delta = probe.Counters{}, probe.Counters{}
	return r
}

// open is the first report of a connection of 2 s, as its server's end stands.
func open(id uint64) *probe.Record {
	r := closed(id)
	r.Kind, r.Direction, r.Start = probe.KindOpen, probe.Inbound, r.Now-2e9
	r.Total = probe.Counters{Opened: 1, Sent: 10, Received: 20}
	r.Delta = r.Total
	return r
}

func spilled(ends uint64, failed uint32) *probe.Spilled {
	s := &probe.Spilled{}
	s.Key.Source, s.Key.Destination = endpoint("10.244.0.10:0"), endpoint("10.244.0.11:80")
	s.Key.Direction, s.Key.Failed = probe.Outbound, failed
	s.Totals.Start, s.Totals.Ends = uint64(time.Now().UnixNano()), ends
	if failed == 0 {
		s.Totals.Delta = probe.Counters{Opened: ends, Sent: 10 * ends, Received: 20 * ends}
	}
	return s
}

// sums adds up each metric over its series.
func sums(metrics pmetric.Metrics) map[string]int64 {
	all := make(map[string]int64)
	eachPoint(metrics, func(name string, p pmetric.NumberDataPoint) {
		if !p.Flags().NoRecordedValue() {
			all[name] += p.IntValue()
		}
	})
	return all
}

func eachPoint(metrics pmetric.Metrics, do func(name string, p pmetric.NumberDataPoint)) {
	for _, resource := range metrics.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				for _, p := range metric.Sum().DataPoints().All() {
					do(metric.Name(), p)
				}
			}
		}
	}
}

// newest is the last flush.
func newest(t *testing.T, sink *consumertest.MetricsSink) pmetric.Metrics {
	t.Helper()
	all := sink.AllMetrics()
	require.NotEmpty(t, all, "no flush yet")
	return all[len(all)-1]
}

func records(sink *consumertest.LogsSink) (all []plog.LogRecord) {
	for _, logs := range sink.AllLogs() {
		for _, resource := range logs.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					all = append(all, record)
				}
			}
		}
	}
	return all
}

func events(sink *consumertest.LogsSink) (names []string) {
	for _, record := range records(sink) {
		names = append(names, record.EventName())
	}
	return names
}

// after lets the clock go on, and then everybody do what is to be done by then.
func after(d time.Duration) {
	time.Sleep(d) // synctest's clock: no real time passes
	synctest.Wait()
}

// The log that is added up has the sums of the metrics, once per interval and at the end.
func TestAggregatedLogHasTheSumsOfTheMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics, logs := new(consumertest.MetricsSink), new(consumertest.LogsSink)
		s := newSubject(t, func(s *configured) { s.accessLog.Aggregate = 10 * time.Second }, metrics, logs)
		s.kernel.ends = []*probe.Record{closed(1), closed(2), failed(3)}
		s.Start()
		after(10 * time.Second)
		require.Equal(t, []string{"kmesh.tcp.connection.failed"}, events(logs), "the names were waited for, and the interval is not over")
		after(5*time.Second + readInterval)
		require.Equal(t, []string{"kmesh.tcp.connection.failed", "kmesh.tcp.flow.closed"}, events(logs))
		s.kernel.mu.Lock()
		s.kernel.ends = []*probe.Record{closed(4)}
		s.kernel.mu.Unlock()
		after(readInterval)
		require.NoError(t, s.Stop(t.Context()))
		require.Equal(t, []string{"kmesh.tcp.connection.failed", "kmesh.tcp.flow.closed", "kmesh.tcp.flow.closed"}, events(logs))

		total := map[string]int64{}
		for _, record := range records(logs) {
			for name, value := range record.Attributes().AsRaw() {
				if n, isNumber := value.(int64); isNumber {
					total[name] += n
				}
			}
		}
		counted := sums(newest(t, metrics))
		require.Equal(t, counted["kmesh.tcp.connections.closed"], total["connections"])
		require.Equal(t, counted["kmesh.tcp.sent"], total["sent_bytes"])
		require.Equal(t, counted["kmesh.tcp.received"], total["received_bytes"])
	})
}

func TestRecordsBecomeMetricsAndLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics, logs := new(consumertest.MetricsSink), new(consumertest.LogsSink)
		s := newSubject(t, func(s *configured) {
			s.series.Enabled, s.series.ConnectionMinDuration = metricsOf(series.Service, series.Workload, series.Connection), 0
			s.accessLog.Events, s.accessLog.Period = []string{"closed", "failed", "opened", "periodic"}, time.Second
		}, metrics, logs)
		s.kernel.ends = []*probe.Record{closed(1), failed(2)}
		s.kernel.opens = []*probe.Record{open(3)}
		s.kernel.spills = []*probe.Spilled{spilled(4, 0), spilled(2, 1)}
		s.Start()
		after(5*time.Second + readInterval)

		want := map[string]int64{
			"kmesh.tcp.connections.opened": 1 + 1 + 4, "kmesh.tcp.connections.closed": 1 + 4,
			"kmesh.tcp.conntections.failed": 1 + 2,
			"kmesh.tcp.sent":                100 + 10 + 40, "kmesh.tcp.received": 2000 + 20 + 80,

			"kmesh.tcp.workload.connections.opened": 6, "kmesh.tcp.workload.connections.closed": 5,
			"kmesh.tcp.workload.conntections.failed": 3,
			"kmesh.tcp.workload.sent":                150, "kmesh.tcp.workload.received": 2100,
			"kmesh.tcp.retrans": 3, "kmesh.tcp.packet_loss": 1,

			"kmesh.tcp.connection.sent": 100 + 10, "kmesh.tcp.connection.received": 2000 + 20,
			"kmesh.tcp.connection.retrans": 3, "kmesh.tcp.connection.packet_lost": 1,
		}
		assert.Equal(t, want, sums(newest(t, metrics)))
		found := 0
		eachPoint(newest(t, metrics), func(name string, p pmetric.NumberDataPoint) {
			labels := p.Attributes().AsRaw()
			if name != "kmesh.tcp.sent" || labels["reporter"] != "source" {
				return
			}
			found++
			assert.Equal(t, int64(140), p.IntValue())
			assert.Equal(t, "sleep", labels["source_workload"])
			assert.Equal(t, "httpbin", labels["destination_app"])
			assert.Equal(t, "v1", labels["destination_version"])
			assert.Equal(t, "httpbin.default.svc.cluster.local", labels["destination_service"])
			assert.Equal(t, "-", labels["response_flags"])
			assert.Equal(t, "unknown", labels["connection_security_policy"])
			assert.Len(t, labels, 23)
		})
		assert.Equal(t, 1, found, "one series")

		assert.Equal(t, []string{
			"kmesh.tcp.connection.opened", "kmesh.tcp.connection.closed", "kmesh.tcp.connection.failed",
			"kmesh.tcp.connection.opened", "kmesh.tcp.connection.periodic",
		}, events(logs), "an aggregate of lost records is no line")
		assert.Equal(t, "src.addr=10.244.0.10:40000, src.workload=sleep-1, src.namespace=default, "+
			"dst.addr=10.244.0.11:80, dst.service=httpbin.default.svc.cluster.local, dst.workload=httpbin-1, "+
			"dst.namespace=default, direction=OUTBOUND, sent_bytes=100, received_bytes=2000, duration=250ms",
			records(logs)[1].Body().Str())
		assert.Equal(t, "connection_refused", records(logs)[2].Attributes().AsRaw()["error.type"])

		after(5 * time.Second)
		want["kmesh.tcp.connection.sent"], want["kmesh.tcp.connection.received"] = 10, 20 // the closed one's series ended
		want["kmesh.tcp.connection.retrans"], want["kmesh.tcp.connection.packet_lost"] = 0, 0
		assert.Equal(t, want, sums(newest(t, metrics)))
		require.NoError(t, s.Stop(t.Context()))
		assert.Equal(t, want, sums(newest(t, metrics)))
		assert.Len(t, records(logs), 5, "nothing is reported twice")
		assert.Empty(t, s.reported())
		assert.Empty(t, s.logged.All())
	})
}

func TestLinesDoNotWaitForTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := new(consumertest.LogsSink)
		s := newSubject(t, hourly, nil, logs)
		s.Start()
		s.kernel.give(closed(1))
		after(readInterval)
		assert.Len(t, records(logs), 1)
		require.NoError(t, s.Stop(t.Context()))
	})
}

func TestStopHandsOverAllThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics, logs := new(consumertest.MetricsSink), new(consumertest.LogsSink)
		s := newSubject(t, hourly, metrics, logs)
		s.Start()
		waits := closed(1) // for an identity of its source, which will not come
		waits.Source = endpoint("10.9.9.9:40000")
		s.kernel.give(waits, closed(2))
		after(readInterval)
		assert.Len(t, records(logs), 1, "the other one waits")
		assert.Empty(t, metrics.AllMetrics())

		s.kernel.opens = []*probe.Record{open(3)}
		s.kernel.spills = []*probe.Spilled{spilled(4, 0)}
		require.NoError(t, s.Stop(t.Context()))
		assert.Equal(t, map[string]int64{
			"kmesh.tcp.connections.opened": 7, "kmesh.tcp.connections.closed": 6,
			"kmesh.tcp.sent": 250, "kmesh.tcp.received": 4100,
		}, sums(newest(t, metrics)))
		require.Len(t, records(logs), 2)
		assert.Equal(t, "-", records(logs)[1].Attributes().AsRaw()["src.workload"])
		assert.Equal(t, 1, s.kernel.closed)
		assert.Equal(t, int32(1), s.source.closed.Load())
	})
}

// What closed while the loop was ending is in the ring still.
func TestStopReadsTheRingOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics, logs := new(consumertest.MetricsSink), new(consumertest.LogsSink)
		s := newSubject(t, hourly, metrics, logs)
		s.Start()
		after(readInterval)
		s.cancel()
		s.done.Wait()
		s.kernel.give(closed(1))
		require.NoError(t, s.Stop(t.Context()))
		assert.Len(t, records(logs), 1)
		assert.Equal(t, int64(1), sums(newest(t, metrics))["kmesh.tcp.connections.closed"])
	})
}

func TestAReadingErrorIsReportedOnceAndReadingContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := new(consumertest.MetricsSink)
		s := newSubject(t, nil, metrics, nil)
		s.Start()
		after(readInterval)
		s.kernel.fail(errors.New("read the ring buffer: bad file"))
		after(7 * time.Second)
		assert.Equal(t, []string{"reading: read the ring buffer: bad file"}, s.reported())
		require.Equal(t, 1, s.logged.Len())
		assert.Equal(t, "reading from the kernel failed; retrying", s.logged.All()[0].Message)
		assert.InDelta(t, 7*time.Second/readInterval, s.kernel.reads, 5, "it is tried again, at the usual pace")

		s.kernel.fail(nil)
		s.kernel.give(closed(1))
		after(5 * time.Second)
		assert.Equal(t, "reading: OK", s.reported()[1])
		assert.Equal(t, int64(1), sums(newest(t, metrics))["kmesh.tcp.connections.closed"])

		s.kernel.fail(errors.New("again"))
		after(time.Second)
		assert.Len(t, s.reported(), 3)
		assert.Equal(t, 2, s.logged.Len(), "another failure is reported anew")
		s.kernel.fail(nil)
		after(time.Second)
		require.NoError(t, s.Stop(t.Context()))
	})
}

func TestMetricsThatWereRefusedComeWithTheNextFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuses atomic.Bool
		sink := new(consumertest.MetricsSink)
		next, err := consumer.NewMetrics(func(ctx context.Context, m pmetric.Metrics) error {
			if refuses.Load() {
				return errors.New("the queue is full")
			}
			return sink.ConsumeMetrics(ctx, m)
		})
		require.NoError(t, err)
		s := newSubject(t, nil, next, nil)
		s.Start()
		refuses.Store(true)
		s.kernel.give(closed(1))
		after(5*time.Second + readInterval)
		s.kernel.give(closed(2))
		after(10 * time.Second)
		assert.Equal(t, []string{"metrics consumer: the queue is full"}, s.reported())
		assert.Empty(t, sink.AllMetrics())

		refuses.Store(false)
		s.kernel.give(closed(3))
		after(10 * time.Second)
		assert.Equal(t, []string{"metrics consumer: the queue is full", "metrics consumer: OK"}, s.reported())
		assert.Equal(t, int64(3), sums(newest(t, sink))["kmesh.tcp.connections.closed"])
		assert.Equal(t, int64(300), sums(newest(t, sink))["kmesh.tcp.sent"])
		require.NoError(t, s.Stop(t.Context()))
	})
}

func TestALogsConsumerThatRefusesShowsInTheStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuses atomic.Bool
		refuses.Store(true)
		taken := 0
		logs, err := consumer.NewLogs(func(_ context.Context, l plog.Logs) error {
			if refuses.Load() {
				return errors.New("the queue is full")
			}
			taken += l.LogRecordCount()
			return nil
		})
		require.NoError(t, err)
		s := newSubject(t, nil, nil, logs)
		s.Start()
		s.kernel.give(closed(1))
		after(2 * time.Second)
		s.kernel.give(closed(2))
		after(2 * time.Second)
		assert.Equal(t, []string{"logs consumer: the queue is full"}, s.reported())
		refuses.Store(false)
		s.kernel.give(closed(3))
		after(10 * time.Second)
		assert.Equal(t, 1, taken, "what was refused does not come again")
		assert.Equal(t, uint64(2), s.Observation().Queues["log"].DroppedRefused)
		assert.Equal(t, []string{"logs consumer: the queue is full", "logs consumer: OK"}, s.reported())
		require.NoError(t, s.Stop(t.Context()))
	})
}

func TestABlockedMetricsConsumerHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		blocks, err := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error {
			<-release // does not heed its context
			return nil
		})
		require.NoError(t, err)
		logs := new(consumertest.LogsSink)
		s := newSubject(t, nil, blocks, logs)
		s.Start()
		s.kernel.give(closed(1))
		after(6 * time.Second)
		before := s.kernel.reads
		s.kernel.give(closed(2))
		after(20 * time.Second)
		assert.InDelta(t, 20*time.Second/readInterval, s.kernel.reads-before, 10)
		assert.Len(t, records(logs), 2)

		waits := closed(3)
		waits.Source = endpoint("10.9.9.9:40000")
		s.kernel.give(waits)
		after(readInterval)
		begun := time.Now()
		go func() {
			time.Sleep(time.Second)
			s.kernel.give(closed(4))
		}()
		require.NoError(t, s.Stop(context.Background()), "an error would keep the collector from a new configuration")
		assert.LessOrEqual(t, time.Since(begun), drainTimeout+readInterval+handOverTimeout)
		assert.Len(t, records(logs), 4, "what closed while the loop waited was read")
		assert.Equal(t, 1, s.kernel.closed)
		assert.Equal(t, int32(1), s.source.closed.Load())
		requireLogged(t, s, "the last metrics were not delivered", map[string]any{
			"error":  "deliver the last metrics: context deadline exceeded",
			"opened": int64(4), "closed": int64(4), "failed": int64(0), "sent": int64(400), "received": int64(8000),
		})
		close(release)
	})
}

// requireLogged checks the only message of the agent.
func requireLogged(t *testing.T, s *subject, message string, fields map[string]any) {
	t.Helper()
	require.Equal(t, 1, s.logged.Len())
	assert.Equal(t, message, s.logged.All()[0].Message)
	assert.Equal(t, fields, s.logged.All()[0].ContextMap())
}

func TestABlockedLogsConsumerHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocks, err := consumer.NewLogs(func(ctx context.Context, _ plog.Logs) error {
			<-ctx.Done()
			return ctx.Err()
		})
		require.NoError(t, err)
		metrics := new(consumertest.MetricsSink)
		s := newSubject(t, nil, metrics, blocks)
		s.Start()
		s.kernel.give(closed(1))
		after(6 * time.Second)
		assert.Equal(t, int64(1), sums(newest(t, metrics))["kmesh.tcp.connections.closed"])
		s.kernel.give(closed(2))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		require.NoError(t, s.Stop(ctx))
		assert.Equal(t, 3*time.Second, time.Since(begun), "its caller has less time than it would take")
		assert.Equal(t, int64(2), sums(newest(t, metrics))["kmesh.tcp.connections.closed"])
		requireLogged(t, s, "access log records were lost since the start", map[string]any{
			"error":    "deliver the last 2 access log records: context deadline exceeded",
			"shutdown": uint64(2), "refused": uint64(0), "queue_full": uint64(0),
		})
		assert.Equal(t, uint64(2), s.Observation().Queues["log"].DroppedShutdown)
	})
}

// A consumer that refuses costs no time, whatever it is that it refuses.
func TestConsumersThatRefuseDoNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuses := consumertest.NewErr(errors.New("no"))
		s := newSubject(t, nil, refuses, refuses)
		s.Start()
		s.kernel.give(closed(1))
		after(6 * time.Second)
		s.kernel.give(closed(2))
		begun := time.Now()
		require.NoError(t, s.Stop(context.Background()))
		assert.LessOrEqual(t, time.Since(begun), readInterval)
		require.Equal(t, 2, s.logged.Len())
		assert.Equal(t, "the last metrics were not delivered", s.logged.All()[0].Message)
		assert.Equal(t, int64(2), s.logged.All()[0].ContextMap()["closed"])
		assert.Equal(t, uint64(2), s.logged.All()[1].ContextMap()["refused"])
	})
}

func TestAConsumerThatBlocksForAWhileGetsAllAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := new(consumertest.MetricsSink)
		slow, err := consumer.NewMetrics(func(ctx context.Context, m pmetric.Metrics) error {
			time.Sleep(1500 * time.Millisecond)
			return sink.ConsumeMetrics(ctx, m)
		})
		require.NoError(t, err)
		s := newSubject(t, nil, slow, nil)
		s.Start()
		s.kernel.give(closed(1))
		after(5*time.Second + readInterval/2)
		require.Empty(t, sink.AllMetrics(), "in flight")
		s.kernel.give(closed(2))
		require.NoError(t, s.Stop(context.Background()))
		assert.Equal(t, int64(2), sums(newest(t, sink))["kmesh.tcp.connections.closed"])
		assert.Zero(t, s.logged.Len())
	})
}

// refusalPatience is that of series.
const refusalPatience = time.Minute

// A fan-out returns an error for as long as one of its destinations refuses.
func TestWhileOneDestinationRefusesSeriesStillEndAndTheAuditGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := new(consumertest.MetricsSink)
		fanOut, err := consumer.NewMetrics(func(ctx context.Context, m pmetric.Metrics) error {
			return errors.Join(sink.ConsumeMetrics(ctx, m), errors.New("the other one refuses"))
		})
		require.NoError(t, err)
		s := newSubject(t, nil, fanOut, nil)
		s.Start()
		s.kernel.give(closed(1))
		after(10*time.Second + readInterval)
		s.source.sleepIsGone.Store(true)
		s.source.generation.Add(1)
		after(refusalPatience / 2)
		assert.Equal(t, 1, s.Observation().Series.Service.Series, "it may still come back")
		assert.Zero(t, s.Observation().Series.Exported[flow.Closed])
		after(refusalPatience)
		assert.Zero(t, s.Observation().Series.Service.Series)
		assert.Equal(t, int64(1), s.Observation().Series.Exported[flow.Closed])
		assert.Equal(t, []string{"metrics consumer: the other one refuses"}, s.reported())
		s.kernel.give(closed(2))
		after(15 * time.Second)
		assert.Equal(t, int64(2), s.Observation().Series.Exported[flow.Closed], "at once from here on")
		require.NoError(t, s.Stop(t.Context()))
	})
}

func TestSeriesOfAWorkloadThatIsGoneEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := new(consumertest.MetricsSink)
		s := newSubject(t, nil, metrics, nil)
		s.Start()
		s.kernel.give(closed(1))
		after(10*time.Second + readInterval)
		s.source.sleepIsGone.Store(true)
		s.source.generation.Add(1)
		after(10 * time.Second)
		marks := 0
		for _, flush := range metrics.AllMetrics() {
			eachPoint(flush, func(_ string, p pmetric.NumberDataPoint) {
				if p.Flags().NoRecordedValue() {
					marks++
				}
			})
		}
		assert.Equal(t, 4, marks, "one for each metric of the series, once")
		flushes := len(metrics.AllMetrics())
		after(10 * time.Second)
		assert.Len(t, metrics.AllMetrics(), flushes, "there is nothing more to report")
		require.NoError(t, s.Stop(t.Context()))
	})
}

func TestWhatIsAskedOfOpenConnections(t *testing.T) {
	metrics, logs := consumer.Metrics(consumertest.NewNop()), consumer.Logs(consumertest.NewNop())
	ofConnections := func(s *configured) { s.series.Enabled = metricsOf(series.Service, series.Connection) }
	periodic := func(s *configured) {
		s.accessLog.Events, s.accessLog.Period = []string{"periodic"}, 3*time.Second
	}
	for _, test := range []struct {
		name    string
		change  func(*configured)
		metrics consumer.Metrics
		logs    consumer.Logs
		want    []bool // in 10 s
	}{
		{"those that moved", nil, metrics, logs, []bool{false, false}},
		{"all for series of their own", ofConnections, metrics, logs, []bool{true, true}},
		{"without a metrics pipeline", ofConnections, nil, logs, []bool{false, false}},
		{"all in every period", periodic, metrics, logs,
			[]bool{true, false, true, true, false}},
		{"without a logs pipeline", periodic, metrics, nil, []bool{false, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSubject(t, test.change, test.metrics, test.logs)
				s.Start()
				after(10*time.Second + readInterval/2)
				assert.Equal(t, test.want, s.kernel.swept())
				require.NoError(t, s.Stop(t.Context()))
				assert.Equal(t, []bool{false}, s.kernel.swept(), "once more at the end")
			})
		})
	}
}
