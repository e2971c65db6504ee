// SPDX-License-Identifier: Apache-2.0
#include "selection_options.h"

namespace qx::cli {

void add_selection_options(CLI::App& verb, SelectionOptions& o) {
  auto* limit = verb.add_option("--limit", o.limit, "only the first N items of each task")
                    ->check(CLI::PositiveNumber);
  auto* offset = verb.add_option("--offset", o.offset, "leave out the first N items of each task")
                     ->check(CLI::NonNegativeNumber);
  auto* sample =
      verb.add_option("--sample", o.sample,
                      "N items of each task drawn at random, every gold answer by its share; a "
                      "larger N contains a smaller one")
          ->check(CLI::PositiveNumber)
          ->excludes(limit);
  verb.add_option("--seed", o.seed, "of --sample (default 0)")->needs(sample);
  verb.add_option("--indices", o.indices,
                  "file of rows to ask, one a line: INDEX, TASK INDEX, or JSON")
      ->excludes(limit)
      ->excludes(offset)
      ->excludes(sample);
  verb.add_option("--shard", o.shard,
                  "i/n: only the i-th of n parts of the items; qx merge-runs joins them");
}

Selection make_selection(const SelectionOptions& o) {
  Selection selection;
  selection.offset = o.offset;
  if (o.limit > 0) selection.limit = o.limit;
  if (o.sample > 0) selection.sample = Sample{o.sample, o.seed};
  if (!o.shard.empty()) selection.shard = parse_shard(o.shard);
  if (!o.indices.empty()) selection.indices = read_index_list(o.indices);
  return selection;
}

}  // namespace qx::cli
