"""Few-shot prompts and tasks of one's own against lm-eval and mlx_lm.evaluate: their task definitions, samplers, message
building, templates and pair encoding; every string and every token id is compared. No model runs: what the reference
sends to its model is recorded. And Python's generator against CPython's.
"""
import json
import pathlib
import random
import subprocess

import datasets
import lm_eval.api.task
import pytest
from lm_eval import simple_evaluate

from conftest import ROOT, make_tiny, thinking_tokenizer
from test_eval import TASKS, RecordingMlx, hugging_face, read_lines

POOL, QUESTIONS, SHOTS = slice(0, 200), slice(200, 300), 5


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def use_splits(monkeypatch, folder, names=None):
    """Questions are the rows of FOLDER/TASK.jsonl, examples those of FOLDER/TASK.train.jsonl."""

    def download(self, *args, **kwargs):
        name = (names or {}).get(self.config.task, self.config.task)
        asked, pool = (datasets.Dataset.from_list(read_lines(folder / f"{name}{suffix}.jsonl")) for suffix in ("", ".train"))
        self.dataset = {"train": pool, "dev": pool, "validation": asked, "test": asked}
        # LAMBADA has no other split: its examples come from the questions' own.
        if self.config.training_split is None and self.config.validation_split is None and self.fewshot_cfg.split is None:
            self.dataset["test"] = asked

    monkeypatch.setattr(lm_eval.api.task.ConfigurableTask, "download", download)


@pytest.fixture(scope="session")
def split_dir(data_dir, tmp_path_factory):
    """Rows 0-199 of the real files as pool, rows 200-299 as questions."""
    target = tmp_path_factory.mktemp("split")
    for task in TASKS:
        rows = read_lines(data_dir / f"{task}.jsonl")
        write_rows(target / f"{task}.jsonl", rows[QUESTIONS])
        write_rows(target / f"{task}.train.jsonl", rows[POOL])
    return target


# Questions that stand in the pool, once and several times (then lm-eval draws anew), keys in another order, a
# winogrande sentence that ends with its blank, an empty choice, texts that end in white space.
PIQA = [{"goal": f"goal {i} ", "sol1": f"a{i}", "sol2": "" if i else "b", "label": i % 2} for i in range(6)]
WINOGRANDE = [{"sentence": s, "option1": "Ann", "option2": "Bea\u00a0", "answer": a}
              for s, a in (("_ saw Bea. ", "2"), ("Ann met _", "1"), ("So it was _ .", "1"), ("Then _ left", "2"))]
BOOLQ = [{"question": f"is it {i}", "passage": "P.\n", "idx": i, "label": i % 2} for i in range(5)]
HELLASWAG = [{"ind": i, "activity_label": "A", "ctx_a": f"x {i} [title] y", "ctx_b": "he Ran", "ctx": "", "endings":
              ["a", "[x] b", "c  d", "e"], "source_id": "s", "split": "val", "split_type": "x", "label": str(i % 4)} for i in range(5)]
AWKWARD = {
    "piqa": (PIQA, PIQA[:4] + [dict(reversed(PIQA[1].items()))] * 3),
    "winogrande": (WINOGRANDE * 2, WINOGRANDE),
    "boolq": (BOOLQ, BOOLQ[:2] * 2 + BOOLQ[3:]),
    "hellaswag": (HELLASWAG, HELLASWAG),
}


@pytest.fixture(scope="session")
def awkward_dir(tmp_path_factory):
    target = tmp_path_factory.mktemp("awkward")
    for task, (asked, pool) in AWKWARD.items():
        write_rows(target / f"{task}.jsonl", asked)
        write_rows(target / f"{task}.train.jsonl", pool)
    return target


@pytest.fixture(scope="session")
def recording_lm(smollm2):
    """lm-eval's own Hugging Face model class; the token ids that would reach the model are recorded."""
    lm = hugging_face(smollm2)
    lm.calls = {}

    def record(requests, *args, **kwargs):
        for pair, context, continuation in requests:
            lm.calls[pair] = (list(context), list(continuation))
        return [(0.0, False)] * len(requests)

    lm._loglikelihood_tokens = record
    return lm


