// Fuzzes recipe files: any text is a recipe that gives a sound plan for every shape tried, or an error. The
// first line is the name that is asked for; empty: none.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "arch/shapes.h"
#include "base/error.h"
#include "recipe/recipe.h"
#include "recipe/resolve.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Static: the catalog is the same for every input. 135m has tensors that no group of 128 divides.
  static const std::vector<qx::CatalogTensor> catalog =
      qx::tensor_catalog(qx::shape_config("smollm2-135m"));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t line = std::min(text.find('\n'), text.size());
  std::optional<std::string> requested;
  if (line > 0) requested = std::string(text.substr(0, line));
  try {
    const qx::Recipe recipe =
        qx::parse_recipe(text.substr(std::min(line + 1, text.size())), "fuzz", requested);
    const qx::Plan plan = qx::resolve_plan(recipe, catalog, {});
    QX_CHECK(plan.rows.size() >= catalog.size());
    std::int64_t bytes = 0;
    for (const qx::PlanRow& row : plan.rows) bytes += row.bytes;
    QX_CHECK(bytes == plan.tensor_bytes);
  } catch (const qx::Error&) {
  } catch (const qx::UsageError&) {
  }
  return 0;
}
