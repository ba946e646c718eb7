#!/bin/sh
# simple-whip-client and what it needs, as Debian 14 has them, below the directory that is given:
# nothing of this system is touched, and apt sees to it that Debian has signed them.
#
#   scripts/whip_client.sh DIRECTORY
#
# Before GStreamer 1.28 its certificates are of RSA, and Debian 12's program ends at once (two versions
# of libsoup meet in it).
set -eu
mkdir -p "$1"
at=$(cd "$1" && pwd)
rm -rf "$at/apt" "$at/debs" "$at/system"
mkdir -p "$at/apt/state/lists/partial" "$at/apt/cache/archives/partial" "$at/apt/parts" "$at/debs" "$at/system"
: >"$at/apt/status"
echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian forky main' \
  >"$at/apt/sources.list"
cat >"$at/apt/apt.conf" <<END
Dir "$at/apt/";
Dir::State "$at/apt/state";
Dir::State::status "$at/apt/status";
Dir::Cache "$at/apt/cache";
Dir::Etc::sourcelist "$at/apt/sources.list";
Dir::Etc::sourceparts "$at/apt/parts";
Dir::Etc::main "$at/apt/none";
Dir::Etc::parts "$at/apt/parts";
Dir::Etc::preferencesparts "$at/apt/parts";
Acquire::Languages "none";
Acquire::Retries "3";
# Of what is not released yet, mirrors may be weeks behind.
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "";
END
export APT_CONFIG="$at/apt/apt.conf"
apt-get update -qq

# Of three hundred packages that these depend on, those whose libraries the plugins below load.
cd "$at/debs"
apt-get download -qq \
  simple-whip-client gstreamer1.0-nice gstreamer1.0-plugins-bad gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
  libatomic1 libblkid1 libbrotli1 libc6 libcap2 libcom-err2 libdrm2 libffi8 libgcc-s1 libgcrypt20 libglib2.0-0t64 \
  libgmp10 libgnutls30t64 libgpg-error0 libgssapi-krb5-2 libgssdp-1.6-0 libgstreamer-plugins-bad1.0-0 \
  libgstreamer-plugins-base1.0-0 libgstreamer1.0-0 libgupnp-1.6-0 libgupnp-igd-1.6-0 libhogweed6t64 libidn2-0 \
  libjson-glib-1.0-0 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 liblz4-1 liblzma5 libmount1 libnettle8t64 \
  libnghttp2-14 libnice10 libnspr4 libnss3 libopus0 liborc-0.4-0t64 libp11-kit0 libpcre2-8-0 libpsl5t64 libselinux1 \
  libsoup-3.0-0 libsqlite3-0 libsrtp2-1 libssl3t64 libstdc++6 libsystemd0 libtasn1-6 libunistring5 \
  '?name(^libvpx[0-9]+$)' '?name(^libxml2-[0-9]+$)' libzstd1 zlib1g
for package in *.deb; do dpkg-deb -x "$package" "$at/system"; done

cd "$at/system/usr/lib/x86_64-linux-gnu"
mkdir plugins
for name in app audioconvert audioparsers audioresample audiotestsrc coreelements dtls isomp4 nice opus opusparse playback \
  rtp rtpmanager sctp srtp typefindfunctions udp videoconvertscale videoparsersbad videotestsrc volume vpx webrtc; do
  if [ -e "gstreamer-1.0/libgst$name.so" ]; then mv "gstreamer-1.0/libgst$name.so" plugins/; fi
done
rm -rf gstreamer-1.0 "$at/apt" "$at/debs"
for file in "$at/system/usr/bin/whip-client" plugins/*.so; do
  if ./ld-linux-x86-64.so.2 --library-path . --list "$file" | grep -E "not found|=> /(usr/)?lib/"; then
    echo "$0: $file lacks a library" >&2
    exit 1
  fi
done
