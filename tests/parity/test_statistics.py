"""qx compare's numbers against scipy and statsmodels on synthetic runs."""
import json
import pathlib
import random
import runpy
import sys

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

TASKS = ["arc_challenge", "arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"]


GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
tango_statistic = runpy.run_path(str(GOLDEN / "make_statistics.py"))["tango_statistic"]


def equivalence(a, b, margin=0.01):
    """p of two one-sided tests, Tango's statistic with the nuisance share found numerically."""
    table = [sum(x and y for x, y in zip(a, b)), sum(x and not y for x, y in zip(a, b)),
             sum(y and not x for x, y in zip(a, b)), sum(not x and not y for x, y in zip(a, b))]
    return max(stats.norm.sf(tango_statistic(table, -margin)), stats.norm.cdf(tango_statistic(table, margin)))


def write_run(folder, answers, clusters=None):
    """answers: task -> list of bool. clusters: task -> list of names."""
    folder.mkdir(parents=True)
    run = {"mode": "plain", "convention": "lm-eval", "few_shot": 0, "end": "x"}
    (folder / "run.json").write_text(json.dumps(run))
    for task, right in answers.items():
        with open(folder / f"answers-{task}.jsonl", "w") as f:
            for i, r in enumerate(right):
                gold = i % 4
                chosen = gold if r else (gold + 1 + i % 3) % 4
                lls = [{"ll": 0.0 if c == chosen else -5.0, "tokens": 1, "chars": 5, "bytes": 5, "greedy": False}
                       for c in range(4)]
                row = {"task": task, "index": i, "doc_hash": str(i), "gold": gold, "choices": lls, "acc": int(r)}
                if clusters:
                    row["cluster"] = clusters[task][i]
                f.write(json.dumps(row) + "\n")


def holm(p_values):
    return multipletests(p_values, method="holm")[1]


@pytest.mark.parametrize("seed", range(4))
def test_compare_equals_scipy_and_statsmodels(qx, tmp_path, seed):
    rng = random.Random(seed)
    base, variant = {}, {}
    for k, task in enumerate(TASKS):
        n = rng.randrange(20, 400)
        base[task] = [rng.random() < 0.55 for _ in range(n)]
        variant[task] = [(rng.random() < 0.4) if rng.random() < 0.05 * (k + 1) else b for b in base[task]]
    write_run(tmp_path / "base", base)
    write_run(tmp_path / "variant", variant)
    report = qx.json("compare", tmp_path / "base", tmp_path / "variant")
    p_values, equivalences = [], []
    for row in report["tasks"]:
        a, b = base[row["task"]], variant[row["task"]]
        n, got = len(a), row["variants"]["variant"]
        lost = sum(x and not y for x, y in zip(a, b))
        won = sum(y and not x for x, y in zip(a, b))
        assert (row["n"], got["right_to_wrong"], got["wrong_to_right"]) == (n, lost, won)
        assert got["acc"] == pytest.approx(sum(b) / n, abs=1e-15)
        assert got["stderr"] == pytest.approx(stats.sem([float(x) for x in b]), rel=1e-12)
        assert got["ci"] == pytest.approx(proportion_confint(sum(b), n, method="wilson"), abs=1e-12)
        table = [[0, lost], [won, 0]]
        assert got["p"] == pytest.approx(min(1, mcnemar(table, exact=True).pvalue), abs=1e-12)
        p_values.append(got["p"])
        equivalences.append(equivalence(a, b))
    for row, adjusted, close in zip(report["tasks"], holm(p_values), holm(equivalences)):
        got = row["variants"]["variant"]
        assert got["p_holm"] == pytest.approx(adjusted, abs=1e-12)
        expected = "better" if got["diff"] > 0 else "worse"
        if adjusted >= 0.05:
            expected = "equivalent" if close < 0.05 else "indistinguishable"
        assert got["verdict"] == expected


def test_average_is_macro_with_its_paired_error(qx, tmp_path):
    rng = random.Random(9)
    base = {t: [rng.random() < 0.6 for _ in range(150)] for t in TASKS}
    variant = {t: [(rng.random() < 0.5) if rng.random() < 0.2 else x for x in v] for t, v in base.items()}
    write_run(tmp_path / "base", base)
    write_run(tmp_path / "variant", variant)
    got = qx.json("compare", tmp_path / "base", tmp_path / "variant")["average"]["variants"]["variant"]
    differences = [[int(y) - int(x) for x, y in zip(base[t], variant[t])] for t in TASKS]
    mean = sum(sum(d) / len(d) for d in differences) / len(TASKS)
    error = sum(stats.sem(d) ** 2 for d in differences) ** 0.5 / len(TASKS)
    assert got["diff"] == pytest.approx(mean, abs=1e-14)
    assert got["diff_stderr"] == pytest.approx(error, rel=1e-12)
    # The test's variance is that under "no difference": every changed item's sign is a coin.
    null_error = sum(sum(abs(x) for x in d) / len(d) ** 2 for d in differences) ** 0.5 / len(TASKS)
    assert got["p"] == pytest.approx(2 * stats.norm.sf(abs(mean / null_error)), rel=1e-9)


def test_equivalence_is_found_where_items_suffice(qx, tmp_path):
    base = {"piqa": [i % 2 == 0 for i in range(6000)]}
    variant = {"piqa": [(not x) if i % 100 in (0, 1) else x for i, x in enumerate(base["piqa"])]}  # 60 each way
    write_run(tmp_path / "base", base)
    write_run(tmp_path / "variant", variant)
    got = qx.json("compare", tmp_path / "base", tmp_path / "variant")["tasks"][0]["variants"]["variant"]
    assert equivalence(base["piqa"], variant["piqa"]) < 0.05
    assert got["verdict"] == "equivalent"
    wide = qx.json("compare", tmp_path / "base", tmp_path / "variant", "--margin", "0.002")
    assert equivalence(base["piqa"], variant["piqa"], 0.002) > 0.05
    assert wide["tasks"][0]["variants"]["variant"]["verdict"] == "indistinguishable"


def test_passages_are_exchanged_as_wholes(qx, tmp_path):
    rng = random.Random(8)
    names = {"boolq": [f"{i // 3:016x}" for i in range(120)]}
    base = {"boolq": [rng.random() < 0.6 for _ in range(120)]}
    lost = {rng.randrange(40) for _ in range(14)}  # passages whose answers change
    variant = {"boolq": [x and rng.random() < 0.2 if i // 3 in lost else x for i, x in enumerate(base["boolq"])]}
    write_run(tmp_path / "base", base, names)
    write_run(tmp_path / "variant", variant, names)
    got = qx.json("compare", tmp_path / "base", tmp_path / "variant")["tasks"][0]["variants"]["variant"]
    sums = {}
    for name, x, y in zip(names["boolq"], base["boolq"], variant["boolq"]):
        sums[name] = sums.get(name, 0) + int(y) - int(x)
    changed = [s for s in sums.values() if s]
    assert 5 < len(changed) < sum(abs(s) for s in changed)  # some passages changed more than once
    oracle = stats.permutation_test((changed,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert got["p"] == pytest.approx(float(oracle.pvalue), rel=1e-9)


def close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == pytest.approx(b, rel=1e-6, abs=1e-9)


def test_golden_values_are_what_scipy_and_statsmodels_give(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_statistics.py", str(tmp_path / "made.json")])
    runpy.run_path(str(GOLDEN / "make_statistics.py"), run_name="__main__")
    made = json.loads((tmp_path / "made.json").read_text())
    assert close(made, json.loads((GOLDEN / "statistics.json").read_text()))
