// Conversions of small models made on the spot. Equality with MLX itself is tests/parity's subject.
// SPDX-License-Identifier: Apache-2.0
#include "convert/convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "base/half.h"
#include "base/random.h"
#include "convert/journal.h"
#include "io/checkpoint.h"
#include "io/test_files.h"
#include "kernels/api.h"

namespace qx {
namespace {
namespace fs = std::filesystem;
using testing_files::error_of;
using testing_files::expect_error;

using Tensors = std::map<std::string, std::pair<Shape, std::vector<float>>>;

Json tiny_config() {
  return parse_json(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "_name_or_path": "somewhere",
    "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "tie_word_embeddings": false,
    "torch_dtype": "bfloat16", "eos_token_id": 7, "vision_config": {"x": 1},
    "rope_parameters": {"rope_theta": 50000.0, "rope_type": "default"}})",
                    "test");
}

Tensors tiny_tensors(const Json& config) {
  Random random(42);
  Tensors out;
  for (const CatalogTensor& t : tensor_catalog(parse_model_config(config, "test"))) {
    std::vector<float> values(*element_count(t.shape));
    for (float& v : values) {
      v = bf16_to_f32(f32_to_bf16(static_cast<float>(0.05 * random.gaussian())));
    }
    out[t.name] = {t.shape, std::move(values)};
  }
  return out;
}

void write_model(const fs::path& dir, const Json& config, const Tensors& tensors,
                 DType dtype = DType::kBF16) {
  fs::create_directories(dir);
  write_text(dir / "config.json", config.dump());
  write_text(dir / "tokenizer.json", "{\"version\": \"1.0\"}");
  write_text(dir / "LICENSE.txt", "free");
  write_text(dir / "README.md", "the source's card");
  write_text(dir / "generation_config.json", R"({"eos_token_id": [2, 7]})");
  std::vector<SafetensorsWriter::Entry> entries;
  for (const auto& [name, t] : tensors) entries.push_back({name, dtype, t.first});
  SafetensorsWriter writer(dir / "model.safetensors", entries, {});
  std::size_t i = 0;
  for (const auto& [name, t] : tensors) {
    std::vector<std::byte> bytes(t.second.size() * dtype_bytes(dtype));
    store_floats(dtype, t.second, bytes.data());
    writer.write(i++, 0, bytes);
  }
  writer.finish();
}

class Convert : public ::testing::Test {
 protected:
  Convert() { write_model(scratch / "src", tiny_config(), tiny_tensors(tiny_config())); }

  ConvertRequest request(const std::string& recipe, const std::string& target = "out") {
    ConvertRequest r;
    r.source = scratch / "src";
    r.target = scratch / target;
    r.plan.recipe = recipe;
    r.quiet = true;
    return r;
  }
  ConvertResult run(const ConvertRequest& r, int threads = 2) {
    ThreadPool pool(threads);
    return convert(r, pool);
  }
  // Name and content of every file of a directory.
  std::map<std::string, std::string> content(const std::string& name) {
    std::map<std::string, std::string> out;
    for (const auto& entry : fs::directory_iterator(scratch / name)) {
      out[entry.path().filename().string()] = read_text(entry.path());
    }
    return out;
  }
  std::string left_behind() {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(scratch.path())) {
      names.insert(entry.path().filename().string() + " ");
    }
    return std::accumulate(names.begin(), names.end(), std::string());
  }
  void rewrite(const Json& config, const Tensors& tensors, DType dtype = DType::kBF16) {
    fs::remove_all(scratch / "src");
    write_model(scratch / "src", config, tensors, dtype);
  }

  TestFolder scratch;
};

