"""qx compare's numbers against scipy and statsmodels on synthetic runs."""
import json
import pathlib
import random
import runpy
import sys

import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

TASKS = ["arc_challenge", "arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"]


def write_run(folder, answers):
    """answers: task -> list of bool."""
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
    p_values = []
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
    for row, adjusted in zip(report["tasks"], holm(p_values)):
        got = row["variants"]["variant"]
        assert got["p_holm"] == pytest.approx(adjusted, abs=1e-12)
        expected = "indistinguishable" if adjusted >= 0.05 else "better" if got["diff"] > 0 else "worse"
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
    assert got["p"] == pytest.approx(2 * stats.norm.sf(abs(mean / error)), rel=1e-9)


def close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == pytest.approx(b, rel=1e-6, abs=1e-9)


def test_golden_values_are_what_scipy_and_statsmodels_give(tmp_path, monkeypatch):
    golden = pathlib.Path(__file__).resolve().parents[1] / "golden"
    monkeypatch.setattr(sys, "argv", ["make_statistics.py", str(tmp_path / "made.json")])
    runpy.run_path(str(golden / "make_statistics.py"), run_name="__main__")
    made = json.loads((tmp_path / "made.json").read_text())
    assert close(made, json.loads((golden / "statistics.json").read_text()))
