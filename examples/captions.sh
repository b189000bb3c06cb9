#!/bin/sh
# What Moshi says, to be read:
#
#   sh examples/captions.sh question.wav reply.srt     subtitles (or .vtt)
#   sh examples/captions.sh question.wav reply.mkv     its voice with a subtitle track
#   sh examples/captions.sh question.wav reply.webm    its voice in a video with captions
#   sh examples/captions.sh question.wav reply.webm background.mp4
#
# The elements must be found: run it inside of `meson devenv -C build`, or after
# `meson install`. MOSHI_MODEL names another model.
set -eu

if [ $# -lt 2 ]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
  exit 2
fi
input=$1 output=$2 background=${3:-}

# Whole lines, each shown until the next.
moshi="filesrc location=$input ! decodebin ! audioconvert ! audioresample
  ! mimienc ! moshilm name=moshi text-mode=line"
text="moshi.text_src ! queue"
# A muxer or a picture waits for the next line, which can take seconds, and all
# that time sound must have somewhere to wait: a queue without the usual limit
# of one second.
voice="! mimidec ! audioconvert ! audioresample ! opusenc
  ! queue max-size-time=0 max-size-buffers=0 ! mux."
if [ "$background" ]; then
  picture="filesrc location=$background ! decodebin ! videoconvert ! videoscale"
else
  picture="videotestsrc pattern=black num-buffers=300"
fi

case $output in
  *.srt) pipeline="$moshi ! fakesink $text ! srtenc ! filesink location=$output" ;;
  *.vtt) pipeline="$moshi ! fakesink $text ! webvttenc ! filesink location=$output" ;;
  *.mkv)
    pipeline="matroskamux name=mux ! filesink location=$output $moshi $voice
      $text ! mux."
    ;;
  *.webm)
    pipeline="webmmux name=mux ! filesink location=$output $moshi $voice
      $picture ! textoverlay name=captions ! videoconvert
      ! vp8enc deadline=1 ! queue ! mux. $text ! captions.text_sink"
    ;;
  *)
    echo "captions.sh: $output must end in .srt, .vtt, .mkv or .webm" >&2
    exit 2
    ;;
esac
# shellcheck disable=SC2086 # words of a pipeline
exec gst-launch-1.0 -q $pipeline
