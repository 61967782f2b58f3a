"""`json_schema`: which JSON is read, what valid means, and that nothing is fetched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reasoning_rl.api import Score, Verdict
from reasoning_rl.testing import check_reward, make_sample

pytest.importorskip("jsonschema", reason="needs the extra json")

from reasoning_rl_rewards import json_schema
from reasoning_rl_rewards.json_schema import JsonSchema

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
    "examples": [{"name": "Ada", "age": 36}],
}
ADA = '{"name": "Ada", "age": 36}'


def grade(text: str, schema: Any = PERSON, **options: Any) -> Score:
    return JsonSchema(schema, **options)(make_sample(f"<think>a</think>{text}", {}))


@pytest.mark.parametrize(
    "text",
    [
        ADA,
        f"\n{ADA}\n",
        f"```json\n{ADA}\n```",
        f"Here it is:\n\n```JSON\n{ADA}\n```\nDone.",
        f'```json\n{{"name": 1}}\n```\nBetter:\n```json\n{ADA}\n```',
        f"```python\n1\n```\n```json\n{ADA}\n```",
        f"{ADA}<|im_end|>",
        '{"name": "\\ud83e\\udd16", "age": 0}',
    ],
)
def test_valid(text: str) -> None:
    assert grade(text).verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    ("text", "verdict", "reason"),
    [
        ("", Verdict.NO_ANSWER, "no answer found"),
        ("```json\n```", Verdict.NO_ANSWER, "no answer found"),
        ("Ada, 36", Verdict.NO_ANSWER, "no JSON: Expecting value"),
        (f"Here: {ADA}", Verdict.NO_ANSWER, "no JSON: Expecting value"),
        (f"{ADA} {ADA}", Verdict.NO_ANSWER, "no JSON: Extra data"),
        (f"```json\n{ADA}", Verdict.NO_ANSWER, "no JSON: Expecting value"),
        ('{"name": "Ada", "age": NaN}', Verdict.NO_ANSWER, "no JSON: NaN is no JSON"),
        ('{"name": "Ada", "age": 36, "age": 37}', Verdict.NO_ANSWER, "no JSON: a key stands twice"),
        ('{"name": "Ada", "age": ' + "9" * 5000 + "}", Verdict.NO_ANSWER, "no JSON: Exceeds the limit"),
        ("[" * 40_000, Verdict.NO_ANSWER, "no JSON: maximum recursion depth"),
        ("null", Verdict.WRONG, "$: None is not of type 'object'"),
        ('{"name": "Ada"}', Verdict.WRONG, "$: 'age' is a required property"),
        ('{"name": "Ada", "age": -1}', Verdict.WRONG, "$.age: -1 is less than the minimum of 0"),
        ('{"name": "Ada", "age": "36"}', Verdict.WRONG, "$.age: '36' is not of type 'integer'"),
        ('{"name": "Ada", "age": true}', Verdict.WRONG, "$.age: True is not of type 'integer'"),
        ('{"name": "Ada", "age": 36, "x": 1}', Verdict.WRONG, "$: Additional properties"),
        ("[" + "1," * 30_000 + "1]", Verdict.WRONG, "60003 characters of JSON, more than max_chars = 50000"),
    ],
)
def test_not_valid(text: str, verdict: Verdict, reason: str) -> None:
    score = grade(text)
    assert (score.value, score.verdict) == (0, verdict)
    assert score.detail["reason"].startswith(reason)


def test_deep_json_against_a_recursive_schema() -> None:
    schema = {"type": "array", "items": {"$ref": "#"}}
    assert grade("[[], [[]]]", schema).verdict is Verdict.CORRECT
    assert grade("[" * 400 + "]" * 400, schema).value is not None


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (PERSON, Verdict.CORRECT),
        (json.dumps(PERSON), Verdict.CORRECT),
        (True, Verdict.CORRECT),
        ({"type": "array"}, Verdict.WRONG),
        (None, Verdict.BAD_REFERENCE),
        ("", Verdict.BAD_REFERENCE),
        ("{", Verdict.BAD_REFERENCE),
        ([], Verdict.BAD_REFERENCE),
        ({"type": "no type"}, Verdict.BAD_REFERENCE),
        ('{"type": 5}', Verdict.BAD_REFERENCE),
        ({"$ref": "#/nowhere"}, Verdict.BAD_REFERENCE),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, Verdict.BAD_REFERENCE),
        ({"$ref": "file:///etc/hostname"}, Verdict.BAD_REFERENCE),
    ],
)
def test_a_schema_per_row(found: object, verdict: Verdict) -> None:
    reward = JsonSchema(column="schema")
    assert reward.requires == {"schema"}
    assert reward(make_sample(f"<think>a</think>{ADA}", {"schema": found})).verdict is verdict


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "schema and column: expected exactly one"),
        ({"schema": PERSON, "column": "c"}, "schema and column: expected exactly one"),
        ({"schema": {"type": "no type"}}, r"schema: \$.type: 'no type' is not valid"),
        ({"schema": PERSON, "max_chars": 0}, "max_chars: found 0"),
    ],
)
def test_ranges(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JsonSchema(**options)


def test_the_package_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs the package jsonschema; pip install jsonschema"):
        JsonSchema(PERSON)


@pytest.mark.parametrize(
    "schema", [PERSON, {"type": "integer", "examples": [7]}, {"type": "string", "examples": ["abc"]}, {"type": "array"}]
)
def test_rules(schema: dict[str, Any]) -> None:
    check_reward("json_schema", [{}], options={"schema": schema}, question="What is 3 + 4?")


def test_rules_with_a_column() -> None:
    check_reward("json_schema", [{"s": json.dumps(PERSON)}], options={"column": "s"})
