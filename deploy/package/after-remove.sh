#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Only dpkg says purge.
set -eu
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "${1:-}" = purge ]; then
	rm -rf /var/lib/otelcol-kmesh /var/lib/private/otelcol-kmesh # what StateDirectory and DynamicUser made
fi
