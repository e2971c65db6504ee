// The parser's class, shared by its two files. Not for others: use jinja_parser.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"
#include "text/jinja_parser.h"

namespace qx::jinja {

class Parser {
 public:
  Parser(std::string_view source, std::string_view origin);
  std::shared_ptr<const Template> run();

 private:
  // One per level of recursion.
  class Nesting {
   public:
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMaxNesting) {
        --parser_.depth_;
        parser_.error("got nesting deeper than {} levels, expected less", kMaxNesting);
      }
    }
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  [[noreturn]] void error_at(int line, std::string_view message) const;
  template <typename... Args>
  [[noreturn]] void error(fmt::format_string<Args...> format, Args&&... args) const {
    error_at(current().line, fmt::format(format, std::forward<Args>(args)...));
  }
  static std::string describe(const Lexeme& lexeme);

  const Lexeme& current() const { return lexemes_[pos_]; }
  const Lexeme& look() const { return lexemes_[std::min(pos_ + 1, lexemes_.size() - 1)]; }
  bool is_operator(std::string_view op) const {
    return current().token == Token::kOperator && current().text == op;
  }
  bool is_name(std::string_view name) const {
    return current().token == Token::kName && current().text == name;
  }
  void expect(Token token, std::string_view what);
  void expect_operator(std::string_view op);
  std::string expect_name(std::string_view what);
  bool skip_operator(std::string_view op);
  bool skip_name(std::string_view name);
  Symbol symbol(const std::string& name);

  // Statements: jinja_parser.cpp.
  Block parse_block(std::initializer_list<std::string_view> ends);
  Block parse_body(std::initializer_list<std::string_view> ends);
  Block parse_closed(std::string_view end);
  Block parse_closed_function(std::string_view end);
  void parse_statement(Block& block);
  StmtPtr parse_set(int line);
  StmtPtr parse_for(int line);
  StmtPtr parse_if(int line);
  StmtPtr parse_macro(int line);
  StmtPtr parse_call_block(int line);
  StmtPtr parse_filter_block(int line);
  StmtPtr parse_with(int line);
  StmtPtr parse_generation(int line);
  StmtPtr parse_named_block(int line);
  StmtPtr parse_print(int line);
  StmtPtr parse_break(int line);
  StmtPtr parse_continue(int line);
  void parse_signature(MacroBody& macro);
  void parse_macro_body(MacroBody& macro, std::string_view end);
  void check_assignable(std::string_view name, bool in_place) const;
  ExprPtr parse_target_part(bool with_namespace);
  ExprPtr parse_target(std::initializer_list<std::string_view> ends, bool with_namespace);

  // Expressions: jinja_parser_expr.cpp.
  void add(Expr& parent, ExprPtr child) const;
  void raise_height(Expr& parent, const ExprPtr& child) const;
  ExprPtr node(Expr::Kind kind, int line, ExprPtr first) const;
  ExprPtr node(Expr::Kind kind, int line, ExprPtr first, ExprPtr second) const;
  ExprPtr string_constant(std::string text, int line);
  bool at_tuple_end(std::initializer_list<std::string_view> ends) const;
  ExprPtr parse_tuple(std::initializer_list<std::string_view> ends, bool with_condition = true,
                      bool parentheses = false);
  ExprPtr parse_expression(bool with_condition);
  ExprPtr parse_condition();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  bool comparison(Op& op);
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter);
  ExprPtr parse_primary();
  ExprPtr parse_name();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr expr);
  ExprPtr parse_filters_and_tests(ExprPtr expr);
  ExprPtr parse_filters(ExprPtr expr);
  ExprPtr parse_one_filter(ExprPtr expr);
  ExprPtr parse_test(ExprPtr expr);
  ExprPtr parse_subscript(ExprPtr object);
  ExprPtr parse_index(ExprPtr object);
  void parse_arguments(Expr& expr);
  ExprPtr parse_call(ExprPtr callee);
  std::string dotted_name(std::string_view what);

  const std::string_view origin_;
  const std::vector<Lexeme> lexemes_;
  std::shared_ptr<Template> out_;
  std::size_t pos_ = 0;
  int depth_ = 0;
  int loops_ = 0;      // open for blocks
  int breakable_ = 0;  // those that break and continue reach
  bool soft_ = false;  // in a branch: unknown filters and tests fail only when they run
  struct Unknown {
    int line = 0;
    std::string message;
  };
  std::vector<Unknown> unknown_;  // filters and tests outside of all branches: an error at once
  std::vector<MacroBody*> macros_;
  std::vector<std::string> block_names_;
  std::unordered_map<std::string, Symbol> symbols_;
};

}  // namespace qx::jinja
