// Fuzzes what lies beside a run: any JSON is a measurement whose numbers are finite, or an Error.
// Its first byte chooses speed or distance.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "runs/measurements.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    const qx::Json json = qx::parse_json(text, "fuzz");
    qx::measured_model_difference(json, json);
    if ((data[0] & 1) != 0) {
      const qx::SpeedFacts facts = qx::parse_speed(json, "fuzz");
      QX_CHECK(std::isfinite(facts.prefill_tps) && std::isfinite(facts.decode_tps));
      QX_CHECK((facts.decode_tps > 0) == (facts.bytes_per_token > 0) && facts.threads > 0);
      QX_CHECK(!facts.read_share || std::isfinite(*facts.read_share));
    } else {
      const qx::DistanceFacts facts = qx::parse_distance(json, "fuzz");
      for (const double value :
           {facts.kl_mean, facts.kl_stderr, facts.kl_median, facts.kl_p95, facts.kl_p99,
            facts.kl_max, facts.ppl, facts.ppl_stderr, facts.ppl_base}) {
        QX_CHECK(std::isfinite(value));
      }
      QX_CHECK(facts.top1_agreement >= 0 && facts.top1_agreement <= 1 && facts.tokens > 1);
    }
  } catch (const qx::Error&) {
  }
  return 0;
}
