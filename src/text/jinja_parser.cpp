// Statements of the template language (jinja_parser.h); expressions are in jinja_parser_expr.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_parser.h"

#include <algorithm>
#include <array>

#include "text/jinja_parser_impl.h"

namespace qx::jinja {

Parser::Parser(std::string_view source, std::string_view origin)
    : origin_(origin), lexemes_(tokenize(source, origin)), out_(std::make_shared<Template>()) {}

void Parser::error_at(int line, std::string_view message) const {
  throw Error(fmt::format("{}:{}", origin_, line), message);
}

std::string Parser::describe(const Lexeme& lexeme) {
  switch (lexeme.token) {
    case Token::kEnd:
      return "the end of the template";
    case Token::kData:
      return "text";
    case Token::kVariableEnd:
      return "'}}'";
    case Token::kBlockEnd:
      return "'%}'";
    case Token::kVariableBegin:
      return "'{{'";
    case Token::kBlockBegin:
      return "'{%'";
    case Token::kString:
      return "a string";
    default:
      return fmt::format("'{}'", lexeme.text.substr(0, 40));
  }
}

void Parser::expect(Token token, std::string_view what) {
  if (current().token != token) {
    error("got {}, expected {}", describe(current()), what);
  }
  ++pos_;
}

void Parser::expect_operator(std::string_view op) {
  if (!is_operator(op)) {
    error("got {}, expected '{}'", describe(current()), op);
  }
  ++pos_;
}

std::string Parser::expect_name(std::string_view what) {
  if (current().token != Token::kName) {
    error("got {}, expected {}", describe(current()), what);
  }
  return lexemes_[pos_++].text;
}

bool Parser::skip_operator(std::string_view op) {
  const bool found = is_operator(op);
  pos_ += found;
  return found;
}

bool Parser::skip_name(std::string_view name) {
  const bool found = is_name(name);
  pos_ += found;
  return found;
}

Symbol Parser::symbol(const std::string& name) {
  const auto [found, added] = symbols_.emplace(name, static_cast<Symbol>(out_->names.size()));
  if (added) {
    out_->names.push_back(name);
  }
  return found->second;
}

std::shared_ptr<const Template> Parser::run() {
  out_->body = parse_block({});
  if (!unknown_.empty()) {
    error_at(unknown_[0].line, unknown_[0].message);
  }
  return std::move(out_);
}

// Statements up to a block tag that begins with one of `ends`, whose name is then current.
Block Parser::parse_block(std::initializer_list<std::string_view> ends) {
  const Nesting nesting(*this);
  const int opened = current().line;
  Block block;
  while (current().token != Token::kEnd) {
    const Lexeme& lexeme = current();
    const int line = lexeme.line;
    ++pos_;
    if (lexeme.token == Token::kData) {
      auto text = std::make_unique<Stmt>(Stmt::Kind::kText, line);
      text->text = lexeme.text;
      block.push_back(std::move(text));
    } else if (lexeme.token == Token::kVariableBegin) {
      auto print = std::make_unique<Stmt>(Stmt::Kind::kPrint, line);
      print->exprs.push_back(parse_tuple({}));
      expect(Token::kVariableEnd, "'}}'");
      block.push_back(std::move(print));
    } else {
      if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return is_name(end); })) {
        return block;
      }
      parse_statement(block);
      expect(Token::kBlockEnd, "'%}'");
    }
  }
  if (ends.size() != 0) {
    error("got the end of the template, expected '{}' for the block of line {}",
          fmt::join(ends, "' or '"), opened);
  }
  return block;
}

// The body of a block tag whose head has been read, up to one of `ends`.
Block Parser::parse_body(std::initializer_list<std::string_view> ends) {
  skip_operator(":");
  expect(Token::kBlockEnd, "'%}'");
  return parse_block(ends);
}

// As parse_body with one end, which is consumed.
Block Parser::parse_closed(std::string_view end) {
  Block block = parse_body({end});
  ++pos_;
  return block;
}

// A body that is a Python function in Jinja2: break and continue do not reach out of it.
Block Parser::parse_closed_function(std::string_view end) {
  const int loops = std::exchange(breakable_, 0);
  const bool soft = std::exchange(soft_, false);
  Block block = parse_closed(end);
  breakable_ = loops;
  soft_ = soft;
  return block;
}

