// config.json in both spellings, its defaults, and what is refused.
// SPDX-License-Identifier: Apache-2.0
#include "arch/model_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"

namespace qx {
namespace {

// A small valid config with keys replaced (null removes a key).
Json config_with(const char* changes, const char* model_type = "llama") {
  Json config = parse_json(R"({"hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
    "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":100,
    "max_position_embeddings":512,"rope_theta":10000.0,"tie_word_embeddings":false})",
                           "test");
  config["model_type"] = model_type;
  const Json changed = parse_json(changes, "test");
  for (const auto& item : changed.items()) {
    if (item.value() == "REMOVE") {
      config.erase(item.key());
    } else {
      config[item.key()] = item.value();
    }
  }
  return config;
}

ModelConfig parse(const char* changes, const char* model_type = "llama") {
  return parse_model_config(config_with(changes, model_type), "cfg");
}

void expect_refused(const char* changes, const std::string& part,
                    const char* model_type = "llama") {
  try {
    parse(changes, model_type);
    ADD_FAILURE() << "accepted " << changes;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(ModelConfig, Qwen3Classic) {
  const ModelConfig c = parse_model_config(
      parse_json(R"({"architectures":["Qwen3ForCausalLM"],"model_type":"qwen3","hidden_size":4096,
      "intermediate_size":12288,"num_hidden_layers":36,"num_attention_heads":32,
      "num_key_value_heads":8,"head_dim":128,"vocab_size":151936,"tie_word_embeddings":false,
      "rope_theta":1000000,"rope_scaling":null,"rms_norm_eps":1e-06,"hidden_act":"silu",
      "max_position_embeddings":40960,"torch_dtype":"bfloat16","sliding_window":null,
      "use_sliding_window":false,"max_window_layers":36,"attention_bias":false,
      "bos_token_id":151643,"eos_token_id":151645})",
                 "test"),
      "test");
  EXPECT_EQ(c.model_type, "qwen3");
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_TRUE(c.qk_norm);
  EXPECT_FALSE(c.attention_bias);
  EXPECT_EQ(c.rope.theta, 1e6);
  EXPECT_EQ(c.rope.type, RopeConfig::Type::kDefault);
  EXPECT_EQ(c.dtype, DType::kBF16);
  EXPECT_EQ(c.max_position_embeddings, 40960);
  EXPECT_EQ(c.eos_token_ids, std::vector<std::int32_t>{151645});
  EXPECT_EQ(c.bos_token_id, 151643);
  EXPECT_FALSE(c.quantization.has_value());
}

TEST(ModelConfig, NewSpelling) {
  const ModelConfig c = parse(R"({"rope_theta":"REMOVE","dtype":"float16",
    "rope_parameters":{"rope_theta":500000.0,"rope_type":"llama3","factor":32.0,
    "low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192},
    "eos_token_id":[1,2,3]})");
  EXPECT_EQ(c.rope.theta, 500000.0);
  EXPECT_EQ(c.rope.type, RopeConfig::Type::kLlama3);
  EXPECT_EQ(c.rope.factor, 32.0);
  EXPECT_EQ(c.rope.original_max_position_embeddings, 8192);
  EXPECT_EQ(c.dtype, DType::kF16);
  EXPECT_EQ(c.eos_token_ids, (std::vector<std::int32_t>{1, 2, 3}));
}

TEST(ModelConfig, RopeSpellings) {
  EXPECT_EQ(parse(R"({"rope_scaling":{"type":"linear","factor":4.0}})").rope.factor, 4.0);
  EXPECT_EQ(parse(R"({"rope_scaling":{"rope_type":"linear","factor":2}})").rope.type,
            RopeConfig::Type::kLinear);
  EXPECT_EQ(parse(R"({"rope_scaling":{"rope_type":"default"}})").rope.type,
            RopeConfig::Type::kDefault);
  EXPECT_EQ(parse(R"({"rope_scaling":{}})").rope.theta, 10000.0);
  // mlx-lm's older qwen3 files copy rope_parameters to rope_scaling.
  EXPECT_EQ(parse(R"({"rope_theta":"REMOVE","rope_scaling":{"rope_type":"default",
    "rope_theta":77.0}})")
                .rope.theta,
            77.0);
  EXPECT_EQ(parse(R"({"rope_theta":"REMOVE"})").rope.theta, 10000.0);
  EXPECT_EQ(parse(R"({"rope_theta":"REMOVE"})", "qwen2").rope.theta, 10000.0);
  EXPECT_EQ(parse(R"({"rope_theta":"REMOVE","quantization":{"bits":4,"group_size":64}})", "qwen2")
                .rope.theta,
            1000000.0);
  for (const char* type : {"yarn", "dynamic", "longrope", "mrope", "proportional"}) {
    expect_refused(fmt::format(R"({{"rope_scaling":{{"type":"{}","factor":2}}}})", type).c_str(),
                   type);
  }
  expect_refused(R"({"rope_scaling":{"type":"linear"}})", "factor");
  expect_refused(R"({"rope_scaling":{"type":"linear","factor":0}})", "factor");
  expect_refused(R"({"rope_scaling":{"type":"linear","rope_type":"llama3","factor":2}})", "agree");
  expect_refused(R"({"rope_scaling":[1]})", "rope_scaling");
  expect_refused(R"({"rope_parameters":{"rope_theta":5}})", "two places");
  expect_refused(R"({"rope_parameters":{"full_attention":{"rope_theta":5}}})", "full_attention");
  expect_refused(R"({"rope_theta":-1})", "rope_theta");
  expect_refused(R"({"rope_theta":"x"})", "rope_theta");
  expect_refused(R"({"rope_traditional":true})", "rope_traditional");
  expect_refused(R"({"partial_rotary_factor":0.5})", "partial_rotary_factor");
}

