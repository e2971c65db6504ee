"""qx plan and qx inspect against mlx-lm: maps, bytes and parameters of models quantized by mlx-lm itself, and
of directories that either program wrote.

SPDX-License-Identifier: Apache-2.0
"""
import hashlib
import importlib
import json
import struct

import pytest
from conftest import make_tiny

mx = pytest.importorskip("mlx.core")
nn = pytest.importorskip("mlx.nn")
mlx_lm = pytest.importorskip("mlx_lm")
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.convert import mixed_quant_predicate_builder  # noqa: E402
from mlx_lm.utils import compute_bits_per_weight, get_total_parameters, quantize_model  # noqa: E402

mx.set_default_device(mx.cpu)
MIXED = ["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"]


def config_of(kind, layers, *, hidden=64, tied=False, **more):
    config = dict(
        model_type=kind, hidden_size=hidden, intermediate_size=128, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=128, max_position_embeddings=512, rope_theta=10000.0, rms_norm_eps=1e-6,
        tie_word_embeddings=tied, torch_dtype="bfloat16",
    )
    if kind == "qwen3":
        config["head_dim"] = 32
    return {**config, **more}


def mlx_model(config):
    """mlx-lm's own model class with weights of bf16."""
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    model = module.Model(module.ModelArgs.from_dict(config))
    model.set_dtype(mx.bfloat16)
    return model


def quantized_by_mlx(config, *, bits=None, group=None, predicate=None):
    """(config, {tensor name: (bits, group)}, stored bytes, parameters, bits per weight) as mlx-lm makes them."""
    model = mlx_model(config)
    if isinstance(predicate, str):
        predicate = mixed_quant_predicate_builder(predicate, model, group or 64)
    elif predicate is not None:
        predicate = predicate(config["num_hidden_layers"])
    model, out = quantize_model(model, dict(config), group, bits, quant_predicate=predicate)
    forms = {
        name + ".weight": (m.bits, m.group_size) for name, m in model.named_modules() if hasattr(m, "group_size")
    }
    size = sum(v.nbytes for _, v in tree_flatten(model.parameters()))
    return out, forms, size, get_total_parameters(model), compute_bits_per_weight(model)


def effective(quantization, forms):
    """What config.json's map says about every quantized module."""
    top = (quantization["bits"], quantization["group_size"])
    out = {}
    for name in forms:
        entry = quantization.get(name.removesuffix(".weight"))
        out[name] = (entry["bits"], entry["group_size"]) if entry else top
    return out


@pytest.fixture
def planned(qx, tmp_path):
    def plan(config, recipe, *options):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
        return qx.json("plan", "-m", path, "--recipe", recipe, *options)

    return plan


def plan_forms(plan):
    return {t["name"]: (t["bits"], t["group_size"]) for t in plan["tensors"] if t["mode"] == "affine"}


def has_null(value):
    if isinstance(value, dict):
        return any(has_null(v) for v in value.values())
    return value is None


def deckard(high, low, group):
    def for_layers(layers):
        def predicate(path, module):
            part = path.split(".")[-1]
            entry = {"group_size": group, "bits": high, "mode": "affine"}
            if part in ("embed_tokens", "lm_head"):
                return entry
            if part in ("q_proj", "k_proj", "v_proj", "o_proj"):
                layer = int(path.split(".")[2])
                if layer % 4 == 0 or layer == layers - 1:
                    return entry
            return True

        return predicate

    return for_layers


def check_equal(plan, made):
    config, forms, size, parameters, bpw = made
    assert plan_forms(plan) == forms
    assert plan["tensor_bytes"] == size == sum(t["bytes"] for t in plan["tensors"])
    assert plan["parameters"] == parameters
    assert plan["bits_per_weight"] == pytest.approx(8 * size / parameters, rel=1e-12)
    assert plan["bits_per_weight"] == pytest.approx(bpw, rel=1e-6)
    ours = plan["quantization"]
    assert not has_null(ours)
    assert effective(ours, forms) == forms
    assert ours == {**config["quantization"], "mode": "affine"}