TEST_F(Convert, EveryArrayIsTheEncodersOutput) {
  const ConvertResult result = run(request("qx63-hi"));
  const Checkpoint source(scratch / "src"), output(scratch / "out");
  std::int64_t bytes = 0;
  for (const PlanRow& row : result.plan.plan.rows) {
    const TensorView& from = source.at(row.tensor.name);
    const TensorView& to = output.at(row.tensor.name);
    if (!row.affine) {
      EXPECT_TRUE(std::equal(from.data.begin(), from.data.end(), to.data.begin(), to.data.end()));
      bytes += static_cast<std::int64_t>(to.data.size());
      continue;
    }
    const MatrixShape shape{row.tensor.shape[0], row.tensor.shape[1]};
    const TensorView& scales = output.at(row.tensor.module + ".scales");
    const TensorView& biases = output.at(row.tensor.module + ".biases");
    std::vector<std::byte> c(to.data.size()), s(scales.data.size()), b(biases.data.size());
    ASSERT_EQ(static_cast<std::int64_t>(c.size() + s.size() + b.size()), row.bytes);
    ASSERT_FALSE(encode_rows(DType::kBF16, from.data.data(), shape, *row.affine, Rounding::kCpu,
                             {c.data(), s.data(), b.data()}));
    EXPECT_EQ(std::memcmp(c.data(), to.data.data(), c.size()), 0) << row.tensor.name;
    EXPECT_EQ(std::memcmp(s.data(), scales.data.data(), s.size()), 0) << row.tensor.name;
    EXPECT_EQ(std::memcmp(b.data(), biases.data.data(), b.size()), 0) << row.tensor.name;
    EXPECT_EQ(to.dtype, DType::kU32);
    bytes += row.bytes;
  }
  EXPECT_EQ(bytes, result.plan.plan.tensor_bytes);
  const Json index = read_json_file(scratch / "out" / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], bytes);
  EXPECT_EQ(index["metadata"]["total_parameters"], result.plan.plan.parameters);
  EXPECT_EQ(index["weight_map"].size(), output.tensors().size());
}

TEST_F(Convert, ConfigIsWhatMlxWouldSave) {
  run(request("qx63-hi"));
  const std::string text = read_text(scratch / "out" / "config.json");
  const Json config = parse_json(text, "config");
  EXPECT_FALSE(config.contains("_name_or_path") || config.contains("vision_config"));
  EXPECT_EQ(config["eos_token_id"], Json::array({2, 7}));  // of generation_config.json
  EXPECT_EQ(config["rope_theta"], 50000);                  // mlx-lm does not read rope_parameters
  EXPECT_EQ(config["quantization"]["group_size"], 32);
  EXPECT_EQ(config["quantization"], config["quantization_config"]);
  std::string previous;
  for (const auto& item : config.items()) {
    EXPECT_LT(previous, item.key());
    previous = item.key();
  }
  EXPECT_EQ(text.substr(0, 6), "{\n    ");
}

TEST_F(Convert, FilesOfTheDirectory) {
  const ConvertResult result = run(request("q4"));
  const std::vector<std::string> expected = {"LICENSE.txt",
                                             "config.json",
                                             "generation_config.json",
                                             "model.safetensors",
                                             "model.safetensors.index.json",
                                             "qx_plan.json",
                                             "tokenizer.json"};
  EXPECT_EQ(result.files, expected);
  const Json plan = read_json_file(scratch / "out" / "qx_plan.json");
  EXPECT_EQ(plan["plan_hash"], result.plan.plan.plan_hash());
  EXPECT_EQ(plan["rounding"], "cpu");
  EXPECT_EQ(plan["source"]["files"][0]["sha256"].get<std::string>().size(), 64u);
  EXPECT_EQ(SafetensorsFile(scratch / "out" / "model.safetensors").metadata().at("format"), "mlx");
  EXPECT_EQ(left_behind().find("qx-partial"), std::string::npos);
}

TEST_F(Convert, ThreadsAndInstructionSetsDoNotChangeBytes) {
  run(request("qx63-hi", "one"), 1);
  const auto one = content("one");
  run(request("qx63-hi", "three"), 3);
  EXPECT_EQ(content("three"), one);
  ASSERT_TRUE(select_kernels("scalar"));
  run(request("qx63-hi", "scalar"), 2);
  const KernelTables& all = available_kernels();
  ASSERT_TRUE(select_kernels(all.tables[all.count - 1]->name));
  EXPECT_EQ(content("scalar"), one);
}

TEST_F(Convert, ShardsAreFilledInOrder) {
  ConvertRequest r = request("q4-hi");
  run(r);
  r.target = scratch / "sharded";
  r.max_shard_bytes = 30'000;
  const ConvertResult result = run(r);
  const Checkpoint whole(scratch / "out"), sharded(scratch / "sharded");
  EXPECT_TRUE(sharded.problems().empty());
  ASSERT_GT(sharded.files().size(), 3u);
  EXPECT_EQ(sharded.files()[0].filename().string(),
            fmt::format("model-00001-of-{:05}.safetensors", sharded.files().size()));
  ASSERT_EQ(whole.tensors().size(), sharded.tensors().size());
  for (const TensorView* t : whole.tensors()) {
    const TensorView& other = sharded.at(t->name);
    EXPECT_TRUE(std::equal(t->data.begin(), t->data.end(), other.data.begin(), other.data.end()));
  }
  EXPECT_GT(result.files.size(), sharded.files().size());
}

