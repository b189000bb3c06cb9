#!/bin/sh
# The CUDA back end on a card, inside ten minutes and without GStreamer: checks, golden
# vectors, then figures and what of an H200's bars they meet, then compute-sanitizer
# with the time that is left. Last line: "N passed, N failed", of all that was run; a bar
# that is missed is no failure.
#
# Usage: sh tests/cuda/run-on-gpu.sh [--out DIR]     builds, and runs on this machine
#        sh tests/cuda/run-on-gpu.sh --pack DIR [ARCH…]  builds for sm_90, or ARCHs, and
#            packs all that a machine without a compiler needs; there run
#            sh DIR/run-on-gpu.sh [--out DIR]
#        sh tests/cuda/run-on-gpu.sh --emulated BUILD [--out DIR]  tries this script with
#            the emulation of a build, and small models
#        sh tests/cuda/run-on-gpu.sh --bars FIGURES.json  what of the bars figures meet
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${TMPDIR:-/tmp}/moshi-gpu
emulated='' pack='' archs='' figures=''
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2 && shift 2 ;;
    --pack) pack=$2 && shift 2 && archs=$* && break ;;
    --emulated) emulated=$2 && shift 2 ;;
    --bars) figures=$2 && shift 2 ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 1 ;;
  esac
done

# ------------------------------------------------------------------------- bars

