"""heard.py RAW: exit 1 unless the recording (24 kHz mono S16) has a reply in it: at least a
second, in all, of tenths of a second that are louder than -40 dB."""

import array
import math
import sys

samples = array.array("h")
with open(sys.argv[1], "rb") as f:
    data = f.read()
samples.frombytes(data[:len(data) // 2 * 2])
tenths = [samples[i:i + 2400] for i in range(0, len(samples) - 2399, 2400)]
loud = sum(math.sqrt(sum(x * x for x in t) / 2400) > 328 for t in tenths)
print(f"{loud / 10} s of {len(tenths) / 10} s")
sys.exit(loud < 10)
