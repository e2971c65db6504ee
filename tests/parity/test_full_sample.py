"""A fixed sample of `make parity-full` (full/, docs/parity.md): the same code on a few rows of each task."""
import argparse
import dataclasses
import pathlib
import sys

import lm_eval.api.task
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "full"))
import compare  # noqa: E402
import lm  # noqa: E402
import oracle  # noqa: E402
import sets  # noqa: E402

QUESTIONS = [213, 241, 277, 298]  # rows of each task's file


@pytest.fixture(scope="module")
def run(qx, smollm2, data_dir, tmp_path_factory):
    """What oracle.py and compare.py are given on the command line."""
    folder = tmp_path_factory.mktemp("full")
    models, data = folder / "models", folder / "data"
    models.mkdir()
    data.mkdir()
    (models / "smollm2").symlink_to(smollm2)
    qx("convert", "-m", smollm2, "-o", models / "q4-hi", "--recipe", "q4-hi", "--quiet")
    qx("convert", "-m", models / "q4-hi", "-o", models / "q4-hi-f32", "--recipe", "f32", "--quiet")
    for task in sets.TASKS:
        lines = (data_dir / f"{task}.jsonl").read_bytes().splitlines(keepends=True)
        questions = [lines[row] for row in QUESTIONS]
        (data / f"{task}.jsonl").write_bytes(b"".join(questions))
        (data / f"{task}.pool").write_bytes(b"".join(lines[: sets.POOL]))
    return argparse.Namespace(qx=pathlib.Path(qx.path), models=models, data=data, cache=folder / "cache", threads=1)


@pytest.fixture
def own_tasks(monkeypatch):
    """full/ changes lm-eval's task class for its whole process; here that ends with the test."""
    task = lm_eval.api.task.ConfigurableTask
    monkeypatch.setattr(task, "download", task.download)
    monkeypatch.setattr(task, "__init__", task.__init__)
    lm.use_all_metrics()


def sample_of(name, run, items):
    """The set of that name on the first ITEMS of the questions."""
    spec = dataclasses.replace(sets.SETS[name], name=f"{name}-sample", items=items)
    data = run.data
    if spec.shots:  # a file as the full run reads it: the pool, then the questions
        data = run.data.parent / "data-with-pool"
        data.mkdir(exist_ok=True)
        for task in sets.TASKS:
            (data / f"{task}.jsonl").write_bytes(
                (run.data / f"{task}.pool").read_bytes() + (run.data / f"{task}.jsonl").read_bytes())
    return spec, argparse.Namespace(**{**vars(run), "data": data})


@pytest.mark.parametrize("name, precisions, items", [
    ("q4-hi-plain", ("reference", "exact"), 4),
    ("smollm2-chat-lm-eval", ("reference",), 2),
    ("q4-hi-chat-mlx-lm", ("reference",), 2),
    ("smollm2-5-shot-plain", ("reference",), 2),
])
def test_sample(name, precisions, items, run, own_tasks):
    spec, args = sample_of(name, run, items)
    oracle.run_set(spec, args)
    folder = sets.folder_of(spec, args.cache, args.models, args.data)
    for precision in precisions:
        row = compare.compare_set(spec, precision, folder, args)
        assert row["problems"] == []
        assert sum(t["items"] for t in row["tasks"].values()) == items * len(sets.TASKS)
        print(name, precision, f"largest difference {max(t['max'] for t in row['tasks'].values()):.1e}")


def test_keeping_keys_and_values_changes_no_answer_of_the_peer(run, own_tasks):
    """CachedHflm against HFLM as it is, on the same requests."""
    plain, args = sample_of("smollm2-plain", run, 2)
    answers = {}
    for engine in ("hflm", "cached"):
        spec = dataclasses.replace(plain, engine=engine)
        oracle.run_set(spec, args)
        folder = sets.folder_of(spec, args.cache, args.models, args.data)
        rows = compare.read_lines(folder / "requests.jsonl")
        answers[engine] = {(r["context"], r["continuation"]): r for r in rows}
    assert answers["hflm"].keys() == answers["cached"].keys()
    for texts, row in answers["hflm"].items():
        other = answers["cached"][texts]
        assert other["ll"] == pytest.approx(row["ll"], abs=5e-4), texts
        assert {k: v for k, v in other.items() if k != "ll"} == {k: v for k, v in row.items() if k != "ll"}
