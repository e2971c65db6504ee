// Runs a parsed template: statements (jinja_eval.h). Expressions are in jinja_eval_expr.cpp, loops in
// jinja_loop.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_eval.h"

#include <algorithm>

#include "text/jinja_builtins.h"
#include "text/jinja_evaluator.h"

namespace qx::jinja {

const Value* Scope::find(Runtime& rt, Symbol symbol) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
    rt.charge(1 + scope->variables.size() / 8);
    for (const auto& [name, value] : scope->variables) {
      if (name == symbol) {
        return &value;
      }
    }
  }
  return nullptr;
}

void Scope::set(Runtime& rt, Symbol symbol, const Value& value) {
  rt.charge(1 + variables.size() / 8);
  for (auto& [name, old] : variables) {
    if (name == symbol) {
      old = value;
      return;
    }
  }
  rt.charge_bytes(sizeof(variables[0]));
  variables.emplace_back(symbol, value);
}

Evaluator::Evaluator(const Template& source, Runtime& runtime)
    : template_(source), rt_(runtime), globals_(source.names.size()) {
  const auto found = std::find(source.names.begin(), source.names.end(), "loop");
  loop_symbol_ =
      found == source.names.end() ? -1 : static_cast<Symbol>(found - source.names.begin());
}

std::string Evaluator::render(const std::vector<std::pair<std::string, Value>>& variables) {
  Scope* context = rt_.make<Scope>(nullptr);
  for (const auto& [name, value] : variables) {
    const auto found = std::find(template_.names.begin(), template_.names.end(), name);
    if (found != template_.names.end()) {
      context->set(rt_, static_cast<Symbol>(found - template_.names.begin()), value);
    }
  }
  Scope* root = rt_.make<Scope>(context);
  std::string out;
  out_ = &out;
  run(template_.body, *root);
  return out;
}

void Evaluator::emit(std::string_view text) {
  rt_.charge_text(text.size());
  if (text.size() > rt_.limits().output_bytes - out_->size()) {
    rt_.fail("got more than {} bytes of output, expected less", rt_.limits().output_bytes);
  }
  out_->append(text);
}

void Evaluator::emit_value(const Value& value) {
  if (value.is_string()) {
    emit(value.text());
  } else {
    emit(to_text(rt_, value));
  }
}

Flow Evaluator::capture(const Block& block, Scope& scope, Value& text) {
  std::string buffer;
  std::string* const outer = std::exchange(out_, &buffer);
  const Flow flow = run(block, scope);
  out_ = outer;
  text = rt_.string(std::move(buffer));
  return flow;
}

Flow Evaluator::run(const Block& block, Scope& scope) {
  for (const StmtPtr& stmt : block) {
    if (const Flow flow = execute(*stmt, scope); flow != Flow::kNormal) {
      return flow;
    }
  }
  return Flow::kNormal;
}

