"""Prompt caches: mlx-lm reads the files that qx cache-prompt writes, and goes on from them.

The keys and values in them are held to those that mlx-lm itself computes for the same tokens, and a greedy text that
mlx-lm writes behind the file to the one that qx writes.
"""
import json

import numpy as np
import pytest
from conftest import make_tiny
from tokenizers import Tokenizer

mx = pytest.importorskip("mlx.core")
mlx_lm = pytest.importorskip("mlx_lm")

TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 4
STEPS = 12


@pytest.fixture(scope="module", params=["qwen3", "smollm2"])
def source(request, qx, smollm2, tmp_path_factory):
    """In float32, so that both programs compute alike."""
    target = tmp_path_factory.mktemp("prompt_cache") / request.param
    if request.param == "smollm2":
        qx("convert", "-m", smollm2, "-o", target, "--recipe", "f32")
        return target
    return make_tiny("qwen3", target, smollm2, dtype="float32")


def cached_tokens(path):
    _, metadata = mx.load(str(path), return_metadata=True)
    segments = json.loads(metadata["0.qx"])["segments"]
    assert len(segments) == 1
    return segments[0]["tokens"]


def as_arrays(state, bits):
    keys, values = state[0], state[1]
    if bits == 8:
        keys, values = (mx.dequantize(codes, scales.astype(mx.float32), biases.astype(mx.float32), group_size=64,
                                      bits=bits) for codes, scales, biases in (keys, values))
    return np.array(keys.astype(mx.float32)), np.array(values.astype(mx.float32))


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_mlx_lm_goes_on_from_the_file(qx, source, bits, tmp_path):
    file = tmp_path / "cache.safetensors"
    options = ["--ignore-chat-template", "--precision", "reference", "--kv-bits", bits]
    qx("cache-prompt", "-m", source, "-p", TEXT, "-o", file, *options)
    tokens = cached_tokens(file)
    model, _ = mlx_lm.load(str(source))
    cache, metadata = mlx_lm.models.cache.load_prompt_cache(str(file), return_metadata=True)
    assert metadata["model"] == str(source) and json.loads(metadata["tokenizer_config"]) == {}
    assert {type(c).__name__ for c in cache} == {"KVCache" if bits > 8 else "QuantizedKVCache"}
    assert len(cache) == len(model.layers) and {c.offset for c in cache} == {len(tokens)}

    own = mlx_lm.models.cache.make_prompt_cache(model)
    model(mx.array(tokens)[None], cache=own)
    # In the first layer nothing but the rounding of elements differs: half a step, 1/510 of the range of a group that
    # is at most twice its largest element. Later layers have seen rounded keys and values.
    step, later = {32: (0, 1e-3), 16: (2**-11, 5e-3), 8: (1 / 255, 5e-2)}[bits]
    for layer, (ours, theirs) in enumerate(zip(cache, own)):
        for got, array in zip(as_arrays(ours.state, bits), theirs.state[:2]):
            want = np.array(array[..., : len(tokens), :].astype(mx.float32))
            assert got.shape == want.shape
            if layer == 0:
                largest = np.abs(want).max(axis=-1, keepdims=True)
                assert (np.abs(got - want) <= (1.02 * step + 1e-4) * largest).all()
            assert np.abs(got - want).mean() <= later * np.abs(want).mean(), layer

    more = " After that"
    ours = qx.json("generate", "-m", source, "-p", more, "--prompt-cache-file", file, "--max-tokens", STEPS,
                   "--precision", "reference", "--kv-bits", bits)
    assert ours["reused_tokens"] == len(tokens)
    ids = Tokenizer.from_file(str(source / "tokenizer.json")).encode(more, add_special_tokens=False).ids
    assert ours["prompt_tokens"] == len(tokens) + len(ids)
    # What qx chose is mlx-lm's best, or all but tied with it. Codes of the new tokens are mlx's own there, with its
    # rule for scales: with 8 bits only the first step is comparable.
    steps, tie = {32: (STEPS, 5e-3), 16: (STEPS, 2e-2), 8: (1, 5e-2)}[bits]
    logits = model(mx.array(ids)[None], cache=cache)[0, -1]
    for at, token in enumerate(ours["tokens"][:steps]):
        row = np.array(logits.astype(mx.float32))
        assert row.max() - row[token] <= tie * row.std(), (at, token, int(row.argmax()))
        logits = model(mx.array([token])[None], cache=cache)[0, -1]


def test_heads_that_are_rotated_are_not_taken_for_mlx_lms(qx, source, tmp_path):
    file = tmp_path / "cache.safetensors"
    qx("cache-prompt", "-m", source, "-p", TEXT, "-o", file, "--kv-bits", 4)
    with pytest.raises(KeyError, match="QxRotatedKVCache"):
        mlx_lm.models.cache.load_prompt_cache(str(file))


def test_a_file_of_mlx_lm_is_refused(qx, source, tmp_path):
    model, _ = mlx_lm.load(str(source))
    cache = mlx_lm.models.cache.make_prompt_cache(model)
    model(mx.array([1, 2, 3])[None], cache=cache)
    file = tmp_path / "theirs.safetensors"
    mlx_lm.models.cache.save_prompt_cache(str(file), cache, {"model": str(source)})
    done = qx("generate", "-m", source, "-p", "x", "--prompt-cache-file", file, check=False)
    assert done.returncode == 1 and "no prompt cache of qx" in done.stderr