# What the figures of an H200 are held against; the last number on a line is the bar.
bars() {
  awk -v lm="$lm" -v codec="$codec" -v sessions="$sessions" -v streams="$streams" '
    function field(name) {
      if (!match($0, "\"" name "\": *\"?[^,\"}]*"))
        return ""
      value = substr($0, RSTART, RLENGTH)
      sub(/^[^:]*: *"?/, "", value)
      return value
    }
    function sum(a, b) { return a == "" || b == "" ? "" : a + b }
    function bar(what, value, low, high) {
      said = value == "" ? "not measured" : value + 0 >= low && value + 0 <= high ? "PASS" : "FAIL"
      limit = low > 0 ? "at least " low : "at most " high
      printf "%-12s %-58s %9s  %s\n", said, what, value == "" ? "" : sprintf("%.3f", value), limit
    }
    {
      bench = field("bench"); batch = field("batch")
      key = bench " " field("shape") " " field("quantization") " " batch
      median[key] = field("ms_median"); p99[key] = field("ms_p99"); host[key] = field("host_ms")
    }
    bench ~ /^kernel:/ && bench != "kernel:attend" && batch == 1 {
      part = 100 * field("bandwidth_fraction")
      if (least == "" || part < least)
        least = part
    }
    END {
      at = "lm-step " lm
      bar("7B, bf16, one stream, context full: ms a frame", median[at " bf16 1"], 0, 6)
      bar("7B, q8, one stream, context full: ms a frame", median[at " q8 1"], 0, 4)
      bar("7B, q4, one stream, context full: ms a frame", median[at " q4 1"], 0, 3)
      bar("slowest product of one row: % of a copy", least, 80, 1000)
      bar(sessions " sessions of the 7B, q8: ms, 99 of 100 frames", p99[at " q8 " sessions], 0, 60)
      bar(2 * sessions " of them (the aim)", p99[at " q8 " 2 * sessions], 0, 60)
      encode = "mimi-encode " codec " none "; decode = "mimi-decode " codec " none "
      bar("Mimi both ways, one stream: ms a frame", sum(median[encode 1], median[decode 1]), 0, 1)
      bar("Mimi both ways, " streams " streams: ms, 99 of 100 frames",
        sum(p99[encode streams], p99[decode streams]), 0, 80)
      bar("host, a frame of the 7B: ms", host[at " q8 1"], 0, 0.1)
      bar("computing from sound to sound, q8: ms, 99 of 100 frames",
        sum(p99[at " q8 1"], sum(p99[encode 1], p99[decode 1])), 0, 15)
    }' "$1"
}

lm=moshi-7b codec=mimi sessions=64 streams=500
if [ "$figures" ]; then
  bars "$figures"
  exit
fi

# ------------------------------------------------------------------------ build

# Programs, the libraries they need and models, from a build into the kit $1.
fill_kit() {
  mkdir -p "$1/bin" "$1/lib"
  for program in common/tools/moshi-bench tests/common/test-lm tests/common/test-mimi; do
    cp "$build/$program" "$1/bin/" || return 1
  done
  for program in test-emulation test-kernels test-operations; do
    cp "$build/tests/cuda/$prefix-$program" "$1/bin/$program" || return 1
  done
  cp -L "$build/common/libmoshi.so.0" "$1/lib/" &&
    cp "$build/$module" "$1/lib/libmoshi-cuda.so" || return 1
  ldd "$1"/bin/* "$1"/lib/*.so* | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
    grep -Ev '/(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|libmoshi)[.-]' |
    while read -r library; do cp -L "$library" "$1/lib/"; done
  strip "$1"/bin/* "$1"/lib/*.so*
  cp -r "$root/tests/vectors" "$root/examples/tiny-model" "$1/"
  rm -f "$1"/vectors/*-full.*
  cp "$here/run-on-gpu.sh" "$1/"
}

build_kit() {
  build=$1-build
  [ -f "$build/build.ninja" ] || meson setup "$build" "$root" --buildtype=release \
    -Dgstreamer=disabled -Dcuda=enabled "-Dcuda-archs=$2" >"$1-setup.log" || return 1
  ninja -C "$build" >"$1-build.log" || return 1
  prefix=card module=kernels/cuda/libmoshi-cuda.so
  fill_kit "$1"
}

# The architectures of this machine's cards.
archs_here() {
  nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sort -u |
    sed 's/^/sm_/; s/\.//' | paste -sd, -
}

root=$(cd "$here/../.." 2>/dev/null && pwd)
if [ "$pack" ]; then
  # shellcheck disable=SC2086 # words
  build_kit "$pack" "$(echo ${archs:-sm_90} | tr ' ' ,)"
  exit
fi
mkdir -p "$out"
if [ -d "$here/bin" ]; then
  kit=$here
elif [ "$emulated" ]; then
  kit=$out/kit build=$emulated prefix=cuda module=tests/cuda/libmoshi-cuda-emulated.so
  fill_kit "$kit" || exit 1
else
  kit=$out/kit
  build_kit "$kit" "$(archs_here)" || { echo "no build; see $kit-*.log"; exit 1; }
fi

# ------------------------------------------------------------------------- runs

export LD_LIBRARY_PATH="$kit/lib" MOSHI_CUDA_MODULE="$kit/lib/libmoshi-cuda.so" \
  MOSHI_TEST_VECTORS="$kit/vectors" MOSHI_TEST_TINY="$kit/tiny-model" \
  MOSHI_TEST_DEVICE=cuda MOSHI_DATA_PATH="$kit"
passed=0 failed=0
start=$(date +%s)
: >"$out/figures.json"
: >"$out/figures-unchained.json"

# What is left of ten minutes, for a part that may take $1 seconds.
seconds() {
  left=$((600 - $(date +%s) + start))
  [ "$left" -lt 1 ] && left=1
  [ "$left" -lt "$1" ] && echo "$left" || echo "$1"
}

# check NAME SECONDS COMMAND…
check() {
  name=$1 limit=$(seconds "$2") && shift 2
  if timeout "$limit" "$@" >"$out/$name.log" 2>&1; then
    passed=$((passed + 1)) && echo "ok $name"
  else
    echo "FAILED ($?) $name: $(tail -n 1 "$out/$name.log"); see $out/$name.log"
    failed=$((failed + 1))
  fi
}

# figure SECONDS COMMAND…: its objects go to $figures
figures=$out/figures.json
figure() {
  limit=$(seconds "$1") && shift
  name=figure-$(basename "$1")
  if timeout "$limit" "$@" >>"$figures" 2>"$out/$name.log"; then
    passed=$((passed + 1)) && echo "ok $*"
  else
    echo "FAILED ($?) $*: $(tail -n 1 "$out/$name.log")"
    failed=$((failed + 1))
  fi
}

# unchained COMMAND…: without early starts, to see what they are worth
unchained() {
  MOSHI_CUDA_PDL=0 && export MOSHI_CUDA_PDL && figures=$out/figures-unchained.json
  "$@"
  unset MOSHI_CUDA_PDL && figures=$out/figures.json
}

{ nvidia-smi || echo "no nvidia-smi"; } >"$out/card.txt" 2>&1
if [ "$emulated" ]; then rounds=2 steps=2; else rounds=40 steps=1000; fi

# Golden vectors and kernels first: figures of a wrong result say nothing.
"$kit/bin/test-emulation" >"$out/emulation.log" 2>&1
[ $? -eq 77 ] && { echo "no CUDA card here: nothing was run" && exit 77; }
check emulation 60 "$kit/bin/test-emulation"
check kernels 90 "$kit/bin/test-kernels" --seed 1 --rounds "$rounds"
check operations 90 "$kit/bin/test-operations"
MOSHI_TEST_STEPS=$steps && export MOSHI_TEST_STEPS
check lm 120 "$kit/bin/test-lm"
if [ "$emulated" ]; then
  check mimi 60 "$kit/bin/test-mimi" -p /mimi/encode/mimi-mini/mimi-mini.frame1/1
else
  check mimi 60 "$kit/bin/test-mimi"
  check lm-without-graphs 60 env MOSHI_CUDA_GRAPHS=0 "$kit/bin/test-lm" -p /lm/golden
  unchained check lm-unchained 60 "$kit/bin/test-lm" -p /lm/golden
fi

# --------------------------------------------------------------------- figures

bench="$kit/bin/moshi-bench"
if [ "$emulated" ]; then
  lm=tiny codec=tiny sessions=1 streams=2
  figure 60 "$bench" kernels --device cuda --shrink 512 --json
  figure 90 "$bench" mimi --device cuda --shape tiny --batch 1,2 --frames 2 --json
  figure 90 "$bench" lm --device cuda --shape tiny --quantization q8 --batch 1,2 \
    --kv-type int8 --filled 60 --frames 2 --json
  unchained figure 60 "$bench" lm --device cuda --shape tiny --quantization q8 --frames 2 --json
else
  figure 60 "$bench" kernels --device cuda --json
  figure 60 "$bench" mimi --device cuda --shape mimi --batch 1,8,32,128,500 --json
  for quantization in q8 q4 bf16; do
    figure 120 "$bench" lm --device cuda --shape moshi-7b --quantization $quantization \
      --batch 1,16,64,128 --kv-type int8 --filled 2900 --json
    unchained figure 30 "$bench" lm --device cuda --shape moshi-7b \
      --quantization $quantization --kv-type int8 --filled 2900 --json
  done
  for shape in hibiki-2b stt-1b; do
    for quantization in bf16 q8 q4; do
      figure 40 "$bench" lm --device cuda --shape $shape --quantization $quantization \
        --batch 1,32,128 --kv-type int8 --json
    done
  done
fi
bars "$out/figures.json" | tee "$out/bars.txt"
if [ "$emulated" ]; then # all but the two formats that were not tried
  check bars 5 test "$(grep -c 'not measured' "$out/bars.txt")" = 2
else
  export MOSHI_CUDA_GRAPHS=0 MOSHI_TEST_STEPS=4
  for tool in memcheck racecheck initcheck synccheck; do
    command -v compute-sanitizer >/dev/null || break
    check "$tool" 45 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$kit/bin/test-lm" -p /lm/golden/lm-mini.greedy
  done
  command -v ncu >/dev/null && check ncu 60 ncu --launch-skip 400 --launch-count 40 \
    --section SpeedOfLight --csv --log-file "$out/ncu.csv" \
    "$bench" lm --device cuda --shape stt-1b --frames 4
fi
echo "figures: $out/figures.json (-unchained: with MOSHI_CUDA_PDL=0), bars: $out/bars.txt, logs"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
