"""The plan that qx search finds against HiGHS (scipy.optimize.milp): the same least cost within the same bytes."""
import hashlib
import json
import random

import pytest

scipy_optimize = pytest.importorskip("scipy.optimize")
numpy = pytest.importorskip("numpy")


def option_bytes(rows, cols, bits, group):
    return rows * (cols * bits // 8 + 2 * 2 * (cols // group))


def make_sensitivity(plan, weights, rng):
    """Costs made up for every matrix of a plan."""
    tensors = []
    for row in plan["tensors"]:
        if row["mode"] == "float":
            continue
        rows, cols = row["shape"]
        size = rng.lognormvariate(0, 1)
        options = [{"bits": bits, "group_size": group, "bytes": option_bytes(rows, cols, bits, group),
                    "cost": size * 4.0 ** -bits * (group / 32) ** 0.2 * rng.uniform(0.9, 1.1)}
                   for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128) if cols % group == 0]
        role = row["name"].split(".")[-2].removesuffix("_proj")
        role = {"embed_tokens": "embedding", "lm_head": "head"}.get(role, role)
        tensors.append({"name": row["name"], "shape": row["shape"], "role": role, "gradient": 0.0, "source": "measured",
                        "options": options})
    return {"format": "qx-sensitivity-1", "model": {"path": "m", "weights": weights, "plan_hash": ""},
            "calibration": {"sha256": "", "text": {}}, "fit": "minmax", "damping": 0.0, "dtype": "bfloat16", "windows": 1,
            "ctx": 64, "seed": 0, "precision": "reference", "tensors": tensors, "validation": None, "created": "",
            "version": ""}


def milp(sensitivity, budget):
    options = [(t, o) for t, tensor in enumerate(sensitivity["tensors"]) for o in tensor["options"]]
    cost = numpy.array([o["cost"] for _, o in options])
    size = numpy.array([[o["bytes"] / 1e6 for _, o in options]])
    one_each = numpy.zeros((len(sensitivity["tensors"]), len(options)))
    for i, (t, _) in enumerate(options):
        one_each[t, i] = 1
    scale = cost.max()
    found = scipy_optimize.milp(
        cost / scale, integrality=numpy.ones(len(options)), bounds=scipy_optimize.Bounds(0, 1),
        constraints=[scipy_optimize.LinearConstraint(size, -numpy.inf, budget / 1e6),
                     scipy_optimize.LinearConstraint(one_each, 1, 1)],
        options={"mip_rel_gap": 1e-9, "time_limit": 3600})
    assert found.success, found.message
    return sum(cost[i] for i in range(len(options)) if found.x[i] > 0.5)


@pytest.mark.parametrize("recipe, part", [("q3-hi", 0.2), ("q4-hi", 0.5), ("qx63-hi", 0.7)])
def test_least_cost(recipe, part, qx, smollm2, tmp_path):
    weights = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in smollm2.glob("*.safetensors")}
    plan = qx.json("plan", "-m", smollm2, "--recipe", recipe)
    sensitivity = make_sensitivity(plan, weights, random.Random(recipe))
    # The first layers alone are free: HiGHS needs minutes for the whole model, and its gap would hide an error.
    for tensor in sensitivity["tensors"][30:]:
        tensor["options"] = [o for o in tensor["options"] if (o["bits"], o["group_size"]) == (4, 64)]
    path = tmp_path / "s.json"
    path.write_text(json.dumps(sensitivity), encoding="utf-8")
    smallest, largest = (sum(pick(o["bytes"] for o in t["options"]) for t in sensitivity["tensors"]) for pick in (min, max))
    floats = sum(row["bytes"] for row in plan["tensors"] if row["mode"] == "float")
    budget = floats + smallest + int((largest - smallest) * part)
    found = qx.json("search", "-m", smollm2, "--sensitivity", path, "--budget", str(budget), "-o", tmp_path / "r.json")
    assert found["exact"] and found["chosen"]["bytes"] <= budget
    assert found["chosen"]["predicted"] == pytest.approx(milp(sensitivity, budget - floats), rel=1e-6)
