// SPDX-License-Identifier: Apache-2.0
#include "convert/import_gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <map>
#include <numbers>

#include "convert/permute_channels.h"
#include "io/checkpoint.h"
#include "io/gguf_builder.h"
#include "io/staged.h"

namespace qx {
namespace {

using namespace testing_files;
namespace fs = std::filesystem;

std::string floats(const std::vector<float>& values) {
  std::string out;
  for (const float v : values) out += le(std::bit_cast<std::uint32_t>(v), 4);
  return out;
}

// Describes a small model of one layer: hidden 8, 4 query and 2 key heads of 4, intermediate 6, 12
// rows of the embedding. Tests change it before build().
struct Tiny {
  std::string arch = "llama";
  std::int64_t heads = 4, kv_heads = 2, head_dim = 4, hidden = 8, intermediate = 6, vocab = 12;
  std::vector<std::string> tokens = {"<s>", "</s>", "<user>", "a", "b", "ab", "c", "[PAD7]"};
  std::vector<int> types = {3, 3, 4, 1, 1, 1, 1, 5};
  std::vector<std::string> merges = {"a b"};
  std::map<std::string, std::vector<float>> replaced;  // values of a tensor by its GGUF name
  std::vector<std::string> left_out;
  std::function<void(GgufBuilder&)> more = [](GgufBuilder&) {};
  std::string pre = "llama-bpe", model = "gpt2";
  bool qk_norm = false, bias = false, untied = false;

  void tensor(GgufBuilder& b, const std::string& name, const Shape& shape) const {
    if (std::find(left_out.begin(), left_out.end(), name) != left_out.end()) return;
    const auto n = static_cast<std::size_t>(*element_count(shape));
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i % 97) + 0.5f;
    const auto found = replaced.find(name);
    b.tensor(name, shape, 0, floats(found == replaced.end() ? values : found->second));
  }

  std::string build() const {
    GgufBuilder b;
    const auto hparam = [&](const std::string& key, std::int64_t value) {
      b.u32(arch + "." + key, static_cast<std::uint32_t>(value));
    };
    b.text("general.architecture", arch);
    hparam("block_count", 1);
    hparam("context_length", 64);
    hparam("embedding_length", hidden);
    hparam("feed_forward_length", intermediate);
    hparam("attention.head_count", heads);
    hparam("attention.head_count_kv", kv_heads);
    hparam("attention.key_length", head_dim);
    b.key(arch + ".attention.layer_norm_rms_epsilon", 6,
          le(std::bit_cast<std::uint32_t>(1e-5f), 4));
    b.text("tokenizer.ggml.model", model).text("tokenizer.ggml.pre", pre);
    b.texts("tokenizer.ggml.tokens", tokens).i32s("tokenizer.ggml.token_type", types);
    b.texts("tokenizer.ggml.merges", merges);
    b.u32("tokenizer.ggml.bos_token_id", 0).u32("tokenizer.ggml.eos_token_id", 1);
    more(b);
    const std::int64_t q = heads * head_dim, kv = kv_heads * head_dim;
    tensor(b, "token_embd.weight", {vocab, hidden});
    tensor(b, "output_norm.weight", {hidden});
    if (untied) tensor(b, "output.weight", {vocab, hidden});
    tensor(b, "blk.0.attn_norm.weight", {hidden});
    tensor(b, "blk.0.ffn_norm.weight", {hidden});
    const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in,
                            bool biased) {
      tensor(b, "blk.0." + name + ".weight", {out, in});
      if (biased) tensor(b, "blk.0." + name + ".bias", {out});
    };
    linear("attn_q", q, hidden, bias);
    linear("attn_k", kv, hidden, bias);
    linear("attn_v", kv, hidden, bias);
    linear("attn_output", hidden, q, bias && arch == "llama");
    linear("ffn_gate", intermediate, hidden, false);
    linear("ffn_up", intermediate, hidden, false);
    linear("ffn_down", hidden, intermediate, false);
    if (qk_norm) {
      tensor(b, "blk.0.attn_q_norm.weight", {head_dim});
      tensor(b, "blk.0.attn_k_norm.weight", {head_dim});
    }
    return b.build();
  }
};

