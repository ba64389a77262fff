"""PyTorch models of families that the installed transformers lacks, to make golden files and parity checks with.

ChatGLM 2/3: written from its published description (config keys, tensor names, the order of its operations), not from
its code; checked against nothing but this project. PanGu (openPangu-Embedded): Llama with biases around attention.
"""
import json

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class ChatGLMConfig(PreTrainedConfig):
    model_type = "chatglm"
    attribute_map = {"vocab_size": "padded_vocab_size", "num_hidden_layers": "num_layers"}

    def __init__(self, **kw):
        usual = dict(num_layers=2, padded_vocab_size=80, hidden_size=32, ffn_hidden_size=56, kv_channels=8,
                     num_attention_heads=4, seq_length=64, layernorm_epsilon=1e-5, rmsnorm=True,
                     apply_residual_connection_post_layernorm=False, post_layer_norm=True, add_bias_linear=False,
                     add_qkv_bias=True, multi_query_attention=True, multi_query_group_num=2, original_rope=True,
                     apply_query_key_layer_scaling=True, tie_word_embeddings=False, pre_seq_len=None, quantization_bit=0)
        usual = {key: kw.pop(key, value) for key, value in usual.items()}
        super().__init__(**kw)
        for key, value in usual.items():
            setattr(self, key, value)


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def turn_half(x):
    """neighbours turn together, in the first half of each head; x is [rows, positions, heads, dim]"""
    turned = x.shape[-1] // 2
    angles = torch.outer(torch.arange(x.shape[1]).float(), 10000.0 ** (-torch.arange(0, turned, 2).float() / turned))
    cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
    a, b = x[..., 0:turned:2], x[..., 1:turned:2]
    pairs = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1)
    return torch.cat([pairs.flatten(-2), x[..., turned:]], dim=-1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.groups, self.dim = c.num_attention_heads, c.multi_query_group_num, c.kv_channels
        self.query_key_value = nn.Linear(c.hidden_size, (self.heads + 2 * self.groups) * self.dim, bias=c.add_qkv_bias)
        self.dense = nn.Linear(self.heads * self.dim, c.hidden_size, bias=False)

    def forward(self, x):
        rows, positions, _ = x.shape
        wide, narrow = self.heads * self.dim, self.groups * self.dim
        q, k, v = self.query_key_value(x).split([wide, narrow, narrow], dim=-1)
        q, k, v = (t.view(rows, positions, -1, self.dim) for t in (q, k, v))
        q, k = turn_half(q), turn_half(k)
        k, v = (t.repeat_interleave(self.heads // self.groups, dim=2) for t in (k, v))
        out = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)), is_causal=True)
        return self.dense(out.transpose(1, 2).reshape(rows, positions, wide))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(c.hidden_size, 2 * c.ffn_hidden_size, bias=False)
        self.dense_4h_to_h = nn.Linear(c.ffn_hidden_size, c.hidden_size, bias=False)

    def forward(self, x):
        gate, up = self.dense_h_to_4h(x).chunk(2, dim=-1)
        return self.dense_4h_to_h(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.layernorm_epsilon)
        self.self_attention = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.layernorm_epsilon)
        self.mlp = FeedForward(c)

    def forward(self, x):
        x = x + self.self_attention(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class ChatGLMModel(PreTrainedModel):
    config_class = ChatGLMConfig
    base_model_prefix = "transformer"

    def __init__(self, c):
        super().__init__(c)
        encoder = nn.Module()
        encoder.layers = nn.ModuleList(Layer(c) for _ in range(c.num_layers))
        encoder.final_layernorm = RMSNorm(c.hidden_size, c.layernorm_epsilon)
        self.transformer = nn.Module()
        self.transformer.embedding = nn.Module()
        self.transformer.embedding.word_embeddings = nn.Embedding(c.padded_vocab_size, c.hidden_size)
        self.transformer.encoder = encoder
        self.transformer.output_layer = nn.Linear(c.hidden_size, c.padded_vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, labels=None, **_):
        """rows are padded on the right, so that a causal mask hides what the padding holds"""
        x = self.transformer.embedding.word_embeddings(input_ids)
        for layer in self.transformer.encoder.layers:
            x = layer(x)
        logits = self.transformer.output_layer(self.transformer.encoder.final_layernorm(x))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, input_ids, **kw):
        return {"input_ids": input_ids}


class PanguEmbeddedConfig(LlamaConfig):
    model_type = "PanguEmbedded"

    def __post_init__(self, **kw):
        self.attention_bias = self.bias = kw.pop("bias", True)
        super().__post_init__(**kw)


class PanguEmbeddedForCausalLM(LlamaForCausalLM):
    config_class = PanguEmbeddedConfig


for config, model in [(ChatGLMConfig, ChatGLMModel), (PanguEmbeddedConfig, PanguEmbeddedForCausalLM)]:
    AutoConfig.register(config.model_type, config)
    AutoModelForCausalLM.register(config, model)


def as_published(config):
    """config.json of a PanGu base as the published ones are: without Llama's names for its switch"""
    own = config.get("model_type") == "PanguEmbedded"
    return {key: value for key, value in config.items() if not (own and key in ("attention_bias", "mlp_bias"))}
