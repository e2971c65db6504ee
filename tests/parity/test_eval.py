"""`qx eval` and `qx score` against lm-eval and mlx_lm.evaluate themselves: their own task definitions, their own pair
encoding, Hugging Face's model in float32 with the same weights. Only the data source is replaced by local files.
"""
import json
import pathlib

import datasets
import lm_eval.api.task
import numpy as np
import pytest
import torch
import transformers
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from conftest import make_tiny, thinking_tokenizer

torch.set_num_threads(1)

TASKS = ["arc_challenge", "arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"]
ITEMS = 40
# Two float32 implementations of one rule differ by up to 1.1e-4 a choice (rounding of sums of about 1e3 terms).
TOLERANCE = 2e-3
# Activations of 16 bits on quantized weights move a choice further (docs/performance.md).
EXACT_TOLERANCE = 4e-3

# What the real files at hand do not have: contexts that end in white space, 3 and 5 choices, labels 1 to 4, marks in
# brackets, NBSP, case mappings that change the length, double spaces, equal choices, choices that begin with spaces.
SYNTHETIC = {
    "arc_easy": [
        {"id": "a", "question": "Which is a metal?", "choices": {"text": ["iron", "wood", "glass"], "label": ["A", "B", "C"]},
         "answerKey": "A"},
        {"id": "b", "question": "Pick one \u00a0", "choices": {"text": ["a", "b", "c", "d", "e"], "label": list("12345")},
         "answerKey": "4"},
        {"id": "c", "question": "Équal\tchoices?\n", "choices": {"text": ["same", "same", " other", "naïve 😀"],
                                                              "label": list("1234")}, "answerKey": "2"},
        {"id": "d", "question": "{{ braces }} {% x %}?", "choices": {"text": ["'quoted'", "\"both'\"", "back\\slash"],
                                                                "label": list("ABC")}, "answerKey": "C"},
    ],
    "arc_challenge": [
        {"id": "a", "question": "", "choices": {"text": ["x", " y"], "label": ["1", "2"]}, "answerKey": "2"},
    ],
    "boolq": [
        {"question": "is it so?", "passage": "It is so. ", "idx": 3, "label": 1},
        {"question": "does water freeze ", "passage": "\u00a0Water freezes.\n\n", "idx": 4, "label": 0},
    ],
    "hellaswag": [
        {"ind": 1, "activity_label": "Home and Garden", "ctx_a": "[header] How to plant [title] Dig a hole. [step] Use a spade.",
         "ctx_b": "then WATER it", "ctx": "", "endings": ["[substeps] Wait.", "a  b   c", "Leave [it] ", "x [title] Y."],
         "source_id": "s", "split": "val", "split_type": "indomain", "label": "2"},
        {"ind": 2, "activity_label": " ΟΔΟΣ", "ctx_a": "Start\u00a0", "ctx_b": "ßA ΟΔΟΣ İx", "ctx": "",
         "endings": ["é", "[a\nb] c", "d]", "[e"], "source_id": "s", "split": "val", "split_type": "x", "label": "0"},
        {"ind": 3, "activity_label": "Empty", "ctx_a": "A man sits.", "ctx_b": "", "ctx": "",
         "endings": ["He stands.", "He runs.", "[x]", "He sleeps."], "source_id": "s", "split": "val", "split_type": "x",
         "label": "1"},
    ],
    "openbookqa": [
        {"id": "a", "question_stem": "The sky is ", "choices": {"text": ["blue", "green"], "label": ["A", "B"]}, "answerKey": " A"},
        {"id": "b", "question_stem": "Bees make\u2003\n", "choices": {"text": ["honey", "  two spaces", "wax\n"],
                                                                  "label": ["A", "B", "C"]}, "answerKey": "C"},
    ],
    "piqa": [
        {"goal": "dresser\n", "sol1": "replace drawer with bobby pin", "sol2": "finish, woodgrain with  bobby pin", "label": 1},
        {"goal": "Open a jar  ", "sol1": "Twist\u00a0it", "sol2": " Twist it ", "label": 0},
    ],
    "winogrande": [
        {"sentence": "Ann thanked Bea because _ had helped. ", "option1": "Ann", "option2": "Bea", "answer": "2"},
        {"sentence": "_ is taller than Bea_.", "option1": "Ann", "option2": "Cleo ", "answer": "1"},
        {"sentence": "The cup fell off the _\u00a0.", "option1": "table\u00a0", "option2": "bed", "answer": "1"},
    ],
}


