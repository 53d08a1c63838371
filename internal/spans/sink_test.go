// SPDX-License-Identifier: Apache-2.0

package spans

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

var _ Report = (*receiverhelper.ObsReport)(nil)

// tally is an obsreport that counts.
type tally struct{ accepted, refused int }

func (*tally) StartTracesOp(ctx context.Context) context.Context { return ctx }

func (t *tally) EndTracesOp(_ context.Context, format string, n int, err error) {
	switch {
	case format != "kmesh":
		panic(format)
	case err == nil:
		t.accepted += n
	default:
		t.refused += n
	}
}

func TestTheSinkDeliversAndReportsWhatItLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal, report := errors.New("the queue is full"), &tally{}
		next, err := consumer.NewTraces(func(_ context.Context, traces ptrace.Traces) error {
			if traces.SpanCount() == 2 {
				return refusal
			}
			return nil
		})
		require.NoError(t, err)
		var status []error
		s := NewSink(Config{TCPInfo: true}, sink.Settings{
			Resource: pcommon.NewResource(), Scope: pcommon.NewInstrumentationScope(),
			Status: func(err error) { status = append(status, err) }, Logger: zap.NewNop(),
		}, next, report)
		require.Equal(t, sink.Needs{TCPInfo: true, Trace: true}, s.Needs())
		s.Start()
		for _, spans := range []int{3, 2} {
			for range spans {
				s.Add(flowtest.Name(flowtest.Sample(), flowtest.SampleWorld{}), flowtest.Noon)
			}
			s.Flush(flowtest.Noon)
			synctest.Wait()
		}
		require.Equal(t, []error{nil, refusal}, status)
		require.Equal(t, tally{accepted: 3, refused: 2}, *report)
		require.Equal(t, "span", s.Stats().Item)
		lost := s.Shutdown(t.Context())
		require.NotNil(t, lost)
		require.Equal(t, "spans were lost since the start", lost.Message)
	})
}

func TestTheMemoryOfASpanCountsItsAttributes(t *testing.T) {
	traces := ptrace.NewTraces()
	all := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	all.AppendEmpty()
	all.AppendEmpty().Attributes().PutInt("a", 1)
	require.Equal(t, 2*spanMemory+attributeMemory, weigh(traces))
}
