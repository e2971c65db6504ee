#!/usr/bin/env python3
"""Speed and memory of `qx convert` against `mlx_lm.convert`: the same source, the two interleaved round by round in one run,
each run a process of its own. Time is that of the whole process, start-up included; for qx without the seconds that
it says it spent on syncing to the disk, because mlx_lm does not sync (they have a column of their own). GB are of
the source's bytes, which lie in the page cache: a round before the first is not counted. CPU seconds say what remains
true on a machine that does other work. Memory is the peak of samples every 20 milliseconds: anonymous (the program's own) and mapped from files (the source, given back as it is done with).

usage: convert_vs_mlx.py [--qx build/qx] [--source DIR] [--folder TMP] [--recipes q4-hi,..] [--rounds 5] [--threads 2] [--no-mlx]

Without --source, random_model.py makes one. q4-hi is 4 bits in groups of 32, and is what mlx_lm makes too: the first
round compares the bytes of both. A recipe may name a group size (q4/128). Needs numpy, tokenizers and mlx-lm (tests/parity/requirements.txt).

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import random_model

RECIPES = "q4-hi,q2-hi,q3-hi,q5-hi,q6-hi,q8-hi,q4,q4/128,qx63-hi"


class Peaks(threading.Thread):
    """Largest anonymous and file-backed resident memory of a process, in bytes, sampled until it ends."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path, self.peak = f"/proc/{pid}/status", {"RssAnon": 0, "RssFile": 0}
        self.start()

    def run(self):
        try:
            while True:
                for line in open(self.path):
                    name, _, value = line.partition(":")
                    if name in self.peak:
                        self.peak[name] = max(self.peak[name], int(value.split()[0]) * 1024)
                time.sleep(0.02)
        except (OSError, ValueError):
            pass


def cpu_seconds():
    """Of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(command, **options):
    """Wall and CPU seconds of the process with its peaks, and what it wrote to stdout."""
    begin, cpu = time.perf_counter(), cpu_seconds()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    peaks = Peaks(process.pid)
    out, err = process.communicate()
    seconds = time.perf_counter() - begin
    if process.returncode != 0:
        sys.exit(f"{command}: exit {process.returncode}\n{err}")
    peaks.join()
    return dict(seconds=seconds, cpu=cpu_seconds() - cpu, sync=None, **peaks.peak), out


def run_qx(args, recipe, target, rounding="cpu"):
    recipe, _, group = recipe.partition("/")
    command = [args.qx, "convert", "-m", args.source, "-o", target, "--recipe", recipe, "--rounding", rounding, "--threads",
               str(args.threads), "--quiet", "--json", *(["--group-size", group] if group else [])]
    row, out = run(command)
    row["sync"] = json.loads(out)["sync_seconds"]
    row["seconds"] -= row["sync"]
    return row


def run_mlx(args, target):
    command = [sys.executable, "-m", "mlx_lm", "convert", "--hf-path", args.source, "--mlx-path", target, "-q", "--q-bits", "4",
               "--q-group-size", "32"]
    return run(command, env=dict(os.environ, HF_HUB_OFFLINE="1"))[0]


def tensors(folder):
    """Bytes of every tensor of a directory by name."""
    out = {}
    for path in sorted(pathlib.Path(folder).glob("model*.safetensors")):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:start]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                out[name] = data[start + begin:start + end]
    return out


def check_equal(ours, theirs):
    a, b = tensors(ours), tensors(theirs)
    if a.keys() != b.keys() or any(a[name] != b[name] for name in a):
        sys.exit("qx and mlx_lm wrote different tensors")


def measure(args, folder, source_bytes):
    names = args.recipes.split(",")
    runs = [(f"qx {r}", lambda target, r=r: run_qx(args, r, target)) for r in names]
    runs.append((f"qx {names[0]} --rounding gpu", lambda target: run_qx(args, names[0], target, "gpu")))
    if args.mlx:
        runs.append(("mlx_lm 4 bits, group 32", lambda target: run_mlx(args, target)))
    rows = {name: [] for name, _ in runs}
    for r in range(args.rounds + 1):
        for name, action in runs:
            target = folder / "out"
            row = action(str(target))
            if r > 0:
                rows[name].append(row)
                speed = source_bytes / 1e9 / row["seconds"]
                print(f"round {r}: {name}: {row['seconds']:.2f} s, {speed:.2f} GB/s", file=sys.stderr, flush=True)
            keep = {"qx q4-hi": folder / "ours", "mlx_lm 4 bits, group 32": folder / "theirs"}.get(name)
            if r == 0 and args.mlx and keep:
                target.rename(keep)
            shutil.rmtree(target, ignore_errors=True)
        if r == 0 and (folder / "ours").exists() and (folder / "theirs").exists():
            check_equal(folder / "ours", folder / "theirs")
            print("the tensors of qx q4-hi and of mlx_lm are the same, byte for byte", file=sys.stderr)
        for name in ("ours", "theirs"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return rows


def table(rows, source_bytes):
    mlx = [row["seconds"] for row in rows.get("mlx_lm 4 bits, group 32", [])]
    print("| conversion | GB/s, median (least to most) | seconds | times mlx_lm | CPU s | sync, s | anonymous MB | mapped MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, runs in rows.items():
        seconds = [row["seconds"] for row in runs]
        speeds = [source_bytes / 1e9 / s for s in seconds]
        ratio = f"{statistics.median(mlx) / statistics.median(seconds):.1f}" if mlx else ""
        sync = "" if runs[0]["sync"] is None else f"{statistics.median(row['sync'] for row in runs):.2f}"
        cpu = statistics.median(row["cpu"] for row in runs)
        anon, mapped = (max(row[key] for row in runs) / 1e6 for key in ("RssAnon", "RssFile"))
        print(f"| {name} | {statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f}) | {statistics.median(seconds):.2f} "
              f"| {ratio} | {cpu:.2f} | {sync} | {anon:.0f} | {mapped:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qx", default=str(pathlib.Path(__file__).resolve().parents[1] / "build/qx"))
    parser.add_argument("--source", help="bf16 model directory (default: one is made)")
    parser.add_argument("--folder", help="where to write (default: the system's temporary folder)")
    parser.add_argument("--recipes", default=RECIPES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-mlx", dest="mlx", action="store_false")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = pathlib.Path(name)
        if not args.source:
            args.source = str(folder / "source")
            random_model.write_model(args.source)
        source_bytes = sum(f.stat().st_size for f in pathlib.Path(args.source).glob("model*.safetensors"))
        table(measure(args, folder, source_bytes), source_bytes)


if __name__ == "__main__":
    main()
