#!/usr/bin/env python3
"""Prompt and generation speed of qx against llama.cpp built for this machine, on the same shape and at the same weight bytes:
q4 and Q4_0, q4-hi and Q4_1, q6 and Q6_K, q8 and Q8_0; prompts also against llama.cpp's best type of the width. The two take turns,
round by round, each in a process of its own, with the same number of threads; ratios are of the two turns of one round.

usage: PYTHON=$(bench/build_llama_cpp.sh); $PYTHON bench/decode_prefill_vs_llama_cpp.py --shape qwen3-0.6b [--rounds 5]
       $PYTHON bench/decode_prefill_vs_llama_cpp.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf     a real model instead

Files are made once in --work (float16 and one file per type; 6 GB for qwen3-1.7b) and kept. Quantization is llama.cpp's own, with
every matrix of the one type (where a row length does not allow it, llama.cpp takes a wider one: then look at the bytes).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import llama_cpp_peer as peer

PAIRS = [("q4", "Q4_0"), ("q4-hi", "Q4_1"), ("q6", "Q6_K"), ("q8", "Q8_0")]
# What a prompt may be compared with: all of the width.
SAME_WIDTH = {"q4": ["Q4_0", "Q4_1", "Q4_K_S"], "q4-hi": ["Q4_0", "Q4_1", "Q4_K_S"], "q6": ["Q6_K"], "q8": ["Q8_0"]}


def prepare(args, types):
    """{type: file}; made when absent."""
    args.work.mkdir(parents=True, exist_ok=True)
    stem = args.gguf.stem if args.gguf else args.shape
    source = args.gguf or args.work / f"{stem}-F16.gguf"
    if not source.exists():
        print(f"writing {source}", file=sys.stderr)
        peer.write_random_gguf(args.shape, source)
    files = {}
    for name in types:
        files[name] = args.work / f"{stem}-{name}.gguf"
        if not files[name].exists():
            print(f"quantizing to {files[name]}", file=sys.stderr)
            peer.quantize(source, files[name], name, args.threads)
    return files


def qx_directories(args, recipes):
    """{recipe: options that name the weights}: random ones, or the GGUF file imported and converted."""
    if not args.gguf:
        return {r: ["--random", f"{args.shape}:{r}"] for r in recipes}
    base = args.work / (args.gguf.stem + "-base")
    if not base.exists():
        subprocess.run([args.qx, "import", args.gguf, "-o", base, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    for r in recipes:
        target = args.work / f"{args.gguf.stem}-{r}"
        if not target.exists():
            subprocess.run([args.qx, "convert", "-m", base, "-o", target, "--recipe", r, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return {r: ["-m", args.work / f"{args.gguf.stem}-{r}"] for r in recipes}


def run_qx(args, weights, precision, prompt=None, generate=None):
    prompt, generate = (args.prompt if prompt is None else prompt), (args.generate if generate is None else generate)
    command = [args.qx, "bench", *weights, "-p", prompt, "-n", generate, "--depth", args.depth, "-r", args.repeats, "--no-peaks",
               "--json", "--quiet", "--threads", args.threads, "--precision", precision]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode == 2 and "precision" in done.stderr:
        return None  # this version has no such precision
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def run_llama(args, path):
    command = [sys.executable, __file__, "--worker", path, "--threads", args.threads, "-p", args.prompt, "-n", args.generate, "--depth",
               args.depth, "--repeats", args.repeats]
    done = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def rates(seconds, tokens):
    return statistics.median(tokens / s for s in seconds)


def one_round(args, files, directories, precisions, seen):
    """Adds this round's tokens a second to seen[(program, name)] = {"pp": [..], "tg": [..], "bytes": ..}."""
    def add(key, pp, tg, size):
        entry = seen.setdefault(key, {"pp": [], "tg": [], "bytes": size})
        entry["pp"].append(pp)
        entry["tg"].append(tg)

    def theirs(name):
        r = run_llama(args, files[name])
        add(("llama.cpp", name), rates(r["prompt_s"], args.prompt), rates(r["generate_s"], args.generate), r["bytes_per_token"])

    done = set()
    for recipe, name in PAIRS:
        if recipe not in directories:
            continue
        for precision in precisions:
            d = run_qx(args, directories[recipe], precision)
            add(("qx " + precision, recipe), d["pp"]["median_tps"], d["tg"]["median_tps"], d["tg"]["bytes_per_token"])
        for peer_type in [name, *SAME_WIDTH[recipe]]:
            if peer_type not in done:
                done.add(peer_type)
                theirs(peer_type)


