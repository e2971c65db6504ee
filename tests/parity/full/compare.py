"""Stage 2 of the full parity run: `qx eval` on the same models and items, compared with the kept answers choice by
choice.

    python compare.py --qx BIN --models DIR --data DIR --cache DIR [--results FILE] [--page FILE] [SET ..]

Exit status 1 when anything differs by more than is documented: texts, token ids, scored spans, log-likelihoods, or an
item that a metric judges differently without a tie that explains it.
"""
import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import subprocess
import sys

import sets

# Two float32 implementations of one rule differ by the rounding of sums of some 1e3 terms: 1e-4 a choice, a few times
# that where many tokens are scored. `exact` carries activations of 16 bits on quantized weights (docs/performance.md).
TOLERANCE = {"reference": 2e-3, "exact": 2e-2}
METRICS = ("acc", "acc_norm", "acc_bytes")


def read_lines(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def qx_command(spec, folder, precision, args):
    """The evaluation that answers for a set; paths are those of this machine."""
    out = args.cache / "qx" / f"{folder.name}-{precision}"
    command = [args.qx, "eval", "-m", f"m={args.models / sets.QX_MODELS[spec.model]}", "--tasks", "all", "--data",
               folder / "data", "--limit", spec.items, "-o", out, "--chat" if spec.chat else "--plain", "--convention",
               spec.convention, "--precision", precision, "--write-prompts", "--quiet"]
    if args.threads:
        command += ["--threads", args.threads]
    if spec.shots:
        command += sets.qx_shot_options(spec)
    return [str(c) for c in command], out / "m"


def shown(command, args):
    """The command as a reader would type it: folders by role instead of this machine's paths."""
    text = " ".join(command)
    for path, name in ((args.qx, "qx"), (args.models, "MODELS"), (args.cache, "CACHE")):
        text = text.replace(str(path), name)
    return text


def pick(values):
    return max(range(len(values)), key=lambda i: values[i])  # the first of equal ones, as numpy's argmax


def judge(lls, lengths, gold):
    return int(pick([ll / length for ll, length in zip(lls, lengths)]) == gold)


class Tally:
    """Differences of one task in one set at one precision."""

    def __init__(self):
        self.items = self.choices = self.tokens = self.greedy_differs = 0
        self.differences, self.problems = [], []
        self.ties = {m: 0 for m in METRICS}
        self.differ = {m: 0 for m in METRICS}
        self.worst = None

    def add_choice(self, place, ours, theirs, tolerance):
        difference = abs(ours - theirs)
        if not self.differences or difference > max(self.differences):
            self.worst = place
        self.differences.append(difference)
        if not difference <= tolerance:
            self.problems.append(f"{place}: log-likelihood {ours} instead of {theirs}")

    def summary(self):
        n = max(1, len(self.differences))
        return {
            "items": self.items, "choices": self.choices, "tokens": self.tokens,
            "max": max(self.differences, default=0.0), "mean": sum(self.differences) / n,
            "rms": math.sqrt(sum(d * d for d in self.differences) / n), "worst": self.worst,
            "greedy_differs": self.greedy_differs, "judged_differently": self.differ, "problems": len(self.problems),
        }


def compare_texts(tally, place, prompt, requests, kept):
    for number, (choice, request) in enumerate(zip(prompt["choices"], requests, strict=True)):
        where = f"{place} choice {number}"
        if [choice["context"], choice["continuation"]] != list(request):
            tally.problems.append(f"{where}: text {choice['context']!r} + {choice['continuation']!r}, not {request!r}")
            continue
        theirs = kept[tuple(request)]
        if choice["ids"] != theirs["context_ids"] + theirs["scored_ids"]:
            tally.problems.append(f"{where}: token ids differ")
        begin = len(theirs["context_ids"])
        if choice["scored"] != [begin, begin + len(theirs["scored_ids"])]:
            tally.problems.append(f"{where}: scored span {choice['scored']}")
        tally.tokens += len(theirs["scored_ids"])


def compare_item(tally, place, answer, sample, kept, tolerance):
    tally.items += 1
    theirs = sample["ll"]
    ours = [c["ll"] for c in answer["choices"]]
    for number, request in enumerate(sample["requests"]):
        tally.choices += 1
        tally.add_choice(f"{place} choice {number}", ours[number], theirs[number], tolerance)
        tally.greedy_differs += answer["choices"][number]["greedy"] != kept[tuple(request)]["greedy"]
    lengths = {"acc": [1.0] * len(ours), "acc_norm": [float(c["chars"]) for c in answer["choices"]],
               "acc_bytes": [float(c["bytes"]) for c in answer["choices"]]}
    for metric in METRICS:
        if metric not in answer:
            # acc_bytes is made from the answers when it is asked for. For winogrande lm-eval would divide by the length
            # of the filled beginning, which is no choice of ours (docs/parity.md).
            if metric != "acc_bytes" or sample["task"] == "winogrande":
                continue
            mine = judge(ours, lengths[metric], answer["gold"])
        else:
            mine = answer[metric]
        if mine == int(sample[metric]):
            continue
        tally.differ[metric] += 1
        values = sorted((ll / n for ll, n in zip(theirs, lengths[metric])), reverse=True)
        margin = values[0] - values[1]
        largest = max(abs(a - b) for a, b in zip(ours, theirs))
        if margin > 2 * largest / min(lengths[metric]):
            tally.problems.append(f"{place}: {metric} {mine} instead of {sample[metric]}, no tie")


def compare_set(spec, precision, folder, args):
    done = json.loads((folder / "done.json").read_text())
    command, out = qx_command(spec, folder, precision, args)
    print(f"{spec.name}, {precision}", flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    kept = {(r["context"], r["continuation"]): r for r in read_lines(folder / "requests.jsonl")}
    samples = {}
    for row in read_lines(folder / "samples.jsonl"):
        samples.setdefault(row["task"], []).append(row)
    results = json.loads((out / "results.json").read_text())["results"]
    tasks, problems = {}, []
    for task in sets.TASKS:
        tally = Tally()
        prompts = read_lines(out / f"prompts-{task}.jsonl")
        answers = read_lines(out / f"answers-{task}.jsonl")
        if not len(prompts) == len(answers) == len(samples[task]):
            raise SystemExit(f"{spec.name} {task}: {len(answers)} answers, expected {len(samples[task])}")
        for prompt, answer, sample in zip(prompts, answers, samples[task]):
            place = f"{task} {answer['index']}"
            assert prompt["index"] == answer["index"] == sample["index"], place
            if task != "hellaswag" and answer["doc_hash"] != sample["doc_hash"]:  # there it is of the processed row
                tally.problems.append(f"{place}: doc_hash")
            compare_texts(tally, place, prompt, sample["requests"], kept)
            compare_item(tally, place, answer, sample, kept, TOLERANCE[precision])
        theirs = done["results"][task]
        for key in (k for k in theirs if k in results[task] and not tally.differ[k.split(",")[0].split("_stderr")[0]]):
            if abs(results[task][key] - theirs[key]) > 1e-13:
                tally.problems.append(f"{task}: {key} {results[task][key]} instead of {theirs[key]}")
        tasks[task] = tally.summary()
        problems += tally.problems
    for problem in problems[:20]:
        print(f"  {problem}")
    run = json.loads((out / "run.json").read_text())
    return {"set": spec.name, "precision": precision, "command": shown(command, args), "peer": sets.PEERS[spec.engine],
            "versions": done["depends_on"]["versions"], "model": done["depends_on"]["model"],
            "kernels": run.get("kernels"), "tasks": tasks, "problems": problems[:50]}


def number(value):
    return f"{value:.1e}" if value else "0"


def table(rows):
    lines = ["| set | precision | items | choices | scored tokens | largest | mean | argmax of a token | acc | acc_norm | acc_bytes |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        tasks = row["tasks"].values()
        total = {k: sum(t[k] for t in tasks) for k in ("items", "choices", "tokens", "greedy_differs")}
        mean = sum(t["mean"] * t["choices"] for t in tasks) / total["choices"]
        differ = [str(sum(t["judged_differently"][m] for t in tasks)) for m in METRICS]
        lines.append(f"| {row['set']} | {row['precision']} | {total['items']} | {total['choices']} | {total['tokens']} | "
                     f"{number(max(t['max'] for t in tasks))} | {number(mean)} | {total['greedy_differs']} | "
                     f"{' | '.join(differ)} |")
    return lines


def task_table(rows):
    lines = ["| set | precision | " + " | ".join(sets.TASKS) + " |", "|---|---|" + "---|" * len(sets.TASKS)]
    for row in rows:
        cells = [f"{number(row['tasks'][t]['max'])} / {number(row['tasks'][t]['mean'])}" for t in sets.TASKS]
        lines.append(f"| {row['set']} | {row['precision']} | {' | '.join(cells)} |")
    return lines


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def keep(record, args):
    args.results.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    text = "\n".join([
        f"{record['date']}, {record['machine']}, Python {record['python']}; {record['qx']}; {versions}.", "",
        *table(record["sets"]), "", "Per task, the largest and the mean difference of a log-likelihood:", "",
        *task_table(record["sets"]), "", "```", *[row["command"] for row in record["sets"]], "```"])
    begin, end = "<!-- result of make parity-full -->", "<!-- end of the result -->"
    page = args.page.read_text()
    head, tail = page[: page.index(begin) + len(begin)], page[page.index(end) :]
    args.page.write_text(f"{head}\n{text}\n{tail}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("qx", "models", "data", "cache"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--page", type=pathlib.Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("sets", nargs="*", metavar="SET", default=[])
    args = parser.parse_args()
    rows = []
    for name in args.sets or sets.SETS:
        spec = sets.SETS[name]
        folder = sets.folder_of(spec, args.cache, args.models, args.data)
        if not (folder / "done.json").exists():
            raise SystemExit(f"{name}: no finished answers in {folder}; run oracle.py first")
        for precision in ("reference",) if spec.model.startswith("smollm2") else ("reference", "exact"):
            rows.append(compare_set(spec, precision, folder, args))
    version = subprocess.run([args.qx, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    record = {"date": datetime.date.today().isoformat(), "machine": f"{processor()}, {os.cpu_count()} processors",
              "python": platform.python_version(), "qx": version, "versions": sets.versions(), "tolerance": TOLERANCE,
              "sets": rows}
    print("\n".join(table(rows)))
    if args.results:
        keep(record, args)
    problems = sum(len(row["problems"]) for row in rows)
    print(f"{problems} problems" if problems else "No problems: every text, token id and scored span is equal, every "
          "log-likelihood within its tolerance.")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
