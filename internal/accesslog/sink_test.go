// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

var _ Report = (*receiverhelper.ObsReport)(nil)

// tally is an obsreport that counts.
type tally struct{ started, accepted, refused int }

func (t *tally) StartLogsOp(ctx context.Context) context.Context { t.started++; return ctx }

func (t *tally) EndLogsOp(_ context.Context, format string, n int, err error) {
	t.started--
	switch {
	case format != "kmesh":
		panic(format)
	case err == nil:
		t.accepted += n
	default:
		t.refused += n
	}
}

func newSink(change func(*Config), next consumer.Logs, report Report, status func(error)) *Sink {
	config := NewDefaultConfig()
	if change != nil {
		change(&config)
	}
	return NewSink(&config, sink.Settings{
		Resource: pcommon.NewResource(), Scope: pcommon.NewInstrumentationScope(), Status: status, Logger: zap.NewNop(),
	}, next, report)
}

func TestTheSinkDeliversAndReportsWhatItLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal := errors.New("the queue is full")
		next, err := consumer.NewLogs(func(_ context.Context, logs plog.Logs) error {
			if logs.LogRecordCount() == 2 {
				return refusal
			}
			return nil
		})
		require.NoError(t, err)
		var status []error
		report := &tally{}
		s := newSink(nil, next, report, func(err error) { status = append(status, err) })
		s.Start()
		for _, records := range []int{3, 2} {
			for range records {
				s.Add(named(sample()), noon)
			}
			s.Flush(noon)
			synctest.Wait()
		}
		require.True(t, s.Idle())
		require.Equal(t, []error{nil, refusal}, status)
		require.Equal(t, tally{accepted: 3, refused: 2}, *report)
		require.Equal(t, "log", s.Stats().Item)
		require.Equal(t, uint64(3), s.Stats().Queue.Delivered)

		lost := s.Shutdown(t.Context())
		require.NotNil(t, lost)
		require.NoError(t, lost.Err)
		require.Equal(t, "access log records were lost since the start", lost.Message)
		require.Equal(t, []zap.Field{zap.Uint64("shutdown", 0), zap.Uint64("refused", 2), zap.Uint64("queue_full", 0)}, lost.Fields)
	})
}

func TestASinkThatLostNothingReportsNothing(t *testing.T) {
	s := newSink(nil, consumertest.NewNop(), &tally{}, func(error) {})
	s.Start()
	s.Add(named(sample()), noon)
	s.Flush(noon)
	require.Nil(t, s.Shutdown(t.Context()))
	require.Nil(t, newSink(nil, consumertest.NewNop(), &tally{}, nil).Shutdown(t.Context()), "without a start")
}

// The consumer's error at our own end is none of the consumer.
func TestAShutdownIsNoStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next, err := consumer.NewLogs(func(ctx context.Context, _ plog.Logs) error {
			<-ctx.Done()
			return ctx.Err()
		})
		require.NoError(t, err)
		s := newSink(nil, next, &tally{}, func(err error) { assert.Fail(t, "a status", err) })
		s.Start()
		s.Add(named(sample()), noon)
		s.Flush(noon)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		lost := s.Shutdown(ctx)
		require.NotNil(t, lost)
		require.ErrorContains(t, lost.Err, "deliver the last 1 access log records")
	})
}

func TestOnlyPeriodicRecordsNeedIdleConnections(t *testing.T) {
	needs := func(change func(*Config)) sink.Needs {
		return newSink(change, consumertest.NewNop(), &tally{}, nil).Needs()
	}
	require.Equal(t, sink.Needs{Trace: true}, needs(nil))
	require.Equal(t, sink.Needs{TCPInfo: true, Trace: true, Period: time.Minute}, needs(func(c *Config) {
		c.TCPInfo, c.Events, c.Period = true, []string{"periodic"}, time.Minute
	}))
}

func TestEveryKeyReachesTheWriter(t *testing.T) {
	c := Config{Events: []string{"opened", "periodic"}, Period: 30 * time.Second, TCPInfo: true}
	require.Equal(t, Settings{Opened: true, Periodic: true, Period: 30 * time.Second, NoBody: true, TCPInfo: true}, c.settings())
	c = NewDefaultConfig()
	require.Equal(t, Settings{Closed: true, Failed: true, Period: 5 * time.Second}, c.settings())
	require.Equal(t, 32<<20, c.QueueBytes())
}

func TestTheMemoryOfARecordCountsItsAttributesAndItsBody(t *testing.T) {
	logs := plog.NewLogs()
	all := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	all.AppendEmpty()
	all.AppendEmpty().Body().SetStr("1234567")
	all.At(1).Attributes().PutInt("a", 1)
	require.Equal(t, 2*recordMemory+attributeMemory+7, weigh(logs))
}
