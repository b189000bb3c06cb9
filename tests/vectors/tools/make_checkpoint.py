#!/usr/bin/env python3
"""Writes checkpoints of Mimi and of Moshi-like language models with pseudo-random weights, in the real file
format and with the real tensor names, so that any implementation can be compared with the reference.

Needs numpy alone.  Examples:

    make_checkpoint.py --kind mimi-full --out mimi-full
    make_checkpoint.py --kind lm-mini --seed 3 --out lm-mini
    make_checkpoint.py --kind mimi-mini --set n_q=4 --set context=10 --out m
    make_checkpoint.py --list

A directory is written:
    mimi-*:  mimi.safetensors (what `moshi.models.loaders.get_mimi` reads), mimi_config.json (its `mimi_config`)
    others:  model.safetensors, config.json (what `CheckpointInfo.from_hf_repo` reads) and tokenizer.model
             (a sentencepiece model with the wanted number of pieces)

The generator is this, and nothing else, so that it can be redone in any language.  Every tensor is made from its own
name and the seed; element i of tensor NAME (row-major, in the STORED "packed" shape, see below) is

    key  = fnv1a64(NAME as UTF-8) ^ (seed * 0x9E3779B97F4A7C15 mod 2^64)
    z    = splitmix64(key + (i div 2 + 1) * 0x9E3779B97F4A7C15 mod 2^64)
           where splitmix64(z): z = (z ^ z>>30) * 0xBF58476D1CE4E5B9; z = (z ^ z>>27) * 0x94D049BB133111EB; z ^ z>>31
    h    = low 32 bits of z if i is even, else the high 32 bits, as a signed 32-bit integer
    u    = float32(h >> 8) * 2^-23                      (exact; uniform on [-1, 1))
    w    = float32(mean) + u * float32(std * sqrt(3))   (two float32 roundings, no FMA)

then rounded to the file's dtype (bf16: round to nearest even).  mean and std of each tensor are in this file.
"""
import argparse
import json
import math
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

GOLD = np.uint64(0x9E3779B97F4A7C15)
MASK = (1 << 64) - 1
CHUNK = 1 << 20  # elements


def fnv1a64(text: str) -> int:
    h = 0xCBF29CE484222325
    for b in text.encode():
        h = ((h ^ b) * 0x100000001B3) & MASK
    return h


