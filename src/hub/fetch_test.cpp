// Whole fetches from a service on this machine: files, resumption, changes of the data set.
// SPDX-License-Identifier: Apache-2.0
#include "hub/fetch.h"

#include <gtest/gtest.h>
#include <sys/file.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"
#include "support/rows_server.h"
#include "support/test_folder.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

std::int64_t total_of(const RowsQuery& q) {
  if (q.dataset == "allenai/openbookqa") return q.split == "train" ? 4957 : 500;
  return q.dataset == "baber/piqa" && q.split == "validation" ? 1838 : 1267;
}

ServerAnswer well_behaved(const RowsQuery& q) {
  return hub_answer(q, total_of(q));
}

struct Fetcher {
  explicit Fetcher(RowsServer::Handler handler) : server(std::move(handler)) {
    options.folder = folder / "tasks";
    options.progress = [this](std::int64_t rows, const WantedFile&) { progress += rows; };
    options.notice = [this](const std::string& text) { notices.push_back(text); };
    options.utc_now = [] { return std::string("2026-01-02T03:04:05Z"); };
  }

  std::vector<FetchedFile> fetch(const std::vector<std::string>& names = {"openbookqa"},
                                 bool train = false) {
    HubSettings settings;
    settings.service = parse_url(server.url(), "test");
    settings.service.target.clear();
    HttpClient http({}, [](const Url&) { return HttpProxy{}; });
    RowsClient client(
        settings, [&http](const HttpRequest& r) { return http.get(r); },
        [](std::chrono::milliseconds) {}, [](const std::string&) {}, 1);
    std::vector<const Task*> tasks;
    for (const std::string& name : names) tasks.push_back(find_task(name));
    return fetch_files(wanted_files(tasks, train), client, options);
  }

  std::string error(const std::vector<std::string>& names = {"openbookqa"}) {
    try {
      fetch(names);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  std::string file(const std::string& name) { return read_text(options.folder / name); }
  bool has(const std::string& name) { return fs::exists(options.folder / name); }

  TestFolder folder;
  RowsServer server;
  FetchOptions options;
  std::int64_t progress = 0;
  std::vector<std::string> notices;
};

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(Fetch, WritesTheRowsInTheirOwnSchema) {
  Fetcher f(well_behaved);
  const auto files = f.fetch();
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].rows, 500);
  EXPECT_EQ(files[0].revision, "abc123");
  EXPECT_EQ(f.progress, 500);
  const std::string text = f.file("openbookqa.jsonl");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 500);
  EXPECT_EQ(text.substr(0, text.find('\n')),
            "{\"id\": \"allenai/openbookqa main test \u00e9 \\\"0\\\"\", \"question_stem\": "
            "\"allenai/openbookqa main test \u00e9 \\\"0\\\"\", \"choices\": {\"text\": [\"red\", "
            "\"green\", \"blue\\n\", \"white\"], \"label\": [\"A\", \"B\", \"C\", \"D\"]}, "
            "\"answerKey\": \"A\"}");
  const SourceRecord record = load_source_records(f.options.folder).at("openbookqa.jsonl");
  EXPECT_EQ(record.sha256, sha256_hex(text));
  EXPECT_EQ(record.rows, 500);
  EXPECT_EQ(record.revision, "abc123");
  EXPECT_EQ(record.split, "test");
  EXPECT_EQ(record.fetched, "2026-01-02T03:04:05Z");
  EXPECT_FALSE(f.has(".openbookqa.jsonl.qx-fetch"));
}

TEST(Fetch, TrainSplitsComeAfterTheEvaluationSets) {
  Fetcher f(well_behaved);
  const auto files = f.fetch({"openbookqa", "piqa"}, false);
  ASSERT_EQ(files.size(), 2u);
  const auto wanted = wanted_files({find_task("piqa"), find_task("boolq")}, true);
  ASSERT_EQ(wanted.size(), 4u);
  EXPECT_EQ(wanted[1].name, "boolq.jsonl");
  EXPECT_EQ(wanted[2].name, "piqa.train.jsonl");
  EXPECT_EQ(wanted[2].source.rows, 16113);
  EXPECT_EQ(f.fetch({"openbookqa"}, true)[1].rows, 4957);
  EXPECT_TRUE(f.has("openbookqa.train.jsonl"));
}