@pytest.mark.parametrize("layers", [1, 2, 3, 5, 7, 8, 9, 12, 16, 17, 24, 28, 30, 36])
@pytest.mark.parametrize("recipe", MIXED)
def test_mixed_maps(planned, recipe, layers):
    config = config_of("qwen3", layers)
    check_equal(planned(config, recipe), quantized_by_mlx(config, predicate=recipe))


@pytest.mark.parametrize("recipe", MIXED)
@pytest.mark.parametrize("kind,more", [("qwen2", dict(tied=True)), ("llama", dict(tied=True)),
                                       ("llama", dict(attention_bias=True, mlp_bias=True))])
def test_mixed_of_other_families(planned, recipe, kind, more):
    config = config_of(kind, 11, **more)
    check_equal(planned(config, recipe, "--group-size", "32"), quantized_by_mlx(config, group=32, predicate=recipe))


@pytest.mark.parametrize("recipe,bits,group", [("q2", 2, 64), ("q3-hi", 3, 32), ("q4", 4, 64), ("q4-hi", 4, 32),
                                               ("q5", 5, 64), ("q6-hi", 6, 32), ("q8", 8, 64)])
@pytest.mark.parametrize("kind,tied", [("qwen3", False), ("qwen2", True), ("llama", False)])
def test_uniform(planned, kind, tied, recipe, bits, group):
    config = config_of(kind, 3, tied=tied)
    check_equal(planned(config, recipe), quantized_by_mlx(config, bits=bits, group=group))


@pytest.mark.parametrize("layers", [1, 4, 6, 36])
@pytest.mark.parametrize("recipe,high,low,group", [("qx63-hi", 6, 3, 32), ("qx64", 6, 4, 64)])
def test_deckard(planned, recipe, high, low, group, layers):
    config = config_of("qwen3", layers)
    made = quantized_by_mlx(config, bits=low, group=group, predicate=deckard(high, low, group))
    check_equal(planned(config, recipe), made)


@pytest.mark.parametrize("recipe", ["q4", "mixed_3_6", "qx63"])
def test_group_that_does_not_divide(planned, recipe):
    # 96 columns are no multiple of 64: mlx-lm leaves those modules in float without a word.
    config = config_of("llama", 5, hidden=96, intermediate_size=192)
    predicate = {"q4": None, "mixed_3_6": "mixed_3_6", "qx63": deckard(6, 3, 64)}[recipe]
    made = quantized_by_mlx(config, bits={"q4": 4, "qx63": 3}.get(recipe), predicate=predicate)
    plan = planned(config, recipe)
    check_equal(plan, made)
    assert any("stay in float" in w for w in plan["warnings"])


def test_predicate_with_a_group_of_its_own(planned, tmp_path):
    # The divisibility test uses the global group (64), not the 32 that the rule asks for.
    config = config_of("llama", 2, hidden=96, intermediate_size=192)
    recipe = tmp_path / "own.json"
    recipe.write_text(json.dumps({"name": "own", "bits": 4, "rules": [
        {"roles": ["attention", "down"], "bits": 8, "group_size": 32}]}))

    def own(layers):
        names = ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")
        return lambda path, module: ({"group_size": 32, "bits": 8, "mode": "affine"}
                                     if path.split(".")[-1] in names else True)

    check_equal(planned(config, recipe), quantized_by_mlx(config, bits=4, predicate=own))


