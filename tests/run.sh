#!/bin/sh
# Builds and runs the tests; `--help` says which. The last line is
# "N passed, N failed, N skipped", the exit code 0 only without failures.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
. examples/packages.sh

all="suites format headers install minimal cuda clang sanitize threads valgrind leaks fuzz"

usage() {
  cat <<END
Usage: sh tests/run.sh [PART…]

Installs the Debian packages it needs, builds in build-tests/, runs the parts
named, or all of them:

  suites    every test, in a build with gcc and warnings as errors
  format    formatting of the sources, shellcheck
  headers   every header compiles alone; the public one in C and C++
  install   what is installed is complete and usable; meson devenv
  minimal   a build with all optional features off
  cuda      the CUDA back end by nvcc for one architecture, where no card is seen
  clang     a build with clang and warnings as errors, and its unit tests
  sanitize  every test with ASan, UBSan and leak detection
  threads   the tests of threads and sharing with TSan
  valgrind  one program of each layer under valgrind
  leaks     the tests of the elements under GStreamer's leaks tracer
  fuzz      every fuzz target for FUZZ_SECONDS (60) from the kept corpus
  quick     suites and format
  full      all of these

Every subtest of a program that reports them counts as one test; so does every
other program and every check of a part. A test counts once in each part that
runs it. With MOSHI_REFERENCE_PYTHON=PYTHON, an interpreter that has the
packages moshi and rustymimi, the suite "reference" compares with them on
fresh random models; without, it counts as skipped. MOSHI_LIVEKIT_PYTHON, with
livekit-plugins-nvidia[personaplex], is for an agent of LiveKit Agents.
END
}

packages="gcc g++ libc6-dev meson ninja-build pkg-config python3 python3-numpy
  libglib2.0-dev libjson-glib-dev libgstreamer1.0-dev libsoup-3.0-dev
  libogg-dev libgnutls28-dev glib-networking
  libgstreamer-plugins-base1.0-dev gstreamer1.0-tools
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good
  gstreamer1.0-plugins-bad libgstreamer-plugins-bad1.0-dev gstreamer1.0-nice"
packages_of() {
  case $1 in
    # another processor's kernels, a conversation without hardware, browsers
    suites) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user libsimde-dev \
      gstreamer1.0-pulseaudio pulseaudio pulseaudio-utils python3-gi \
      gstreamer1.0-x haproxy chromium chromium-driver python3-selenium firefox-esr ;;
    format) echo clang-format shellcheck indent ;;
    clang | fuzz) echo clang libclang-rt-14-dev ;;
    valgrind) echo valgrind libglib2.0-dev ;;
  esac
}

work=$root/build-tests
counts=$work/counts
jobs=$(nproc)

# ---------------------------------------------------------------- counting

# check NAME COMMAND…: one test; 77 means skipped, and its last line says why.
check() {
  name=$1
  shift
  log=$work/check.log
  "$@" >"$log" 2>&1 </dev/null
  code=$?
  case $code in
    0) echo "1 0 0" >>"$counts" ;;
    77)
      echo "skipped: $name: $(tail -n 1 "$log")"
      echo "0 0 1" >>"$counts"
      ;;
    *)
      printf -- '---- %s: exit code %d\n' "$name" "$code"
      cat "$log"
      echo ----
      echo "0 1 0" >>"$counts"
      ;;
  esac
  return $code
}

# tests DIR LABEL ARGUMENT…: `meson test` of a build, counted by subtests.
tests() {
  dir=$1 label=$2
  shift 2
  rm -f "$dir/meson-logs/$label"*
  meson test -C "$dir" --no-rebuild --logbase "$label" "$@" \
    >"$work/check.log" 2>&1 </dev/null
  # A wrapper adds its name.
  python3 tests/tools/count.py "$counts" "$dir/meson-logs/$label"*.json || {
    cat "$work/check.log"
    check "meson test of $label" false
  }
}

# build DIR ARGUMENT…: sets a build folder up when there is none, and builds.
build() {
  dir=$1
  shift
  [ -f "$dir/build.ninja" ] ||
    check "meson setup $*" meson setup "$dir" "$@" --werror || return 1
  check "build of $(basename "$dir")" ninja -C "$dir"
}

# ------------------------------------------------------------------- parts

part_suites() {
  build "$work/gcc" --buildtype=debugoptimized || return
  tests "$work/gcc" suites
}

c_files() {
  git ls-files "$@" 2>/dev/null || find . -name '*.[ch]' -path "./$1*"
}