struct Import {
  TestFolder dir;
  ImportReport report;
  explicit Import(const Tiny& tiny, ImportOptions options = {.dtype = DType::kF32},
                  int threads = 2) {
    options.quiet = true;
    write_text(dir / "m.gguf", tiny.build());
    ThreadPool pool(threads);
    report = import_gguf(dir / "m.gguf", dir / "out", options, pool);
  }
  Json json(const std::string& name) const { return read_json_file(dir / ("out/" + name)); }
  std::vector<float> values(const std::string& name) const {
    const Checkpoint checkpoint(dir / "out");
    const TensorView& t = checkpoint.at(name);
    std::vector<float> out(static_cast<std::size_t>(*element_count(t.shape)));
    load_floats(t.dtype, t.data.data(), 0, out);
    return out;
  }
};

// Importing fails with this message and leaves nothing behind.
void expect_refused(const Tiny& tiny, const std::string& part, DType dtype = DType::kF32) {
  const TestFolder dir;
  write_text(dir / "m.gguf", tiny.build());
  ThreadPool pool(2);
  expect_error(
      [&] { import_gguf(dir / "m.gguf", dir / "out", {.dtype = dtype, .quiet = true}, pool); },
      part);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator{}), 1);
}

Tiny qwen(const std::string& arch) {
  Tiny t;
  t.arch = arch;
  t.pre = "qwen2";
  t.bias = arch == "qwen2";
  t.qk_norm = arch == "qwen3";
  if (arch == "qwen2") t.head_dim = 2;
  return t;
}

