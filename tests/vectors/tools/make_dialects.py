#!/usr/bin/env python3
"""Rewrites checkpoints made by make_checkpoint.py the way others write them: other names, other formats.

    make_dialects.py DIALECT --checkpoint DIR --out DIR [--float DIR] [--mimi DIR]

    candle       safetensors with the names of scripts/import_rust.py, one depth transformer a step
    mlx          the names of scripts/import_mlx.py, as MLX writes safetensors: no padding, any order and alignment
    mlx-q8, -q4  the same, groups of 64 at 8 bits or of 32 at 4 bits in U32, scales and biases beside them
    int8         moshi.utils.quantize of the reference: I8 rows and weight_scb
    candle-q8    GGUF, Q8_0, names of candle
    cpp-q4       GGUF, Q4_0, names of moshi.cpp
    transformers MoshiForConditionalGeneration in shards, with the MimiModel made of --mimi in it
    mimi         MimiModel alone

--float: also writes what the quantised weights stand for, as a plain f32 checkpoint for make_vectors.py.
Needs numpy, torch, safetensors, moshi and bitsandbytes (int8), gguf (candle-q8, cpp-q4), transformers 4.57 (the last two).
The transformers ones are loaded strictly into their own classes and compared there with the reference's results.
"""
import argparse
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file


def schedule(cfg):
    return cfg.get("depformer_weights_per_step_schedule") or list(range(cfg["dep_q"]))


def depth_by_step(w, cfg, base, in_proj):
    """The depth transformer of step k under base % k."""
    out, sets = {}, max(schedule(cfg), default=-1) + 1
    for k, s in enumerate(schedule(cfg)):
        b = base % k
        out[b + "linear_in.weight"] = w[f"depformer_in.{s}.weight"]
        out[b + "linear_out.weight"] = w[f"linears.{k}.weight"]
        emb = f"depformer_emb.{k - 1}." if k else "depformer_text_emb."
        out.update({b + "emb." + n[len(emb):]: t for n, t in w.items() if n.startswith(emb)})
        for n, t in w.items():
            if not n.startswith("depformer.layers."):
                continue
            layer, rest = n[len("depformer.layers."):].split(".", 1)
            p = f"{b}transformer.layers.{layer}."
            if rest == "self_attn.in_proj_weight":
                out[p + "self_attn." + in_proj] = t.chunk(sets)[s]
            elif rest == "self_attn.out_proj.weight":
                out[p + rest] = t.chunk(sets)[s]
            elif rest.startswith("gating."):
                i, rest = rest[len("gating."):].split(".", 1)
                if int(i) == s:
                    out[p + "gating." + rest] = t
            else:
                out[p + rest] = t
    return out


def temporal(w):
    return {n: t for n, t in w.items() if not n.startswith(("depformer", "linears."))}


def candle(w, cfg):
    out = dict(temporal(w), **depth_by_step(w, cfg, "depformer.%d.", "in_proj_weight"))
    for n in list(out):
        # Candle's quantised files need the split form; here it is tested in all.
        if n.endswith("cross_attention.in_proj_weight"):
            t = out.pop(n)
            d = t.shape[0] // 3
            out[n + "_q"], out[n + "_kv"] = t[:d], t[d:]
    return out


def mlx(w, cfg):
    out = {}
    for n, t in dict(temporal(w), **depth_by_step(w, cfg, "depformer.slices.%d.", "in_proj.weight")).items():
        if n.startswith("emb."):
            n = "audio_" + n.replace("emb.", "embs.", 1)
        if n.endswith(".alpha"):
            n, t = n[:-len("alpha")] + "weight", t[0, 0]
        out[n.replace(".in_proj_weight", ".in_proj.weight")] = t
    return out


def split(w, cfg):
    """in_projs.N: the names of a live model."""
    out = {}
    for n, t in w.items():
        for fused, name in ((".in_proj_weight", ".in_projs"), (".out_proj.weight", ".out_projs")):
            if n.endswith(fused):
                n_sets = max(schedule(cfg)) + 1 if n.startswith("depformer.") else 1
                out.update({f"{n[:-len(fused)]}{name}.{i}.weight": c for i, c in enumerate(t.chunk(n_sets))})
                break
        else:
            out[n] = t
    return out


