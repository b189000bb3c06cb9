#!/bin/sh
# Usage: installed.sh ROOT: is what `meson install` put under ROOT complete, and
# does a stranger's program build against it and run?
set -eu
root=$1
here=$(cd "$(dirname "$0")" && pwd)

one() {
  found=$(find "$root" -path "*$1" | head -n 1)
  [ "$found" ] || { echo "not installed: $1" >&2; exit 1; }
  echo "$found"
}

for file in /bin/moshi-replay /bin/moshi-bench /include/moshi.h /libmoshi.so \
  /gstreamer-1.0/libgstmoshi.so /share/gst-moshi; do
  one "$file"
done

# No library of a device in the plugin: those are opened at run time.
if ldd "$(one /gstreamer-1.0/libgstmoshi.so)" | grep -Ei 'cuda|nvidia|cublas'; then
  echo "the plugin is linked to a device's library" >&2
  exit 1
fi

pc=$(dirname "$(one /pkgconfig/libmoshi.pc)")
lib=$(dirname "$(one /libmoshi.so)")
export PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_PATH="$pc"
program=$(mktemp)
trap 'rm -f "$program"' EXIT
# shellcheck disable=SC2046 # flags are words
cc -Wall -Werror -o "$program" "$here/consumer.c" \
  $(pkg-config --cflags --libs libmoshi)
LD_LIBRARY_PATH="$lib" "$program" "$(dirname "$(one /tiny-model/config.json)")"
