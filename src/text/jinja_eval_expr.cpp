// Runs a parsed template: expressions.
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_builtins.h"
#include "text/jinja_evaluator.h"

namespace qx::jinja {

Value Evaluator::lookup(Symbol symbol, Scope& scope) {
  if (const Value* value = scope.find(rt_, symbol)) {
    return *value;
  }
  const std::string& name = template_.names[symbol];
  std::optional<Value>& global = globals_[symbol];
  if (!global) {
    const Native function = find_global(name);
    global = function == nullptr ? rt_.undefined(fmt::format("'{}' is undefined", name))
                                 : rt_.function(name, function, Value());
  }
  return *global;
}

// The kinds that nest deepest come first and keep this frame small: evaluation recurses through it.
Value Evaluator::evaluate(const Expr& expr, Scope& scope) {
  const Runtime::Level level(rt_);
  rt_.charge(1);
  rt_.set_line(expr.line);
  switch (expr.kind) {
    case Expr::Kind::kConst:
      return expr.constant;
    case Expr::Kind::kName:
      return lookup(expr.symbol, scope);
    case Expr::Kind::kBody:
      return body_;
    case Expr::Kind::kNot:
      return Value::boolean(!truthy(rt_, evaluate(*expr.items[0], scope)));
    case Expr::Kind::kAnd:
    case Expr::Kind::kOr: {
      const Value left = evaluate(*expr.items[0], scope);
      const bool decided = truthy(rt_, left) == (expr.kind == Expr::Kind::kOr);
      return decided ? left : evaluate(*expr.items[1], scope);
    }
    case Expr::Kind::kBinary: {
      const Value left = evaluate(*expr.items[0], scope);
      const Value right = evaluate(*expr.items[1], scope);
      return arithmetic(rt_, expr.op, left, right);
    }
    case Expr::Kind::kAttribute:
      return get_attribute(rt_, evaluate(*expr.items[0], scope), expr.text);
    case Expr::Kind::kItem: {
      const Value object = evaluate(*expr.items[0], scope);
      return get_item(rt_, object, evaluate(*expr.items[1], scope));
    }
    default:
      return evaluate_more(expr, scope);
  }
}

Value Evaluator::evaluate_more(const Expr& expr, Scope& scope) {
  switch (expr.kind) {
    case Expr::Kind::kNegate:
      return negate(rt_, evaluate(*expr.items[0], scope));
    case Expr::Kind::kPlus:
      return plus(rt_, evaluate(*expr.items[0], scope));
    case Expr::Kind::kCompare:
      return evaluate_compare(expr, scope);
    case Expr::Kind::kConcat:
      return evaluate_concat(expr, scope);
    case Expr::Kind::kIf:
      return evaluate_if(expr, scope);
    case Expr::Kind::kSlice:
      return evaluate_slice(expr, scope);
    case Expr::Kind::kCall:
      return evaluate_call(expr, scope, nullptr);
    case Expr::Kind::kFilter:
    case Expr::Kind::kTest:
      return evaluate_filter_or_test(expr, scope);
    default:
      return evaluate_collection(expr, scope);
  }
}

Value Evaluator::evaluate_collection(const Expr& expr, Scope& scope) {
  std::vector<Value> items;
  items.reserve(expr.items.size());
  for (const ExprPtr& item : expr.items) {
    items.push_back(evaluate(*item, scope));
  }
  if (expr.kind == Expr::Kind::kDict) {
    std::vector<std::pair<Value, Value>> entries;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      entries.emplace_back(items[i], items[i + 1]);
    }
    return make_dict(rt_, std::move(entries));
  }
  return expr.kind == Expr::Kind::kList ? rt_.list(std::move(items)) : rt_.tuple(std::move(items));
}

Value Evaluator::evaluate_compare(const Expr& expr, Scope& scope) {
  Value left = evaluate(*expr.items[0], scope);
  for (std::size_t i = 0; i < expr.ops.size(); ++i) {
    const Value right = evaluate(*expr.items[i + 1], scope);
    if (!compare(rt_, expr.ops[i], left, right)) {
      return Value::boolean(false);
    }
    left = right;
  }
  return Value::boolean(true);
}

Value Evaluator::evaluate_concat(const Expr& expr, Scope& scope) {
  TextBuilder text(rt_);
  for (const ExprPtr& item : expr.items) {
    const Value value = evaluate(*item, scope);
    if (value.is_string()) {
      text.append(value.text());
    } else {
      text.append(to_text(rt_, value));
    }
  }
  return rt_.string(text.take());
}

Value Evaluator::evaluate_if(const Expr& expr, Scope& scope) {
  if (truthy(rt_, evaluate(*expr.items[0], scope))) {
    return evaluate(*expr.items[1], scope);
  }
  if (expr.items.size() > 2) {
    return evaluate(*expr.items[2], scope);
  }
  return rt_.undefined("the condition of an 'if' without 'else' is false");
}

Value Evaluator::evaluate_slice(const Expr& expr, Scope& scope) {
  const Value object = evaluate(*expr.items[0], scope);
  const auto bound = [&](std::size_t i) {
    return expr.items[i] == nullptr ? Value() : evaluate(*expr.items[i], scope);
  };
  const Value start = bound(1);
  const Value stop = bound(2);
  return get_slice(rt_, object, start, stop, bound(3));
}

Arguments Evaluator::evaluate_arguments(const CallArgs& args, Scope& scope) {
  Arguments out;
  for (const ExprPtr& item : args.positional) {
    out.positional.push_back(evaluate(*item, scope));
  }
  if (args.star != nullptr) {
    for (const Value& item : collect(rt_, evaluate(*args.star, scope))) {
      out.positional.push_back(item);
    }
  }
  for (const auto& [name, item] : args.keywords) {
    out.keywords.emplace_back(name, evaluate(*item, scope));
  }
  if (args.star_star != nullptr) {
    const Value map = evaluate(*args.star_star, scope);
    if (!map.is(Kind::kDict)) {
      rt_.fail("got '{}' behind '**', expected a dict", type_name(map));
    }
    for (const auto& [name, value] : map.as_dict().entries) {
      out.keywords.emplace_back(text_argument(rt_, "**", name), value);
      rt_.charge_bytes(2 * sizeof(Value));
    }
  }
  return out;
}

Value Evaluator::evaluate_call(const Expr& expr, Scope& scope, const Value* caller) {
  const Value callee = evaluate(*expr.items[0], scope);
  Arguments arguments = evaluate_arguments(*expr.args, scope);
  if (caller != nullptr) {
    arguments.keywords.emplace_back("caller", *caller);
  }
  rt_.set_line(expr.line);
  return call(rt_, callee, arguments);
}

Value Evaluator::evaluate_filter_or_test(const Expr& expr, Scope& scope) {
  const Value value = evaluate(*expr.items[0], scope);
  Arguments arguments;
  if (expr.args != nullptr) {
    arguments = evaluate_arguments(*expr.args, scope);
  }
  rt_.set_line(expr.line);
  if (expr.function == nullptr) {
    rt_.fail("got {} '{}', expected a known one",
             expr.kind == Expr::Kind::kFilter ? "filter" : "test", expr.text);
  }
  return expr.function(rt_, value, arguments);
}

}  // namespace qx::jinja
