#!/bin/sh
# Usage: module.sh BUILD: the back end as nvcc built it, where there is no card to be
# seen. What is linked to what, what a user is told, and that `auto` goes on.
set -u
build=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$build/common/tools
module=$build/kernels/cuda/libmoshi-cuda.so
export CUDA_VISIBLE_DEVICES='' MOSHI_CUDA_MODULE="$module" \
  MOSHI_MODEL="$root/examples/tiny-model" GST_PLUGIN_PATH="$build/gst" \
  GST_REGISTRY="$build/tests/cuda/registry.bin"
wav=$MOSHI_MODEL/user_hello.wav
failed=0

wrong() {
  echo "wrong: $*"
  failed=1
}

# unlinked FILE: needs nothing of NVIDIA's
unlinked() {
  libraries=$(ldd "$1") || wrong "no ldd of $1"
  echo "$libraries" | grep -Ei 'libcu|nvidia|not found' && wrong "$1 is linked to these"
}

if ldconfig -p | grep -q 'libcuda\.so'; then
  message='this machine has no CUDA card, or CUDA_VISIBLE_DEVICES hides it'
else
  message='there is no NVIDIA driver on this machine, or it is not visible here'
fi
# refused COMMAND…: ends with the message
refused() {
  said=$("$@" 2>&1) && wrong "$* succeeded"
  echo "$said" | grep -q "$message" || wrong "$* said: $said"
}

# Computes on the CPU.
goes_on() {
  said=$("$@" 2>&1) || wrong "$* failed: $said"
}

unlinked "$build/common/libmoshi.so.0"
unlinked "$module"
refused "$bin/moshi-bench" mimi --device cuda --model "$MOSHI_MODEL"
refused "$bin/moshi-bench" kernels --device cuda:1
refused "$bin/moshi-replay" encode --device cuda --in "$wav" --out /dev/null
goes_on "$bin/moshi-bench" start --device auto --model "$MOSHI_MODEL" --json
echo "$said" | grep -q '"device": "cpu' || wrong "auto is not the CPU: $said"
if [ -f "$build/gst/libgstmoshi.so" ]; then
  unlinked "$build/gst/libgstmoshi.so"
  for element in mimienc moshilm mimidec; do
    refused gst-launch-1.0 fakesrc ! $element device=cuda ! fakesink
  done
  goes_on gst-launch-1.0 filesrc location="$wav" ! wavparse ! audioconvert ! \
    mimienc device=auto ! moshilm device=auto drain-frames=0 ! mimidec device=auto ! fakesink
fi
[ $failed = 0 ] && echo "without a card: \"$message\", and auto is the CPU"
exit $failed
