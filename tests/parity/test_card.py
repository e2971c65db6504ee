"""Model cards that qx writes, read by the Hub's own library: ModelCard, ModelCardData, model-index."""
import json
import random

import pytest

huggingface_hub = pytest.importorskip("huggingface_hub")
from huggingface_hub import EvalResult, ModelCard, ModelCardData  # noqa: E402
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results  # noqa: E402


@pytest.fixture(scope="module")
def runs(qx, smollm2, data_dir, tmp_path_factory):
    """SmolLM2 and two quantizations of it, on real items."""
    root = tmp_path_factory.mktemp("card")
    models = []
    for recipe in ("q8", "q4-hi"):
        qx("convert", "-m", smollm2, "-o", root / recipe, "--recipe", recipe, "--quiet")
        models += ["-m", root / recipe]
    qx("eval", "-m", f"base={smollm2}", *models, "--tasks", "arc_easy,boolq,openbookqa", "--limit", 20, "--data",
       data_dir, "-o", root / "runs", "--quiet")
    return root / "runs"


OPTIONS = ["--license", "apache-2.0", "--language", "en,no", "--base-model", "HuggingFaceTB/SmolLM2-135M-Instruct",
           "--repository", "someone/SmolLM2-q4-hi"]


def accuracies(run):
    """(task, metric) to accuracy, from the answers themselves."""
    found = {}
    for file in run.glob("answers-*.jsonl"):
        answers = [json.loads(line) for line in file.read_text().splitlines()]
        for metric in ("acc", "acc_norm"):
            if metric in answers[0]:
                found[answers[0]["task"], metric] = sum(a[metric] for a in answers) / len(answers)
    return found


def test_the_hubs_library_reads_the_card(qx, runs, tmp_path):
    card_file = tmp_path / "README.md"
    qx("card", runs / "q4-hi", "--with", runs / "base", runs / "q8", *OPTIONS, "-o", card_file)
    card = ModelCard.load(card_file)
    data = card.data
    assert data.license == "apache-2.0"
    assert data.language == ["en", "no"]  # and not False, which a bare no would be
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert data.base_model_relation == "quantized"
    assert data.pipeline_tag == "text-generation"
    assert data.library_name == "mlx"
    assert {"mlx", "q4-hi"} <= set(data.tags)
    assert data.model_name == "SmolLM2-q4-hi"

    wanted = accuracies(runs / "q4-hi")
    got = {(r.dataset_name, r.metric_type): r.metric_value for r in data.eval_results}
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert got[key] == pytest.approx(value, abs=5e-5), key
    assert all(isinstance(r, EvalResult) and r.task_type == "text-generation" for r in data.eval_results)
    assert all(r.dataset_args["items"] == 20 for r in data.eval_results)


def test_results_survive_a_round_trip(qx, runs, tmp_path):
    card_file = tmp_path / "README.md"
    qx("card", runs / "q4-hi", "--with", runs / "base", *OPTIONS, "-o", card_file)
    card = ModelCard.load(card_file)
    name, results = model_index_to_eval_results(eval_results_to_model_index(card.data.model_name,
                                                                            card.data.eval_results))
    assert name == card.data.model_name
    assert results == card.data.eval_results
    again = ModelCardData(**card.data.to_dict())
    assert again.to_dict() == card.data.to_dict()
    # What the Hub's library writes, qx reads, and finds nothing amiss.
    saved = tmp_path / "saved.md"
    card.save(saved)
    done = qx("card", "--check", saved, "--runs", runs, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    card.data.eval_results[0].metric_value += 0.01
    card.save(saved)
    done = qx("card", "--check", saved, "--runs", runs, check=False)
    assert done.returncode == 3, done.stdout + done.stderr


def test_what_is_unknown_is_left_out(qx, runs, tmp_path):
    card_file = tmp_path / "README.md"
    done = qx("card", runs / "q4-hi", "-o", card_file)
    data = ModelCard.load(card_file).data
    assert data.license is None and data.language is None and data.base_model is None
    for what in ("license", "language", "base_model"):
        assert what in done.stderr
    assert "base_model_relation" not in data


def test_odd_names_and_texts(qx, runs, tmp_path):
    """Titles, tags and languages that YAML readers like to misread."""
    rng = random.Random(1)
    alphabet = "ab:#-'\"{}[]&*!|>%@`,?~ \\/0ünØ日\t"
    for i in range(8):
        title = "".join(rng.choice(alphabet) for _ in range(12)).strip() or "x"
        card_file = tmp_path / f"{i}.md"
        qx("card", runs / "q8", "--title", title, "--license", "no", "--language", "on,1e3,null", "-o", card_file)
        data = ModelCard.load(card_file).data
        assert data.model_name == title
        assert data.license == "no"
        assert data.language == ["on", "1e3", "null"]
