#!/usr/bin/env python3
"""Writes the page of tools/gain.sh from what lies in its folder: usage: tables.py WORK"""
import json
import math
import pathlib
import re
import sys

RECIPES = ("q4-hi", "qx63-hi", "q3-hi")
GOALS = {"q4-hi": "6 (9)", "qx63-hi": "10 (16)", "q3-hi": "5 (7)"}


def weighted(windows, key):
    tokens = sum(w["tokens"] for w in windows)
    return sum(w[key] * w["tokens"] for w in windows) / tokens


def factor(plain, ours):
    """Ratio of the mean KLs with its standard error over windows, in pairs (linearized)."""
    a, b = weighted(plain, "kl"), weighted(ours, "kl")
    d = [p["kl"] / a - o["kl"] / b for p, o in zip(plain, ours)]
    n, mean = len(d), sum(d) / len(d)
    return a / b, a / b * math.sqrt(sum((x - mean) ** 2 for x in d) / (n - 1) / n)


def paired(plain, ours, key):
    """Mean of ours less plain, and its standard error over windows."""
    d = [o[key] - p[key] for p, o in zip(plain, ours)]
    n, mean = len(d), sum(d) / len(d)
    return mean, math.sqrt(sum((x - mean) ** 2 for x in d) / (n - 1) / n)


def interval(mean, error, scale=1.0, digits=4):
    low, high = scale * (mean - 1.96 * error), scale * (mean + 1.96 * error)
    return f"{scale * mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def variants(work, name):
    return json.loads((work / name).read_text(encoding="utf-8"))


def kl_row(label, v, plain=None):
    cells = [label, f"{v['kl_mean']:.4f} ± {v['kl_stderr_windows']:.4f}", f"{100 * v['top1_agreement']:.1f} %",
             f"{v['ppl']:.2f}"]
    if plain is None:
        return cells + ["1", "", "", ""]
    f, error = factor(plain["by_window"], v["by_window"])
    kl = interval(*paired(plain["by_window"], v["by_window"], "kl"))
    top1 = interval(*paired(plain["by_window"], v["by_window"], "top1"), 100, 1)
    loss = interval(*paired(plain["by_window"], v["by_window"], "loss"), 1, 3)
    return cells + [f"**{f:.2f} ± {error:.2f}**", kl, top1, loss]


HEAD = ("| | KL | top-1 | perplexity | factor | KL less plain's | top-1 less plain's, points | ln perplexity less plain's |\n"
        "|---|---|---|---|---|---|---|---|")


def table(rows):
    return "\n".join([HEAD] + ["| " + " | ".join(row) + " |" for row in rows])


def budget_section(work, wiki):
    out = []
    for recipe in RECIPES:
        search = json.loads((work / f"best-{recipe}.search.json").read_text(encoding="utf-8"))
        plain = wiki["variants"][recipe]
        rows = [kl_row("plain (MLX's min-max)", plain)]
        for name, label in ((f"{recipe}-mse", "the recipe's bits, weighted fit alone"),
                            (f"{recipe}-gptq", "the recipe's bits, `gptq`"),
                            (f"{recipe}-gptq-distilled", "the recipe's bits, `distill`"),
                            (f"best-{recipe}-mse", "searched bits, weighted fit alone"),
                            (f"best-{recipe}", "searched bits, `gptq`"),
                            (f"best-{recipe}-distilled", "searched bits, `distill`")):
            if name in wiki["variants"]:
                rows.append(kl_row(label, wiki["variants"][name], plain))
        out.append(f"### Bytes of {recipe}: {search['budget']['bytes']}, ours {search['chosen']['bytes']}\n"
                   f"Goal for the factor: at least {GOALS[recipe]} (aim).\n\n{table(rows)}\n")
    return "\n".join(out)


def domain_section(work):
    out = []
    for name, label in (("chat.json", "Chat answers of the base model"), ("tasks.json", "Texts of the seven tasks")):
        if not (work / name).exists():
            continue
        found = variants(work, name)["variants"]
        rows = [kl_row("q4-hi, plain", found["q4-hi"])]
        rows += [kl_row(text, found[key], found["q4-hi"]) for key, text in
                 (("q4-hi-gptq", "q4-hi's bits, `gptq`"), ("best-q4-hi", "searched bits, `gptq`")) if key in found]
        windows = len(found["q4-hi"]["by_window"])
        out.append(f"### {label}: {windows} windows of 512\nGoal at the bytes of q4-hi: at least 3 (6).\n\n{table(rows)}\n")
    return "\n".join(out)


