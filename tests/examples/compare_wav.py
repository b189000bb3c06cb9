"""compare_wav.py GOT WANTED DB: exit 1 unless the 16-bit file GOT begins with WANTED at that
signal-to-noise ratio and is quiet after it."""

import array
import math
import sys
import wave


def samples(path):
    with wave.open(path) as f:
        if (f.getnchannels(), f.getsampwidth(), f.getframerate()) != (1, 2, 24000):
            sys.exit(f"{path}: not 24 kHz mono 16 bit: {f.getparams()}")
        return array.array("h", f.readframes(f.getnframes()))


def main():
    got, wanted = samples(sys.argv[1]), samples(sys.argv[2])
    if len(got) < len(wanted):
        sys.exit(f"{len(got)} samples, fewer than {len(wanted)}")
    signal = sum(x * x for x in wanted)
    noise = sum((x - y) ** 2 for x, y in zip(got, wanted))
    ratio = 10 * math.log10(signal / max(noise, 1))
    tail = max((abs(x) for x in got[len(wanted):]), default=0)
    print(f"{ratio:.1f} dB, then at most {tail}")
    if ratio < float(sys.argv[3]) or tail > 1000:
        sys.exit(1)


main()
