// JSON Schema's `pattern` as an automaton: a subset of ECMA-262's regular expressions in which that standard and
// Python's re agree. What is refused, and what is read more narrowly: docs/json-schema.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "constrain/byte_machine.h"

namespace qx {

// JSON strings, with quotes and each character in one spelling, in which the pattern matches somewhere (unless
// it is anchored by ^ and $). May be empty(). Fails: Error with the place, naming the construct.
ByteMachine strings_matching(std::string_view pattern, std::string_view place);

// The spelling that those automata read.
std::string plain_spelling(std::string_view utf8);

}  // namespace qx
