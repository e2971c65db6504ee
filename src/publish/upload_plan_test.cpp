// SPDX-License-Identifier: Apache-2.0
#include "publish/upload_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "publish/unwanted.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class Upload : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(root_ / "m", {.layers = 2, .quantized = AffineSpec{4, 32}});
    write("README.md", "---\nlicense: mit\nlibrary_name: mlx\n---\n# M\n");
    write("LICENSE", "MIT");
  }
  void write(const std::string& name, const std::string& text) {
    fs::create_directories((root_ / "m" / name).parent_path());
    write_text(root_ / "m" / name, text);
  }
  UploadPlan plan() const { return plan_upload(root_ / "m"); }
  // The problems as one text.
  std::string problems() const {
    std::string all;
    for (const std::string& p : plan().problems) all += p + "\n";
    return all;
  }
  void expect_problem(const std::string& part) const {
    EXPECT_NE(problems().find(part), std::string::npos) << part << " in:\n" << problems();
  }
  TestFolder root_;
};

TEST_F(Upload, ListsEveryFileWithItsSize) {
  write(".git/config", "x");
  write("sub/notes.txt", "four");
  const UploadPlan p = plan();
  EXPECT_EQ(problems(), "");
  const auto find = [&](const std::string& path) {
    return std::find_if(p.files.begin(), p.files.end(),
                        [&](const UploadFile& f) { return f.path == path; });
  };
  ASSERT_NE(find("model.safetensors"), p.files.end());
  EXPECT_TRUE(find("model.safetensors")->lfs);
  EXPECT_EQ(find("sub/notes.txt")->bytes, 4u);
  EXPECT_FALSE(find("sub/notes.txt")->lfs);
  EXPECT_EQ(find(".git/config"), p.files.end());
  EXPECT_EQ(p.ignored, std::vector<std::string>{".git"});
  std::uint64_t sum = 0;
  for (const UploadFile& f : p.files) sum += f.bytes;
  EXPECT_EQ(p.bytes, sum);
  fs::resize_file(root_ / "m" / "sub" / "notes.txt", kLfsBytes + 1);
  const UploadPlan large = plan();
  EXPECT_TRUE(std::any_of(large.files.begin(), large.files.end(),
                          [](const UploadFile& f) { return f.path == "sub/notes.txt" && f.lfs; }));
}

TEST_F(Upload, FindsWhatIsMissing) {
  for (const char* name : {"README.md", "tokenizer.json", "tokenizer_config.json", "config.json"}) {
    const fs::path file = root_ / "m" / name;
    fs::rename(file, root_ / "aside");
    expect_problem(name);
    fs::rename(root_ / "aside", file);
  }
  write("README.md", "# M\n");
  expect_problem("README.md: no front matter");
  write("README.md", "---\ntags: [a]\n---\n");
  expect_problem("README.md: no license");
  write("README.md", "---\nlicense: other\n---\n");
  expect_problem("without license_name");
  write("README.md", "---\nlicense: &a mit\n---\n");
  expect_problem("README.md:2");
  EXPECT_THROW(plan_upload(root_ / "nothing"), Error);
}

TEST_F(Upload, FindsWhatDoesNotFit) {
  write("qx_plan.json", "{\"plan_hash\": \"0\"}");
  expect_problem("records another plan");
  fs::remove(root_ / "m" / "qx_plan.json");
  write("README.md", "---\nlicense: mit\n---\n- Plan hash: `" + std::string(64, '0') + "` (x)\n");
  expect_problem("README.md:4: is about plan 000000000000");
  write("README.md", "---\nlicense: mit\n---\n");
  fs::copy_file(root_ / "m" / "model.safetensors", root_ / "m" / "old.safetensors");
  expect_problem("old.safetensors: weights that no loader reads");
  fs::remove(root_ / "m" / "old.safetensors");
  write("model.safetensors.index.json",
        R"({"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}})");
  expect_problem("model-00002-of-00002.safetensors");
  write("model.safetensors.index.json", "");
  expect_problem("model.safetensors.index.json: empty");
}

TEST_F(Upload, FindsWhatShouldNotGoUp) {
  for (const char* name :
       {".DS_Store", "sub/._x", ".env", ".env.local", ".cache/x", "x.tmp", ".m.qx-partial", "a~",
        "id_rsa", "sub/server.pem", "__pycache__/a.pyc", "model.safetensors.incomplete"}) {
    write(name, "x");
    expect_problem(std::string(name) + ": ");
    fs::remove(root_ / "m" / name);
  }
  write("notes.txt", "token = hf_" + std::string(33, 'A') + "1");
  expect_problem("notes.txt: seems to hold a Hugging Face token");
  EXPECT_EQ(problems().find("AAAA"), std::string::npos);
  write("notes.txt", "-----BEGIN OPENSSH PRIVATE KEY-----\nx");
  expect_problem("notes.txt: seems to hold a private key");
  fs::remove(root_ / "m" / "notes.txt");
  fs::create_symlink("/nothing/there", root_ / "m" / "link");
  expect_problem("link: a link to no file");
}

TEST(Unwanted, OrdinaryFilesAreFine) {
  for (const char* path : {"README.md", "config.json", "environment.yml", "model.safetensors",
                           "key.md", "tokenizer.model", "monkey", ".gitattributes", "tmp.txt"}) {
    EXPECT_FALSE(unwanted_path(path)) << path << ": " << *unwanted_path(path);
  }
  EXPECT_FALSE(secret_in("call hf_hub_download_and_then_some_other_long_function_name()"));
  EXPECT_FALSE(secret_in("xhf_" + std::string(34, 'A')));
}

TEST(UploadCommand, IsQuoted) {
  EXPECT_EQ(upload_command("m", "a/b"), "hf upload a/b m .");
  EXPECT_EQ(upload_command("my model's", ""), "hf upload OWNER/NAME 'my model'\\''s' .");
}

}  // namespace
}  // namespace qx
