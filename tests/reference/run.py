#!/usr/bin/env python3
"""Random models of random shapes, run by the reference implementation and by moshi-replay, and compared.

    MOSHI_REFERENCE_PYTHON=PYTHON run.py MOSHI_REPLAY

PYTHON is an interpreter with the packages moshi and rustymimi (pip install moshi==0.2.13 rustymimi). Every run takes
another seed, which it prints; MOSHI_REFERENCE_SEED repeats one, MOSHI_REFERENCE_ROUNDS (1) makes more models,
MOSHI_REFERENCE_CASE runs only cases whose name contains it. Reports in TAP.
"""
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parent / "vectors" / "tools"
sys.path.insert(0, str(HERE.parent / "tools"))


def call(script, *arguments):
    done = subprocess.run([sys.executable, TOOLS / script, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script} {arguments}: {done.stderr}")


def settings(sizes):
    return [a for key, value in sizes.items() for a in ("--set", f"{key}={json.dumps(value)}")]


# ----------------------------------------------------------------------------------------------------- random shapes

def mimi_sizes(r):
    heads = r.choice([1, 2, 3, 4])
    width = heads * r.choice([6, 8, 10, 16])
    return dict(dimension=width, num_heads=heads, n_filters=r.choice([2, 6, 8]), num_layers=r.choice([1, 2, 3]),
                context=r.randint(3, 60), dim_feedforward=r.randint(20, 150), q_dim=r.randint(3, 24),
                n_q=r.choice([8, 9, 16]), bins=r.choice([17, 64, 100, 256]), kernel_size=r.choice([3, 5, 7]),
                residual_kernel_size=r.choice([2, 3, 4]), last_kernel_size=r.choice([1, 3, 5]),
                n_residual_layers=r.choice([1, 2]), max_period=r.choice([100, 10000]),
                ratios=r.choice([[8, 6, 5, 4], [4, 5, 6, 8], [10, 6, 4, 4]]))


def delays(r, dep_q, n_q):
    return [0] + [r.randint(0, 3) for _ in range(n_q)] if r.random() < 0.5 else \
        [0] + [0] * bool(dep_q) + [2] * (dep_q - 1) + [0] * (n_q > dep_q) + [2] * (n_q - dep_q - 1)


def lm_sizes(r, kind):
    heads, depth_heads = r.choice([1, 2, 4]), r.choice([1, 2, 4])
    sizes = dict(dim=heads * r.choice([8, 12, 16, 20]), num_heads=heads, num_layers=r.randint(1, 4),
                 context=r.randint(5, 45), max_period=r.choice([300, 10000, 100000]),
                 hidden_scale=r.choice([3, 4, 4.125]), text_card=r.choice([60, 97, 200, 700]),
                 card=r.choice([30, 64, 101]), norm=r.choice(["rms_norm_f32", "rms_norm", "layer_norm"]),
                 positional_embedding=r.choice(["rope", "rope", "rope_concat", "sin"]))
    if kind != "stt-mini":
        sizes.update(depformer_dim=depth_heads * r.choice([8, 12, 16]), depformer_num_heads=depth_heads,
                     depformer_num_layers=r.randint(1, 3), depformer_pos_emb=r.choice(["none", "sin"]))
    if kind in ("lm-mini", "hibiki-mini"):
        dep_q = r.randint(1, 9)
        n_q = dep_q + r.randint(1, 9)
        sizes.update(n_q=n_q, dep_q=dep_q, delays=delays(r, dep_q, n_q), depformer_dim_feedforward=r.randint(30, 140))
    elif kind == "stt-mini":
        n_q = r.randint(1, 32)
        sizes.update(n_q=n_q, delays=[0] * (n_q + 1), extra_heads_num_heads=r.randint(0, 4))
    if kind == "tts-mini":
        # The reference adds the position of a cross attention's keys to a width of its own.
        sizes["positional_embedding"] = "rope"
    return sizes


# ------------------------------------------------------------------------------------------------------------- cases

class Case:
    def __init__(self, replay, folder, r):
        self.replay, self.folder, self.r = replay, folder, r

    def checkpoint(self, kind, sizes, *arguments):
        out = self.folder / kind
        call("make_checkpoint.py", "--kind", kind, "--seed", self.r.randint(1, 10 ** 6), "--out", out,
             "--names", self.r.choice(["packed", "split"]), "--dtype", self.r.choice(["f32", "bf16", "f16"]),
             *settings(sizes), *arguments)
        return out

    def compare(self, what, checkpoint, mimi=None, *arguments):
        from compare import compare
        vectors = self.folder / "vectors.safetensors"
        call("make_vectors.py", what, "--checkpoint", checkpoint, "--out", vectors,
             "--seed", self.r.randint(1, 10 ** 6), *(["--mimi", mimi] if mimi else []), *arguments)
        return compare(self.replay, [1, 2], vectors, checkpoint / "mimi.safetensors" if what == "mimi" else checkpoint,
                       mimi and mimi / "mimi.safetensors")


def mimi_random(c):
    sizes = mimi_sizes(c.r)
    checkpoint = c.checkpoint("mimi-mini", sizes)
    return c.compare("mimi", checkpoint, None, "--codebooks", c.r.randint(1, sizes["n_q"]),
                     "--synth", 4, "--samples", c.r.randint(1, 96000))


def mimi_minute(c):
    return c.compare("mimi", c.checkpoint("mimi-mini", {}), None, "--synth", 60)


def mimi_speech(c):
    if not shutil.which("espeak-ng") or not shutil.which("ffmpeg"):
        raise Skip("espeak-ng and ffmpeg are not installed")
    return c.compare("mimi", c.checkpoint("mimi-mini", {}), None, "--codebooks", 32,
                     "--say", "Real speech has silences, and it has sounds that nobody would synthesise.")


def language(kind, *arguments):
    def case(c):
        extra = list(arguments)
        if c.r.random() < 0.3:
            extra.append("--zero-tokens")
        return c.compare("lm", c.checkpoint(kind, lm_sizes(c.r, kind)), None, "--steps", 100, "--logit-steps", 100, *extra)
    return case


def duplex(c):
    convention = c.r.choice(["plain", "server", "file"])
    sizes = {"card": 64, "context": c.r.randint(5, 40)}
    mimi = c.checkpoint("mimi-mini", {"context": c.r.randint(5, 40)})
    return c.compare("duplex", c.checkpoint("lm-mini", sizes), mimi, "--synth", 5, "--convention", convention)


def mimi_full(c):
    return c.compare("mimi", c.checkpoint("mimi-full", {}, "--dtype", "f32"), None, "--synth", 3, "--random-frames", 5)


def rustymimi(c):
    """Ten seconds: later its attention window is another one."""
    import numpy as np
    import rustymimi
    from compare import Comparison
    checkpoint = c.checkpoint("mimi-full", {}, "--dtype", "f32", "--names", "packed") / "mimi.safetensors"
    frames, codebooks = 124, 8
    noise = np.random.RandomState(c.r.randint(1, 10 ** 6))
    t = np.arange(frames * 1920) / 24000
    pcm = (0.3 * np.sin(2 * np.pi * (200 + 60 * t) * t) + 0.03 * noise.randn(len(t))).astype(np.float32)
    peer = rustymimi.Tokenizer(str(checkpoint), num_codebooks=codebooks)
    split = pcm.reshape(frames, 1, 1, 1920)
    codes = np.concatenate([peer.encode_step(frame) for frame in split], -1)[0].astype(np.int32)
    peer = rustymimi.Tokenizer(str(checkpoint), num_codebooks=codebooks)
    sound = np.concatenate([peer.decode_step(codes[None, :, i:i + 1].astype(np.uint32)) for i in range(frames)], -1)[0, 0]
    ours = Comparison(c.replay, [2], c.folder)
    got = ours.encode(checkpoint, pcm, codebooks)
    # Two exact implementations part at near-ties, and nobody tells here which places those are.
    agree = (got == codes).mean()
    ours.expect("codes of rustymimi", got.shape == codes.shape and agree > 0.995, f"{100 * agree:.2f} % agree")
    ours.sound("sound of rustymimi", sound, ours.decode(checkpoint, codes))
    return ours.failed


def converted(c):
    """The files of the cache, as gguf-py reads them, hold what gguf-py makes of the weights."""
    try:
        import gguf
    except ImportError:
        raise Skip("the package gguf is not installed")
    import numpy as np
    from safetensors.torch import load_file
    checkpoint = c.checkpoint("lm-mini", {"dim": c.r.choice([64, 256])})
    source = {name: t.float().numpy() for name, t in load_file(checkpoint / "model.safetensors").items()}
    (c.folder / "in").write_bytes(bytes(4 * 8 * 4))
    failed = 0
    for quantization in "q8", "q4":
        cache = c.folder / quantization
        subprocess.run([c.replay, "lm", "--model", checkpoint, "--quantization", quantization, "--in", c.folder / "in",
                        "--out", c.folder / "out"], env={**os.environ, "MOSHI_CACHE": str(cache)}, check=True)
        blocks = 0
        for tensor in gguf.GGUFReader(next(cache.iterdir())).tensors:
            rows = np.atleast_2d(np.squeeze(find_weights(source, tensor.name)))
            kind = tensor.tensor_type
            have = gguf.dequantize(tensor.data, kind).reshape(rows.shape)
            if kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
                right = np.array_equal(tensor.data, gguf.quantize(rows, kind))
            else:
                right = np.linalg.norm(have - rows) <= 0.1 * np.linalg.norm(rows) * (kind.name == "Q4_K")
            blocks += kind.name.startswith("Q")
            if not right:
                print(quantization, tensor.name, kind.name, "differs")
                failed += 1
        print(quantization, blocks, "quantized tensors")
        failed += blocks == 0
    return failed


def find_weights(source, name):
    """Of projections that are stacked in the source, too."""
    if name in source:
        return source[name]
    prefix, index = re.fullmatch(r"(.*)_projs\.(\d+)\.weight", name).groups()
    stacked = next(source[prefix + end] for end in ("_proj_weight", "_proj.weight") if prefix + end in source)
    sets = 1 if prefix.startswith("transformer.") else sum(f"depformer_in.{i}.weight" in source for i in range(64))
    return stacked.reshape(sets, -1, stacked.shape[1])[int(index)]


class Skip(Exception):
    pass


CASES = {
    "mimi-random": mimi_random, "mimi-random-2": mimi_random, "mimi-random-3": mimi_random,
    "mimi-minute": mimi_minute, "mimi-speech": mimi_speech,
    "lm": language("lm-mini"), "lm-2": language("lm-mini"), "lm-3": language("lm-mini"),
    "lm-schedule": language("lm-mini-schedule"), "stt": language("stt-mini"),
    "hibiki": language("hibiki-mini", "--condition", "description=neutral"),
    "hibiki-cfg": language("hibiki-mini", "--condition", "description=very_bad", "--cfg", 1.7),
    "tts": language("tts-mini", "--condition", "cfg=3.5", "--condition", "control=ok"),
    "duplex": duplex, "duplex-2": duplex,
    "mimi-full": mimi_full, "rustymimi": rustymimi,
    "converted": converted,
}


def run(name, replay, seed):
    """A TAP line, after what was compared as comments."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        try:
            with redirect_stdout(said):
                failed = CASES[name](Case(replay, Path(folder), random.Random(f"{seed} {name}")))
            result = "not ok" if failed else "ok"
        except Skip as e:
            return f"ok - {name} # SKIP {e}"
        except (Exception, SystemExit):
            said.write(traceback.format_exc())
            result = "not ok"
    comments = "".join(f"# {line}\n" for line in said.getvalue().splitlines())
    return f"{comments}{result} - {name} of seed {seed}"


def main():
    replay = str(Path(sys.argv[1]).resolve())
    seed = int(os.environ.get("MOSHI_REFERENCE_SEED", time.time()))
    wanted = os.environ.get("MOSHI_REFERENCE_CASE", "")
    rounds = int(os.environ.get("MOSHI_REFERENCE_ROUNDS", 1))
    names = [(name, seed + i) for i in range(rounds) for name in CASES if wanted in name]
    print(f"1..{len(names)}", flush=True)
    for name, of in names:
        print(run(name, replay, of), flush=True)


if __name__ == "__main__":
    interpreter = os.environ.get("MOSHI_REFERENCE_PYTHON")
    if not interpreter:
        print("1..0 # SKIP MOSHI_REFERENCE_PYTHON does not name a Python with the packages moshi and rustymimi")
    elif os.environ.get("MOSHI_REFERENCE_STARTED") != interpreter:
        os.environ["MOSHI_REFERENCE_STARTED"] = interpreter
        os.execv(interpreter, [interpreter, *sys.argv])
    else:
        main()
