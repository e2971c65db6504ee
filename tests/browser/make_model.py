"""Writes a tiny random model, so that tests of the page need no other program and no download to talk to a real server."""
import array
import json
import random
import struct

HIDDEN, INTERMEDIATE, LAYERS, HEADS, HEAD_DIM, CONTEXT = 64, 128, 2, 4, 16, 512
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 256 + len(SPECIALS)
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def byte_characters():
    """A printable character for each byte, as GPT-2's byte-level BPE names them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b if b in printable else next(others)) for b in range(256)]


def tokenizer():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, text in enumerate(SPECIALS)]
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
             "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
             "vocab": {c: i for i, c in enumerate(byte_characters())}, "merges": []}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model}


def shapes():
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        for part in ("q", "k", "v"):
            yield f"{name}.self_attn.{part}_proj.weight", (HEADS * HEAD_DIM, HIDDEN)
        yield f"{name}.self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD_DIM)
        yield f"{name}.mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)
        yield f"{name}.mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)
        yield f"{name}.mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)
        yield f"{name}.input_layernorm.weight", (HIDDEN,)
        yield f"{name}.post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)


def write_model(folder, seed=1, noise=0.0):
    """noise: how far the weights are from those of the same seed without it, as a quantization's would be."""
    folder.mkdir(parents=True)
    draw, disturb = random.Random(seed), random.Random(seed + 1)
    header, data = {}, b""
    for name, shape in shapes():
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        if len(shape) == 1:
            values = [1.0] * size
        else:
            # The embedding is the head too: larger, so that tokens differ in probability.
            scale = 0.6 if "embed" in name else shape[1] ** -0.5
            values = [scale * (draw.gauss(0, 1) + noise * disturb.gauss(0, 1)) for _ in range(size)]
        raw = array.array("f", values).tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
              "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
              "num_key_value_heads": HEADS, "head_dim": HEAD_DIM, "vocab_size": VOCABULARY,
              "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": True, "bos_token_id": 256, "eos_token_id": 258, "torch_dtype": "float32"}
    for name, value in (("config.json", config), ("tokenizer.json", tokenizer()),
                        ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast",
                                                   "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"})):
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