TEST_F(Convert, FloatTypeIsRoundedBeforeQuantizing) {
  Tensors tensors = tiny_tensors(tiny_config());
  for (auto& [name, t] : tensors) {
    for (float& v : t.second) v *= 1.0f + 0x1p-12f;  // not representable in bf16
  }
  rewrite(tiny_config(), tensors, DType::kF32);
  run(request("q4", "from_f32"));
  for (auto& [name, t] : tensors) {
    for (float& v : t.second) v = bf16_to_f32(f32_to_bf16(v));
  }
  rewrite(tiny_config(), tensors, DType::kBF16);
  run(request("q4", "from_bf16"));
  EXPECT_EQ(content("from_f32")["model.safetensors"], content("from_bf16")["model.safetensors"]);

  ConvertRequest r = request("f16", "f16");
  run(r);
  const Json config = read_json_file(scratch / "f16" / "config.json");
  EXPECT_EQ(config["torch_dtype"], "float16");
  EXPECT_EQ(Checkpoint(scratch / "f16").at("model.norm.weight").dtype, DType::kF16);
}

TEST_F(Convert, WithoutAStatedTypeTheStoredOneStays) {
  Json config = tiny_config();
  config.erase("torch_dtype");
  rewrite(config, tiny_tensors(config), DType::kF16);
  run(request("q4"));
  const Checkpoint output(scratch / "out");
  EXPECT_EQ(output.at("lm_head.scales").dtype, DType::kF16);
  EXPECT_EQ(output.at("model.norm.weight").dtype, DType::kF16);
}

TEST_F(Convert, QuantizedSourceDecodesWithOneRounding) {
  run(request("q3-hi", "q3"));
  ConvertRequest back = request("bf16", "back");
  back.source = scratch / "q3";
  run(back);
  const Checkpoint quantized(scratch / "q3"), decoded(scratch / "back");
  const TensorView& codes = quantized.at("lm_head.weight");
  const AffineView view{{300, 128},
                        {3, 32},
                        DType::kBF16,
                        codes.data.data(),
                        quantized.at("lm_head.scales").data.data(),
                        quantized.at("lm_head.biases").data.data()};
  std::vector<float> values(300 * 128);
  decode_rows(view, {0, 300}, values);
  std::vector<std::byte> expected(values.size() * 2);
  store_floats(DType::kBF16, values, expected.data());
  const TensorView& got = decoded.at("lm_head.weight");
  ASSERT_EQ(got.data.size(), expected.size());
  EXPECT_EQ(std::memcmp(got.data.data(), expected.data(), expected.size()), 0);
  EXPECT_FALSE(read_json_file(scratch / "back" / "config.json").contains("quantization"));
  EXPECT_EQ(decoded.find("lm_head.scales"), nullptr);

  ConvertRequest again = request("q2-hi", "again");
  again.source = scratch / "q3";
  expect_error([&] { run(again); }, "--allow-requantize");
  EXPECT_FALSE(fs::exists(scratch / "again"));
  again.allow_requantize = true;
  run(again);
  EXPECT_EQ(Checkpoint(scratch / "again").at("lm_head.weight").shape[1], 8);
}

TEST_F(Convert, HarmlessExtrasAreDroppedOthersRefused) {
  Json config = tiny_config();
  config["tie_word_embeddings"] = true;
  Tensors tensors = tiny_tensors(tiny_config());  // with lm_head.weight
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{16}, std::vector<float>(16, 1.0f)};
  rewrite(config, tensors);
  run(request("q4"));
  const Checkpoint output(scratch / "out");
  EXPECT_EQ(output.find("lm_head.weight"), nullptr);
  EXPECT_EQ(output.find("model.layers.0.self_attn.rotary_emb.inv_freq"), nullptr);

  tensors["model.layers.0.self_attn.q_proj.bias"] = {{128}, std::vector<float>(128, 1.0f)};
  rewrite(config, tensors);
  expect_error([&] { run(request("q4", "out2")); }, "'model.layers.0.self_attn.q_proj.bias'");
  EXPECT_FALSE(fs::exists(scratch / "out2"));
}