TEST(ImportGguf, WritesAWholeDirectory) {
  const Import import(Tiny{});
  EXPECT_EQ(import.report.model_type, "llama");
  const std::vector<std::string> files = {"config.json",       "generation_config.json",
                                          "model.safetensors", "model.safetensors.index.json",
                                          "tokenizer.json",    "tokenizer_config.json"};
  EXPECT_EQ(import.report.files, files);
  const Checkpoint checkpoint(import.dir / "out");
  EXPECT_TRUE(checkpoint.problems().empty());
  EXPECT_EQ(checkpoint.tensors().size(), 11u);
  std::int64_t parameters = 0;
  for (const TensorView* t : checkpoint.tensors()) parameters += *element_count(t->shape);
  EXPECT_EQ(import.report.parameters, parameters);
  EXPECT_EQ(import.report.tensor_bytes, static_cast<std::uint64_t>(parameters) * 4);
  const Json index = import.json("model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], import.report.tensor_bytes);
  EXPECT_EQ(index["weight_map"]["model.norm.weight"], "model.safetensors");
}

TEST(ImportGguf, ConfigSaysWhatTheMetadataSay) {
  const Json config = Import(Tiny{}).json("config.json");
  EXPECT_EQ(config["architectures"], Json({"LlamaForCausalLM"}));
  EXPECT_EQ(config["hidden_size"], 8);
  EXPECT_EQ(config["head_dim"], 4);
  EXPECT_EQ(config["num_attention_heads"], 4);
  EXPECT_EQ(config["num_key_value_heads"], 2);
  EXPECT_EQ(config["vocab_size"], 12);
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_EQ(config["attention_bias"], false);
  EXPECT_EQ(config["bos_token_id"], 0);
  EXPECT_EQ(config["eos_token_id"], 1);
  EXPECT_TRUE(config["rope_scaling"].is_null());
  Tiny untied;
  untied.untied = untied.bias = true;
  const Import other(untied);
  EXPECT_EQ(other.json("config.json")["tie_word_embeddings"], false);
  EXPECT_EQ(other.json("config.json")["attention_bias"], true);
  EXPECT_EQ(other.values("lm_head.weight").size(), 96u);
  const Json qwen3 = Import(qwen("qwen3")).json("config.json");
  EXPECT_EQ(qwen3["architectures"], Json({"Qwen3ForCausalLM"}));
  EXPECT_EQ(qwen3["attention_bias"], false);
  EXPECT_FALSE(Import(qwen("qwen2")).json("config.json").contains("attention_bias"));
}

TEST(ImportGguf, RowsOfLlamasQAndKComeBackInOrder) {
  // In the file, a head of 4 rows holds the original rows 0 2 1 3.
  Tiny tiny;
  tiny.bias = true;
  std::vector<float> rows(16 * 8), bias(16);
  for (std::size_t r = 0; r < 16; ++r) {
    const std::size_t original[] = {0, 2, 1, 3};
    const auto row = static_cast<float>(r / 4 * 4 + original[r % 4]);
    for (std::size_t c = 0; c < 8; ++c) rows[r * 8 + c] = row * 8 + static_cast<float>(c);
    bias[r] = row;
  }
  tiny.replaced["blk.0.attn_q.weight"] = rows;
  tiny.replaced["blk.0.attn_q.bias"] = bias;
  tiny.replaced["blk.0.attn_k.weight"] = std::vector<float>(rows.begin(), rows.begin() + 64);
  tiny.replaced["blk.0.attn_k.bias"] = std::vector<float>(bias.begin(), bias.begin() + 8);
  const Import import(tiny);
  const std::string attention = "model.layers.0.self_attn.";
  for (const char* name : {"q_proj", "k_proj"}) {
    const auto weight = import.values(attention + name + ".weight");
    for (std::size_t i = 0; i < weight.size(); ++i)
      ASSERT_EQ(weight[i], static_cast<float>(i)) << name;
    const auto b = import.values(attention + name + ".bias");
    for (std::size_t i = 0; i < b.size(); ++i) ASSERT_EQ(b[i], static_cast<float>(i)) << name;
  }
  // v, and q of the other architectures, are stored as they are.
  const auto v = import.values(attention + "v_proj.weight");
  for (std::size_t i = 0; i < v.size(); ++i) ASSERT_EQ(v[i], static_cast<float>(i) + 0.5f);
  const auto q = Import(qwen("qwen2")).values(attention + "q_proj.weight");
  for (std::size_t i = 0; i < q.size(); ++i) ASSERT_EQ(q[i], static_cast<float>(i) + 0.5f);
}

TEST(ImportGguf, PermutedChannelsAreTheSameValuesElsewhere) {
  for (const char* arch : {"llama", "qwen2", "qwen3"}) {
    Tiny tiny = std::string(arch) == "llama" ? Tiny{} : qwen(arch);
    tiny.bias = tiny.bias || tiny.arch == "llama";
    const Import plain(tiny), permuted(tiny, {.dtype = DType::kF32, .permute_channels = 5});
    const ModelConfig config = parse_model_config(plain.json("config.json"), "test");
    const ChannelPermutation permutation(config, 5);
    for (const CatalogTensor& t : tensor_catalog(config)) {
      const std::vector<float> before = plain.values(t.name), after = permuted.values(t.name);
      const TensorOrder& order = permutation.order(t.name);
      const auto cols = static_cast<std::size_t>(t.shape.back());
      for (std::size_t i = 0; i < after.size(); ++i) {
        const std::size_t r = i / cols, c = i % cols;
        const std::size_t from_row =
            order.rows.empty() ? r : static_cast<std::size_t>(order.rows[r]);
        const std::size_t from_col =
            order.cols.empty() ? c : static_cast<std::size_t>(order.cols[c]);
        ASSERT_EQ(after[i], before[from_row * cols + from_col]) << t.name << " " << i;
      }
    }
  }
}

TEST(ImportGguf, ThreadsAndShardsDoNotChangeValues) {
  const Import one(Tiny{}, {.dtype = DType::kBF16}, 1);
  const Import many(Tiny{}, {.dtype = DType::kBF16}, 4);
  EXPECT_EQ(read_text(one.dir / "out/model.safetensors"),
            read_text(many.dir / "out/model.safetensors"));
  const Import sharded(Tiny{}, {.dtype = DType::kBF16, .max_shard_bytes = 300});
  const Checkpoint checkpoint(sharded.dir / "out");
  EXPECT_GT(checkpoint.files().size(), 2u);
  EXPECT_EQ(checkpoint.files()[0].filename(),
            fmt::format("model-00001-of-{:05d}.safetensors", checkpoint.files().size()));
  EXPECT_TRUE(checkpoint.problems().empty());
  const Checkpoint whole(one.dir / "out");
  for (const TensorView* t : whole.tensors()) {
    const auto other = checkpoint.at(t->name).data;
    EXPECT_TRUE(std::equal(t->data.begin(), t->data.end(), other.begin(), other.end())) << t->name;
  }
}

TEST(ImportGguf, ExistingTargetsNeedForce) {
  Import import(Tiny{});
  ThreadPool pool(1);
  const auto again = [&](bool force) {
    import_gguf(import.dir / "m.gguf", import.dir / "out", {.force = force, .quiet = true}, pool);
  };
  expect_error([&] { again(false); }, "exists already");
  again(true);
  EXPECT_EQ(import.json("config.json")["torch_dtype"], "bfloat16");
  // Not even then is the file itself replaced, nor the folder that it lies in.
  for (const fs::path& target : {import.dir / "m.gguf", import.dir.path()}) {
    expect_error([&] { import_gguf(import.dir / "m.gguf", target, {.force = true}, pool); },
                 "made from");
  }
  EXPECT_TRUE(fs::exists(import.dir / "m.gguf"));
}

TEST(ImportGguf, BadWeightsAreNamedWithTheirElement) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    Tiny tiny;
    tiny.replaced["blk.0.attn_v.weight"] = std::vector<float>(64, 1.0f);
    tiny.replaced["blk.0.attn_v.weight"][37] = bad;
    expect_refused(tiny, "tensor 'model.layers.0.self_attn.v_proj.weight'] element 37 is");
  }
  Tiny large;
  large.replaced["output_norm.weight"] = {1, 2, 65519, 4, 5, 6, 7, 8};
  EXPECT_EQ(Import(large, {.dtype = DType::kF16}).values("model.norm.weight")[2], 65504.0f);
  large.replaced["output_norm.weight"][2] = 65520;
  expect_refused(large, "element 2 is 65520, expected a finite value that float16 can hold",
                 DType::kF16);
  large.replaced["output_norm.weight"][2] = 0x1.FEFFFEp127f;
  EXPECT_TRUE(std::isfinite(Import(large, {.dtype = DType::kBF16}).values("model.norm.weight")[2]));
  large.replaced["output_norm.weight"][2] = 0x1.FFp127f;
  expect_refused(large, "bfloat16 can hold", DType::kBF16);
}

