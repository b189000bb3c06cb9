#!/bin/sh
# Both sides of a conversation in one Matroska file: your voice, Moshi's voice
# and what it says as subtitles, as three tracks of one clock.
#
#   sh examples/record.sh question.wav talk.mkv
#   sh examples/record.sh --live talk.mkv         microphone; Ctrl-C ends it
#
# The elements must be found: run it inside of `meson devenv -C build`, or after
# `meson install`. MOSHI_MODEL names another model.
set -eu

if [ $# -ne 2 ]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
  exit 2
fi
output=$2
encode="audioconvert ! audioresample ! opusenc bitrate=32000"
# A muxer writes in the order of time: each track waits for the others, and for
# the next line of text that can be seconds.
wait="queue max-size-time=0 max-size-buffers=0"

case $1 in
  --live)
    input="autoaudiosrc ! queue"
    voice="! tee name=voice voice. ! queue ! audioconvert ! audioresample ! queue ! autoaudiosink voice."
    ;;
  *) input="filesrc location=$1 ! decodebin" voice= ;;
esac

# -e: an interrupt ends the file properly.
# shellcheck disable=SC2086 # words of a pipeline
exec gst-launch-1.0 -qe matroskamux name=mux ! filesink "location=$output" \
  $input ! audioconvert ! audioresample ! audio/x-raw,rate=24000,channels=1 \
  ! tee name=ears \
  ears. ! queue ! $encode ! taginject 'tags=title="You"' ! $wait ! mux. \
  ears. ! queue ! mimienc ! moshilm name=moshi text-mode=line ! mimidec \
  $voice ! $wait ! $encode ! taginject 'tags=title="Moshi"' ! $wait ! mux. \
  moshi.text_src ! $wait ! mux.
