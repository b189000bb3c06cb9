#!/bin/sh
# Usage: test-neon.sh SOURCE BUILD
# The kernel check for ARM on another machine: cross-compiled, and run by qemu.
# Skips where there is no cross compiler or no emulator.
set -e
kernels=$1/kernels
cc=${AARCH64_CC:-aarch64-linux-gnu-gcc}
for tool in "$cc" qemu-aarch64; do
  command -v "$tool" >/dev/null || { echo "no $tool: skipped"; exit 77; }
done
dir=$(mktemp -d "$2/neon.XXXXXX")
trap 'rm -rf "$dir"' EXIT

# kernel and tool flags as in kernels/meson.build, but for -O3, which takes a minute
flags="-std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -O2
  -Wno-missing-field-initializers -ffp-contract=off -fno-math-errno
  -fno-trapping-math -DMOSHI_HAVE_NEON"
for file in "$kernels"/*.c "$kernels/arm/neon.c"; do
  $cc $flags -c "$file" -o "$dir/$(basename "$file").o"
done
$cc -march=armv8.2-a+dotprod $flags -c "$kernels/arm/dotprod.c" -o "$dir/dotprod.o"
$cc $flags "$1/tests/kernels/test-kernels.c" "$dir"/*.o -static -lm -lpthread \
  -o "$dir/test"
qemu-aarch64 "$dir/test" --seed 1 --rounds 30 --tier neon
qemu-aarch64 -cpu max "$dir/test" --seed 1 --rounds 20 --tier dotprod matvec