TEST(ImportGguf, OtherModelsAreNamedAndRefused) {
  Tiny tiny;
  tiny.arch = "gemma3";
  expect_refused(tiny, "got architecture 'gemma3', expected one of llama qwen2 qwen3");
  const auto with = [](const std::function<void(GgufBuilder&)>& more) {
    Tiny t;
    t.more = more;
    return t;
  };
  expect_refused(with([](auto& b) { b.u32("llama.expert_count", 8); }), "mixture of experts");
  expect_refused(with([](auto& b) { b.u32("split.count", 3); }), "split GGUF");
  expect_refused(with([](auto& b) { b.text("general.type", "adapter"); }), "got 'adapter'");
  expect_refused(with([](auto& b) { b.u32("llama.attention.sliding_window", 512); }), "sliding");
  expect_refused(with([](auto& b) { b.u32("llama.rope.dimension_count", 2); }),
                 "got 2, expected the head size 4");
  expect_refused(with([](auto& b) { b.u32("llama.attention.value_length", 8); }),
                 "expected the head size 4");
  expect_refused(with([](auto& b) { b.text("llama.rope.scaling.type", "yarn"); }),
                 "got 'yarn', expected none or linear");
  expect_refused(with([](auto& b) { b.text("llama.rope.scaling.type", "linear"); }),
                 "rope.scaling.factor' is missing");
  expect_refused(with([](auto& b) { b.key("llama.rope.freq_base", 6, le(0x7FC00000, 4)); }),
                 "expected a finite number");
  expect_refused(with([](auto& b) { b.u32("llama.rope.freq_base", 0); }),
                 "expected a positive number");
  expect_refused(with([](auto& b) { b.tensor("blk.0.ffn_gate_inp.weight", {1}, 0, "abcd"); }),
                 "is unknown");
  Tiny wide = qwen("qwen2");
  wide.head_dim = 4;
  expect_refused(wide, "in a qwen2 model");
}

TEST(ImportGguf, BrokenModelsAreRefused) {
  Tiny tiny;
  tiny.left_out = {"blk.0.ffn_up.weight"};
  expect_refused(tiny, "tensor 'blk.0.ffn_up.weight' is missing");
  tiny.left_out = {"token_embd.weight"};
  expect_refused(tiny, "tensor 'token_embd.weight' is missing");
  Tiny heads;
  heads.kv_heads = 3;
  expect_refused(heads, "got 4 query heads for 3 key heads");
  heads.kv_heads = 0;
  expect_refused(heads, "for 0 key heads");
  Tiny odd;
  odd.head_dim = 3;
  expect_refused(odd, "got head size 3");
  Tiny shape;
  shape.more = [](GgufBuilder& b) {
    b.tensor("blk.0.attn_q.weight", {8, 16}, 0, std::string(512, 'x'));
  };
  shape.left_out = {"blk.0.attn_q.weight"};
  expect_refused(shape, "'blk.0.attn_q.weight'] got shape [8, 16], expected [16, 8]");
  Tiny few;
  few.vocab = 7;
  expect_refused(few, "got 8 tokens for 7 rows of the embedding");
  Tiny no_bias = qwen("qwen2");
  no_bias.left_out = {"blk.0.attn_k.bias"};
  expect_refused(no_bias, "tensor 'blk.0.attn_k.bias' is missing");
}

