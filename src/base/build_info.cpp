// SPDX-License-Identifier: Apache-2.0
#include "base/build_info.h"

#include "qx_commit.h"  // written by cmake/commit.cmake at every build

namespace qx {

const BuildInfo& build_info() {
  static const BuildInfo info {
    QX_VERSION, QX_COMMIT, QX_DIRTY,
#if defined(__clang__)
        "clang " __clang_version__
#else
        "g++ " __VERSION__
#endif
  };
  return info;
}

}  // namespace qx
