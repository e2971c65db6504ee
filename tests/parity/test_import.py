"""qx import against the gguf package, transformers, mlx-lm and a byte-pair encoder written here."""
import json
import math
import os
import pathlib

import gguf
import numpy as np
import pytest
import regex
import torch
import transformers
from safetensors import safe_open

torch.set_num_threads(1)

TEXTS = [
    "Hello, world! It's 12345 o'clock; they'll've gone.",
    "  leading and trailing  \n\n\ttabs\r\nand    runs   of spaces   ",
    "def f(x):\n    return x ** 2  # square\n\n\nprint(f(10))",
    "Größe, café, naïve, 漢字かな交じり文, Привет, שלום, مرحبا, हिन्दी, 🎉👩‍👩‍👧",
    "x=1,000,000.50 and 3rd 4th 2024-05-06T07:08:09Z ½ ² Ⅷ",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "DON'T 'S 'll we'RE I'm \u00a0non\u2003breaking\u3000spaces",
    "",
]
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


@pytest.fixture(scope="module")
def reader(smollm2_gguf):
    return gguf.GGUFReader(smollm2_gguf)


@pytest.fixture(scope="module")
def vocabulary(reader):
    def get(key):
        return reader.fields["tokenizer.ggml." + key].contents()
    return {key: get(key) for key in ("tokens", "token_type", "merges")}


def load_tensors(directory):
    tensors = {}
    for path in sorted(directory.glob("model*.safetensors")):
        with safe_open(path, "pt") as f:
            tensors.update({name: f.get_tensor(name) for name in f.keys()})
    return tensors


# --- weights ----------------------------------------------------------------------------------------------------

NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER_NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}


def hf_name(name):
    stem, kind = name.rsplit(".", 1)
    if stem in NAMES:
        return f"{NAMES[stem]}.{kind}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.{kind}"