// --- rope --------------------------------------------------------------------------------------

// Divisors of a head of 64 with theta 500000, as llama.cpp's converter writes them.
std::vector<float> llama3_divisors(double factor) {
  std::vector<float> out;
  for (int i = 0; i < 32; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(500000.0, i / 32.0);
    if (wavelength < 8192.0 / 4) {
      out.push_back(1);
    } else if (wavelength > 8192.0) {
      out.push_back(static_cast<float>(factor));
    } else {
      const double smooth = (8192.0 / wavelength - 1) / 3;
      out.push_back(static_cast<float>(1 / ((1 - smooth) / factor + smooth)));
    }
  }
  return out;
}

Tiny llama3(const std::vector<float>& divisors) {
  Tiny tiny;
  tiny.head_dim = 64;
  tiny.more = [divisors](GgufBuilder& b) {
    b.u32("llama.rope.freq_base", 500000);
    b.tensor("rope_freqs.weight", {static_cast<std::int64_t>(divisors.size())}, 0,
             floats(divisors));
  };
  return tiny;
}

TEST(ImportGguf, RopeScaling) {
  Tiny linear;
  linear.more = [](GgufBuilder& b) {
    b.text("llama.rope.scaling.type", "linear");
    b.key("llama.rope.scaling.factor", 6, le(std::bit_cast<std::uint32_t>(2.5f), 4));
  };
  EXPECT_EQ(Import(linear).json("config.json")["rope_scaling"],
            Json({{"factor", 2.5}, {"rope_type", "linear"}, {"type", "linear"}}));
  const Json config = Import(llama3(llama3_divisors(32))).json("config.json");
  EXPECT_EQ(config["rope_theta"], 500000.0);
  EXPECT_EQ(config["rope_scaling"], Json({{"factor", 32.0},
                                          {"high_freq_factor", 4.0},
                                          {"low_freq_factor", 1.0},
                                          {"original_max_position_embeddings", 8192},
                                          {"rope_type", "llama3"}}));
  EXPECT_TRUE(
      Import(llama3(std::vector<float>(32, 1))).json("config.json")["rope_scaling"].is_null());
  auto wrong = llama3_divisors(32);
  wrong[20] *= 1.01f;
  expect_refused(llama3(wrong), "these are not Llama 3's frequency factors");
  wrong[20] = NAN;
  expect_refused(llama3(wrong), "these are not Llama 3's frequency factors");
  expect_refused(llama3({1, 2}), "expected F32 [32]");
}

// --- tokenizer ---------------------------------------------------------------------------------

TEST(ImportGgufTokenizer, FilesOfEveryKind) {
  const Json llama = Import(Tiny{}).json("tokenizer.json");
  EXPECT_EQ(llama["normalizer"], Json());
  EXPECT_EQ(llama["pre_tokenizer"]["pretokenizers"][0]["type"], "Split");
  EXPECT_EQ(llama["pre_tokenizer"]["pretokenizers"][1]["use_regex"], false);
  EXPECT_EQ(llama["model"]["ignore_merges"], true);
  EXPECT_EQ(llama["post_processor"]["processors"][1]["single"][0]["SpecialToken"]["id"], "<s>");
  EXPECT_EQ(llama["post_processor"]["processors"][1]["special_tokens"]["<s>"]["ids"],
            Json::array({0}));
  EXPECT_EQ(
      llama["model"]["vocab"],
      Json({{"<s>", 0}, {"</s>", 1}, {"<user>", 2}, {"a", 3}, {"b", 4}, {"ab", 5}, {"c", 6}}));
  EXPECT_EQ(llama["model"]["merges"], Json::array({"a b"}));
  ASSERT_EQ(llama["added_tokens"].size(), 3u);
  EXPECT_EQ(llama["added_tokens"][1]["content"], "</s>");
  EXPECT_EQ(llama["added_tokens"][1]["special"], true);
  EXPECT_EQ(llama["added_tokens"][2]["content"], "<user>");
  EXPECT_EQ(llama["added_tokens"][2]["special"], false);

  Tiny tiny;
  tiny.pre = "smollm";
  const Json smollm = Import(tiny).json("tokenizer.json");
  EXPECT_EQ(smollm["pre_tokenizer"]["pretokenizers"][0],
            Json({{"type", "Digits"}, {"individual_digits", true}}));
  EXPECT_EQ(smollm["pre_tokenizer"]["pretokenizers"][1]["use_regex"], true);
  EXPECT_TRUE(smollm["post_processor"].is_null());
  EXPECT_EQ(smollm["model"]["ignore_merges"], false);
  tiny.pre = "gpt-2";
  EXPECT_EQ(Import(tiny).json("tokenizer.json")["pre_tokenizer"]["type"], "ByteLevel");
  tiny.pre = "qwen2";
  EXPECT_EQ(Import(tiny).json("tokenizer.json")["normalizer"], Json({{"type", "NFC"}}));
  const Json config = Import(tiny).json("tokenizer_config.json");
  EXPECT_EQ(config["bos_token"], "<s>");
  EXPECT_EQ(config["eos_token"], "</s>");
  EXPECT_TRUE(config["pad_token"].is_null());
  EXPECT_EQ(config["model_max_length"], 64);
}

