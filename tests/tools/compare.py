#!/usr/bin/env python3
"""Compares moshi-replay with what the reference implementation gave (files of tests/vectors/tools/make_vectors.py).

    compare.py --replay PROGRAM --vectors FILE --checkpoint DIR [--mimi DIR] [--threads N]…

Prints a line for each comparison and exits with 1 when one of them fails. Needs numpy (77, skipped, without).

What is equal, and what may be excused:
    codes       all, except from a place on where the reference's own best and second-best codeword were nearer to one
                another than 1e-5 of their distance; that changes the later codebooks of the frame and quantizer too
    sound       110 dB signal to noise
    tokens      all
    logits      1e-4 of the largest of their row
    threads     the files that any two thread counts write are the same
"""
import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
except ImportError:
    print("numpy is not installed")
    sys.exit(77)

FRAME = 1920
TYPES = {"F32": "<f4", "I32": "<i4", "I16": "<i2", "F16": "<f2", "U8": "u1"}


def read_tensors(path):
    """(metadata, tensors) of a safetensors file."""
    blob = Path(path).read_bytes()
    size = struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:8 + size])
    meta = header.pop("__metadata__", {})
    tensors = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        tensors[name] = np.frombuffer(blob[8 + size + a:8 + size + b], TYPES[t["dtype"]]).reshape(t["shape"])
    return meta, tensors


def snr_db(reference, got):
    reference, noise = reference.astype(np.float64), reference.astype(np.float64) - got
    return 10 * np.log10((reference ** 2).sum() / max(1e-300, (noise ** 2).sum()))


