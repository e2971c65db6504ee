#!/usr/bin/env python3
"""Writes statistics.json: paired tables and values with what scipy and statsmodels make of them.

usage: make_statistics.py [OUT]      (default: statistics.json beside this file)
Tango's score statistic is computed from its definition: scipy maximizes the likelihood numerically.
"""
import itertools
import json
import math
import pathlib
import random
import sys

import numpy as np
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

TABLES = [(36, 2, 12, 0), (500, 60, 40, 400), (110, 3, 0, 7), (0, 5, 9, 0), (2, 0, 0, 1), (700, 31, 33, 408),
          (40, 0, 1, 59), (5000, 410, 380, 4252), (0, 10, 0, 0)]  # both right, lost, won, both wrong
MARGIN = 0.01


def tango_statistic(table, d):
    """Score statistic of H0 'won share - lost share = d' with the nuisance share found by maximization."""
    _, lost, won, _ = table
    n = sum(table)
    rest = n - won - lost

    def minus_log_likelihood(q):
        terms = [(won, q + d), (lost, q), (rest, 1 - 2 * q - d)]
        if any(k > 0 and p <= 0 for k, p in terms):
            return math.inf
        return -sum(k * math.log(p) for k, p in terms if k > 0)

    low, high = max(0.0, -d), (1 - d) / 2
    grid = np.linspace(low, high, 4001)
    best = grid[int(np.argmin([minus_log_likelihood(q) for q in grid]))]
    step = (high - low) / 4000
    bounds = (max(low, best - step), min(high, best + step))
    q = optimize.minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-14}).x
    if minus_log_likelihood(low) <= minus_log_likelihood(q):
        q = low
    return (won - lost - n * d) / math.sqrt(n * (2 * q + d - d * d))


def table_case(table):
    _, lost, won, _ = table
    n, m = lost + won, min(lost, won)
    mid = 2 * stats.binom.cdf(m, n, 0.5) - stats.binom.pmf(m, n, 0.5) if n else 1.0
    case = {"table": table, "exact": float(min(1, mcnemar([[0, lost], [won, 0]], exact=True).pvalue)), "mid_p": float(mid)}
    if sum(table) > 10:
        case["tango"] = [[d, tango_statistic(table, d)] for d in (-0.2, -MARGIN, 0.0, 0.005, MARGIN, 0.3) if won + lost or d]
        case["noninferiority"] = float(stats.norm.sf(tango_statistic(table, -MARGIN)))
        case["equivalence"] = max(case["noninferiority"], float(stats.norm.cdf(tango_statistic(table, MARGIN))))
    return case


def cluster_case(rng, n, groups):
    names = [rng.randrange(groups) for _ in range(n)]
    shift = [rng.gauss(0, 1) for _ in range(groups)]
    values = [shift[g] + rng.gauss(0, 1) for g in names]
    fit = sm.OLS(values, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": np.array(names)})
    return {"values": values, "clusters": names, "mean": float(np.mean(values)), "stderr": float(stats.sem(values)),
            "clustered": float(fit.bse[0])}


def sign_flip_case(rng, n):
    values = [round(rng.gauss(0.4, 1), 3) for _ in range(n)]
    p = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    return {"values": values, "p": float(p)}


def clustered_mcnemar_case(rng, groups):
    sums = [rng.choice([-2, -1, 0, 0, 1, 1, 2, 3]) for _ in range(groups)]
    p = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    # The mid-p by listing all sign patterns.
    signs = np.array(list(itertools.product((-1, 1), repeat=groups)))
    totals = np.abs(signs @ np.array(sums))
    equal = np.mean(totals == abs(sum(sums)))
    return {"sums": sums, "p": float(p), "mid_p": float(p - equal / 2) if sum(sums) else 1.0}


def tango_limit(table, z, design_effect):
    """The difference at which the statistic over sqrt(design_effect) is z, by Brent's method."""
    f = lambda d: tango_statistic(table, d) / math.sqrt(design_effect) - z
    observed = (table[2] - table[1]) / sum(table)
    return optimize.brentq(f, *((-1 + 1e-9, observed) if z > 0 else (observed, 1 - 1e-9)), xtol=1e-12)


def average_case(tables, design_effects, weights):
    observed = [(t[2] - t[1]) / sum(t) for t in tables]
    mean = sum(w * d for w, d in zip(weights, observed))

    def limit(z):
        if z == 0:
            return mean
        parts = [w * (d - tango_limit(t, z, e)) for t, e, w, d in zip(tables, design_effects, weights, observed)]
        return mean - math.copysign(math.sqrt(sum(p * p for p in parts)), z)

    z = stats.norm.ppf(0.975)
    below = stats.norm.sf(optimize.brentq(lambda x: limit(x) + MARGIN, -6, 6, xtol=1e-10))
    above = stats.norm.cdf(optimize.brentq(lambda x: limit(x) - MARGIN, -6, 6, xtol=1e-10))
    return {"tables": tables, "design_effects": design_effects, "weights": weights, "difference": mean,
            "interval": [limit(z), limit(-z)], "equivalence": float(max(below, above))}


def equivalence_items_case(difference, discordance, margin, alpha, power):
    z = stats.norm.ppf(1 - alpha)

    def lacking(s):
        return stats.norm.cdf((margin - difference) * s - z) + stats.norm.cdf((margin + difference) * s - z) - 1 - power

    s = optimize.brentq(lacking, 0, 1e6, xtol=1e-9)
    return {"given": [difference, discordance, margin, alpha, power], "items": s * s * (discordance - difference**2)}


def main():
    rng = random.Random(5)
    p_values = [[rng.random() ** 3 for _ in range(k)] for k in (1, 2, 7, 12)]
    golden = {
        "margin": MARGIN,
        "tables": [table_case(t) for t in TABLES],
        "multiple": [{"p": p, "holm": list(multipletests(p, method="holm")[1]), "bh": list(multipletests(p, method="fdr_bh")[1])}
                     for p in p_values],
        "clusters": [cluster_case(rng, n, g) for n, g in ((12, 3), (60, 20), (40, 40))],
        "sign_flip": [sign_flip_case(rng, n) for n in (3, 7, 12)],
        "clustered_mcnemar": [clustered_mcnemar_case(rng, g) for g in (2, 5, 12)],
        "averages": [average_case(TABLES[1:2], [1.0], [1.0]),
                     average_case([TABLES[1], TABLES[5], TABLES[6]], [1.0, 1.4, 1.0], [1 / 3] * 3),
                     average_case([TABLES[7], TABLES[1], TABLES[6]], [1.2, 1.0, 1.0], [0.5, 0.3, 0.2])],
        "equivalence_items": [equivalence_items_case(*c) for c in
                              ((0.0, 0.1, 0.01, 0.05, 0.8), (0.004, 0.08, 0.01, 0.05 / 7, 0.8), (0.02, 0.3, 0.05, 0.05, 0.9))],
    }
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("statistics.json")
    out.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
