"""The harness lm-eval itself on qx, through qx.lm_eval's model class: the accuracies and log-likelihoods of `qx eval`, and
lm-eval's own Hugging Face model for rolling log-likelihoods and generated text.
"""
import os
import pathlib
import re
import subprocess
import sys

import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance

from conftest import ROOT
from test_eval import TASKS, hugging_face, lm_eval_samples, read_lines, use_local_data

ITEMS = 20


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """Builds the wheel for this Python, with the libraries of the folder build, and makes it importable."""
    folder = tmp_path_factory.mktemp("python")
    build = ROOT / "build-python"
    options = [f"-Cbuild-dir={build}/cmake-parity"]
    if (ROOT / "build/qx_libraries.cmake").exists():
        options += [f"-Ccmake.define.QX_PREBUILT={ROOT}/build", "-Ccmake.define.QX_MPI=AUTO"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *options, ROOT]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0 and re.search("No matching distribution|connection|resolve", done.stderr):
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr
    sys.path.insert(0, str(folder))
    import qx.lm_eval

    assert pathlib.Path(qx.__file__).is_relative_to(folder)
    return qx


@pytest.fixture(scope="session")
def quantized(qx, smollm2, tmp_path_factory):
    target = tmp_path_factory.mktemp("python-models") / "q4"
    qx("convert", "-m", smollm2, "-o", target, "--recipe", "q4-hi")
    return target


def check(run, results, samples):
    """Every log-likelihood, bit for bit, and every accuracy."""
    outcome = run["models"]["q4"]
    for task in TASKS:
        answers = read_lines(pathlib.Path(outcome["folder"]) / f"answers-{task}.jsonl")
        assert len(answers) == len(samples[task]) == ITEMS
        for answer, sample in zip(answers, samples[task]):
            theirs = [response[0][0] for response in sample["resps"]]
            assert theirs == [choice["ll"] for choice in answer["choices"]], f"{task} {answer['index']}"
        for metric in ("acc,none", "acc_norm,none"):
            if metric in outcome["results"][task]:
                assert results[task][metric] == outcome["results"][task][metric], f"{task} {metric}"


def test_the_harness_gives_what_qx_eval_gives(package, qx, quantized, data_dir, tmp_path, monkeypatch):
    run = qx.json("eval", "-m", f"q4={quantized}", "--tasks", ",".join(TASKS), "--data", data_dir, "-o", tmp_path, "--limit",
                  ITEMS, "--plain")
    use_local_data(monkeypatch, data_dir)
    lm = package.lm_eval.QxLM(str(quantized))
    check(run, *lm_eval_samples(lm, ITEMS))


def test_the_harness_gives_what_qx_eval_gives_in_chat_mode(package, qx, quantized, data_dir, tmp_path, monkeypatch):
    run = qx.json("eval", "-m", f"q4={quantized}", "--tasks", ",".join(TASKS), "--data", data_dir, "-o", tmp_path, "--limit",
                  ITEMS, "--chat", "--convention", "lm-eval")
    use_local_data(monkeypatch, data_dir)
    lm = package.lm_eval.QxLM(str(quantized))
    check(run, *lm_eval_samples(lm, ITEMS, apply_chat_template=True))


def instances(kind, *arguments):
    return [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)]


def test_rolling_log_likelihoods_and_generated_text_are_lm_evals(package, smollm2):
    """Against lm-eval's own model class on transformers, in float32."""
    theirs = hugging_face(smollm2)
    ours = package.lm_eval.QxLM(str(smollm2), precision="reference", max_length=48)
    theirs._max_length = 48  # windows: the longer text takes several
    words = " ".join(f"The number after {i} is {i + 1}." for i in range(30))
    texts = instances("loglikelihood_rolling", (words,), ("A short text.",))
    for a, b in zip(ours.loglikelihood_rolling(texts), theirs.loglikelihood_rolling(texts)):
        assert a == pytest.approx(b, abs=2e-2) and a < -1
    theirs._max_length = None
    ours = package.lm_eval.QxLM(str(smollm2), precision="reference")
    asked = instances(
        "generate_until",
        ("Question: What is 2 + 2?\nAnswer:", {"until": ["\n\n", "Question:"], "max_gen_toks": 24, "do_sample": False}),
        ("The days of the week are Monday, Tuesday,", {"until": ["Friday"], "max_gen_toks": 24}),
    )
    answers = ours.generate_until(asked)
    assert answers == theirs.generate_until(asked)
    assert answers[1].strip().startswith("Wednesday") and "Friday" not in answers[1]


def test_the_command_line_and_the_docs_example(package, quantized, data_dir, tmp_path, monkeypatch):
    """`python -m qx.lm_eval --model qx` reaches the class: refused arguments are its own."""
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(package.__file__).parents[1])}
    command = [sys.executable, "-m", "qx.lm_eval", "--model", "qx", "--model_args", f"pretrained={quantized},nonsense=1",
               "--tasks", "arc_easy", "--limit", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode != 0
    assert "nonsense" in done.stderr and "the model qx does not know" in done.stderr, done.stderr

    use_local_data(monkeypatch, data_dir)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/q4-hi").symlink_to(quantized)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(import lm_eval.*?)^```", (ROOT / "docs/python.md").read_text(), re.M | re.S)
    scope = {}
    exec(example.replace("limit=100", "limit=2"), scope)
    assert scope["results"]["results"]["arc_easy"]["acc,none"] in (0, 0.5, 1)
    assert simple_evaluate is scope["lm_eval"].simple_evaluate
