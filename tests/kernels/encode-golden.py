#!/usr/bin/env python3
"""Writes encode-golden.h: blocks as gguf-py (0.19) encodes them, byte for byte as
ggml does. The inputs are those of golden_input() in test-encode.c."""
import numpy as np
from gguf import GGMLQuantizationType as Type, quants

BLOCKS = 24


def inputs():
    state, mask, x = 1, (1 << 64) - 1, []
    for i in range(32 * BLOCKS):
        state = (state * 6364136223846793005 + 1442695040888963407) & mask
        block, value = i // 32, (state >> 40) - (1 << 23)
        if block == 0:
            value = 0
        elif block == 1:  # few values: ties of magnitude, of both signs
            value = value % 7 - 3
        elif block == 2:  # halves between steps
            value = (value % 255 - 127) / 2 if i % 32 else 127
        elif block == 3:
            value = value % 17 / 2 - 4 if i % 32 else -4
        elif block == 4:  # scales below the normal halves
            value = value * 2.0**-60
        elif block == 5:
            value = value * 2.0**-36
        elif block == 6:  # a single value
            value = value / 1024 if i % 32 == 9 else 0
        else:
            value = value * 2.0 ** (-30 + block)
        x.append(value)
    return np.array(x, np.float32)


def array(name, data):
    lines = [f"static const unsigned char {name}[] = {{"]
    for i in range(0, len(data), 18):
        lines.append("    " + "".join(f"{b}, " for b in data[i : i + 18]).rstrip())
    return "\n".join(lines + ["};"])


x = inputs()
print("/* Made by encode-golden.py. */\n")
for name, kind in ("q8_0", Type.Q8_0), ("q4_0", Type.Q4_0):
    print(array("golden_" + name, quants.quantize(x, kind).tobytes()))