# ---------------------------------------------------------------------------------------------- MLX

def mlx_save(path, tensors):
    """As mlx.core.save_safetensors does: no padding, the order of a hash table."""
    names = {torch.bfloat16: "BF16", torch.float32: "F32", torch.uint32: "U32", torch.float16: "F16"}
    entries, blobs, at = {}, [], 0
    for n in sorted(tensors, key=lambda n: zlib.crc32(n.encode())):
        t = tensors[n].contiguous()
        data = t.view(torch.uint8).numpy().tobytes() if t.numel() else b""
        entries[n] = {"data_offsets": [at, at + len(data)], "dtype": names[t.dtype], "shape": list(t.shape)}
        blobs.append(data)
        at += len(data)
    header = dict(sorted(entries.items()), __metadata__=None)
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    if len(text) % 2 == 0:  # an odd address is what hurts
        text = json.dumps(header, separators=(",", ":"), sort_keys=True).replace("}}", "} }", 1).encode()
    assert len(text) % 2
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def mlx_quantise(t, bits, group):
    """mx.quantize, affine: packed words, scales, biases, and what they stand for in f32."""
    w = t.float().numpy().reshape(t.shape[0], -1, group)
    n = float(2 ** bits - 1)
    low, high = w.min(-1), w.max(-1)
    s = np.maximum((high - low) / n, np.float32(1e-7)).astype(np.float32)
    low_edge = np.abs(low) > np.abs(high)
    s = np.where(low_edge, s, -s)
    edge = np.where(low_edge, low, high)
    q0 = np.rint(edge / s)
    scale = np.where(q0 != 0, edge / np.where(q0 != 0, q0, 1), s)
    bias = np.where(q0 != 0, edge, 0)
    q = np.clip(np.rint((w - bias[..., None]) / scale[..., None]), 0, n).astype(np.uint32)
    per = 32 // bits
    words = (q.reshape(t.shape[0], -1, per) << (np.arange(per, dtype=np.uint32) * bits)).sum(-1).astype(np.uint32)
    scale, bias = (torch.from_numpy(x.astype(np.float32)).to(torch.bfloat16) for x in (scale, bias))
    stands = scale.float().numpy()[..., None] * q + bias.float().numpy()[..., None]
    return torch.from_numpy(words), scale, bias, torch.from_numpy(stands.astype(np.float32).reshape(t.shape))


def is_matrix(t):
    return t.dim() == 2


# ------------------------------------------------------------------------------- whole conversions

def make_int8(w, cfg, out):
    from moshi.utils.quantize import QLinear
    stored, plain = {}, {}
    for n, t in split(w, cfg).items():
        plain[n] = t.float()
        stored[n] = t
        if is_matrix(t) and "emb." not in n and not n.startswith("emb"):
            lin = torch.nn.Linear(t.shape[1], t.shape[0], bias=False, dtype=t.dtype)
            lin.weight.data = t
            q = QLinear(lin)
            stored[n], stored[n + "_scb"] = q.weight.data, q.weight_scb.data.float()
            plain[n] = q.weight.data.float() * stored[n + "_scb"][:, None] / 127
    save_file({n: t.contiguous() for n, t in stored.items()}, out / "model.q8.safetensors")
    cfg.update(quantize=True, moshi_name="model.q8.safetensors")
    return plain


def back_from_steps(named, like, cfg, rename):
    """A plain checkpoint with the values of `named`, found by rename(plain tensors) -> {name: tensor}."""
    index, at = {}, 0
    probe = {}
    for n, t in like.items():  # number all elements, translate, and read the numbers back
        probe[n] = torch.arange(at, at + t.numel(), dtype=torch.float64).reshape(t.shape)
        at += t.numel()
    flat = torch.zeros(at, dtype=torch.float32)
    for n, numbers in rename(probe, cfg).items():
        flat[numbers.long().flatten()] = named[n].float().flatten()
    return {n: flat[probe[n].long().flatten()].reshape(t.shape) for n, t in like.items()}


def make_mlx(w, cfg, out, bits=0):
    named, stands = mlx(w, cfg), {}
    stored = {}
    for n, t in named.items():
        stored[n], stands[n] = t, t
        if bits and is_matrix(t):
            base = n[:-len("weight")]
            stored[n], stored[base + "scales"], stored[base + "biases"], stands[n] = \
                mlx_quantise(t, bits, 32 if bits == 4 else 64)
    name = f"model.q{bits}.safetensors" if bits else "model.safetensors"
    mlx_save(out / name, stored)
    cfg["moshi_name"] = name
    return back_from_steps(stands, w, cfg, mlx)


