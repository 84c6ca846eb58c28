"""Values that the simulated models make for a JSON Schema: they fit it, and follow from prompt and seed."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.providers.simulator.json_schema import JsonSchema
from app.providers.simulator.schema_values import value_for
from tests.kit import Cases

Json = dict[str, Any]


def made(schema: Json, prompt: str = "Ann is 36 and lives in Lyon", seed: str = "1") -> Any:
    """The value for this schema, after checking that the schema allows it."""
    value = value_for(JsonSchema(schema), prompt, seed)
    assert jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(value), (schema, value)
    return value


def ref(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}


def record(**properties: Any) -> Json:
    """An object as structured-output clients declare it: nothing optional, nothing else."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


TEXT, WHOLE, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}
TREE = {"$defs": {"node": record(name=TEXT, children={"type": "array", "items": ref("node")})}, **ref("node")}
LIST = {"$defs": {"item": record(value=WHOLE, next={"anyOf": [ref("item"), NULL]})}, **record(head=ref("item"))}
GRAMMAR = {
    "$defs": {
        "term": {"anyOf": [ref("sum"), ref("product"), WHOLE]},
        "sum": record(kind={"const": "sum"}, left=ref("term"), right=ref("term")),
        "product": record(kind={"const": "product"}, left=ref("term"), right=ref("term")),
    },
    **record(term=ref("term")),
}


def test_schemas_of_structured_output_clients() -> None:
    table: list[Json] = [
        record(name=TEXT, age={"type": "integer", "minimum": 0, "maximum": 120}),
        record(steps={"type": "array", "items": record(explanation=TEXT, output=TEXT)}, final_answer=TEXT),
        record(unit={"type": "string", "enum": ["celsius", "fahrenheit"]}, maybe={"type": ["string", "null"]}),
        record(kind={"const": "a"}, score={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        record(pet={"oneOf": [record(kind={"const": "cat"}, lives=WHOLE), record(kind={"const": "dog"}, barks=WHOLE)]}),
        record(number={"oneOf": [{"type": "integer"}, {"type": "number"}]}),
        {"oneOf": [{"type": "number", "multipleOf": 3}, {"type": "number", "multipleOf": 5}]},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 5},
        {"type": "object", "propertyNames": {"enum": ["x", "y"]}, "additionalProperties": {"type": "boolean"}},
        {"type": "object", "patternProperties": {"^x-[a-z]{3}$": WHOLE}, "additionalProperties": False},
        {"type": "object", "required": ["only", "named"]},
        {"type": "object", "properties": {"a": WHOLE, "b": WHOLE, "c": WHOLE}, "required": ["c"], "maxProperties": 2},
        {"allOf": [record(a=TEXT), {"properties": {"a": {"minLength": 30}}}]},
        {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {
            "properties": {"kind": {"enum": ["circle", "square"]}},
            "required": ["kind"],
            "if": {"properties": {"kind": {"const": "circle"}}},
            "then": {"properties": {"radius": {"type": "number"}}, "required": ["radius"]},
        },
        {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
        {"type": "array", "prefixItems": [TEXT, WHOLE], "items": False, "minItems": 2},
        {"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2, "maxItems": 2},
        {"type": "array", "items": WHOLE, "minItems": 7, "maxItems": 7},
        {"type": "array", "maxItems": 0},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [TEXT, WHOLE]},
        {"definitions": {"a/b": WHOLE}, "$ref": "#/definitions/a~1b"},
        {"type": "integer", "multipleOf": 7, "minimum": 100},
        {"type": "number", "multipleOf": 0.01, "maximum": -5},
        {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 7, "multipleOf": 5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-9},
        {"type": "string", "minLength": 200, "maxLength": 201},
        {"type": "string", "maxLength": 0},
        {"enum": [{"a": 1}, [2], None]},
        {"minimum": 3},
        {"default": 7, "type": "string"},
        {},
        TREE,
        LIST,
        GRAMMAR,
    ]
    with Cases() as cases:
        for schema in table:
            for prompt in ("", "Ann is 36 and lives in Lyon", "日本 -7.5"):
                with cases.case(schema, prompt):
                    made(schema, prompt)


def test_formats() -> None:
    table = (
        *("date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid", "regex", "iri"),
        *("uri-reference", "json-pointer", "relative-json-pointer", "uri-template", "idn-email", "idn-hostname"),
    )
    with Cases() as cases:
        for name in table:
            with cases.case(name):
                assert isinstance(made({"type": "string", "format": name}), str)


def test_words_and_numbers_of_the_prompt_are_used() -> None:
    person = record(name=TEXT, age=WHOLE, city=TEXT, mood={"enum": ["sad", "glad"]})
    assert made(person, "the glad person called Ann is 36 and lives in Lyon") == {
        "name": "Lyon",
        "age": 36,
        "city": "Ann",
        "mood": "glad",
    }


def test_prompt_and_seed_decide_the_value() -> None:
    schema = record(items={"type": "array", "items": record(score={"type": "number"}, tag={"enum": list("abcdefgh")})})
    assert made(schema, "pears", "1") == made(schema, "pears", "1")
    assert len({str(made(schema, "pears", str(seed))) for seed in range(5)}) > 1


def test_a_recursive_value_ends() -> None:
    endless = {"$defs": {"a": record(b=ref("a"))}, "anyOf": [ref("a"), {"$ref": "#"}, record(end=WHOLE)]}
    assert made(endless) == {"end": 36}
    value, depth = made(LIST)["head"], 0
    while value:
        value, depth = value["next"], depth + 1
    assert 1 < depth < 20


def test_a_schema_that_allows_nothing_still_gets_a_value() -> None:
    table: list[Json] = [
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"allOf": [TEXT, WHOLE]},
        {"not": {}},
        {"enum": []},
        {"type": "integer", "minimum": 5, "maximum": 4},
    ]
    with Cases() as cases:
        for schema in table:
            with cases.case(schema):
                value_for(JsonSchema(schema), "prompt", "1")


def test_schemas_with_large_parts_get_a_value_soon() -> None:
    many = {f"n{depth}": record(a=ref(f"n{depth + 1}"), b=ref(f"n{depth + 1}")) for depth in range(60)} | {"n60": TEXT}
    chain = {f"n{depth}": record(a=ref(f"n{depth + 1}")) for depth in range(500)} | {"n500": TEXT}
    table: list[Json] = [
        {"$defs": many, "properties": {"rest": ref("n0"), "a": TEXT, "b": ref("n52")}},
        {"$defs": many, "type": "array", "items": ref("n0")},
        {"$defs": many, "anyOf": [ref("n0"), ref("n58")]},
        {"$defs": chain, "anyOf": [ref("n0"), TEXT]},
        record(**{f"p{number}": {"type": "array", "items": ref("n53")} for number in range(90)}) | {"$defs": many},
        record(**{f"p{number}": WHOLE for number in range(1500)}),
    ]
    with Cases() as cases:
        for number, schema in enumerate(table):
            with cases.case(number):
                made(schema)


def test_schemas_that_are_invalid_or_endless_or_refer_to_other_documents_are_refused() -> None:
    deep: Json = {}
    for _ in range(3000):
        deep = {"items": deep}
    many = {f"n{depth}": record(a=ref(f"n{depth + 1}"), b=ref(f"n{depth + 1}")) for depth in range(60)} | {"n60": TEXT}
    table: list[Any] = [
        {"type": "text"},
        {"properties": []},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "other.json"},
        {"$schema": "https://example.com/meta"},
        {"type": "string", "pattern": "("},
        {"$ref": "#"},
        {"$defs": {"a": record(a=ref("a"))}, **ref("a")},
        False,
        deep,
        {"$defs": many, **ref("n0")},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
    ]
    with Cases() as cases:
        for number, schema in enumerate(table):
            with cases.case(number), pytest.raises(ValueError):  # noqa: PT011  (its text is the library's)
                JsonSchema(schema)


# Any schema

names = st.sampled_from(["a", "b", "name", "näme", "x y", "$ref"])
bounds = st.integers(-50, 50)


def _between(keyword: str, least: int, most: int) -> st.SearchStrategy[Json]:
    pair = st.lists(st.integers(least, most), min_size=2, max_size=2).map(sorted)
    return pair.map(lambda two: {f"min{keyword}": two[0], f"max{keyword}": two[1]})


def _objects(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    properties = st.dictionaries(names, inner, max_size=4)
    return properties.flatmap(
        lambda known: st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.just(known),
                "required": st.lists(st.sampled_from(sorted(known)), unique=True) if known else st.just([]),
            },
            optional={"additionalProperties": st.booleans() | inner},
        )
    )