TEST(Fetch, WhatIsThereIsKept) {
  Fetcher f(well_behaved);
  f.fetch();
  const std::size_t before = f.server.queries().size();
  const auto again = f.fetch();
  EXPECT_EQ(again[0].status, FetchStatus::kKept);
  EXPECT_EQ(f.server.queries().size(), before);
  f.options.force = true;
  EXPECT_EQ(f.fetch()[0].status, FetchStatus::kFetched);
  EXPECT_EQ(f.server.queries().size(), 2 * before);
}

TEST(Fetch, FilesThatWereChangedAreNotReplacedSilently) {
  Fetcher f(well_behaved);
  f.fetch();
  write_text(f.options.folder / "openbookqa.jsonl", f.file("openbookqa.jsonl") + " ");
  expect_contains(f.error(), "other bytes than sources.json records");
  fs::remove(f.options.folder / "sources.json");
  EXPECT_EQ(f.fetch()[0].status, FetchStatus::kKeptUnrecorded);
  write_text(f.options.folder / "openbookqa.jsonl", "{\"my\": \"own\"}\n");
  expect_contains(f.error(), "openbookqa.jsonl:1]");
  EXPECT_EQ(f.file("openbookqa.jsonl"), "{\"my\": \"own\"}\n");
}

// The file must be the same whatever happened on the way.
TEST(Fetch, BrokenPagesRateLimitsAndCutConnectionsDoNotShow) {
  Fetcher clean(well_behaved);
  clean.fetch();
  Fetcher f([](const RowsQuery& q) {
    ServerAnswer a = well_behaved(q);
    switch (q.number) {
      case 0:
        return hub_error(500, "ResponseNotReady", "The server is busier than usual");
      case 1:
        a.body = "<html>gateway</html>";
        return a;
      case 2:
        a.status = 429;
        a.headers.emplace_back("Retry-After", "60");
        return a;
      case 4:
        a.manner = ServerAnswer::Manner::kCut;
        return a;
      case 6:
        a.body.resize(a.body.size() - 10);
        return a;
      case 8:
        a = hub_answer({q.path, q.dataset, q.config, q.split, q.offset, 99, "", 0}, 500);
        return a;
      default:
        return a;
    }
  });
  f.fetch();
  EXPECT_EQ(f.file("openbookqa.jsonl"), clean.file("openbookqa.jsonl"));
  EXPECT_EQ(f.server.queries().size(), 5u + 6u);
}

TEST(Fetch, GoesOnWhereItWasStopped) {
  Fetcher clean(well_behaved);
  clean.fetch();
  for (const std::size_t stop : {1u, 3u, 4u}) {
    bool broken = true;
    Fetcher f([&broken, stop](const RowsQuery& q) {
      if (broken && q.number == stop) return hub_error(403, "X", "stopped");
      return well_behaved(q);
    });
    expect_contains(f.error(), "stopped");
    EXPECT_FALSE(f.has("openbookqa.jsonl"));
    broken = false;
    f.progress = 0;
    const auto files = f.fetch();
    EXPECT_EQ(files[0].resumed_rows, static_cast<std::int64_t>(stop) * 100);
    EXPECT_EQ(f.progress, 500);
    EXPECT_EQ(f.server.queries().size(), 6u);  // five pages and the refusal
    EXPECT_EQ(f.file("openbookqa.jsonl"), clean.file("openbookqa.jsonl"));
    EXPECT_FALSE(f.has(".openbookqa.jsonl.qx-fetch"));
  }
}

TEST(Fetch, DamagedPagesOfAnEarlierRunAreFetchedAgain) {
  Fetcher clean(well_behaved);
  clean.fetch();
  bool broken = true;
  Fetcher f([&broken](const RowsQuery& q) {
    return broken && q.offset == 400 ? hub_error(403, "X", "stopped") : well_behaved(q);
  });
  f.error();
  broken = false;
  const fs::path page = f.options.folder / ".openbookqa.jsonl.qx-fetch/000000000200.page";
  ASSERT_TRUE(fs::exists(page));
  std::string text = read_text(page);
  text[text.size() / 2] = 'Z';
  write_text(page, text);
  EXPECT_EQ(f.fetch()[0].resumed_rows, 300);
  EXPECT_EQ(f.file("openbookqa.jsonl"), clean.file("openbookqa.jsonl"));
}

