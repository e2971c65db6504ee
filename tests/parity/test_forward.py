"""The forward pass against Hugging Face in float32 with the same (dequantized) weights.

Log-probabilities of every token at several steps, greedy continuations, directories made by mlx-lm itself, both
spellings of rotary settings and the scaled kinds.
"""
import json
import pathlib
import shutil

import numpy as np
import pytest
import torch
import transformers
from conftest import make_tiny
from safetensors.torch import load_file
from tokenizers import Tokenizer

torch.set_num_threads(1)

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village by the sea,",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees because",
    "1, 2, 3, 5, 8, 13,",
]
RECIPES = ["float", "q4-hi", "qx63-hi", "q3"]
# Relative RMS of the logits. Exact has activations of 16 bits: each linear layer adds about 2e-5 of its input.
LOGIT_TOLERANCE = {"reference": 1e-4, "exact": 1e-3}
TIE = 5e-3              # two best logits this close may change places


@pytest.fixture(scope="module", params=["smollm2", "qwen3", "qwen2", "llama"])
def source(request, smollm2, tmp_path_factory):
    if request.param == "smollm2":
        return smollm2
    return make_tiny(request.param, tmp_path_factory.mktemp("forward") / request.param, smollm2)


def dequantized(directory, shapes):
    """All tensors as float32: scale * code + bias, with scales and biases cast to float32 first."""
    tensors = {}
    for shard in sorted(directory.glob("model*.safetensors")):
        tensors.update(load_file(shard))
    out = {}
    for name, value in tensors.items():
        module = name.removesuffix(".weight")
        if name.endswith((".scales", ".biases")):
            continue
        if f"{module}.scales" not in tensors or module == name:
            out[name] = value.float()
            continue
        scales, biases = tensors[f"{module}.scales"].float(), tensors[f"{module}.biases"].float()
        # The codes of a row are one bit stream, lowest bit first.
        stream = np.unpackbits(value.numpy().view(np.uint8), axis=1, bitorder="little")
        bits = stream.shape[1] // shapes[name][1]
        group = shapes[name][1] // scales.shape[1]
        codes = stream.reshape(value.shape[0], -1, bits) @ (1 << np.arange(bits))
        codes = torch.from_numpy(codes.astype(np.float32)).reshape(value.shape[0], -1, group)
        out[name] = (codes * scales[..., None] + biases[..., None]).flatten(1)
    return out


