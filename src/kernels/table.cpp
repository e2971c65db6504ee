// Which kernel table this process uses.
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "kernels/cpu_features.h"
#include "kernels/tables.h"

namespace qx {
namespace {

std::atomic<const KernelTable*> selected{nullptr};

const KernelTable* find_table(std::string_view name) {
  const KernelTables& all = available_kernels();
  for (int i = 0; i < all.count; ++i) {
    if (name == all.tables[i]->name) return all.tables[i];
  }
  return nullptr;
}

const KernelTable* default_table() {
  const KernelTables& all = available_kernels();
  const char* wanted = std::getenv("QX_ISA");
  if (wanted == nullptr || *wanted == '\0') return all.tables[all.count - 1];
  if (const KernelTable* table = find_table(wanted)) return table;
  std::string names;
  for (int i = 0; i < all.count; ++i) {
    names += (i == 0 ? "" : ", ");
    names += all.tables[i]->name;
  }
  fail("QX_ISA", "got \"{}\", expected one that this machine can run: {}", wanted, names);
}

}  // namespace

const KernelTables& available_kernels() {
  static const KernelTables available = [] {
    KernelTables list = {};
    list.tables[list.count++] = &kScalarTable;
#if defined(QX_KERNELS_X86)
    const CpuFeatures features = detect_cpu_features();
    if (features.avx2) list.tables[list.count++] = &kAvx2Table;
    if (features.avxvnni) list.tables[list.count++] = &kAvxVnniTable;
    if (features.avx512) list.tables[list.count++] = &kAvx512Table;
    if (features.avx512bf16) list.tables[list.count++] = &kAvx512Bf16Table;
#endif
#if defined(QX_KERNELS_ARM)
    const CpuFeatures features = detect_cpu_features();
    list.tables[list.count++] = &kNeonTable;
    if (features.dotprod) list.tables[list.count++] = &kNeonDotprodTable;
    if (features.i8mm) list.tables[list.count++] = &kNeonI8mmTable;
#endif
    return list;
  }();
  return available;
}

const KernelTable& kernels() {
  const KernelTable* table = selected.load(std::memory_order_acquire);
  if (table == nullptr) {
    // Threads that race here find the same table.
    table = default_table();
    selected.store(table, std::memory_order_release);
  }
  return *table;
}

bool select_kernels(const char* name) {
  const KernelTable* table = find_table(name);
  if (table == nullptr) return false;
  selected.store(table, std::memory_order_release);
  return true;
}

}  // namespace qx
