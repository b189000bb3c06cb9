#!/bin/sh
# test-live.sh SOURCE TALK WORK: the live conversation, with a sound server
# that has no hardware, and with no sound at all.
set -u
source=$1 talk=$(realpath "$2") work=$3
tiny=$source/examples/tiny-model
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1
. "$source/tests/examples/sound-server.sh"

fail() {
  echo "$1"
  cat said pulseaudio.log 2>/dev/null
  exit 1
}

# The sound server would run with it too, and then not keep up.
case ${LD_PRELOAD-} in
  *asan*) echo "a live conversation has no time for ASan"; exit 77 ;;
esac

# Neither PipeWire, PulseAudio nor ALSA.
if env PULSE_SERVER=unix:/nonexistent XDG_RUNTIME_DIR="$work" \
    ALSA_CONFIG_PATH=/dev/null timeout 20 "$talk" --live >said 2>&1; then
  fail "a conversation without a sound device"
fi
grep -q 'There is no loudspeaker here' said || fail "the message is missing"
grep -q -- '--in question.wav' said || fail "the way out is missing"

for element in webrtcdsp pulsesrc pulsesink; do
  gst-inspect-1.0 --exists $element || {
    echo "the element $element is missing"
    exit 77
  }
done
start_sound_server "$work"
trap stop_sound_server EXIT
timeout 60 parec -d speaker.monitor --rate=24000 --channels=1 \
  --format=s16le --raw heard.raw &
timeout -s INT 60 "$talk" --live >said 2>&1 &
conversation=$!
wait_for() {
  for _ in $(seq 80); do
    grep -q "$1" said && return
    sleep 0.25
  done
  fail "never: $1"
}
wait_for 'Moshi listens'
paplay --device=micfeed "$tiny/user_hello.wav"
wait_for 'meet you'
kill -INT $conversation
wait $conversation || fail "it ends with an error"
grep -q 's of conversation' said || fail "the last line is missing"
python3 "$source/tests/examples/heard.py" heard.raw || fail "nothing was played"
