// SPDX-License-Identifier: Apache-2.0
#include "kernels/emulated/tables.h"

#include "kernels/cpu_features.h"

// The same declarations under the names that CMakeLists.txt gives the emulated kernels.
#define integer_scalar integer_scalar_unused
#define integer_avx2 integer_avx2_unused
#define integer_avxvnni integer_avxvnni_emulated
#define integer_avx512 integer_avx512_emulated
#include "kernels/integer.h"
#undef integer_scalar
#undef integer_avx2
#undef integer_avxvnni
#undef integer_avx512

namespace qx {

std::vector<const KernelTable*> emulated_tables() {
  static const auto with = [](const char* name, auto quantize_row, auto linear_integer) {
    KernelTable table = *available_kernels().tables[0];
    table.name = name;
    table.quantize_row = quantize_row;
    table.linear_integer = linear_integer;
    return table;
  };
  static const KernelTable avxvnni =
      with("avxvnni (emulated)", integer_avxvnni_emulated::quantize_row,
           integer_avxvnni_emulated::linear_integer);
  static const KernelTable avx512 = with("avx512 (emulated)", integer_avx512_emulated::quantize_row,
                                         integer_avx512_emulated::linear_integer);
  if (!detect_cpu_features().avx2) return {&avx512};
  return {&avxvnni, &avx512};
}

}  // namespace qx
