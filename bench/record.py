#!/usr/bin/env python3
"""Keeps a record of qx bench per machine, in bench/records/MACHINE.json, and shows what became slower since the last one.

What is compared are shares of the machine's own peaks, measured in the same rounds: of the read bandwidth for generation, and for
prompts of the float32 (reference), 16-bit (exact) or 8-bit peak (fast). So a busy or a slower clocked machine shows less.

usage: record.py RUNS/A RUNS/B ..                       folders that `qx bench -o` wrote
       record.py --run qwen3-0.6b:q4-hi smollm2-135m:q8 [--precision exact,fast] [--qx build/qx] [-r 5]    measures first
       [--machine NAME] [--dry-run: compare only] [--limit 0.05: exit code 3 when a share fell by more]
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

PEAK_OF = {"reference": "share_of_f32", "exact": "share_of_int16", "fast": "share_of_int8"}


def measure(args, folder):
    for subject in args.run:
        for precision in args.precision.split(",") if args.precision else [""]:
            target = pathlib.Path(folder) / re.sub(r"\W+", "_", f"{subject} {precision}")
            command = [args.qx, "bench", "--random", subject, "-r", str(args.repeats), "-o", str(target)]
            if args.threads:
                command += ["--threads", str(args.threads)]
            if precision:
                command += ["--precision", precision]
            subprocess.run(command, check=True, stdout=sys.stderr)
            yield json.loads((target / "bench.json").read_text())


def machine_name(result):
    slug = re.sub(r"[^a-z0-9]+", "-", result["machine"]["cpu"].lower()).strip("-")
    return f"{slug}-{result['machine']['isa'] or 'portable'}-{result['conditions']['physical_cores']}-cores"


def key(result):
    return " ".join([pathlib.Path(result["model"]).name, result["precision"], result["isa"], f"{result['threads']} threads",
                     f"-p {result['pp']['tokens']} -n {result['tg']['tokens']}"])


def shares(result):
    """{"generation": share or None, "prompt": ..}"""
    return {"generation": result["tg"]["share_of_read"], "prompt": result["pp"].get(PEAK_OF.get(result["precision"], "share_of_f32"))}


def compare(name, old, new, limit):
    """Prints a line for each half; returns how many fell by more than the limit."""
    fallen = 0
    for half, share in shares(new).items():
        if share is None:
            continue
        rate = new["tg" if half == "generation" else "pp"]["median_tps"]
        before = shares(old)[half] if old else None
        if not before:
            print(f"{name}: {half} {rate:.1f} t/s, {100 * share:.1f} % of the peak (nothing to compare with)")
            continue
        change = share / before - 1
        fell = change < -limit
        fallen += fell
        print(f"{name}: {half} {rate:.1f} t/s, {100 * share:.1f} % of the peak, {100 * before:.1f} % at {old['conditions']['commit'][:10]} "
              f"({100 * change:+.1f} %){'  SLOWER' if fell else ''}")
    return fallen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[1]
    parser.add_argument("results", nargs="*", type=pathlib.Path)
    parser.add_argument("--run", nargs="+", default=[], metavar="SHAPE:RECIPE")
    parser.add_argument("--precision", help="with --run, separated by commas (default: the program's)")
    parser.add_argument("--qx", default=str(root / "build/qx"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("-r", "--repeats", type=int, default=5)
    parser.add_argument("--machine", help="name of the record (default: from processor, instruction set and cores)")
    parser.add_argument("--records", type=pathlib.Path, default=root / "bench/records")
    parser.add_argument("--dry-run", action="store_true", help="compare, record nothing")
    parser.add_argument("--limit", type=float, default=0.05)
    args = parser.parse_args()
    if bool(args.results) == bool(args.run):
        parser.error("expected folders of qx bench -o, or --run SHAPE:RECIPE")

    with tempfile.TemporaryDirectory() as folder:
        new = list(measure(args, folder)) if args.run else [json.loads((p / "bench.json").read_text()) for p in args.results]
    fallen = 0
    for result in new:
        path = args.records / f"{args.machine or machine_name(result)}.json"
        record = json.loads(path.read_text()) if path.exists() else {"machine": path.stem, "results": []}
        earlier = [r for r in record["results"] if key(r) == key(result)]
        fallen += compare(key(result), earlier[-1] if earlier else None, result, args.limit)
        if not args.dry_run:
            record["results"].append(result)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record, indent=1) + "\n")
    return 3 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
