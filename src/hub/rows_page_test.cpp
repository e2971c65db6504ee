// Answers of the rows service, good and bad.
// SPDX-License-Identifier: Apache-2.0
#include "hub/rows_page.h"

#include <gtest/gtest.h>

#include "hub/page_store.h"
#include "support/rows_server.h"
#include "support/test_folder.h"

namespace qx {
namespace {

const PageRequest kSecondPage{"baber/piqa", "default", "validation", 100, 100};

std::string row(std::int64_t index, const std::string& more = R"(,"truncated_cells":[])") {
  return R"({"row_idx":)" + std::to_string(index) + R"(,"row":{"goal":"g"})" + more + "}";
}

std::string answer(const std::string& rows, const std::string& total,
                   const std::string& more = "") {
  return R"({"features":[],"rows":[)" + rows + R"(],"num_rows_total":)" + total + more + "}";
}

// The fault of a body, with "again: " where another try may help.
std::string fault_of(const std::string& body, const PageRequest& request = kSecondPage) {
  PageFault fault;
  if (parse_rows_page(body, request, fault)) return "no fault";
  return (fault.again ? "again: " : "final: ") + fault.text;
}

void expect_fault(const std::string& body, const std::string& part) {
  const std::string fault = fault_of(body);
  EXPECT_NE(fault.find(part), std::string::npos) << fault << "\n" << body;
}

TEST(RowsPage, WhatTheHubSendsIsRead) {
  const RowsQuery query{"/rows", "baber/piqa", "default", "validation", 100, 100, "", 0};
  PageFault fault;
  const auto page = parse_rows_page(hub_answer(query, 1838).body, kSecondPage, fault);
  ASSERT_TRUE(page) << fault.text;
  EXPECT_EQ(page->total, 1838);
  ASSERT_EQ(page->rows.size(), 100u);
  EXPECT_EQ(page->rows[7]["goal"], "baber/piqa default validation \u00e9 \"107\"");
}

TEST(RowsPage, ShuffledRowsAreSorted) {
  PageFault fault;
  const auto page = parse_rows_page(answer(row(101) + "," + row(100), "102"), kSecondPage, fault);
  ASSERT_TRUE(page) << fault.text;
  EXPECT_EQ(page->rows.size(), 2u);
}

TEST(RowsPage, KeysKeepTheirOrder) {
  PageFault fault;
  const auto page = parse_rows_page(answer(R"({"row_idx":100,"row":{"z":1,"a":2.5}})", "101"),
                                    kSecondPage, fault);
  ASSERT_TRUE(page);
  EXPECT_EQ(dump_json(page->rows[0], -1, false, false), R"({"z": 1, "a": 2.5})");
}

TEST(RowsPage, GapsDoublesAndShortPagesAreTriedAgain) {
  expect_fault(answer(row(100) + "," + row(102), "102"), "again: got row 102 where row 101");
  expect_fault(answer(row(100) + "," + row(100), "102"), "again: row 100 comes twice");
  expect_fault(answer(row(99) + "," + row(100), "101"), "again: got row 99 where row 100");
  expect_fault(answer(row(100), "300"), "again: got 1 rows, expected rows 100 to 199");
  expect_fault(answer("", "101"), "again: got 0 rows, expected row 100");
  expect_fault(answer(row(100) + "," + row(101), "101"), "again: got 2 rows, expected row 100");
  EXPECT_EQ(fault_of(answer("", "100")), "no fault");
}

TEST(RowsPage, BrokenAnswersAreTriedAgain) {
  expect_fault("<!DOCTYPE html><html>", "again: got a page of HTML");
  expect_fault(" \n<html>", "again: got a page of HTML");
  expect_fault("", "again: got no JSON");
  expect_fault(R"({"rows":[)", "again: got no JSON");
  expect_fault("\xff", "again: got no JSON");
  expect_fault("[]", "again: got JSON without an array 'rows'");
  expect_fault("null", "again: got JSON without an array 'rows'");
  expect_fault(R"({"rows":{},"num_rows_total":1})", "without an array 'rows'");
  expect_fault(R"({"rows":[]})", "again: got no 'num_rows_total'");
  expect_fault(answer("", "-1"), "again: got no 'num_rows_total'");
  expect_fault(answer("", "1e3"), "again: got no 'num_rows_total'");
  expect_fault(answer("", "18446744073709551615"), "again: got no 'num_rows_total'");
  expect_fault(answer("1", "101"), "again: a row is number");
  expect_fault(answer(R"({"row_idx":100})", "101"), "again: a row has no 'row_idx' or no 'row'");
  expect_fault(answer(R"({"row_idx":"100","row":{}})", "101"), "again: a row has no 'row_idx'");
  expect_fault(answer(R"({"row_idx":100,"row":[]})", "101"), "again: a row has no 'row_idx'");
}

TEST(RowsPage, WhatTheServiceLeavesOutIsFinal) {
  expect_fault(answer(row(100), "101", R"(,"partial":true)"),
               "final: the service holds only a part");
  expect_fault(answer(row(100, R"(,"truncated_cells":["goal"])"), "101"),
               "final: row 100 has cells that the service cut off: [\"goal\"]");
}

TEST(RowsPage, MoreRowsThanAskedForAreRefused) {
  std::string rows;
  for (int i = 0; i <= 100; ++i) rows += (i == 0 ? "" : ",") + row(100 + i);
  expect_fault(answer(rows, "1000"), "again: got 101 rows, expected at most 100");
}

TEST(ServiceMessage, IsShortAndPrintable) {
  EXPECT_EQ(service_message(R"({"error":"Not found."})"), "Not found.");
  EXPECT_EQ(service_message(R"({"error":"a\u001b[2Jb"})"), "a?[2Jb");
  EXPECT_EQ(service_message("<html>"), "");
  EXPECT_EQ(service_message(R"({"error":1})"), "");
  EXPECT_EQ(service_message("[1]"), "");
  EXPECT_LT(service_message(R"({"error":")" + std::string(5000, 'x') + "\"}").size(), 300u);
}

TEST(WaitAsked, SecondsDatesAndRateLimits) {
  const auto asked = [](HttpHeaders headers) {
    HttpReply reply;
    reply.headers = std::move(headers);
    return wait_asked(reply);
  };
  EXPECT_EQ(asked({{"retry-after", "120"}}), 120);
  EXPECT_EQ(asked({{"retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"},
                   {"date", "Sun, 06 Nov 1994 08:48:00 GMT"}}),
            97);
  EXPECT_EQ(asked({{"retry-after", "Fri, 01 Mar 2024 00:00:00 GMT"},
                   {"date", "Thu, 29 Feb 2024 23:59:30 GMT"}}),
            30);
  EXPECT_EQ(asked({{"retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"},
                   {"date", "Sun, 06 Nov 1995 08:48:00 GMT"}}),
            0);
  EXPECT_EQ(asked({{"retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"}}), std::nullopt);
  EXPECT_EQ(asked({{"ratelimit", "\"api\";r=0;t=55"}}), 55);
  EXPECT_EQ(asked({{"ratelimit", "\"api\"; r=0; t=7"}}), 7);
  EXPECT_EQ(asked({{"ratelimit", "\"api\";r=0"}}), std::nullopt);
  EXPECT_EQ(asked({{"retry-after", "-1"}}), std::nullopt);
  EXPECT_EQ(asked({{"retry-after", "soon"}}), std::nullopt);
  EXPECT_EQ(asked({{"retry-after", "Sun, 99 Nov 1994 08:49:37 GMT"}}), std::nullopt);
  EXPECT_EQ(asked({{"retry-after", "99999999999999999999"}}), std::nullopt);
  EXPECT_EQ(asked({}), std::nullopt);
}

StoredPage stored(std::int64_t offset, std::int64_t rows, const std::string& revision = "r1") {
  StoredPage page;
  page.origin = {"s", "d", "c", "test", revision, 250};
  page.offset = offset;
  page.rows = rows;
  for (std::int64_t i = 0; i < rows; ++i)
    page.text += "{\"i\": " + std::to_string(offset + i) + "}\n";
  return page;
}

TEST(PageFile, ReadsBackWhatItWrote) {
  const auto page = parse_page_file(page_file_text(stored(200, 50)));
  ASSERT_TRUE(page);
  EXPECT_EQ(page->origin, stored(200, 50).origin);
  EXPECT_EQ(page->offset, 200);
  EXPECT_EQ(page->rows, 50);
  EXPECT_EQ(page->text, stored(200, 50).text);
}

TEST(PageFile, AnyDamageIsNoticed) {
  const std::string text = page_file_text(stored(0, 3));
  for (std::size_t i = 0; i < text.size(); ++i) {
    EXPECT_FALSE(parse_page_file(text.substr(0, i))) << i;
  }
  const std::size_t rows = text.find('\n') + 1;
  for (std::size_t i = rows; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_FALSE(parse_page_file(damaged)) << i;
  }
  EXPECT_FALSE(parse_page_file(text + "{}\n"));
  EXPECT_FALSE(parse_page_file(page_file_text(stored(249, 3))));  // beyond the total
}

TEST(PageStore, TakesIntactPagesOfOneStateAndRemovesOthers) {
  const TestFolder folder;
  const PageStore store(folder / ".x.qx-fetch");
  const PageOrigin wanted{"s", "d", "c", "test", "", 0};
  EXPECT_TRUE(store.load(wanted).empty());
  store.save(stored(0, 100));
  store.save(stored(100, 100, "r2"));
  store.save(stored(200, 50));
  write_text(folder / ".x.qx-fetch/000000000300.page", "torn");
  const auto pages = store.load(wanted);
  ASSERT_EQ(pages.size(), 2u);
  EXPECT_TRUE(pages.contains(0) && pages.contains(200));
  EXPECT_FALSE(std::filesystem::exists(folder / ".x.qx-fetch/000000000100.page"));
  EXPECT_FALSE(std::filesystem::exists(folder / ".x.qx-fetch/000000000300.page"));
  EXPECT_TRUE(store.load({"s", "d", "c", "train", "", 0}).empty());
  store.clear();
  EXPECT_FALSE(std::filesystem::exists(folder / ".x.qx-fetch"));
}

}  // namespace
}  // namespace qx
