"""qx convert against mlx-lm: the same bytes for every tensor, configs of equal effect, directories that both
programs read; and conversions that are killed, resumed and dry-run.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from conftest import make_tiny

mx = pytest.importorskip("mlx.core")
mlx_lm = pytest.importorskip("mlx_lm")
mx.set_default_device(mx.cpu)

WIDTHS = [2, 3, 4, 5, 6, 8]
UNIFORM = [(f"q{b}-hi", b, 32) for b in WIDTHS] + [(f"q{b}", b, 64) for b in WIDTHS]
MIXED = ["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"]


def qx63_hi(layers):
    """The published description of the formula, as a predicate for mlx-lm."""
    high = {"group_size": 32, "bits": 6, "mode": "affine"}

    def predicate(path, module):
        if path in ("model.embed_tokens", "lm_head"):
            return high
        parts = path.split(".")
        if parts[-1] in ("q_proj", "k_proj", "v_proj", "o_proj"):
            layer = int(parts[2])
            if layer % 4 == 0 or layer == layers - 1:
                return high
        return True

    return predicate


def mlx_convert(source, target, **options):
    mlx_lm.convert(str(source), str(target), quantize=True, **options)


def mlx_options(recipe, source):
    for name, bits, group in UNIFORM:
        if name == recipe:
            return dict(q_bits=bits, q_group_size=group)
    if recipe in MIXED:
        return dict(q_group_size=64, quant_predicate=recipe)
    layers = read_json(source / "config.json")["num_hidden_layers"]
    return dict(q_bits=3, q_group_size=32, quant_predicate=qx63_hi(layers))


RECIPES = [name for name, _, _ in UNIFORM] + MIXED + ["qx63-hi"]


def read_json(path):
    return json.loads(pathlib.Path(path).read_text())


def arrays(directory):
    out = {}
    for file in sorted(pathlib.Path(directory).glob("model*.safetensors")):
        out.update(mx.load(str(file)))
    return out


def raw(array):
    word = {2: mx.uint16, 4: mx.uint32}[array.dtype.size]
    return np.array(array.view(word))


def assert_same_tensors(ours, theirs):
    a, b = arrays(ours), arrays(theirs)
    assert sorted(a) == sorted(b)
    for name in b:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert np.array_equal(raw(a[name]), raw(b[name])), name


def effective(config, module):
    """How mlx-lm reads the quantization map for one module."""
    quantization = config["quantization"]
    entry = quantization.get(module, quantization)
    return entry["bits"], entry["group_size"], entry.get("mode", "affine")


def assert_same_configs(ours, theirs):
    a, b = read_json(ours / "config.json"), read_json(theirs / "config.json")
    modules = [n[: -len(".scales")] for n in arrays(theirs) if n.endswith(".scales")]
    assert modules
    for module in modules:
        assert effective(a, module) == effective(b, module), module
    assert a["quantization"] == a["quantization_config"]
    # Ours may say more (what mlx-lm would otherwise guess), never less or something else.
    for key in b:
        if key not in ("quantization", "quantization_config"):
            assert a[key] == b[key], key
    assert list(a) == sorted(a)
    index_a = read_json(ours / "model.safetensors.index.json")
    index_b = read_json(theirs / "model.safetensors.index.json")
    assert index_a == index_b


def assert_generates(directory, tokens):
    model, tokenizer = mlx_lm.load(str(directory))
    text = mlx_lm.generate(model, tokenizer, "The capital of France is", max_tokens=tokens)
    assert isinstance(text, str)


@pytest.mark.parametrize("recipe", RECIPES)
def test_smollm2_equals_mlx_lm(qx, smollm2, tmp_path, recipe):
    qx("convert", "-m", smollm2, "-o", tmp_path / "ours", "--recipe", recipe)
    mlx_convert(smollm2, tmp_path / "theirs", **mlx_options(recipe, smollm2))
    assert_same_tensors(tmp_path / "ours", tmp_path / "theirs")
    assert_same_configs(tmp_path / "ours", tmp_path / "theirs")
    shutil.rmtree(tmp_path)


def test_tiny_equals_mlx_lm(qx, tiny, tmp_path):
    family, source = tiny
    for recipe in RECIPES:
        ours, theirs = tmp_path / f"{recipe}-ours", tmp_path / f"{recipe}-theirs"
        qx("convert", "-m", source, "-o", ours, "--recipe", recipe)
        mlx_convert(source, theirs, **mlx_options(recipe, source))
        assert_same_tensors(ours, theirs)
        assert_same_configs(ours, theirs)
        if recipe in ("q4-hi", "mixed_3_6", "qx63-hi"):
            assert_generates(ours, 3)
        shutil.rmtree(ours)
        shutil.rmtree(theirs)


def test_smollm2_generates_in_mlx_lm(qx, smollm2, tmp_path):
    qx("convert", "-m", smollm2, "-o", tmp_path / "q", "--recipe", "qx63-hi")
    assert_generates(tmp_path / "q", 2)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_type_is_cast_before_quantizing(qx, smollm2, tmp_path, dtype):
    qx("convert", "-m", smollm2, "-o", tmp_path / "ours", "--recipe", "q4", "--dtype", dtype)
    mlx_convert(smollm2, tmp_path / "theirs", q_bits=4, q_group_size=64, dtype=dtype)
    assert_same_tensors(tmp_path / "ours", tmp_path / "theirs")


def test_mlx_lm_directories_are_read(qx, tiny, tmp_path):
    """qx measures what mlx-lm wrote, decodes it with one rounding, and repeats its map with --like."""
    family, source = tiny
    mlx_convert(source, tmp_path / "theirs", **mlx_options("qx63-hi", source))
    report = qx.json("inspect", tmp_path / "theirs")
    index = read_json(tmp_path / "theirs" / "model.safetensors.index.json")
    assert report["tensor_bytes"] == index["metadata"]["total_size"]
    assert report["parameters"] == index["metadata"]["total_parameters"]

    qx("convert", "-m", source, "-o", tmp_path / "like", "--like", tmp_path / "theirs")
    assert_same_tensors(tmp_path / "like", tmp_path / "theirs")

    qx("convert", "-m", tmp_path / "theirs", "-o", tmp_path / "float", "--recipe", "bf16")
    stored, floats = arrays(tmp_path / "theirs"), arrays(tmp_path / "float")
    for name, values in floats.items():
        module = name[: -len(".weight")]
        if module + ".scales" not in stored:
            assert np.array_equal(raw(values), raw(stored[name])), name
            continue
        # In float32 (mx.dequantize on bf16 scales rounds twice), then rounded once.
        scales, biases = (stored[module + s].astype(mx.float32) for s in (".scales", ".biases"))
        group = values.shape[1] // scales.shape[1]
        bits = stored[name].shape[1] * 32 // values.shape[1]
        expected = mx.dequantize(stored[name], scales, biases, group, bits).astype(mx.bfloat16)
        assert np.array_equal(raw(values), raw(expected)), name


def gpu_quantize(weights, bits, group):
    """MLX's GPU encoder, from its description: the maximum starts at 0, halves round away from zero."""
    f = np.float32
    w = weights.astype(f).reshape(weights.shape[0], -1, group)
    levels = f(2**bits - 1)

    def away(x):
        whole = np.trunc(x)
        return np.where(np.abs(x - whole) >= 0.5, whole + np.sign(x), whole).astype(f)

    low, high = w.min(-1), np.maximum(w.max(-1), f(0))
    scale = np.maximum((high - low) / levels, f(1e-7)).astype(f)
    low_is_edge = np.abs(low) > np.abs(high)
    scale = np.where(low_is_edge, scale, -scale)
    edge = np.where(low_is_edge, low, high)
    steps = away(edge / scale)
    at_zero = steps == 0
    scale = np.where(at_zero, scale, edge / np.where(at_zero, f(1), steps)).astype(f)
    bias = np.where(at_zero, f(0), edge)
    codes = np.clip(away((w - bias[..., None]) / scale[..., None]), f(0), levels)
    stream = np.unpackbits(codes.astype(np.uint8)[..., None], axis=-1, bitorder="little")[..., :bits]
    packed = np.packbits(stream.reshape(weights.shape[0], -1), axis=-1, bitorder="little")
    return packed.view(np.uint32), scale, bias


