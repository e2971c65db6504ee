#!/usr/bin/env python3
"""Items a second of one `qx eval` process with N threads against N MPI ranks with one thread each on the same machine, in turns. The time
is that of the whole command, start of mpirun and loading included. Checks that both give the same bytes. CPU seconds are told too: the fairer
measure on a machine that does other work.

usage: eval_ranks.py --model DIR [--qx build/qx] [--data DIR] [--items 30] [--ranks 2] [--rounds 5] [--mpirun "mpirun --allow-run-as-root"]
"""
import argparse
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

TASKS = 7


def answers(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*/*")) if p.name.startswith("answers-")}


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)  # mpirun waits for its ranks, so they count
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--qx", default="build/qx")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data")
    parser.add_argument("--items", type=int, default=30)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mpirun", default="mpirun")
    options = parser.parse_args()

    def command(out, threads):
        words = [options.qx, "eval", "-m", options.model, "--tasks", "all", "-o", str(out), "--limit", str(options.items), "--plain",
                 "--quiet", "--threads", str(threads)]
        return words + (["--data", options.data] if options.data else [])

    times = {"process": [], "ranks": []}
    cpu = {"process": [], "ranks": []}
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        subprocess.run(command(root / "warm", options.ranks), check=True, stdout=subprocess.DEVNULL)
        expected = answers(root / "warm")
        for turn in range(options.rounds):
            for kind in ("process", "ranks") if turn % 2 == 0 else ("ranks", "process"):
                out = root / f"{kind}{turn}"
                words = command(out, options.ranks)
                if kind == "ranks":
                    words = options.mpirun.split() + ["-n", str(options.ranks), "--bind-to", "none"] + command(out, 1)
                begin, cpu_begin = time.perf_counter(), cpu_seconds()
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
                times[kind].append(time.perf_counter() - begin)
                cpu[kind].append(cpu_seconds() - cpu_begin)
                if answers(out) != expected:
                    raise SystemExit(f"{kind}, round {turn}: other answers")

    items = TASKS * options.items
    for kind, seconds in times.items():
        rates = [items / s for s in seconds]
        print(f"{kind:8} {statistics.median(rates):6.1f} items/s ({min(rates):.1f} to {max(rates):.1f}), CPU "
              f"{statistics.median(cpu[kind]):.2f} s ({min(cpu[kind]):.2f} to {max(cpu[kind]):.2f})")
    ratios = [a / b for a, b in zip(times["process"], times["ranks"])]
    print(f"ranks over process: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), {options.rounds} rounds, "
          f"{items} items")


if __name__ == "__main__":
    main()
