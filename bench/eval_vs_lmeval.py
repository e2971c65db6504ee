#!/usr/bin/env python3
"""Items a second of `qx eval` on SmolLM2 q4-hi against lm-eval with Hugging Face in float32: the same items, plain prompts,
the two interleaved round by round in one session. Every round is a whole evaluation; loading the model counts on both
sides unless --warm is given, which leaves it out on lm-eval's side only, to its advantage. Prints
a table and checks that both saw the same items. CPU seconds are the fairer measure on a machine that does other work.

usage: eval_vs_lmeval.py --qx build/qx --model BASE_DIR --variant Q4_HI_DIR [--data DIR] [--items 20] [--rounds 3] [--threads 2]

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


def read_lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().split("\n") if line]


def cpu_seconds(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def load_reference(directory):
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16)


def run_lm_eval(lm, args):
    from lm_eval import simple_evaluate

    begin, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_SELF)
    lm = lm or load_reference(args.model)
    result = simple_evaluate(model=lm, tasks=TASKS, limit=args.items, bootstrap_iters=0, log_samples=True)
    times = time.perf_counter() - begin, cpu_seconds(resource.RUSAGE_SELF) - cpu
    return *times, {t: [s["doc_hash"] for s in rows] for t, rows in result["samples"].items()}


def run_qx(args):
    with tempfile.TemporaryDirectory() as folder:
        begin, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
        subprocess.run([args.qx, "eval", "-m", f"v={args.variant}", "--tasks", "all", "--plain", "--limit", str(args.items), "-o",
                        folder, "--data", args.data, "--threads", str(args.threads), "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
        times = time.perf_counter() - begin, cpu_seconds(resource.RUSAGE_CHILDREN) - cpu
        hashes = {t: [a["doc_hash"] for a in read_lines(pathlib.Path(folder) / f"v/answers-{t}.jsonl")] for t in TASKS}
    return *times, hashes


def use_local_data(folder):
    import datasets
    import lm_eval.api.task

    def download(self, *args, **kwargs):
        rows = datasets.Dataset.from_list(read_lines(pathlib.Path(folder) / f"{self.config.task}.jsonl"))
        self.dataset = {split: rows for split in ("train", "validation", "test")}

    lm_eval.api.task.ConfigurableTask.download = download


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qx", default=str(pathlib.Path(__file__).resolve().parents[1] / "build/qx"))
    parser.add_argument("--model", required=True, help="Hugging Face directory of the base model")
    parser.add_argument("--variant", required=True, help="its q4-hi directory, for qx")
    parser.add_argument("--data", default=os.environ.get("QX_DATA"), help="folder of TASK.jsonl files (default: $QX_DATA)")
    parser.add_argument("--items", type=int, default=20, help="of each task")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--warm", action="store_true", help="load lm-eval's model once, outside its time")
    args = parser.parse_args()
    if not args.data:
        parser.error("--data or $QX_DATA is needed")

    import torch

    torch.set_num_threads(args.threads)
    use_local_data(args.data)
    lm = load_reference(args.model) if args.warm else None
    items = args.items * len(TASKS)
    names = ["lm-eval HF float32", "qx eval q4-hi"]
    wall, cpu = {n: [] for n in names}, {n: [] for n in names}
    for round_ in range(args.rounds):
        *theirs, their_items = run_lm_eval(lm, args)
        *ours, our_items = run_qx(args)
        for task in TASKS:
            if task != "hellaswag":  # lm-eval hashes the processed document there
                assert our_items[task] == their_items[task], f"{task}: different items"
        for name, (seconds, busy) in zip(names, (theirs, ours)):
            wall[name].append(seconds)
            cpu[name].append(busy)
        print(f"round {round_ + 1}: lm-eval {theirs[0]:.1f} s, qx {ours[0]:.1f} s", file=sys.stderr)

    print(f"{items} items ({args.items} of each of {len(TASKS)} tasks), plain, {args.threads} threads, {args.rounds} rounds interleaved, "
          f"load average {os.getloadavg()[0]:.1f}")
    print(f"{'':<22}{'items/s median':>15}{'min':>8}{'max':>8}{'items/CPU-s':>13}")
    for name in names:
        rates = [items / s for s in wall[name]]
        busy = statistics.median(items / s for s in cpu[name])
        print(f"{name:<22}{statistics.median(rates):>15.2f}{min(rates):>8.2f}{max(rates):>8.2f}{busy:>13.2f}")
    ratios = [a / b for a, b in zip(*wall.values())]
    cpu_ratio = statistics.median(a / b for a, b in zip(*cpu.values()))
    print(f"{'ratio':<22}{statistics.median(ratios):>15.2f}{min(ratios):>8.2f}{max(ratios):>8.2f}{cpu_ratio:>13.2f}")


if __name__ == "__main__":
    main()
