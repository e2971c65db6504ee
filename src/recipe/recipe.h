// A recipe as its file says it: rules in order, checked, with placeholders filled in. It knows no
// model; resolve.h applies it to one. The file format is docs/recipes.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/catalog.h"
#include "io/json.h"
#include "quant/affine.h"

namespace qx {

// A layer number: counted from the start, or from the end when negative, or a fraction of the
// number of layers n, as floor(n * numerator / denominator).
struct LayerPosition {
  std::int64_t numerator = 0;
  std::int64_t denominator = 0;  // 0: numerator is the number itself
  std::int64_t resolve(std::int64_t layers) const;
};

// Layers from + offset, from + offset + every, .. below `before`; every 0: only `from`.
struct LayerSet {
  LayerPosition from;
  std::optional<LayerPosition> before;  // nothing: to the last layer
  std::int64_t every = 1, offset = 0;
};

struct Rule {
  std::vector<std::string> patterns;            // any must fit the module path; none: all fit
  std::optional<std::vector<Role>> roles;       // any must be the tensor's; nothing: all fit
  std::optional<std::vector<LayerSet>> layers;  // union; nothing: also tensors outside the layers
  bool is_float = false;
  AffineSpec spec;             // when not float
  bool has_own_group = false;  // else spec.group follows the recipe's
  bool names_router = false;   // lifts the floor of routers
  std::string why;
};

struct Recipe {
  std::string name;               // "qx63-hi"
  std::string origin;             // the file, for messages
  bool is_float = false;          // what no rule takes stays in float
  std::optional<DType> dtype;     // the recipe prescribes it (bf16 f16 f32)
  AffineSpec spec;                // what no rule takes, and config.json's global entry
  bool group_is_in_name = false;  // a suffix such as -hi decided it
  std::string why;                // of what no rule takes
  std::vector<Rule> rules;
  std::map<Role, AffineSpec> floors;
};

// Finds the recipe of a name among the shipped files, or reads a file when `name_or_path` has a '/'
// or ends in .json. A file with placeholders takes their values from its own file name.
// Fails: UsageError for a name that no shipped file has, or values it does not take; Error naming
// file and key (rules[2].bits) for a file that is broken.
Recipe find_recipe(const std::string& name_or_path);

// Reads a recipe's text. `requested` fills the placeholders of the file's name pattern; nothing:
// the file must have none. Fails: as find_recipe.
Recipe parse_recipe(std::string_view text, const std::string& origin,
                    const std::optional<std::string>& requested);

// Whether `requested` has the form of the file's name pattern (values are checked by parse_recipe).
bool recipe_name_fits(const Json& recipe_file, const std::string& requested);

// "q{B}[-hi], qx{H}{L}[-hi], .." of the shipped recipes.
std::string known_recipes();

// '*' stands for any characters, '?' for one.
bool glob_match(std::string_view pattern, std::string_view text);

// The roles that a word of a recipe file stands for ("attention": q k v o), empty when unknown.
std::vector<Role> roles_of_word(std::string_view word);

}  // namespace qx