void Parser::parse_statement(Block& block) {
  const int line = current().line;
  const std::string tag = expect_name("the name of a block");
  struct Entry {
    std::string_view tag;
    StmtPtr (Parser::*parse)(int line);
  };
  constexpr std::array<Entry, 12> kTags = {{
      {"set", &Parser::parse_set},
      {"for", &Parser::parse_for},
      {"if", &Parser::parse_if},
      {"macro", &Parser::parse_macro},
      {"call", &Parser::parse_call_block},
      {"filter", &Parser::parse_filter_block},
      {"with", &Parser::parse_with},
      {"generation", &Parser::parse_generation},
      {"print", &Parser::parse_print},
      {"block", &Parser::parse_named_block},
      {"break", &Parser::parse_break},
      {"continue", &Parser::parse_continue},
  }};
  for (const Entry& entry : kTags) {
    if (entry.tag == tag) {
      block.push_back((this->*entry.parse)(line));
      return;
    }
  }
  constexpr std::array<std::string_view, 5> kRefused = {"extends", "include", "import", "from",
                                                        "autoescape"};
  if (std::find(kRefused.begin(), kRefused.end(), tag) != kRefused.end()) {
    error_at(line, fmt::format("got block '{}', which chat templates cannot use here", tag));
  }
  error_at(line,
           fmt::format("got block '{}', expected a known one or the end of the open block", tag));
}

StmtPtr Parser::parse_set(int line) {
  ExprPtr target = parse_target({}, true);
  if (skip_operator("=")) {
    auto stmt = std::make_unique<Stmt>(Stmt::Kind::kSet, line);
    stmt->target = std::move(target);
    stmt->exprs.push_back(parse_tuple({}));
    return stmt;
  }
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kSetBlock, line);
  stmt->target = std::move(target);
  stmt->exprs.push_back(
      is_operator("|") ? parse_filters(std::make_unique<Expr>(Expr::Kind::kBody, line)) : nullptr);
  const bool soft = std::exchange(soft_, false);
  stmt->blocks.push_back(parse_closed("endset"));
  soft_ = soft;
  return stmt;
}

StmtPtr Parser::parse_for(int line) {
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kFor, line);
  ++loops_;
  stmt->target = parse_target({"in"}, false);
  if (!skip_name("in")) {
    error("got {}, expected 'in'", describe(current()));
  }
  const bool soft = std::exchange(soft_, false);
  stmt->exprs.push_back(parse_tuple({"recursive"}, false));
  stmt->exprs.push_back(skip_name("if") ? parse_expression(true) : nullptr);
  stmt->recursive = skip_name("recursive");
  ++breakable_;
  stmt->blocks.push_back(parse_body({"endfor", "else"}));
  --breakable_;
  if (skip_name("else")) {
    stmt->blocks.push_back(parse_body({"endfor"}));
  }
  ++pos_;
  soft_ = soft;
  --loops_;
  return stmt;
}

StmtPtr Parser::parse_if(int line) {
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kIf, line);
  const bool soft = std::exchange(soft_, true);
  do {
    stmt->exprs.push_back(parse_tuple({}, false));
    stmt->blocks.push_back(parse_body({"elif", "else", "endif"}));
  } while (skip_name("elif"));
  if (skip_name("else")) {
    stmt->blocks.push_back(parse_body({"endif"}));
  }
  ++pos_;
  soft_ = soft;
  return stmt;
}

void Parser::parse_signature(MacroBody& macro) {
  expect_operator("(");
  while (!is_operator(")")) {
    if (!macro.parameters.empty()) {
      expect_operator(",");
    }
    const std::string name = expect_name("a parameter");
    check_assignable(name, false);
    macro.parameters.push_back(symbol(name));
    macro.parameter_names.push_back(name);
    if (skip_operator("=")) {
      macro.defaults.push_back(parse_expression(true));
    } else if (!macro.defaults.empty()) {
      error("got parameter '{}' without default behind one with, expected a default", name);
    }
  }
  expect_operator(")");
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto begin = macro.parameters.begin();
    if (std::find(begin, begin + static_cast<std::ptrdiff_t>(i), macro.parameters[i]) !=
        begin + static_cast<std::ptrdiff_t>(i)) {
      error("got parameter '{}' twice, expected it once", macro.parameter_names[i]);
    }
    if (macro.parameter_names[i] == "caller" &&
        i + macro.defaults.size() < macro.parameters.size()) {
      error("got parameter 'caller' without default, expected a default");
    }
  }
}

// The body of a macro or call block; notes which of caller, kwargs and varargs it uses.
void Parser::parse_macro_body(MacroBody& macro, std::string_view end) {
  macros_.push_back(&macro);
  macro.body = parse_closed_function(end);
  macros_.pop_back();
}

StmtPtr Parser::parse_macro(int line) {
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kMacro, line);
  stmt->macro = std::make_unique<MacroBody>();
  stmt->macro->name = expect_name("the name of a macro");
  check_assignable(stmt->macro->name, false);
  stmt->symbol = symbol(stmt->macro->name);
  parse_signature(*stmt->macro);
  parse_macro_body(*stmt->macro, "endmacro");
  return stmt;
}

