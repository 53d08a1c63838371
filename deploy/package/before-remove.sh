#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An update restarts the service afterwards: dpkg says upgrade, rpm 1.
set -eu
case ${1:-} in upgrade | 1) exit 0 ;; esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now otelcol-kmesh.service
fi
