// SPDX-License-Identifier: Apache-2.0
#include "serve/web_page.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>

namespace qx {
namespace {

// What the first group of the pattern finds in a text.
std::vector<std::string> found(std::string_view text, const char* pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> out;
  const std::string copy(text);
  for (std::sregex_iterator it(copy.begin(), copy.end(), regex), end; it != end; ++it) {
    out.push_back((*it)[1]);
  }
  return out;
}

// The page and all that it loads, by following the names.
std::set<std::string> loaded_paths() {
  std::set<std::string> seen;
  std::vector<std::string> left = {"/"};
  while (!left.empty()) {
    const std::string path = left.back();
    left.pop_back();
    if (!seen.insert(path).second) continue;
    const auto file = find_web_file(path);
    EXPECT_TRUE(file.has_value()) << path;
    if (!file) continue;
    for (const std::string& name : found(file->body, R"re((?:src|href)="([a-z.]+)")re")) {
      left.push_back("/" + name);
    }
    for (const std::string& name : found(file->body, R"re(from '\./([a-z.]+)')re")) {
      left.push_back("/" + name);
    }
  }
  return seen;
}

TEST(WebPage, HasEveryFileThatItLoads) {
  const auto paths = loaded_paths();
  EXPECT_EQ(paths.size(), 11u);
  EXPECT_EQ(find_web_file("/")->content_type, "text/html; charset=utf-8");
  EXPECT_EQ(find_web_file("/page.css")->content_type, "text/css; charset=utf-8");
  EXPECT_EQ(find_web_file("/page.js")->content_type, "text/javascript; charset=utf-8");
}

TEST(WebPage, HasNothingElse) {
  for (const char* path :
       {"", "page.js", "/page.html", "/page.JS", "/page.js/", "//page.js", "/./page.js",
        "/../page.js", "/page.js?x", "/etc/passwd", "/index.html"}) {
    EXPECT_FALSE(find_web_file(path).has_value()) << path;
  }
}

TEST(WebPage, AllowsNoInlineCodeAndNoOtherServer) {
  const std::string page(find_web_file("/")->body);
  EXPECT_NE(page.find("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "),
            std::string::npos);
  EXPECT_EQ(page.find("unsafe"), std::string::npos);
  EXPECT_TRUE(found(page, R"re(\s(on[a-z]+|style)=)re").empty());
  EXPECT_TRUE(found(page, R"re(<(style|script)>)re").empty());
  for (const std::string& path : loaded_paths()) {
    const std::string_view body = find_web_file(path)->body;
    EXPECT_TRUE(
        found(body, R"re((innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\())re")
            .empty())
        << path;
    // Addresses stand in comments only.
    for (const std::string& line : found(body, R"re(([^\n]*https?:[^\n]*))re")) {
      EXPECT_TRUE(line.starts_with("//")) << path << ": " << line;
    }
  }
}

TEST(WebPage, HeadersKeepOtherSitesOut) {
  std::set<std::string> names;
  for (const auto& [name, value] : web_file_headers()) {
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(value.find_first_of("\r\n"), std::string::npos);
  }
  for (const char* name : {"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy",
                           "Cross-Origin-Resource-Policy"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

}  // namespace
}  // namespace qx