TEST_F(Convert, BrokenSourcesAreNamed) {
  const Tensors good = tiny_tensors(tiny_config());
  Tensors tensors = good;
  tensors.erase("model.layers.1.mlp.up_proj.weight");
  rewrite(tiny_config(), tensors);
  expect_error([&] { run(request("q4")); }, "'model.layers.1.mlp.up_proj.weight' is missing");

  tensors = good;
  tensors["model.norm.weight"] = {{64}, std::vector<float>(64, 1.0f)};
  rewrite(tiny_config(), tensors);
  expect_error([&] { run(request("q4")); }, "got shape [64], expected [128]");

  tensors = good;
  tensors["lm_head.weight"].second[128 * 17 + 5] = std::numeric_limits<float>::quiet_NaN();
  rewrite(tiny_config(), tensors);
  for (const std::string recipe : {"q4", "bf16"}) {
    const std::string message = error_of([&] { run(request(recipe)); });
    EXPECT_NE(message.find("tensor 'lm_head.weight', row 17, column 5"), std::string::npos)
        << message;
  }
  tensors = good;
  tensors["model.norm.weight"].second[100] = 1e6f;
  rewrite(tiny_config(), tensors);
  ConvertRequest r = request("q4");
  r.plan.dtype = DType::kF16;
  expect_error([&] { run(r); }, "which float16 cannot hold");

  tensors = good;
  tensors["lm_head.weight"].second[128 * 3 + 64] = 3e38f;
  tensors["lm_head.weight"].second[128 * 3 + 65] = -3e38f;
  rewrite(tiny_config(), tensors);
  expect_error([&] { run(request("q4")); }, "row 3, columns from 64");
  EXPECT_EQ(left_behind(), "src ");
}

TEST_F(Convert, OtherQuantizationsAreRefused) {
  Json config = tiny_config();
  config["quantization"] = {{"group_size", 32}, {"bits", 4}, {"mode", "mxfp4"}};
  rewrite(config, tiny_tensors(tiny_config()));
  expect_error([&] { run(request("bf16")); }, "mxfp4");
}

TEST_F(Convert, ExistingTargetNeedsForce) {
  run(request("q4"));
  const auto first = content("out");
  expect_error([&] { run(request("q8")); }, "exists already");
  EXPECT_EQ(content("out"), first);
  ConvertRequest r = request("q8");
  r.force = true;
  run(r);
  EXPECT_NE(content("out"), first);
  EXPECT_EQ(left_behind(), "out src ");
}

TEST_F(Convert, PlanningWritesNothing) {
  const ConvertPlan p = plan_conversion(request("qx63-hi"));
  EXPECT_EQ(p.plan.recipe, "qx63-hi");
  EXPECT_EQ(left_behind(), "src ");
}

// An unfinished directory as a killed conversion leaves it: some tensors whole and noted, one noted but
// torn, the rest zero, and a journal that ends within a line.
class Resume : public Convert {
 protected:
  void leave_unfinished(const ConvertRequest& done, std::size_t whole) {
    const fs::path partial = scratch / ".out.qx-partial";
    fs::create_directory(partial);
    const Checkpoint finished(scratch / "done"), source(scratch / "src");
    const ConvertPlan p = plan_conversion(done);
    const Layout layout = make_layout(p.plan, kMaxShardBytes);
    SafetensorsWriter writer(partial / "model.safetensors", layout.shards[0], {{"format", "mlx"}});
    std::string journal = journal_head(p) + "\n";
    for (std::size_t t = 0; t < layout.tensors.size(); ++t) {
      BlockChecksum from(0), sum(0);  // every tensor of the tiny model is one block
      from.update(source.at(p.plan.rows[t].tensor.name).data);
      for (const OutputArray& array : layout.tensors[t].arrays) {
        const TensorView& view = finished.at(array.name);
        sum.update(view.data);
        if (t < whole) writer.write(array.slot, 0, view.data);
      }
      if (t > whole) break;
      const Json line = {{"tensor", p.plan.rows[t].tensor.name},
                         {"source", from.value()},
                         {"output", sum.value()}};
      journal += line.dump() + "\n";
    }
    write_text(partial / "qx_journal.jsonl", journal + "{\"tensor\": \"model.no");
  }

  std::string journal_head(const ConvertPlan& p) {
    const fs::path source = scratch / "src" / "model.safetensors";
    Json head = {{"qx_journal", 2}};
    head["plan"] = p.plan.plan_hash();
    head["type"] = "bfloat16";
    head["rounding"] = "cpu";
    head["fit"] = nullptr;
    head["source"] = Json::array();
    head["source"].push_back({{"name", "model.safetensors"}, {"bytes", fs::file_size(source)}});
    return head.dump();
  }
};

