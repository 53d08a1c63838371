{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- define "kmesh.name" -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "kmesh.gatewayName" -}}{{ include "kmesh.name" . }}-gateway{{- end }}

{{/* Labels that never change: a selector is immutable. */}}
{{- define "kmesh.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "kmesh.labels" -}}
{{ include "kmesh.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- if not .root.Values.rendered }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}
{{- end }}

{{- define "kmesh.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- define "kmesh.endpoint" -}}
{{- if .Values.agent.endpoint }}{{ .Values.agent.endpoint }}{{ else }}{{ include "kmesh.gatewayName" . }}.{{ .Release.Namespace }}.svc:4317{{ end -}}
{{- end }}

{{- define "kmesh.gatewayReplicas" -}}
{{- if .Values.directory.enabled }}{{ max 2 (int .Values.gateway.replicas) }}{{ else }}{{ .Values.gateway.replicas }}{{ end -}}
{{- end }}

{{/* The agents' exporter: to one address, or to the gateway that is the node's. */}}
{{- define "kmesh.agentExporter" -}}
{{- if eq .Values.gateway.routing "node" }}load_balancing{{ else }}otlp_grpc{{ end -}}
{{- end }}

{{/* Where the agents ask for names with directory.enabled, host:port. */}}
{{- define "kmesh.directoryEndpoint" -}}
{{ include "kmesh.gatewayName" . }}.{{ .Release.Namespace }}.svc:{{ .Values.directory.port }}
{{- end }}

{{/* The source that the agents have: identity, unless they ask the directory, which speaks istiod's protocol. */}}
{{- define "kmesh.agentSource" -}}
{{- if .Values.directory.enabled }}istio{{ else }}{{ .Values.identity }}{{ end -}}
{{- end }}

{{/* "true" if an exporter of the gateway takes the access log. */}}
{{- define "kmesh.gatewayTakesLogs" -}}
{{- with .Values }}{{ if or .gateway.loki .gateway.otlp.endpoint .gateway.debug .map.enabled }}true{{ end }}{{ end -}}
{{- end }}

{{- define "kmesh.agentSendsLogs" -}}
{{- if and .Values.agent.accessLog.enabled (or .Values.agent.endpoint (include "kmesh.gatewayTakesLogs" .)) }}true{{ end -}}
{{- end }}

{{/* One place for every combination that cannot work. */}}
{{- define "kmesh.check" -}}
{{- with .Values }}
{{- if eq .platform "autopilot" }}
{{- fail "platform autopilot: GKE Autopilot rejects pods with hostPID, hostNetwork and the capabilities BPF, PERFMON and NET_ADMIN, which the agents need. Use a GKE Standard cluster with platform gke." }}
{{- end }}
{{- if not (or .gateway.enabled .agent.endpoint) }}
{{- fail "agent.endpoint: name an OTLP endpoint, or set gateway.enabled" }}
{{- end }}
{{- if .gateway.enabled }}
{{- if not (or .gateway.prometheus.scrape .gateway.prometheus.remoteWrite .gateway.otlp.endpoint .gateway.debug .map.enabled) }}
{{- fail "gateway: no exporter for metrics; set prometheus.scrape, prometheus.remoteWrite, otlp.endpoint or debug" }}
{{- end }}
{{- $replicas := include "kmesh.gatewayReplicas" $ | int }}
{{- if and .directory.enabled .gateway.prometheus.scrape }}
{{- fail "directory.enabled: needs two gateways, and an agent that reconnects to another one would leave its scraped series on both. Set gateway.prometheus.scrape=false and gateway.prometheus.remoteWrite=URL." }}
{{- end }}
{{- if and (gt $replicas 1) .gateway.prometheus.scrape }}
{{- fail "gateway.replicas: with prometheus.scrape only 1; an agent that reconnects to another replica would leave its series on both. Use prometheus.remoteWrite." }}
{{- end }}
{{- if and (gt $replicas 1) (eq .gateway.queue.storage "persistentVolumeClaim") }}
{{- fail "gateway.replicas: with queue.storage persistentVolumeClaim only 1; replicas cannot share a queue" }}
{{- end }}
{{- if and (gt $replicas 1) .map.enabled }}
{{- fail "gateway.replicas: with map.enabled only 1; each replica would show a part of the map" }}
{{- end }}
{{- end }}
{{- if and (eq .gateway.routing "node") (or .agent.endpoint (not .gateway.enabled)) }}
{{- fail "gateway.routing: node is for the gateways of this chart; set gateway.enabled, and leave agent.endpoint empty" }}
{{- end }}
{{- if .directory.enabled }}
{{- if not .gateway.enabled }}
{{- fail "directory.enabled: needs gateway.enabled, because the directory is a part of the gateway" }}
{{- end }}
{{- if ne .identity "kubernetes" }}
{{- fail "directory.enabled: with identity: istio the agents ask istiod. Set identity=kubernetes, or leave the directory out and set agent.receiver.identity.istio.on_demand=true." }}
{{- end }}
{{- if has (int .directory.port) (list 4317 8888 13133) }}
{{- fail "directory.port: the gateway listens there already" }}
{{- end }}
{{- end }}
{{- if and .monitoring.serviceMonitor (not (and .gateway.enabled .gateway.prometheus.scrape)) }}
{{- fail "monitoring.serviceMonitor: needs gateway.enabled and gateway.prometheus.scrape" }}
{{- end }}
{{- if eq (int .agent.ports.health) (int .agent.ports.telemetry) }}
{{- fail "agent.ports: health and telemetry must differ" }}
{{- end }}
{{- end }}
{{- if and .Values.agent.appArmorProfile (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail "agent.appArmorProfile: needs Kubernetes 1.30 or newer" }}
{{- end }}
{{- end }}