TEST(ModelConfig, TieDefaults) {
  constexpr const char* kAbsent = R"({"tie_word_embeddings":"REMOVE"})";
  constexpr const char* kAbsentMlx =
      R"({"tie_word_embeddings":"REMOVE","quantization":{"bits":4,"group_size":64}})";
  for (const char* type : {"llama", "qwen2", "qwen3"}) {
    EXPECT_FALSE(parse(kAbsent, type).tie_word_embeddings);
    EXPECT_FALSE(parse(kAbsent, type).tie_is_stated);
    EXPECT_EQ(parse(kAbsentMlx, type).tie_word_embeddings, std::string(type) != "qwen3");
  }
  EXPECT_TRUE(parse(R"({"tie_word_embeddings":true})").tie_word_embeddings);
  EXPECT_TRUE(parse(R"({"tie_word_embeddings":true})").tie_is_stated);
}

TEST(ModelConfig, HeadDim) {
  EXPECT_EQ(parse("{}").head_dim, 16);
  EXPECT_EQ(parse(R"({"head_dim":32})").head_dim, 32);
  EXPECT_EQ(parse(R"({"head_dim":null})").head_dim, 16);
  EXPECT_EQ(parse("{}", "qwen3").head_dim, 128);
  EXPECT_EQ(parse(R"({"num_key_value_heads":"REMOVE"})").num_key_value_heads, 4);
  expect_refused(R"({"head_dim":32})", "head_dim", "qwen2");
  expect_refused(R"({"head_dim":15})", "even");
  expect_refused(R"({"hidden_size":66})", "multiple");
  expect_refused(R"({"num_key_value_heads":3})", "multiple");
}

TEST(ModelConfig, WhatIsNotComputedIsRefusedByName) {
  expect_refused("{}", "gpt_oss", "gpt_oss");
  expect_refused("{}", "llama, mistral, qwen2, qwen3", "phi3");
  expect_refused(R"({"hidden_act":"gelu"})", "gelu");
  expect_refused(R"({"sliding_window":128})", "sliding_window", "mistral");
  expect_refused(R"({"max_position_embeddings":8192})", "sliding_window", "mistral");
  EXPECT_EQ(parse(R"({"sliding_window":null})", "mistral").model_type, "llama");
  EXPECT_EQ(parse(R"({"sliding_window":512})", "mistral").model_type, "llama");
  expect_refused(R"({"use_sliding_window":true,"sliding_window":128,"max_window_layers":1})",
                 "sliding_window", "qwen2");
  EXPECT_NO_THROW(
      parse(R"({"use_sliding_window":true,"sliding_window":128,"max_window_layers":2})", "qwen2"));
  EXPECT_NO_THROW(parse(R"({"use_sliding_window":false,"sliding_window":128})", "qwen2"));
  expect_refused(R"({"layer_types":["full_attention","sliding_attention"]})", "sliding_attention",
                 "qwen3");
  for (const char* method : {"awq", "gptq", "fp8", "bitsandbytes"}) {
    expect_refused(
        fmt::format(R"({{"quantization_config":{{"quant_method":"{}","bits":4}}}})", method)
            .c_str(),
        method);
  }
}

