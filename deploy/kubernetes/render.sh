#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Renders the manifests beside this script from the Helm chart.
#
# usage: render.sh [FOLDER]     FOLDER receives the files (default: this script's)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
out=${1:-$here}

# render FILE TITLE HELM-ARGUMENTS...
render() {
	file=$1 title=$2
	shift 2
	"$root/.tools/helm" template otelcol-kmesh "$root/deploy/helm/otelcol-kmesh" \
		--namespace kmesh-telemetry --set namespace.create=true,rendered=true "$@" >"$out/.rendered"
	{
		echo "# $title"
		echo "# Rendered from deploy/helm/otelcol-kmesh by deploy/kubernetes/render.sh: do not edit."
		sed 1d "$out/.rendered"   # the separator: a document of comments only is none
	} >"$out/$file"
	rm "$out/.rendered"
}

render otelcol-kmesh.yaml "Everything: agents that ask the API server, and their gateway."
render otelcol-kmesh-istio.yaml "Everything, for an Istio mesh in ambient mode: agents that ask istiod, and their gateway." --set identity=istio
render otelcol-kmesh-openshift.yaml "Everything, for OpenShift." --set platform=openshift
render otelcol-kmesh-operator.yaml "Everything, with agents that the OpenTelemetry operator runs." --set operator.enabled=true
render namespace.yaml "The namespace only." --show-only templates/namespace.yaml
render rbac.yaml "The agents' service account and its rights only." --show-only templates/rbac.yaml
