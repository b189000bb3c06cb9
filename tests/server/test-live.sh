#!/bin/sh
# test-live.sh SOURCE SERVER CLIENT WORK: moshi-client with a microphone and a
# loudspeaker, which are a sound server's without hardware.
set -u
source=$1 server=$(realpath "$2") client=$(realpath "$3") work=$4
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1
. "$source/tests/examples/sound-server.sh"

fail() {
  echo "$1"
  cat said answered server.log 2>/dev/null
  exit 1
}

# The sound server would run with it too, and then not keep up.
case ${LD_PRELOAD-} in
  *asan*) echo "a live conversation has no time for ASan"; exit 77 ;;
esac
for element in webrtcdsp pulsesrc pulsesink; do
  gst-inspect-1.0 --exists $element || {
    echo "the element $element is missing"
    exit 77
  }
done
start_sound_server "$work"
timeout 100 "$server" --port 0 --static none >answered 2>server.log &
serving=$!
trap 'kill $serving; stop_sound_server' EXIT
for _ in $(seq 80); do
  grep -q 'event=ready' server.log && break
  sleep 0.25
done
port=$(sed -n 's/.*:\([0-9]*\)\/.*/\1/p' answered)
timeout 60 parec -d speaker.monitor --rate=24000 --channels=1 \
  --format=s16le --raw heard.raw &
timeout -s INT 60 "$client" -v "localhost:$port" >said 2>&1 &
conversation=$!
wait_for() {
  for _ in $(seq 100); do
    grep -q "$1" said && return
    sleep 0.25
  done
  fail "never: $1"
}
wait_for 'Moshi listens'
# Devices take a second or two until they deliver.
sleep 4
paplay --device=micfeed "$source/examples/tiny-model/user_hello.wav"
wait_for 'meet you'
sleep 2
kill -INT $conversation
wait $conversation || fail "it ends with an error"
grep -q 'were skipped to catch up' said || fail "nothing of the lag"
cat said
python3 "$source/tests/examples/heard.py" heard.raw || fail "nothing was played"
