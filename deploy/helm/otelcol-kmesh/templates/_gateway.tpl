{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- define "kmesh.gatewayQueue" }}
    sending_queue:
      sizer: bytes
      {{- if ne .Values.gateway.queue.storage "memory" }}
      queue_size: {{ mul .Values.gateway.queue.sizeMiB 1048576 }}
      storage: file_storage
      {{- else }}
      queue_size: {{ mul .Values.gateway.queue.memoryMiB 1048576 }}
      {{- end }}
    retry_on_failure:
      max_elapsed_time: 0s
{{- end }}
{{- define "kmesh.gatewayConfig" }}
{{- $root := .root }}
{{- $gateway := $root.Values.gateway }}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: :4317
processors:
  memory_limiter:
    check_interval: 1s
    limit_mib: {{ div (mul $gateway.goMemLimitMiB 12) 10 }}
    spike_limit_mib: {{ div $gateway.goMemLimitMiB 5 }}
exporters:
  {{- if $gateway.prometheus.scrape }}
  prometheus:
    endpoint: :{{ $gateway.prometheus.port }}
    without_scope_info: true
  {{- end }}
  {{- with $gateway.prometheus.remoteWrite }}
  prometheus_remote_write:
    http:
      endpoint: {{ . }}
    disable_scope_info: true
  {{- end }}
  {{- with $gateway.loki }}
  otlp_http/loki:
    endpoint: {{ . }}
    {{- include "kmesh.gatewayQueue" $root }}
  {{- end }}
  {{- with $gateway.otlp.endpoint }}
  otlp_grpc:
    endpoint: {{ . }}
    tls:
      {{- toYaml $gateway.otlp.tls | nindent 6 }}
    {{- include "kmesh.gatewayQueue" $root }}
  {{- end }}
  {{- if $gateway.debug }}
  debug:
    verbosity: normal
  {{- end }}
  {{- if $root.Values.map.enabled }}
  kmesh_map:
    endpoint: {{ $root.Values.map.endpoint }}
  {{- end }}
extensions:
  health_check:
    http:
      endpoint: :13133
      status:
        enabled: true
        path: /
    component_health:
      include_permanent_errors: true
      include_recoverable_errors: false
  {{- with $root.Values.directory }}
  {{- if .enabled }}
  kmesh_directory:
    {{- $own := dict "endpoint" (printf "0.0.0.0:%d" (int .port)) }}
    {{- if .tls.secretName }}
    {{- $_ := set $own "tls" (dict "cert_file" "/etc/kmesh-directory/tls.crt" "key_file" "/etc/kmesh-directory/tls.key" "reload_interval" "1m") }}
    {{- end }}
    {{- mergeOverwrite (deepCopy .config) $own | toYaml | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- if .persistent }}
  file_storage:
    directory: ${env:KMESH_QUEUE:-/var/lib/otelcol-kmesh}
    compaction:
      on_rebound: true
      directory: ${env:KMESH_QUEUE:-/var/lib/otelcol-kmesh}
  {{- end }}
service:
  extensions: [health_check{{ if .persistent }}, file_storage{{ end }}{{ if $root.Values.directory.enabled }}, kmesh_directory{{ end }}]
  telemetry:
    resource:
      attributes:
        - {name: service.name, value: otelcol-kmesh-gateway}
    metrics:
      readers:
        - pull:
            exporter:
              prometheus:
                host: 0.0.0.0
                port: 8888
                # The names that the metrics have behind OTLP too.
                without_type_suffix: false
                without_units: false
  pipelines:
    metrics:
      receivers: [otlp]
      processors: [memory_limiter]
      exporters: [{{ join ", " .metrics }}]
    {{- with .logs }}
    logs:
      receivers: [otlp]
      processors: [memory_limiter]
      exporters: [{{ join ", " . }}]
    {{- end }}
{{- end }}
