#!/bin/sh
# A conversation with Moshi from a fresh checkout; `--help` says how.
set -eu

usage() {
  cat <<END
Usage: sh examples/demo.sh [--model M] [--in FILE] [--out FILE]
       sh examples/demo.sh --live [--model M]

Installs the Debian packages that are missing, builds the elements, and lets
Moshi answer a spoken question: its words are printed as they are spoken, its
voice is written to a file.

  --in FILE    the question, any sound file
               (default: "hello moshi", examples/tiny-model/user_hello.wav)
  --out FILE   the reply (default: reply.wav)
  --live       talk through microphone and loudspeaker; Ctrl-C ends it
  --model M    a directory, a checkpoint file, or a hub repository such as
               kyutai/moshika-pytorch-bf16 (default: the tiny model in the box)
  --device D   auto, cpu, cuda, cuda:N
  --threads N  threads to compute with

Builds in build-demo/, or in the folder that DEMO_BUILD names in the environment.
END
}

root=$(cd "$(dirname "$0")/.." && pwd)
build=${DEMO_BUILD:-$root/build-demo}
. "$root/examples/packages.sh"
live=
in=
for arg; do
  case $arg in
    -h|--help) usage; exit 0 ;;
    --live) live=yes ;;
    --in|--in=*) in=yes ;;
  esac
done

packages="gcc libc6-dev meson pkg-config libglib2.0-dev libjson-glib-dev
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-tools
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
if [ "$live" ]; then
  packages="$packages gstreamer1.0-plugins-bad gstreamer1.0-pulseaudio
    gstreamer1.0-alsa"
fi

# Ninja sees by itself when there is nothing to do.
compile() {
  [ -f "$build/build.ninja" ] ||
    meson setup "$build" "$root" --buildtype=release \
      -Dexamples=enabled -Dtests=disabled -Ddocs=disabled || return
  ninja -C "$build"
}

# shellcheck disable=SC2086 # words to be split
install_packages $packages

[ -f "$build/build.ninja" ] || echo "Building in $build"
mkdir -p "$build"
compile >"$build/demo.log" 2>&1 || {
  tail -n 30 "$build/demo.log" >&2
  echo "The build failed; all it said is in $build/demo.log" >&2
  exit 1
}

# The elements of this checkout, whatever else is installed.
export GST_PLUGIN_PATH="$build/gst" GST_REGISTRY="$build/registry.bin"
export MOSHI_MODEL="${MOSHI_MODEL:-$root/examples/tiny-model}"
[ "$live$in" ] || set -- --in "$root/examples/tiny-model/user_hello.wav" "$@"
exec "$build/examples/talk" "$@"
