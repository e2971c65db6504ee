// The for block and its `loop` variable.
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_evaluator.h"

namespace qx::jinja {

namespace {

// Walks the items as they are asked for: a filter that looks at what the body did sees it, as in Jinja2.
class Loop final : public Special {
 public:
  Loop(Evaluator& evaluator, Runtime& rt, const Stmt& stmt, Scope& scope, const Value& items,
       int depth)
      : evaluator_(evaluator),
        stmt_(stmt),
        scope_(scope),
        items_(items),
        source_(iterate(rt, items)),
        filtered_(stmt.exprs[1] != nullptr),
        depth0_(depth) {}

  std::optional<Value> advance(Runtime& rt) {
    std::optional<Value> item = peeked_ ? std::exchange(ahead_, std::nullopt) : pull(rt);
    peeked_ = false;
    if (item) {
      ++index0_;
      before_ = current_;
      current_ = *item;
    }
    return item;
  }

  std::optional<Value> attribute(Runtime& rt, std::string_view name) override;
  std::optional<std::size_t> length(Runtime& rt) override {
    return static_cast<std::size_t>(size(rt));
  }
  bool callable() const override { return true; }
  std::optional<Value> call(Runtime& rt, Arguments& arguments) override {
    const Value items = bind(rt, "loop", arguments, {{"iterable", {}}})[0];
    if (!stmt_.recursive) {
      rt.fail("got a call of 'loop', expected a loop marked 'recursive'");
    }
    return evaluator_.call_loop(stmt_, scope_, items, depth0_ + 1);
  }
  std::string repr(Runtime& rt) override {
    return fmt::format("<LoopContext {}/{}>", index0_ + 1, size(rt));
  }

 private:
  std::optional<Value> pull(Runtime& rt) {
    while (std::optional<Value> item = source_->next(rt)) {
      if (!filtered_ || evaluator_.passes(stmt_, scope_, *item)) {
        return item;
      }
    }
    return std::nullopt;
  }
  const std::optional<Value>& peek(Runtime& rt) {
    if (!peeked_) {
      ahead_ = pull(rt);
      peeked_ = true;
    }
    return ahead_;
  }
  std::int64_t size(Runtime& rt) {
    if (!size_ && !filtered_) {
      if (const std::optional<std::size_t> known = jinja::length(rt, items_)) {
        size_ = static_cast<std::int64_t>(*known);
      }
    }
    if (!size_) {
      std::vector<Value> rest;
      while (const std::optional<Value> item = pull(rt)) {
        rt.charge_bytes(sizeof(Value));
        rest.push_back(*item);
      }
      size_ = static_cast<std::int64_t>(rest.size()) + index0_ + 1 + (ahead_ ? 1 : 0);
      source_ = iterate(rt, rt.list(std::move(rest)));
      filtered_ = false;
    }
    return *size_;
  }

  static Value cycle(Runtime& rt, const Value& self, Arguments& arguments);
  static Value changed(Runtime& rt, const Value& self, Arguments& arguments);

  Evaluator& evaluator_;
  const Stmt& stmt_;
  Scope& scope_;
  const Value items_;
  Iterator* source_;
  bool filtered_;  // items of source_ still have to pass the filter
  const int depth0_;
  std::int64_t index0_ = -1;
  std::optional<std::int64_t> size_;
  bool peeked_ = false;
  std::optional<Value> ahead_;
  Value current_;
  Value before_;
  std::optional<Value> last_changed_;
};

std::optional<Value> Loop::attribute(Runtime& rt, std::string_view name) {
  if (name == "index") {
    return Value::integer(index0_ + 1);
  }
  if (name == "index0") {
    return Value::integer(index0_);
  }
  if (name == "first") {
    return Value::boolean(index0_ == 0);
  }
  if (name == "last") {
    return Value::boolean(!peek(rt));
  }
  if (name == "length") {
    return Value::integer(size(rt));
  }
  if (name == "revindex") {
    return Value::integer(size(rt) - index0_);
  }
  if (name == "revindex0") {
    return Value::integer(size(rt) - index0_ - 1);
  }
  if (name == "depth" || name == "depth0") {
    return Value::integer(depth0_ + (name == "depth" ? 1 : 0));
  }
  if (name == "previtem") {
    return index0_ == 0 ? rt.undefined("there is no previous item") : before_;
  }
  if (name == "nextitem") {
    const std::optional<Value>& next = peek(rt);
    return next ? *next : rt.undefined("there is no next item");
  }
  if (name == "cycle") {
    return rt.function("cycle", cycle, Value::special(this));
  }
  if (name == "changed") {
    return rt.function("changed", changed, Value::special(this));
  }
  return std::nullopt;
}

Value Loop::cycle(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value>& items = arguments.positional;
  if (items.empty() || !arguments.keywords.empty()) {
    rt.fail("cycle() got no items, expected at least one");
  }
  const auto at = static_cast<std::size_t>(static_cast<Loop&>(self.as_special()).index0_);
  return items[at % items.size()];
}

Value Loop::changed(Runtime& rt, const Value& self, Arguments& arguments) {
  auto& loop = static_cast<Loop&>(self.as_special());
  const Value now = rt.tuple(arguments.positional);
  const bool differs = !loop.last_changed_ || !equals(rt, *loop.last_changed_, now);
  loop.last_changed_ = now;
  return Value::boolean(differs);
}

}  // namespace

bool Evaluator::passes(const Stmt& stmt, Scope& scope, const Value& item) {
  Scope inner(&scope);
  assign(*stmt.target, item, inner);
  return truthy(rt_, evaluate(*stmt.exprs[1], inner));
}

Value Evaluator::call_loop(const Stmt& stmt, Scope& scope, const Value& items, int depth) {
  const Runtime::Level level(rt_);
  std::string buffer;
  std::string* const outer = std::exchange(out_, &buffer);
  run_for(stmt, scope, items, depth);
  out_ = outer;
  return rt_.string(std::move(buffer));
}

Flow Evaluator::run_for(const Stmt& stmt, Scope& scope, const Value& items, int depth) {
  Loop* loop = rt_.make<Loop>(*this, rt_, stmt, scope, items, depth);
  Scope* body = rt_.make<Scope>(&scope);
  // As in Jinja2, only an iteration that runs to its end keeps the else block from running.
  bool completed = false;
  while (const std::optional<Value> item = loop->advance(rt_)) {
    rt_.charge(1);
    body->variables.clear();
    if (loop_symbol_ >= 0) {
      body->set(rt_, loop_symbol_, Value::special(loop));
    }
    assign(*stmt.target, *item, *body);
    const Flow flow = run(stmt.blocks[0], *body);
    if (flow == Flow::kBreak) {
      break;
    }
    completed |= flow == Flow::kNormal;
  }
  if (!completed && stmt.blocks.size() > 1) {
    return run(stmt.blocks[1], *rt_.make<Scope>(&scope));
  }
  return Flow::kNormal;
}

}  // namespace qx::jinja
