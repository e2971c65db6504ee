#!/usr/bin/env python3
"""Writes a Hugging Face directory of Qwen3's 0.6B shape with random Gaussian weights in bfloat16 (1.19 GB) and a tokenizer of a
few words: something to convert that needs no network and has a real model's shapes. Needs numpy and tokenizers.

usage: random_model.py DIR [--layers 28]

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import pathlib

import numpy as np

SHAPE = dict(hidden_size=1024, intermediate_size=3072, num_attention_heads=16, num_key_value_heads=8, head_dim=128, vocab_size=151936)


def bf16(values):
    """Rounded to nearest even; none is NaN."""
    bits = values.view(np.uint32)
    return ((bits + ((bits >> 16 & 1) + 0x7FFF)) >> 16).astype(np.uint16)


def tensors(layers):
    h, ffn, d = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["head_dim"]
    q, kv = SHAPE["num_attention_heads"] * d, SHAPE["num_key_value_heads"] * d
    yield "model.embed_tokens.weight", (SHAPE["vocab_size"], h)
    for layer in range(layers):
        p = f"model.layers.{layer}."
        for name, shape in {
            "input_layernorm": (h,), "mlp.down_proj": (h, ffn), "mlp.gate_proj": (ffn, h), "mlp.up_proj": (ffn, h),
            "post_attention_layernorm": (h,), "self_attn.k_norm": (d,), "self_attn.k_proj": (kv, h),
            "self_attn.o_proj": (h, q), "self_attn.q_norm": (d,), "self_attn.q_proj": (q, h), "self_attn.v_proj": (kv, h),
        }.items():
            yield f"{p}{name}.weight", shape
    yield "model.norm.weight", (h,)


def write_weights(path, layers):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors(layers):
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.Generator(np.random.SFC64(1))
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, shape in tensors(layers):
            left = int(np.prod(shape))
            while left:
                n = min(left, 1 << 22)
                out.write(bf16(random.standard_normal(n, dtype=np.float32) * np.float32(0.02)).tobytes())
                left -= n


def write_tokenizer(folder):
    import tokenizers

    words = {"<s>": 0, "</s>": 1, **{chr(97 + i): 2 + i for i in range(26)}}
    model = tokenizers.models.BPE(words, [], unk_token="<s>")
    tokenizers.Tokenizer(model).save(str(folder / "tokenizer.json"))
    config = dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_model(folder, layers=28):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    config = dict(
        architectures=["Qwen3ForCausalLM"], model_type="qwen3", num_hidden_layers=layers, max_position_embeddings=40960,
        rms_norm_eps=1e-6, rope_theta=1000000, tie_word_embeddings=True, torch_dtype="bfloat16", bos_token_id=0, eos_token_id=1, **SHAPE,
    )
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    write_tokenizer(folder)
    write_weights(folder / "model.safetensors", layers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--layers", type=int, default=28)
    args = parser.parse_args()
    write_model(args.directory, args.layers)
