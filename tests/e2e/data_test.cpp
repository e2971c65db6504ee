// qx data fetch and check, against a rows service on this machine.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <sstream>

#include "run_qx.h"
#include "support/rows_server.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

constexpr const char* kToken = "hf_averysecrettoken";

std::int64_t published_rows(const RowsQuery& q) {
  if (q.config == "ARC-Challenge") return q.split == "train" ? 1119 : 1172;
  if (q.config == "ARC-Easy") return q.split == "train" ? 2251 : 2376;
  if (q.dataset == "allenai/openbookqa") return q.split == "train" ? 4957 : 500;
  return 1838;  // piqa's validation split
}

ServerAnswer well_behaved(const RowsQuery& q) {
  return hub_answer(q, published_rows(q));
}

// The variables of a user with a token and nothing else of the Hub's.
std::vector<std::string> variables(const std::string& endpoint, const fs::path& cache) {
  return {"HF_ENDPOINT=" + endpoint, std::string("HF_TOKEN=") + kToken,
          "QX_CACHE=" + cache.string(), "QX_HUB_ROWS=", "HF_HUB_OFFLINE="};
}

std::string text_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void expect_no_token(const Outcome& o) {
  EXPECT_EQ(o.out.find(kToken), std::string::npos) << o.out;
  EXPECT_EQ(o.err.find(kToken), std::string::npos) << o.err;
}

TEST(Data, FetchFillsTheCacheAndCheckAgrees) {
  const fs::path cache = fresh_directory("data_fetch");
  RowsServer server([](const RowsQuery& q) {
    ServerAnswer a = well_behaved(q);
    if (q.number == 1) {
      a = hub_error(429, "TooManyRequests", "slow down");
      a.headers.emplace_back("Retry-After", "0");
    }
    if (q.number == 3) a.manner = ServerAnswer::Manner::kCut;
    return a;
  });
  const auto env = variables(server.url(), cache);
  const Outcome fetch = run_qx(
      {"data", "fetch", "arc_challenge,openbookqa", "piqa", "--no-train", "--json"}, "", env);
  ASSERT_EQ(fetch.exit_code, 0) << fetch.err;
  const Json got = parse_json(fetch.out, "stdout");
  ASSERT_EQ(got["files"].size(), 3u);
  EXPECT_EQ(got["files"][0]["rows"], 1172);
  EXPECT_EQ(got["files"][0]["status"], "fetched");
  EXPECT_EQ(got["retries"], 2);
  expect_no_token(fetch);
  for (const RowsQuery& q : server.queries()) {
    EXPECT_EQ(q.authorization, std::string("Bearer ") + kToken);
  }
  const Outcome check = run_qx({"data", "check", "--json", "piqa", "openbookqa"}, "", env);
  ASSERT_EQ(check.exit_code, 0) << check.err << check.out;
  const Json found = parse_json(check.out, "stdout");
  EXPECT_EQ(found["errors"], 0);
  const Json& piqa = found["tasks"][0]["files"][0];
  EXPECT_EQ(piqa["origin"], "cache");
  EXPECT_EQ(piqa["rows"], 1838);
  EXPECT_EQ(piqa["published"], 1838);
  EXPECT_EQ(piqa["record"], "same");
  EXPECT_EQ(piqa["gold"]["0"], 919);
  const Outcome again = run_qx({"data", "fetch", "piqa", "--no-train"}, "", env);
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_NE(again.out.find("kept"), std::string::npos) << again.out;
  EXPECT_NE(again.out.find("0 requests"), std::string::npos) << again.out;
}

TEST(Data, CheckExitsWithOneOnErrorsAndNamesTheLines) {
  const fs::path folder = fresh_directory("data_check");
  std::ofstream(folder / "piqa.jsonl") << R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 0})"
                                       << "\n{\"goal\": \"g\"}\n";
  const Outcome o = run_qx({"data", "check", "--data", folder.string()});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.out.find("piqa.jsonl: line 2: field"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("1 errors, 1 warnings"), std::string::npos) << o.out;
  EXPECT_NE(o.err.find("qx data check: ["), std::string::npos) << o.err;
  EXPECT_EQ(run_qx({"data", "check", "arc_easy", "--data", folder.string()}).exit_code, 1);
  EXPECT_EQ(run_qx({"data", "check", "nonsense"}).exit_code, 2);
  EXPECT_EQ(run_qx({"data"}).exit_code, 2);
}