def read_lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().split("\n") if line]


@pytest.fixture(scope="session")
def synthetic_dir(tmp_path_factory):
    target = tmp_path_factory.mktemp("synthetic")
    for task, rows in SYNTHETIC.items():
        (target / f"{task}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return target


def use_local_data(monkeypatch, folder):
    """Every split of a task becomes the rows of FOLDER/TASK.jsonl."""

    def download(self, *args, **kwargs):
        rows = datasets.Dataset.from_list(read_lines(folder / f"{self.config.task}.jsonl"))
        self.dataset = {split: rows for split in ("train", "validation", "test")}

    monkeypatch.setattr(lm_eval.api.task.ConfigurableTask, "download", download)


def hugging_face(directory):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16)


@pytest.fixture(scope="session")
def reference(smollm2):
    return hugging_face(smollm2)


def lm_eval_samples(lm, limit=None, **options):
    # With bootstrap_iters=0 there would be no standard error; those of means need none of its draws.
    result = simple_evaluate(model=lm, tasks=TASKS, limit=limit, bootstrap_iters=1, log_samples=True, **options)
    samples = {task: sorted(rows, key=lambda row: row["doc_id"]) for task, rows in result["samples"].items()}
    return result["results"], samples


def best_margin(values):
    first, second = sorted(values, reverse=True)[:2]
    return first - second


def compare_run(folder, results, samples, *, check_hash, tolerance=TOLERANCE):
    """Answers item by item; returns the largest difference of a log-likelihood and the number of ties."""
    largest, ties = 0.0, 0
    for task in TASKS:
        answers = read_lines(folder / f"answers-{task}.jsonl")
        prompts = read_lines(folder / f"prompts-{task}.jsonl")
        assert len(answers) == len(samples[task])
        for answer, prompt, sample in zip(answers, prompts, samples[task]):
            place = f"{task} {answer['index']}"
            assert answer["index"] == prompt["index"] == sample["doc_id"]
            pairs = [tuple(arguments) for arguments in sample["arguments"]]
            assert [(c["context"], c["continuation"]) for c in prompt["choices"]] == pairs, place
            theirs = np.array([float(r[0][0]) for r in sample["resps"]])
            ours = np.array([c["ll"] for c in answer["choices"]])
            largest = max(largest, np.abs(theirs - ours).max())
            assert np.abs(theirs - ours).max() < tolerance, f"{place}: {ours} {theirs}"
            # hellaswag's document there is the processed one.
            if check_hash and task != "hellaswag":
                assert answer["doc_hash"] == sample["doc_hash"], place
            lengths = np.array([c["chars"] for c in answer["choices"]], dtype=float)
            with np.errstate(divide="ignore"):
                normalized = theirs / lengths
            for metric, values in (("acc", theirs), ("acc_norm", normalized)):
                if metric not in sample:
                    assert metric not in answer, place
                    continue
                if answer[metric] != sample[metric]:
                    scale = 1 if metric == "acc" else max(1, lengths.min())
                    assert best_margin(values) < 2 * tolerance / scale, f"{place}: {metric}"
                    ties += 1
        ours = json.loads((folder / "results.json").read_text())["results"][task]
        assert ours["sample_len"] == results[task]["sample_len"] == len(answers)
        assert ours["alias"] == results[task]["alias"]
        if ties == 0:
            for key in ("acc,none", "acc_stderr,none", "acc_norm,none", "acc_norm_stderr,none"):
                if key in results[task] and results[task][key] != "N/A" and len(answers) > 1:
                    assert ours[key] == pytest.approx(results[task][key], abs=1e-13), f"{task} {key}"
    return largest, ties


def test_plain_scores_are_those_of_lm_eval(qx, smollm2, reference, data_dir, monkeypatch, tmp_path):
    qx("eval", "-m", f"m={smollm2}", "--tasks", "all", "--data", data_dir, "--limit", ITEMS, "-o", tmp_path, "--plain",
       "--write-prompts", "--quiet")
    use_local_data(monkeypatch, data_dir)
    results, samples = lm_eval_samples(reference, limit=ITEMS)
    largest, ties = compare_run(tmp_path / "m", results, samples, check_hash=True)
    print(f"largest difference of a log-likelihood {largest:.2e}, {ties} ties")


def test_plain_scores_of_awkward_rows(qx, smollm2, reference, synthetic_dir, monkeypatch, tmp_path):
    qx("eval", "-m", f"m={smollm2}", "--tasks", "all", "--data", synthetic_dir, "-o", tmp_path, "--plain", "--write-prompts")
    use_local_data(monkeypatch, synthetic_dir)
    results, samples = lm_eval_samples(reference)
    compare_run(tmp_path / "m", results, samples, check_hash=True)


