#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpkg says remove, rpm 0. Else another version follows, and after-install.sh restarts the service.
set -eu
case ${1:-} in remove | 0) ;; *) exit 0 ;; esac
if [ -d /run/systemd/system ]; then
	systemctl stop otelcol-kmesh.service || true
fi
if command -v systemctl >/dev/null; then
	systemctl disable otelcol-kmesh.service || true # also where systemd does not run, as in a chroot
fi