class Comparison:
    def __init__(self, replay, threads, folder):
        self.replay, self.threads, self.folder, self.failed = replay, threads, Path(folder), 0

    def expect(self, what, good, detail):
        print(f"{'ok' if good else 'DIFFERENT'}: {what}: {detail}")
        self.failed += not good

    def run(self, command, *arguments, data, extra=()):
        """The output files of one command, that must not depend on the number of threads."""
        source = self.folder / "in"
        source.write_bytes(np.ascontiguousarray(data).tobytes())
        results = []
        for threads in self.threads:
            files = {"--out": self.folder / "out", **{option: self.folder / option.strip("-") for option in extra}}
            line = [self.replay, command, "--in", source, "--threads", str(threads), *arguments]
            for option, path in files.items():
                line += [option, path]
            done = subprocess.run([str(a) for a in line], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(map(str, line))}\nexit code {done.returncode}: {done.stderr}")
            results.append([path.read_bytes() for path in files.values()])
        if len(results) > 1:
            self.expect(f"{command} with {self.threads} threads", all(r == results[0] for r in results), "same bytes")
        return results[0]

    # ---------------------------------------------------------------- Mimi

    def encode(self, mimi, pcm, codebooks):
        out, = self.run("encode", "--model", mimi, "--codebooks", codebooks, data=pcm.astype("<f4"))
        return np.frombuffer(out, "<u2").reshape(-1, codebooks).T

    def decode(self, mimi, codes):
        out, = self.run("decode", "--model", mimi, "--codebooks", codes.shape[0], data=codes.T.astype("<u2"))
        return np.frombuffer(out, "<f4")

    def codes(self, what, want, got, dist=None, margin=None):
        if want.shape != got.shape:
            return self.expect(what, False, f"shape {got.shape}, expected {want.shape}")
        wrong = want != got
        excused = np.zeros_like(wrong)
        if dist is not None:
            near = margin < 1e-5 * dist
            excused[0] = near[0]
            excused[1:] = np.logical_or.accumulate(near[1:], axis=0)
        bad = wrong & ~excused
        place = f", first at codebook, frame {np.argwhere(bad)[0]}" if bad.any() else ""
        self.expect(what, not bad.any(), f"{bad.sum()} of {bad.size} differ{place}; {(wrong & excused).sum()} near-ties")

    def sound(self, what, want, got):
        if want.shape != got.shape:
            return self.expect(what, False, f"{len(got)} samples, expected {len(want)}")
        db = snr_db(want, got)
        self.expect(what, db >= 110, f"{db:.1f} dB")

    def mimi(self, checkpoint, meta, v):
        codebooks, skipped = v["codes"].shape[0], int(meta["pcm_dec_from"])
        got = self.encode(checkpoint, v["pcm"] / np.float32(32768), codebooks)
        self.codes("codes", v["codes"], got, v["dist"], v["margin"])
        self.sound("decoded", v["pcm_dec"], self.decode(checkpoint, v["codes"])[skipped:])
        if "rand_codes" in v:
            self.sound("decoded random codes", v["pcm_rand"], self.decode(checkpoint, v["rand_codes"]))

    # ------------------------------------------------------ language model

    def logits(self, what, want, got):
        worst = np.abs(want - got).max(-1) / np.abs(want).max(-1)
        self.expect(what, worst.max() <= 1e-4, f"{worst.max():.1e} of the largest")

    def tokens(self, what, want, got):
        if want.shape != got.shape:
            return self.expect(what, False, f"shape {got.shape}, expected {want.shape}")
        bad = np.argwhere(want != got)
        place = f", first at step, stream {bad[0]}" if len(bad) else ""
        self.expect(what, not len(bad), f"{len(bad)} of {want.size} differ{place}")

    def lm(self, checkpoint, meta, v, path):
        steps, streams = v["user"].shape
        arguments = ["--model", checkpoint, "--greedy", "--cfg", meta["cfg_coef"], "--steps", steps]
        for condition in json.loads(meta["conditions"]):
            arguments += ["--condition", condition]
        for name in v:
            if name.startswith("cond_") and name + "_mask" in v:
                arguments += ["--condition", f"{name[5:]}=@{path}"]
        extra = ["--logits"] + (["--heads"] if "extra_heads" in v else [])
        out, logits, *heads = self.run("lm", *arguments, data=v["user"].astype("<i4"), extra=extra)
        self.tokens("tokens", v["out"], np.frombuffer(out, "<i4").reshape(steps, -1))
        logits = np.frombuffer(logits, "<f4").reshape(steps, -1)
        n, size = v["text_logits"].shape
        self.logits("text logits", v["text_logits"], logits[:n, :size])
        if "audio_logits" in v:
            self.logits("audio logits", v["audio_logits"], logits[:n, size:].reshape(v["audio_logits"].shape))
            # The greedy tokens of every step, before delays are undone.
            self.tokens("drawn codes", v["audio"], logits[:, size:].reshape(*v["audio"].shape, -1).argmax(-1))
        self.tokens("drawn text", v["text"], logits[:, :size].argmax(-1))
        if heads:
            first = int(meta["first_hidden_step"])
            got = np.frombuffer(heads[0], "<f4").reshape(steps, *v["extra_heads"].shape[1:])[first:]
            self.logits("extra heads", v["extra_heads"], got)

    # -------------------------------------------------------------- duplex

    def duplex(self, checkpoint, mimi, meta, v):
        pcm, codebooks = v["pcm"] / np.float32(32768), v["codes"].shape[0]
        if meta["convention"] == "server":
            parts = pcm[:FRAME], pcm[FRAME:]
            codes = np.concatenate([self.encode(mimi, part, codebooks) for part in parts], 1)
        else:
            codes = self.encode(mimi, pcm, codebooks)
        self.codes("codes", v["codes"], codes)
        heard = v["codes"].T
        if meta["convention"] == "file":
            heard = np.concatenate([heard[:1], heard])
        out, = self.run("lm", "--model", checkpoint, "--greedy", data=heard.astype("<i4"))
        out = np.frombuffer(out, "<i4").reshape(len(heard), -1)
        self.tokens("tokens", v["out"], out)
        if "pcm_out" in v:
            spoken = out[out[:, 1] >= 0, 1:].T
            self.sound("reply", v["pcm_out"], self.decode(mimi, spoken))


def compare(replay, threads, vectors, checkpoint, mimi=None):
    """The number of comparisons that failed."""
    meta, v = read_tensors(vectors)
    with tempfile.TemporaryDirectory() as folder:
        c = Comparison(replay, threads, folder)
        if meta["kind"] == "mimi":
            c.mimi(checkpoint, meta, v)
        elif meta["kind"] == "lm":
            c.lm(checkpoint, meta, v, vectors)
        else:
            c.duplex(checkpoint, mimi, meta, v)
        return c.failed


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--replay", required=True)
    ap.add_argument("--vectors", required=True, type=Path)
    ap.add_argument("--checkpoint", required=True)
    ap.add_argument("--mimi")
    ap.add_argument("--threads", type=int, action="append")
    a = ap.parse_args()
    return 1 if compare(a.replay, a.threads or [1, 2], a.vectors, a.checkpoint, a.mimi) else 0


if __name__ == "__main__":
    sys.exit(main())
