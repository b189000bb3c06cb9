#!/bin/sh
# Remakes everything in the directory above. Needs python with numpy, torch 2.9 and moshi 0.2.13; espeak-ng and ffmpeg for the
# speech file. PYTHON=... names the interpreter, WORK=... a scratch directory (0.4 GB).
set -e
cd "$(dirname "$0")/.."
PY=${PYTHON:-python3}; W=${WORK:-work}
C="$PY tools/make_checkpoint.py"; V="$PY tools/make_vectors.py"
for k in mimi-mini lm-mini lm-mini-schedule stt-mini hibiki-mini tts-mini; do $C --kind $k --seed 1 --out $k; done
$C --kind mimi-odd --seed 2 --dtype bf16 --names split --out mimi-odd
$C --kind mimi-direct --seed 3 --dtype f16 --out mimi-direct
$C --kind lm-norms --seed 7 --names split --out lm-norms
$C --kind stt-gqa --seed 8 --names split --out stt-gqa
for k in lm-shared tts-guided; do $C --kind $k --seed 9 --out $k; done
$C --kind mimi-full --seed 1 --out "$W/mimi-full"
$V mimi --checkpoint mimi-mini --out mimi-mini.synth.safetensors --synth 8 --seed 1
$V mimi --checkpoint mimi-mini --out mimi-mini.k1.safetensors --codebooks 1 --samples 9600 --seed 8 --random-frames 5
$V mimi --checkpoint mimi-mini --out mimi-mini.k4-tail.safetensors --codebooks 4 --samples 31337 --seed 4
$V mimi --checkpoint mimi-mini --out mimi-mini.k32.safetensors --codebooks 32 --synth 2 --seed 5 --random-frames 10
$V mimi --checkpoint mimi-mini --out mimi-mini.frame1.safetensors --samples 1920 --seed 1 --random-frames 1
$V mimi --checkpoint mimi-odd --out mimi-odd.synth.safetensors --codebooks 5 --synth 2 --seed 6
$V mimi --checkpoint mimi-direct --out mimi-direct.synth.safetensors --codebooks 3 --synth 2 --seed 7 --random-frames 5
$V mimi --checkpoint "$W/mimi-full" --out mimi-full.synth.safetensors --synth 14 --seed 2 --pcm-from 76800
$V mimi --checkpoint "$W/mimi-full" --out mimi-full.speech.safetensors --random-frames 0 \
   --say "Hello there. This sentence was spoken by a machine, for a machine."
$V lm --checkpoint lm-mini --out lm-mini.greedy.safetensors --steps 150
$V lm --checkpoint lm-mini --out lm-mini.no-input.safetensors --steps 60 --seed 2 --zero-tokens
$V lm --checkpoint lm-mini-schedule --out lm-mini-schedule.greedy.safetensors --steps 120
$V lm --checkpoint stt-mini --out stt-mini.greedy.safetensors --steps 120
$V lm --checkpoint hibiki-mini --out hibiki-mini.greedy.safetensors --steps 120 --condition description=very_good
$V lm --checkpoint hibiki-mini --out hibiki-mini.cfg.safetensors --steps 60 --condition description=good --cfg 2 --seed 2
$V lm --checkpoint tts-mini --out tts-mini.greedy.safetensors --steps 100 --condition cfg=2.0 --condition control=ok
$V lm --checkpoint lm-norms --out lm-norms.greedy.safetensors --steps 60 --seed 11
$V lm --checkpoint lm-norms --out lm-norms.no-input.safetensors --steps 40 --seed 12 --zero-tokens
$V lm --checkpoint stt-gqa --out stt-gqa.greedy.safetensors --steps 60 --seed 13 --zero-tokens
$V lm --checkpoint lm-shared --out lm-shared.greedy.safetensors --steps 60 --seed 14
$V lm --checkpoint tts-guided --out tts-guided.cfg.safetensors --steps 60 --seed 15 --condition mood=joyful --condition cfg=2.0 \
   --cfg 1.7
$V lm --checkpoint tts-guided --out tts-guided.greedy.safetensors --steps 60 --seed 16 --condition cfg=1.0
for c in plain server file; do
  $V duplex --checkpoint lm-mini --mimi mimi-mini --out duplex-mini.$c.safetensors --synth 5 --seed 3 --convention $c
done
$V duplex --checkpoint stt-mini --mimi mimi-mini --out stt-mini.duplex.safetensors --synth 5 --seed 3
# What others write: also needs gguf, bitsandbytes and transformers 4.57.
D="$PY tools/make_dialects.py"
$C --kind lm-groups --seed 21 --out "$W/lm-groups"
$C --kind mimi-small --seed 22 --out "$W/mimi-small"
for d in candle mlx; do $D $d --checkpoint tts-guided --out dialect-$d; done
for d in int8 mlx-q8 mlx-q4 candle-q8 cpp-q4; do
  $D $d --checkpoint "$W/lm-groups" --out dialect-$d --float "$W/$d-float"
  $V lm --checkpoint "$W/$d-float" --out dialect-$d.greedy.safetensors --steps 40 --logit-steps 4 --seed 31
done
$D transformers --checkpoint "$W/lm-groups" --mimi "$W/mimi-small" --out dialect-transformers
$V lm --checkpoint "$W/lm-groups" --out dialect-transformers.greedy.safetensors --steps 40 --logit-steps 4 --seed 31
$D mimi --mimi "$W/mimi-small" --out dialect-mimi
$V mimi --checkpoint "$W/mimi-small" --out dialect-mimi.synth.safetensors --codebooks 4 --samples 9600 --seed 5 \
   --random-frames 0 --pcm-from 5760 --latent-frames 2
sha256sum "$W/mimi-full/mimi.safetensors" | sed 's| .*|  mimi-full/mimi.safetensors|' > mimi-full.sha256