TEST_F(Resume, TakesOverWhatIsWhole) {
  run(request("qx63-hi", "done"));
  const auto expected = content("done");
  ConvertRequest r = request("qx63-hi");
  r.resume = true;
  for (const std::size_t whole :
       {std::size_t{0}, std::size_t{1}, std::size_t{6}, std::size_t{20}}) {
    leave_unfinished(r, whole);
    const ConvertResult result = run(r);
    EXPECT_EQ(result.resumed_tensors, static_cast<std::int64_t>(whole));
    EXPECT_EQ(content("out"), expected);
    fs::remove_all(scratch / "out");
  }
  EXPECT_EQ(left_behind(), "done src ");
}

TEST_F(Resume, GoesOnAfterASecondKill) {
  run(request("qx63-hi", "done"));
  ConvertRequest r = request("qx63-hi");
  r.resume = true;
  leave_unfinished(r, 9);
  const fs::path partial = scratch / ".out.qx-partial";
  // Killed while it took over: the old file set aside, the new one begun and torn.
  fs::rename(partial / "model.safetensors", partial / "set-aside-0-model.safetensors");
  write_text(partial / "model.safetensors", "torn");
  write_text(partial / ".stray", "of a write that was cut off");
  const ConvertResult result = run(r);
  EXPECT_EQ(result.resumed_tensors, 9);
  EXPECT_EQ(content("out"), content("done"));
}

TEST_F(Resume, AFailureKeepsWhatWasFinished) {
  run(request("qx63-hi", "done"));
  ConvertRequest r = request("qx63-hi");
  r.resume = true;
  leave_unfinished(r, 6);
  ConvertRequest wrong = r;
  wrong.fit.method = FitMethod::kGptq;
  wrong.fit.calibration = scratch / "absent";
  for (int i = 0; i < 2; ++i) expect_error([&] { run(wrong); }, "absent");
  EXPECT_EQ(run(r).resumed_tensors, 6);
  EXPECT_EQ(content("out"), content("done"));
  // One that starts over and fails leaves nothing, as one without --resume.
  fs::remove_all(scratch / "out");
  leave_unfinished(r, 6);
  Tensors broken = tiny_tensors(tiny_config());
  broken["model.norm.weight"].second[0] = std::numeric_limits<float>::quiet_NaN();
  rewrite(tiny_config(), broken);
  r.rounding = Rounding::kGpu;
  expect_error([&] { run(r); }, "model.norm.weight");
  EXPECT_EQ(left_behind(), "done src ");
}

TEST_F(Resume, AnotherConversionStartsOver) {
  run(request("qx63-hi", "done"));
  ConvertRequest r = request("qx63-hi");
  r.resume = true;
  leave_unfinished(r, 6);
  r.rounding = Rounding::kGpu;
  ConvertResult result = run(r);
  EXPECT_EQ(result.resumed_tensors, 0);
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_NE(result.notes[0].find("its rounding differs"), std::string::npos) << result.notes[0];
  fs::remove_all(scratch / "out");

  EXPECT_EQ(left_behind(), "done src ");
}

TEST_F(Resume, ATensorWhoseSourceChangedIsMadeAgain) {
  run(request("qx63-hi", "done"));
  ConvertRequest r = request("qx63-hi");
  r.resume = true;
  leave_unfinished(r, 6);
  Tensors changed = tiny_tensors(tiny_config());
  changed["model.embed_tokens.weight"].second[0] += 1.0f;
  rewrite(tiny_config(), changed);
  EXPECT_EQ(run(r).resumed_tensors, 5);
  run(request("qx63-hi", "changed"));
  EXPECT_EQ(content("out"), content("changed"));
}

TEST_F(Resume, WithoutTheOptionAnUnfinishedDirectoryIsDropped) {
  run(request("qx63-hi", "done"));
  leave_unfinished(request("qx63-hi"), 6);
  const ConvertResult result = run(request("qx63-hi"));
  EXPECT_EQ(result.resumed_tensors, 0);
  EXPECT_EQ(content("out"), content("done"));
}

TEST(BlockChecksum, SeesEveryByteAndTheRow) {
  std::vector<std::byte> bytes(165, std::byte{1});
  const auto sum = [&](std::int64_t row) {
    BlockChecksum s(row);
    s.update(bytes);
    return s.value();
  };
  std::set<std::uint64_t> seen{sum(0), sum(1)};
  for (std::byte& b : bytes) {
    b = std::byte{2};
    seen.insert(sum(0));
    b = std::byte{1};
  }
  EXPECT_EQ(seen.size(), 167u);
}

}  // namespace
}  // namespace qx