def test_chat_scores_under_lm_evals_convention(qx, smollm2, reference, synthetic_dir, monkeypatch, tmp_path):
    """lm-eval with a chat template: the prompt's last line feed is scored with the choice."""
    qx("eval", "-m", f"m={smollm2}", "--tasks", "all", "--data", synthetic_dir, "-o", tmp_path, "--chat", "--convention",
       "lm-eval", "--write-prompts")
    use_local_data(monkeypatch, synthetic_dir)
    results, samples = lm_eval_samples(reference, apply_chat_template=True, fewshot_as_multiturn=False)
    compare_run(tmp_path / "m", results, samples, check_hash=True)


@pytest.mark.parametrize("precision, tolerance", [("reference", TOLERANCE), ("exact", EXACT_TOLERANCE)])
def test_quantized_scores(qx, smollm2, synthetic_dir, monkeypatch, tmp_path, precision, tolerance):
    """q4-hi against Hugging Face with the weights that its codes stand for, decoded in float32."""
    qx("convert", "-m", smollm2, "-o", tmp_path / "q4-hi", "--recipe", "q4-hi", "--quiet")
    qx("convert", "-m", tmp_path / "q4-hi", "-o", tmp_path / "decoded", "--recipe", "f32", "--quiet")
    qx("eval", "-m", tmp_path / "q4-hi", "--tasks", "all", "--data", synthetic_dir, "-o", tmp_path / "runs", "--plain",
       "--write-prompts", "--precision", precision)
    use_local_data(monkeypatch, synthetic_dir)
    results, samples = lm_eval_samples(hugging_face(tmp_path / "decoded"))
    largest, ties = compare_run(tmp_path / "runs/q4-hi", results, samples, check_hash=True, tolerance=tolerance)
    print(f"{precision}: largest difference of a log-likelihood {largest:.2e}, {ties} ties")


PAIRS = [
    ("The capital of France is", " Paris"), ("The capital of France is ", "Paris"), ("a\u00a0", "b"), ("a \n\t", " b"),
    ("un", "believable"), ("hello wor", "ld and more"), ("1", "23"), ("x", "\n\n  y"), ("", "Hello there"),
    ("", " the"), ("<|im_start|>user\nhi<|im_end|>\n", "ok"), ("<|im_start|>", "user"), ("é", "\u0301x"), ("😀", "😀😀"),
    ("foo(", ")bar"), ("don", "'t stop"), ("same", " pair"), ("same", " pair"), ("same", " pair and more"),
    (" leading", " space"), ("word " * 60, "end"),
]


def test_score_follows_lm_evals_pair_rule(qx, smollm2, reference):
    def theirs(pairs):
        requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        return reference.loglikelihood(requests, disable_tqdm=True)

    lines = "".join(json.dumps({"context": c, "continuation": t}) + "\n" for c, t in PAIRS)
    ours = [json.loads(line) for line in qx("score", "-m", smollm2, "--requests", "-", stdin=lines).stdout.splitlines()]
    expected = theirs(PAIRS)
    assert len(ours) == len(PAIRS)
    for pair, got, (ll, greedy) in zip(PAIRS, ours, expected):
        assert got["ll"] == pytest.approx(ll, abs=TOLERANCE), pair
        assert got["greedy"] == greedy, pair

    # The same requests as token ids give the same doubles.
    id_lines = ""
    for context, continuation in PAIRS:
        if context:
            head, tail = reference._encode_pair(context, continuation)
        else:
            head, tail = [reference.prefix_token_id], reference.tok_encode(continuation, add_special_tokens=False)
        id_lines += json.dumps({"context_ids": head, "continuation_ids": tail}) + "\n"
    by_ids = [json.loads(line) for line in qx("score", "-m", smollm2, "--requests", "-", stdin=id_lines).stdout.splitlines()]
    assert by_ids == ours

    for bad in ({"context": "a", "continuation": ""}, {"context": " ", "continuation": "a"}, {"context": "a"},
                {"context_ids": [1], "continuation_ids": [10**6]}, {"context_ids": [], "continuation_ids": [1]}):
        done = qx("score", "-m", smollm2, "--requests", "-", stdin=lines + json.dumps(bad) + "\n", check=False)
        assert done.returncode == 1
        assert f"stdin:{len(PAIRS) + 1}]" in done.stderr, done.stderr