def spread(values):
    return f"{statistics.median(values):>9.1f}{min(values):>9.1f}{max(values):>9.1f}"


def report(args, seen, precisions, recipes):
    what = args.gguf.name if args.gguf else f"random {args.shape}"
    print(f"{what}: prompt {args.prompt}, generation {args.generate} after {args.depth}, {args.threads} threads, {args.rounds} rounds "
          f"in turns, load average {os.getloadavg()[0]:.1f}\nllama.cpp: {peer.system_info()}")
    print(f"{'':<24}{'MB/token':>9}  prompt t/s: median, min, max   generation t/s: median, min, max     GB/s")
    for (program, name), e in sorted(seen.items(), key=lambda item: (item[0][0], item[1]["bytes"])):
        gbs = e["bytes"] * statistics.median(e["tg"]) * 1e-9
        print(f"{program + ' ' + name:<24}{e['bytes'] * 1e-6:>9.1f}  {spread(e['pp'])}     {spread(e['tg'])}{gbs:>9.1f}")
    print(f"\n{'ratio, qx over llama.cpp':<40}{'median':>9}{'min':>9}{'max':>9}")
    for recipe, name in PAIRS:
        for precision in precisions:
            if recipe not in recipes:
                continue
            ours = seen[("qx " + precision, recipe)]
            for key, label in (("tg", "generation"), ("pp", "prompt")):
                pair = [a / b for a, b in zip(ours[key], seen[("llama.cpp", name)][key])]
                print(f"{label + f' {recipe} {precision} / {name}':<40}{spread_ratio(pair)}")
            best = max(SAME_WIDTH[recipe], key=lambda t: statistics.median(seen[("llama.cpp", t)]["pp"]))
            pair = [a / b for a, b in zip(ours["pp"], seen[("llama.cpp", best)]["pp"])]
            print(f"{f'prompt {recipe} {precision} / best: {best}':<40}{spread_ratio(pair)}")


def spread_ratio(values):
    return f"{statistics.median(values):>9.2f}{min(values):>9.2f}{max(values):>9.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qx", default=str(pathlib.Path(__file__).resolve().parents[1] / "build/qx"))
    parser.add_argument("--shape", default="smollm2-135m", help="a shape of qx bench, with random weights")
    parser.add_argument("--gguf", type=pathlib.Path, help="a real model instead of a shape")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path.home() / ".cache/qx/llama-files")
    parser.add_argument("--recipes", default="q4,q4-hi,q6,q8")
    parser.add_argument("--precision", help="only this one (default: each of reference, exact and fast that qx has)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1, help="within a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=64)
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--json", type=pathlib.Path, help="also write all figures here")
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    peer.quiet()
    if args.worker:
        result = peer.measure(args.worker, args.threads, args.prompt, args.generate, args.depth, args.repeats)
        print(json.dumps({**result, "bytes_per_token": peer.bytes_per_token(args.worker)}))
        return
    if not peer.is_native():
        sys.exit(f"llama.cpp is not built for this machine ({peer.system_info()}); use bench/build_llama_cpp.sh")

    recipes = args.recipes.split(",")
    types = sorted({t for r, name in PAIRS if r in recipes for t in [name, *SAME_WIDTH[r]]})
    files, directories = prepare(args, types), qx_directories(args, recipes)
    wanted = [args.precision] if args.precision else ["reference", "exact", "fast"]
    precisions = [p for p in wanted if run_qx(args, directories[recipes[0]], p, 1, 1) is not None]
    seen = {}
    for number in range(args.rounds):
        one_round(args, files, directories, precisions, seen)
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
    report(args, seen, precisions, recipes)
    if args.json:
        figures = [{"program": program, "type": name, **e} for (program, name), e in seen.items()]
        args.json.write_text(json.dumps({"model": args.gguf.name if args.gguf else args.shape, "threads": args.threads, "prompt": args.prompt,
                                         "generate": args.generate, "depth": args.depth, "rows": figures}, indent=1))


if __name__ == "__main__":
    main()
