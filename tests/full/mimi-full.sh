#!/bin/sh
# mimi-full.sh TEST-MIMI: makes a Mimi of the released sizes (385 MB, from a seed) and runs
# its golden vectors. Skipped without python3 and numpy.
set -eu
vectors=$MOSHI_TEST_VECTORS

for python in "${PYTHON:-python3}" /usr/bin/python3 none; do
  "$python" -c 'import numpy' 2>/dev/null && break
done
[ "$python" != none ] || {
  echo "1..0 # SKIP needs python3-numpy to make the checkpoint"
  exit 0
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" "$vectors/tools/make_checkpoint.py" --kind mimi-full --seed 1 \
  --out "$work/mimi-full" >&2
(cd "$work" && sha256sum --check --quiet "$vectors/mimi-full.sha256") >&2
MOSHI_TEST_MIMI_FULL=$work/mimi-full "$1"