class RecordingMlx:
    """Runs mlx_lm.evaluate's own request path with its own tokenizer; the model is replaced by a recorder."""

    def __init__(self, directory):
        import mlx.core as mx
        import mlx_lm.evaluate
        from mlx_lm.utils import load_tokenizer

        calls = self.calls = {}  # (context, full text) -> (context ids given to the model, scored ids)

        class Recorder(mlx_lm.evaluate.MLXLM):
            apply_chat_template = mlx_lm.evaluate.chat_template_fn()

            def __init__(self):
                lm_eval.api.model.LM.__init__(self)
                self.tokenizer = load_tokenizer(directory)
                self.use_chat_template = True
                self._max_tokens = None
                self._batch_size = 8

            def _tokenize(self, texts):
                ids = super()._tokenize(texts)
                if getattr(self, "context", None) is None:  # the first of two calls: the context
                    self.context, self.prefix = texts[0], ids[0]
                else:
                    for text, full in zip(texts, ids):
                        calls[self.context, text] = list(self.prefix), list(full[len(self.prefix):])
                    self.context = None
                return ids

            def _process_prompt(self, prompt, step_size=2048):
                return mx.zeros((1, 200_000)), None

            def _score_fn(self, inputs, cache=None, step_size=2048):
                return mx.zeros((1, 1)), None, mx.array([True])

        self.lm = Recorder()


def compare_chat_prompts(qx, directory, folder, data, limit):
    qx("eval", "-m", f"m={directory}", "--tasks", "all", "--data", data, "--chat", "--write-prompts", "--dry-run", "-o", folder,
       *(["--limit", limit] if limit else []))
    recorder = RecordingMlx(directory)
    _, samples = lm_eval_samples(recorder.lm, limit=limit, apply_chat_template=True, fewshot_as_multiturn=False)
    choices = 0
    for task in TASKS:
        prompts = read_lines(folder / "m" / f"prompts-{task}.jsonl")
        assert len(prompts) == len(samples[task])
        for prompt, sample in zip(prompts, samples[task]):
            for choice, (context, continuation) in zip(prompt["choices"], sample["arguments"], strict=True):
                place = f"{task} {prompt['index']}"
                assert (choice["context"], choice["continuation"]) == (context, continuation), place
                prefix, scored = recorder.calls[context, context + continuation]
                begin, end = choice["scored"]
                assert choice["ids"] == prefix + scored, place
                assert [begin, end] == [len(prefix), len(prefix) + len(scored)], place
                choices += 1
    return choices


def test_chat_tokens_are_those_of_mlx_lm(qx, smollm2, data_dir, monkeypatch, tmp_path):
    use_local_data(monkeypatch, data_dir)
    assert compare_chat_prompts(qx, smollm2, tmp_path, data_dir, ITEMS) > 7 * ITEMS


# In chat mode a choice that is empty once cleaned has no tokens: mlx_lm stops with an IndexError, qx with a message.
@pytest.fixture(scope="session")
def synthetic_chat_dir(synthetic_dir, tmp_path_factory):
    target = tmp_path_factory.mktemp("synthetic_chat")
    for task in TASKS:
        rows = [row for row in SYNTHETIC[task] if row.get("activity_label") != "Empty"]
        (target / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return target


def test_chat_tokens_of_awkward_rows(qx, smollm2, synthetic_chat_dir, monkeypatch, tmp_path):
    use_local_data(monkeypatch, synthetic_chat_dir)
    compare_chat_prompts(qx, smollm2, tmp_path, synthetic_chat_dir, None)


def test_an_empty_choice_in_chat_mode_is_a_clear_error(qx, smollm2, synthetic_dir, tmp_path):
    done = qx("eval", "-m", smollm2, "--tasks", "hellaswag", "--data", synthetic_dir, "--chat", "-o", tmp_path, check=False)
    assert done.returncode == 1
    assert "hellaswag.jsonl:3]" in done.stderr and "continuation" in done.stderr


def test_chat_tokens_of_qwen3(qx, smollm2, synthetic_chat_dir, monkeypatch, tmp_path):
    """Another template, with thinking marks, on a tiny random model."""
    model = make_tiny("qwen3", tmp_path / "tiny", thinking_tokenizer(tmp_path / "tokenizer"))
    use_local_data(monkeypatch, synthetic_chat_dir)
    compare_chat_prompts(qx, model, tmp_path / "runs", synthetic_chat_dir, None)