def interleave(w, heads):
    """What GGUF does to the rows of a llama's q and k."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def undo_interleave(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_every_tensor_is_the_gguf_packages_value_rounded_once(qx, reader, smollm2_gguf, smollm2, tmp_path, dtype):
    directory = smollm2
    if dtype != "bfloat16":
        directory = tmp_path / "out"
        qx("import", smollm2_gguf, "-o", directory, "--dtype", dtype, "--quiet")
    ours = load_tensors(directory)
    assert len(ours) == len(reader.tensors)
    for t in reader.tensors:
        values = gguf.dequantize(t.data, t.tensor_type)
        values = values.reshape([int(d) for d in reversed(t.shape)])
        if t.name.endswith("attn_q.weight"):
            values = undo_interleave(values, 9)
        if t.name.endswith("attn_k.weight"):
            values = undo_interleave(values, 3)
        expected = torch.from_numpy(np.array(values, np.float32)).to(getattr(torch, dtype))
        got = ours[hf_name(t.name)]
        assert got.dtype == expected.dtype and got.shape == expected.shape, t.name
        raw = torch.int32 if dtype == "float32" else torch.int16
        assert torch.equal(got.view(raw), expected.view(raw)), t.name


# --- the whole directory ----------------------------------------------------------------------------------------

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_transformers_loads_it_and_it_answers(smollm2):
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(smollm2, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert model.dtype == torch.bfloat16
    assert model.config.rope_parameters["rope_theta"] == 100000.0
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    ids = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=False)
    # The ids that the model's own tokenizer gives the default system prompt and this question.
    assert ids[:12] == [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308]
    out = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0][len(ids):])


def test_mlx_lm_loads_it_and_it_answers(smollm2):
    mlx_lm = pytest.importorskip("mlx_lm")
    model, tokenizer = mlx_lm.load(str(smollm2))
    assert model.args.rope_theta == 100000.0 and model.args.tie_word_embeddings
    assert tokenizer.eos_token_ids == {2}
    prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True)
    assert "Paris" in mlx_lm.generate(model, tokenizer, prompt=prompt, max_tokens=12)


# --- other architectures, written by the gguf package ---------------------------------------------------------------

def llama3_divisors(config):
    scaling, dim = config.rope_parameters, config.head_dim
    low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
    high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
    out = []
    for freq in 1.0 / scaling["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim):
        wavelength = 2 * math.pi / freq
        if wavelength < high:
            out.append(1.0)
        elif wavelength > low:
            out.append(scaling["factor"])
        else:
            smooth = (scaling["original_max_position_embeddings"] / wavelength - scaling["low_freq_factor"]) / (
                scaling["high_freq_factor"] - scaling["low_freq_factor"])
            out.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(out, np.float32)


def write_gguf(path, model, vocabulary, pre, *, scaling=None, add_bos=None, bos=1, eos=2):
    c = model.config
    w = gguf.GGUFWriter(path, c.model_type)
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    if scaling == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(c.rope_parameters["factor"])
    add_tokenizer(w, vocabulary, pre, add_bos, bos, eos)
    if scaling == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_divisors(c))
    reverse = {v: k for k, v in (NAMES | LAYER_NAMES).items()}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        stem, kind = name.rsplit(".", 1)
        value = value.numpy()
        if stem.startswith("model.layers."):
            layer, part = stem.removeprefix("model.layers.").split(".", 1)
            target = f"blk.{layer}.{reverse[part]}.{kind}"
            if c.model_type == "llama" and part == "self_attn.q_proj":
                value = interleave(value, c.num_attention_heads)
            if c.model_type == "llama" and part == "self_attn.k_proj":
                value = interleave(value, c.num_key_value_heads)
        else:
            target = f"{reverse[stem]}.{kind}"
        w.add_tensor(target, np.ascontiguousarray(value))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def add_tokenizer(w, vocabulary, pre, add_bos, bos, eos):
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(vocabulary["tokens"])
    w.add_token_types(vocabulary["token_type"])
    w.add_token_merges(vocabulary["merges"])
    w.add_bos_token_id(bos)
    w.add_eos_token_id(eos)
    if add_bos is not None:
        w.add_add_bos_token(add_bos)


def tiny_model(kind, rope=None, **more):
    rope = {"rope_type": "default", "rope_theta": 10000.0} | (rope or {})
    common = dict(vocab_size=49152, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, rope_parameters=rope) | more
    config = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config,
              "qwen3": transformers.Qwen3Config}[kind](**common)
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(1.0 if "norm" in name else 0.0, 0.1)
    return model.eval()


LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
CASES = {
    "llama-tied": ("llama", {}, dict(tie_word_embeddings=True), None),
    "llama-biases": ("llama", {}, dict(tie_word_embeddings=False, attention_bias=True, mlp_bias=True), None),
    "llama-linear": ("llama", {"rope_type": "linear", "factor": 4.0}, {}, "linear"),
    "llama-llama3": ("llama", LLAMA3_ROPE, dict(head_dim=64), "llama3"),
    "qwen2-untied": ("qwen2", {"rope_theta": 1000000.0}, dict(tie_word_embeddings=False), None),
    "qwen2-tied": ("qwen2", {}, dict(tie_word_embeddings=True), None),
    "qwen3-untied": ("qwen3", {"rope_theta": 1000000.0}, dict(head_dim=32, tie_word_embeddings=False), None),
}


@pytest.mark.parametrize("case", CASES)
def test_float32_models_come_back_exactly(qx, vocabulary, tmp_path, case):
    kind, rope, more, scaling = CASES[case]
    model = tiny_model(kind, rope, **more)
    write_gguf(tmp_path / "m.gguf", model, vocabulary, "smollm", scaling=scaling)
    qx("import", tmp_path / "m.gguf", "-o", tmp_path / "out", "--dtype", "float32")
    ours = load_tensors(tmp_path / "out")
    state = {n: t for n, t in model.state_dict().items()
             if not (n == "lm_head.weight" and model.config.tie_word_embeddings)}
    assert ours.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(ours[name], value), name
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = torch.arange(3, 400, 7)[None]
    with torch.no_grad():  # the same weights and settings: the same logits, bit for bit
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    mlx_lm = pytest.importorskip("mlx_lm")
    mlx_model, _ = mlx_lm.load(str(tmp_path / "out"))
    assert mlx_model.args.rope_theta == model.config.rope_parameters["rope_theta"]
    assert mlx_model.args.tie_word_embeddings == model.config.tie_word_embeddings
    import mlx.core as mx
    logits = np.array(mlx_model(mx.array(ids.numpy()))[0, -1])
    with torch.no_grad():
        expected = model(ids).logits[0, -1].numpy()
    # Weights are float32, so mlx sums in float32 too: the usual rounding noise only.
    assert np.sqrt(np.mean((logits - expected) ** 2) / np.mean(expected ** 2)) < 1e-3


# --- tokenizer -----------------------------------------------------------------------------------------------------

def byte_alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out, extra = {}, 0
    for b in range(256):
        if b in printable:
            out[b] = chr(b)
        else:
            out[b] = chr(256 + extra)
            extra += 1
    return out


class Reference:
    """Byte-pair encoding straight from a GGUF file's lists, without any tokenizer library."""

    def __init__(self, vocabulary, pattern, digits=False, nfc=False, ignore_merges=False):
        self.ids = {t: i for i, t in enumerate(vocabulary["tokens"])}
        self.ranks = {tuple(m.split(" ")): i for i, m in enumerate(vocabulary["merges"])}
        special = [t for t, k in zip(vocabulary["tokens"], vocabulary["token_type"]) if k in (3, 4)]
        self.special = regex.compile("(" + "|".join(map(regex.escape, sorted(special, key=len, reverse=True))) + ")")
        self.pattern, self.digits, self.nfc = regex.compile(pattern), digits, nfc
        self.ignore_merges, self.alphabet = ignore_merges, byte_alphabet()

    def encode(self, text):
        import unicodedata
        out = []
        for i, part in enumerate(self.special.split(text)):
            if i % 2:
                out.append(self.ids[part])
                continue
            part = unicodedata.normalize("NFC", part) if self.nfc else part
            for piece in regex.split(r"(\p{N})", part) if self.digits else [part]:
                for word in self.pattern.findall(piece):
                    out += self.merge("".join(self.alphabet[b] for b in word.encode()))
        return out

    def merge(self, word):
        if self.ignore_merges and word in self.ids:
            return [self.ids[word]]
        parts = list(word)
        while len(parts) > 1:
            rank, at = min((self.ranks.get(pair, math.inf), i) for i, pair in enumerate(zip(parts, parts[1:])))
            if rank == math.inf:
                break
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        return [self.ids[p] for p in parts if p in self.ids]  # SmolLM2 lacks a few bytes


