"""The peers of the full parity run: lm-eval's HFLM and mlx_lm.evaluate's MLXLM, with every scored request kept.

What is replaced is named here and nothing else is: the data source (local files instead of the Hub), the order in
which requests reach HFLM (in parts, so that a stopped run continues), and in `CachedHflm` the forward pass.
"""
import functools
import json
import pathlib

import datasets
import lm_eval.api.model
import lm_eval.api.registry
import lm_eval.api.task
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from lm_eval.models.huggingface import HFLM

TASKS = ["arc_challenge", "arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"]
PART = 64  # requests between two writes


def read_lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().split("\n") if line]


def use_local_data(folder):
    """Tasks read FOLDER/TASK.jsonl as their questions, and FOLDER/TASK.train.jsonl, where there is one, as examples."""

    def download(self, *args, **kwargs):
        task = self.config.task
        rows = datasets.Dataset.from_list(read_lines(folder / f"{task}.jsonl"))
        pool = folder / f"{task}.train.jsonl"
        train = datasets.Dataset.from_list(read_lines(pool)) if pool.exists() else rows
        self.dataset = {"train": train, "validation": rows, "test": rows}

    lm_eval.api.task.ConfigurableTask.download = download


def use_all_metrics():
    """acc_norm and acc_bytes by lm-eval's own code for every task, also where the task's description leaves them out."""
    Task = lm_eval.api.task.ConfigurableTask
    original = Task.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        for name in ("acc_norm", "acc_bytes"):
            self._metric_fn_list.setdefault(name, lm_eval.api.registry.get_metric(name))
            self._metric_fn_kwargs.setdefault(name, {})
            self._aggregation_list.setdefault(name, self._aggregation_list["acc"])
            self._higher_is_better.setdefault(name, True)

    Task.__init__ = init


