// SPDX-License-Identifier: Apache-2.0
#include "convert/source.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "base/error.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

std::string place_of(const fs::path& directory, const std::string& tensor) {
  return fmt::format("{}: tensor '{}'", directory.string(), tensor);
}

void refuse_mode(const fs::path& directory, const std::string& module, const QuantEntry& entry) {
  if (entry.is_float || entry.mode == "affine") return;
  fail(directory.string(),
       "got {} quantized in mode '{}', expected float or affine weights; mxfp4, nvfp4 and mxfp8 "
       "are not read yet, so start from the unquantized model",
       module.empty() ? "weights" : "'" + module + "'", entry.mode);
}

void refuse_modes(const fs::path& directory, const ModelConfig& config) {
  if (!config.quantization) return;
  refuse_mode(directory, "", config.quantization->global);
  for (const auto& [module, entry] : config.quantization->modules) {
    refuse_mode(directory, module, entry);
  }
}

MatrixShape matrix_of(const Shape& shape) {
  if (shape.size() == 2) return {shape[0], shape[1]};
  QX_CHECK(shape.size() == 1);
  return {1, shape[0]};
}

bool is_harmless(const std::string& name, const ModelConfig& config) {
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  return config.tie_word_embeddings && name.starts_with("lm_head.");
}

// The mask of a type's exponent: all ones means NaN or infinity.
template <typename Word>
std::optional<std::int64_t> find_exponent(const std::byte* values, std::int64_t n, Word mask) {
  constexpr std::int64_t kBlock = 1024;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = std::min(n, begin + kBlock);
    // Without an exit and with a sum no wider than the words, so that the compiler makes it a vector
    // loop of whole registers.
    Word found = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      Word word;
      std::memcpy(&word, values + i * static_cast<std::int64_t>(sizeof(Word)), sizeof(Word));
      found = static_cast<Word>(found | static_cast<Word>((word & mask) == mask ? 1 : 0));
    }
    for (std::int64_t i = begin; found != 0 && i < end; ++i) {
      Word word;
      std::memcpy(&word, values + i * static_cast<std::int64_t>(sizeof(Word)), sizeof(Word));
      if ((word & mask) == mask) return i;
    }
  }
  return std::nullopt;
}

float value_at(DType dtype, const std::byte* values, std::int64_t index) {
  std::array<float, 1> value{};
  load_floats(dtype, values, static_cast<std::size_t>(index), value);
  return value[0];
}

}  // namespace

std::optional<std::int64_t> find_not_finite(DType dtype, const std::byte* values, std::int64_t n) {
  QX_CHECK(is_float_dtype(dtype));
  if (dtype == DType::kF32) return find_exponent<std::uint32_t>(values, n, 0x7F800000u);
  return find_exponent<std::uint16_t>(
      values, n, static_cast<std::uint16_t>(dtype == DType::kBF16 ? 0x7F80 : 0x7C00));
}

std::int64_t SourceTensor::stored_bytes() const {
  std::size_t bytes = weight->data.size();
  if (affine) bytes += scales->data.size() + biases->data.size();
  return static_cast<std::int64_t>(bytes);
}

SourceModel::SourceModel(const fs::path& directory)
    : directory_(directory),
      config_json_(read_json_file(directory / "config.json")),
      config_(load_model_config(directory)),
      checkpoint_(directory),
      warnings_(checkpoint_.problems()) {
  refuse_modes(directory_, config_);
  match_tensors();
}

void SourceModel::match_tensors() {
  const std::vector<CatalogTensor> catalog = tensor_catalog(config_);
  refuse_unknown(catalog);
  tensors_.reserve(catalog.size());
  for (const CatalogTensor& expected : catalog) tensors_.push_back(match(expected));
}

