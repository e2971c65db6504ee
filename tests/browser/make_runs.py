#!/usr/bin/env python3
"""Writes run folders and their data as if five variants had answered 20,000 items each: a page's worst case.

usage: make_runs.py FOLDER [--items 20000] [--variants 5] [--seed 1] [--facts]

FOLDER/runs/NAME is a run, FOLDER/data holds the questions. Questions are long and hold markup, quotes and line ends of
all kinds, so that a page that does not escape them breaks. --facts adds bench.json and divergence.json.
"""
import argparse
import hashlib
import json
import math
import pathlib
import random

TASKS = ["arc_easy", "boolq", "hellaswag", "winogrande"]
HOSTILE = ["</script><script>document.title='broken'</script>", "<!--", "<img src=x onerror=alert(1)>", "{{data}}",
           "\u2028", "&amp;", "'\"`", "<b>bold</b>", "漢字", "🙂", "]]>"]
NAMES = ["base", "q8", "q6-hi", "q4-hi", "q3"]
BITS = [16.0, 8.5, 6.6, 4.7, 3.5]


def sha256(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sentence(rng, words):
    lexicon = "water light system stone energy river plant cell market winter surface method signal engine".split()
    chosen = [rng.choice(lexicon) for _ in range(words)]
    if rng.random() < 0.2:
        chosen.insert(rng.randrange(len(chosen)), rng.choice(HOSTILE))
    return " ".join(chosen).capitalize()


def row(task, index, rng):
    """A row in the data set's own schema, and how many choices it has."""
    if task == "arc_easy":
        texts = [sentence(rng, 5) for _ in range(4)]
        return {"id": f"arc-{index}", "question": sentence(rng, 25) + "?",
                "choices": {"text": texts, "label": list("ABCD")}, "answerKey": rng.choice("ABCD")}
    if task == "boolq":
        return {"question": sentence(rng, 8), "passage": sentence(rng, 140), "label": rng.randrange(2)}
    if task == "hellaswag":
        return {"ind": index, "activity_label": sentence(rng, 2), "ctx_a": sentence(rng, 20), "ctx_b": "he",
                "ctx": "", "endings": [sentence(rng, 12) for _ in range(4)], "label": str(rng.randrange(4))}
    return {"sentence": sentence(rng, 8) + " _ " + sentence(rng, 8), "option1": "Anna", "option2": "Maria",
            "answer": rng.choice("12")}


def gold_of(task, item):
    return {"arc_easy": lambda: "ABCD".index(item["answerKey"]), "boolq": lambda: item["label"],
            "hellaswag": lambda: int(item["label"]), "winogrande": lambda: int(item["answer"]) - 1}[task]()


def document_hash(item):
    return sha256(json.dumps(item, indent=2, ensure_ascii=False))


def answer(task, index, item, strengths, noise, rng):
    """strengths: how likely each choice is to the base; a variant adds noise of its own."""
    lls = [s + rng.gauss(0, noise) for s in strengths]
    gold = gold_of(task, item)
    choices = [{"ll": ll, "tokens": 5, "chars": 30, "bytes": 31, "greedy": False} for ll in lls]
    line = {"task": task, "index": index, "doc_hash": document_hash(item), "gold": gold, "choices": choices,
            "acc": int(lls.index(max(lls)) == gold)}
    if task in ("arc_easy", "hellaswag"):
        line["acc_norm"] = line["acc"]  # all choices have one length
    return line


def run_json(name, bits, tasks, root):
    facts = {}
    for task, (text, n) in tasks.items():
        facts[task] = {"data": str(root / "data" / f"{task}.jsonl"), "origin": "--data", "data_hash": sha256(text),
                       "rows": n, "items": n, "indices": f"0-{n - 1}", "metrics": ["acc"], "version": 1.0}
    parameters = 134515008
    return {"name": name,
            "model": {"path": f"/models/{name}", "plan_hash": sha256(name), "parameters": parameters,
                      "tensor_bytes": int(parameters * bits / 8), "bits_per_weight": bits,
                      "files": {"model.safetensors": sha256(name + "w"), "config.json": sha256("config")}},
            "mode": "plain", "convention": "lm-eval", "template_hash": None, "template_variables": None,
            "max_length": 8192, "few_shot": 0, "tasks": facts, "precision": "exact", "kv_bits": 32,
            "kernels": "avx2", "threads": 8, "version": "0.1.0", "commit": "0" * 40, "dirty": False,
            "compiler": "g++ 12", "start": "2026-01-02T03:04:05Z", "end": "2026-01-02T04:05:06Z",
            "earlier_sessions": []}


def write_facts(folder, run, bits):
    """Beside a run: what qx bench and qx divergence write there (src/runs/measurements.h)."""
    def speed(tps):
        return {"tokens": 512, "median_tps": tps, "min_tps": tps * 0.98, "max_tps": tps * 1.02}
    model = run["model"]
    bench = {"model": model["path"], "model_facts": model, "isa": "avx2", "precision": "exact", "threads": 8,
             "machine": {"cpu": "Example CPU", "read_gbs": 40.0, "int8_gmacs": 100.0},
             "pp": speed(900 + 10 * bits), "tg": speed(1200 / bits) | {"tokens": 128, "bytes_per_token": 10 ** 8,
                                                                       "gbs": 20.0, "share_of_read": 0.5},
             "load_s": 0.1, "peak_rss_bytes": int(4e8 + 1e7 * bits)}
    kl = 4.0 ** -bits * 20 + 1e-6
    distance = {"model": model, "base": {"name": "base"}, "text": {"sha256": sha256("text")}, "tokens": 100000,
                "kl_mean": kl, "kl_stderr": kl / 50, "kl_median": kl / 3, "kl_p95": kl * 4, "kl_p99": kl * 9, "kl_max": kl * 80,
                "top1_agreement": 1 - math.sqrt(kl) / 3, "ppl": 15 * (1 + kl), "ppl_stderr": 0.2, "ppl_base": 15.0}
    (folder / "bench.json").write_text(json.dumps(bench), encoding="utf-8")
    if model["path"] != "/models/base":
        (folder / "divergence.json").write_text(json.dumps(distance), encoding="utf-8")


def write_search(path):
    """As qx search writes it (src/search/search_file.h)."""
    def kl_at(size):
        return 10 * 4.0 ** (-8 * size / 134515008)

    def measured(name, kind, size, factor):
        return {"name": name, "kind": kind, "codes": "minmax" if kind == "recipe" else "gptq", "plan_hash": sha256(name),
                "bytes": size, "bits_per_weight": 8 * size / 134515008,
                "predicted": None if kind == "recipe" else kl_at(size), "kl": factor * kl_at(size),
                "kl_stderr": 0.05 * kl_at(size), "kl_windows": [factor * kl_at(size)] * 2, "top1": 0.9,
                "perplexity": 20.0, "difference": None, "difference_stderr": None}
    sizes = [50_000_000 + 4_000_000 * i for i in range(20)]
    plans = [measured("costs as they are", "candidate", 80_000_000, 1.1),
             measured("embedding x 2", "candidate", 79_900_000, 1.05), measured("bytes of q3", "curve", 60_000_000, 1.2),
             measured("q4-hi", "recipe", 84_000_000, 6), measured("q3", "recipe", 60_000_000, 5)]
    search = {"format": "qx-search-1", "recipe": "best.json", "model": {"path": "base", "weights": {}},
              "calibration_sha256": "", "fit": "gptq", "damping": 0.01, "budget": {"given": "80MB", "bytes": 80_000_000},
              "rules": {}, "exact": True,
              "chosen": {"name": "embedding x 2", "plan_hash": sha256("embedding x 2"), "bytes": 79_900_000,
                         "bits_per_weight": 4.75, "predicted": kl_at(79_900_000)},
              "curve": [{"bytes": size, "bits_per_weight": 8 * size / 134515008, "predicted": kl_at(size)}
                        for size in sizes],
              "measured": plans, "text": None, "created": "2026-01-02T03:04:05Z", "version": "0.1.0"}
    path.write_text(json.dumps(search), encoding="utf-8")


def make_runs(root, items, variants, seed, facts=False):
    rng = random.Random(seed)
    (root / "data").mkdir(parents=True)
    write_search(root / "best.search.json")
    per_task = items // len(TASKS)
    tasks, rows, strengths = {}, {}, {}
    for task in TASKS:
        rows[task] = [row(task, i, rng) for i in range(per_task)]
        count = 4 if task in ("arc_easy", "hellaswag") else 2
        strengths[task] = [[-30 + (2.0 if c == gold_of(task, item) else 0) + rng.gauss(0, 2) for c in range(count)]
                           for item in rows[task]]
        text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in rows[task])
        (root / "data" / f"{task}.jsonl").write_text(text, encoding="utf-8")
        tasks[task] = (text, per_task)
    for name, bits in list(zip(NAMES, BITS))[:variants]:
        folder = root / "runs" / name
        folder.mkdir(parents=True)
        run = run_json(name, bits, tasks, root)
        (folder / "run.json").write_text(json.dumps(run, indent=2), encoding="utf-8")
        noise = 0.0 if name == "base" else 24 / bits ** 2
        for task in TASKS:
            with open(folder / f"answers-{task}.jsonl", "w", encoding="utf-8") as log:
                for index, item in enumerate(rows[task]):
                    line = answer(task, index, item, strengths[task][index], noise, rng)
                    log.write(json.dumps(line, separators=(",", ":")) + "\n")
        if facts:
            write_facts(folder, run, bits)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--items", type=int, default=20000, help="of each run, over all tasks")
    parser.add_argument("--variants", type=int, default=5, choices=range(2, len(NAMES) + 1), metavar="2..5")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--facts", action="store_true", help="also speed and distance beside the runs")
    args = parser.parse_args()
    make_runs(args.folder.resolve(), args.items, args.variants, args.seed, args.facts)


if __name__ == "__main__":
    main()