class Store:
    """What was scored, by the texts of a request: appended to a file part by part, read back when a run continues."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.rows = {}
        if self.path.exists():
            data = self.path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]  # a line torn by a kill goes
            if len(whole) != len(data):
                self.path.write_bytes(whole)
            for line in whole.decode().splitlines():
                row = json.loads(line)
                self.rows[row["context"], row["continuation"]] = row

    def add(self, rows):
        with self.path.open("a") as out:
            for row in rows:
                self.rows[row["context"], row["continuation"]] = row
                out.write(json.dumps(row) + "\n")

    def answer(self, texts):
        row = self.rows[texts]
        return row["ll"], row["greedy"]


def load_model(directory):
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


class StoredHflm(HFLM):
    """HFLM as it is; requests reach it in parts of PART, longest first as it sorts them itself."""

    def __init__(self, directory, store, model=None):
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        super().__init__(pretrained=model or load_model(directory), tokenizer=tokenizer, batch_size=16)
        self.store = store

    def score_tokens(self, requests):
        return super()._loglikelihood_tokens(requests, disable_tqdm=True)

    def ordered(self, requests):
        return sorted(requests, key=lambda r: (-len(r[1] + r[2]), r[1] + r[2]))

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, override_bs=None):
        open_requests = {texts: (texts, context, scored) for texts, context, scored in requests
                         if texts not in self.store.rows}
        todo = self.ordered(open_requests.values())
        for begin in range(0, len(todo), PART):
            part = todo[begin : begin + PART]
            rows = []
            for (texts, context, scored), (ll, greedy) in zip(part, self.score_tokens(part), strict=True):
                rows.append({"context": texts[0], "continuation": texts[1], "context_ids": list(context),
                             "scored_ids": list(scored), "ll": ll, "greedy": greedy})
            self.store.add(rows)
            if not disable_tqdm:
                print(f"{self.store.path.parent.name}: {begin + len(part)} of {len(todo)}", flush=True)
        return [self.store.answer(texts) for texts, _, _ in requests]


def common_length(sequences):
    first = sequences[0]
    length = min(len(s) for s in sequences)
    for s in sequences[1:]:
        length = next((i for i in range(length) if s[i] != first[i]), length)
    return length


class TokenScorer:
    """Log-probabilities of single tokens by Hugging Face's model in float32. What the sequences of a group share goes
    through the model once, and each rest runs on its keys and values; logits only where something is scored. Sequences
    seen before are not computed again: lm-eval's and mlx-lm's conventions score spans of the same tokens.
    """

    def __init__(self, model):
        self.model = model
        self.known = {}  # all tokens -> (first position scored, log-probabilities, most likely tokens)

    def scores(self, group):
        """Of each (context, scored): a tensor of log-probabilities and one of the most likely tokens."""
        def is_known(context, scored):
            tokens = tuple(context) + tuple(scored)
            return tokens in self.known and self.known[tokens][0] <= len(context)

        if not all(is_known(*pair) for pair in group):
            self.compute(group)
        out = []
        for context, scored in group:
            first, log_p, best = self.known[tuple(context) + tuple(scored)]
            out.append((log_p[len(context) - first :], best[len(context) - first :]))
        return out

    @torch.inference_mode()
    def compute(self, group):
        shared = min(common_length([context for context, _ in group]), min(len(c) for c, _ in group) - 1)
        rests = [(list(context) + list(scored))[shared:-1] for context, scored in group]
        width = max(len(rest) for rest in rests)
        padded = torch.tensor([rest + [0] * (width - len(rest)) for rest in rests])
        cache = None
        if shared:
            head = torch.tensor([list(group[0][0][:shared])])
            cache = self.model(head, use_cache=True, logits_to_keep=1).past_key_values
            cache.batch_repeat_interleave(len(group))
        first = min(len(context) for context, _ in group) - 1 - shared  # predicts the first scored token
        logits = self.model(padded, past_key_values=cache, use_cache=cache is not None,
                            logits_to_keep=width - first).logits
        for row, (context, scored) in zip(logits, group):
            begin = len(context) - 1 - shared - first
            log_p = F.log_softmax(row[begin : begin + len(scored)], dim=-1)
            values = log_p.gather(1, torch.tensor(scored)[:, None])[:, 0]
            self.known[tuple(context) + tuple(scored)] = len(context), values, log_p.argmax(-1)


@functools.cache
def scorer_of(directory):
    return TokenScorer(load_model(directory))


class CachedHflm(StoredHflm):
    """HFLM's requests and tokens with TokenScorer's forward pass."""

    def __init__(self, directory, store):
        self.scorer = scorer_of(directory)
        super().__init__(directory, store, self.scorer.model)

    def ordered(self, requests):
        return list(requests)  # the choices of an item stay together

    def score_tokens(self, requests):
        groups = []
        for request in requests:
            assert request[1] and request[2] and len(request[1] + request[2]) <= self.max_length + 1
            group = groups[-1] + [request] if groups else [request]
            if common_length([r[1] for r in group]) * 2 > max(len(r[1]) for r in group):
                groups[-1:] = [group]
            else:
                groups.append([request])
        return [answer for group in groups for answer in self.score_group(group)]

    def score_group(self, group):
        answers = []
        for (_, _, scored), (log_p, best) in zip(group, self.scorer.scores([r[1:] for r in group])):
            answers.append((float(log_p.sum()), bool((best == torch.tensor(scored)).all())))
        return answers


def stored_mlxlm(directory, store):
    """mlx_lm.evaluate's MLXLM: its chat prompts, tokens, spans, grouping, truncation and sums. Its two calls of the
    model are answered by Hugging Face in float32, since MLX itself takes 7 s an item on a CPU in float32.
    """
    import mlx.core as mx
    import mlx_lm.evaluate
    from mlx_lm.utils import load_tokenizer

    mx.set_default_device(mx.cpu)

    class StoredMlxlm(mlx_lm.evaluate.MLXLM):
        apply_chat_template = mlx_lm.evaluate.chat_template_fn()

        def __init__(self):
            lm_eval.api.model.LM.__init__(self)
            self.tokenizer = load_tokenizer(pathlib.Path(directory))
            self.use_chat_template = True
            self._max_tokens = None
            self._batch_size = 8
            self.scorer = scorer_of(directory)

        def _tokenize(self, texts):
            ids = super()._tokenize(texts)
            self.tokenized.update(zip(texts, ids))
            self.calls = self.calls[-1:] + [ids]  # of the context, then of context + continuation
            return ids

        def _process_prompt(self, prompt, step_size=2048):
            """Scores all continuations at once. Of the row that is returned the caller reads what is filled in here."""
            (context,), full = self.calls
            row = np.full((1, 1 + max(max(ids) for ids in full)), -np.inf, np.float32)
            self.answers = {}
            continuations = [ids[len(context):] for ids in full]
            for ids, answer in zip(continuations, self.scorer.scores([(prompt, c) for c in continuations])):
                self.answers[ids] = answer
            best = int(answer[1][0])
            if best >= row.shape[1]:
                row = np.pad(row, ((0, 0), (0, best + 1 - row.shape[1])), constant_values=-np.inf)
            row[0, best] = 0.0
            for ids, (log_p, _) in self.answers.items():
                row[0, ids[0]] = log_p[0]
            return mx.array(row), None

        def _score_fn(self, inputs, cache=None, step_size=2048):
            (ids,) = inputs.tolist()
            log_p, best = self.answers[tuple(ids)]
            return mx.array(log_p[1:].numpy())[None], None, mx.array((best == torch.tensor(ids)).numpy()[1:])[None]

        def loglikelihood(self, requests):
            by_context = {}
            for r in requests:
                if tuple(r.args) not in store.rows:
                    by_context.setdefault(r.args[0], []).append(r)
            todo = [r for group in by_context.values() for r in group]
            begin = 0
            while begin < len(todo):
                end = min(begin + PART, len(todo))
                while end < len(todo) and todo[end].args[0] == todo[end - 1].args[0]:
                    end += 1
                part = todo[begin:end]
                self.tokenized, self.calls = {}, []
                rows = []
                for r, (ll, greedy) in zip(part, super().loglikelihood(part), strict=True):
                    context, continuation = r.args
                    prefix = self.tokenized[context]
                    rows.append({"context": context, "continuation": continuation, "context_ids": list(prefix),
                                 "scored_ids": list(self.tokenized[context + continuation][len(prefix):]),
                                 "ll": ll, "greedy": bool(greedy)})
                store.add(rows)
                begin = end
                print(f"{store.path.parent.name}: {end} of {len(todo)}", flush=True)
            return [store.answer(tuple(r.args)) for r in requests]

    return StoredMlxlm()
