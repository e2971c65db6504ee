#!/usr/bin/env python3
"""Load on `qx serve`: streams of many clients at once, throughput of 8 requests at once against one, time to the first token, clients
that go away, and malformed requests.

usage: bench/serve_load.py -m DIR [--qx build/qx] [--clients 32] [--seconds 60] [--rounds 5] [--malformed 10000] [--json]
       bench/serve_load.py --url http://127.0.0.1:8080 ..      a server that runs already, of any make (then --model names the model)
       mlx_lm.server --model DIR --port 8090 & bench/serve_load.py -m DIR --peer-url http://127.0.0.1:8090 --peer-model DIR ..

Only Python's standard library. Streams check that every event is JSON, that the last is [DONE], and that as many tokens came as were
asked for. The ratio is of turns that follow each other: one request, then eight, round by round.
"""
import argparse
import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse


class Server:
    def __init__(self, args, url=None):
        self.process = None
        if not url:
            self.process = subprocess.Popen([args.qx, "serve", "-m", args.m, "--port", "0", "--json", "--quiet", *args.option],
                                            stdout=subprocess.PIPE, text=True)
            announced = json.loads(self.process.stdout.readline())
            url, args.model = announced["url"], announced["models"][0]
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(60)


def stream(server, model, tokens, text, stop_after=None, **members):
    """One streamed chat; (seconds to the first token, tokens made, seconds, error or None).

    Client and server share the processors, so bytes are only stamped while they come, and read as events afterwards."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": 1, "seed": 1, "stream": True,
            **(members or {"ignore_eos": True, "stream_options": {"include_usage": True}})}
    if model:
        body["model"] = model
    data, headers = json.dumps(body), {"Content-Type": "application/json"}
    began = time.perf_counter()
    pieces = []  # (seconds, bytes)
    try:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=1800)
        connection.request("POST", "/v1/chat/completions", data, headers)
        response = connection.getresponse()
        if response.status != 200:
            return None, 0, 0, f"status {response.status}: {response.read(300)}"
        while piece := response.read1(65536):
            pieces.append((time.perf_counter() - began, piece))
            if stop_after and sum(p.count(b"data: ") for _, p in pieces) >= stop_after:
                connection.sock.close()
                return pieces[0][0], stop_after, time.perf_counter() - began, None
        took = time.perf_counter() - began
        connection.close()
        first, made = read_events(pieces)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return None, 0, 0, repr(error)
    if server.process and not members and made != tokens:
        return first, made, 0, f"got {made} tokens, expected {tokens}"
    return first, made, took, None


def read_events(pieces):
    """(when the first text was there, tokens made) of a whole stream; every event must be JSON and the last [DONE]."""
    ends, at = [], 0  # where each piece ends
    for _, piece in pieces:
        at += len(piece)
        ends.append(at)
    whole = b"".join(piece for _, piece in pieces).replace(b"\r\n", b"\n")
    if len(whole) != at:  # some servers end lines with CR LF: then moments are those of pieces without
        ends = []
        for i in range(len(pieces)):
            ends.append(len(b"".join(piece for _, piece in pieces[:i + 1]).replace(b"\r\n", b"\n")))
    first, usage, events, done, at = None, None, 0, False, 0
    for block in whole.split(b"\n\n"):
        at += len(block) + 2
        if not block.startswith(b"data: "):
            continue
        if done:
            raise ValueError("an event after [DONE]")
        if block[6:].strip() == b"[DONE]":
            done = True
            continue
        event = json.loads(block[6:])
        if "error" in event:
            raise ValueError(str(event["error"]))
        usage = event.get("usage") or usage
        delta = event["choices"][0]["delta"] if event["choices"] else {}
        if delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"):
            events += 1
            if first is None:
                first = next(t for (t, _), end in zip(pieces, ends) if end >= min(at, ends[-1]))
    if not done:
        raise ValueError("the stream broke off")
    return first, usage["completion_tokens"] if usage else events


def turn(server, model, clients, tokens, **members):
    """Tokens a second of so many at once, all together, and their times to the first token."""
    results = [None] * clients

    def work(i):
        results[i] = stream(server, model, tokens, f"Tell me about the number {i}.", **members)

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(i,)) for i in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seconds = time.perf_counter() - began
    errors = [r[3] for r in results if r[3]]
    return sum(r[1] for r in results) / seconds, [r[0] for r in results if r[0]], errors


def sustained(server, model, clients, seconds, tokens):
    """Clients that ask again and again."""
    end = time.perf_counter() + seconds
    lock, totals, errors, firsts = threading.Lock(), [0, 0], [], []

    def work(i):
        n = 0
        while time.perf_counter() < end:
            n += 1
            first, made, _, error = stream(server, model, tokens, f"Client {i} asks for the {n}th time: what is {n} + {i}?")
            with lock:
                if error:
                    errors.append(error)
                else:
                    totals[0] += 1
                    totals[1] += made
                    firsts.append(first)

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(i,)) for i in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    took = time.perf_counter() - began
    return {"clients": clients, "seconds": took, "streams": totals[0], "errors": errors[:10], "error_count": len(errors),
            "tokens_per_second": totals[1] / took, "first_token_median_s": statistics.median(firsts) if firsts else None}


def batches(args, servers):
    """One request, then eight, of each server in turn, round by round."""
    turns = {name: {"one": [], "eight": [], "first_one": [], "first_eight": []} for name, _, _ in servers}
    for _ in range(args.rounds):
        for kind, clients in (("one", 1), ("eight", 8)):
            for name, server, model in servers:
                speed, firsts, errors = turn(server, model, clients, args.tokens)
                if errors:
                    sys.exit(f"{name}: streams failed: {errors}")
                turns[name][kind].append(speed)
                turns[name]["first_" + kind] += firsts
    out = {"tokens": args.tokens, "rounds": args.rounds}
    for name, t in turns.items():
        ratios = [b / a for a, b in zip(t["one"], t["eight"])]
        out[name] = {"one_tps": statistics.median(t["one"]), "eight_tps": statistics.median(t["eight"]), "ratio_median": statistics.median(ratios),
                     "ratio_min": min(ratios), "ratio_max": max(ratios), "first_token_1_s": statistics.median(t["first_one"]),
                     "first_token_8_s": statistics.median(t["first_eight"])}
    return out


def metric(server, name):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request("GET", "/metrics")
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith(name):
            return float(line.rsplit(" ", 1)[1])
    raise SystemExit(f"no metric {name}")


def gone_clients(server, model, rounds):
    """Seconds until the place of a client that went away is free."""
    times = []
    for _ in range(rounds):
        stream(server, model, 2000, "Count to a thousand.", stop_after=3)
        began = time.perf_counter()
        while metric(server, "qx_texts_active") > 0:
            time.sleep(0.01)
            if time.perf_counter() - began > 30:
                return {"worst_s": None}
        times.append(time.perf_counter() - began)
    return {"median_s": statistics.median(times), "worst_s": max(times)}


def malformed(server, count, seed):
    """Broken requests of many kinds; each must be answered 4xx or cut, and the server must stay healthy."""
    rng = random.Random(seed)
    good = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "temperature": 0, "n": 1, "stop": ["x"],
                       "logit_bias": {"5": 1}, "top_p": 0.5}).encode()

    def head(length, extra=b""):
        return b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n" % (
            length, extra)

    def mangled_body():
        body = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        return head(len(body)) + bytes(body)

    def mangled_head():
        text = bytearray(head(len(good)))
        for _ in range(rng.randint(1, 6)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        return bytes(text) + good

    def wrong_types():
        body = json.loads(good)
        key = rng.choice(list(body))
        body[key] = rng.choice([None, -1, 1e308, "x" * rng.randint(0, 5000), [], {}, [[[]]], True, {"a": [1]}, 2**63])
        data = json.dumps(body).encode()
        return head(len(data)) + data

    kinds = [
        mangled_body, mangled_head, wrong_types,
        lambda: bytes(rng.randrange(256) for _ in range(rng.randint(1, 400))),
        lambda: b"GET /" + b"a" * rng.randint(1, 40000) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        lambda: b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * rng.randint(1000, 5000) + b"\r\n",
        lambda: head(10**rng.randint(7, 25)),
        lambda: head(len(good) + rng.randint(1, 9)) + good,
        lambda: head(len(b := b"[" * rng.randint(1, 100000))) + b,
        lambda: head(len(b := good.replace(b"hi", b"a" * rng.randint(1, 300000)))) + b,
        lambda: good[:rng.randrange(len(good))],
        lambda: head(3, b"Transfer-Encoding: chunked\r\n") + b"zz\r\n",
    ]
    statuses, lock = {}, threading.Lock()

    def send(data):
        status = "cut"
        try:
            with socket.create_connection((server.host, server.port), timeout=60) as s:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                answer = b""
                while chunk := s.recv(65536):
                    answer += chunk
                if answer:
                    status = answer.split(b" ", 2)[1].decode()
        except (ConnectionError, BrokenPipeError):
            pass
        except socket.timeout:
            status = "timeout"
        with lock:
            statuses[status] = statuses.get(status, 0) + 1

    work = [rng.choice(kinds)() for _ in range(min(count, 500))]

    def worker(share):
        for i in range(share):
            send(rng.choice(work) if rng.random() < 0.5 else rng.choice(kinds)())

    threads = [threading.Thread(target=worker, args=(count // 16,)) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    _, made, _, error = stream(server, None, 4, "Still there?")
    return {"requests": count // 16 * 16, "statuses": dict(sorted(statuses.items())), "healthy_afterwards": error is None and made == 4}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m")
    parser.add_argument("--url")
    parser.add_argument("--model")
    parser.add_argument("--peer-url", help="another server, which takes turns with ours")
    parser.add_argument("--peer-model", help="the model's name there")
    parser.add_argument("--qx", default="build/qx")
    parser.add_argument("--option", action="append", default=[], help="further option of qx serve; repeatable")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--malformed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if bool(args.m) == bool(args.url):
        parser.error("expected -m or --url")
    server = Server(args, args.url)
    peer = Server(args, args.peer_url) if args.peer_url else None
    out = {}
    try:
        stream(server, args.model, 8, "Hello")  # pages in the weights
        if peer:
            stream(peer, args.peer_model, 8, "Hello")
        if args.rounds:
            out["batch"] = batches(args, [("qx", server, args.model)] + ([("peer", peer, args.peer_model)] if peer else []))
        if args.seconds:
            out["sustained"] = sustained(server, args.model, args.clients, args.seconds, args.tokens)
        if not args.url:
            out["gone_clients"] = gone_clients(server, args.model, 5)
            if args.malformed:
                out["malformed"] = malformed(server, args.malformed, 1)
    finally:
        server.stop()
    print(json.dumps(out, indent=None if args.json else 2))
    bad = out.get("sustained", {}).get("error_count", 0) or not out.get("malformed", {}).get("healthy_afterwards", True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
