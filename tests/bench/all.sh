#!/bin/sh
# Every figure of docs/performance.md, as its tables in Markdown: this machine with
# moshi-bench (figures.py), then beside its peers (peers.sh). Some twelve minutes;
# nothing else should be running.
#
# Usage: sh tests/bench/all.sh [--build DIR] [--cache DIR] [--no-peers] [TABLE…]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gst-moshi/bench
build=$root/build
peers=yes

while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2 && shift 2 ;;
    --cache) cache=$2 && shift 2 ;;
    --no-peers) peers=no && shift ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit ;;
    *) break ;;
  esac
done
[ -f "$build/build.ninja" ] || meson setup "$build" "$root" --buildtype=release >&2
ninja -C "$build" common/tools/moshi-bench common/tools/moshi-replay >&2
mkdir -p "$cache"

# Models for the table of quality beside the one in the box: those of the tests, and
# one whose rows are long enough for every format.
wide=$cache/lm-wide
[ -f "$wide/model.safetensors" ] ||
  "${MOSHI_REFERENCE_PYTHON:-python3}" "$root/tests/vectors/tools/make_checkpoint.py" --kind lm-mini \
    --out "$wide" \
    --set dim=512 --set num_heads=8 --set hidden_scale=3 --set depformer_dim=256 \
    --set depformer_num_heads=4 --set depformer_dim_feedforward=384 >&2
vectors=$root/tests/vectors
: "${QUALITY_MODELS:=$vectors/lm-mini:$vectors/stt-mini:$wide}"
export QUALITY_MODELS

echo "$(date +%F), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors, $(uname -sm), $(git -C "$root" describe --always 2>/dev/null || true)"
echo
python3 "$root/tests/bench/figures.py" "$build/common/tools/moshi-bench" \
  "$build/common/tools/moshi-replay" "$@"
if [ $# -eq 0 ] && [ "$peers" = yes ]; then
  echo "### peers"
  echo
  sh "$root/tests/bench/peers.sh" --build "$build" --cache "$cache"
fi
