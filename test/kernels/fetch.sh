#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Gets Debian's newest cloud kernel of a series and unpacks what a test machine needs of it:
#   fetch.sh 6.12 [ARCHITECTURE]    prints the folder with vmlinuz and lib/modules
# and, for a machine of another architecture than this one, the programs of the same Debian as root/.
# Its own lists of packages keep the machine's apt as it is, and need no root.
set -euo pipefail
cd "$(dirname "$0")/../.."

series=$1
architecture=${2:-amd64}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The release of Debian that has the series. The number behind it changes with each security update.
case $series in
5.10) release=bullseye pattern="linux-image-5\.10\.0-[0-9]+-cloud-$architecture" ;;
6.1) release=bookworm pattern="linux-image-6\.1\.0-[0-9]+-cloud-$architecture" ;;
6.12) release=trixie pattern="linux-image-6\.12\.[0-9]+\+deb13-cloud-$architecture" ;;
*)
	echo "fetch.sh: which Debian has Linux $series is not known here" >&2
	exit 1
	;;
esac

folder=.tools/kernels/$series-$architecture
if [ -e "$folder/vmlinuz" ]; then
	echo "$folder"
	exit
fi

for tool in apt-get dpkg-deb xz busybox; do
	command -v $tool >/dev/null || { echo "fetch.sh: $tool is missing: kernels are Debian's packages: apt-get install apt dpkg xz-utils busybox-static" >&2; exit 1; }
done
[ -e $keyring ] || { echo "fetch.sh: $keyring is missing: apt-get install debian-archive-keyring" >&2; exit 1; }

apt=$PWD/.tools/kernels/apt-$release-$architecture
mkdir -p "$apt/lists/partial" "$apt/archives/partial"
: >"$apt/status"
cat >"$apt/debian.sources" <<EOF
Types: deb
URIs: $mirror/debian
Suites: $release
Components: main
Signed-By: $keyring

Types: deb
URIs: $mirror/debian-security
Suites: $release-security
Components: main
Signed-By: $keyring
EOF
cat >"$apt/apt.conf" <<EOF
Dir::Etc::sourcelist "$apt/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
EOF
export APT_CONFIG=$apt/apt.conf
apt-get update -qq >&2
package=$(apt-cache pkgnames linux-image- | grep -Ex "$pattern" | sort -V | tail -1 || true)
[ -n "$package" ] || { echo "fetch.sh: no package of $mirror, $release, is named $pattern: is the mirror reached? (DEBIAN_MIRROR)" >&2; exit 1; }

unpacked=$(mktemp -d "$PWD/.tools/kernels/unpack.XXXXXX")
trap 'rm -rf "$unpacked"' EXIT
echo "fetching $package" >&2
(cd "$unpacked" && apt-get download -qq "$package" >&2)
dpkg-deb --extract "$unpacked"/*.deb "$unpacked/all"

# The modules that the tests' networks need, and what those need, are among these.
all=$(find "$unpacked/all" -type d -path '*/lib/modules/*' -name kernel -prune -printf '%h')
kept=$unpacked/kept/lib/modules/${all##*/}
mkdir -p "$kept"
cp "$all"/modules.{order,builtin*} "$kept"
for part in net drivers/net/veth.ko drivers/net/dummy.ko crypto lib arch; do
	for found in "$all/kernel/$part"*; do
		[ ! -e "$found" ] || (cd "$all" && cp -a --parents "${found#"$all/"}" "$kept")
	done
done
find "$kept" -name '*.ko.xz' -exec xz --decompress {} +
busybox depmod -b "$unpacked/kept" "${all##*/}"
cp "$unpacked"/all/boot/vmlinuz-* "$unpacked/kept/vmlinuz"
if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
	apt-get install -qq --yes --download-only --no-install-recommends busybox-static iproute2 nftables >&2
	# Where /bin and /lib are those of /usr.
	mkdir -p "$unpacked"/kept/root/usr/{bin,sbin,lib}
	ln -s usr/bin usr/sbin usr/lib "$unpacked/kept/root"
	for package in "$apt"/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$package" | tar -x -C "$unpacked/kept/root" --keep-directory-symlink \
			--exclude './usr/share/*' --exclude '*perl*' --exclude './var/*'
	done
fi
rm -rf "$folder"
mv "$unpacked/kept" "$folder"
echo "$folder"
