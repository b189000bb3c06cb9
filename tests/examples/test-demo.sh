#!/bin/sh
# test-demo.sh SOURCE WORK: the demo from nothing, and once more. It builds
# without the sanitizers of the build that runs this.
set -eu
unset LD_PRELOAD GST_PLUGIN_PATH GST_REGISTRY MOSHI_MODEL
source=$1 work=$2
tiny=$source/examples/tiny-model
export DEMO_BUILD="$work/build"

fail() {
  echo "$1"
  cat "$work/out" 2>/dev/null
  exit 1
}

demo() {
  sh "$source/examples/demo.sh" "$@" >"$work/out" 2>&1
}

check_reply() {
  grep -qx 'Hello! Nice to meet you\.' "$work/out" || fail "not its words"
  tail -n 1 "$work/out" | grep -q "real-time factor [0-9.]*\. The reply is in $1" ||
    fail "not its last line"
  python3 "$source/tests/examples/compare_wav.py" "$1" "$tiny/reply_hello.wav" 60 ||
    fail "$1 is not the reply"
}

rm -rf "$work"
mkdir -p "$work/bin"
cd "$work"
demo || fail "the first run failed"
check_reply reply.wav

# What must not be called again.
for tool in apt-get sudo meson; do
  printf '#!/bin/sh\necho %s "$@" >>%s/called\nexit 1\n' $tool "$work" \
    >"bin/$tool"
  chmod +x "bin/$tool"
done
PATH=$work/bin:$PATH
mv reply.wav first.wav
touch before
demo --out second.wav || fail "the second run failed"
check_reply second.wav
cmp first.wav second.wav || fail "two runs, two replies"
[ ! -e called ] || fail "the second run called $(cat called)"
[ -z "$(find build -name '*.so*' -newer before)" ] || fail "the second run built"
[ "$(wc -l <out)" = 2 ] || fail "the second run says more than it should"

demo --in "$tiny/user_joke.wav" --model "$tiny" --threads 1 --device cpu
grep -q 'Why was the robot tired' out || fail "--in is not heard"

demo --help
grep -q '^Usage' out || fail "no usage"
if demo --in "$work/missing.wav"; then fail "a missing file is no error"; fi
grep -q 'missing.wav' out || fail "a missing file is not named"
if demo --model "$work/missing"; then fail "a missing model is no error"; fi
grep -q "$work/missing" out || fail "a missing model is not named"