def test_plan_hash_is_that_of_the_documented_list(planned):
    plan = planned(config_of("qwen3", 5), "qx63-hi")
    rows = [[t["name"], t["bits"], t["group_size"], t["mode"]] for t in plan["tensors"]]
    assert plan["plan_hash"] == hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def test_qwen3_8b(planned):
    # Shapes alone, from the published config.
    config = config_of("qwen3", 36, hidden=4096, intermediate_size=12288, num_attention_heads=32,
                       num_key_value_heads=8, head_dim=128, vocab_size=151936, rope_theta=1000000)
    tables, attention, mlp = 2 * 151936 * 4096, 2 * 4096 * 4096 + 2 * 1024 * 4096, 3 * 12288 * 4096
    norms = 36 * (2 * 4096 + 2 * 128) + 4096
    weights = tables + 36 * (attention + mlp)
    plan = planned(config, "q4-hi")
    assert plan["parameters"] == weights + norms == 8190735360
    assert plan["tensor_bytes"] == weights * 5 // 8 + 2 * norms
    high = tables + 10 * attention
    assert planned(config, "qx63-hi")["tensor_bytes"] == high * 7 // 8 + (weights - high) * 4 // 8 + 2 * norms


def stored_bytes(directory):
    total = 0
    for file in directory.glob("model*.safetensors"):
        with open(file, "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        for name, tensor in header.items():
            if name != "__metadata__":
                total += tensor["data_offsets"][1] - tensor["data_offsets"][0]
    return total


@pytest.mark.parametrize("recipe", ["qx63-hi", "q4-hi", "mixed_3_6", "f16"])
def test_plan_equals_a_conversion(qx, tiny, tmp_path, recipe):
    _, source = tiny
    out = tmp_path / "out"
    bare = tmp_path / "config.json"
    bare.write_text((source / "config.json").read_text())
    plan = qx.json("plan", "-m", bare, "--recipe", recipe)
    qx("convert", "-m", source, "-o", out, "--recipe", recipe)
    assert stored_bytes(out) == plan["tensor_bytes"]
    measured = qx.json("inspect", out)
    for key in ("model_type", "parameters", "tensor_bytes", "bits_per_weight", "recipe", "plan_hash"):
        assert measured[key] == plan[key], key
    assert measured["warnings"] == []
    strip = [{k: v for k, v in t.items() if k != "rule"} for t in plan["tensors"]]
    assert [{k: v for k, v in t.items() if k != "rule"} for t in measured["tensors"]] == strip


@pytest.mark.parametrize("options", [dict(q_bits=3, q_group_size=32), dict(quant_predicate="mixed_2_6"),
                                     dict(q_group_size=32, quant_predicate="mixed_3_4")])
def test_directories_of_mlx_lm(qx, tiny, tmp_path, options):
    """inspect reads what mlx-lm writes, and the map comes back through a recipe file and through --like."""
    _, source = tiny
    made = tmp_path / "made"
    mlx_lm.convert(str(source), str(made), quantize=True, **options)
    measured = qx.json("inspect", made)
    assert measured["tensor_bytes"] == stored_bytes(made)
    # MLX does not pad its headers; a null group size in an entry means the mode's 64, which is what is stored.
    assert all("aligned" in w for w in measured["warnings"]), measured["warnings"]
    recipe = tmp_path / "copy.json"
    recipe.write_text(qx("inspect", made, "--as-recipe").stdout)
    again = qx.json("plan", "-m", source, "--recipe", recipe)
    like = qx.json("plan", "-m", source, "--like", made)
    assert again["plan_hash"] == like["plan_hash"] == measured["plan_hash"]
    assert again["tensor_bytes"] == like["tensor_bytes"] == measured["tensor_bytes"]
    assert not has_null(like["quantization"])


@pytest.mark.parametrize("mode", ["mxfp4", "nvfp4", "mxfp8"])
def test_other_modes_are_named(qx, tmp_path, smollm2, mode):
    source = make_tiny("llama", tmp_path / "source", smollm2)
    made = tmp_path / mode
    mlx_lm.convert(str(source), str(made), quantize=True, q_mode=mode)
    measured = qx.json("inspect", made)
    assert {t["mode"] for t in measured["tensors"]} == {"float", mode}
    assert measured["tensor_bytes"] == stored_bytes(made)
    refused = qx("plan", "-m", source, "--like", made, check=False)
    assert refused.returncode == 1 and mode in refused.stderr