leaves = st.one_of(
    st.sampled_from([TEXT, NULL, {"type": "boolean"}, {"const": {"x": [1]}}, {"enum": ["p", 2, None]}, {}]),
    st.fixed_dictionaries({"type": st.sampled_from(["integer", "number"])}, optional={"minimum": bounds}),
    st.fixed_dictionaries({"type": st.just("integer"), "multipleOf": st.integers(1, 9), "maximum": bounds}),
    _between("Length", 0, 40).map(lambda limits: {"type": "string", **limits}),
    st.sampled_from(["date", "email", "uuid"]).map(lambda name: {"type": "string", "format": name}),
    st.sampled_from([r"^\d{4}-\d{2}$", "^[A-Z]{2,5}$", "^(yes|no)$", r"^\+?[0-9 ]{3,}$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
    st.sampled_from(["one", "two"]).map(ref),
)


def _arrays(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.builds(lambda limits, items: {"type": "array", "items": items, **limits}, _between("Items", 0, 4), inner)


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        _objects(inner),
        _arrays(inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
        st.tuples(inner, st.sampled_from([TEXT, WHOLE])).map(lambda two: {"title": "both", "allOf": [two[0]]}),
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(schemas, schemas, schemas, st.text(max_size=30), st.integers(0, 9))
def test_any_schema_gets_a_value_that_fits(root: Json, one: Json, two: Json, prompt: str, seed: int) -> None:
    # References may form circles: each of the two has a small value beside the one that was drawn.
    ends = {"one": {"anyOf": [one, {"type": "boolean"}]}, "two": {"anyOf": [two, NULL]}}
    made({**root, "$defs": ends}, prompt, str(seed))
