// Schemas brought to one form: without references, allOf and synonyms, so that reading and checking need not
// know them. docs/json-schema.md says what is supported.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace qx {

constexpr int kMaxSchemaLevels = 200;

// Whether a text may be that of a schema's keyword without effect on what is valid: title, description, ..
bool is_annotation(std::string_view keyword);

// A schema and the document that its references point into.
class SchemaForms {
 public:
  SchemaForms(const Json& root, std::string_view origin) : root_(root), origin_(origin) {}

  // The flat form of a schema: `false`, or an object with these members only, all optional:
  //   type (array of names), enum, properties, required, additionalProperties, minProperties, maxProperties,
  //   prefixItems, items, minItems, maxItems, minLength, maxLength, patterns (array), format, minimum, maximum,
  //   exclusiveMinimum, exclusiveMaximum, multipleOf, anyOfs and oneOfs (arrays of arrays of schemas).
  // Subschemas inside are as they were, or {"allOf": [..]} of such. path is for errors: "#/properties/a".
  // Fails: Error naming a keyword that is not supported or has a value of the wrong kind.
  Json flat(const Json& schema, const std::string& path);
  // What satisfies both of two flat forms.
  Json both(const Json& a, const Json& b, const std::string& path);
  // Whether it is certain that no value satisfies both of two flat forms.
  bool disjoint(const Json& a, const Json& b, const std::string& path, int depth = 0);

  // The schema that a reference names. Fails: Error when there is none, or it leaves the document.
  const Json& target(const std::string& reference, const std::string& path) const;
  // "$ref" when the schema is a reference and nothing else but annotations; "" otherwise.
  static std::string bare_reference(const Json& schema);
  std::string place(const std::string& path) const;

  // Recursion through a schema holds one of these a level. Fails: Error beyond kMaxSchemaLevels.
  class Level {
   public:
    Level(SchemaForms& forms, const std::string& path);
    ~Level() { --forms_.levels_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    SchemaForms& forms_;
  };

 private:
  Json flat_at(const Json& schema, const std::string& path, int references);
  const Json& root_;
  std::string origin_;
  std::int64_t work_ = 0;
  int levels_ = 0;
};

// The types that a flat form allows, of "null boolean object array string number integer": those of `type`, else
// those that its keywords speak of, else all (without integer, which number holds).
std::vector<std::string> possible_types(const Json& flat);

}  // namespace qx
