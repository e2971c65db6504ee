#!/usr/bin/env python3
"""`qx serve` beside llama-cpp-python's server and mlx_lm.server: one stream, eight at once, and the time to the first token, in turns.

usage: bench/serve_vs_peers.py -m DIR --gguf FILE [--qx build/qx] [--llama-python PYTHON] [--mlx-python PYTHON] [--threads 2] [--json]

-m is an MLX directory, which qx and mlx_lm.server serve; --gguf the same model for llama.cpp at the same width or more bytes
(SmolLM2 q4-hi and Q4_1 are 5 bits a weight). Leave --gguf or --mlx-python out to leave that server out.

All servers run throughout, idle while another is asked. A round asks each for one answer, then each for eight at once. Every
server gets the same messages, temperature 0 and as many threads; the end of the text is forbidden by logit_bias, which all three
know, so that answers are equally long. Tokens are counted by usage, or by events where a server gives none. The client only
stamps bytes while they come (serve_load.py). mlx_lm.server on a CPU may take minutes for what takes the others a second:
--mlx-tokens and --mlx-rounds give it less to do.
"""
import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import serve_load

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path(os.environ.get("QX_CACHE", pathlib.Path.home() / ".cache/qx"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Peer:
    """A server of another make, and how it likes to be asked."""

    def __init__(self, name, command, port, model, environment):
        self.name, self.host, self.port, self.model = name, "127.0.0.1", port, model
        self.log = tempfile.NamedTemporaryFile(prefix=f"serve-{name}-", suffix=".log")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env={**os.environ, **environment})
        for _ in range(1200):
            if self.process.poll() is not None:
                sys.exit(f"{name} ended: {pathlib.Path(self.log.name).read_text()[-2000:]}")
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        sys.exit(f"{name} does not listen")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def llama_server(args):
    port = free_port()
    command = [args.llama_python, "-m", "llama_cpp.server", "--model", args.gguf, "--port", str(port), "--n_ctx", "4096",
               "--n_threads", str(args.threads), "--n_threads_batch", str(args.threads), "--logits_all", "false",
               "--interrupt_requests", "false", "--verbose", "false"]
    return Peer("llama-cpp-python", command, port, None, {})


def mlx_server(args):
    port = free_port()
    command = [args.mlx_python, "-m", "mlx_lm", "server", "--model", args.m, "--port", str(port), "--log-level", "WARNING"]
    return Peer("mlx_lm.server", command, port, args.m, {"HF_HUB_OFFLINE": "1"})


def versions(args):
    def of(python, *packages):
        code = f"import importlib.metadata as m; print(*(p + ' ' + m.version(p) for p in {packages}), sep=', ')"
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    found = [subprocess.run([args.qx, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]]
    if args.gguf:
        found.append(of(args.llama_python, "llama-cpp-python", "uvicorn"))
    if args.mlx_python:
        found.append(of(args.mlx_python, "mlx", "mlx-lm"))
    return found


def measure(args, server, name, clients, tokens):
    speed, firsts, errors = serve_load.turn(server, server.model, clients, tokens, temperature=0, logit_bias={str(args.end_token): -100})
    if errors:
        sys.exit(f"{name}: {errors}")
    print(f"{name}: {clients} at once, {speed:.1f} tokens/s, first after {statistics.median(firsts):.3f} s", file=sys.stderr)
    return speed, firsts


def summary(turns):
    out = {}
    for name, t in turns.items():
        out[name] = {"rounds": len(t["one"]), "tokens": t["tokens"], "one_tps": statistics.median(t["one"]),
                     "eight_tps": statistics.median(t["eight"]),
                     "ratio": statistics.median([b / a for a, b in zip(t["one"], t["eight"])]),
                     "first_token_1_s": statistics.median(t["first_one"]), "first_token_8_s": statistics.median(t["first_eight"]),
                     "first_token_8_worst_s": max(t["first_eight"])}
    ours = turns["qx"]
    for name, t in turns.items():
        if name != "qx":
            for kind in ("one", "eight"):
                out[name][f"qx_over_it_{kind}"] = statistics.median([a / b for a, b in zip(ours[kind], t[kind])])
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", required=True)
    parser.add_argument("--gguf")
    parser.add_argument("--qx", default=str(ROOT / "build/qx"))
    parser.add_argument("--option", action="append", default=[], help="further option of qx serve; repeatable")
    parser.add_argument("--llama-python", default=str(CACHE / "llama/bin/python"))
    parser.add_argument("--mlx-python", help="a Python with mlx-lm")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mlx-tokens", type=int, default=8)
    parser.add_argument("--mlx-rounds", type=int, default=1)
    parser.add_argument("--end-token", type=int, default=2, help="the id that ends an answer; SmolLM2's is 2")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.option = ["--threads", str(args.threads), *args.option]
    servers = []
    try:
        ours = serve_load.Server(args)
        ours.model = args.model
        servers.append(("qx", ours))
        if args.gguf:
            servers.append(("llama-cpp-python", llama_server(args)))
        if args.mlx_python:
            servers.append(("mlx_lm.server", mlx_server(args)))
        turns = {}
        for name, server in servers:
            tokens = args.mlx_tokens if name == "mlx_lm.server" else args.tokens
            turns[name] = {"one": [], "eight": [], "first_one": [], "first_eight": [], "tokens": tokens}
            measure(args, server, name + " (warm-up)", 1, 4)
        for i in range(args.rounds):
            for kind, clients in (("one", 1), ("eight", 8)):
                for name, server in servers:
                    if name == "mlx_lm.server" and i >= args.mlx_rounds:
                        continue
                    speed, firsts = measure(args, server, name, clients, turns[name]["tokens"])
                    turns[name][kind].append(speed)
                    turns[name]["first_" + kind] += firsts
    finally:
        for _, server in servers:
            server.stop()
    print(json.dumps({"versions": versions(args), "threads": args.threads, "servers": summary(turns)}, indent=None if args.json else 2))


if __name__ == "__main__":
    main()
