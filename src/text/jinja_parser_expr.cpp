// Expressions of the template language (jinja_parser.h), one function per level of Jinja2's precedence.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "text/jinja_builtins.h"
#include "text/jinja_parser_impl.h"
#include "text/jinja_text.h"

namespace qx::jinja {

void Parser::raise_height(Expr& parent, const ExprPtr& child) const {
  if (child != nullptr && child->height >= parent.height) {
    parent.height = child->height + 1;
    if (parent.height > kMaxHeight) {
      error("got an expression of more than {} nested or chained operations, expected less",
            kMaxHeight);
    }
  }
}

void Parser::add(Expr& parent, ExprPtr child) const {
  raise_height(parent, child);
  parent.items.push_back(std::move(child));
}

ExprPtr Parser::node(Expr::Kind kind, int line, ExprPtr first) const {
  auto expr = std::make_unique<Expr>(kind, line);
  add(*expr, std::move(first));
  return expr;
}

ExprPtr Parser::node(Expr::Kind kind, int line, ExprPtr first, ExprPtr second) const {
  ExprPtr expr = node(kind, line, std::move(first));
  add(*expr, std::move(second));
  return expr;
}

ExprPtr Parser::string_constant(std::string text, int line) {
  auto object = std::make_unique<Str>(std::move(text), false);
  auto expr = std::make_unique<Expr>(Expr::Kind::kConst, line);
  expr->constant = Value::string(object.get());
  out_->constants.push_back(std::move(object));
  return expr;
}

bool Parser::at_tuple_end(std::initializer_list<std::string_view> ends) const {
  return current().token == Token::kVariableEnd || current().token == Token::kBlockEnd ||
         is_operator(")") ||
         std::any_of(ends.begin(), ends.end(), [&](auto end) { return is_name(end); });
}

ExprPtr Parser::parse_tuple(std::initializer_list<std::string_view> ends, bool with_condition,
                            bool parentheses) {
  const int line = current().line;
  auto tuple = std::make_unique<Expr>(Expr::Kind::kTuple, line);
  bool is_tuple = false;
  while (!at_tuple_end(ends)) {
    add(*tuple, parse_expression(with_condition));
    if (!skip_operator(",")) {
      break;
    }
    is_tuple = true;
  }
  if (is_tuple) {
    return tuple;
  }
  if (!tuple->items.empty()) {
    return std::move(tuple->items[0]);
  }
  if (!parentheses) {
    error("got {}, expected an expression", describe(current()));
  }
  return tuple;
}

ExprPtr Parser::parse_expression(bool with_condition) {
  const Nesting nesting(*this);
  return with_condition ? parse_condition() : parse_or();
}

ExprPtr Parser::parse_condition() {
  const std::size_t known = unknown_.size();
  ExprPtr expr = parse_or();
  while (is_name("if")) {
    const int line = current().line;
    ++pos_;
    ExprPtr condition = parse_or();
    ExprPtr otherwise;
    if (skip_name("else")) {
      const Nesting nesting(*this);
      otherwise = parse_condition();
    }
    unknown_.resize(known);  // each part may never run
    ExprPtr result = node(Expr::Kind::kIf, line, std::move(condition), std::move(expr));
    if (otherwise != nullptr) {
      add(*result, std::move(otherwise));
    }
    expr = std::move(result);
  }
  return expr;
}

ExprPtr Parser::parse_or() {
  ExprPtr left = parse_and();
  while (is_name("or")) {
    const int line = current().line;
    ++pos_;
    left = node(Expr::Kind::kOr, line, std::move(left), parse_and());
  }
  return left;
}

ExprPtr Parser::parse_and() {
  ExprPtr left = parse_not();
  while (is_name("and")) {
    const int line = current().line;
    ++pos_;
    left = node(Expr::Kind::kAnd, line, std::move(left), parse_not());
  }
  return left;
}

ExprPtr Parser::parse_not() {
  const int line = current().line;
  if (skip_name("not")) {
    const Nesting nesting(*this);
    return node(Expr::Kind::kNot, line, parse_not());
  }
  return parse_compare();
}

// Consumes a comparison operator.
bool Parser::comparison(Op& op) {
  struct Entry {
    std::string_view text;
    Op op;
  };
  constexpr std::array<Entry, 6> kOps = {{{"==", Op::kEq},
                                          {"!=", Op::kNe},
                                          {"<", Op::kLt},
                                          {"<=", Op::kLe},
                                          {">", Op::kGt},
                                          {">=", Op::kGe}}};
  for (const Entry& entry : kOps) {
    if (skip_operator(entry.text)) {
      op = entry.op;
      return true;
    }
  }
  if (skip_name("in")) {
    op = Op::kIn;
    return true;
  }
  if (is_name("not") && look().token == Token::kName && look().text == "in") {
    pos_ += 2;
    op = Op::kNotIn;
    return true;
  }
  return false;
}

ExprPtr Parser::parse_compare() {
  const int line = current().line;
  ExprPtr first = parse_sum();
  Op op = Op::kEq;
  if (!comparison(op)) {
    return first;
  }
  ExprPtr expr = node(Expr::Kind::kCompare, line, std::move(first));
  do {
    expr->ops.push_back(op);
    add(*expr, parse_sum());
  } while (comparison(op));
  return expr;
}

ExprPtr Parser::parse_sum() {
  ExprPtr left = parse_concat();
  while (is_operator("+") || is_operator("-")) {
    const int line = current().line;
    const Op op = is_operator("+") ? Op::kAdd : Op::kSub;
    ++pos_;
    left = node(Expr::Kind::kBinary, line, std::move(left), parse_concat());
    left->op = op;
  }
  return left;
}

ExprPtr Parser::parse_concat() {
  const int line = current().line;
  ExprPtr first = parse_product();
  if (!is_operator("~")) {
    return first;
  }
  ExprPtr expr = node(Expr::Kind::kConcat, line, std::move(first));
  while (skip_operator("~")) {
    add(*expr, parse_product());
  }
  return expr;
}

ExprPtr Parser::parse_product() {
  struct Entry {
    std::string_view text;
    Op op;
  };
  constexpr std::array<Entry, 4> kOps = {
      {{"*", Op::kMul}, {"/", Op::kDiv}, {"//", Op::kFloorDiv}, {"%", Op::kMod}}};
  ExprPtr left = parse_power();
  while (true) {
    const auto* found = std::find_if(kOps.begin(), kOps.end(),
                                     [&](const Entry& entry) { return is_operator(entry.text); });
    if (found == kOps.end()) {
      return left;
    }
    const int line = current().line;
    ++pos_;
    left = node(Expr::Kind::kBinary, line, std::move(left), parse_power());
    left->op = found->op;
  }
}

// Left to right, unlike in Python: Jinja2 has it so.
ExprPtr Parser::parse_power() {
  ExprPtr left = parse_unary(true);
  while (is_operator("**")) {
    const int line = current().line;
    ++pos_;
    left = node(Expr::Kind::kBinary, line, std::move(left), parse_unary(true));
    left->op = Op::kPow;
  }
  return left;
}

ExprPtr Parser::parse_unary(bool with_filter) {
  const Nesting nesting(*this);
  const int line = current().line;
  ExprPtr expr;
  if (skip_operator("-")) {
    expr = node(Expr::Kind::kNegate, line, parse_unary(false));
  } else if (skip_operator("+")) {
    expr = node(Expr::Kind::kPlus, line, parse_unary(false));
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(std::move(expr));
  return with_filter ? parse_filters_and_tests(std::move(expr)) : std::move(expr);
}

ExprPtr Parser::parse_name() {
  const int line = current().line;
  const std::string name = expect_name("a name");
  auto expr = std::make_unique<Expr>(Expr::Kind::kConst, line);
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    expr->constant = Value::boolean(name == "true" || name == "True");
  } else if (name != "none" && name != "None") {
    expr->kind = Expr::Kind::kName;
    expr->symbol = symbol(name);
    for (MacroBody* macro : macros_) {
      macro->caller = name == "caller" ? expr->symbol : macro->caller;
      macro->kwargs = name == "kwargs" ? expr->symbol : macro->kwargs;
      macro->varargs = name == "varargs" ? expr->symbol : macro->varargs;
    }
  }
  return expr;
}

ExprPtr Parser::parse_primary() {
  const Lexeme& lexeme = current();
  const int line = lexeme.line;
  switch (lexeme.token) {
    case Token::kName:
      return parse_name();
    case Token::kString: {
      std::string text;
      for (; current().token == Token::kString; ++pos_) {
        text += current().text;
      }
      return string_constant(std::move(text), line);
    }
    case Token::kInteger: {
      const std::optional<std::int64_t> value = parse_int(lexeme.text, 0);
      if (!value) {
        error("got integer {}, expected one that fits into 64 bits", lexeme.text.substr(0, 40));
      }
      ++pos_;
      auto expr = std::make_unique<Expr>(Expr::Kind::kConst, line);
      expr->constant = Value::integer(*value);
      return expr;
    }
    case Token::kFloat: {
      ++pos_;
      auto expr = std::make_unique<Expr>(Expr::Kind::kConst, line);
      expr->constant = Value::real(parse_float(lexeme.text).value_or(0));
      return expr;
    }
    default:
      break;
  }
  if (skip_operator("(")) {
    ExprPtr expr = parse_tuple({}, true, true);
    expect_operator(")");
    return expr;
  }
  if (skip_operator("[")) {
    return parse_list();
  }
  if (skip_operator("{")) {
    return parse_dict();
  }
  error("got {}, expected an expression", describe(lexeme));
}

ExprPtr Parser::parse_list() {
  auto list = std::make_unique<Expr>(Expr::Kind::kList, current().line);
  while (!is_operator("]")) {
    add(*list, parse_expression(true));
    if (!is_operator("]")) {
      expect_operator(",");
    }
  }
  ++pos_;
  return list;
}

ExprPtr Parser::parse_dict() {
  auto dict = std::make_unique<Expr>(Expr::Kind::kDict, current().line);
  while (!is_operator("}")) {
    add(*dict, parse_expression(true));
    expect_operator(":");
    add(*dict, parse_expression(true));
    if (!is_operator("}")) {
      expect_operator(",");
    }
  }
  ++pos_;
  return dict;
}

ExprPtr Parser::parse_postfix(ExprPtr expr) {
  while (true) {
    if (is_operator(".") || is_operator("[")) {
      expr = parse_subscript(std::move(expr));
    } else if (is_operator("(")) {
      expr = parse_call(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::parse_filters_and_tests(ExprPtr expr) {
  while (true) {
    if (is_operator("|")) {
      expr = parse_filters(std::move(expr));
    } else if (is_name("is")) {
      expr = parse_test(std::move(expr));
    } else if (is_operator("(")) {
      expr = parse_call(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::parse_subscript(ExprPtr object) {
  const int line = current().line;
  if (skip_operator("[")) {
    return parse_index(std::move(object));
  }
  expect_operator(".");
  if (current().token == Token::kInteger) {
    return node(Expr::Kind::kItem, line, std::move(object), parse_primary());
  }
  ExprPtr expr = node(Expr::Kind::kAttribute, line, std::move(object));
  expr->text = expect_name("a name or number behind '.'");
  return expr;
}

// What stands between [ and ], which is consumed: an index or a slice. Several with commas are a tuple.
ExprPtr Parser::parse_index(ExprPtr object) {
  const int line = current().line;
  std::array<ExprPtr, 3> parts;
  std::size_t count = 0;
  bool slice = false;
  while (!is_operator("]") && !is_operator(",")) {
    if (skip_operator(":")) {
      slice = true;
      if (++count > 2) {
        error("got a third ':' in a slice, expected at most two");
      }
    } else if (parts[count] == nullptr) {
      parts[count] = parse_expression(true);
    } else {
      break;
    }
  }
  if (!slice && parts[0] != nullptr && is_operator(",")) {
    ExprPtr tuple = node(Expr::Kind::kTuple, line, std::move(parts[0]));
    while (skip_operator(",")) {
      if (is_operator("]")) {
        error("got ']', expected an index behind ','");
      }
      add(*tuple, parse_expression(true));
    }
    parts[0] = std::move(tuple);
  }
  expect_operator("]");
  if (!slice && parts[0] == nullptr) {
    // Jinja2 reads x[] as x[()].
    parts[0] = std::make_unique<Expr>(Expr::Kind::kTuple, line);
  }
  ExprPtr expr = node(slice ? Expr::Kind::kSlice : Expr::Kind::kItem, line, std::move(object));
  for (std::size_t i = 0; i < (slice ? 3U : 1U); ++i) {
    add(*expr, std::move(parts[i]));
  }
  return expr;
}

void Parser::parse_arguments(Expr& expr) {
  expect_operator("(");
  expr.args = std::make_unique<CallArgs>();
  CallArgs& args = *expr.args;
  const auto ensure = [&](bool valid) {
    if (!valid) {
      error("got an argument out of order, expected positional, named, *list, **dict");
    }
  };
  while (!is_operator(")")) {
    if (skip_operator("*")) {
      ensure(args.star == nullptr && args.star_star == nullptr);
      args.star = parse_expression(true);
      raise_height(expr, args.star);
    } else if (skip_operator("**")) {
      ensure(args.star_star == nullptr);
      args.star_star = parse_expression(true);
      raise_height(expr, args.star_star);
    } else if (current().token == Token::kName && look().token == Token::kOperator &&
               look().text == "=") {
      ensure(args.star_star == nullptr);
      const std::string name = current().text;
      pos_ += 2;
      for (const auto& keyword : args.keywords) {
        if (keyword.first == name) {
          error("got argument '{}' twice, expected it once", name);
        }
      }
      args.keywords.emplace_back(name, parse_expression(true));
      raise_height(expr, args.keywords.back().second);
    } else {
      ensure(args.star == nullptr && args.star_star == nullptr && args.keywords.empty());
      args.positional.push_back(parse_expression(true));
      raise_height(expr, args.positional.back());
    }
    if (!is_operator(")")) {
      expect_operator(",");
    }
  }
  ++pos_;
}

ExprPtr Parser::parse_call(ExprPtr callee) {
  ExprPtr expr = node(Expr::Kind::kCall, current().line, std::move(callee));
  parse_arguments(*expr);
  return expr;
}

std::string Parser::dotted_name(std::string_view what) {
  std::string name = expect_name(what);
  while (skip_operator(".")) {
    name += "." + expect_name(what);
  }
  return name;
}

ExprPtr Parser::parse_filters(ExprPtr expr) {
  while (skip_operator("|")) {
    expr = parse_one_filter(std::move(expr));
  }
  return expr;
}

ExprPtr Parser::parse_one_filter(ExprPtr value) {
  const int line = current().line;
  ExprPtr expr = node(Expr::Kind::kFilter, line, std::move(value));
  expr->text = dotted_name("the name of a filter");
  expr->function = find_filter(expr->text);
  if (expr->function == nullptr && !soft_) {
    unknown_.push_back({line, fmt::format("got filter '{}', expected a known one", expr->text)});
  }
  if (is_operator("(")) {
    parse_arguments(*expr);
  }
  return expr;
}

ExprPtr Parser::parse_test(ExprPtr value) {
  const int line = current().line;
  ++pos_;
  const bool negated = skip_name("not");
  ExprPtr expr = node(Expr::Kind::kTest, line, std::move(value));
  expr->text = dotted_name("the name of a test");
  expr->function = find_test(expr->text);
  if (expr->function == nullptr && !soft_) {
    unknown_.push_back({line, fmt::format("got test '{}', expected a known one", expr->text)});
  }
  const Token token = current().token;
  const bool argument =
      token == Token::kString || token == Token::kInteger || token == Token::kFloat ||
      is_operator("[") || is_operator("{") ||
      (token == Token::kName && !is_name("else") && !is_name("or") && !is_name("and"));
  if (is_operator("(")) {
    parse_arguments(*expr);
  } else if (argument) {
    if (is_name("is")) {
      error("got a second 'is', expected 'and' between tests");
    }
    const Nesting nesting(*this);
    expr->args = std::make_unique<CallArgs>();
    expr->args->positional.push_back(parse_postfix(parse_primary()));
    raise_height(*expr, expr->args->positional.back());
  }
  return negated ? node(Expr::Kind::kNot, line, std::move(expr)) : std::move(expr);
}

}  // namespace qx::jinja
