// run.json as others may have left it.
// SPDX-License-Identifier: Apache-2.0
#include "runs/run_record.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/test_folder.h"

namespace qx {
namespace {

RunRecord record_of(const std::string& text) {
  return parse_run_record(parse_json(text, "run.json"), "run.json");
}

TEST(RunRecord, ReadsItemsAndShard) {
  const RunRecord run = record_of(
      R"({"selection":{"kind":"rows","offset":0,"shard":"2/3"},"end":"2026-01-01T00:00:00Z",
          "tasks":{"piqa":{"items":3,"indices":"1,4,7","rows":9,"data_hash":"h","of_items":9,"of_items_hash":"x"}}})");
  EXPECT_EQ(run.shard.index, 2);
  EXPECT_TRUE(run.ended);
  EXPECT_EQ(run.tasks.at("piqa").items.text(), "1,4,7");
  EXPECT_EQ(run.tasks.at("piqa").of_items, 9);
  // A version that knew an offset and a limit only.
  const RunRecord old = record_of(R"({"offset":5,"end":null,"tasks":{"piqa":{"items":3}}})");
  EXPECT_EQ(old.tasks.at("piqa").items.text(), "5-7");
  EXPECT_FALSE(old.ended);
}

TEST(RunRecord, EveryWrongPartIsAnErrorWithItsPlace) {
  const std::string task = R"({"tasks":{"piqa":)";
  for (const std::string& bad :
       std::vector<std::string>{"[]",
                                "3",
                                "{}",
                                R"({"tasks":[]})",
                                R"({"tasks":{"piqa":3}})",
                                task + "{}}}",
                                task + R"({"items":"3"}}})",
                                task + R"({"items":0}}})",
                                task + R"({"items":-1}}})",
                                task + R"({"items":9223372036854775807}}})",
                                task + R"({"items":2,"indices":"0-2"}}})",
                                task + R"({"items":2,"indices":[0,1]}}})",
                                task + R"({"items":2,"indices":"1,0"}}})",
                                task + R"({"items":20000001,"indices":"0-20000000"}}})",
                                task + R"({"items":3,"rows":"x"}}})",
                                task + R"({"items":3,"of_items":2}}})",
                                task + R"({"items":3}},"end":3})",
                                task + R"({"items":3}},"selection":"x"})",
                                task + R"({"items":3}},"selection":{"shard":"4/3"}})",
                                task + R"({"items":3}},"selection":{"shard":2}})"}) {
    try {
      record_of(bad);
      ADD_FAILURE() << bad;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).rfind("[run.json", 0), 0u) << e.what();
    }
  }
}

TEST(RunRecord, AFolderWithoutOneIsAnError) {
  const TestFolder folder;
  std::filesystem::create_directories(folder / "m");
  EXPECT_THROW(read_run_record(folder / "m"), Error);
  write_text(folder / "m/run.json", "{\n\"tasks\": {\n");
  try {
    read_run_record(folder / "m");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("m/run.json:3]"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace qx
