#!/bin/sh
# Measures the peers and us, alternately in one session, on the same random
# checkpoints: rustymimi, and moshi with its PyTorch, from PyPI. Prints a table of
# ratios in Markdown. Whatever it needs is kept in a folder of its own, so that
# later runs need no network.
#
# Usage: sh tests/bench/peers.sh [--cache DIR] [--build DIR] [ARGUMENT OF peers.py…]
#
# MOSHI_REFERENCE_PYTHON=PYTHON: an interpreter that has the peers already.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gst-moshi/bench
build=$root/build

while [ $# -gt 0 ]; do
  case $1 in
    --cache) cache=$2 && shift 2 ;;
    --build) build=$2 && shift 2 ;;
    -h | --help)
      sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
      exec python3 "$root/tests/bench/peers.py" --help
      ;;
    *) break ;;
  esac
done
mkdir -p "$cache"

python=${MOSHI_REFERENCE_PYTHON:-$cache/venv/bin/python}
if ! [ -x "$python" ]; then
  echo "installing moshi and rustymimi in $cache/venv …" >&2
  python3 -m venv "$cache/venv"
  # PyTorch without CUDA where its own index can be reached, else as on PyPI.
  "$cache/venv/bin/pip" install -q torch --index-url https://download.pytorch.org/whl/cpu ||
    echo "no CPU build of PyTorch at hand; taking that of PyPI" >&2
  "$cache/venv/bin/pip" install -q moshi==0.2.13 rustymimi
fi

# checkpoint KIND FILE: once.
checkpoint() {
  [ -f "$cache/$1/$2" ] && return
  echo "writing a random $1 in $cache/$1 …" >&2
  rm -rf "$cache/$1.part"
  "$python" "$root/tests/vectors/tools/make_checkpoint.py" --kind "$1" \
    --out "$cache/$1.part"
  mv "$cache/$1.part" "$cache/$1"
}
checkpoint mimi-full mimi.safetensors
checkpoint stt-1b model.safetensors

exec python3 "$root/tests/bench/peers.py" --python "$python" \
  --bench "$build/common/tools/moshi-bench" --mimi "$cache/mimi-full" \
  --lm "$cache/stt-1b" "$@"