def make_candle(w, cfg, out):
    save_file({n: t.clone().contiguous() for n, t in candle(w, cfg).items()}, out / "model.safetensors")
    return w


def cpp_name(name):
    name = "lm." + name
    if len(name) < 64:
        return name
    crc = zlib.crc32(name.encode())
    return "".join("%x" % (crc >> 8 * i & 15) for i in range(4)) + "0000"


def make_gguf(w, cfg, out, dialect):
    import gguf
    named = candle(w, cfg) if dialect == "candle-q8" else split(w, cfg)
    kind = gguf.GGMLQuantizationType.Q8_0 if dialect == "candle-q8" else gguf.GGMLQuantizationType.Q4_0
    name = "model.q8.gguf" if dialect == "candle-q8" else "model-q4_0.gguf"
    writer = gguf.GGUFWriter(out / name, "moshi", endianess=gguf.GGUFEndian.LITTLE)
    stands = {}
    for n, t in named.items():
        x = t.float().numpy()
        stored = n if dialect == "candle-q8" else cpp_name(n)
        if is_matrix(t):
            q = gguf.quants.quantize(x, kind)
            writer.add_tensor(stored, q, raw_dtype=kind)
            x = gguf.quants.dequantize(q, kind)
        else:
            writer.add_tensor(stored, x)
        stands[n] = torch.from_numpy(np.ascontiguousarray(x))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    cfg["moshi_name"] = name
    return back_from_steps(stands, w, cfg, candle if dialect == "candle-q8" else split)


# ---------------------------------------------------------------------------------------- transformers

def sort_rows(t, heads):
    """For rotary pairs (j, j + d/2): even rows of each head, then odd ones."""
    return t.view(heads, -1, 2, t.shape[1]).transpose(1, 2).reshape(t.shape)


def transformers_mimi(w, cfg):
    heads = cfg["transformer"]["num_heads"]
    parts = [("conv.conv.conv", "conv"), ("convtr.convtr.convtr", "conv"), ("conv.conv", "conv"), ("convtr.convtr", "conv"),
             ("rvq_first.vq", "semantic_residual_vector_quantizer"), ("rvq_first", "semantic_residual_vector_quantizer"),
             ("rvq_rest.vq", "acoustic_residual_vector_quantizer"), ("rvq_rest", "acoustic_residual_vector_quantizer"),
             ("_codebook._initialized", "codebook.initialized"), ("_codebook.embedding_sum", "codebook.embed_sum"),
             ("_codebook", "codebook"), ("coder.model", "coder.layers"), ("_transformer.transformer", "_transformer"),
             ("linear1", "mlp.fc1"), ("linear2", "mlp.fc2"), ("out_proj", "o_proj"), ("norm1", "input_layernorm"),
             ("norm2", "post_attention_layernorm"), ("layer_scale_1", "self_attn_layer_scale"),
             ("layer_scale_2", "mlp_layer_scale")]
    out = {}
    for n, t in w.items():
        for old, new in parts:
            n = n.replace(old, new)
        if n.endswith(".in_proj_weight"):
            q, k, v = t.chunk(3)
            p = n[:-len("in_proj_weight")]
            out[p + "q_proj.weight"], out[p + "k_proj.weight"] = sort_rows(q, heads), sort_rows(k, heads)
            out[p + "v_proj.weight"] = v
        else:
            out[n] = t
    return out


def mimi_config(cfg):
    from transformers import MimiConfig
    s, q, t = cfg["seanet"], cfg["quantizer"], cfg["transformer"]
    return MimiConfig(sampling_rate=24000, frame_rate=12.5, hidden_size=s["dimension"], num_filters=s["n_filters"],
                      num_residual_layers=s["n_residual_layers"], upsampling_ratios=s["ratios"],
                      codebook_size=q["bins"], codebook_dim=q["dimension"], num_quantizers=q["n_q"],
                      vector_quantization_hidden_dimension=q["dimension"], upsample_groups=s["dimension"],
                      num_hidden_layers=t["num_layers"], intermediate_size=t["dim_feedforward"],
                      num_attention_heads=t["num_heads"], num_key_value_heads=t["num_heads"],
                      sliding_window=t["context"], compress=s["compress"])


