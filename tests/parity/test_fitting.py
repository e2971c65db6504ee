"""Directories with fitted codes in stock mlx-lm: they load without a word, hold what qx inspect says, and give
qx's logits.

SPDX-License-Identifier: Apache-2.0
"""
import json

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")
mlx_lm = pytest.importorskip("mlx_lm")
utils = pytest.importorskip("mlx.utils")
mx.set_default_device(mx.cpu)

PROMPT = "The history of the steam engine begins in the"
# Both compute in float32, in another order of sums: relative to the spread of the logits.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Some English with long words and short ones; what it says is of no matter."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(f"The {w} of {i} engines, written in {1700 + i} by a clerk of the {w} office."
                             for i in range(120) for w in ("history", "price", "weight")))
    return path


def assert_mlx_lm_agrees(qx, made):
    """It loads in stock mlx-lm, holds what qx inspect says, and gives qx's log-probabilities."""
    model, _ = mlx_lm.load(str(made))
    # What qx inspect says of every matrix is what mlx-lm made of it.
    modules = dict(model.named_modules())
    rows = {row["name"]: row for row in qx.json("inspect", made)["tensors"]}
    seen = 0
    for name, row in rows.items():
        module = modules.get(name.removesuffix(".weight"))
        if row["group_size"] is None:
            assert not hasattr(module, "scales"), name
            continue
        assert (module.bits, module.group_size) == (row["bits"], row["group_size"]), name
        seen += 1
    assert seen > 20

    model.update(utils.tree_map(lambda x: x.astype(mx.float32) if x.dtype == mx.bfloat16 else x, model.parameters()))
    vocab = json.loads((made / "config.json").read_text())["vocab_size"]
    answer = qx.json("generate", "-m", made, "-p", PROMPT, "--ignore-chat-template", "--max-tokens", 4, "--temp", 0,
                     "--logprobs", vocab, "--precision", "reference")
    from tokenizers import Tokenizer
    ids = Tokenizer.from_file(str(made / "tokenizer.json")).encode(PROMPT).ids
    logits = np.array(model(mx.array([ids + answer["tokens"]]))[0].astype(mx.float32), dtype=np.float64)[len(ids) - 1:]
    for step, theirs in zip(answer["logprobs"], logits):
        got = np.empty(vocab)
        got[[t for t, _ in step["top"]]] = [p for _, p in step["top"]]
        want = theirs - theirs.max()
        want = want - np.log(np.exp(want).sum())
        assert np.sqrt(np.mean((got - want) ** 2)) / theirs.std() < TOLERANCE


@pytest.mark.parametrize("fit,recipe", [("mse", "q3-hi"), ("gptq", "q4-hi"), ("gptq", "qx63-hi"), ("gptq", "q3"),
                                        ("distill", "q4-hi")])
def test_stock_mlx_lm_reads_fitted_codes(qx, tiny, text, tmp_path, fit, recipe):
    _, source = tiny
    qx("calibrate", "-m", source, "--text", text, "-o", tmp_path / "cal", "--windows", 4, "--ctx", 128, "--quiet")
    made = tmp_path / "made"
    qx("convert", "-m", source, "-o", made, "--recipe", recipe, "--fit", fit, "--calibration", tmp_path / "cal",
       *(("--steps", 6) if fit == "distill" else ()), "--quiet")
    if fit != "distill":  # which is trained from its codes, not derived again
        assert qx.json("verify", made, "--source", source, "--calibration", tmp_path / "cal")["exact"]
    assert_mlx_lm_agrees(qx, made)


def test_stock_mlx_lm_reads_a_searched_plan(qx, tiny, text, tmp_path):
    """Many widths and groups in one model, as a search picks them, with the constraints that mix them most."""
    _, source = tiny
    cal = ("--calibration", tmp_path / "cal")
    qx("calibrate", "-m", source, "--text", text, "-o", tmp_path / "cal", "--windows", 4, "--ctx", 64, "--quiet")
    found = qx.json("search", "-m", source, *cal, "--budget", "4.2bpw", "--keep", "*layers.1.*=2/64", "--keep",
                    "*layers.2.self_attn*=5/32", "--keep", "*layers.3.mlp*=8/128", "-o", tmp_path / "best.json", "--quiet")
    made = tmp_path / "made"
    qx("convert", "-m", source, "-o", made, "--recipe", tmp_path / "best.json", "--fit", "gptq", *cal, "--quiet")
    plan = qx.json("plan", "-m", source, "--recipe", tmp_path / "best.json")
    assert plan["tensor_bytes"] == found["chosen"]["bytes"]
    forms = {(row["bits"], row["group_size"]) for row in qx.json("inspect", made)["tensors"] if row["group_size"]}
    assert {(2, 64), (5, 32), (8, 128)} < forms
    assert_mlx_lm_agrees(qx, made)
