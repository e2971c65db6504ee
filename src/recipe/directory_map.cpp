// SPDX-License-Identifier: Apache-2.0
#include "recipe/directory_map.h"

#include <algorithm>
#include <set>
#include <unordered_set>

#include "base/error.h"
#include "io/checkpoint.h"
#include "recipe/resolve.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr AffineSpec kMlxDefault{4, 64};  // what mlx-lm takes for null and missing numbers

std::string place_of(const fs::path& path) {
  const fs::path clean = path.lexically_normal();
  const std::string name = (clean.has_filename() ? clean : clean.parent_path()).filename().string();
  return name.empty() || name == "." || name == ".." ? path.string() : name;
}

bool has_weights(const fs::path& directory) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors")) return true;
  }
  return false;
}

// Many tensors can share one fault; it is said once, with the first few.
class Faults {
 public:
  void add(const std::string& kind, const std::string& item) { items_[kind].push_back(item); }

  void move_to(std::vector<std::string>& out) const {
    constexpr std::size_t kShown = 4;
    for (const auto& [kind, items] : items_) {
      std::string text = fmt::format("{} ({}): ", kind, items.size());
      for (std::size_t i = 0; i < std::min(kShown, items.size()); ++i) {
        text += (i == 0 ? "" : "; ") + items[i];
      }
      if (items.size() > kShown) text += "; ..";
      out.push_back(std::move(text));
    }
  }

 private:
  std::map<std::string, std::vector<std::string>> items_;
};

std::string spec_text(int bits, int group) {
  return fmt::format("{} bits group {}", bits, group);
}

class Measurer {
 public:
  explicit Measurer(const fs::path& directory) : directory_(directory), checkpoint_(directory) {}

  MeasuredDirectory measure() {
    out_.config = load_model_config(directory_);
    out_.problems = checkpoint_.problems();
    out_.files = checkpoint_.files();
    const std::vector<CatalogTensor> catalog = tensor_catalog(out_.config);
    out_.parameters = parameter_count(catalog);
    for (const CatalogTensor& tensor : catalog) {
      out_.rows.push_back(tensor.quantizable ? linear(tensor) : plain(tensor));
      compare_dtype(out_.rows.back());
      if (tensor.quantizable) compare_with_config(out_.rows.back());
    }
    collect_extra();
    check_map(catalog);
    faults_.move_to(out_.problems);
    return std::move(out_);
  }

 private:
  const TensorView* take(const std::string& name) {
    const TensorView* view = checkpoint_.find(name);
    if (view != nullptr && used_.insert(name).second) {
      out_.tensor_bytes += static_cast<std::int64_t>(view->data.size());
    }
    return view;
  }

  // A norm, a bias, or a linear weight in float.
  MeasuredRow plain(const CatalogTensor& tensor) {
    MeasuredRow row;
    row.tensor = tensor;
    const TensorView* view = take(tensor.name);
    if (view == nullptr) {
      faults_.add("missing tensors", tensor.name);
      return row;
    }
    row.bytes = static_cast<std::int64_t>(view->data.size());
    if (view->shape != tensor.shape) {
      faults_.add("wrong shapes", fmt::format("{} got {}, expected {}", tensor.name,
                                              shape_text(view->shape), shape_text(tensor.shape)));
      return row;
    }
    if (!is_float_dtype(view->dtype)) {
      faults_.add("wrong element types", fmt::format("{} got {}, expected BF16, F16 or F32",
                                                     tensor.name, dtype_name(view->dtype)));
      return row;
    }
    row.is_stored = true;
    row.dtype = view->dtype;
    row.bits = static_cast<int>(8 * dtype_bytes(view->dtype));
    return row;
  }