def predicted_section(work, wiki):
    rows = ["| bytes of | predicted | measured where the choice was made | measured on the final text | final over predicted |",
            "|---|---|---|---|---|"]
    for recipe in RECIPES:
        search = json.loads((work / f"best-{recipe}.search.json").read_text(encoding="utf-8"))
        chosen = [m for m in search["measured"] if m["kind"] == "candidate" and
                  m["plan_hash"] == search["chosen"]["plan_hash"]]
        seen = f"{chosen[0]['kl']:.4f} ± {chosen[0]['kl_stderr']:.4f}" if chosen else "-"
        final = wiki["variants"][f"best-{recipe}"]["kl_mean"]
        predicted = search["chosen"]["predicted"]
        rows.append(f"| {recipe} | {predicted:.4f} | {seen} | {final:.4f} | {final / predicted:.2f} |")
    out = "\n".join(rows)
    sensitivity = work / "sensitivity.json"
    if sensitivity.exists():
        v = json.loads(sensitivity.read_text(encoding="utf-8"))["validation"]
        if v:
            out += (f"\n\nThe costs against direct measurements of {len(v['pairs'])} codes drawn at random: correlation of "
                    f"the logarithms {v['log_pearson']:.3f}, median of direct over predicted {v['median_ratio']:.2f}.")
    return out


def seconds_of(times, *words):
    """Of the one command that has all these words."""
    found = [float(line.split(" s\t")[0]) for line in times if all(w in line.split() for w in words)]
    return found[0] if len(found) == 1 else math.nan


def times_section(work):
    # Paths of this machine are of no use to a reader.
    text = re.sub(r"(?<=\s)/\S*/", "", (work / "times.txt").read_text(encoding="utf-8"))
    times = text.splitlines()
    parts = {"calibrate": ("calibrate",), "sensitivity": ("sensitivity", "sensitivity.json"), "search": ("search", "best-q4-hi.json"),
             "convert": ("convert", "best-q4-hi")}
    seconds = {name: seconds_of(times, *words) for name, words in parts.items()}
    out = "## The commands\nWith their wall times, in which other work of the machine counts.\n"
    if not math.isnan(sum(seconds.values())):
        out += ("For the bytes of q4-hi: " + " + ".join(f"{name} {s:.0f} s" for name, s in seconds.items()) +
                f" = {sum(seconds.values()) / 60:.1f} minutes.\n")
    return f"{out}```\n{text}```"


def main():
    work = pathlib.Path(sys.argv[1])
    wiki = variants(work, "wiki.json")
    if (work / "wiki-more.json").exists():
        wiki["variants"].update(variants(work, "wiki-more.json")["variants"])
    windows = len(wiki["variants"]["q4-hi"]["by_window"])
    print(f"""# The gain of a search, on SmolLM2-135M-Instruct with permuted channels
Written by `make gain` (tools/gain.sh); not edited by hand. Calibration: the first 40 % of WikiText-2's test text.
Candidates were chosen on the next 20 %. All figures below are from text and items that neither saw: {windows} windows of 512
tokens out of the last 40 %, of which the second halves count. KL(base || variant) in nats a token, ± one standard error
over windows; factor: KL of plain over KL of the row, its error from the same windows in pairs; differences with their 95 %
intervals, in pairs too. Perplexity of the base: {wiki['base']['ppl']:.2f}.

{budget_section(work, wiki)}
## Another domain than the calibration's
{domain_section(work)}
## Predicted and measured
{predicted_section(work, wiki)}
""")
    for name, head in (("compare.md", "## Seven tasks against the base"),
                       ("compare-plain.md", "## Seven tasks, the searched plan against plain")):
        if (work / name).exists():
            print(head + "\n" + re.sub(r"^#", "###", (work / name).read_text(encoding="utf-8"), flags=re.M))
    if (work / "times.txt").exists():
        print(times_section(work))


if __name__ == "__main__":
    main()
