// A report as data: sections of prose, lists and tables, and its text for a terminal, for Markdown
// and for HTML. Everything in it is plain text without control characters; each format escapes what
// it must.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "compare/table.h"

namespace qx {

struct Paragraph {
  std::string text;
};
struct BulletList {
  std::vector<std::string> items;
};

using Part = std::variant<Paragraph, BulletList, Table>;

struct Section {
  std::string title;
  std::vector<Part> parts;
};

struct ComparisonPage {
  std::string title;
  std::vector<Section> sections;
};

// Prose wrapped and tables split at style.width. The document's title is left out: the command
// stands above.
std::string document_text(const ComparisonPage& document, const PageStyle& style);
std::string document_markdown(const ComparisonPage& document);
// One page that needs nothing else: light and dark, readable on a phone and on paper.
std::string document_html(const ComparisonPage& document);

}  // namespace qx
