// qx report through the command line, on tiny random models. What the page shows in a browser is
// tests/browser's.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "run_qx.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

// The data that a page holds.
Json page_data(const fs::path& page) {
  const std::string html = read_text(page);
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const std::size_t begin = html.find(open) + open.size();
  return parse_json(html.substr(begin, html.find("</script>", begin) - begin), page.string());
}

class Report : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("report");
    write_tiny_model(root_ / "base", TinyModel{});
    expect_done({"convert", "-m", root_ / "base", "-o", root_ / "q3", "--recipe", "q3"});
    expect_done({"eval", "-m", root_ / "base", "-m", root_ / "q3", "--tasks", "arc_easy,winogrande",
                 "--limit", "20", "--plain", "-o", root_ / "runs"});
  }
  static void expect_done(const std::vector<std::string>& command) {
    const Outcome o = run_qx(command);
    ASSERT_EQ(o.exit_code, 0) << o.err;
  }
  fs::path root_;
};

TEST_F(Report, HoldsWhatCompareAndInspectSay) {
  const fs::path page = root_ / "report.html";
  expect_done({"report", root_ / "runs", "-o", page});
  const Json data = page_data(page);
  EXPECT_EQ(data.at("runs")[0].at("name"), "base");  // the most bits per weight
  const Json compared = run_json({"compare", root_ / "runs/base", root_ / "runs/q3"});
  for (std::size_t t = 0; t < compared.at("tasks").size(); ++t) {
    const Json &task = compared.at("tasks")[t], &here = data.at("tasks")[t];
    EXPECT_EQ(task.at("task"), here.at("task"));
    EXPECT_EQ(task.at("variants").at("q3").at("acc"), here.at("scores")[1].at("acc"));
    EXPECT_EQ(task.at("variants").at("q3").at("verdict"),
              data.at("pairs")[0].at("tasks")[t].at("verdict"));
  }
  ASSERT_EQ(data.at("weights").size(), 2u);
  EXPECT_EQ(data.at("weights")[1].at("roles")[0].at("bits"), (Json{3, 3, 3}));
  ASSERT_EQ(data.at("errors").size(), 1u);
  EXPECT_EQ(data.at("errors")[0].at("layers").size(), 3u);
  const double error = data.at("errors")[0].at("layers")[0].get<double>();
  EXPECT_GT(error, 0.01);
  EXPECT_LT(error, 0.5);
  // Tiny random models disagree on something, and the prompts are those that the model got.
  ASSERT_FALSE(data.at("flips").at("items").empty());
  for (const Json& item : data.at("flips").at("items")) EXPECT_EQ(item.at("as_sent"), true);
  EXPECT_TRUE(data.at("flips").at("notes").empty());
}

TEST_F(Report, IsTheSameForAnyThreadCountAndSaysWhatIsGone) {
  expect_done({"report", root_ / "runs", "-o", root_ / "1.html", "--threads", "1"});
  expect_done({"report", root_ / "runs", "-o", root_ / "3.html", "--threads", "3"});
  EXPECT_TRUE(read_text(root_ / "1.html") == read_text(root_ / "3.html"));
  fs::rename(root_ / "base", root_ / "moved");
  expect_done({"report", root_ / "runs", "-o", root_ / "gone.html"});
  const Json data = page_data(root_ / "gone.html");
  EXPECT_FALSE(data.at("weights")[0].at("missing").get<std::string>().empty());
  EXPECT_TRUE(data.at("weights")[1].at("missing").get<std::string>().empty());
  EXPECT_FALSE(data.at("errors")[0].at("missing").get<std::string>().empty());
  for (const Json& item : data.at("flips").at("items")) {
    EXPECT_EQ(item.at("as_sent"), false);
    EXPECT_FALSE(item.at("choices").empty());
  }
}

TEST_F(Report, RefusesWhatItCannotDo) {
  const fs::path page = root_ / "report.html";
  const auto code = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "report");
    const Outcome o = run_qx(arguments);
    EXPECT_EQ(o.err.find("please report"), std::string::npos) << o.err;
    return o.exit_code;
  };
  EXPECT_EQ(code({root_ / "runs"}), 2);
  EXPECT_EQ(code({root_ / "runs/base", "-o", page}), 2);
  EXPECT_EQ(code({root_ / "runs", "-o", page, "--baseline", "none"}), 2);
  EXPECT_EQ(code({root_ / "runs", "-o", page, "--margin", "0"}), 2);
  EXPECT_EQ(code({root_ / "base", "-o", page}), 1);
  EXPECT_EQ(code({root_ / "nothing", "-o", page}), 1);
  EXPECT_FALSE(fs::exists(page));
  EXPECT_EQ(code({root_ / "runs", "-o", page, "--no-errors", "--flips", "0"}), 0);
  const std::string before = read_text(page);
  EXPECT_TRUE(page_data(page).at("errors").empty());
  EXPECT_EQ(code({root_ / "runs", "-o", page}), 1);
  EXPECT_EQ(read_text(page), before);
  EXPECT_EQ(code({root_ / "runs", "-o", page, "--force"}), 0);
  EXPECT_NE(read_text(page), before);
}

}  // namespace
}  // namespace qx::e2e
