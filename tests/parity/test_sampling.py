"""Sampling: qx against mlx-lm's make_logits_processors and make_sampler.

The log-probabilities that a sampler gets, and what its filters leave before the draw, are compared for random logits,
histories and settings, through qx_filter_logits (a test tool that the build makes beside the unit tests; QX_FILTER_TOOL
names it). Draws themselves use other random numbers; their distribution is tested in src/generate/sampler_test.cpp. Then
whole texts with penalties: greedy ones of a model must be the same, and so must a text that XTC decides.
"""
import json
import os
import pathlib
import random
import subprocess

import numpy as np
import pytest
from conftest import make_tiny

mx = pytest.importorskip("mlx.core")
sample_utils = pytest.importorskip("mlx_lm.sample_utils")

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = os.environ.get("QX_FILTER_TOOL", str(ROOT / "build/bin/qx_filter_logits"))
PROCESSORS = ("repetition_penalty", "presence_penalty", "frequency_penalty", "repetition_context_size",
              "presence_context_size", "frequency_context_size")


def reference(case, monkeypatch):
    """(logprobs, filtered) of mlx-lm: its order of processors, and what its sampler draws from."""
    options = dict(case["options"])
    bias = {i: b for i, b in options.pop("logit_bias", [])}
    processors = sample_utils.make_logits_processors(
        logit_bias=bias, **{k: options.pop(k) for k in PROCESSORS if k in options})
    logits = mx.array([case["logits"]], dtype=mx.float32)
    for processor in processors:
        logits = processor(mx.array(case["history"], dtype=mx.int32), logits)
    logprobs = logits - mx.logsumexp(logits, keepdims=True)
    drawn = []
    monkeypatch.setattr(sample_utils, "categorical_sampling", lambda x, temp: drawn.append(x) or x)
    sample_utils.make_sampler(temp=1.0, **options)(logprobs)
    return np.array(logprobs)[0], np.array(drawn[0])[0]


def filtered_by_qx(cases):
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([TOOL], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases), done.stderr

    def values(x):
        return np.array([-np.inf if v is None else v for v in x], dtype=np.float32)

    return [(values(a["logprobs"]), values(a["filtered"])) for a in answers]


def random_case(rng):
    vocab = rng.choice([5, 40, 700])
    logits = [rng.gauss(0, 3) for _ in range(vocab)]
    options = {}

    def maybe(name, draw):
        if rng.random() < 0.4:
            options[name] = draw()

    maybe("top_p", lambda: rng.uniform(0.05, 0.99))
    maybe("min_p", lambda: rng.choice([1.0, rng.uniform(0.001, 0.5)]))
    maybe("top_k", lambda: rng.randrange(1, vocab))
    if rng.random() < 0.4:
        options["xtc_probability"] = 1.0  # a smaller one would draw
        options["xtc_threshold"] = rng.choice([0.1, rng.uniform(0, 0.5)])
        options["xtc_special_tokens"] = rng.sample(range(vocab), rng.randrange(4))
    maybe("logit_bias", lambda: [[i, rng.uniform(-5, 5)] for i in rng.sample(range(vocab), rng.randrange(1, 5))])
    maybe("repetition_penalty", lambda: rng.choice([1.0, rng.uniform(0.5, 2)]))
    maybe("presence_penalty", lambda: rng.uniform(-2, 2))
    maybe("frequency_penalty", lambda: rng.uniform(-2, 2))
    for name in PROCESSORS[3:]:
        maybe(name, lambda: rng.choice([0, 1, 3, 50]))
    return {"logits": logits, "history": [rng.randrange(vocab) for _ in range(rng.choice([0, 1, 7, 60]))],
            "options": options}


def test_processors_and_filters(monkeypatch):
    mx.disable_compile()  # which would compile every setting anew
    rng = random.Random(11)
    cases = [random_case(rng) for _ in range(600)]
    dropped = 0
    for case, (logprobs, filtered) in zip(cases, filtered_by_qx(cases)):
        theirs, theirs_filtered = reference(case, monkeypatch)
        np.testing.assert_allclose(logprobs, theirs, rtol=0, atol=2e-5, err_msg=str(case["options"]))
        kept, theirs_kept = np.isfinite(filtered), np.isfinite(theirs_filtered)
        assert (kept == theirs_kept).all(), (case, np.flatnonzero(kept != theirs_kept))
        np.testing.assert_allclose(filtered[kept], theirs_filtered[kept], rtol=0, atol=2e-5)
        dropped += int((~kept).sum())
    assert dropped > 5000


def mlx_text(directory, prompt, count, sampler, processors):
    import mlx_lm
    from mlx_lm.generate import generate_step

    model, tokenizer = mlx_lm.load(str(directory))
    # In float32, so that bfloat16 ties do not decide.
    model.set_dtype(mx.float32)
    ids = tokenizer.encode(prompt)
    steps = generate_step(mx.array(ids), model, max_tokens=count, sampler=sampler, logits_processors=processors)
    out, gaps = [], []
    for token, logprobs in steps:
        best = np.sort(np.array(logprobs))[-2:]
        out.append(int(token))
        gaps.append(float(best[1] - best[0]))
    return out, gaps


@pytest.mark.parametrize("flags,settings", [
    (["--repetition-penalty", 1.3], {"repetition_penalty": 1.3}),
    (["--repetition-penalty", 0.2, "--repetition-context-size", 5],
     {"repetition_penalty": 0.2, "repetition_context_size": 5}),
    (["--presence-penalty", 1.5, "--frequency-penalty", 0.7], {"presence_penalty": 1.5, "frequency_penalty": 0.7}),
    (["--logit-bias", "40=-3", "--logit-bias", "28=4.5"], {"logit_bias": {40: -3.0, 28: 4.5}}),
])
def test_greedy_texts(qx, smollm2, tmp_path, flags, settings):
    model = make_tiny("llama", tmp_path / "tiny", smollm2, dtype="float32")
    prompt = "One two three two one"
    ours = qx.json("generate", "-m", model, "-p", prompt, "--ignore-chat-template", "--max-tokens", 40, "--precision",
                   "reference", "--extra-eos-token", 0, *flags)["tokens"]
    theirs, gaps = mlx_text(model, prompt, 40, None, sample_utils.make_logits_processors(**settings))
    stop = next((i for i, t in enumerate(theirs) if t in (0, 2)), len(theirs))
    theirs = theirs[:stop]
    assert len(theirs) >= 5
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)
    assert same is None and len(ours) == len(theirs) or gaps[same] < 1e-3, (same, ours, theirs)
    free = qx.json("generate", "-m", model, "-p", prompt, "--ignore-chat-template", "--max-tokens", 40, "--precision",
                   "reference", "--extra-eos-token", 0)["tokens"]
    assert ours != free  # the setting did something