StmtPtr Parser::parse_call_block(int line) {
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kCall, line);
  stmt->macro = std::make_unique<MacroBody>();
  stmt->macro->name = "caller";
  if (is_operator("(")) {
    parse_signature(*stmt->macro);
  }
  stmt->exprs.push_back(parse_expression(true));
  if (stmt->exprs[0]->kind != Expr::Kind::kCall) {
    error_at(line, "got a call block without call, expected one such as {% call name() %}");
  }
  parse_macro_body(*stmt->macro, "endcall");
  return stmt;
}

StmtPtr Parser::parse_filter_block(int line) {
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kFilter, line);
  ExprPtr body = std::make_unique<Expr>(Expr::Kind::kBody, line);
  stmt->exprs.push_back(parse_filters(parse_one_filter(std::move(body))));
  const bool soft = std::exchange(soft_, false);
  stmt->blocks.push_back(parse_closed("endfilter"));
  soft_ = soft;
  return stmt;
}

StmtPtr Parser::parse_with(int line) {
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kWith, line);
  const bool soft = std::exchange(soft_, false);
  while (current().token != Token::kBlockEnd && !is_operator(":")) {
    if (!stmt->exprs.empty()) {
      expect_operator(",");
    }
    stmt->exprs.push_back(parse_target({}, false));
    expect_operator("=");
    stmt->exprs.push_back(parse_expression(true));
  }
  stmt->blocks.push_back(parse_closed("endwith"));
  soft_ = soft;
  return stmt;
}

StmtPtr Parser::parse_generation(int line) {
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kScope, line);
  stmt->blocks.push_back(parse_closed_function("endgeneration"));
  return stmt;
}

StmtPtr Parser::parse_named_block(int line) {
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kScope, line);
  const std::string name = expect_name("the name of a block");
  if (std::find(block_names_.begin(), block_names_.end(), name) != block_names_.end()) {
    error("got block '{}' twice, expected it once", name);
  }
  block_names_.push_back(name);
  skip_name("scoped");
  stmt->blocks.push_back(parse_closed_function("endblock"));
  skip_name(name);
  return stmt;
}

StmtPtr Parser::parse_print(int line) {
  auto stmt = std::make_unique<Stmt>(Stmt::Kind::kPrint, line);
  while (current().token != Token::kBlockEnd) {
    if (!stmt->exprs.empty()) {
      expect_operator(",");
    }
    stmt->exprs.push_back(parse_expression(true));
  }
  return stmt;
}

StmtPtr Parser::parse_break(int line) {
  if (breakable_ == 0) {
    error_at(line, "got 'break' outside of a loop, expected it in one");
  }
  return std::make_unique<Stmt>(Stmt::Kind::kBreak, line);
}

StmtPtr Parser::parse_continue(int line) {
  if (breakable_ == 0) {
    error_at(line, "got 'continue' outside of a loop, expected it in one");
  }
  return std::make_unique<Stmt>(Stmt::Kind::kContinue, line);
}

void Parser::check_assignable(std::string_view name, bool in_place) const {
  constexpr std::array<std::string_view, 6> kConstants = {"true", "false", "none",
                                                          "True", "False", "None"};
  if (std::find(kConstants.begin(), kConstants.end(), name) != kConstants.end()) {
    error("got an assignment to '{}', expected a variable", name);
  }
  if (in_place && loops_ > 0 && name == "loop") {
    error("got an assignment to 'loop' in a loop, expected another name");
  }
}

ExprPtr Parser::parse_target_part(bool with_namespace) {
  const Nesting nesting(*this);
  const int line = current().line;
  if (skip_operator("(")) {
    ExprPtr inner = parse_target({}, false);
    expect_operator(")");
    return inner;
  }
  const std::string name = expect_name("a variable");
  if (with_namespace && skip_operator(".")) {
    auto member = std::make_unique<Expr>(Expr::Kind::kMember, line);
    member->symbol = symbol(name);
    member->text = expect_name("an attribute");
    return member;
  }
  check_assignable(name, true);
  auto target = std::make_unique<Expr>(Expr::Kind::kName, line);
  target->symbol = symbol(name);
  return target;
}

// One variable, or several with commas (a tuple).
ExprPtr Parser::parse_target(std::initializer_list<std::string_view> ends, bool with_namespace) {
  ExprPtr first = parse_target_part(with_namespace);
  if (!is_operator(",")) {
    return first;
  }
  auto tuple = std::make_unique<Expr>(Expr::Kind::kTuple, first->line);
  add(*tuple, std::move(first));
  while (skip_operator(",")) {
    if (at_tuple_end(ends)) {
      break;
    }
    add(*tuple, parse_target_part(with_namespace));
  }
  return tuple;
}

std::shared_ptr<const Template> parse(std::string_view source, std::string_view origin) {
  return Parser(source, origin).run();
}

}  // namespace qx::jinja