def prompts_of(qx, model, folder, data, tasks, *options):
    qx("eval", "-m", f"m={model}", "--tasks", ",".join(map(str, tasks)), "--data", data, "--write-prompts", "--dry-run",
       "-o", folder, *options)
    names = [json.loads(task.read_text())["name"] if isinstance(task, pathlib.Path) else task for task in tasks]
    return {name: read_lines(folder / "m" / f"prompts-{name}.jsonl") for name in names}


def reference_samples(lm, tasks, **options):
    result = simple_evaluate(model=lm, tasks=tasks, bootstrap_iters=0, log_samples=True, **options)
    return {task: sorted(rows, key=lambda row: row["doc_id"]) for task, rows in result["samples"].items()}


def compare_prompts(ours, samples, ids_of):
    """ids_of(context, continuation) -> (context ids, scored ids). Returns the number of choices."""
    choices = 0
    assert len(ours) == len(samples)
    for prompt, sample in zip(ours, samples):
        place = f"{prompt['task']} {prompt['index']}"
        assert prompt["index"] == sample["doc_id"]
        for choice, (context, continuation) in zip(prompt["choices"], sample["arguments"], strict=True):
            assert choice["context"] == context, place
            assert choice["continuation"] == continuation, place
            prefix, scored = ids_of(context, continuation)
            assert choice["ids"] == prefix + scored, place
            assert choice["scored"] == [len(prefix), len(prefix) + len(scored)], place
            choices += 1
    return choices


MODES = {
    "plain": ((), dict(fewshot_random_seed=1234)),
    "chat multi-turn": (("--chat", "--convention", "lm-eval"),
                        dict(apply_chat_template=True, fewshot_as_multiturn=True, fewshot_random_seed=1234)),
    "chat single-turn": (("--chat", "--convention", "lm-eval", "--fewshot-single-turn", "--fewshot-seed", 7),
                         dict(apply_chat_template=True, fewshot_as_multiturn=False, fewshot_random_seed=7)),
}


def compare_with_lm_eval(qx, lm, smollm2, folder, data, tasks, shots, mode):
    options, theirs = MODES[mode]
    options = options or ("--plain",)
    ours = prompts_of(qx, smollm2, folder, data, tasks, "--shots", shots, *options)
    samples = reference_samples(lm, tasks, num_fewshot=shots, **theirs)
    return sum(compare_prompts(ours[task], samples[task], lambda *pair: lm.calls[pair]) for task in tasks)


@pytest.mark.parametrize("mode", MODES)
def test_prompts_are_those_of_lm_eval(qx, smollm2, recording_lm, split_dir, monkeypatch, tmp_path, mode):
    use_splits(monkeypatch, split_dir)
    choices = compare_with_lm_eval(qx, recording_lm, smollm2, tmp_path, split_dir, TASKS, SHOTS, mode)
    assert choices > 7 * 200


@pytest.mark.parametrize("mode", MODES)
def test_prompts_of_awkward_rows(qx, smollm2, recording_lm, awkward_dir, monkeypatch, tmp_path, mode):
    use_splits(monkeypatch, awkward_dir)
    # An empty choice has no tokens in chat mode; there PIQA is left out.
    tasks = [task for task in AWKWARD if mode == "plain" or task not in ("piqa", "winogrande")]
    compare_with_lm_eval(qx, recording_lm, smollm2, tmp_path, awkward_dir, tasks, 2, mode)


