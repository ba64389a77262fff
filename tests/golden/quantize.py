"""Makes quantize.safetensors: numbers, and what bitsandbytes makes of them in four and in eight bits.

Use: python quantize.py OUT    (torch, bitsandbytes, safetensors; the golden file was made with bitsandbytes 0.50.2)
"""

import sys

import torch
from bitsandbytes import functional
from safetensors.torch import save_file

torch.manual_seed(0)
rows, cols = 40, 448  # 280 blocks of 64: more than one block of scales
values = torch.randn(rows, cols) * torch.rand(rows, 1)
values[3, 5], values[7], values[9, :64] = 4.0, 0.0, 0.0
values = values.to(torch.bfloat16)

wide = values.float()
packed, state = functional.quantize_4bit(wide, blocksize=64, compress_statistics=True, quant_type="nf4")
nf4 = functional.dequantize_4bit(packed, state)

int8, scales, _ = functional.int8_vectorwise_quant(values.half())
int8 = int8.float() * scales.float().view(-1, 1) / 127

save_file({"values": values, "nf4": nf4, "int8": int8}, sys.argv[1])
