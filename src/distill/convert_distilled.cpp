// SPDX-License-Identifier: Apache-2.0
#include "distill/convert_distilled.h"

#include <system_error>

#include "base/error.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// A directory beside the target, removed at the end.
class StartDirectory {
 public:
  explicit StartDirectory(const fs::path& target) {
    fs::path whole = fs::absolute(target).lexically_normal();
    if (!whole.has_filename()) whole = whole.parent_path();
    path_ = whole.parent_path() / ("." + whole.filename().string() + ".qx-start");
  }
  ~StartDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  StartDirectory(const StartDirectory&) = delete;
  StartDirectory& operator=(const StartDirectory&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

DistilledConversion convert_distilled(const ConvertRequest& request, const DistillRequest& training,
                                      ThreadPool& pool) {
  QX_CHECK(!request.fit.calibration.empty());
  if (fs::exists(request.target) && !request.force) {
    fail(request.target.string(), "exists already, expected a new path; remove it or add --force");
  }
  const StartDirectory start(request.target);
  ConvertRequest codes = request;
  codes.target = start.path();
  codes.force = true;  // what a killed attempt left there
  DistilledConversion out;
  out.converted = convert(codes, pool);
  DistillRequest learn = training;
  learn.base = request.source;
  learn.quantized = start.path();
  learn.calibration = request.fit.calibration;
  learn.target = request.target;
  learn.keep_start = true;
  learn.force = request.force;
  learn.quiet = request.quiet;
  out.distilled = distill(learn, pool);
  if (out.distilled.kept_step == 0) {
    out.converted.notes.push_back(fmt::format(
        "distillation never came below the KL of {:.5f} that the fitted codes have on the "
        "validation windows: their own scales were kept",
        out.distilled.start_kl));
  }
  return out;
}

}  // namespace qx
