// Keys and values through a file: the same bits behind them as without, and nothing of another model.
// SPDX-License-Identifier: Apache-2.0
#include "model/kv_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/random.h"
#include "model/cpu_model.h"
#include "support/file_size_limit.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

const Json kIdentity = {{"files", {{"model.safetensors", "abc"}}}, {"precision", "reference"}};

class KvFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_kv_file_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    write_tiny_model(root_ / "m", {.tokenizer = false, .chat_template = false});
  }
  void TearDown() override { fs::remove_all(root_); }

  std::unique_ptr<Model> load(KvBits bits) {
    return load_model(root_ / "m", pool_, Precision::kReference, bits);
  }
  static std::vector<TokenId> tokens(std::size_t count, std::uint64_t seed) {
    Random random(seed);
    std::vector<TokenId> out(count);
    for (TokenId& t : out) t = static_cast<TokenId>(random.below(384));
    return out;
  }
  // Appends; the hidden states of all tokens.
  static std::vector<float> append(Model& model, KvSegment& segment,
                                   const std::vector<TokenId>& ids) {
    std::vector<std::int32_t> outputs(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) outputs[i] = static_cast<std::int32_t>(i);
    const Chunk chunk{&segment, ids, outputs};
    return model.forward({&chunk, 1}).values;
  }
  fs::path file() const { return root_ / "cache.safetensors"; }
  KvFileFacts facts() const { return {kIdentity, Json{{"chat", true}}, "models/m"}; }

  // One sequence of so many tokens, written.
  void write_one(KvBits bits, std::size_t count) {
    const auto model = load(bits);
    const auto segment = model->new_segment(nullptr, 64);
    const auto ids = tokens(count, 1);
    append(*model, *segment, ids);
    const KvFileEntry entry{-1, ids, segment.get(), 0};
    write_kv_file(file(), facts(), {&entry, 1}, false);
  }
  std::string bytes() const {
    std::ifstream in(file(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  fs::path root_;
  ThreadPool pool_{2};
};

TEST_F(KvFileTest, GoesOnWithTheSameBits) {
  for (const KvBits bits : {KvBits::k32, KvBits::k16, KvBits::k8, KvBits::k4}) {
    SCOPED_TRACE(static_cast<int>(bits));
    const auto ids = tokens(37, 1), more = tokens(9, 2);
    std::vector<float> expected, expected_early;
    {
      const auto model = load(bits);
      const auto segment = model->new_segment(nullptr, 64);
      append(*model, *segment, ids);
      const KvFileEntry entry{-1, ids, segment.get(), 0};
      fs::remove(file());
      write_kv_file(file(), facts(), {&entry, 1}, false);
      expected = append(*model, *segment, more);
      segment->truncate(20);
      expected_early = append(*model, *segment, more);
    }
    const auto model = load(bits);
    const KvFile read(file());
    read.require(kIdentity, model->config());
    EXPECT_EQ(read.notes()["chat"], true);
    const KvFileSegment& sequence = read.only_sequence();
    EXPECT_EQ(sequence.tokens, ids);
    const auto whole = read.load(*model, sequence, 0, 37, nullptr, 64);
    EXPECT_EQ(whole->end(), 37);
    EXPECT_EQ(append(*model, *whole, more), expected);
    const auto part = read.load(*model, sequence, 0, 20, nullptr, 64);
    EXPECT_EQ(append(*model, *part, more), expected_early);
    // Cut into segments that do not begin at a block of the file's.
    const auto stem = read.load(*model, sequence, 0, 5, nullptr, 5);
    const auto rest = read.load(*model, sequence, 5, 32, stem, 64);
    EXPECT_EQ(append(*model, *rest, more), expected);
  }
}

TEST_F(KvFileTest, KeepsATree) {
  const auto model = load(KvBits::k16);
  const auto stem_ids = tokens(18, 1), a_ids = tokens(7, 2), b_ids = tokens(3, 3),
             more = tokens(4, 4);
  const auto stem = model->new_segment(nullptr, 20);
  append(*model, *stem, stem_ids);
  const auto a = model->new_segment(stem, 20), b = model->new_segment(stem, 20);
  append(*model, *a, a_ids);
  append(*model, *b, b_ids);
  const KvFileEntry entries[] = {
      {-1, stem_ids, stem.get(), 5}, {0, a_ids, a.get(), 5}, {0, b_ids, b.get(), 2}};
  write_kv_file(file(), facts(), entries, false);
  const auto expected_a = append(*model, *a, more), expected_b = append(*model, *b, more);

  const KvFile read(file());
  ASSERT_EQ(read.segments().size(), 3U);
  EXPECT_THROW((void)read.only_sequence(), Error);
  const auto& s = read.segments();
  EXPECT_EQ(s[2].parent, 0);
  EXPECT_EQ(s[2].used, 2);
  const auto root = read.load(*model, s[0], 0, 18, nullptr, 18);
  EXPECT_EQ(append(*model, *read.load(*model, s[1], 0, 7, root, 20), more), expected_a);
  EXPECT_EQ(append(*model, *read.load(*model, s[2], 0, 3, root, 20), more), expected_b);
}

std::string failure(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST_F(KvFileTest, AnotherModelsIsRefused) {
  write_one(KvBits::k32, 20);
  const auto model = load(KvBits::k32);
  const KvFile read(file());
  const auto require = [&](const char* pointer, Json value) {
    Json other = kIdentity;
    other[Json::json_pointer(pointer)] = std::move(value);
    return failure([&] { read.require(other, model->config()); });
  };
  EXPECT_NE(require("/precision", "exact").find("precision: got \"reference\", expected \"exact\""),
            std::string::npos);
  EXPECT_NE(require("/files/model.safetensors", "abd").find("files.model.safetensors"),
            std::string::npos);
  EXPECT_NE(require("/kernels", "avx2").find("kernels: got null"), std::string::npos);
  Json less = kIdentity;
  less.erase("precision");
  EXPECT_NE(failure([&] { read.require(less, model->config()); }).find("more than expected"),
            std::string::npos);
  ModelConfig config = model->config();
  config.num_hidden_layers = 4;
  EXPECT_NE(failure([&] { read.require(kIdentity, config); }).find("3 layers"), std::string::npos);
  config = model->config();
  const auto ids = read.only_sequence().tokens;
  config.vocab_size = *std::max_element(ids.begin(), ids.end());
  EXPECT_NE(failure([&] { read.require(kIdentity, config); }).find("token"), std::string::npos);
  ++config.vocab_size;
  EXPECT_EQ(failure([&] { read.require(kIdentity, config); }), "no error");
  // The identity may lie; the shape is looked at again.
  const auto fewer = load(KvBits::k8);
  EXPECT_NE(failure([&] {
              (void)read.load(*fewer, read.segments()[0], 0, 1, nullptr, 1);
            }).find("32 bits, expected 8"),
            std::string::npos);
}

TEST_F(KvFileTest, ReplacesOnlyItsLike) {
  write_one(KvBits::k4, 3);
  const auto model = load(KvBits::k4);
  const auto segment = model->new_segment(nullptr, 8);
  const auto ids = tokens(4, 9);
  append(*model, *segment, ids);
  const KvFileEntry entry{-1, ids, segment.get(), 0};
  const auto write = [&](const fs::path& path, bool replace) {
    return failure([&] { write_kv_file(path, facts(), {&entry, 1}, replace); });
  };
  EXPECT_NE(write(file(), false).find("exists already"), std::string::npos);
  EXPECT_EQ(write(file(), true), "no error");
  EXPECT_EQ(KvFile(file()).only_sequence().tokens, ids);
  std::ofstream(root_ / "letter.txt") << "Dear reader, this is no cache";
  EXPECT_NE(write(root_ / "letter.txt", true).find("is no prompt cache"), std::string::npos);
  EXPECT_NE(write(root_ / "m" / "model.safetensors", true).find("is no prompt cache"),
            std::string::npos);
  EXPECT_NE(write(root_ / "m", true).find("is no prompt cache"), std::string::npos);
  EXPECT_EQ(write(root_ / "new" / "folder" / "f", false), "no error");
  for (const auto& entry_found : fs::recursive_directory_iterator(root_)) {
    EXPECT_EQ(entry_found.path().string().find("partial"), std::string::npos);
  }
}

TEST_F(KvFileTest, AFullDiskLeavesTheOldFileAndNothingElse) {
  write_one(KvBits::k32, 3);
  const std::string before = bytes();
  const auto model = load(KvBits::k32);
  const auto segment = model->new_segment(nullptr, 64);
  const auto ids = tokens(60, 9);
  append(*model, *segment, ids);
  const KvFileEntry entry{-1, ids, segment.get(), 0};
  {
    const FileSizeLimit limit(16'000);
    EXPECT_NE(failure([&] { write_kv_file(file(), facts(), {&entry, 1}, true); }), "no error");
  }
  EXPECT_EQ(bytes(), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 2);
}

// A file in which a text stands for another: of the same length, so that it is otherwise whole.
TEST_F(KvFileTest, BrokenFilesAreErrors) {
  write_one(KvBits::k4, 20);
  const std::string good = bytes();
  const auto broken = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    EXPECT_EQ(from.size(), to.size());
    text.replace(at, from.size(), to);
    std::ofstream(file(), std::ios::binary) << text;
    return failure([&] { const KvFile read(file()); });
  };
  const auto expect = [](const std::string& got, const char* part) {
    EXPECT_NE(got.find(part), std::string::npos) << got;
  };
  expect(broken("\"0.qx\"", "\"0.qy\""), "is no prompt cache of qx");
  expect(broken("qx-kv-1", "qx-kv-2"), "'format'");
  expect(broken("\\\"bits\\\":4", "\\\"bits\\\":5"), "'bits'");
  expect(broken("\\\"bits\\\":4", "\\\"bits\\\":8"), "'0.0.0'");
  expect(broken("\\\"layers\\\":3", "\\\"layers\\\":4"), "tensors");
  expect(broken("\\\"layers\\\":3", "\\\"layers\\\":0"), "'layers'");
  expect(broken("\\\"parent\\\":-1", "\\\"parent\\\":00"), "metadata");
  expect(broken("\\\"parent\\\":-1", "\\\"parent\\\": 0"), "'parent'");
  expect(broken("\\\"parent\\\":-1", "\\\"parent\\\":-2"), "'parent'");
  expect(broken("\\\"tokens\\\"", "\\\"tokenz\\\""), "'tokens'");
  expect(broken("\\\"head_dim\\\":64", "\\\"head_dim\\\":32"), "'0.0.0'");
  expect(broken("\"2.1.1\"", "\"1.2.1\""), "no error");  // that is mlx-lm's
  expect(broken("\"0.1.2\":{\"dtype\":\"BF16\"", "\"0.1.2\":{\"dtype\":\"I16\" "), "'0.1.2'");
  for (const std::size_t size : {std::size_t{0}, std::size_t{100}, good.size() - 1}) {
    std::ofstream(file(), std::ios::binary) << good.substr(0, size);
    EXPECT_NE(failure([&] { const KvFile read(file()); }), "no error") << size;
  }
}

// The same where it cannot be of the same length: in the document, in the list of tensors, and in
// the numbers that mlx-lm reads.
TEST_F(KvFileTest, BrokenContentsAreErrors) {
  write_one(KvBits::k4, 20);
  const SafetensorsFile opened(file());
  const SafetensorsHeader good{opened.tensors(), opened.metadata()};
  const auto parsed = [](const SafetensorsHeader& header) {
    return failure([&] { (void)parse_kv_file(header, "file"); });
  };
  EXPECT_EQ(parsed(good), "no error");

  const auto changed = [&](const char* pointer, Json value) {
    SafetensorsHeader header = good;
    Json document = parse_json(header.metadata.at("0.qx"), "document");
    document[Json::json_pointer(pointer)] = std::move(value);
    header.metadata["0.qx"] = document.dump();
    return parsed(header);
  };
  for (const Json& bad : {Json(-1), Json(1.5), Json("a"), Json(nullptr), Json(4'294'967'296)}) {
    EXPECT_NE(changed("/segments/0/tokens/7", bad).find("'tokens'"), std::string::npos) << bad;
  }
  EXPECT_NE(changed("/segments/0/tokens", Json::array()).find("'tokens'"), std::string::npos);
  EXPECT_NE(changed("/segments", Json::array()).find("'segments'"), std::string::npos);
  EXPECT_NE(changed("/segments/0/used", -1).find("'used'"), std::string::npos);

  SafetensorsHeader more = good;
  more.tensors.push_back(more.tensors.back());
  EXPECT_NE(parsed(more).find("tensors"), std::string::npos);

  for (const char* name : {"0.2", "1.3", "2.4"}) {
    SafetensorsHeader header = good;
    std::int32_t value = 0;
    for (TensorView& t : header.tensors) {
      if (t.name != name) continue;
      std::memcpy(&value, t.data.data(), sizeof value);
      ++value;
      t.data = std::as_bytes(std::span(&value, 1));
    }
    EXPECT_NE(parsed(header).find(name), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace qx
