"""Results that go to and come from lm-eval and mlx_lm.evaluate: files that lm-eval itself writes against those of
`qx export-run`, and what `qx import-run` makes of them.
"""
import json
import math

import pytest
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker

from test_eval import TASKS, TOLERANCE, read_lines, use_local_data
from test_eval import reference, synthetic_dir  # noqa: F401 (fixtures)

ITEMS = 8


def run_lm_eval(lm, folder, limit, **options):
    """As lm_eval's command line does it: results and samples through its own tracker."""
    tracker = EvaluationTracker(output_path=str(folder))
    results = simple_evaluate(model=lm, tasks=TASKS, limit=limit, bootstrap_iters=0, log_samples=True,
                              evaluation_tracker=tracker, **options)
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    (written,) = [p for p in folder.iterdir() if p.is_dir()]
    return written, results["results"]


def samples_of(folder, task):
    (file,) = folder.glob(f"samples_{task}_*.jsonl")
    return sorted(read_lines(file), key=lambda sample: sample["doc_id"])


def compare_samples(ours, theirs):
    """Key by key; returns the largest difference of a log-likelihood and whether a pick differs."""
    largest, ties = 0.0, 0
    for task in TASKS:
        mine, others = samples_of(ours, task), samples_of(theirs, task)
        assert len(mine) == len(others) > 0
        for a, b in zip(mine, others):
            place = f"{task} {a['doc_id']}"
            assert list(a) == list(b), place
            for key in a:
                if key in ("resps", "filtered_resps"):
                    pairs = zip(a[key], b[key], strict=True)
                    for x, y in ((x[0], y[0]) if key == "resps" else (x, y) for x, y in pairs):
                        assert isinstance(x[0], str) and x[1] == y[1], place
                        largest = max(largest, abs(float(x[0]) - float(y[0])))
                elif key in ("acc", "acc_norm"):
                    assert type(a[key]) is type(b[key]), place
                    ties += a[key] != b[key]
                else:
                    assert a[key] == b[key], f"{place}: {key}"
    assert largest < TOLERANCE
    return largest, ties


def compare_results(ours, theirs):
    (mine,), (others,) = ours.glob("results_*.json"), theirs.glob("results_*.json")
    mine, others = json.loads(mine.read_text()), json.loads(others.read_text())
    for key in ("versions", "n-shot", "n-samples"):
        assert {t: mine[key][t] for t in TASKS} == {t: others[key][t] for t in TASKS}, key
    for key in ("chat_template", "chat_template_sha", "max_length"):
        assert mine[key] == others[key], key
    assert mine["config"]["model_num_parameters"] == others["config"]["model_num_parameters"]
    return mine["results"], others["results"]


@pytest.mark.parametrize("mode, rows", [("plain", "real"), ("plain", "awkward"), ("chat", "awkward")])
def test_files_of_lm_eval(qx, smollm2, reference, data_dir, synthetic_dir, monkeypatch, tmp_path, mode, rows):  # noqa: F811
    data, limit = (data_dir, ITEMS) if rows == "real" else (synthetic_dir, None)
    use_local_data(monkeypatch, data)
    options = {"apply_chat_template": True, "fewshot_as_multiturn": False} if mode == "chat" else {}
    theirs, _ = run_lm_eval(reference, tmp_path / "lm_eval", limit, **options)

    runs = tmp_path / "runs"
    qx("eval", "-m", f"m={smollm2}", "--tasks", "all", "--data", data, "-o", runs, f"--{mode}", "--convention", "lm-eval",
       *(["--limit", limit] if limit else []))
    qx("export-run", runs / "m", "-o", tmp_path / "exported")
    largest, ties = compare_samples(tmp_path / "exported", theirs)
    print(f"{mode}, {rows} rows: largest difference of a log-likelihood {largest:.2e}, {ties} ties")
    my_results, their_results = compare_results(tmp_path / "exported", theirs)

    qx("import-run", theirs, "-o", runs / "theirs")
    imported = json.loads((runs / "theirs/run.json").read_text())
    ours = json.loads((runs / "m/run.json").read_text())
    for key in ("mode", "convention", "few_shot", "template_hash", "max_length"):
        assert imported[key] == ours[key], key
    for metric in ("acc", "acc_norm"):
        compared = qx.json("compare", runs / "m", runs / "theirs", "--metric", metric, "--flips")
        assert {task["task"]: task["n"] for task in compared["tasks"]} == {
            task: len(samples_of(theirs, task)) for task in TASKS}
        flips = [flip for task in compared["flips"] for flip in task["flips"]]
        # Without a tie there are no flips, and then every figure is the same.
        assert len(flips) <= ties
        if ties == 0:
            for task in compared["tasks"]:
                for variant in task["variants"].values():
                    key = f"{task['metric']},none"
                    assert math.isclose(variant["acc"], their_results[task["task"]][key], abs_tol=1e-12)
                    assert math.isclose(variant["acc"], my_results[task["task"]][key], abs_tol=1e-12)
    # An item of theirs, shown with its prompt.
    sample = samples_of(theirs, "winogrande")[1]
    shown = qx.json("show", runs / "theirs", "winogrande", "1")
    assert [c["context"] for c in shown["choices"]] == [a["arg_0"] for a in sample["arguments"].values()]


def test_result_files_of_mlx_lm(qx, smollm2, reference, data_dir, monkeypatch, tmp_path):  # noqa: F811
    """mlx_lm.evaluate writes lm-eval's "results" under a name of its own (mlx_lm/evaluate.py, main)."""
    use_local_data(monkeypatch, data_dir)
    results = simple_evaluate(model=reference, tasks=["arc_easy", "boolq"], limit=ITEMS, bootstrap_iters=0)["results"]
    file = tmp_path / "_".join(["eval", "org_model", "0.4.13", "arc_easy", "boolq"])
    file.write_text(json.dumps(results, indent=4))
    runs = tmp_path / "runs"
    qx("import-run", file, "-o", runs / "theirs")
    qx("eval", "-m", f"m={smollm2}", "--tasks", "arc_easy,boolq", "--data", data_dir, "-o", runs, "--limit", ITEMS, "--plain",
       "--convention", "mlx-lm")  # the same where no context ends in white space, as here
    compared = qx.json("compare", runs / "m", runs / "theirs")
    (pair,) = compared["unpaired"]
    assert [(t["task"], t["n"], t["diff"], t["verdict"]) for t in pair["tasks"]] == [
        ("arc_easy", ITEMS, 0.0, "indistinguishable"), ("boolq", ITEMS, 0.0, "indistinguishable")]