TEST(ModelConfig, QuantizationMap) {
  const ModelConfig c = parse(R"({"quantization":{"group_size":null,"bits":3,
    "model.layers.0.self_attn.q_proj":{"group_size":32,"bits":6},
    "model.layers.0.self_attn.k_proj":{"group_size":null},
    "model.layers.0.mlp.down_proj":false,"model.layers.0.mlp.up_proj":true,
    "lm_head":{"bits":8,"group_size":32,"mode":"mxfp8"},"linear_class":"x"},
    "quantization_config":{"quant_method":"never looked at"}})");
  ASSERT_TRUE(c.quantization.has_value());
  const QuantConfig& q = *c.quantization;
  EXPECT_EQ(q.global.bits, 3);
  EXPECT_FALSE(q.global.group_size.has_value());
  EXPECT_EQ(q.global.mode, "affine");
  EXPECT_EQ(q.modules.size(), 5u);
  EXPECT_EQ(q.modules.at("model.layers.0.self_attn.q_proj").bits, 6);
  EXPECT_FALSE(q.modules.at("model.layers.0.self_attn.k_proj").bits.has_value());
  EXPECT_TRUE(q.modules.at("model.layers.0.mlp.down_proj").is_float);
  EXPECT_FALSE(q.modules.at("model.layers.0.mlp.up_proj").is_float);
  EXPECT_EQ(q.modules.at("model.layers.0.mlp.up_proj").bits, 3);
  EXPECT_EQ(q.modules.at("lm_head").mode, "mxfp8");
  EXPECT_EQ(parse(R"({"quantization_config":{"group_size":32,"bits":4,"mode":"mxfp4"}})")
                .quantization->global.mode,
            "mxfp4");
  expect_refused(R"({"quantization":4})", "quantization");
  expect_refused(R"({"quantization":{"bits":"4"}})", "bits");
  expect_refused(R"({"quantization":{"bits":-4}})", "bits");
  expect_refused(R"({"quantization":{"bits":99999999999}})", "bits");
  expect_refused(R"({"quantization":{"bits":4,"mode":"zip"}})", "zip");
  expect_refused(R"({"quantization":{"bits":4,"lm_head":4}})", "lm_head");
  expect_refused(R"({"quantization":{"bits":4,"lm_head":{"group_size":[]}}})", "group_size");
}

TEST(ModelConfig, HostileValues) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "vocab_size", "max_position_embeddings"}) {
    for (const char* value : {"0", "-5", "1e300", "\"7\"", "[]", "{}", "true",
                              "2305843009213693952", "18446744073709551615", "4.5"}) {
      expect_refused(fmt::format(R"({{"{}":{}}})", key, value).c_str(), key);
    }
  }
  for (const char* key : {"hidden_size", "vocab_size", "model_type"}) {
    expect_refused(fmt::format(R"({{"{}":"REMOVE"}})", key).c_str(), key);
  }
  expect_refused(R"({"hidden_size":1073741824,"vocab_size":1073741824})", "weights");
  expect_refused(R"({"num_hidden_layers":100000})", "num_hidden_layers");
  expect_refused(R"({"eos_token_id":-1})", "eos_token_id");
  expect_refused(R"({"eos_token_id":[1,"x"]})", "eos_token_id");
  expect_refused(R"({"eos_token_id":18446744073709551615})", "eos_token_id");
  expect_refused(R"({"rms_norm_eps":0})", "rms_norm_eps");
  expect_refused(R"({"torch_dtype":7})", "torch_dtype");
  EXPECT_FALSE(parse(R"({"torch_dtype":"float8_e4m3fn"})").dtype.has_value());
  EXPECT_THROW(parse_model_config(Json::array(), "cfg"), Error);
  std::string nested = R"({"rope_scaling":)";
  for (int i = 0; i < 5000; ++i) nested += R"({"a":)";
  EXPECT_THROW(parse_json(nested, "cfg"), Error);
}

TEST(LoadModelConfig, GenerationConfigAndWeightsBeside) {
  std::string pattern = testing::TempDir() + "/qx_arch_XXXXXX";
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  const std::filesystem::path dir = pattern;
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(dir / name, std::ios::binary) << text;
  };
  write("config.json", config_with(R"({"eos_token_id":5,"tie_word_embeddings":"REMOVE"})").dump());
  EXPECT_EQ(load_model_config(dir).eos_token_ids, std::vector<std::int32_t>{5});
  EXPECT_FALSE(load_model_config(dir / "config.json").tie_word_embeddings);
  write("generation_config.json", R"({"eos_token_id":[7,8]})");
  EXPECT_EQ(load_model_config(dir).eos_token_ids, (std::vector<std::int32_t>{7, 8}));
  EXPECT_EQ(load_model_config(dir / "config.json").eos_token_ids,
            (std::vector<std::int32_t>{7, 8}));
  const auto weights = [](const std::string& name) {
    const std::string header =
        R"({")" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    std::string text(8, '\0');
    text[0] = static_cast<char>(header.size());
    return text + header + std::string(4, '\0');
  };
  write("model.safetensors", weights("model.norm.weight"));
  EXPECT_TRUE(load_model_config(dir).tie_word_embeddings);
  write("model.safetensors", weights("lm_head.weight"));
  EXPECT_FALSE(load_model_config(dir).tie_word_embeddings);
  write("generation_config.json", "[]");
  EXPECT_THROW(load_model_config(dir), Error);
  EXPECT_THROW(load_model_config(dir / "missing"), Error);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace qx