void SourceModel::refuse_unknown(const std::vector<CatalogTensor>& catalog) const {
  std::unordered_set<std::string> known;
  for (const CatalogTensor& t : catalog) {
    known.insert(t.name);
    if (t.quantizable) known.insert({t.module + ".scales", t.module + ".biases"});
  }
  std::vector<std::string> unknown;
  for (const TensorView* t : checkpoint_.tensors()) {
    if (!known.contains(t->name) && !is_harmless(t->name, config_)) unknown.push_back(t->name);
  }
  if (unknown.empty()) return;
  std::string names;
  for (std::size_t i = 0; i < std::min<std::size_t>(unknown.size(), 5); ++i) {
    names += (i == 0 ? "'" : ", '") + unknown[i] + "'";
  }
  if (unknown.size() > 5) names += fmt::format(" and {} more", unknown.size() - 5);
  fail(directory_.string(),
       "got {} tensor{} that a {} model of this config.json does not have: {}; expected none, "
       "because leaving weights out would change the model",
       unknown.size(), unknown.size() == 1 ? "" : "s", config_.model_type, names);
}

SourceTensor SourceModel::match(const CatalogTensor& expected) {
  const TensorView* weight = checkpoint_.find(expected.name);
  if (weight == nullptr) {
    fail(directory_.string(), "tensor '{}' is missing, expected {}", expected.name,
         shape_text(expected.shape));
  }
  const TensorView* scales =
      expected.quantizable ? checkpoint_.find(expected.module + ".scales") : nullptr;
  if (scales != nullptr) return match_affine(expected, *weight, *scales);
  if (!is_float_dtype(weight->dtype)) {
    fail(place_of(directory_, expected.name), "got type {}, expected BF16, F16 or F32",
         dtype_name(weight->dtype));
  }
  if (weight->shape != expected.shape) {
    fail(place_of(directory_, expected.name), "got shape {}, expected {}",
         shape_text(weight->shape), shape_text(expected.shape));
  }
  return {.weight = weight, .shape = matrix_of(expected.shape), .name = expected.name};
}

SourceTensor SourceModel::match_affine(const CatalogTensor& expected, const TensorView& codes,
                                       const TensorView& scales) {
  const std::string place = place_of(directory_, expected.name);
  const TensorView* biases = checkpoint_.find(expected.module + ".biases");
  if (!is_float_dtype(scales.dtype) || biases == nullptr) {
    fail(place,
         "got scales of type {}{}, expected affine codes with float scales and biases; mxfp4, "
         "nvfp4 and mxfp8 are not read yet",
         dtype_name(scales.dtype), biases == nullptr ? " without biases" : "");
  }
  const std::int64_t rows = expected.shape[0], cols = expected.shape[1];
  if (codes.dtype != DType::kU32 || codes.shape.size() != 2 || codes.shape[0] != rows ||
      scales.shape.size() != 2 || scales.shape[0] != rows || biases->shape != scales.shape ||
      biases->dtype != scales.dtype) {
    fail(place,
         "got codes {} {}, scales {} {} and biases {} {}, expected U32 and equal floats of {} rows",
         dtype_name(codes.dtype), shape_text(codes.shape), dtype_name(scales.dtype),
         shape_text(scales.shape), dtype_name(biases->dtype), shape_text(biases->shape), rows);
  }
  const auto spec = infer_affine_spec(codes.shape[1], scales.shape[1], cols);
  if (!spec) {
    fail(place,
         "got {} words and {} groups a row for {} inputs, expected 2, 3, 4, 5, 6 or 8 bits and "
         "groups of 32, 64 or 128",
         codes.shape[1], scales.shape[1], cols);
  }
  return {.weight = &codes,
          .scales = &scales,
          .biases = biases,
          .affine = spec,
          .shape = {rows, cols},
          .name = expected.name};
}

bool SourceModel::is_quantized() const {
  return std::any_of(tensors_.begin(), tensors_.end(),
                     [](const SourceTensor& t) { return t.affine.has_value(); });
}

DType SourceModel::stored_dtype() const {
  constexpr std::array kFloats = {DType::kBF16, DType::kF16, DType::kF32};
  std::array<std::int64_t, 3> weights{};
  for (const SourceTensor& t : tensors_) {
    const DType dtype = t.affine ? t.scales->dtype : t.weight->dtype;
    const auto slot = std::find(kFloats.begin(), kFloats.end(), dtype) - kFloats.begin();
    weights[static_cast<std::size_t>(slot)] += t.shape.rows * t.shape.cols;
  }
  const auto most = std::max_element(weights.begin(), weights.end()) - weights.begin();
  return kFloats[static_cast<std::size_t>(most)];
}

