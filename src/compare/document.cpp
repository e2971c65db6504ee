// SPDX-License-Identifier: Apache-2.0
#include "compare/document.h"

#include "base/error.h"
#include "text/html.h"
#include "text/visible.h"

namespace qx {
namespace {

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <typename... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

std::string list_text(const BulletList& list, int width) {
  std::string out;
  for (const std::string& item : list.items) {
    std::string lines = wrap_text(item, width - 2, "  ");
    if (lines.size() >= 2) lines.replace(0, 2, "- ");
    out += lines;
  }
  return out;
}

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d0d7de;
  --good: #116329; --bad: #a40e26; --same: #0550ae; --faint: #57606a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d;
    --good: #56d364; --bad: #ff7b72; --same: #79c0ff; --faint: #8b949e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
.left, th[scope=row] { text-align: left; } th[scope=row] { font-weight: normal; }
tr.rule > * { border-top: 2px solid var(--line); }
.good { color: var(--good); } .bad { color: var(--bad); }
.same { color: var(--same); } .faint { color: var(--faint); }
@media print { body { max-width: none; padding: 0; font-size: 10pt; }
  section { break-inside: avoid; } }
)";

}  // namespace

std::string document_text(const ComparisonPage& document, const PageStyle& style) {
  std::string out;
  for (const Section& section : document.sections) {
    if (!out.empty()) out += "\n";
    out += bold(section.title, style) + "\n";
    bool first = true;
    for (const Part& part : section.parts) {
      const std::string text = std::visit(
          Overloaded{[&](const Paragraph& p) { return wrap_text(p.text, style.width, ""); },
                     [&](const BulletList& l) { return list_text(l, style.width); },
                     [&](const Table& t) { return table_text(t, style); }},
          part);
      if (!first && !text.empty()) out += "\n";
      out += text;
      first = false;
    }
  }
  return out;
}

std::string document_markdown(const ComparisonPage& document) {
  std::string out = "# " + escape_markdown(document.title) + "\n";
  for (const Section& section : document.sections) {
    out += "\n## " + escape_markdown(section.title) + "\n";
    for (const Part& part : section.parts) {
      out += "\n";
      out +=
          std::visit(Overloaded{[](const Paragraph& p) { return escape_markdown(p.text) + "\n"; },
                                [](const BulletList& l) {
                                  std::string items;
                                  for (const std::string& i : l.items)
                                    items += "- " + escape_markdown(i) + "\n";
                                  return items;
                                },
                                [](const Table& t) { return table_markdown(t); }},
                     part);
    }
  }
  return out;
}

std::string document_html(const ComparisonPage& document) {
  const std::string title = escape_html(document.title);
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<h1>{}</h1>\n",
      title, kStyle, title);
  for (const Section& section : document.sections) {
    out += "<section>\n<h2>" + escape_html(section.title) + "</h2>\n";
    for (const Part& part : section.parts) {
      out += std::visit(
          Overloaded{[](const Paragraph& p) { return "<p>" + escape_html(p.text) + "</p>\n"; },
                     [](const BulletList& l) {
                       std::string items = "<ul>\n";
                       for (const std::string& i : l.items) {
                         items += "<li>" + escape_html(i) + "</li>\n";
                       }
                       return items + "</ul>\n";
                     },
                     [](const Table& t) { return table_html(t); }},
          part);
    }
    out += "</section>\n";
  }
  return out + "</body>\n</html>\n";
}

}  // namespace qx
