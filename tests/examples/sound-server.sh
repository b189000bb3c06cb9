# shellcheck shell=sh
# Sourced by tests that need a sound server: PulseAudio without hardware, in a
# folder of its own. The microphone `mic` hears what is played to `micfeed`;
# `speaker.monitor` is what the loudspeaker plays.

# start_sound_server DIR: exit code 77 when PulseAudio is missing.
start_sound_server() {
  for tool in pulseaudio pactl paplay parec; do
    command -v $tool >/dev/null || {
      echo "$tool is missing: apt-get install pulseaudio pulseaudio-utils"
      exit 77
    }
  done
  env -u LD_PRELOAD PULSE_RUNTIME_PATH="$1" HOME="$1" timeout 180 pulseaudio -n --daemonize=no \
    --use-pid-file=no --exit-idle-time=-1 --disable-shm=yes --realtime=no \
    --high-priority=no \
    -L "module-native-protocol-unix socket=$1/native auth-anonymous=1" \
    -L "module-null-sink sink_name=speaker rate=48000" \
    -L "module-null-sink sink_name=micfeed rate=48000" \
    -L "module-remap-source source_name=mic master=micfeed.monitor" \
    >"$1/pulseaudio.log" 2>&1 &
  sound_server=$!
  export PULSE_SERVER="unix:$1/native"
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    timeout 5 pactl info >/dev/null 2>&1 && break
    sleep 0.5
  done
  if ! pactl set-default-sink speaker || ! pactl set-default-source mic; then
    cat "$1/pulseaudio.log"
    exit 1
  fi
}

stop_sound_server() {
  kill "$sound_server"
  wait "$sound_server" 2>/dev/null
}
