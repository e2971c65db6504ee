// SPDX-License-Identifier: Apache-2.0
#include "report/html.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "text/html.h"

namespace qx {
namespace {

// What an item may hold, to break out of the element that its page keeps it in.
constexpr const char* kHostile =
    "</script><script>alert(1)</script><!-- <SCRIPT> ]]> & \" ' \\ {{data}} \xE2\x80\xA8 "
    "\xF0\x9F\x99\x82";

TEST(ScriptJson, HoldsNothingThatEndsItsElement) {
  const Json data{{"text", kHostile}, {kHostile, 1}};
  const std::string text = script_json(data);
  EXPECT_EQ(text.find_first_of("<>&"), std::string::npos) << text;
  EXPECT_EQ(parse_json(text, "page"), data);
}

TEST(ScriptJson, ReplacesWhatIsNotUtf8) {
  const std::string text = script_json(Json{{"text", "a\xFF\xC3(b"}});
  EXPECT_TRUE(is_valid_utf8(text));
  EXPECT_EQ(parse_json(text, "page").at("text"), "a\xEF\xBF\xBD\xEF\xBF\xBD(b");
}

TEST(EscapeHtml, CoversTextAndAttributes) {
  EXPECT_EQ(escape_html("<a href=\"x\" b='&'>"), "&lt;a href=&quot;x&quot; b=&#39;&amp;&#39;&gt;");
}

TEST(FillTemplate, NeverReadsInsertedTextAsAPlaceholder) {
  EXPECT_EQ(fill_template("a {{x}} b {{y}} {{x}}", {{"x", "{{y}}"}, {"y", "2"}}),
            "a {{y}} b 2 {{y}}");
  EXPECT_EQ(fill_template("none", {}), "none");
}

TEST(FillTemplate, RefusesWhatDoesNotFit) {
  EXPECT_THROW(fill_template("{{x}}", {}), InternalError);
  EXPECT_THROW(fill_template("{{x", {{"x", "1"}}), InternalError);
  EXPECT_THROW(fill_template("x", {{"x", "1"}}), InternalError);
}

// The example of CSP level 2, section 4.2.5.1.
TEST(CspHash, IsTheSpecifications) {
  EXPECT_EQ(csp_hash("alert('Hello, world.');"),
            "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
}

// Text of each element `<tag ...>text</tag>`.
std::vector<std::string> elements(const std::string& html, const std::string& open,
                                  const std::string& close) {
  std::vector<std::string> found;
  for (std::size_t at = html.find(open); at != std::string::npos; at = html.find(open, at)) {
    at += open.size();
    const std::size_t end = html.find(close, at);
    found.push_back(html.substr(at, end - at));
    at = end;
  }
  return found;
}

TEST(ReportHtml, ItsPolicyAllowsItsOwnScriptsAndStylesOnly) {
  const std::string html = report_html(Json{{"text", kHostile}}, kHostile);
  const auto scripts = elements(html, "<script>", "</script>");
  const auto styles = elements(html, "<style>", "</style>");
  ASSERT_EQ(scripts.size(), 2u);
  ASSERT_EQ(styles.size(), 1u);
  const auto policies = elements(html, "http-equiv=\"Content-Security-Policy\" content=\"", "\"");
  ASSERT_EQ(policies.size(), 1u);
  EXPECT_NE(policies[0].find("default-src 'none';"), std::string::npos);
  EXPECT_EQ(policies[0].find("unsafe"), std::string::npos);
  for (const std::string& script : scripts) {
    EXPECT_NE(policies[0].find(csp_hash(script)), std::string::npos);
  }
  EXPECT_NE(policies[0].find(csp_hash(styles[0])), std::string::npos);
  EXPECT_NE(scripts[0].find("Released under the MIT License"), std::string::npos);
}

TEST(ReportHtml, KeepsItsDataAndTitleInTheirElements) {
  const Json data{{"text", kHostile}};
  const std::string html = report_html(data, kHostile);
  const auto islands =
      elements(html, "<script type=\"application/json\" id=\"data\">", "</script>");
  ASSERT_EQ(islands.size(), 1u);
  EXPECT_EQ(parse_json(islands[0], "page"), data);
  EXPECT_EQ(elements(html, "<title>", "</title>").at(0), escape_html(kHostile));
  EXPECT_EQ(html.find("alert(1)</script>"), std::string::npos);
}

}  // namespace
}  // namespace qx
