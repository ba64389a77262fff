"""Makes blocks.safetensors: blocks of llama.cpp's formats, and what the gguf package reads out of them.

Use: python make_blocks.py OUT    (numpy, gguf, safetensors; the golden file was made with gguf 0.19.0)
"""

import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

# Where a block's own half-precision scales lie; all its other bytes may be anything.
SCALES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}

rng = np.random.default_rng(0)
tensors = {}
for name in ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]:
    kind = Type[name]
    block, size = GGML_QUANT_SIZES[kind]
    if name in SCALES:
        blocks = rng.integers(0, 256, (3, size), dtype=np.uint8)
        for at in SCALES[name]:
            scale = rng.normal(0, 0.01, (3, 1)).astype(np.float16)
            blocks[:, at : at + 2] = scale.view(np.uint8)
    else:
        blocks = quantize(rng.normal(0, 1, (3, 2 * block)).astype(np.float32), kind)
    tensors[f"{name}.blocks"] = blocks.reshape(-1)
    tensors[f"{name}.values"] = dequantize(blocks, kind).reshape(-1)
save_file(tensors, sys.argv[1])