def uniform(name: str, seed: int, start: int, count: int) -> np.ndarray:
    """`count` values, from element `start` (even) on, uniform on [-1, 1)."""
    assert start % 2 == 0
    key = fnv1a64(name) ^ ((seed * int(GOLD)) & MASK)
    pairs = (count + 1) // 2
    with np.errstate(over="ignore"):
        z = np.arange(start // 2 + 1, start // 2 + 1 + pairs, dtype=np.uint64)
        z *= GOLD
        z += np.uint64(key)
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    h = z.astype("<u8", copy=False).view("<i4")[:count]
    return (h >> 8).astype(np.float32) * np.float32(2.0 ** -23)


def to_dtype(x: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "F32":
        return x
    if dtype == "F16":
        return x.astype(np.float16)
    assert dtype == "BF16", dtype
    u = x.view(np.uint32)
    return ((u + np.uint32(0x7FFF) + ((u >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


SIZES = {"F32": 4, "F16": 2, "BF16": 2}


class Spec:
    """A tensor to write. `fn(start, count)` gives its float32 values."""

    def __init__(self, name, shape, fn, dtype=None):
        self.name, self.shape, self.fn, self.dtype = name, list(shape), fn, dtype
        self.count = int(np.prod(shape)) if shape else 1


class Maker:
    def __init__(self, seed: int, names: str = "packed"):
        self.seed, self.names, self.specs = seed, names, []

    def values(self, name, std, mean):
        scale, m = np.float32(std * math.sqrt(3.0)), np.float32(mean)

        def fn(start, count):
            u = uniform(name, self.seed, start, count)
            u *= scale
            if m != 0:
                u += m
            return u
        return fn

    def add(self, name, shape, std, mean=0.0, dtype=None):
        self.specs.append(Spec(name, shape, self.values(name, std, mean), dtype))

    def const(self, name, shape, value, dtype=None):
        self.specs.append(Spec(name, shape, lambda s, n: np.full(n, value, np.float32), dtype))

    def proj(self, prefix, mult, rows, cols, std_in, std_out):
        """in/out projections of an attention: `mult` matrices stacked in one tensor, as in published files, or
        (names=split) one tensor each, as recent code saves them. The values are the same either way."""
        for packed, split, r, c, std in ((prefix + "in_proj_weight", prefix + "in_projs.{}.weight", rows, cols, std_in),
                                         (prefix + "out_proj.weight", prefix + "out_projs.{}.weight", cols, cols, std_out)):
            if self.names == "packed":
                self.add(packed, [mult * r, c], std)
            else:
                whole = self.values(packed, std, 0.0)
                for i in range(mult):
                    base = i * r * c
                    assert base % 2 == 0
                    self.specs.append(Spec(split.format(i), [r, c], lambda s, n, b=base, w=whole: w(b + s, n)))


def write(path: Path, specs, default_dtype: str, workers: int = 2) -> None:
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    # The order of the safetensors library: wide types first, then by name.
    specs = sorted(specs, key=lambda s: (-SIZES[s.dtype or default_dtype], s.name))
    for s in specs:
        n = s.count * SIZES[s.dtype or default_dtype]
        header[s.name] = {"dtype": s.dtype or default_dtype, "shape": s.shape, "data_offsets": [offset, offset + n]}
        offset += n
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)

    def make(job):
        s, start, count = job
        return to_dtype(s.fn(start, count), s.dtype or default_dtype).tobytes()

    def jobs():
        for s in specs:
            for start in range(0, s.count, CHUNK):
                yield s, start, min(CHUNK, s.count - start)

    with open(path, "wb") as f, ThreadPoolExecutor(workers) as pool:
        f.write(struct.pack("<Q", len(head)))
        f.write(head)
        pending = []
        for job in jobs():
            pending.append(pool.submit(make, job))
            if len(pending) > 4 * workers:
                f.write(pending.pop(0).result())
        for p in pending:
            f.write(p.result())


# ---------------------------------------------------------------------------------------------------------- Mimi

def mimi_config(dimension=512, n_filters=64, num_heads=8, num_layers=8, context=250, dim_feedforward=2048, q_dim=256,
                n_q=32, bins=2048, n_residual_layers=1, max_period=10000, layer_scale=0.01, kernel_size=7,
                residual_kernel_size=3, last_kernel_size=3, compress=2, ratios=(8, 6, 5, 4), frame_rate=12.5):
    return {
        "channels": 1, "sample_rate": 24000, "frame_rate": frame_rate,
        "seanet": {"channels": 1, "dimension": dimension, "causal": True, "n_filters": n_filters,
                   "n_residual_layers": n_residual_layers, "activation": "ELU", "compress": compress,
                   "dilation_base": 2, "disable_norm_outer_blocks": 0, "kernel_size": kernel_size,
                   "residual_kernel_size": residual_kernel_size, "last_kernel_size": last_kernel_size, "norm": "none",
                   "pad_mode": "constant", "ratios": list(ratios), "true_skip": True},
        "quantizer": {"dimension": q_dim, "n_q": n_q, "bins": bins, "input_dimension": dimension,
                      "output_dimension": dimension},
        "transformer": {"d_model": dimension, "num_heads": num_heads, "num_layers": num_layers, "causal": True,
                        "layer_scale": layer_scale, "context": context, "conv_layout": True, "max_period": max_period,
                        "gating": "none", "norm": "layer_norm", "positional_embedding": "rope",
                        "dim_feedforward": dim_feedforward, "input_dimension": dimension,
                        "output_dimensions": [dimension]},
    }


def mimi_specs(cfg, seed, names):
    m = Maker(seed, names)
    sea, tr, qz = cfg["seanet"], cfg["transformer"], cfg["quantizer"]
    F, D, C = sea["n_filters"], sea["dimension"], sea["compress"]
    ratios, nres, base = sea["ratios"], sea["n_residual_layers"], sea["dilation_base"]

    def conv(name, cin, cout, k, gain, bias=0.05):
        m.add(name + ".conv.conv.weight", [cout, cin, k], gain / math.sqrt(cin * k))
        m.add(name + ".conv.conv.bias", [cout], bias)

    def convtr(name, cin, cout, k, s, gain, bias=0.05):
        m.add(name + ".convtr.convtr.weight", [cin, cout, k], gain / math.sqrt(cin * k / s))
        m.add(name + ".convtr.convtr.bias", [cout], bias)

    def block(name, dim):
        conv(name + ".block.1", dim, dim // C, sea["residual_kernel_size"], 1.25)
        conv(name + ".block.3", dim // C, dim, 1, 0.8)

    # Encoder.
    i, mult = 0, 1
    conv(f"encoder.model.{i}", sea["channels"], F, sea["kernel_size"], 4.5)
    i += 1
    for ratio in reversed(ratios):
        for _ in range(nres):
            block(f"encoder.model.{i}", mult * F)
            i += 1
        i += 1
        conv(f"encoder.model.{i}", mult * F, 2 * mult * F, 2 * ratio, 1.2)
        i, mult = i + 1, mult * 2
    i += 1
    conv(f"encoder.model.{i}", mult * F, D, sea["last_kernel_size"], 1.2)

    # Decoder.
    i, mult = 0, 2 ** len(ratios)
    conv(f"decoder.model.{i}", D, mult * F, sea["kernel_size"], 1.0)
    i += 1
    for ratio in ratios:
        i += 1
        convtr(f"decoder.model.{i}", mult * F, mult * F // 2, 2 * ratio, ratio, 1.2)
        i += 1
        for _ in range(nres):
            block(f"decoder.model.{i}", mult * F // 2)
            i += 1
        mult //= 2
    i += 1
    conv(f"decoder.model.{i}", F, sea["channels"], sea["last_kernel_size"], 0.1, bias=0.005)

    # Transformers. The layer scale is far above its initial 0.01, so that an error in a layer cannot hide.
    d, ff = tr["d_model"], tr["dim_feedforward"]
    for side in ("encoder_transformer", "decoder_transformer"):
        for layer in range(tr["num_layers"]):
            p = f"{side}.transformer.layers.{layer}."
            m.proj(p + "self_attn.", 1, 3 * d, d, 1.3 / math.sqrt(d), 1.2 / math.sqrt(d))
            for n in ("norm1", "norm2"):
                m.add(p + n + ".weight", [d], 0.15, 1.0)
                m.add(p + n + ".bias", [d], 0.1)
            m.add(p + "linear1.weight", [ff, d], 1.2 / math.sqrt(d))
            m.add(p + "linear2.weight", [d, ff], 1.2 / math.sqrt(ff))
            for n in ("layer_scale_1", "layer_scale_2"):
                m.add(p + n + ".scale", [d], 0.05, 0.25)

    # Resampling between the two frame rates.
    hop = int(np.prod(ratios))
    stride = int(cfg["sample_rate"] / hop / cfg["frame_rate"])
    if stride > 1:
        m.add("downsample.conv.conv.conv.weight", [D, D, 2 * stride], 1.0 / math.sqrt(D * 2 * stride))
        m.add("upsample.convtr.convtr.convtr.weight", [D, 1, 2 * stride], 0.75)

    # Quantizer. For a random codebook of `bins` vectors in q dimensions and a residual of rms r, the vectors that
    # shrink the residual most have an rms of about sqrt(2 ln bins / q) r.
    q, bins = qz["dimension"], qz["bins"]
    c = min(0.9, math.sqrt(2 * math.log(bins) / q) * 0.85)
    shrink = 1 / (1 + 0.5 * math.log(bins) / q)
    for part, count in (("rvq_first", 1), ("rvq_rest", qz["n_q"] - 1)):
        m.add(f"quantizer.{part}.input_proj.weight", [q, D, 1], 1.0 / math.sqrt(D))
        # The decoder's input has an rms near 1 with eight codebooks.
        m.add(f"quantizer.{part}.output_proj.weight", [D, q, 1], 0.7 / (c * math.sqrt(q) * (1.0 if count == 1 else 2.0)))
        for layer in range(count):
            p = f"quantizer.{part}.vq.layers.{layer}._codebook."
            emb = m.values(p + "embedding", c * shrink ** layer, 0.0)  # the codebook itself
            use = m.values(p + "cluster_usage", 0.5 / math.sqrt(3.0), 0.5)  # uniform on [0, 1)

            def usage(start, n, use=use):
                x = use(start, n)
                # Counts between 0.25 and 40; one row in 32 was never used (0), so that the clamp at 1e-5 is at work.
                return np.where(x < np.float32(1 / 32), np.float32(0), np.float32(0.25) + x * x * np.float32(39.75))

            def total(start, n, emb=emb, usage=usage):
                row0, row1 = start // q, (start + n - 1) // q + 1
                even = row0 & ~1
                u = np.maximum(usage(even, row1 - even), np.float32(1e-5))
                return emb(start, n) * u[np.arange(start, start + n) // q - even]

            m.const(p + "_initialized", [1], 1.0)
            m.specs.append(Spec(p + "cluster_usage", [bins], usage))
            m.specs.append(Spec(p + "embedding_sum", [bins, q], total))
    return m.specs


# ------------------------------------------------------------------------------------------- language models

def lm_specs(cfg, seed, names):
    m = Maker(seed, names)
    dim, card, text_card = cfg["dim"], cfg["card"], cfg["text_card"]
    n_q, dep_q = cfg["n_q"], cfg["dep_q"]
    text_out = cfg.get("text_card_out") or text_card
    heads = cfg["num_heads"]
    demux = cfg.get("demux_second_stream", False)

    def hidden(d, ff):
        return (21 * d) // 8 if ff == 4 * d else (2 * ff) // 3

    def emb(name, rows, d, std, low_rank=None, dmx=False):
        inner = low_rank or d
        m.add(name + ".weight", [rows, inner], std if not (low_rank or dmx) else 1.0)
        if cfg.get("norm_emb"):
            m.add(name + ".norm.weight", [inner], 0.1, 0.5)
            m.add(name + ".norm.bias", [inner], 0.1)
        if low_rank and not dmx:
            m.add(name + ".low_rank.weight", [d, inner], std / math.sqrt(inner))
        elif low_rank:
            # The module has this linear too, though nothing reads it when the stream is split.
            m.add(name + ".low_rank.weight", [d, inner], std / math.sqrt(inner))
        if dmx:
            m.add(name + ".out1.weight", [d, inner], std / math.sqrt(inner))
            m.add(name + ".out2.weight", [d, inner], std / math.sqrt(inner))

    def norm(name, d, kind):
        if kind.startswith("rms"):
            m.add(name + ".alpha", [1, 1, d], 0.15, 1.0)
        else:
            m.add(name + ".weight", [d], 0.15, 1.0)
            m.add(name + ".bias", [d], 0.1)

    def transformer(prefix, layers, d, ffs, mult, cross, n_heads, gating, kv_repeat):
        for layer in range(layers):
            p = f"{prefix}.layers.{layer}."
            kv = d // n_heads * (n_heads // kv_repeat)
            m.proj(p + "self_attn.", mult, d + 2 * kv, d, 1.3 / math.sqrt(d), 0.9 / math.sqrt(d))
            norm(p + "norm1", d, cfg["norm"])
            norm(p + "norm2", d, cfg["norm"])
            if gating == "none":
                m.add(p + "linear1.weight", [ffs[0], d], 1.2 / math.sqrt(d))
                m.add(p + "linear2.weight", [d, ffs[0]], 1.2 / math.sqrt(ffs[0]))
            else:
                for i, ff in enumerate(ffs):
                    h = hidden(d, ff)
                    g = p + "gating." + (f"{i}." if mult > 1 or cfg.get("_per_step") == prefix else "")
                    m.add(g + "linear_in.weight", [2 * h, d], 1.2 / math.sqrt(d))
                    m.add(g + "linear_out.weight", [d, h], 1.5 / math.sqrt(h))
            scale = cfg.get(prefix + "_layer_scale", cfg.get("layer_scale"))
            if scale:
                for n in ["layer_scale_1", "layer_scale_2"] + ["layer_scale_cross"] * bool(cross):
                    m.add(p + n + ".scale", [d], 0.1, 0.5)
            if cross:
                m.proj(p + "cross_attention.", 1, 3 * d, d, 1.3 / math.sqrt(d), 0.9 / math.sqrt(d))
                m.add(p + "norm_cross.weight", [d], 0.15, 1.0)
                m.add(p + "norm_cross.bias", [d], 0.1)

    for i in range(n_q):
        emb(f"emb.{i}", card + 1, dim, 0.5)
    emb("text_emb", text_card + 1, dim, 0.7, dmx=demux)
    transformer("transformer", cfg["num_layers"], dim, [int(cfg["hidden_scale"] * dim)], 1,
                cfg.get("cross_attention", False), heads, cfg["gating"], cfg.get("kv_repeat", 1))
    norm("out_norm", dim, cfg["norm"])
    m.add("text_linear.weight", [text_out, dim], 2.0 / math.sqrt(dim))
    if cfg.get("bias_proj"):
        m.add("text_linear.bias", [text_out], 0.5)
    for i in range(cfg.get("extra_heads_num_heads", 0)):
        m.add(f"extra_heads.{i}.weight", [cfg.get("extra_heads_dim", 6), dim], 1.0 / math.sqrt(dim))

    if dep_q:
        dd, low = cfg["depformer_dim"], cfg.get("depformer_low_rank_embeddings")
        sched = cfg.get("depformer_weights_per_step_schedule")
        steps = (max(sched) + 1 if sched else dep_q) if cfg.get("depformer_weights_per_step") else 1
        multi = (max(sched) + 1 if sched else dep_q) if cfg.get("depformer_multi_linear") else 1
        for i in range(multi):
            m.add(f"depformer_in.{i}.weight", [dd, dim], 0.8 / math.sqrt(dim))
        for i in range(dep_q - 1):
            emb(f"depformer_emb.{i}", card + 1, dd, 0.8, low)
        emb("depformer_text_emb", text_card + 1, dd, 0.8, low, demux)
        ff = cfg.get("depformer_dim_feedforward") or int(cfg["hidden_scale"] * dd)
        ffs = ff if isinstance(ff, list) else [ff] * steps
        cfg = dict(cfg, _per_step="depformer" if cfg.get("depformer_weights_per_step") else None)
        transformer("depformer", cfg["depformer_num_layers"], dd, ffs, steps, False, cfg["depformer_num_heads"],
                    cfg.get("depformer_gating", cfg["gating"]),
                    cfg.get("depformer_kv_repeat", cfg.get("kv_repeat", 1)))
        if cfg.get("depformer_norm"):
            for i in range(dep_q):
                norm(f"depformer_norms.{i}", dd, cfg["depformer_norm"])
        for i in range(dep_q):
            m.add(f"linears.{i}.weight", [card, dd], 2.0 / math.sqrt(dd))
            if cfg.get("bias_proj"):
                m.add(f"linears.{i}.bias", [card], 0.5)

    for name, c in cfg.get("conditioners", {}).items():
        p = f"condition_provider.conditioners.{name}."
        inner = c[c["type"]]["dim"]
        if c["type"] == "lut":
            m.add(p + "embed.weight", [c["lut"]["n_bins"] + 1, inner], 1.0, dtype="F32")
        m.add(p + "output_proj.weight", [dim, inner], 0.5 / math.sqrt(inner), dtype="F32")
        m.add(p + "learnt_padding", [1, 1, dim], 0.2, dtype="F32")
    return m.specs


def lm_config(**kw):
    cfg = {
        "dim": 4096, "text_card": 32000, "existing_text_padding_id": 3, "n_q": 16, "dep_q": 8, "card": 2048,
        "num_heads": 32, "num_layers": 32, "hidden_scale": 4.125, "causal": True, "layer_scale": None, "context": 3000,
        "max_period": 10000, "gating": "silu", "norm": "rms_norm_f32", "positional_embedding": "rope",
        "depformer_dim": 1024, "depformer_dim_feedforward": 4224, "depformer_num_heads": 16,
        "depformer_num_layers": 6, "depformer_causal": True, "depformer_layer_scale": None,
        "depformer_multi_linear": True, "depformer_context": 8, "depformer_max_period": 10000,
        "depformer_gating": "silu", "depformer_pos_emb": "none", "depformer_weights_per_step": True,
        "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
    }
    cfg.update(kw)
    return cfg


def delays(own, other, semantic, acoustic):
    one = lambda n: [semantic] + [acoustic] * (n - 1) if n else []
    return [0] + one(own) + one(other)


def tts_conditioners(dim=24):
    return {
        "conditioners": {
            "speaker_wavs": {"type": "tensor", "tensor": {"dim": dim}},
            "cfg": {"type": "lut", "lut": {"n_bins": 7, "dim": 16, "tokenizer": "noop",
                                           "possible_values": ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]}},
            "control": {"type": "lut", "lut": {"n_bins": 1, "dim": 16, "tokenizer": "noop",
                                               "possible_values": ["ok"]}},
        },
        "fuser": {"cross_attention_pos_emb": True, "cross_attention_pos_emb_scale": 1, "sum": ["control", "cfg"],
                  "prepend": [], "cross": ["speaker_wavs"]},
        "cross_attention": True,
    }


# card is the number of codewords of mimi-mini, so that the two work together (stt-mini with 32 codebooks, others 8).
MINI = dict(dim=64, text_card=200, card=64, num_heads=4, num_layers=3, context=40, depformer_dim=32,
            depformer_dim_feedforward=132, depformer_num_heads=2, depformer_num_layers=2)
SMALL = dict(MINI, dim=32, num_heads=2, num_layers=2, depformer_dim=24, text_card=60, card=24)
STT = dict(dep_q=0, delays=[0] * 33, n_q=32, model_type="stt", extra_heads_num_heads=4, extra_heads_dim=6,
           stt_config={"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 0.0},
           lm_gen_config={"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 50},
           mimi_name="mimi-pytorch-e351c8d8@125.safetensors")

# Arguments of mimi_config(). mimi-odd: nothing is a multiple of anything, and the second residual layer is dilated;
# mimi-direct: SEANet's own rate is the frame rate, so there is no resampling.
MIMI = {
    "mimi-full": {},
    "mimi-mini": dict(dimension=32, n_filters=8, num_heads=4, num_layers=2, context=20, dim_feedforward=96, q_dim=16,
                      n_q=32, bins=64),
    "mimi-odd": dict(dimension=18, n_filters=6, num_heads=3, num_layers=2, context=37, dim_feedforward=50, q_dim=10,
                     n_q=5, bins=37, n_residual_layers=2, kernel_size=5, residual_kernel_size=4, last_kernel_size=2,
                     compress=3, max_period=500, ratios=(5, 4, 3)),
    "mimi-direct": dict(dimension=20, n_filters=4, num_heads=1, num_layers=1, context=7, dim_feedforward=33, q_dim=24,
                        n_q=3, bins=100, n_residual_layers=3, kernel_size=1, residual_kernel_size=2, last_kernel_size=9,
                        compress=1, ratios=(8, 5, 1, 6, 8)),
    "mimi-small": dict(dimension=16, n_filters=2, num_heads=2, num_layers=2, context=20, dim_feedforward=48, q_dim=8,
                       n_q=4, bins=32),
}

KINDS = {
    **{kind: ("mimi", lambda sizes=sizes: mimi_config(**sizes), "F32") for kind, sizes in MIMI.items()},
    "lm-mini": ("lm", lambda: lm_config(**MINI), "BF16"),
    "lm-mini-schedule": ("lm", lambda: lm_config(**dict(
        MINI, dim=48, num_heads=3, hidden_scale=4, max_period=100000, n_q=16, dep_q=8,
        depformer_low_rank_embeddings=12, depformer_weights_per_step_schedule=[0, 1, 2, 3, 3, 4, 4, 4],
        depformer_dim_feedforward=[128, 120, 96, 96, 72], depformer_gating="gelu", depformer_context=8,
        delays=delays(8, 8, 0, 2))), "BF16"),
    "stt-mini": ("lm", lambda: lm_config(**dict(MINI, text_card=120, max_period=100000, context=30, **STT)),
                 "BF16"),
    "hibiki-mini": ("lm", lambda: lm_config(**dict(
        MINI, n_q=16, dep_q=8, max_period=100000, model_type="hibiki", delays=delays(8, 8, 0, 2),
        conditioners={"description": {"type": "lut", "lut": {
            "n_bins": 31, "dim": 16, "tokenizer": "noop",
            "possible_values": ["very_bad", "bad", "neutral", "good", "very_good"]}}},
        fuser={"sum": ["description"]},
        lm_gen_config={"temp": 0.8, "temp_text": 0.8, "top_k": 250, "top_k_text": 250})), "BF16"),
    "tts-mini": ("lm", lambda: lm_config(**dict(
        MINI, n_q=8, dep_q=8, text_card=80, model_type="tts", delays=delays(8, 0, 0, 2), context=50,
        depformer_low_rank_embeddings=16, depformer_weights_per_step_schedule=[0, 1, 2, 3, 4, 4, 5, 5],
        depformer_dim_feedforward=96, demux_second_stream=True, tts_config={"audio_delay": 1.28,
                                                                            "second_stream_ahead": 2},
        lm_gen_config={"temp": 0.6, "temp_text": 0.6, "top_k": 250, "top_k_text": 50},
        **tts_conditioners())), "BF16"),
    # What the published models leave off; the smallest sizes that show it.
    "lm-norms": ("lm", lambda: lm_config(**dict(
        SMALL, norm="layer_norm", positional_embedding="sin_rope", norm_emb=True, bias_proj=True, context=7, n_q=6,
        depformer_norm="layer_norm_f32", layer_scale=0.5, depformer_layer_scale=0.3, dep_q=4,
        delays=[0, 1, 3, 3, 2, 0, 3], gating="relu", depformer_gating="tanh", text_card_out=40,
        depformer_dim_feedforward=72, depformer_pos_emb="sin")), "F32"),
    "stt-gqa": ("lm", lambda: lm_config(**dict(
        SMALL, **dict(STT, n_q=4, delays=[0] * 5, extra_heads_num_heads=2, extra_heads_dim=5), dim=48, num_heads=6,
        kv_repeat=3, text_card=620, context=5, max_period=100000, positional_embedding="rope_concat", gating="none",
        norm="rms_norm", hidden_scale=3)), "F16"),
    "lm-shared": ("lm", lambda: lm_config(**dict(
        SMALL, context=5, norm="layer_norm_f32", positional_embedding="sin", depformer_multi_linear=False, n_q=4,
        dep_q=2, delays=[2, 0, 1, 0, 4], gating="sigmoid", depformer_gating="gelu", depformer_pos_emb="rope_concat",
        depformer_kv_repeat=2, hidden_scale=4, depformer_dim_feedforward=96,
        depformer_weights_per_step_schedule=[0, 0])), "BF16"),
    "tts-guided": ("lm", lambda: lm_config(**dict(
        SMALL, model_type="tts", n_q=4, dep_q=4, delays=[0, 0, 2, 2, 2], layer_scale=0.5, text_card_out=300,
        demux_second_stream=True, depformer_low_rank_embeddings=6, depformer_dim_feedforward=72, context=11,
        depformer_weights_per_step_schedule=[0, 1, 1, 2], cross_attention=True,
        lm_gen_config={"temp": 0.6, "temp_text": 0.6, "top_k": 250, "top_k_text": 50},
        conditioners={
            "speaker_wavs": {"type": "tensor", "tensor": {"dim": 8}},
            "mood": {"type": "lut", "lut": {"n_bins": 13, "dim": 8, "tokenizer": "noop"}},
            "hint": {"type": "tensor", "tensor": {"dim": 6}},
            "cfg": {"type": "lut", "lut": {"n_bins": 3, "dim": 8, "tokenizer": "noop",
                                           "possible_values": ["1.0", "2.0"]}}},
        fuser={"cross_attention_pos_emb": True, "cross_attention_pos_emb_scale": 0.7, "sum": ["cfg"],
               "cross": ["mood", "speaker_wavs", "hint"]})), "BF16"),
    # For make_dialects.py: rows of whole groups of 64.
    "lm-groups": ("lm", lambda: lm_config(**dict(
        MINI, dim=64, num_heads=2, num_layers=2, hidden_scale=1.5, depformer_dim=64, depformer_num_heads=2,
        depformer_num_layers=1, depformer_dim_feedforward=96, text_card=60, card=32, n_q=4, dep_q=2, context=20,
        depformer_context=2, delays=delays(2, 2, 0, 1))), "BF16"),
    # Real shapes, for timing.
    "moshi-7b": ("lm", lambda: lm_config(), "BF16"),
    "stt-1b": ("lm", lambda: lm_config(**dict(
        dim=2048, text_card=8000, card=2048, num_heads=16, num_layers=16, context=750, max_period=100000, **STT)), "BF16"),
}


# ------------------------------------------------------------------------------------------- a sentencepiece model

def sentencepiece_model(pieces: int) -> bytes:
    """A minimal ModelProto: <unk>, <s>, </s>, <pad>, the 256 bytes when they fit, then words."""
    def varint(n):
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    def field(num, payload):
        return varint(num << 3 | 2) + varint(len(payload)) + payload

    syll = [c + v for c in "ptkbdgmnszrlfv" for v in "aeiou"]
    words = ["\u2581"] + ["\u2581" + s for s in syll] + syll + list("abcdefghijklmnopqrstuvwxyz'.,?!\u00e9\u00e8\u00e0\u00e7")
    words += ["\u2581" + a + b for a in syll for b in syll] + [a + b for a in syll for b in syll]
    words += ["\u2581" + a + b + c for a in syll for b in syll for c in syll[:10]]
    table = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<pad>", 4)]
    has_bytes = pieces >= 600
    if has_bytes:
        table += [(f"<0x{b:02X}>", 6) for b in range(256)]
    seen = set()
    for w in words:
        if len(table) == pieces:
            break
        if w not in seen:
            seen.add(w)
            table.append((w, 1))
    assert len(table) == pieces, (len(table), pieces)
    out = b""
    for i, (text, kind) in enumerate(table):
        body = field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", -float(i) / 64)
        out += field(1, body + (varint(3 << 3) + varint(kind) if kind != 1 else b""))
    trainer = varint(3 << 3) + varint(1)  # unigram
    trainer += varint(4 << 3) + varint(pieces) + varint(35 << 3) + varint(1 if has_bytes else 0)  # byte_fallback
    trainer += b"".join(varint(n << 3) + varint(v & MASK) for n, v in ((40, 0), (41, 1), (42, 2), (43, 3)))
    normalizer = field(1, b"identity") + b"".join(varint(n << 3) + varint(1) for n in (3, 4, 5))
    return out + field(2, trainer) + field(3, normalizer)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--kind", choices=list(KINDS))
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--out", type=Path, help="directory to write")
    ap.add_argument("--dtype", choices=["f32", "bf16", "f16"], help="default: f32 for Mimi, bf16 for the others")
    ap.add_argument("--names", choices=["packed", "split"], default="packed",
                    help="attention projections: in_proj_weight (published files) or in_projs.N.weight")
    ap.add_argument("--set", action="append", default=[], metavar="KEY=JSON",
                    help="change a size: an argument of mimi_config() here, or a key of config.json")
    ap.add_argument("--tiny-tokenizer", action="store_true", help="(large kinds) skip the tokenizer")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--list", action="store_true")
    a = ap.parse_args()
    if a.list or not a.kind or not a.out:
        for k, (fam, fn, dt) in KINDS.items():
            cfg = fn()
            specs = (mimi_specs if fam == "mimi" else lm_specs)(cfg, 1, "packed")
            n = sum(s.count for s in specs)
            print(f"{k:18s} {n/1e6:10.3f} M parameters, {n * SIZES[dt]/1e6:10.2f} MB as {dt}")
        return 0 if a.list else 2
    family, fn, dtype = KINDS[a.kind]
    if a.dtype:
        dtype = a.dtype.upper()
    over = {}
    for item in a.set:
        key, _, value = item.partition("=")
        try:
            over[key] = json.loads(value)
        except ValueError:
            over[key] = value
    a.out.mkdir(parents=True, exist_ok=True)
    if family == "mimi":
        cfg = mimi_config(**dict(MIMI[a.kind], **over))
        (a.out / "mimi_config.json").write_text(json.dumps(cfg, indent=2) + "\n")
        write(a.out / "mimi.safetensors", mimi_specs(cfg, a.seed, a.names), dtype, a.threads)
    else:
        cfg = fn()
        cfg.update(over)
        if len(cfg["delays"]) != cfg["n_q"] + 1:
            sys.exit(f"config has {cfg['n_q']} audio streams but {len(cfg['delays'])} delays; use --set delays=[...]")
        if not a.tiny_tokenizer:
            (a.out / "tokenizer.model").write_bytes(sentencepiece_model(cfg["text_card"]))
        cfg["tokenizer_name"], cfg["moshi_name"] = "tokenizer.model", "model.safetensors"
        (a.out / "config.json").write_text(json.dumps(cfg, indent=2) + "\n")
        write(a.out / "model.safetensors", lm_specs(cfg, a.seed, a.names), dtype, a.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
