"""What a schema lets a careless sampler write, checked by the jsonschema package.

qx_schema_walk (a test tool that the build makes; QX_SCHEMA_TOOL names it, default build/bin/qx_schema_walk) draws
tokens of a made-up vocabulary at random among those that the constraint allows. Every text must be one JSON document,
and valid, formats included.
"""
import json
import os
import pathlib
import random
import subprocess

import jsonschema
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = os.environ.get("QX_SCHEMA_TOOL", str(ROOT / "build/bin/qx_schema_walk"))


def walks(schemas, count, seed):
    lines = "".join(json.dumps({"schema": s, "seed": seed + i, "count": count}) + "\n" for i, s in enumerate(schemas))
    done = subprocess.run([TOOL], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(answers) == len(schemas), done.stderr
    return answers


def check(schema, text):
    keys = []

    def no_repeats(pairs):
        names = [k for k, _ in pairs]
        assert len(names) == len(set(names)), text
        keys.extend(names)
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=no_repeats, parse_constant=lambda name: pytest.fail(name))
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    return value


# ------------------------------------------------------------------------------------- schemas of applications

REAL = [
    {"title": "Person", "type": "object", "required": ["name", "age", "email"], "additionalProperties": False, "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "email": {"type": "string", "format": "email"}, "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
        "address": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "default": None}},
     "$defs": {"Address": {"type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"},
                                                            "since": {"type": "string", "format": "date"}}, "required": ["zip"]}}},
    {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["op"], "properties": {
        "op": {"enum": ["+", "-", "leaf"]}, "value": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "args": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/node"}}}}}},
    {"oneOf": [{"type": "object", "required": ["kind", "r"], "properties": {"kind": {"const": "circle"}, "r": {"type": "number", "minimum": 0}}},
               {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "point"}, "r": {"type": "null"}}}]},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 5}}, "required": ["a"]},
               {"properties": {"a": {"minimum": 11}, "b": {"type": "string", "maxLength": 3}}, "additionalProperties": False}]},
    {"type": "object", "additionalProperties": {"type": "array", "prefixItems": [{"type": "boolean"}], "items": {"type": "integer"}},
     "minProperties": 2, "maxProperties": 3},
    {"type": "object", "properties": {"id": {"type": "integer"}}, "additionalProperties": {"type": "string"}, "required": ["id"]},
    *[{"type": "string", "format": f} for f in ("date", "time", "date-time", "email", "hostname", "ipv4", "ipv6", "uuid", "duration")],
    *[{"type": "string", "pattern": p} for p in (r"^\w+@\d{2,3}$", r"[^\s]x|^y+$", r"^(a|bc)*?d.$", r"^[^a-z]{3}$", r"\S\D\W")],
    {"type": "object"}, True, {}, {"type": ["integer", "null"], "minimum": -5},
    {"type": "number", "minimum": -0.25, "maximum": 1e-3}, {"type": "number", "exclusiveMinimum": 1e14},
    {"type": "integer", "exclusiveMinimum": -(2**53) - 2, "maximum": -(2**53)}, {"enum": ["é\"\\", 0.1, [1, {"k": None}], False]},
    {"prefixItems": [{"const": 1}, {"type": "string"}], "items": {"type": "null"}, "minItems": 2},
]


def test_real_schemas():
    texts = 0
    for schema, answer in zip(REAL, walks(REAL, 40, 1)):
        assert len(answer["texts"]) >= 5, (schema, answer)  # others did not end in time
        for text in answer["texts"]:
            check(schema, text)
            texts += 1
    assert texts > 900


# -------------------------------------------------------------------------------------------- random schemas

class Schemas:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.names = ["a", "b", "name", "é", "a b", "", "x\"y", "n1"]

    def maybe(self, schema, chance, **more):
        for key, value in more.items():
            if self.rng.random() < chance:
                schema[key] = value
        return schema

    def string(self):
        r = self.rng
        if r.random() < 0.2:
            return {"type": "string", "format": r.choice(["date", "uuid", "ipv4", "unknown-format"])}
        schema = self.maybe({"type": "string"}, 0.4, minLength=r.randint(0, 3), maxLength=r.randint(3, 8))
        return self.maybe(schema, 0.3, pattern=r.choice(["^[a-f]*$", r"\d", "^(ab|c)+", "x?y*$", "."]))

    def number(self):
        r = self.rng
        kind = r.choice(["integer", "number"])
        schema = self.maybe({"type": kind}, 0.3, minimum=r.randint(-50, 0), maximum=r.randint(50, 500) / r.choice([1, 10]),
                            exclusiveMinimum=r.randint(-60, 10), exclusiveMaximum=r.choice([60, 99.5, 1e6]))
        return self.maybe(schema, 0.2, multipleOf=r.randint(1, 12)) if kind == "integer" else schema

    def object(self, depth):
        r = self.rng
        names = r.sample(self.names, r.randint(0, 4))
        schema = {"type": "object", "properties": {n: self.any(depth - 1) for n in names}}
        schema["required"] = [n for n in names if r.random() < 0.5]
        if r.random() < 0.4:
            schema["additionalProperties"] = r.choice([False, True, self.any(0)])
        if not names:
            schema = self.maybe(schema, 0.5, minProperties=r.randint(0, 2), maxProperties=r.randint(2, 4))
        return schema

    def array(self, depth):
        r = self.rng
        schema = self.maybe({"type": "array"}, 0.5, minItems=r.randint(0, 3), maxItems=r.randint(3, 5))
        if r.random() < 0.8:
            schema["items"] = self.any(depth - 1)
        if r.random() < 0.4:
            schema["prefixItems"] = [self.any(depth - 1) for _ in range(r.randint(1, 3))]
        return schema

    def any(self, depth):
        r = self.rng
        simple = [self.string, self.number, lambda: {"type": r.choice(["null", "boolean"])}, lambda: {"const": r.choice([1, "x", None, [1]])},
                  lambda: {"type": ["string", "null", "number"], "maxLength": 3, "minimum": 0}, lambda: True]
        nested = [lambda: self.object(depth), lambda: self.array(depth), lambda: {"anyOf": [self.any(depth - 1) for _ in range(r.randint(1, 3))]},
                  lambda: {"$ref": r.choice(["#/$defs/tree", "#/$defs/leaf"])},
                  lambda: {"allOf": [self.object(depth), {"properties": {"a": self.any(depth - 1)}, "minProperties": 0}]}]
        return r.choice(nested + simple[:2] if depth > 0 else simple)()

    def root(self):
        schema = self.any(3)
        if isinstance(schema, dict):
            tree = {"type": "object", "properties": {"v": {"type": "integer"}, "l": {"$ref": "#/$defs/tree"}, "r": {"$ref": "#/$defs/tree"}}}
            schema["$defs"] = {"tree": tree, "leaf": self.any(0)}
        return schema


@pytest.mark.parametrize("seed", range(4))
def test_random_schemas(seed):
    source = Schemas(seed)
    schemas = [source.root() for _ in range(250)]
    texts = refused = short = 0
    for schema, answer in zip(schemas, walks(schemas, 6, 1000 * seed)):
        if "error" in answer:
            # Contradictions that chance makes, and the keywords that are supported in part.
            assert any(w in answer["error"] for w in ("no value satisfies", "minProperties", "maxProperties", "at once")), (schema, answer)
            refused += 1
            continue
        short += len(answer["texts"]) < 5
        for text in answer["texts"]:
            check(schema, text)
            texts += 1
    assert texts > 1000 and refused < 60 and short < 25, (texts, refused, short)