@pytest.mark.parametrize("bits", WIDTHS)
def test_gpu_rounding(qx, smollm2, tmp_path, bits):
    source = make_tiny("qwen3", tmp_path / "tiny", smollm2)
    qx("convert", "-m", source, "-o", tmp_path / "gpu", "--recipe", f"q{bits}-hi", "--rounding", "gpu")
    assert read_json(tmp_path / "gpu" / "qx_plan.json")["rounding"] == "gpu"
    floats, ours = arrays(source), arrays(tmp_path / "gpu")
    cpu_differs = 0
    for name in [n for n in ours if n.endswith("q_proj.weight") or n.endswith("down_proj.weight")]:
        module = name[: -len(".weight")]
        weights = np.array(floats[name].astype(mx.float32))
        codes, scale, bias = gpu_quantize(weights, bits, 32)
        assert np.array_equal(np.array(ours[name]), codes), name
        for part, values in ((".scales", scale), (".biases", bias)):
            assert np.array_equal(raw(ours[module + part]), raw(mx.array(values).astype(mx.bfloat16))), name
        cpu = mx.quantize(floats[name], group_size=32, bits=bits)[0]
        cpu_differs += int((np.array(cpu) != codes).sum())
    assert cpu_differs > 0


def test_dry_run_writes_nothing(qx, smollm2, tmp_path):
    plan = qx.json("convert", "-m", smollm2, "-o", tmp_path / "no", "--recipe", "qx63-hi", "--dry-run")
    assert list(tmp_path.iterdir()) == []
    assert plan["recipe"] == "qx63-hi" and plan["tensors"]
    done = qx.json("convert", "-m", smollm2, "-o", tmp_path / "yes", "--recipe", "qx63-hi")
    for key in ("plan_hash", "tensor_bytes", "bits_per_weight", "parameters"):
        assert plan[key] == done[key]
    stored = sum(a.nbytes for a in arrays(tmp_path / "yes").values())
    assert stored == done["tensor_bytes"]
    assert sorted(done["files"]) == sorted(p.name for p in (tmp_path / "yes").iterdir())