Flow Evaluator::execute(const Stmt& stmt, Scope& scope) {
  const Runtime::Level level(rt_);
  rt_.charge(1);
  rt_.set_line(stmt.line);
  switch (stmt.kind) {
    case Stmt::Kind::kText:
      emit(stmt.text);
      return Flow::kNormal;
    case Stmt::Kind::kPrint:
      for (const ExprPtr& expr : stmt.exprs) {
        emit_value(evaluate(*expr, scope));
      }
      return Flow::kNormal;
    case Stmt::Kind::kIf:
      return run_if(stmt, scope);
    case Stmt::Kind::kFor:
      return run_for(stmt, scope, evaluate(*stmt.exprs[0], scope), 0);
    case Stmt::Kind::kSet:
      assign(*stmt.target, evaluate(*stmt.exprs[0], scope), scope);
      return Flow::kNormal;
    case Stmt::Kind::kSetBlock:
    case Stmt::Kind::kFilter:
      return run_captured(stmt, scope);
    case Stmt::Kind::kMacro:
      scope.set(rt_, stmt.symbol, Value::special(rt_.make<Macro>(*this, *stmt.macro, scope)));
      return Flow::kNormal;
    case Stmt::Kind::kCall: {
      const Value caller = Value::special(rt_.make<Macro>(*this, *stmt.macro, scope));
      emit_value(evaluate_call(*stmt.exprs[0], scope, &caller));
      return Flow::kNormal;
    }
    case Stmt::Kind::kWith:
      return run_with(stmt, scope);
    case Stmt::Kind::kScope:
      return run(stmt.blocks[0], *rt_.make<Scope>(&scope));
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Flow Evaluator::run_if(const Stmt& stmt, Scope& scope) {
  for (std::size_t i = 0; i < stmt.exprs.size(); ++i) {
    if (truthy(rt_, evaluate(*stmt.exprs[i], scope))) {
      return run(stmt.blocks[i], scope);
    }
  }
  return stmt.blocks.size() > stmt.exprs.size() ? run(stmt.blocks.back(), scope) : Flow::kNormal;
}

// {% set x %}..{% endset %} and {% filter f %}..{% endfilter %}
Flow Evaluator::run_captured(const Stmt& stmt, Scope& scope) {
  Value text;
  if (const Flow flow = capture(stmt.blocks[0], *rt_.make<Scope>(&scope), text);
      flow != Flow::kNormal) {
    return flow;
  }
  if (stmt.exprs[0] != nullptr) {
    const Value outer = std::exchange(body_, text);
    text = evaluate(*stmt.exprs[0], scope);
    body_ = outer;
  }
  if (stmt.kind == Stmt::Kind::kFilter) {
    emit_value(text);
  } else {
    assign(*stmt.target, text, scope);
  }
  return Flow::kNormal;
}

Flow Evaluator::run_with(const Stmt& stmt, Scope& scope) {
  Scope* inner = rt_.make<Scope>(&scope);
  for (std::size_t i = 0; i < stmt.exprs.size(); i += 2) {
    assign(*stmt.exprs[i], evaluate(*stmt.exprs[i + 1], scope), *inner);
  }
  return run(stmt.blocks[0], *inner);
}

void Evaluator::assign(const Expr& target, const Value& value, Scope& scope) {
  if (target.kind == Expr::Kind::kName) {
    scope.set(rt_, target.symbol, value);
    return;
  }
  if (target.kind == Expr::Kind::kMember) {
    const Value object = lookup(target.symbol, scope);
    auto* space =
        object.is(Kind::kSpecial) ? dynamic_cast<Namespace*>(&object.as_special()) : nullptr;
    if (space == nullptr) {
      rt_.fail("got an assignment to attribute '{}' of '{}', expected a namespace", target.text,
               type_name(object));
    }
    space->set(rt_, rt_.string(target.text), value);
    return;
  }
  const std::vector<Value> parts = collect(rt_, value);
  if (parts.size() != target.items.size()) {
    rt_.fail("got {} values to unpack, expected {}", parts.size(), target.items.size());
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    assign(*target.items[i], parts[i], scope);
  }
}

// --- macros

std::optional<Value> Macro::call(Runtime&, Arguments& arguments) {
  return evaluator_.call_macro(body_, scope_, arguments);
}

std::optional<Value> Macro::attribute(Runtime& rt, std::string_view name) {
  if (name == "name") {
    return rt.string(body_.name);
  }
  return std::nullopt;
}

std::string Macro::repr(Runtime&) {
  return fmt::format("<Macro '{}'>", body_.name);
}

Value Evaluator::call_macro(const MacroBody& macro, Scope& defined_in, Arguments& arguments) {
  const Runtime::Level level(rt_);
  const int line = rt_.line();
  Scope* scope = rt_.make<Scope>(&defined_in);
  bind_macro(macro, *scope, arguments);
  Value text;
  capture(macro.body, *scope, text);
  rt_.set_line(line);
  return text;
}

void Evaluator::bind_macro(const MacroBody& macro, Scope& scope, Arguments& arguments) {
  const std::size_t count = macro.parameters.size();
  std::vector<Value>& given = arguments.positional;
  const auto take = [&](std::string_view name) -> std::optional<Value> {
    for (auto it = arguments.keywords.begin(); it != arguments.keywords.end(); ++it) {
      if (it->first == name) {
        const Value value = it->second;
        arguments.keywords.erase(it);
        return value;
      }
    }
    return std::nullopt;
  };
  const std::size_t first_default = count - macro.defaults.size();
  bool has_caller = false;
  for (std::size_t i = 0; i < count; ++i) {
    has_caller |= macro.parameter_names[i] == "caller";
    std::optional<Value> value;
    if (i < given.size()) {
      value = given[i];
    } else {
      value = take(macro.parameter_names[i]);
    }
    if (!value) {
      value = i >= first_default ? evaluate(*macro.defaults[i - first_default], scope)
                                 : rt_.undefined(fmt::format("parameter '{}' was not provided",
                                                             macro.parameter_names[i]));
    }
    scope.set(rt_, macro.parameters[i], *value);
  }
  if (macro.caller >= 0 && !has_caller) {
    const std::optional<Value> caller = take("caller");
    scope.set(rt_, macro.caller, caller ? *caller : rt_.undefined("no caller defined"));
  }
  if (macro.kwargs >= 0) {
    std::vector<std::pair<Value, Value>> rest;
    for (const auto& [name, value] : arguments.keywords) {
      rest.emplace_back(rt_.string(name), value);
    }
    scope.set(rt_, macro.kwargs, make_dict(rt_, std::move(rest)));
  } else if (!arguments.keywords.empty()) {
    rt_.fail("macro '{}' got keyword argument '{}', expected none of that name", macro.name,
             arguments.keywords[0].first);
  }
  if (macro.varargs >= 0) {
    const std::size_t used = std::min(count, given.size());
    scope.set(rt_, macro.varargs,
              rt_.tuple({given.begin() + static_cast<std::ptrdiff_t>(used), given.end()}));
  } else if (given.size() > count) {
    rt_.fail("macro '{}' got {} arguments, expected at most {}", macro.name, given.size(), count);
  }
}

std::string render(const Template& source, Runtime& rt,
                   const std::vector<std::pair<std::string, Value>>& variables) {
  return Evaluator(source, rt).render(variables);
}

}  // namespace qx::jinja
