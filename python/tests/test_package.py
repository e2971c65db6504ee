"""What the wheel holds, the docs' examples, and the types."""

import importlib.metadata
import inspect
import os
import pathlib
import re
import subprocess
import sys
import warnings

import pytest

import qx

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_version_and_files():
    folder = pathlib.Path(qx.__file__).parent
    assert re.fullmatch(r"\d+\.\d+\.\d+", qx.__version__)
    assert (folder / "py.typed").exists() and (folder / "_qx.pyi").stat().st_size > 1000
    try:
        assert importlib.metadata.version("qx") == qx.__version__
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("qx is not installed, it is imported from a build folder")


def test_everything_public_is_documented():
    for name in qx.__all__:
        thing = getattr(qx, name)
        if inspect.isclass(thing) or callable(thing):
            assert inspect.getdoc(thing), name
            if inspect.isclass(thing) and thing.__module__ == "qx._qx":
                for attribute, value in vars(thing).items():
                    if callable(value) and not attribute.startswith("_") and attribute != "score_pairs":
                        assert inspect.getdoc(value), f"{name}.{attribute}"


def test_kernels(loaded):
    model, _ = loaded
    used = qx.kernels()
    assert used in qx.available_kernels()
    logits = model.logits([1, 2, 3])
    try:
        for name in qx.available_kernels():
            qx.select_kernels(name)
            assert qx.kernels() == name and (model.logits([1, 2, 3]) == logits).all()
    finally:
        qx.select_kernels(used)
    with pytest.raises(ValueError, match="other"):
        qx.select_kernels("other")


def test_loading_refuses(tiny, tmp_path):
    with pytest.raises(qx.Error, match="no such directory"):
        qx.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="precision"):
        qx.load(tiny, precision="other")
    with pytest.raises(ValueError, match="kv_bits"):
        qx.load(tiny, kv_bits=5)
    with pytest.raises(ValueError, match="threads"):
        qx.load(tiny, threads=-1)
    assert issubclass(qx.Error, RuntimeError)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(qx.Error, match="config.json"):
        qx.load(tmp_path)


def test_memory_is_checked(tiny, monkeypatch):
    monkeypatch.setenv("QX_MEMORY_LIMIT", "1MB")
    with pytest.raises(qx.Error, match="allow_swap"):
        qx.load(tiny)
    with pytest.warns(RuntimeWarning):
        qx.load(tiny, allow_swap=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            qx.load(tiny, allow_swap=True)


def examples():
    """The blocks of docs/python.md, one after the other: (line, code)."""
    text = (ROOT / "docs/python.md").read_text()
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text[: match.start()].count("\n") + 2, match.group(1)


def test_the_docs_examples_run(tiny, tmp_path, monkeypatch, capsys):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/base").symlink_to(tiny)
    monkeypatch.chdir(tmp_path)
    scope, ran = {"__name__": "docs"}, 0
    for line, code in examples():
        if "lm_eval" in code:  # tests/parity/test_python.py runs it, where lm-eval is
            continue
        ran += 1
        exec(compile("\n" * (line - 1) + code, "docs/python.md", "exec"), scope)
    assert ran >= 8
    out = capsys.readouterr().out
    for expected in re.findall(r"^# prints: (.*)$", (ROOT / "docs/python.md").read_text(), re.MULTILINE):
        assert re.search(expected, out), expected


def test_types(tmp_path):
    """mypy takes the package, and a script that uses it; it finds a wrong use."""
    pytest.importorskip("mypy")

    folder = pathlib.Path(qx.__file__).parents[1]
    installed = folder.name == "site-packages"  # there mypy finds it, and names no errors within it

    def check(*arguments):
        environment = {**os.environ, "MYPYPATH": "" if installed else str(folder)}
        command = [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", str(tmp_path / "cache"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.stderr == ""
        return done.stdout

    if not installed:
        names = ("generation", "models", "progress", "sample_utils", "scoring", "tokenizer", "verbs", "_qx")
        assert check("--strict", *(f"-mqx.{name}" for name in names), "-mqx") == ""
    good = 'import qx\nm, t = qx.load("d")\ns: str = qx.generate(m, t, "x")\nn: float = float(m.logits([1])[0, 0])\n'
    (tmp_path / "good.py").write_text(good)
    assert check("--strict", "good.py") == ""
    (tmp_path / "bad.py").write_text('import qx\nm, t = qx.load("d", kv_bits="x")\nm.logits("text")\n')
    assert check("--strict", "bad.py").count("error:") == 2