  MeasuredRow linear(const CatalogTensor& tensor) {
    const TensorView* scales = take(tensor.module + ".scales");
    const TensorView* biases = take(tensor.module + ".biases");
    if (scales == nullptr) {
      if (biases != nullptr) faults_.add("biases without scales", tensor.module);
      return plain(tensor);
    }
    MeasuredRow row;
    row.tensor = tensor;
    const TensorView* weight = take(tensor.name);
    if (weight == nullptr) {
      faults_.add("missing tensors", tensor.name);
      return row;
    }
    row.bytes = static_cast<std::int64_t>(weight->data.size() + scales->data.size());
    if (biases != nullptr) row.bytes += static_cast<std::int64_t>(biases->data.size());
    const std::int64_t rows = tensor.shape[0];
    if (weight->dtype != DType::kU32 || weight->shape.size() != 2 || weight->shape[0] != rows ||
        scales->shape.size() != 2 || scales->shape[0] != rows) {
      faults_.add("wrong shapes",
                  fmt::format("{} got codes {} {} and scales {}, expected U32 with {} rows",
                              tensor.module, dtype_name(weight->dtype), shape_text(weight->shape),
                              shape_text(scales->shape), rows));
      return row;
    }
    if (scales->dtype == DType::kU8 || scales->dtype == DType::kF8E8M0 ||
        scales->dtype == DType::kF8E4M3) {
      measure_fp_mode(*weight, *scales, biases, row);
    } else {
      measure_affine(*weight, *scales, biases, row);
    }
    return row;
  }

  void measure_affine(const TensorView& weight, const TensorView& scales, const TensorView* biases,
                      MeasuredRow& row) {
    const std::int64_t cols = row.tensor.shape[1];
    const std::string& module = row.tensor.module;
    row.affine = infer_affine_spec(weight.shape[1], scales.shape[1], cols);
    if (!row.affine) {
      faults_.add("wrong shapes",
                  fmt::format("{} got codes {} and scales {}, which fit no width and group for {} "
                              "columns",
                              module, shape_text(weight.shape), shape_text(scales.shape), cols));
      return;
    }
    row.mode = "affine";
    row.bits = row.affine->bits;
    row.group_size = row.affine->group;
    if (!is_float_dtype(scales.dtype)) {
      faults_.add("wrong element types", fmt::format("{}.scales got {}, expected a float type",
                                                     module, dtype_name(scales.dtype)));
      return;
    }
    if (biases == nullptr) {
      faults_.add("missing tensors", module + ".biases");
      return;
    }
    if (biases->shape != scales.shape || biases->dtype != scales.dtype) {
      faults_.add("wrong shapes",
                  fmt::format("{}.biases got {} {}, expected {} {} as its scales", module,
                              dtype_name(biases->dtype), shape_text(biases->shape),
                              dtype_name(scales.dtype), shape_text(scales.shape)));
      return;
    }
    row.dtype = scales.dtype;
    row.is_stored = true;
  }

  // Scales of one byte: each of the three modes has one width and group.
  void measure_fp_mode(const TensorView& weight, const TensorView& scales, const TensorView* biases,
                       MeasuredRow& row) {
    const std::int64_t cols = row.tensor.shape[1];
    struct Mode {
      const char* name;
      int bits, group;
    };
    for (const Mode& mode : {Mode{"mxfp4", 4, 32}, Mode{"nvfp4", 4, 16}, Mode{"mxfp8", 8, 32}}) {
      if (cols % mode.group != 0 || scales.shape[1] != cols / mode.group) continue;
      if (weight.shape[1] != cols / 32 * mode.bits + cols % 32 * mode.bits / 32) continue;
      row.mode = mode.name;
      row.bits = mode.bits;
      row.group_size = mode.group;
      row.is_stored = true;
      if (biases != nullptr) faults_.add("biases beside byte scales", row.tensor.module);
      return;
    }
    faults_.add(
        "wrong shapes",
        fmt::format("{} got codes {} and byte scales {}, which fit no mode for {} columns",
                    row.tensor.module, shape_text(weight.shape), shape_text(scales.shape), cols));
  }

  void compare_dtype(const MeasuredRow& row) {
    if (row.dtype && out_.config.dtype && *row.dtype != *out_.config.dtype) {
      faults_.add(fmt::format("stored as {} where config.json says {}", dtype_name(*row.dtype),
                              dtype_name(*out_.config.dtype)),
                  row.tensor.name);
    }
  }

