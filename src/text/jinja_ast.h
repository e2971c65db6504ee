// The parsed template: plain trees that never change after parsing and may be evaluated by several threads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_ops.h"
#include "text/jinja_value.h"

namespace qx::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;
using Symbol = int;  // number of a variable's name in Template::names

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
  ExprPtr star;       // *expr
  ExprPtr star_star;  // **expr
};

struct Expr {
  enum class Kind {
    kConst,      // constant
    kName,       // symbol
    kBody,       // inside a filter of a block: the block's text
    kList,       // items
    kTuple,      // items
    kDict,       // items: key, value, key, ..
    kNot,        // items[0]
    kNegate,     // items[0]
    kPlus,       // items[0]
    kBinary,     // op, items[0], items[1]
    kAnd,        // items[0], items[1]
    kOr,         // items[0], items[1]
    kCompare,    // items[0] ops[0] items[1] ops[1] ..
    kConcat,     // items
    kIf,         // items: condition, then, else (may be missing)
    kAttribute,  // items[0].text
    kItem,       // items[0][items[1]]
    kSlice,      // items[0][items[1]:items[2]:items[3]], null where absent
    kCall,       // items[0](args)
    kFilter,     // items[0] | text(args)
    kTest,       // items[0] is text(args)
    kMember,     // target only: symbol.text, an attribute of a namespace
  };

  Expr(Kind the_kind, int the_line) : kind(the_kind), line(the_line) {}

  Kind kind;
  int line;
  int height = 1;  // of the tree; bounded, as evaluation recurses
  Op op = Op::kAdd;
  Symbol symbol = -1;
  std::string text;
  Value constant;
  Native function =
      nullptr;  // of a filter or test; null: unknown name in a branch that may never run
  std::vector<Op> ops;
  std::vector<ExprPtr> items;
  std::unique_ptr<CallArgs> args;
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

// What a macro or a call block takes and runs.
struct MacroBody {
  std::string name;
  std::vector<Symbol> parameters;
  std::vector<std::string> parameter_names;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Block body;
  Symbol caller = -1, kwargs = -1, varargs = -1;  // set when the body uses them
};

struct Stmt {
  enum class Kind {
    kText,      // text
    kPrint,     // exprs
    kIf,        // exprs: conditions; blocks: bodies, then the else body if there is one more
    kFor,       // target, exprs[0]: iterable, exprs[1]: filter or null; blocks: body, else
    kSet,       // target = exprs[0]
    kSetBlock,  // target = blocks[0] through filter exprs[0], null when there is none
    kFilter,    // blocks[0] through exprs[0]
    kMacro,     // macro, symbol
    kCall,      // exprs[0]: the call, macro: the caller
    kWith,      // targets exprs[0], exprs[2], .. = exprs[1], exprs[3], ..; blocks[0]
    kScope,     // blocks[0] in its own scope
    kBreak,
    kContinue,
  };

  Stmt(Kind the_kind, int the_line) : kind(the_kind), line(the_line) {}

  Kind kind;
  int line;
  std::string text;
  Symbol symbol = -1;
  bool recursive = false;
  ExprPtr target;
  std::vector<ExprPtr> exprs;
  std::vector<Block> blocks;
  std::unique_ptr<MacroBody> macro;
};

struct Template {
  Block body;
  std::vector<std::string> names;                  // of the symbols
  std::vector<std::unique_ptr<Object>> constants;  // strings that the tree refers to
};

}  // namespace qx::jinja