void SourceModel::refuse_not_finite(const SourceTensor& tensor, RowRange range, DType dtype,
                                    const std::byte* values) const {
  const std::int64_t cols = tensor.shape.cols;
  const auto bad = find_not_finite(dtype, values, (range.end - range.begin) * cols);
  if (!bad) return;
  const std::int64_t row = range.begin + *bad / cols, col = *bad % cols;
  const std::string place =
      fmt::format("{}: tensor '{}', row {}, column {}", directory_.string(), tensor.name, row, col);
  if (!tensor.affine && tensor.weight->dtype != dtype) {
    const float original =
        value_at(tensor.weight->dtype, tensor.weight->data.data(), row * cols + col);
    if (std::isfinite(original)) {
      fail(place, "got the weight {}, which {} cannot hold; expected --dtype bfloat16 or float32",
           original, float_dtype_config_name(dtype));
    }
  }
  fail(place, "got the weight {}, expected a finite number", value_at(dtype, values, *bad));
}

const std::byte* SourceModel::read_rows(const SourceTensor& tensor, RowRange range, DType dtype,
                                        SourceScratch& scratch) const {
  const std::int64_t cols = tensor.shape.cols;
  const auto count = static_cast<std::size_t>((range.end - range.begin) * cols);
  if (!tensor.affine && tensor.weight->dtype == dtype) {
    return tensor.weight->data.data() +
           static_cast<std::size_t>(range.begin * cols) * dtype_bytes(dtype);
  }
  scratch.floats.resize(count);
  scratch.values.resize(count * dtype_bytes(dtype));
  if (tensor.affine) {
    const AffineView view{.shape = tensor.shape,
                          .spec = *tensor.affine,
                          .scale_dtype = tensor.scales->dtype,
                          .codes = tensor.weight->data.data(),
                          .scales = tensor.scales->data.data(),
                          .biases = tensor.biases->data.data()};
    decode_rows(view, range, scratch.floats);
  } else {
    load_floats(tensor.weight->dtype, tensor.weight->data.data(),
                static_cast<std::size_t>(range.begin * cols), scratch.floats);
  }
  store_floats(dtype, scratch.floats, scratch.values.data());
  return scratch.values.data();
}

std::vector<std::span<const std::byte>> SourceModel::stored_rows(const SourceTensor& tensor,
                                                                 RowRange range) const {
  std::vector<std::span<const std::byte>> out;
  for (const TensorView* view : {tensor.weight, tensor.scales, tensor.biases}) {
    if (view == nullptr) continue;
    const std::size_t row_bytes = view->data.size() / static_cast<std::size_t>(tensor.shape.rows);
    out.push_back(
        view->data.subspan(static_cast<std::size_t>(range.begin) * row_bytes,
                           static_cast<std::size_t>(range.end - range.begin) * row_bytes));
  }
  return out;
}

void SourceModel::release(const SourceTensor& tensor) const {
  checkpoint_.release(*tensor.weight);
  if (!tensor.affine) return;
  checkpoint_.release(*tensor.scales);
  checkpoint_.release(*tensor.biases);
}

void require_same_tensors(const SourceModel& made, const SourceModel& source) {
  const auto& a = made.tensors();
  const auto& b = source.tensors();
  const std::string place = made.directory().string();
  if (a.size() != b.size()) {
    fail(place, "got {} tensors, expected the {} of {}", a.size(), b.size(),
         source.directory().string());
  }
  for (std::size_t t = 0; t < a.size(); ++t) {
    const MatrixShape x = a[t].shape, y = b[t].shape;
    if (a[t].name != b[t].name || x.rows != y.rows || x.cols != y.cols) {
      fail(place, "got tensor '{}' [{}, {}], expected '{}' [{}, {}] as in {}", a[t].name, x.rows,
           x.cols, b[t].name, y.rows, y.cols, source.directory().string());
    }
  }
}

}  // namespace qx
