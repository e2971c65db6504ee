#!/usr/bin/env python3
"""What guesses are worth: tokens a second of `qx generate` with a draft model and with prompt lookup over those without, turn by
turn.

usage: bench/draft_speed.py -m DIR [--draft DIR] [--qx build/qx] [--tokens 128] [--rounds 3] [--temp 0] [--precision exact] [--json]

Every text is compared with the one without guesses: it must be the same. The cost of
a pass of several tokens over that of one: build/bench/pass_bench; what other rules of acceptance would give: build/bench/draft_rules.
"""
import argparse
import json
import statistics
import subprocess
import sys

CODE = '''def total_price(items, tax_rate):
    total = 0
    for item in items:
        price = item["price"]
        quantity = item["quantity"]
        total = total + price * quantity
    total = total + total * tax_rate
    return round(total, 2)


def average_price(items):
    if len(items) == 0:
        return 0
    total = 0
    for item in items:
        total = total + item["price"]
    return total / len(items)
'''
TEXT = '''The lighthouse at the northern end of the island was built in 1874 by the harbour company. For ninety years three keepers lived there
with their families, and every night one of them climbed the two hundred and twelve steps to wind the clockwork that turned the lamp. In
1964 the lamp was made electric and the last keeper moved to the village. Today the lighthouse at the northern end of the island is a
museum, and visitors may climb the two hundred and twelve steps to see the old clockwork and the view over the harbour.
'''
PROMPTS = {
    "edit code": "Rename the variable total to amount in this code and give the whole code again, with nothing else changed:\n\n" + CODE,
    "summary": "Summarize the following text in the words of the text itself:\n\n" + TEXT,
    "open": "Write a story about a fox who learns to sail.",
}


def generate(args, prompt, more):
    command = [args.qx, "generate", "-m", args.m, "-p", "-", "--max-tokens", str(args.tokens), "--temp", str(args.temp), "--seed", "1",
               "--precision", args.precision, "--json", "--quiet", *args.option, *more]
    done = subprocess.run(command, input=prompt, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def measure_speed(args):
    settings = {"no guesses": []}
    if args.draft:
        for n in args.num_draft_tokens:
            settings[f"draft model, {n}"] = ["--draft-model", args.draft, "--num-draft-tokens", str(n)]
    for n in args.prompt_lookup:
        settings[f"lookup, {n}"] = ["--prompt-lookup", str(n)]
    rows = []
    for name, prompt in PROMPTS.items():
        speeds = {setting: [] for setting in settings}
        drafts, tokens = {}, {}
        for _ in range(args.rounds):
            for setting, more in settings.items():
                out = generate(args, prompt, more)
                speeds[setting].append(out["generation_tps"])
                drafts[setting], tokens[setting] = out.get("drafts"), out["tokens"]
        for setting in settings:
            assert tokens[setting] == tokens["no guesses"], f"{name}: {setting} changed the text"
            ratios = [a / b for a, b in zip(speeds[setting], speeds["no guesses"])]
            row = {"prompt": name, "setting": setting, "tokens": len(tokens[setting]), "tps": statistics.median(speeds[setting]),
                   "ratio": statistics.median(ratios), "ratios": ratios}
            if drafts[setting]:
                row.update(acceptance=drafts[setting]["acceptance"], drafted=drafts[setting]["drafted"], passes=drafts[setting]["passes"])
            rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m")
    parser.add_argument("--draft")
    parser.add_argument("--qx", default="build/qx")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--temp", type=float, default=0)
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--num-draft-tokens", type=int, nargs="*", default=[3])
    parser.add_argument("--prompt-lookup", type=int, nargs="*", default=[8])
    parser.add_argument("--option", action="append", default=[], help="a further option for qx, as --option=--threads=1")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = measure_speed(args)
    for row in rows:
        if args.json:
            print(json.dumps(row))
        else:
            print("  ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                            if not isinstance(value, list)))


if __name__ == "__main__":
    main()
