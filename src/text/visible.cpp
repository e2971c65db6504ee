// SPDX-License-Identifier: Apache-2.0
#include "text/visible.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

#include "text/unicode.h"

namespace qx {
namespace {

constexpr std::string_view kLineFeedMark = "\u21B5", kSpaceMark = "\u2423", kEllipsis = "\u2026";

bool is_hidden(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    case UTF8PROC_CATEGORY_ZS:
      return c != ' ';
    default:
      return false;
  }
}

std::string escaped(char32_t c) {
  if (c == '\t') return "\\t";
  if (c == '\r') return "\\r";
  if (c < 0x80) return fmt::format("\\x{:02x}", static_cast<unsigned>(c));
  return fmt::format("\\u{{{:x}}}", static_cast<unsigned>(c));
}

// Calls emit(step, bytes) for each step of the text.
template <typename Emit>
void for_each_step(std::string_view text, Emit emit) {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = read_utf8(text, at);
    const auto length = static_cast<std::size_t>(step.length_bytes);
    emit(step, text.substr(at, length), at);
    at += length;
  }
}

void append_safe(std::string& out, const Utf8Step& step, std::string_view bytes) {
  if (!step.valid) {
    for (const char byte : bytes) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(byte)));
    }
  } else if (is_hidden(step.code_point)) {
    out += escaped(step.code_point);
  } else {
    out += bytes;
  }
}

int width_of(char32_t c) {
  return utf8proc_charwidth(static_cast<utf8proc_int32_t>(c));
}

// One line into pieces of at most `room` columns: at the last space that fits, else anywhere.
void wrap_line(std::string_view line, int room, std::string_view indent, std::string& out) {
  std::size_t begin = 0, after_space = 0;
  int width = 0, width_after_space = 0;
  const auto end_piece = [&](std::size_t end) {
    out += indent;
    const std::string_view piece = line.substr(begin, end - begin);
    out += piece.substr(0, piece.find_last_not_of(' ') + 1);
    out += '\n';
    begin = end;
  };
  for_each_step(line, [&](const Utf8Step& step, std::string_view bytes, std::size_t at) {
    const int w = width_of(step.code_point);
    if (width + w > room && at > begin) {
      if (after_space > begin) {
        end_piece(after_space);
        width -= width_after_space;
      } else {
        end_piece(at);
        width = 0;
      }
      width_after_space = 0;
    }
    width += w;
    if (bytes == " ") {
      after_space = at + 1;
      width_after_space = width;
    }
  });
  end_piece(line.size());
}

}  // namespace

std::string visible_text(std::string_view text, Blanks blanks) {
  std::string out;
  for_each_step(text, [&](const Utf8Step& step, std::string_view bytes, std::size_t at) {
    if (step.code_point == '\n') {
      out += kLineFeedMark;
      if (blanks == Blanks::kPlain) out += '\n';
      return;
    }
    if (step.code_point == ' ') {
      const std::size_t next = text.find_first_not_of(' ', at);
      bool marked =
          blanks == Blanks::kVisible || next == std::string_view::npos || text[next] == '\n';
      if (blanks == Blanks::kEdges) {
        marked = marked || at == 0 || text[at - 1] == '\n' || text[at - 1] == ' ' || next != at + 1;
      }
      out += marked ? kSpaceMark : " ";
      return;
    }
    append_safe(out, step, bytes);
  });
  return out;
}

std::string without_controls(std::string_view text) {
  std::string out;
  for_each_step(text, [&](const Utf8Step& step, std::string_view bytes, std::size_t) {
    if (step.code_point == '\n') {
      out += '\n';
    } else {
      append_safe(out, step, bytes);
    }
  });
  return out;
}

int display_width(std::string_view text) {
  int width = 0;
  for_each_step(text, [&](const Utf8Step& step, std::string_view, std::size_t) {
    width += width_of(step.code_point);
  });
  return width;
}

std::string cut_to_width(std::string_view text, int width) {
  if (display_width(text) <= width) return std::string(text);
  std::string out;
  int used = 1;  // the ellipsis
  bool full = false;
  for_each_step(text, [&](const Utf8Step& step, std::string_view bytes, std::size_t) {
    const int w = width_of(step.code_point);
    full = full || used + w > width;
    if (full) return;
    used += w;
    out += bytes;
  });
  return out + std::string(kEllipsis);
}

std::string wrap_text(std::string_view text, int width, std::string_view indent) {
  const int room = std::max(1, width - display_width(indent));
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    wrap_line(text.substr(0, end), room, indent, out);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

}  // namespace qx