def test_prompts_are_those_of_mlx_lm(qx, smollm2, split_dir, monkeypatch, tmp_path):
    """mlx_lm.evaluate's defaults: chat, one turn, seed 123."""
    use_splits(monkeypatch, split_dir)
    ours = prompts_of(qx, smollm2, tmp_path, split_dir, TASKS, "--shots", SHOTS)
    recorder = RecordingMlx(smollm2)
    samples = reference_samples(recorder.lm, TASKS, num_fewshot=SHOTS, apply_chat_template=True, fewshot_as_multiturn=False,
                                fewshot_random_seed=123)
    for task in TASKS:
        compare_prompts(ours[task], samples[task], lambda c, t: recorder.calls[c, c + t])


@pytest.mark.parametrize("multiturn", [False, True])
def test_prompts_with_thinking_marks(qx, smollm2, split_dir, monkeypatch, tmp_path, multiturn):
    """Qwen3's template writes earlier turns of the assistant in another way than the one it asks for."""
    model = make_tiny("qwen3", tmp_path / "tiny", thinking_tokenizer(tmp_path / "tokenizer"))
    tasks = ["arc_easy", "piqa", "winogrande"]
    use_splits(monkeypatch, split_dir)
    ours = prompts_of(qx, model, tmp_path / "runs", split_dir, tasks, "--shots", 3, "--limit", 20,
                      *(["--fewshot-as-multiturn"] if multiturn else []))
    recorder = RecordingMlx(model)
    samples = reference_samples(recorder.lm, tasks, num_fewshot=3, limit=20, apply_chat_template=True,
                                fewshot_as_multiturn=multiturn, fewshot_random_seed=123)
    for task in tasks:
        compare_prompts(ours[task], samples[task], lambda c, t: recorder.calls[c, c + t])


def test_the_examples_of_a_row_do_not_depend_on_the_rows_asked(qx, smollm2, split_dir, tmp_path):
    whole = prompts_of(qx, smollm2, tmp_path / "whole", split_dir, ["arc_easy", "piqa"], "--plain", "--shots", 3)
    part = prompts_of(qx, smollm2, tmp_path / "part", split_dir, ["arc_easy", "piqa"], "--plain", "--shots", 3, "--offset", 60,
                      "--limit", 5)
    for task, prompts in part.items():
        assert prompts == whole[task][60:65]


# Descriptions of the documentation, and rows in the schemas of their data sets.
EXAMPLES = ROOT / "tasks/examples"
OWN_ROWS = {
    "social_iqa": ("social_iqa", [
        {"context": f"Sam met {w} at the park.", "question": "What will Sam do next?", "answerA": "go home", "answerB": f"greet {w}",
         "answerC": "sleep ", "label": str(1 + i % 3)} for i, w in enumerate(("Kim", "Lee", "Ann", "Bob", "Eve", "Max", "Zoë"))]),
    "sciq": ("sciq", [
        {"question": f"What is {w} made of?", "distractor1": "wood", "distractor2": " stone", "distractor3": "air",
         "correct_answer": a, "support": s}
        for w, a, s in (("ice", "water", "\n Ice is frozen water."), ("glass", "sand", ""), ("bread", "flour", "Bread \u00a0"),
                        ("a cloud", "droplets", "\u2003Clouds hold droplets."))]),
    "lambada_openai": ("lambada_openai", [
        {"text": t} for t in ("She opened the door and saw her old friend Anna", "He poured the tea into the blue cup",
                              "a  b", "“Wait,” said the captain of the ship, “where is my hat?”")]),
    "mmlu": ("mmlu_abstract_algebra", [
        {"question": q, "subject": "abstract_algebra", "choices": ["0", "1", "2 ", "4"], "answer": i % 4}
        for i, q in enumerate((" Find the order of Z_4.", "What is 1 + 1?\n", "How many units has Z_5?", "Which is prime?",
                               "Which is even?"))]),
}