TEST(Fetch, AKillBetweenFileAndRecordLosesNothing) {
  Fetcher f(well_behaved);
  f.fetch();
  const std::string text = f.file("openbookqa.jsonl");
  const fs::path folder = f.options.folder;
  // As it is on the disk when the process dies between the two: all pages, the file, no record.
  fs::remove(folder / "openbookqa.jsonl");
  fs::remove(folder / "sources.json");
  bool broken = true;
  Fetcher again([&broken](const RowsQuery& q) {
    return broken && q.offset == 400 ? hub_error(403, "X", "stopped") : well_behaved(q);
  });
  again.error();
  broken = false;
  const fs::path store = again.options.folder / ".openbookqa.jsonl.qx-fetch";
  fs::path kept = again.folder / "pages";
  fs::copy(store, kept);
  again.fetch();
  fs::remove(again.options.folder / "sources.json");
  fs::copy(kept, store);
  const auto files = again.fetch();  // the page at 400 is missing: judged as a user's own file
  EXPECT_EQ(files[0].status, FetchStatus::kKeptUnrecorded);
  EXPECT_EQ(again.file("openbookqa.jsonl"), text);
}

TEST(Fetch, ADataSetThatChangesIsStartedOverOnce) {
  Fetcher f([](const RowsQuery& q) { return hub_answer(q, 500, q.number < 3 ? "old" : "new"); });
  const auto files = f.fetch();
  EXPECT_EQ(files[0].revision, "new");
  EXPECT_EQ(f.notices.size(), 1u);
  EXPECT_EQ(f.server.queries().size(), 4u + 5u);
  Fetcher restless(
      [](const RowsQuery& q) { return hub_answer(q, 500, std::to_string(q.number / 2)); });
  expect_contains(restless.error(), "keeps changing");
  EXPECT_FALSE(restless.has("openbookqa.jsonl"));
  Fetcher total([](const RowsQuery& q) { return hub_answer(q, q.number == 2 ? 501 : 500); });
  EXPECT_EQ(total.fetch()[0].rows, 500);
  EXPECT_EQ(total.notices.size(), 1u);
}

TEST(Fetch, SizesAreThePublishedOnes) {
  Fetcher f([](const RowsQuery& q) { return hub_answer(q, 499); });
  expect_contains(f.error(), "got 499 rows, expected the 500 published");
  EXPECT_FALSE(f.has("openbookqa.jsonl"));
  EXPECT_EQ(f.server.queries().size(), 1u);
  f.options.accept_size = true;
  EXPECT_EQ(f.fetch()[0].rows, 499);
  Fetcher none([](const RowsQuery& q) { return hub_answer(q, 0); });
  none.options.accept_size = true;
  expect_contains(none.error(), "got a split without rows");
}

TEST(Fetch, RowsThatTheTaskCannotReadEndIt) {
  Fetcher f([](const RowsQuery& q) {
    ServerAnswer a = well_behaved(q);
    const std::size_t at = a.body.find("answerKey", a.body.size() / 2);
    if (q.offset == 100) a.body.replace(at, 9, "AnswerKey");
    return a;
  });
  const std::string error = f.error();
  expect_contains(error, "allenai/openbookqa main test row 1");
  expect_contains(error, "field 'answerKey' is missing");
  EXPECT_FALSE(f.has("openbookqa.jsonl"));
}

TEST(Fetch, ASecondProcessIsTold) {
  Fetcher f(well_behaved);
  fs::create_directories(f.options.folder);
  const int fd = ::open(f.options.folder.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(fd, LOCK_EX | LOCK_NB), 0);
  expect_contains(f.error(), "another qx data fetch writes here");
  ::close(fd);
  EXPECT_EQ(f.fetch()[0].rows, 500);
}

TEST(Fetch, AFolderThatCannotBeIsAnError) {
  Fetcher f(well_behaved);
  write_text(f.folder / "file", "x");
  f.options.folder = f.folder / "file/tasks";
  expect_contains(f.error(), "cannot create the folder");
  f.options.folder = f.folder / "tasks";
  fs::create_directories(f.options.folder);
  write_text(f.options.folder / "sources.json", "{\"files\": 3}");
  expect_contains(f.error(), "got no object 'files'");
}

}  // namespace
}  // namespace qx
