"""A language model that no machine has the memory for, in a file of holes."""
import json
import math
import struct


def make_huge(folder):
    """Makes the language model in a copy of the model in the box a huge one."""
    config = json.loads((folder / "config.json").read_text())
    config["num_layers"], config["dim"], config["num_heads"] = 128, 16384, 128
    (folder / "config.json").write_text(json.dumps(config))
    write_sparse(folder / "model.safetensors", config)


def write_sparse(path, c):
    """All tensors of the model, as holes."""
    dim, depth, card, text = c["dim"], c["depformer_dim"], c["card"], c["text_card"]
    hidden, depth_hidden = 2 * int(c["hidden_scale"] * dim) // 3, 2 * c["depformer_dim_feedforward"] // 3
    q = c["dep_q"]
    shapes = {"text_emb.weight": [text + 1, dim], "out_norm.alpha": [1, 1, dim], "text_linear.weight": [text, dim],
              "depformer_text_emb.weight": [text + 1, depth]}
    for i in range(c["n_q"]):
        shapes[f"emb.{i}.weight"] = [card + 1, dim]
    for i in range(q):
        shapes[f"depformer_in.{i}.weight"] = [depth, dim]
        shapes[f"linears.{i}.weight"] = [card, depth]
        if i:
            shapes[f"depformer_emb.{i - 1}.weight"] = [card + 1, depth]
    for prefix, layers, d, sets in (("transformer", c["num_layers"], dim, 1),
                                    ("depformer", c["depformer_num_layers"], depth, q)):
        for layer in range(layers):
            p = f"{prefix}.layers.{layer}."
            shapes[p + "self_attn.in_proj_weight"] = [sets * 3 * d, d]
            shapes[p + "self_attn.out_proj.weight"] = [sets * d, d]
            shapes[p + "norm1.alpha"] = shapes[p + "norm2.alpha"] = [1, 1, d]
            for i in range(sets):
                h, g = (hidden, "gating.") if sets == 1 else (depth_hidden, f"gating.{i}.")
                shapes[p + g + "linear_in.weight"] = [2 * h, d]
                shapes[p + g + "linear_out.weight"] = [d, h]
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        f.truncate(8 + len(head) + offset)