@pytest.fixture(scope="session")
def own_dir(tmp_path_factory):
    target = tmp_path_factory.mktemp("own")
    for name, (_, rows) in OWN_ROWS.items():
        write_rows(target / f"{name}.jsonl", rows)
        write_rows(target / f"{name}.train.jsonl", rows if name == "lambada_openai" else rows[::-1])
    return target


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shots", [0, 2])
def test_own_tasks_are_asked_as_lm_eval_asks_them(qx, smollm2, recording_lm, own_dir, monkeypatch, tmp_path, mode, shots):
    use_splits(monkeypatch, own_dir, {theirs: ours for ours, (theirs, _) in OWN_ROWS.items()})
    options, theirs = MODES[mode]
    options = tuple(o for o in options or ("--plain",) if shots or not str(o).startswith("--fewshot") and o != 7)
    ours = prompts_of(qx, smollm2, tmp_path, own_dir, [EXAMPLES / f"{name}.json" for name in OWN_ROWS], "--shots", shots, *options)
    samples = reference_samples(recording_lm, [task for task, _ in OWN_ROWS.values()], num_fewshot=shots, **theirs)
    for name, (task, rows) in OWN_ROWS.items():
        assert len(ours[name]) == len(rows)
        compare_prompts(ours[name], samples[task], lambda *pair: recording_lm.calls[pair])


def test_own_tasks_are_scored_as_lm_eval_scores_them(qx, smollm2, own_dir, monkeypatch, tmp_path):
    """Gold answers and metrics, by the reference's own process_results on our log-likelihoods."""
    use_splits(monkeypatch, own_dir, {theirs: ours for ours, (theirs, _) in OWN_ROWS.items()})
    descriptions = ",".join(str(EXAMPLES / f"{name}.json") for name in OWN_ROWS)
    qx("eval", "-m", f"m={smollm2}", "--tasks", descriptions, "--data", own_dir, "-o", tmp_path, "--plain", "--precision", "reference")
    results = json.loads((tmp_path / "m/results.json").read_text())["results"]
    from lm_eval.tasks import TaskManager, get_task_dict

    tasks = get_task_dict([task for task, _ in OWN_ROWS.values()], TaskManager())
    for name, (task_name, rows) in OWN_ROWS.items():
        task = tasks[task_name]
        answers = read_lines(tmp_path / "m" / f"answers-{name}.jsonl")
        metrics = []
        for answer, doc in zip(answers, task.eval_docs, strict=True):
            values = [(c["ll"], c["greedy"]) for c in answer["choices"]]
            theirs = task.process_results(doc, values if task.OUTPUT_TYPE == "multiple_choice" else values[:1])
            metrics.append({k: v for k, v in theirs.items() if k in ("acc", "acc_norm")})
            assert {k: answer[k] for k in metrics[-1]} == {k: int(v) for k, v in metrics[-1].items()}, (name, answer)
        for metric in metrics[0]:
            assert results[name][f"{metric},none"] == pytest.approx(sum(m[metric] for m in metrics) / len(metrics), abs=1e-13)


def test_random_numbers_are_pythons(tmp_path):
    """python_random over many sizes and seeds, beside both ways in which Python samples."""
    program = pathlib.Path(ROOT / "build/src/tasks/python_random_print")
    if not program.exists():
        pytest.skip("build/src/tasks/python_random_print is not built")
    chooser = random.Random(99)
    cases = []
    for _ in range(3000):
        n = chooser.choice([chooser.randrange(1, 40), chooser.randrange(1, 2000), chooser.randrange(1, 10**6), chooser.randrange(1, 2**40)])
        k = chooser.randrange(0, min(n, 60) + 1)
        cases.append((chooser.choice([0, 1, 123, 1234, chooser.randrange(2**32), chooser.randrange(2**64)]), n, k))
    cases += [(5, n, k) for n in (20, 21, 22, 85, 86, 277, 278) for k in (1, 5, 6, 16, 20)]
    lines = "".join(f"{seed} {n} {k}\n" for seed, n, k in cases)
    out = subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(out) == len(cases)
    for (seed, n, k), line in zip(cases, out):
        generator = random.Random(seed)
        expected = generator.sample(range(n), k) + generator.sample(range(n), min(1, n))
        assert list(map(int, line.split())) == expected, (seed, n, k)
