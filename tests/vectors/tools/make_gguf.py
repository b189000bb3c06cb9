"""Writes gguf-types.gguf with gguf-py: a tensor of every type that is read, and beside each, as NAME.f32, what gguf-py
decodes it to. Usage: make_gguf.py FILE"""
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type


def q4_k(rng, rows, cols):
    """gguf-py has no encoder: any bytes are a block, if d and dmin are sound numbers."""
    blocks = rng.integers(0, 256, (rows, cols // 256, 144), dtype=np.uint8)
    scales = (rng.standard_normal((rows, cols // 256, 2)) * 0.01).astype(np.float16)
    blocks[..., :4] = scales.view(np.uint8)
    return blocks.reshape(rows, -1)


def main():
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(sys.argv[1], "moshi")
    writer.add_string("general.name", "types")
    writer.add_array("general.tags", ["one", "two"])
    values = rng.standard_normal((3, 512)).astype(np.float32)
    values[0, 32:64] = 0
    values[1, :32] *= 1e-6
    for kind in (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_K):
        data = q4_k(rng, *values.shape) if kind == Type.Q4_K else gguf.quantize(values, kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        writer.add_tensor(kind.name + ".f32", gguf.dequantize(data, kind).astype(np.float32).reshape(values.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
