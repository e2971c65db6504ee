#!/usr/bin/env python3
"""Items a second of `qx eval` on SmolLM2 q4-hi against lm-eval with Hugging Face, in float32 and in bf16, each at the batch size that
is best for it here: the same items, plain prompts, task by task, all interleaved round by round in one run. lm-eval's models are
loaded once, outside its time; qx's time is a whole `qx eval`, loading included. One row for each --precision that qx has. Checks that all saw
the same items. CPU seconds are the fairer measure on a machine that does other work.

usage: eval_vs_lmeval.py --qx build/qx --model BASE_DIR --variant Q4_HI_DIR [--data DIR] [--items 20] [--rounds 3] [--threads 2]
       [--batch-float32 16 --batch-bf16 8]      else the best of 1, 4, 8, 16 and 32 on a few items is taken

The Python that runs this needs lm-eval, torch and transformers (tests/parity/requirements.txt).
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

TASKS = ["arc_challenge", "arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"]
BATCH_SIZES = [1, 4, 8, 16, 32]


def read_lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().split("\n") if line]


def cpu_seconds(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def load_reference(directory, dtype, batch):
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype)).eval()
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch or BATCH_SIZES[0])


def run_lm_eval(lm, task, items):
    """Seconds, CPU seconds, hashes of the items."""
    from lm_eval import simple_evaluate

    begin, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_SELF)
    result = simple_evaluate(model=lm, tasks=[task], limit=items, bootstrap_iters=0, log_samples=True)
    return (time.perf_counter() - begin, cpu_seconds(resource.RUSAGE_SELF) - cpu, [s["doc_hash"] for s in result["samples"][task]])


def choose_batch(lm, tasks, items):
    """The batch size with the least time over a few items of every task; a larger one that is no better is not tried further."""
    best, best_seconds = None, float("inf")
    for batch in BATCH_SIZES:
        lm.batch_size_per_gpu = batch
        seconds = sum(run_lm_eval(lm, task, items)[0] for task in tasks)
        print(f"batch {batch}: {seconds:.1f} s", file=sys.stderr)
        if seconds < best_seconds:
            best, best_seconds = batch, seconds
        elif seconds > 1.2 * best_seconds:
            break
    lm.batch_size_per_gpu = best
    return best


def run_qx(args, task, precision):
    with tempfile.TemporaryDirectory() as folder:
        begin, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
        done = subprocess.run([args.qx, "eval", "-m", f"v={args.variant}", "--tasks", task, "--plain", "--limit", str(args.items), "-o",
                               folder, "--data", args.data, "--threads", str(args.threads), "--precision", precision, "--quiet"],
                              capture_output=True, text=True)
        if done.returncode == 2 and "precision" in done.stderr:
            return None  # this version has no such precision
        if done.returncode != 0:
            sys.exit(done.stderr)
        times = time.perf_counter() - begin, cpu_seconds(resource.RUSAGE_CHILDREN) - cpu
        return *times, [a["doc_hash"] for a in read_lines(pathlib.Path(folder) / f"v/answers-{task}.jsonl")]


def use_local_data(folder):
    import datasets
    import lm_eval.api.task

    def download(self, *args, **kwargs):
        rows = datasets.Dataset.from_list(read_lines(pathlib.Path(folder) / f"{self.config.task}.jsonl"))
        self.dataset = {split: rows for split in ("train", "validation", "test")}

    lm_eval.api.task.ConfigurableTask.download = download


class Table:
    """Seconds of every round by row and task."""

    def __init__(self, args):
        self.args, self.wall, self.cpu = args, {}, {}

    def add(self, row, task, seconds, busy):
        self.wall.setdefault(row, {}).setdefault(task, []).append(seconds)
        self.cpu.setdefault(row, {}).setdefault(task, []).append(busy)

    def totals(self, table, row):
        return [sum(table[row][t][i] for t in self.args.tasks) for i in range(self.args.rounds)]

    def print_rates(self):
        print(f"{'items a second, median':<28}" + "".join(f"{t[:10]:>11}" for t in self.args.tasks) + f"{'all':>9}{'min':>8}{'max':>8}{'per CPU-s':>10}")
        count = self.args.items * len(self.args.tasks)
        for row in self.wall:
            rates = sorted(count / s for s in self.totals(self.wall, row))
            busy = statistics.median(count / s for s in self.totals(self.cpu, row))
            per_task = "".join(f"{self.args.items / statistics.median(self.wall[row][t]):>11.2f}" for t in self.args.tasks)
            print(f"{row:<28}{per_task}{statistics.median(rates):>9.2f}{rates[0]:>8.2f}{rates[-1]:>8.2f}{busy:>10.2f}")

    def print_ratio(self, ours, theirs):
        def middle(a, b):
            return statistics.median(x / y for x, y in zip(a, b))

        ratios = [a / b for a, b in zip(self.totals(self.wall, theirs), self.totals(self.wall, ours))]
        per_task = "".join(f"{middle(self.wall[theirs][t], self.wall[ours][t]):>11.2f}" for t in self.args.tasks)
        busy = middle(self.totals(self.cpu, theirs), self.totals(self.cpu, ours))
        print(f"{ours.split()[1] + ' / ' + theirs.split(',')[0]:<28}{per_task}{statistics.median(ratios):>9.2f}{min(ratios):>8.2f}"
              f"{max(ratios):>8.2f}{busy:>10.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qx", default=str(pathlib.Path(__file__).resolve().parents[1] / "build/qx"))
    parser.add_argument("--model", required=True, help="Hugging Face directory of the base model")
    parser.add_argument("--variant", required=True, help="its q4-hi directory, for qx")
    parser.add_argument("--data", default=os.environ.get("QX_DATA"), help="folder of TASK.jsonl files (default: $QX_DATA)")
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=TASKS)
    parser.add_argument("--items", type=int, default=20, help="of each task")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--batch-float32", type=int, help="lm-eval's batch size instead of the best one")
    parser.add_argument("--batch-bf16", type=int, help="the same for bf16")
    args = parser.parse_args()
    if not args.data:
        parser.error("--data or $QX_DATA is needed")

    import torch

    torch.set_num_threads(args.threads)
    use_local_data(args.data)
    peers = {}
    for dtype in args.dtypes.split(","):
        fixed = args.batch_float32 if dtype == "float32" else args.batch_bf16
        lm = load_reference(args.model, dtype, fixed)
        batch = fixed or choose_batch(lm, args.tasks, max(2, args.items // 5))
        peers[f"lm-eval {'bf16' if dtype == 'bfloat16' else dtype}, batch {batch}"] = lm
    precisions = [p for p in ("reference", "exact", "fast") if run_qx(args, args.tasks[0], p) is not None]

    table = Table(args)
    for number in range(args.rounds):
        for task in args.tasks:
            hashes = {}
            for row, lm in peers.items():
                seconds, busy, hashes[row] = run_lm_eval(lm, task, args.items)
                table.add(row, task, seconds, busy)
            for precision in precisions:
                seconds, busy, own = run_qx(args, task, precision)
                table.add(f"qx {precision}", task, seconds, busy)
                for theirs in hashes.values():  # lm-eval hashes the processed document for hellaswag
                    assert task == "hellaswag" or own == theirs, f"{task}: different items"
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)

    print(f"{args.items} items of each of {len(args.tasks)} tasks, plain, {args.threads} threads, {args.rounds} rounds in turns, "
          f"load average {os.getloadavg()[0]:.1f}")
    table.print_rates()
    for precision in precisions:
        for theirs in peers:
            table.print_ratio(f"qx {precision}", theirs)


if __name__ == "__main__":
    main()