  // A module is quantized iff listed or its scales exist; an entry replaces the global values, and
  // what it leaves out is 64/4 (mlx-lm). The stored shapes win.
  void compare_with_config(const MeasuredRow& row) {
    if (!row.is_stored) return;
    const std::string& module = row.tensor.module;
    const bool quantized = row.mode != "float";
    if (!out_.config.quantization) {
      if (quantized) faults_.add("quantized, but config.json has no quantization map", module);
      return;
    }
    const QuantConfig& map = *out_.config.quantization;
    const auto listed = map.modules.find(module);
    const QuantEntry& entry = listed != map.modules.end() ? listed->second : map.global;
    if (!quantized) {
      if (listed != map.modules.end() && !entry.is_float) {
        faults_.add("config.json lists as quantized, but stored in float", module);
      }
      return;
    }
    if (entry.is_float) {
      faults_.add("config.json says float, but stored quantized", module);
      return;
    }
    const int bits = entry.bits.value_or(kMlxDefault.bits);
    const int group = entry.group_size.value_or(kMlxDefault.group);
    if (bits == row.bits && group == row.group_size.value_or(0) && entry.mode == row.mode) return;
    faults_.add(
        "config.json contradicts the stored shapes, which win",
        fmt::format("{} stored {} {}, config {} {}{}", module, row.mode,
                    spec_text(row.bits, row.group_size.value_or(0)), entry.mode,
                    spec_text(bits, group), listed != map.modules.end() ? "" : " (global)"));
  }

  void check_map(const std::vector<CatalogTensor>& catalog) {
    if (!out_.config.quantization) return;
    const QuantConfig& map = *out_.config.quantization;
    if (!map.global.group_size || !map.global.bits) {
      out_.problems.push_back(
          "config.json: quantization has no global group_size and bits; mlx-lm does not load that");
    }
    std::unordered_set<std::string> modules;
    for (const CatalogTensor& tensor : catalog) {
      if (tensor.quantizable) modules.insert(tensor.module);
    }
    for (const auto& [module, entry] : map.modules) {
      if (!modules.contains(module)) {
        faults_.add("config.json lists modules that the model does not have", module);
      }
    }
  }

  void collect_extra() {
    for (const TensorView* view : checkpoint_.tensors()) {
      if (used_.contains(view->name)) continue;
      StorageRow row;
      row.name = view->name;
      row.shape = view->shape;
      row.bits = static_cast<int>(8 * dtype_bytes(view->dtype));
      row.mode = "float";
      row.bytes = static_cast<std::int64_t>(view->data.size());
      row.rule = "not part of the model";
      out_.tensor_bytes += row.bytes;
      const bool dropped = view->name.ends_with("rotary_emb.inv_freq") ||
                           (out_.config.tie_word_embeddings && view->name.starts_with("lm_head."));
      faults_.add(
          dropped ? "tensors that loaders ignore" : "extra tensors that the model does not have",
          view->name);
      out_.extra.push_back(std::move(row));
    }
  }

  fs::path directory_;
  Checkpoint checkpoint_;
  std::unordered_set<std::string> used_;
  Faults faults_;
  MeasuredDirectory out_;
};

using SpecMap = std::map<std::string, std::optional<AffineSpec>>;

[[noreturn]] void refuse_mode(const std::string& place, const std::string& module,
                              const std::string& mode) {
  fail(place, "{} is stored as {}, expected affine or float; that mode is not supported yet",
       module, mode);
}

// Nothing when the files say nothing valid.
std::optional<AffineSpec> valid_global(const ModelConfig& config) {
  if (!config.quantization || config.quantization->global.mode != "affine") return std::nullopt;
  const AffineSpec spec{config.quantization->global.bits.value_or(kMlxDefault.bits),
                        config.quantization->global.group_size.value_or(kMlxDefault.group)};
  return is_valid(spec) ? std::optional(spec) : std::nullopt;
}

// The spec of the most weights, when config.json has no usable global one.
AffineSpec global_spec(const ModelConfig& config, const SpecMap& map) {
  if (const auto spec = valid_global(config)) return *spec;
  std::map<std::pair<int, int>, int> count;
  AffineSpec best = kMlxDefault;
  for (const auto& [module, spec] : map) {
    if (!spec) continue;
    const int n = ++count[{spec->bits, spec->group}];
    if (n > count[{best.bits, best.group}]) best = *spec;
  }
  return best;
}

SpecMap map_of_weights(const MeasuredDirectory& measured, const std::string& place) {
  SpecMap map;
  for (const MeasuredRow& row : measured.rows) {
    if (!row.tensor.quantizable) continue;
    if (!row.is_stored) {
      fail(place, "{} is missing or of a wrong shape, expected a whole model directory",
           row.tensor.name);
    }
    if (row.mode != "float" && row.mode != "affine")
      refuse_mode(place, row.tensor.module, row.mode);
    map[row.tensor.module] = row.affine;
  }
  return map;
}

