// SPDX-License-Identifier: Apache-2.0

package fields

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

func TestTheSetOfFieldsHasRoomForAll(t *testing.T) {
	for _, use := range []Use{Log, Span, Log | TCPInfo, Span | TCPInfo} {
		hasRoomForAll(t, used(use))
	}
}

func hasRoomForAll(t *testing.T, fields []field) {
	t.Helper()
	require.LessOrEqual(t, len(fields), maxFields)
	names := make(map[string]bool)
	for _, f := range fields {
		require.False(t, names[f.name], f.name)
		names[f.name] = true
		kinds := 0
		for _, has := range []bool{f.text != nil, f.number != nil, f.format != nil} {
			if has {
				kinds++
			}
		}
		require.Equal(t, 1, kinds, f.name)
	}
}

// values returns the fields of a line.
func values(use Use, event Event, c *flow.Connection) map[string]any {
	line, attributes := NewLine(use), pcommon.NewMap()
	line.Fill(event, flowtest.Name(c, flowtest.SampleWorld{}))
	line.CopyTo(attributes)
	return attributes.AsRaw()
}

func TestTheConnectTimeIsThatOfTheClient(t *testing.T) {
	c := flowtest.Sample()
	require.NotContains(t, values(Log, Closed, c), "connect_duration")
	c.Connect = 412300 * time.Nanosecond
	require.Equal(t, "412.3µs", values(Log, Closed, c)["connect_duration"])
}

func TestDetailsAreThereOnRequest(t *testing.T) {
	c := flowtest.Sample()
	c.TCPInfo = flow.TCPInfo{
		SndCwnd: 100, SndSsthresh: 101, MSS: 102, SegsIn: 103, SegsOut: 104, DataSegsIn: 105, DataSegsOut: 106, Delivered: 107,
		DeliveredCE: 108, DSACKDups: 109, Reordering: 110, RateDelivered: 111, RateIntervalUs: 112, ICSKRetransmits: 113,
	}
	require.NotContains(t, values(Log, Closed, c), "tcp.snd_cwnd")
	all := values(Log|TCPInfo, Closed, c)
	want := map[string]int64{
		"tcp.snd_cwnd": 100, "tcp.snd_ssthresh": 101, "tcp.mss": 102, "tcp.segs_in": 103, "tcp.segs_out": 104,
		"tcp.data_segs_in": 105, "tcp.data_segs_out": 106, "tcp.delivered": 107, "tcp.delivered_ce": 108,
		"tcp.dsack_dups": 109, "tcp.reordering": 110, "tcp.rate_delivered": 111, "tcp.rate_interval_us": 112,
		"tcp.icsk_retransmits": 113,
	}
	for name, value := range want {
		require.Equal(t, value, all[name], name)
	}
	require.Len(t, all, len(values(Log, Closed, c))+len(want))
}

func TestNoNameForgesAnotherField(t *testing.T) {
	for name, escaped := range map[string]string{
		"plain, but": `plain\, but`, "a,b": "a,b", "k=v": `k\=v`, `back\slash`: `back\\slash`, "x, direction=INBOUND": `x\, direction\=INBOUND`,
	} {
		c := flowtest.Sample()
		f := flowtest.Name(c, flowtest.SampleWorld{})
		names := f.Source.Names.Value()
		names.Namespace = "host"
		f.Source = &identity.Workload{Name: name, Names: names.Handle()}
		line, attributes := NewLine(Log), pcommon.NewMap()
		line.Fill(Closed, f)
		require.Contains(t, line.Body(), ", src.workload="+escaped+", src.namespace=host, dst.addr=", name)
		line.CopyTo(attributes)
		require.Equal(t, name, attributes.AsRaw()["src.workload"], "an attribute needs no escape")
	}
}

func TestASpanHasTheStandardNames(t *testing.T) {
	c := flowtest.Sample()
	c.Reason = flow.ReasonReset
	all := values(Span, Closed, c)
	for name, want := range map[string]any{
		"network.transport": "tcp", "network.type": "ipv4", "client.address": "10.244.0.17", "client.port": int64(51842),
		"server.address": "10.244.0.13", "server.port": int64(9080), "error.type": "reset", "sent_bytes": int64(5),
	} {
		require.Equal(t, want, all[name], name)
	}
	for _, ofTheSpan := range []string{"start_time", "duration", "direction"} {
		require.NotContains(t, all, ofTheSpan)
	}
}
