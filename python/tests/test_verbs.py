import json

import pytest

import qx

CARD = """# Model
| model | arc_challenge | hellaswag |
|---|---|---|
| bf16 | 0.500 | 0.600 |
| q4 | 0.501 | 0.598 |

q4 is better than bf16 on arc_challenge.
"""


@pytest.fixture(scope="module")
def models(tiny, tmp_path_factory):
    """{name: directory} of the tiny model and two quantizations."""
    folder = tmp_path_factory.mktemp("quantized")
    for recipe in ("q4", "q8"):
        qx.convert(tiny, folder / recipe, recipe, group_size=32)
    return {"base": tiny, "q4": folder / "q4", "q8": folder / "q8"}


@pytest.fixture(scope="module")
def runs(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    heard = []
    result = qx.evaluate(models, ["arc_easy", "piqa"], folder, limit=12, chat=False, progress=heard.append)
    assert heard and heard[-1].done == heard[-1].total == 72 and heard[-1].unit == "items"
    return folder, result


def test_plan_is_the_verbs(tiny, program):
    ours = qx.plan(tiny, "q4-hi", ctx=128, fit="1GB")
    assert ours == program("plan", "-m", tiny, "--recipe", "q4-hi", "--ctx", 128, "--fit", "1GB")
    assert ours["memory"]["fits"] is True
    assert qx.plan(tiny / "config.json", "q8")["quantization"]["bits"] == 8


def test_convert_is_the_verbs(tiny, program, tmp_path):
    heard = []
    ours = qx.convert(tiny, tmp_path / "ours", "q4-hi", progress=heard.append)
    theirs = program("convert", "-m", tiny, "-o", tmp_path / "theirs", "--recipe", "q4-hi")
    times = ("output", "seconds", "make_seconds", "sync_seconds")
    assert {k: v for k, v in ours.items() if k not in times} == {k: v for k, v in theirs.items() if k not in times}
    assert heard[0].title == "converting"
    for file in ours["files"]:
        if file not in ("README.md", "qx_plan.json"):  # which name the build
            assert (tmp_path / "ours" / file).read_bytes() == (tmp_path / "theirs" / file).read_bytes(), file


def test_convert_refuses(tiny, tmp_path):
    with pytest.raises(ValueError, match="one of recipe"):
        qx.convert(tiny, tmp_path / "x")
    with pytest.raises(ValueError, match="no_such_recipe"):
        qx.convert(tiny, tmp_path / "x", "no_such_recipe")
    with pytest.raises(ValueError, match="fit gptq needs calibration FILE"):
        qx.convert(tiny, tmp_path / "x", "q4", fit="gptq")
    with pytest.raises(ValueError, match="group_size"):
        qx.convert(tiny, tmp_path / "x", "q4", group_size=48)
    with pytest.raises(qx.Error, match="expected a model directory"):
        qx.convert(tmp_path / "nothing", tmp_path / "x", "q4")
    (tmp_path / "there").mkdir()
    with pytest.raises(qx.Error, match="exists"):
        qx.convert(tiny, tmp_path / "there", "q4")
    assert not (tmp_path / "x").exists()


def test_evaluate_is_the_verbs(models, runs, program, tmp_path):
    folder, ours = runs
    arguments = [part for name, path in models.items() for part in ("-m", f"{name}={path}")]
    theirs = program("eval", *arguments, "--tasks", "arc_easy,piqa", "-o", tmp_path, "--limit", 12, "--plain")
    assert ours["data"] == theirs["data"]
    for name in models:
        assert ours["models"][name]["results"] == theirs["models"][name]["results"]
        for task in ("arc_easy", "piqa"):
            file = f"{name}/answers-{task}.jsonl"
            mine = [json.loads(line) for line in (folder / file).read_text().splitlines()]
            other = [json.loads(line) for line in (tmp_path / file).read_text().splitlines()]
            for answer in (*mine, *other):
                answer.pop("seconds", None)
            assert mine == other
    # What is answered is kept.
    again = qx.evaluate(models["base"], "arc_easy", tmp_path, limit=12, chat=False)
    assert again["models"]["base"]["results"]["arc_easy"] == theirs["models"]["base"]["results"]["arc_easy"]


def test_evaluate_refuses(tiny, tmp_path):
    for wrong in (
        dict(tasks="no_such_task"),
        dict(limit=0),
        dict(limit=1, sample=1),
        dict(shard="3/2"),
        dict(fewshot_seed=1),
        dict(convention="other"),
        dict(precision="other"),
        dict(kv_bits=7),
        dict(resume=True, force=True),
        dict(chat=False, chat_template_config={"enable_thinking": False}),
    ):
        with pytest.raises(ValueError):
            qx.evaluate(tiny, **{"tasks": "arc_easy", "output": tmp_path / "runs", **wrong})
    assert not (tmp_path / "runs").exists()


def test_compare_is_the_verbs(runs, program):
    folder, _ = runs
    names = [folder / "base", folder / "q4", folder / "q8"]
    ours = qx.compare(names, flips="all", gates=["average>-0.9"], all_pairs=True)
    theirs = program("compare", *names, "--all-pairs", "--gate", "average>-0.9", "--flips", "all")
    assert ours == theirs
    assert "arc_easy" in qx.compare(names, format="text")
    assert qx.compare(names, format="md").count("|") > 10
    broken = qx.compare(names, gates=["average>0.9"])
    assert not any(gate["held"] for gate in broken["gates"])
    for wrong in (dict(runs=names[:1]), dict(margin=2.0), dict(metric="x"), dict(baseline="x"), dict(gates=["x"]),
                  dict(format="x")):  # fmt: skip
        with pytest.raises(ValueError):
            qx.compare(**{"runs": names, **wrong})


def test_audit_is_the_verbs(program, tmp_path):
    card = tmp_path / "README.md"
    card.write_text(CARD)
    ours = qx.audit(card)
    assert ours == program("audit", card)
    assert qx.audit(text=CARD)["claims"] == ours["claims"]
    for wrong in ((), (card,)):
        with pytest.raises(ValueError):
            qx.audit(*wrong, **({"text": CARD} if wrong else {}))
    with pytest.raises(qx.Error):
        qx.audit(text="no table")