def hugging_face(config_from, weights_from):
    config = transformers.AutoConfig.from_pretrained(config_from)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32,
                                                          attn_implementation="eager")
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    missing, unexpected = model.load_state_dict(dequantized(weights_from, shapes), strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    assert not missing or config.tie_word_embeddings
    return model.eval()


@pytest.fixture(scope="module", params=RECIPES)
def variant(request, qx, source, tmp_path_factory):
    """(directory to run, Hugging Face model with the same weights)."""
    if request.param == "float":
        return source, hugging_face(source, source)
    target = tmp_path_factory.mktemp("variants") / request.param
    qx("convert", "-m", source, "-o", target, "--recipe", request.param, "--quiet")
    return target, hugging_face(source, target)


def encode(directory, text):
    return Tokenizer.from_file(str(directory / "tokenizer.json")).encode(text).ids


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()


def generate(qx, directory, prompt, tokens, *args):
    return qx.json("generate", "-m", directory, "-p", "-", "--ignore-chat-template", "--max-tokens", tokens, *args,
                   stdin=prompt)


def check_logits(qx, directory, model, prompt, steps=4, precision="reference"):
    """All log-probabilities of the first steps; the error is relative to the spread of the logits."""
    vocab = model.config.vocab_size
    answer = generate(qx, directory, prompt, steps, "--logprobs", vocab, "--precision", precision)
    assert answer["precision"] == precision
    ids = encode(directory, prompt)
    assert answer["prompt_tokens"] == len(ids)
    assert answer["tokens"], "the first token ended the text: choose another prompt"
    expected = logits_of(model, ids + answer["tokens"])[len(ids) - 1:]
    for step, logits in zip(answer["logprobs"], expected):
        assert len(step["top"]) == vocab
        got = np.empty(vocab)
        got[[t for t, _ in step["top"]]] = [p for _, p in step["top"]]
        want = logits - logits.max()
        want = want - np.log(np.exp(want).sum())
        error = np.sqrt(np.mean((got - want) ** 2)) / logits.std()
        assert error < LOGIT_TOLERANCE[precision]
    return answer


@pytest.mark.parametrize("precision", ["reference", "exact"])
def test_logits(qx, variant, precision):
    directory, model = variant
    for prompt in PROMPTS[:2]:
        check_logits(qx, directory, model, prompt, precision=precision)


def test_greedy_continuations(qx, variant):
    """Every token that qx chose is Hugging Face's best one after the same tokens, or ties with it. Up to the
    first tie that is the same as equal continuations; after it, it is a stricter check than stopping there."""
    directory, model = variant
    stops = set(np.atleast_1d(json.loads((directory / "config.json").read_text())["eos_token_id"]).tolist())
    for prompt in PROMPTS:
        answer = generate(qx, directory, prompt, 60)
        ids = encode(directory, prompt)
        tokens = answer["tokens"]
        assert len(tokens) == 60 or answer["finish_reason"] == "stop"
        logits = logits_of(model, ids + tokens)[len(ids) - 1:]
        for position, token in enumerate(tokens):
            gap = logits[position].max() - logits[position][token]
            assert gap < TIE, (prompt, position, token)
        if answer["finish_reason"] == "stop":
            best = int(logits[len(tokens)].argmax())
            assert best in stops or logits[len(tokens)][best] - logits[len(tokens)][list(stops)].max() < TIE


def test_directories_of_mlx_lm(qx, source, tmp_path):
    """mlx-lm's own conversion loads and gives what ours gives, to the last digit."""
    import mlx_lm

    mlx_lm.convert(str(source), mlx_path=str(tmp_path / "theirs"), quantize=True, q_bits=4, q_group_size=32)
    qx("convert", "-m", source, "-o", tmp_path / "ours", "--recipe", "q4-hi", "--rounding", "cpu", "--quiet")
    answers = [generate(qx, tmp_path / d, PROMPTS[0], 20, "--logprobs", 5) for d in ("theirs", "ours")]
    assert answers[0]["tokens"] == answers[1]["tokens"]
    assert answers[0]["logprobs"] == answers[1]["logprobs"]


ROPE = {
    "newer default": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    "newer linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    "newer llama3": {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 256}},
    "classic default": {"rope_theta": 500000.0, "rope_scaling": None},
    "classic linear": {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
    "classic llama3": {"rope_theta": 500000.0, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256}},
}


@pytest.fixture(scope="module")
def tiny_llama(smollm2, tmp_path_factory):
    return make_tiny("llama", tmp_path_factory.mktemp("rope") / "llama", smollm2)


@pytest.mark.parametrize("name", ROPE)
def test_rotary_settings(qx, tiny_llama, tmp_path, name):
    directory = pathlib.Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    config = json.loads((directory / "config.json").read_text())
    for key in ("rope_parameters", "rope_theta", "rope_scaling"):
        config.pop(key, None)
    config.update(ROPE[name])
    (directory / "config.json").write_text(json.dumps(config))
    # Long enough that the scaled wavelengths have turned.
    prompt = " ".join(PROMPTS * 8)
    scaled = check_logits(qx, directory, hugging_face(directory, directory), prompt, steps=2)
    plain = generate(qx, tiny_llama, prompt, 2, "--logprobs", 1)
    assert scaled["logprobs"][0]["logprob"] != plain["logprobs"][0]["logprob"], "the setting changed nothing"


def test_long_prompt_and_context(qx, smollm2):
    """2,000 tokens of prompt agree with Hugging Face; a prompt beyond the context is refused with both numbers."""
    ids = encode(smollm2, " ".join(f"Line {i}: {PROMPTS[i % 5]}" for i in range(200)))
    assert len(ids) > 2000
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    prompt = tokenizer.decode(ids[:2000], skip_special_tokens=False)
    check_logits(qx, smollm2, hugging_face(smollm2, smollm2), prompt, steps=2)
    done = qx("generate", "-m", smollm2, "-p", "-", "--ctx", "100", "--ignore-chat-template", stdin=prompt,
              check=False)
    assert done.returncode == 1
    assert "2000 tokens" in done.stderr and "100" in done.stderr
