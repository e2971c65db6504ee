// Tokens to trees, after Jinja2's grammar with the extensions that Hugging Face turns on: break, continue and
// generation. Template inheritance, import, include and autoescape are refused: a chat template is one text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "text/jinja_ast.h"

namespace qx::jinja {

// Fails: Error with "origin:line" for text that is not valid or not supported, and for nesting deeper than
// kMaxNesting or expressions higher than kMaxHeight.
std::shared_ptr<const Template> parse(std::string_view source, std::string_view origin);

constexpr int kMaxNesting = 100;
constexpr int kMaxHeight = 150;

}  // namespace qx::jinja
