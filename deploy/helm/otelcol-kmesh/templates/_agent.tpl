{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* The agent's configuration, for the ConfigMap and for the OpenTelemetryCollector resource. */}}
{{- define "kmesh.agentConfig" -}}
{{- $agent := .Values.agent }}
{{- $persistent := ne $agent.queue.storage "memory" }}
{{- $source := include "kmesh.agentSource" . }}
{{- $identity := dict "source" $source }}
{{- if .Values.directory.enabled }}
{{- $tls := ternary (dict "ca_file" "/etc/kmesh-directory/ca.crt") (dict "insecure" true) (ne .Values.directory.tls.secretName "") }}
{{- $_ := set $identity "istio" (dict "endpoint" (include "kmesh.directoryEndpoint" .) "on_demand" true "tls" $tls) }}
{{- end }}
{{- $own := dict "identity" $identity "cgroup_path" "/host/sys/fs/cgroup" }}
receivers:
  kmesh:
    {{- mergeOverwrite (deepCopy $agent.receiver) $own | toYaml | nindent 4 }}
processors:
  memory_limiter:
    check_interval: 1s
    limit_mib: {{ div (mul $agent.goMemLimitMiB 12) 10 }}
    spike_limit_mib: {{ div $agent.goMemLimitMiB 5 }}
exporters:
  {{ include "kmesh.agentExporter" . }}:
    {{- if eq (include "kmesh.agentExporter" .) "load_balancing" }}
    # By the agent's resource, so a node stays with one gateway while the list of them is the same.
    routing_key: resource
    resolver:
      dns:
        hostname: {{ include "kmesh.gatewayName" . }}-replicas.{{ .Release.Namespace }}.svc
        port: "4317"
    # The queue and the retries below are for all gateways: what one does not take goes to the one in its place.
    protocol:
      otlp:
        tls:
          {{- toYaml $agent.tls | nindent 10 }}
        sending_queue:
          enabled: false
        retry_on_failure:
          enabled: false
    {{- else }}
    endpoint: ${env:GATEWAY}
    tls:
      {{- toYaml $agent.tls | nindent 6 }}
    {{- end }}
    sending_queue:
      sizer: bytes
      # One after the other: Prometheus rejects a point that arrives after a later one, and with it an agent's
      # last totals before a restart.
      num_consumers: 1
      {{- if $persistent }}
      queue_size: {{ mul $agent.queue.sizeMiB 1048576 }}
      storage: file_storage
      {{- else }}
      queue_size: {{ mul $agent.queue.memoryMiB 1048576 }}
      {{- end }}
    retry_on_failure:
      {{- if eq (include "kmesh.agentExporter" .) "load_balancing" }}
      # This exporter has no defaults for them.
      enabled: true
      initial_interval: 5s
      randomization_factor: 0.5
      multiplier: 1.5
      max_interval: 30s
      {{- end }}
      max_elapsed_time: 0s
extensions:
  # Red when the receiver does not run: takes the feature gate in the arguments.
  health_check:
    http:
      endpoint: 127.0.0.1:{{ $agent.ports.health }}
      status:
        enabled: true
        path: /
    component_health:
      include_permanent_errors: true
      include_recoverable_errors: false
  {{- if $persistent }}
  file_storage:
    directory: ${env:KMESH_QUEUE:-/var/lib/otelcol-kmesh}
    compaction:
      on_rebound: true
      directory: ${env:KMESH_QUEUE:-/var/lib/otelcol-kmesh}
  {{- end }}
service:
  extensions: [health_check{{ if $persistent }}, file_storage{{ end }}]
  telemetry:
    resource:
      attributes:
        - {name: service.name, value: otelcol-kmesh-agent}
        - {name: service.instance.id, value: "${env:K8S_NODE_NAME}"}
    metrics:
      {{- if or $agent.telemetry.otlp $agent.telemetry.scrape }}
      readers:
        {{- if $agent.telemetry.otlp }}
        - periodic:
            interval: 30000
            exporter:
              otlp:
                protocol: grpc
                endpoint: {{ ternary "http" "https" (dig "insecure" false $agent.tls) }}://${env:GATEWAY}
                {{- with $agent.tls.ca_file }}
                certificate: {{ . }}
                {{- end }}
                {{- with $agent.tls.cert_file }}
                client_certificate: {{ . }}
                {{- end }}
                {{- with $agent.tls.key_file }}
                client_key: {{ . }}
                {{- end }}
        {{- end }}
        {{- if $agent.telemetry.scrape }}
        - pull:
            exporter:
              prometheus:
                host: 0.0.0.0
                port: {{ $agent.ports.telemetry }}
                # The names that the metrics have behind OTLP too.
                without_type_suffix: false
                without_units: false
        {{- end }}
      {{- else }}
      level: none
      {{- end }}
  pipelines:
    metrics:
      receivers: [kmesh]
      processors: [memory_limiter]
      exporters: [{{ include "kmesh.agentExporter" . }}]
    {{- if include "kmesh.agentSendsLogs" . }}
    logs:
      receivers: [kmesh]
      processors: [memory_limiter]
      exporters: [{{ include "kmesh.agentExporter" . }}]
    {{- end }}
{{- end }}

{{- define "kmesh.agentEnv" -}}
- name: K8S_NODE_NAME           # the nodes' series differ by it
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: GATEWAY
  value: {{ include "kmesh.endpoint" . | quote }}
- name: GOMEMLIMIT
  value: {{ .Values.agent.goMemLimitMiB }}MiB
{{- if eq (include "kmesh.agentSource" .) "istio" }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- end }}
{{- with .Values.agent.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kmesh.agentSecurityContext" -}}
runAsUser: 0                    # Kubernetes gives capabilities to root only
runAsGroup: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add: [BPF, PERFMON, NET_ADMIN]
seccompProfile: {type: {{ .Values.agent.seccompProfile }}}
{{- with .Values.agent.appArmorProfile }}
appArmorProfile: {type: {{ . }}}
{{- end }}
{{- $selinux := .Values.agent.seLinuxOptions }}
{{- if and (eq .Values.platform "openshift") (not $selinux) }}{{ $selinux = dict "type" "spc_t" }}{{ end }}
{{- with $selinux }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kmesh.agentVolumeMounts" -}}
# The container's own /sys/fs/cgroup shows its own processes only.
- {name: cgroup, mountPath: /host/sys/fs/cgroup, readOnly: true}
{{- if ne .Values.agent.queue.storage "memory" }}
- {name: queue, mountPath: /var/lib/otelcol-kmesh}
{{- end }}
{{- if eq .Values.identity "istio" }}
- {name: istio-token, mountPath: /var/run/secrets/tokens, readOnly: true}
- {name: istio-root, mountPath: /var/run/secrets/istio, readOnly: true}
{{- end }}
{{- if and .Values.directory.enabled .Values.directory.tls.secretName }}
- {name: directory-ca, mountPath: /etc/kmesh-directory, readOnly: true}
{{- end }}
{{- end }}

{{- define "kmesh.agentVolumes" -}}
- name: cgroup
  hostPath: {path: {{ .Values.agent.cgroupPath }}, type: Directory}
{{- with .Values.agent.queue }}
{{- if eq .storage "emptyDir" }}
- name: queue
  emptyDir: {sizeLimit: {{ .sizeLimit }}}
{{- else if eq .storage "hostPath" }}
- name: queue
  hostPath: {path: {{ .hostPath }}, type: DirectoryOrCreate}
{{- end }}
{{- end }}
{{- if eq .Values.identity "istio" }}
- name: istio-token               # the kubelet exchanges it before it expires
  projected:
    sources:
      - serviceAccountToken: {audience: istio-ca, expirationSeconds: 43200, path: istio-token}
- name: istio-root                # istiod writes it into every namespace
  configMap: {name: istio-ca-root-cert}
{{- end }}
{{- if and .Values.directory.enabled .Values.directory.tls.secretName }}
- name: directory-ca              # not the key beside it
  secret: {secretName: {{ .Values.directory.tls.secretName }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}

{{- define "kmesh.agentAffinity" -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - {key: kubernetes.io/arch, operator: In, values: [amd64, arm64]}
          # Nodes without a kernel of their own.
          - {key: eks.amazonaws.com/compute-type, operator: NotIn, values: [fargate]}
          - {key: type, operator: NotIn, values: [virtual-kubelet]}
{{- end }}

{{- define "kmesh.agentNodeSelector" -}}
{{- mergeOverwrite (deepCopy .Values.agent.nodeSelector) (dict "kubernetes.io/os" "linux") | toYaml }}
{{- end }}