@torch.no_grad()
def make_mimi(directory, out):
    from transformers import MimiModel
    from moshi.models.loaders import get_mimi
    cfg = json.loads((directory / "mimi_config.json").read_text())
    model = MimiModel(mimi_config(cfg)).eval()
    model.load_state_dict(transformers_mimi(load_file(directory / "mimi.safetensors"), cfg), strict=True)
    if out:
        model.save_pretrained(out)
    # Shorter than the attention's window, past which transformers and streaming differ.
    x = torch.from_numpy(np.random.RandomState(1).randn(1, 1, 9 * 1920).astype(np.float32)) * 0.1
    ours = get_mimi(directory / "mimi.safetensors", cfg, num_codebooks=cfg["quantizer"]["n_q"]).encode(x)
    theirs = model.encode(x).audio_codes
    print("mimi: codes of the reference and of transformers differ in", int((ours != theirs).sum()), "of", ours.numel())
    assert (ours != theirs).float().mean() < 0.02
    return model


def transformers_lm(w, cfg):
    heads, k = cfg["num_heads"], cfg["dep_q"]
    plain = [("self_attn.out_proj.", "self_attn.o_proj.linear."), ("gating.linear_in", "mlp.fc1"),
             ("gating.linear_out", "mlp.fc2"), ("norm1.alpha", "input_layernorm.weight"),
             ("norm2.alpha", "post_attention_layernorm.weight")]
    names = {"text_emb.weight": "decoder.model.embed_tokens.weight", "text_linear.weight": "decoder.lm_head.weight",
             "out_norm.alpha": "decoder.model.norm.weight", "depformer_text_emb.weight": "depth_decoder.text_embed_tokens.weight"}
    out = {}

    def stack(name):
        return torch.stack([w[name % i] for i in range(k)])

    for n, t in w.items():
        t = t.squeeze() if n.endswith("alpha") else t
        if n in names:
            out[names[n]] = t
        elif n.startswith("emb."):
            out["embed_tokens." + n[4:]] = t
        elif n.startswith("depformer_emb."):
            out["depth_decoder.embed_tokens." + n[len("depformer_emb."):]] = t
        elif n.startswith("transformer."):
            n = "decoder.model." + n[len("transformer."):]
            for old, new in plain:
                n = n.replace(old, new)
            if n.endswith("in_proj_weight"):
                p, (a, b, c) = n[:-len("in_proj_weight")], t.chunk(3)
                out[p + "q_proj.linear.weight"], out[p + "k_proj.linear.weight"] = sort_rows(a, heads), sort_rows(b, heads)
                out[p + "v_proj.linear.weight"] = c
            else:
                out[n] = t
        elif n.startswith("depformer.layers."):
            layer, rest = n[len("depformer.layers."):].split(".", 1)
            p = f"depth_decoder.layers.{layer}."
            if rest == "self_attn.in_proj_weight":
                for x, part in zip("qkv", t.view(k, 3, -1, t.shape[1]).unbind(1)):
                    out[f"{p}self_attn.{x}_proj.linear.weight"] = part
            elif rest == "self_attn.out_proj.weight":
                out[p + "self_attn.o_proj.linear.weight"] = t.view(k, -1, t.shape[1])
            elif rest.startswith("norm"):
                out[p + dict(plain)[rest]] = t
    for layer in range(cfg["depformer_num_layers"]):
        for i, name in ((1, "in"), (2, "out")):
            out[f"depth_decoder.layers.{layer}.mlp.fc{i}.weight"] = stack(f"depformer.layers.{layer}.gating.%d.linear_{name}.weight")
    out["depth_decoder.input_projections.weight"] = stack("depformer_in.%d.weight")
    out["depth_decoder.lm_heads.weight"] = stack("linears.%d.weight")
    return out