TEST(Data, ARedirectElsewhereDoesNotGetTheToken) {
  RowsServer elsewhere(well_behaved);
  RowsServer server([&elsewhere](const RowsQuery& q) {
    ServerAnswer a;
    a.status = 302;
    a.headers.emplace_back("Location", elsewhere.url() + "/rows?dataset=" +
                                           "allenai%2Fopenbookqa&config=main&split=" + q.split +
                                           "&offset=" + std::to_string(q.offset) + "&length=100");
    return a;
  });
  const fs::path cache = fresh_directory("data_redirect");
  const Outcome o =
      run_qx({"data", "fetch", "openbookqa", "--no-train"}, "", variables(server.url(), cache));
  EXPECT_EQ(o.exit_code, 0) << o.err;
  expect_no_token(o);
  ASSERT_EQ(elsewhere.queries().size(), 5u);
  for (const RowsQuery& q : elsewhere.queries()) EXPECT_EQ(q.authorization, "");
  EXPECT_NE(server.queries().front().authorization, "");
}

// Signals at three places of a fetch: what is left is what a run without them gives, in the end.
TEST(Data, KilledAndInterruptedFetchesGoOn) {
  const fs::path clean = fresh_directory("data_clean");
  RowsServer good(well_behaved);
  const std::vector<std::string> fetch = {"data", "fetch", "arc_challenge", "--no-train"};
  ASSERT_EQ(run_qx(fetch, "", variables(good.url(), clean)).exit_code, 0);
  for (const int signal : {SIGKILL, SIGINT}) {
    const fs::path cache = fresh_directory("data_killed");
    std::atomic<int> process{0};
    std::atomic<int> countdown{0};
    RowsServer server([&](const RowsQuery& q) {
      if (--countdown == 0) {
        while (process.load() == 0) continue;
        ::kill(process.load(), signal);
        ServerAnswer silent;
        silent.manner = ServerAnswer::Manner::kSilent;
        return silent;
      }
      return well_behaved(q);
    });
    for (const int after : {1, 4, 3}) {
      countdown = after;
      process = 0;
      const Outcome o =
          run_qx(fetch, "", variables(server.url(), cache), [&process](int id) { process = id; });
      EXPECT_EQ(o.exit_code, signal == SIGKILL ? 128 + SIGKILL : 130) << o.err;
      EXPECT_FALSE(fs::exists(cache / "tasks/arc_challenge.jsonl"));
      if (signal == SIGINT) {
        EXPECT_NE(o.err.find("goes on from there"), std::string::npos) << o.err;
      }
    }
    const std::size_t before = server.queries().size();
    const Outcome last = run_qx(fetch, "", variables(server.url(), cache));
    EXPECT_EQ(last.exit_code, 0) << last.err;
    EXPECT_EQ(server.queries().size(), before + 12 - 5);  // 0 + 3 + 2 pages were kept
    EXPECT_EQ(text_of(cache / "tasks/arc_challenge.jsonl"),
              text_of(clean / "tasks/arc_challenge.jsonl"));
    EXPECT_EQ(std::distance(fs::directory_iterator(cache / "tasks"), fs::directory_iterator()), 2);
  }
}

TEST(Data, ARefusalIsExplained) {
  RowsServer server([](const RowsQuery&) {
    return hub_error(401, "ExternalUnauthenticatedError", std::string("no access with ") + kToken);
  });
  const fs::path cache = fresh_directory("data_refused");
  const Outcome o = run_qx({"data", "fetch", "boolq"}, "", variables(server.url(), cache));
  EXPECT_EQ(o.exit_code, 1);
  expect_no_token(o);
  EXPECT_NE(o.err.find("qx data fetch: [" + server.url() + "/rows?dataset=aps%2Fsuper_glue"),
            std::string::npos)
      << o.err;
  EXPECT_NE(o.err.find("HF_TOKEN"), std::string::npos) << o.err;
  const Outcome offline = run_qx({"data", "fetch"}, "", {"HF_HUB_OFFLINE=1"});
  EXPECT_EQ(offline.exit_code, 1);
  EXPECT_NE(offline.err.find("HF_HUB_OFFLINE"), std::string::npos) << offline.err;
}

}  // namespace
}  // namespace qx::e2e
