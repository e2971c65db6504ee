// Showing that two variants differ by less than a margin, on paired right and wrong answers: the
// score test of Tango for "the difference is D", its interval, and two one-sided tests. Formulas and
// sources: docs/statistics.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "stats/stats.h"

namespace qx {

// Tango's (1998) score statistic for H0: variant accuracy - baseline accuracy = difference, with
// -1 < difference < 1; standard normal under H0. 0 when the counts fit H0 without any variance.
double tango_statistic(const PairedCounts& counts, double difference);

// The difference at which the statistic, divided by sqrt(design_effect), is z: below the observed one for
// z > 0, above it for z < 0; -1 or 1 where it never gets there. n() > 0. design_effect >= 1: how many times
// larger the variance is because items share passages (Rao and Scott 1992).
double tango_bound(const PairedCounts& counts, double z, double design_effect = 1);

// The differences that the test does not reject: low <= (c - b)/n <= high. n == 0 gives [-1, 1].
Interval tango_interval(const PairedCounts& counts, double confidence, double design_effect = 1);

// Two one-sided tests (Schuirmann 1987) of |difference| >= margin: the larger of both p-values. The
// variants are shown to be equivalent within the margin when it is below the level. 0 < margin < 1.
double equivalence_p(const PairedCounts& counts, double margin, double design_effect = 1);

// One-sided test of difference <= -margin: small when "worse by no more than the margin" is shown.
double noninferiority_p(const PairedCounts& counts, double margin, double design_effect = 1);

// 1 / (standard error) at which two one-sided normal tests show |difference| < margin with the given power,
// at one-sided level alpha each: the s of P(Z < (margin - d) s - z_alpha) + P(Z < (margin + d) s - z_alpha)
// = 1 + power (Phillips 1990, normal form). Infinite unless |difference| < margin.
double equivalence_precision(double difference, double margin, double alpha, double power);

// Paired items that show equivalence within the margin so, where a share `discordance` of the items differs
// and the true difference is `difference`. NaN unless |difference| < margin < 1 and |difference| <=
// discordance <= 1.
double items_for_equivalence(double difference, double discordance, double margin, double alpha,
                             double power);

}  // namespace qx