part_format() {
  # shellcheck disable=SC2046
  check "clang-format" clang-format --dry-run -Werror \
    $(c_files 'kernels/*.[ch]' 'kernels/*.cu' 'kernels/*.cuh' 'tests/cuda/*.[ch]' \
      'tests/cuda/*.cu' 'tests/cuda/*.cuh' 'tests/cuda/*.cpp' 'common/*.[ch]' 'tests/kernels/*.[ch]' \
      'tests/common/*.[ch]' 'tests/fuzz/*.[ch]' 'tests/tools/*.[ch]')
  # shellcheck disable=SC2046
  check "shellcheck" shellcheck -S warning -x -e SC1091 $(git ls-files '*.sh' .ci/run)
}

compiles_alone() {
  compiler=$1 header=$2
  shift 2
  printf '#include "%s"\nint main(void) { return 0; }\n' "$header" |
    $compiler -Wall -Wextra -Werror -fsyntax-only "$@" -
}

part_headers() {
  for standard in c11 c17; do
    check "moshi.h in $standard" compiles_alone "gcc -xc -std=$standard" \
      common/moshi.h -pedantic -I.
  done
  check "moshi.h in C++11" compiles_alone "g++ -xc++ -std=c++11" \
    common/moshi.h -pedantic -I.
  flags="-I. -Icommon $(pkg-config --cflags json-glib-1.0 gstreamer-audio-1.0 \
    gstreamer-check-1.0)"
  for header in $(c_files 'kernels/*.h' 'common/*.h' 'gst/*.h' ':!kernels/*/*'); do
    # shellcheck disable=SC2086
    check "$header alone" compiles_alone \
      "gcc -xc -std=gnu11 -D_GNU_SOURCE -Wno-unused-parameter" "$header" $flags
  done
}

part_install() {
  build "$work/gcc" --buildtype=debugoptimized || return
  rm -rf "$work/root"
  check "meson install" env DESTDIR="$work/root" meson install -C "$work/gcc" \
    --no-rebuild --quiet || return
  check "installed files and their use" sh tests/tools/installed.sh "$work/root"
  # shellcheck disable=SC2016
  check "meson devenv finds the elements" env GST_REGISTRY="$work/devenv.bin" \
    meson devenv -C "$work/gcc" sh -c 'for e in mimienc moshilm mimidec; do
      gst-inspect-1.0 $e | grep Long-name || exit 1; done'
}

part_minimal() {
  build "$work/minimal" -Dauto_features=disabled || return
  check "the tools without GStreamer" \
    "$work/minimal/common/tools/moshi-replay" --help
}

cuda_module() {
  command -v nvcc || command -v /usr/local/cuda/bin/nvcc ||
    { echo "there is no nvcc" && return 77; }
  dir=$work/cuda
  [ -f "$dir/build.ninja" ] || meson setup "$dir" -Dcuda=enabled -Dcuda-archs=sm_90 \
    -Dexamples=disabled -Dserver=disabled --werror || return 1
  nice ninja -C "$dir" kernels/cuda/libmoshi-cuda.so gst/libgstmoshi.so \
    common/tools/moshi-bench common/tools/moshi-replay \
    tests/cuda/card-test-emulation tests/cuda/card-test-kernels \
    tests/cuda/card-test-operations && sh tests/cuda/module.sh "$dir"
}

part_cuda() {
  check "the CUDA back end by nvcc" cuda_module
}

part_clang() {
  CC=clang build "$work/clang" || return
  tests "$work/clang" clang --suite kernels --suite common
}

part_sanitize() {
  build "$work/asan" -Db_sanitize=address,undefined -Db_lundef=false \
    -Dc_args="-fno-sanitize-recover=all -fno-omit-frame-pointer" \
    -Doptimization=1 || return
  LSAN_OPTIONS="suppressions=$root/tests/tools/lsan.supp:print_suppressions=0"
  ASAN_OPTIONS="detect_stack_use_after_return=1"
  UBSAN_OPTIONS="print_stacktrace=1"
  export LSAN_OPTIONS ASAN_OPTIONS UBSAN_OPTIONS
  tests "$work/asan" asan --no-suite pipelines --no-suite server --no-suite cuda -t 5
  # A fake stack for each of the emulation's fibers takes ten times as long.
  ASAN_OPTIONS="" tests "$work/asan" asan-cuda --suite cuda -t 5
  # Tools that are not ours load the plugin: they need ASan before it, and
  # their own leaks are not our subject. The server has so many names that GLib
  # gives up its first table of them; what callers leave, its own test counts.
  LD_PRELOAD=$(gcc -print-file-name=libasan.so) \
    ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" \
    tests "$work/asan" asan-pipelines --suite pipelines --suite server -t 5
  unset LSAN_OPTIONS ASAN_OPTIONS UBSAN_OPTIONS
}