@torch.no_grad()
def make_transformers(w, cfg, out, mimi_dir, directory):
    from transformers import MoshiConfig, MoshiForConditionalGeneration
    from moshi.models import loaders
    mimi = make_mimi(mimi_dir, None)
    hidden = w["transformer.layers.0.gating.linear_out.weight"].shape[1]
    depth_hidden = w["depformer.layers.0.gating.0.linear_out.weight"].shape[1]
    conf = MoshiConfig(vocab_size=cfg["text_card"], hidden_size=cfg["dim"], num_hidden_layers=cfg["num_layers"],
                       num_attention_heads=cfg["num_heads"], audio_vocab_size=cfg["card"], sliding_window=cfg["context"],
                       ffn_dim=2 * hidden, num_codebooks=cfg["dep_q"], rope_theta=float(cfg["max_period"]),
                       audio_encoder_config=mimi.config.to_dict(),
                       depth_decoder_config=dict(hidden_size=cfg["depformer_dim"], num_hidden_layers=cfg["depformer_num_layers"],
                                                 num_attention_heads=cfg["depformer_num_heads"], ffn_dim=2 * depth_hidden,
                                                 sliding_window=cfg["dep_q"], max_position_embeddings=cfg["dep_q"] + 1))
    model = MoshiForConditionalGeneration(conf).eval()
    state = transformers_lm(w, cfg)
    state.update({"audio_encoder." + n: t for n, t in mimi.state_dict().items()})
    model.load_state_dict(state, strict=True)
    # One step of each: its own text logits against the reference's. Pieces of the input are summed in both.
    lm = loaders.CheckpointInfo.from_hf_repo(
        "local", moshi_weights=directory / "model.safetensors", mimi_weights=Path("unused"),
        tokenizer=directory / "tokenizer.model", config_path=directory / "config.json").get_moshi(
            device="cpu", dtype=torch.float32)
    ids = torch.from_numpy(np.random.RandomState(2).randint(0, cfg["card"], (1, 1 + cfg["n_q"], 12)))
    theirs_in = model.decoder.model.embed_tokens(ids[:, 0]) + sum(
        model.embed_tokens[i](ids[:, 1 + i]) for i in range(cfg["n_q"]))
    theirs = model.decoder(inputs_embeds=theirs_in).logits
    ours = lm.forward_text(ids)[1][:, 0]
    print("transformers: text logits differ by", float((theirs - ours).abs().max()), "of", float(ours.abs().max()))
    assert (theirs - ours).abs().max() < 1e-4 * ours.abs().max()
    model.to(torch.bfloat16)
    model.audio_encoder.float().load_state_dict(mimi.state_dict())  # as exact as its vectors
    model.save_pretrained(out, max_shard_size="200KB")
    return w


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dialect", choices=["candle", "mlx", "mlx-q8", "mlx-q4", "int8", "candle-q8", "cpp-q4", "transformers", "mimi"])
    ap.add_argument("--checkpoint", type=Path)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--float", type=Path)
    ap.add_argument("--mimi", type=Path)
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if a.dialect == "mimi":
        make_mimi(a.mimi, a.out)
        return
    w = load_file(a.checkpoint / "model.safetensors")
    cfg = json.loads((a.checkpoint / "config.json").read_text())
    plain_cfg = dict(cfg)
    if a.dialect == "candle":
        plain = make_candle(w, cfg, a.out)
    elif a.dialect.startswith("mlx"):
        plain = make_mlx(w, cfg, a.out, int(a.dialect[5:] or 0))
    elif a.dialect == "int8":
        plain = make_int8(w, cfg, a.out)
    elif a.dialect == "transformers":
        plain = make_transformers(w, cfg, a.out, a.mimi, a.checkpoint)
    else:
        plain = make_gguf(w, cfg, a.out, a.dialect)
    if a.dialect != "transformers":
        (a.out / "config.json").write_text(json.dumps(cfg, indent=2) + "\n")
        shutil.copy(a.checkpoint / "tokenizer.model", a.out)
    else:
        shutil.copy(a.checkpoint / "tokenizer.model", a.out / "tokenizer_spm_32k_3.model")
    if a.float:
        a.float.mkdir(parents=True, exist_ok=True)
        (a.float / "config.json").write_text(json.dumps(plain_cfg, indent=2) + "\n")
        shutil.copy(a.checkpoint / "tokenizer.model", a.float)
        save_file({n: t.float().contiguous() for n, t in plain.items()}, a.float / "model.safetensors")


if __name__ == "__main__":
    main()