SpecMap map_of_config(const ModelConfig& config, const std::string& place) {
  SpecMap map;
  const int global_group =
      config.quantization ? config.quantization->global.group_size.value_or(kMlxDefault.group) : 1;
  for (const CatalogTensor& tensor : tensor_catalog(config)) {
    if (!tensor.quantizable) continue;
    auto& spec = map[tensor.module];
    if (!config.quantization) continue;
    const auto listed = config.quantization->modules.find(tensor.module);
    const bool is_listed = listed != config.quantization->modules.end();
    const QuantEntry& entry = is_listed ? listed->second : config.quantization->global;
    if (entry.is_float || (!is_listed && tensor.shape[1] % global_group != 0)) continue;
    if (entry.mode != "affine") refuse_mode(place, tensor.module, entry.mode);
    spec = AffineSpec{entry.bits.value_or(kMlxDefault.bits),
                      entry.group_size.value_or(kMlxDefault.group)};
    if (!is_valid(*spec)) {
      fail(place, "config.json gives {} {}, expected a width and group of the affine mode",
           tensor.module, spec_text(spec->bits, spec->group));
    }
  }
  return map;
}

}  // namespace

double MeasuredDirectory::bits_per_weight() const {
  return 8.0 * static_cast<double>(tensor_bytes) / static_cast<double>(parameters);
}

std::vector<StorageRow> MeasuredDirectory::storage() const {
  std::vector<StorageRow> out;
  for (const MeasuredRow& row : rows) {
    if (!row.is_stored) continue;
    out.push_back({row.tensor.name, row.tensor.shape, row.bits, row.group_size, row.mode, row.bytes,
                   "as stored"});
  }
  out.insert(out.end(), extra.begin(), extra.end());
  return out;
}

MeasuredDirectory measure_directory(const fs::path& directory) {
  return Measurer(directory).measure();
}

Plan plan_like(const ModelConfig& config, const std::vector<CatalogTensor>& catalog,
               const fs::path& directory, DType dtype) {
  const std::string place = directory.string();
  const std::string name = "like " + place_of(directory);
  ModelConfig theirs;
  SpecMap map;
  if (has_weights(directory)) {
    const MeasuredDirectory measured = measure_directory(directory);
    theirs = measured.config;
    map = map_of_weights(measured, place);
  } else {
    theirs = load_model_config(directory);
    map = map_of_config(theirs, place);
  }
  Plan plan;
  plan.recipe = name;
  plan.default_spec = global_spec(theirs, map);
  std::vector<std::string> missing, undivided;
  std::set<std::string> unused;
  for (const auto& [module, spec] : map) unused.insert(module);
  for (const CatalogTensor& tensor : catalog) {
    const auto found = map.find(tensor.module);
    if (tensor.quantizable && found == map.end()) missing.push_back(tensor.module);
    unused.erase(tensor.module);
    std::optional<AffineSpec> spec;
    if (tensor.quantizable && found != map.end()) spec = found->second;
    if (spec && tensor.shape.back() % spec->group != 0) {
      undivided.push_back(tensor.module);
      spec.reset();
    }
    plan.rows.push_back(make_row(tensor, spec, dtype, name));
    PlanRow& row = plan.rows.back();
    row.named = spec && theirs.quantization && theirs.quantization->modules.contains(tensor.module);
  }
  if (!missing.empty()) {
    fail(place,
         "{} modules of the source have no counterpart, the first is {}; expected a directory of "
         "the same layout (it has {} layers, the source {})",
         missing.size(), missing.front(), theirs.num_hidden_layers, config.num_hidden_layers);
  }
  if (!unused.empty()) {
    plan.warnings.push_back(
        fmt::format("{} holds {} modules that the source does not have, the first is {}", place,
                    unused.size(), *unused.begin()));
  }
  if (!undivided.empty()) {
    plan.warnings.push_back(fmt::format(
        "{} tensors stay in float, because the group does not divide their input dimension; the "
        "first is {}",
        undivided.size(), undivided.front()));
  }
  finish_plan(plan);
  warn_of_thin_tensors(plan, config.tie_word_embeddings);
  return plan;
}

namespace {

// Runs of layers as ranges, single ones as numbers.
Json layers_json(const std::vector<int>& layers) {
  Json out = Json::array();
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t end = i + 1;
    while (end < layers.size() && layers[end] == layers[end - 1] + 1) ++end;
    if (end - i >= 3) {
      out.push_back({{"from", layers[i]}, {"before", layers[end - 1] + 1}});
    } else {
      for (std::size_t k = i; k < end; ++k) out.push_back(layers[k]);
    }
    i = end;
  }
  return out;
}