def test_gguf_source(qx, smollm2_gguf, smollm2, tmp_path):
    qx("convert", "-m", smollm2_gguf, "-o", tmp_path / "direct", "--recipe", "q4-hi")
    qx("convert", "-m", smollm2, "-o", tmp_path / "imported", "--recipe", "q4-hi")
    assert_same_tensors(tmp_path / "direct", tmp_path / "imported")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["direct", "imported"]


def content(directory):
    return {p.name: p.read_bytes() for p in sorted(directory.iterdir())}


def test_threads_do_not_change_bytes(qx, smollm2, tmp_path):
    qx("convert", "-m", smollm2, "-o", tmp_path / "one", "--recipe", "mixed_3_6", "--threads", 1)
    qx("convert", "-m", smollm2, "-o", tmp_path / "three", "--recipe", "mixed_3_6", "--threads", 3)
    assert content(tmp_path / "one") == content(tmp_path / "three")


def killed_after(command, lines, partial, how):
    """Runs the command and kills it once its journal has that many lines. True when it was killed; False when it was whole
    already, which a machine that lets this test wait may make of it."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = partial / "qx_journal.jsonl"
    while process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") >= lines:
            process.send_signal(how)
            break
        time.sleep(0.001)
    return process.wait() != 0 and partial.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_conversions(qx, smollm2, tmp_path, how):
    qx("convert", "-m", smollm2, "-o", tmp_path / "whole", "--recipe", "q5-hi", "--threads", 1)
    expected = content(tmp_path / "whole")
    target, partial = tmp_path / "out", tmp_path / ".out.qx-partial"
    command = [qx.path, "convert", "-m", str(smollm2), "-o", str(target), "--recipe", "q5-hi", "--threads", "1"]
    killed = 0
    for lines in (1, 2, 40, 120, 200, 250):
        if killed_after(command, lines, partial, how):
            killed += 1
            assert not target.exists() and partial.exists()
            done = qx.json(*command[1:], "--resume")
            assert lines - 1 <= done["resumed_tensors"] <= done["tensors"]
        assert content(target) == expected
        shutil.rmtree(target)
        assert not partial.exists()
    assert killed > 0  # each is killed unless the machine paused this test at that very moment

    # Without --resume an unfinished output is dropped.
    if killed_after(command, 100, partial, how):
        qx(*command[1:])
    assert content(target) == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "whole"]


def test_resume_after_several_kills(qx, smollm2, tmp_path):
    target, partial = tmp_path / "out", tmp_path / ".out.qx-partial"
    command = [qx.path, "convert", "-m", str(smollm2), "-o", str(target), "--recipe", "q3-hi", "--threads", "1"]
    qx("convert", "-m", smollm2, "-o", tmp_path / "whole", "--recipe", "q3-hi")
    for lines in (30, 90, 150, 220):
        if not killed_after(command + ["--resume"], lines, partial, signal.SIGKILL):
            break
    else:
        qx(*command[1:], "--resume")
    assert content(target) == content(tmp_path / "whole")


def test_refusals(qx, smollm2, tmp_path):
    qx("convert", "-m", smollm2, "-o", tmp_path / "q", "--recipe", "q4")
    again = qx("convert", "-m", tmp_path / "q", "-o", tmp_path / "no", "--recipe", "q2", check=False)
    assert again.returncode == 1 and "--allow-requantize" in again.stderr
    exists = qx("convert", "-m", smollm2, "-o", tmp_path / "q", "--recipe", "q4", check=False)
    assert exists.returncode == 1 and "--force" in exists.stderr
    for arguments in (["--recipe", "q7"], ["--recipe", "q4", "--group-size", "48"], ["--rounding", "tpu"],
                      ["--recipe", "q4", "--like", str(tmp_path / "q")], []):
        usage = qx("convert", "-m", smollm2, "-o", tmp_path / "no", *arguments, check=False)
        assert usage.returncode == 2, arguments
    assert not (tmp_path / "no").exists()

    tiny = make_tiny("qwen2", tmp_path / "tiny", smollm2)  # mlx is slow at these modes on a CPU
    for mode, group, bits in (("mxfp4", 32, 4), ("nvfp4", 16, 4), ("mxfp8", 32, 8)):
        mlx_convert(tiny, tmp_path / mode, q_mode=mode, q_bits=bits, q_group_size=group)
        refused = qx("convert", "-m", tmp_path / mode, "-o", tmp_path / "no", "--recipe", "bf16", check=False)
        assert refused.returncode == 1 and mode in refused.stderr


def test_memory_stays_small(qx, smollm2, tmp_path):
    """Anonymous memory (what is not a mapped file) of a conversion; a bound far below the 600 MB allowed."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc")
    process = subprocess.Popen([qx.path, "convert", "-m", str(smollm2), "-o", str(tmp_path / "out"), "--recipe",
                                "q4-hi"], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        peak = max([peak] + [int(l.split()[1]) for l in status.splitlines() if l.startswith("RssAnon")])
    assert process.returncode == 0
    assert peak < 100_000  # kB
