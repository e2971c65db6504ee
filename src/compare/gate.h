// Limits that a comparison must keep, for continuous integration. A gate is judged by the
// confidence bound and not by the point estimate: few items give a wide interval, which does not
// pass.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compare/comparison.h"
#include "compare/unpaired.h"

namespace qx {

// [VARIANT:]SUBJECT OP NUMBER, OP one of > >= < <=. A task, "average" or "micro_average" is the
// difference to the baseline, in accuracy (0.01 is one point); "kl_mean" and "top1_agreement" come
// from `qx divergence`. A lower limit of an average is not kept by a variant that is worse on a task
// which the average leaves out.
struct Gate {
  std::string text;     // as given, without spaces around it
  std::string subject;  // with the variant in front, if one was given: names may hold colons
  bool above = true;    // > or >=: the lower bound is judged; else the upper one
  bool or_equal = false;
  double limit = 0;
};

// Fails: UsageError, which quotes the text. Limits: at most 1,000 bytes; a finite number.
Gate parse_gate(std::string_view text);

// One gate on one variant.
struct GateResult {
  std::string gate, variant;
  std::string subject;  // "hellaswag"
  double estimate = 0;  // NaN where there is none
  double bound =
      0;  // of the 95 % interval, on the side that the gate judges; NaN where there is none
  double limit = 0;
  bool above = true;
  bool held = false;  // false without a bound
  std::string
      reason;  // "hellaswag of q4: lower 95 % bound -0.0343 (estimate -0.0210) is not > -0.01"
};

// Every gate on the variant it names, or on all but the baseline. paired: nullptr when no variant
// has answers per item like the baseline; the others are in `unpaired`, which knows tasks only.
// Fails: UsageError for a variant or subject that there is not, or a limit that no value of it can
// break or keep; Error when a variant lacks what a gate asks for (qx divergence was not run).
std::vector<GateResult> check_gates(const Comparison* paired,
                                    const std::vector<UnpairedPair>& unpaired,
                                    const std::vector<Gate>& gates);

// What GateError says: a line that counts, then a line for each gate that did not hold. Empty when
// all held.
std::string broken_gates(const std::vector<GateResult>& results);

}  // namespace qx