// Role -> spec (nothing: float) -> layers, all in order of appearance.
struct Use {
  Role role;
  std::optional<AffineSpec> spec;
  std::vector<int> layers;
};

std::vector<Use> uses_of(const MeasuredDirectory& directory) {
  std::vector<Use> uses;
  for (const MeasuredRow& row : directory.rows) {
    if (!row.tensor.quantizable) continue;
    if (!row.is_stored)
      fail(row.tensor.name, "missing or of a wrong shape, expected a whole model");
    if (row.mode != "float" && row.mode != "affine") {
      refuse_mode(row.tensor.name, row.tensor.module, row.mode);
    }
    auto use = std::find_if(uses.begin(), uses.end(), [&](const Use& u) {
      return u.role == row.tensor.role && u.spec == row.affine;
    });
    if (use == uses.end()) use = uses.insert(uses.end(), {row.tensor.role, row.affine, {}});
    use->layers.push_back(row.tensor.layer);
  }
  return uses;
}

// Recipes test the input dimensions against the global group first; 32 divides all that any group
// does, so it is taken where the directory's own global group would leave a tensor in float.
AffineSpec recipe_spec(const MeasuredDirectory& directory) {
  SpecMap map;
  for (const MeasuredRow& row : directory.rows) {
    if (row.tensor.quantizable) map[row.tensor.module] = row.affine;
  }
  AffineSpec spec = global_spec(directory.config, map);
  for (const MeasuredRow& row : directory.rows) {
    if (row.affine && row.tensor.shape.back() % spec.group != 0) spec.group = 32;
  }
  return spec;
}

// The one float type of all rows, when config.json would not lead to it.
std::optional<DType> unusual_dtype(const MeasuredDirectory& directory) {
  std::optional<DType> dtype;
  for (const MeasuredRow& row : directory.rows) {
    if (!row.dtype || (dtype && *dtype != *row.dtype)) return std::nullopt;
    dtype = row.dtype;
  }
  return dtype == directory.config.dtype.value_or(DType::kBF16) ? std::nullopt : dtype;
}

}  // namespace

Json recipe_of(const MeasuredDirectory& directory, const std::string& name) {
  const std::vector<Use> uses = uses_of(directory);
  const bool all_float =
      std::none_of(uses.begin(), uses.end(), [](const Use& use) { return use.spec.has_value(); });
  const AffineSpec global = recipe_spec(directory);
  std::string clean = name.empty() ? "measured" : name.substr(0, 200);
  std::replace(clean.begin(), clean.end(), '{', '(');
  std::replace(clean.begin(), clean.end(), '}', ')');
  Json out{{"name", clean},
           {"description", "The map of " + clean + ", measured from its weights."}};
  if (const auto dtype = unusual_dtype(directory)) {
    out["dtype"] = float_dtype_config_name(*dtype);
  }
  if (all_float) {
    out["float"] = true;
    return out;
  }
  out["bits"] = global.bits;
  out["group_size"] = global.group;
  out["floors"] = Json::object();
  Json rules = Json::array();
  std::vector<bool> done(uses.size(), false);
  for (std::size_t i = 0; i < uses.size(); ++i) {
    if (done[i] || uses[i].spec == global) continue;
    Json roles = Json::array();
    for (std::size_t k = i; k < uses.size(); ++k) {
      if (uses[k].spec != uses[i].spec || uses[k].layers != uses[i].layers) continue;
      roles.push_back(role_name(uses[k].role));
      done[k] = true;
    }
    Json rule{{"roles", roles}};
    const bool in_layers = uses[i].layers.front() >= 0;
    const bool all_layers =
        static_cast<std::int64_t>(uses[i].layers.size()) == directory.config.num_hidden_layers;
    if (in_layers && !all_layers) rule["layers"] = layers_json(uses[i].layers);
    if (uses[i].spec) {
      rule["bits"] = uses[i].spec->bits;
      if (uses[i].spec->group != global.group) rule["group_size"] = uses[i].spec->group;
    } else {
      rule["float"] = true;
    }
    rule["why"] = "as measured";
    rules.push_back(std::move(rule));
  }
  if (!rules.empty()) out["rules"] = std::move(rules);
  return out;
}

}  // namespace qx
