#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The service is not started: systemctl enable --now otelcol-kmesh
set -eu
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# A service that does not start, e.g. by its configuration, leaves no half-installed package.
	systemctl try-restart otelcol-kmesh.service || true
fi