KINDS = {
    "smollm": dict(pattern=GPT2, digits=True),
    "gpt-2": dict(pattern=GPT2),
    "qwen2": dict(pattern=QWEN2, nfc=True),
    "llama-bpe": dict(pattern=LLAMA3, ignore_merges=True),
}


@pytest.mark.parametrize("pre", KINDS)
def test_token_ids_equal_a_plain_byte_pair_encoder(qx, vocabulary, tmp_path, pre):
    model = tiny_model("llama")
    write_gguf(tmp_path / "m.gguf", model, vocabulary, pre)
    qx("import", tmp_path / "m.gguf", "-o", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    reference = Reference(vocabulary, **KINDS[pre])
    rng = np.random.default_rng(1)
    alphabet = list("abc XYZ  \n\t.,'\"!?0123456789éß漢字😀-_/\\<|>e\u0301")
    texts = TEXTS + ["".join(rng.choice(alphabet, rng.integers(1, 60))) for _ in range(300)]
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids == reference.encode(text), repr(text)
        if pre != "qwen2":  # NFC changes the text
            assert tokenizer.decode(ids) == text
    with_special = tokenizer.encode("hello")
    assert with_special[0] == 1 if pre == "llama-bpe" else with_special == tokenizer.encode(
        "hello", add_special_tokens=False)


def test_a_real_qwen_tokenizer_survives_the_way_through_gguf(qx, tmp_path):
    """Written as llama.cpp's converter does: added tokens by kind, the rest of the embedding as unused tokens."""
    folders = [pathlib.Path(p) for p in os.environ.get("QX_EXTRA_TOKENIZERS", "").split(":") if p]
    folders = [f for f in folders if "qwen" in f.name.lower()]
    if not folders:
        pytest.skip("QX_EXTRA_TOKENIZERS names no Qwen tokenizer")
    source = json.loads((folders[0] / "tokenizer.json").read_text())
    rows = 151936
    tokens, types = [f"[PAD{i}]" for i in range(rows)], [5] * rows
    for token, i in source["model"]["vocab"].items():
        tokens[i], types[i] = token, 1
    for added in source["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], 3 if added["special"] else 4
    merges = [m if isinstance(m, str) else " ".join(m) for m in source["model"]["merges"]]
    vocabulary = {"tokens": tokens, "token_type": types, "merges": merges}
    model = tiny_model("qwen3", vocab_size=rows, head_dim=16, tie_word_embeddings=True)
    write_gguf(tmp_path / "m.gguf", model, vocabulary, "qwen2", add_bos=False,
               bos=tokens.index("<|endoftext|>"), eos=tokens.index("<|im_end|>"))
    qx("import", tmp_path / "m.gguf", "-o", tmp_path / "out")
    ours = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folders[0] / "tokenizer.json"))
    for text in [*TEXTS, "<think>\nhm\n</think>\n\n<tool_call>{}</tool_call>", "[PAD151700] é e\u0301"]:
        ids = theirs.encode(text)
        assert ours.encode(text) == ids, repr(text)
        for skip in (False, True):
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)


def test_add_bos_follows_the_metadata(qx, vocabulary, tmp_path):
    for add, expected in ((True, 1), (False, 28120)):
        write_gguf(tmp_path / "m.gguf", tiny_model("llama"), vocabulary, "smollm", add_bos=add)
        qx("import", tmp_path / "m.gguf", "-o", tmp_path / "out", "--force")
        ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "out").encode("hello")
        assert ids[0] == expected


# --- the command ----------------------------------------------------------------------------------------------------

def test_json_report_and_exit_codes(qx, smollm2_gguf, tmp_path):
    report = qx.json("import", smollm2_gguf, "-o", tmp_path / "out", "--threads", "1")
    assert report["model_type"] == "llama" and report["parameters"] == 134515008
    assert report["tensor_bytes"] == 2 * report["parameters"] and report["dtype"] == "bfloat16"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == report["files"]
    refused = qx("import", smollm2_gguf, "-o", tmp_path / "out", check=False)
    assert refused.returncode == 1 and "exists already" in refused.stderr
    assert qx("import", smollm2_gguf, "-o", tmp_path / "x", "--dtype", "int8", check=False).returncode == 2
    assert qx("import", smollm2_gguf, check=False).returncode == 2
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(smollm2_gguf.read_bytes()[:3_000_000])
    broken = qx("import", cut, "-o", tmp_path / "y", check=False)
    assert broken.returncode == 1 and "qx import: [" in broken.stderr and "is the file whole" in broken.stderr
    assert not (tmp_path / "y").exists() and json.loads((tmp_path / "out/config.json").read_text())
