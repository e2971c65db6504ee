"""Fixtures of the tests of the Python package, which is imported as it is installed.

Environment: QX_BIN (the program, for the tests that compare with its verbs; default build/qx), QX_SMOLLM2 (a GGUF file of
SmolLM2; default the one in ~/.cache/qx/smollm2). What is missing is skipped.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/browser"))
import make_model  # noqa: E402  (the tiny random model of the browser tests)

import qx  # noqa: E402


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The directory of a tiny random llama in float32, with a byte-level tokenizer and a chat template."""
    folder = tmp_path_factory.mktemp("models") / "base"
    make_model.write_model(folder, seed=1)
    return folder


@pytest.fixture(scope="session")
def loaded(tiny):
    return qx.load(tiny, threads=2)


@pytest.fixture(scope="session")
def program():
    """Runs a verb of the program with --json."""
    path = os.environ.get("QX_BIN", str(ROOT / "build/qx"))
    if not os.access(path, os.X_OK):
        pytest.skip(f"the program is not built: {path}")

    def run(*arguments):
        done = subprocess.run([path, *map(str, arguments), "--json"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory):
    """SmolLM2 as a bf16 directory, made by qx.convert from the GGUF file."""
    default = sorted(pathlib.Path.home().glob(".cache/qx/smollm2/*.gguf"))
    gguf = os.environ.get("QX_SMOLLM2") or (default and default[0])
    if not gguf:
        pytest.skip("SmolLM2's GGUF file is not there (tools/fetch_smollm2.sh)")
    folder = tmp_path_factory.mktemp("smollm2") / "bf16"
    qx.convert(gguf, folder, "bf16")
    return folder