part_threads() {
  build "$work/tsan" -Db_sanitize=thread -Db_lundef=false -Doptimization=1 ||
    return
  TSAN_OPTIONS="halt_on_error=1:suppressions=$root/tests/tools/tsan.supp" \
    tests "$work/tsan" tsan --suite threads -t 10
}

part_valgrind() {
  build "$work/gcc" --buildtype=debugoptimized || return
  tests "$work/gcc" valgrind --suite short --wrapper="valgrind -q \
    --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
    --suppressions=/usr/share/glib-2.0/valgrind/glib.supp" -t 30
}

leaked() {
  alive=$(cat "$work"/leaks/*.log | grep -c 'object-alive, type-name=(string)[^%]')
  cat "$work"/leaks/*.log | grep 'object-alive, type-name=(string)[^%]' | head -n 40
  [ "$alive" = 0 ]
}

part_leaks() {
  build "$work/gcc" --buildtype=debugoptimized || return
  rm -rf "$work/leaks"
  mkdir -p "$work/leaks"
  GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 GST_DEBUG_NO_COLOR=1 \
    GST_DEBUG_FILE="$work/leaks/%p.log" \
    tests "$work/gcc" leaks --suite elements -t 5
  check "the tracer was at work" grep -q 'object-alive' "$work"/leaks/*.log
  check "nothing is left alive" leaked
}

# fuzz_one TARGET: its corpus is copied, so that what is found stays out of
# the repository until somebody adds it.
fuzz_one() {
  name=$(basename "$1")
  mkdir -p "$work/fuzzing/$name"
  [ -d "tests/fuzz/corpus/${name#fuzz-}" ] &&
    cp -r "tests/fuzz/corpus/${name#fuzz-}/." "$work/fuzzing/$name"
  timeout $((FUZZ_SECONDS + 120)) "$1" -max_total_time="$FUZZ_SECONDS" \
    -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$work/fuzzing/$name-" "$work/fuzzing/$name" \
    >"$work/fuzzing/$name.log" 2>&1 </dev/null
  echo $? >"$work/fuzzing/$name.code"
}

fuzz_result() {
  cat "$work/fuzzing/$1.log"
  return "$(cat "$work/fuzzing/$1.code")"
}

part_fuzz() {
  FUZZ_SECONDS=${FUZZ_SECONDS:-60}
  CC=clang build "$work/fuzz" -Dfuzz=true -Db_lundef=false \
    -Db_sanitize=address,undefined \
    -Dc_args="-fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined" ||
    return
  rm -rf "$work/fuzzing"
  mkdir -p "$work/fuzzing"
  targets=$(find "$work/fuzz/tests/fuzz" -maxdepth 1 -type f -perm -u+x \
    -name 'fuzz-*' | sort)
  running=0
  for target in $targets; do
    fuzz_one "$target" &
    running=$((running + 1))
    [ $((running % jobs)) != 0 ] || wait
  done
  wait
  for target in $targets; do
    name=$(basename "$target")
    check "$name for $FUZZ_SECONDS s" fuzz_result "$name"
  done
  [ "$targets" ] || check "fuzz targets" false
}

# -------------------------------------------------------------------- main

parts=
for argument; do
  case $argument in
    -h | --help)
      usage
      exit 0
      ;;
    quick) parts="$parts suites format" ;;
    full) parts="$parts $all" ;;
    *)
      case " $all " in
        *" $argument "*) parts="$parts $argument" ;;
        *)
          echo "There is no part \"$argument\"; see sh tests/run.sh --help" >&2
          exit 2
          ;;
      esac
      ;;
  esac
done
parts=${parts:-$all}

for part in $parts; do
  packages="$packages $(packages_of "$part")"
done
# shellcheck disable=SC2086
install_packages $packages || exit 1

mkdir -p "$work"
: >"$counts"
for part in $parts; do
  began=$(date +%s)
  echo "== $part"
  "part_$part"
  echo "   $(($(date +%s) - began)) s"
done
awk '{ p += $1; f += $2; s += $3 }
  END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 || p == 0 }' \
  "$counts"
