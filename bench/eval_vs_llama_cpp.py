#!/usr/bin/env python3
"""Items a second of `qx eval` against llama.cpp, built for this machine and driven through its Python binding, on the same requests:
the token ids that qx writes with --write-prompts. llama.cpp gets what a careful user would give it: the common prefix of an item's
choices is computed once and kept in the cache, logits are asked for only where a token is scored, and one of two ways is used:
  rm    choice after choice; what the next one does not share is removed from the cache (llama_memory_seq_rm)
  tree  the prefix once, then all choices in one batch, each a sequence that shares the prefix (llama_memory_seq_cp)
Its tokenization, prompt building and model loading are left out, to its advantage; qx's time is a whole `qx eval`, all included.
The programs take turns, round by round.

usage: PYTHON=$(bench/build_llama_cpp.sh); $PYTHON bench/eval_vs_llama_cpp.py --variant Q4_HI_DIR --gguf FILE [--data DIR] [--items 20]
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import llama_cpp as L
import llama_cpp_peer as peer
import numpy as np

TASKS = ["arc_challenge", "arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"]
MAX_CHOICES = 8


def read_lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().split("\n") if line]


def common_prefix(a, b):
    n = min(len(a), len(b))
    return next((i for i in range(n) if a[i] != b[i]), n)


class Scorer:
    def __init__(self, path, threads, context=4096):
        self.session = peer.Session(path, threads, context, batch=2048, sequences=MAX_CHOICES + 1)
        self.batch = L.llama_batch_init(context, 0, 1)
        self.decode_seconds = 0.0

    def decode(self, rows):
        """rows: (token, position, sequence, wants logits). Returns the wanted logits [n, vocabulary], in order."""
        b = self.batch
        b.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = token, position, 1, wanted
            b.seq_id[i][0] = sequence
        begin = time.perf_counter()
        if L.llama_decode(self.session.context, b) != 0:
            raise SystemExit("llama_decode failed")
        count = sum(row[3] for row in rows)
        if not count:
            return np.zeros((0, self.session.vocab_size), np.float32)
        pointer = L.llama_get_logits(self.session.context)
        self.decode_seconds += time.perf_counter() - begin
        return np.ctypeslib.as_array(pointer, (count, self.session.vocab_size))

    @staticmethod
    def log_likelihood(logits, targets):
        top = logits.max(axis=1)
        total = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
        return float((logits[np.arange(len(targets)), targets] - total).sum())

    def item_rm(self, choices):
        memory, cached, scores = self.session.memory, [], []
        for choice in choices:
            ids, (first, end) = choice["ids"], choice["scored"]
            keep = min(common_prefix(cached, ids), first - 1)  # the token before the first scored one is needed again
            L.llama_memory_seq_rm(memory, 0, keep, -1)
            logits = self.decode([(ids[i], i, 0, i >= first - 1) for i in range(keep, end - 1)])
            scores.append(self.log_likelihood(logits, ids[first:end]))
            cached = ids[:end - 1]
        L.llama_memory_seq_rm(memory, 0, -1, -1)
        return scores

    def item_tree(self, choices):
        memory = self.session.memory
        shared = min(c["scored"][0] - 1 for c in choices)
        for c in choices[1:]:
            shared = min(shared, common_prefix(choices[0]["ids"], c["ids"]))
        if shared:
            self.decode([(choices[0]["ids"][i], i, 0, False) for i in range(shared)])
        rows = []
        for sequence, c in enumerate(choices, 1):
            if shared:
                L.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
            rows += [(c["ids"][i], i, sequence, i >= c["scored"][0] - 1) for i in range(shared, c["scored"][1] - 1)]
        logits, at, scores = self.decode(rows), 0, []
        for c in choices:
            first, end = c["scored"]
            scores.append(self.log_likelihood(logits[at:at + end - first], c["ids"][first:end]))
            at += end - first
        L.llama_memory_clear(memory, False)
        return scores


def run_llama(scorer, way, items):
    scorer.decode_seconds = 0.0
    score = scorer.item_rm if way == "rm" else scorer.item_tree
    begin = time.perf_counter()
    scores = [score(item["choices"]) for item in items]
    return time.perf_counter() - begin, scorer.decode_seconds, scores


def run_qx(args, task, precision, folder, write_prompts=False):
    command = [args.qx, "eval", "-m", f"v={args.variant}", "--tasks", task, "--plain", "--limit", args.items, "-o", folder, "--data",
               args.data, "--threads", args.threads, "--precision", precision, "--quiet"]
    begin = time.perf_counter()
    done = subprocess.run([str(c) for c in command + ["--write-prompts"] * write_prompts], capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode == 2 and "precision" in done.stderr:
        return None
    if done.returncode != 0:
        sys.exit(done.stderr)
    rows = read_lines(pathlib.Path(folder) / f"v/answers-{task}.jsonl")
    return seconds, [[c["ll"] for c in row["choices"]] for row in rows]


def report(args, times, decode, difference):
    rows = list(times)
    print(f"{args.items} items of each task, plain, {args.threads} threads, {args.rounds} rounds in turns, load average "
          f"{os.getloadavg()[0]:.1f}; items a second, medians (min to max in the last column)\nllama.cpp: {peer.system_info()}")
    print(f"{'':<26}" + "".join(f"{t[:10]:>12}" for t in args.tasks) + f"{'all':>12}")
    totals = {}
    for row in rows:
        rates = [args.items / statistics.median(times[row][t]) for t in args.tasks]
        totals[row] = [sum(times[row][t][i] for t in args.tasks) for i in range(args.rounds)]
        every = sorted(args.items * len(args.tasks) / s for s in totals[row])
        print(f"{row:<26}" + "".join(f"{r:>12.2f}" for r in rates) + f"{statistics.median(every):>12.2f}  {every[0]:.2f} to {every[-1]:.2f}")
    theirs = min((r for r in rows if r.startswith("llama.cpp")), key=lambda r: statistics.median(totals[r]))
    for row in rows:
        if row.startswith("qx"):
            ratio = [a / b for a, b in zip(totals[theirs], totals[row])]
            per_task = [statistics.median(a / b for a, b in zip(times[theirs][t], times[row][t])) for t in args.tasks]
            print(f"{row + ' / ' + theirs:<26}" + "".join(f"{r:>12.2f}" for r in per_task)
                  + f"{statistics.median(ratio):>12.2f}  {min(ratio):.2f} to {max(ratio):.2f}")
    print(f"within llama_decode: {100 * decode:.0f} % of llama.cpp's time; mean difference of a choice's log-likelihood from qx: {difference:.3f} nats")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qx", default=str(pathlib.Path(__file__).resolve().parents[1] / "build/qx"))
    parser.add_argument("--variant", required=True, help="model directory for qx")
    parser.add_argument("--gguf", required=True, type=pathlib.Path, help="the same model for llama.cpp, at about the same bytes")
    parser.add_argument("--data", default=os.environ.get("QX_DATA"), help="folder of TASK.jsonl files (default: $QX_DATA)")
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=TASKS)
    parser.add_argument("--items", type=int, default=20, help="of each task")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--ways", default="rm,tree")
    args = parser.parse_args()
    if not args.data:
        parser.error("--data or $QX_DATA is needed")
    peer.quiet()
    if not peer.is_native():
        sys.exit(f"llama.cpp is not built for this machine ({peer.system_info()}); use bench/build_llama_cpp.sh")

    with tempfile.TemporaryDirectory() as folder:
        items, ours = {}, {}
        for task in args.tasks:
            _, ours[task] = run_qx(args, task, "reference", folder, write_prompts=True)
            items[task] = read_lines(pathlib.Path(folder) / f"v/prompts-{task}.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        precisions = [p for p in ("reference", "exact", "fast") if run_qx(args, args.tasks[0], p, f"{folder}/{p}") is not None]
    scorer = Scorer(args.gguf, args.threads)
    scorer.item_tree(items[args.tasks[0]][0]["choices"])  # touches the weights
    times, decode, differences = {}, [], []
    for number in range(args.rounds):
        for task in args.tasks:
            for way in args.ways.split(","):
                seconds, inside, scores = run_llama(scorer, way, items[task])
                times.setdefault(f"llama.cpp {way}", {}).setdefault(task, []).append(seconds)
                decode.append(inside / seconds)
                differences += [abs(a - b) for mine, its in zip(ours[task], scores) for a, b in zip(mine, its)]
            for precision in precisions:
                with tempfile.TemporaryDirectory() as folder:
                    seconds, _ = run_qx(args, task, precision, folder)
                times.setdefault(f"qx {precision}", {}).setdefault(task, []).append(seconds)
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
    report(args, times, statistics.median(decode), statistics.mean(differences))


if __name__ == "__main__":
    main()