TEST(ImportGgufTokenizer, BosEosEotAndTemplateFollowTheMetadata) {
  Tiny tiny;
  tiny.more = [](GgufBuilder& b) {
    b.key("tokenizer.ggml.add_bos_token", 7, le(0, 1))
        .key("tokenizer.ggml.add_eos_token", 7, le(1, 1));
    b.u32("tokenizer.ggml.eot_token_id", 2)
        .text("tokenizer.chat_template", "{{ messages }}\xC3\xA9");
  };
  const Import import(tiny);
  const Json single = import.json("tokenizer.json")["post_processor"]["processors"][1]["single"];
  EXPECT_EQ(single[0]["Sequence"]["id"], "A");
  EXPECT_EQ(single[1]["SpecialToken"]["id"], "</s>");
  EXPECT_EQ(import.json("generation_config.json")["eos_token_id"], Json::array({1, 2}));
  EXPECT_EQ(import.json("config.json")["eos_token_id"], 1);
  EXPECT_EQ(read_text(import.dir / "out/chat_template.jinja"), "{{ messages }}\xC3\xA9");
}

TEST(ImportGgufTokenizer, BrokenTokenizersAreRefused) {
  const auto with = [](const std::function<void(Tiny&)>& change) {
    Tiny t;
    change(t);
    return t;
  };
  const auto more = [](const std::function<void(GgufBuilder&)>& keys) {
    Tiny t;
    t.more = keys;
    return t;
  };
  expect_refused(with([](Tiny& t) { t.pre = "tekken"; }),
                 "'tokenizer.ggml.pre': got 'tekken', expected one of smollm qwen2");
  expect_refused(with([](Tiny& t) { t.model = "llama"; }), "got 'llama', expected 'gpt2'");
  expect_refused(with([](Tiny& t) { t.tokens[6] = "a"; }), "items 3 and 6 are the same token 'a'");
  expect_refused(with([](Tiny& t) { t.tokens[6] = "\xFF"; }), "item 6: expected UTF-8 text");
  expect_refused(with([](Tiny& t) { t.tokens[1] = ""; }), "item 1: is empty");
  expect_refused(with([](Tiny& t) { t.tokens = {}; }), "is missing or empty");
  expect_refused(with([](Tiny& t) { t.types.pop_back(); }), "got 7 types for 8 tokens");
  expect_refused(with([](Tiny& t) { t.types[0] = 9; }),
                 "item 0: expected a 32-bit integer from 1 to 6");
  expect_refused(with([](Tiny& t) { t.merges = {"ab"}; }), "expected two tokens and one space");
  expect_refused(with([](Tiny& t) { t.merges = {"a b c"}; }), "expected two tokens and one space");
  expect_refused(with([](Tiny& t) { t.merges = {"a z"}; }), "item 0: 'z' is not a token");
  expect_refused(with([](Tiny& t) { t.merges = {"b a"}; }), "item 0: 'ba' is not a token");
  expect_refused(more([](auto& b) { b.u32("tokenizer.ggml.padding_token_id", 8); }),
                 "got 8, expected less than the 8 tokens");
  expect_refused(more([](auto& b) { b.text("tokenizer.ggml.unknown_token_id", "x"); }),
                 "expected an integer");
  expect_refused(more([](auto& b) { b.text("tokenizer.chat_template", "\xC3"); }),
                 "expected UTF-8 text");
  expect_refused(more([](auto& b) { b.u32("tokenizer.ggml.add_bos_token", 1); }),
                 "expected a boolean");
}

}  // namespace
}  // namespace qx
