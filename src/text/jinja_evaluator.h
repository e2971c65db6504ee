// The evaluator's classes, shared by its files. Not for others: use jinja_eval.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_ops.h"
#include "text/jinja_runtime.h"

namespace qx::jinja {

enum class Flow { kNormal, kBreak, kContinue };

// Variables of one block; names not found are looked up outwards.
struct Scope final : Object {
  explicit Scope(Scope* the_parent) : parent(the_parent) {}
  const Value* find(Runtime& rt, Symbol symbol) const;
  void set(Runtime& rt, Symbol symbol, const Value& value);

  Scope* const parent;
  std::vector<std::pair<Symbol, Value>> variables;
};

class Evaluator {
 public:
  Evaluator(const Template& source, Runtime& runtime);
  std::string render(const std::vector<std::pair<std::string, Value>>& variables);

  Value call_macro(const MacroBody& macro, Scope& defined_in, Arguments& arguments);
  // The body of a recursive loop once more, over other items: what it printed.
  Value call_loop(const Stmt& stmt, Scope& scope, const Value& items, int depth);
  // Whether an item passes the filter of a for block.
  bool passes(const Stmt& stmt, Scope& scope, const Value& item);

 private:
  // jinja_eval.cpp
  void emit(std::string_view text);
  void emit_value(const Value& value);
  Flow capture(const Block& block, Scope& scope, Value& text);
  Flow run(const Block& block, Scope& scope);
  Flow execute(const Stmt& stmt, Scope& scope);
  Flow run_if(const Stmt& stmt, Scope& scope);
  Flow run_captured(const Stmt& stmt, Scope& scope);
  Flow run_with(const Stmt& stmt, Scope& scope);
  void assign(const Expr& target, const Value& value, Scope& scope);
  void bind_macro(const MacroBody& macro, Scope& scope, Arguments& arguments);

  // jinja_loop.cpp
  Flow run_for(const Stmt& stmt, Scope& scope, const Value& items, int depth);

  // jinja_eval_expr.cpp
  Value evaluate(const Expr& expr, Scope& scope);
  Value evaluate_more(const Expr& expr, Scope& scope);
  Value evaluate_collection(const Expr& expr, Scope& scope);
  Value evaluate_compare(const Expr& expr, Scope& scope);
  Value evaluate_concat(const Expr& expr, Scope& scope);
  Value evaluate_if(const Expr& expr, Scope& scope);
  Value evaluate_slice(const Expr& expr, Scope& scope);
  Value evaluate_call(const Expr& expr, Scope& scope, const Value* caller);
  Value evaluate_filter_or_test(const Expr& expr, Scope& scope);
  Arguments evaluate_arguments(const CallArgs& args, Scope& scope);
  Value lookup(Symbol symbol, Scope& scope);

  const Template& template_;
  Runtime& rt_;
  std::vector<std::optional<Value>> globals_;  // by symbol, made when first used
  Symbol loop_symbol_ = -1;
  std::string* out_ = nullptr;
  Value body_;  // text of the block whose filter is being applied
};

class Macro final : public Special {
 public:
  Macro(Evaluator& evaluator, const MacroBody& body, Scope& scope)
      : evaluator_(evaluator), body_(body), scope_(scope) {}
  std::optional<Value> call(Runtime& rt, Arguments& arguments) override;
  std::optional<Value> attribute(Runtime& rt, std::string_view name) override;
  bool callable() const override { return true; }
  std::string repr(Runtime& rt) override;

 private:
  Evaluator& evaluator_;
  const MacroBody& body_;
  Scope& scope_;
};

}  // namespace qx::jinja
