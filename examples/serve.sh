#!/bin/sh
# A server to talk with, from nothing; `--help` says more.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/examples/packages.sh"
build=${BUILD:-$root/build-server}

usage() {
  cat <<END
Usage: sh examples/serve.sh [OPTION…]

Installs the Debian packages that are missing, builds the elements and
moshi-server, and starts it with the options, of which
  sh examples/serve.sh --tls --host 0.0.0.0
lets others in, and --help-all shows all. Talk with it by
  build-server/examples/client/moshi-client localhost:8998
END
}

case ${1-} in
  -h | --help)
    usage
    exit 0
    ;;
esac

install_packages gcc libc6-dev meson pkg-config libglib2.0-dev libjson-glib-dev \
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-tools \
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good libsoup-3.0-dev libogg-dev \
  libgnutls28-dev glib-networking \
  libgstreamer-plugins-bad1.0-dev gstreamer1.0-plugins-bad gstreamer1.0-nice

compile() {
  [ -f "$build/build.ninja" ] ||
    meson setup "$build" "$root" --buildtype=release -Dserver=enabled \
      -Dexamples=enabled -Dtests=disabled -Ddocs=disabled || return
  ninja -C "$build"
}

mkdir -p "$build"
compile >"$build/serve.log" 2>&1 || {
  tail -n 30 "$build/serve.log" >&2
  echo "The build failed; all it said is in $build/serve.log" >&2
  exit 1
}

# The elements and the page of this checkout, whatever else is installed.
export GST_PLUGIN_PATH="$build/gst" GST_REGISTRY="$build/registry.bin"
export MOSHI_DATA_PATH="${MOSHI_DATA_PATH:-$root/examples}"
exec "$build/examples/server/moshi-server" "$@"
