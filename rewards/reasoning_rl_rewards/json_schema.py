"""`json_schema`: whether the final text is JSON that a JSON Schema allows. Needs the extra `json` (the package jsonschema).

A form, not a right answer. Nothing is fetched: a schema that refers to another document is refused.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl_rewards.reading import fenced, own_turn


@dataclass(frozen=True)
class JsonSchema:
    """1 when the JSON of the completion is valid against the schema, else 0.

    The JSON is the last closed ```` ```json ```` block of the final text, or the whole final text when there is none. Strict:
    no key twice, no `NaN` or `Infinity`. Nothing after an end-of-turn marker is read.

    Attributes:
        schema: the JSON Schema, as a mapping; draft 2020-12 unless its `$schema` says otherwise. Its first `examples` entry,
            if any, is what the audit takes for a right answer.
        column: or the column of the row that holds it, as JSON text or as a mapping. Give one of the two.
        max_chars: longer JSON scores 0 without being read; some keywords take quadratic time.
    """

    schema: dict[str, Any] | None = None
    column: str | None = None
    max_chars: int = 50_000

    version = 1
    #: Any JSON may be valid, and what an answer should say is not asked.
    tolerates = frozenset({"constant", "prompt_numbers", "look_alikes"})

    def __post_init__(self) -> None:
        if (self.schema is None) == (self.column is None):
            raise ValueError("schema and column: expected exactly one of them")
        if self.max_chars < 1:
            raise ValueError(f"max_chars: found {self.max_chars}, expected 1 or more")
        if importlib.util.find_spec("jsonschema") is None:
            raise ImportError("needs the package jsonschema; pip install jsonschema")
        if self.schema is not None:
            problem = _checked(json.dumps(self.schema))[1]
            if problem:
                raise ValueError(f"schema: {problem}")

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.column} if self.column else ())

    def warm_up(self) -> None:
        """Imports jsonschema before the first deadline."""
        _checked("{}")

    def reference(self, row: Mapping[str, Any]) -> str | None:
        text = self._schema_text(row)
        schema = json.loads(text) if text else None
        examples = schema.get("examples") if isinstance(schema, dict) else None
        return json.dumps(examples[0]) if isinstance(examples, list) and examples else None

    def near_misses(self, row: Mapping[str, Any]) -> list[str]:
        """The same with a bracket too many."""
        reference = self.reference(row)
        return [] if reference is None else [f"{reference}}}"]

    def __call__(self, sample: Sample, /) -> Score:
        schema = self._schema_text(sample.row)
        validator, problem = _checked(schema) if schema else (None, f"column {self.column!r} holds no schema")
        if problem:
            return Score.abstain(Verdict.BAD_REFERENCE, reason=problem)
        text = own_turn(sample.completion.final_text)
        text = (fenced(text, ("json",)) or [text])[-1].strip()
        if not text:
            return Score.no_answer(reason="no answer found")
        if len(text) > self.max_chars:
            return Score.wrong(reason=f"{len(text)} characters of JSON, more than max_chars = {self.max_chars}")
        try:
            found = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError) as error:
            return Score.no_answer(reason=f"no JSON: {error}"[:200], extracted=text[:200])
        return self._validated(found, text, validator)

    def _validated(self, found: Any, text: str, validator: Any) -> Score:
        from jsonschema.exceptions import ValidationError, best_match
        from referencing.exceptions import Unresolvable

        try:
            error: ValidationError | None = best_match(validator.iter_errors(found))
        except RecursionError:
            return Score.wrong(reason="nested too deeply", extracted=text[:200])
        except Unresolvable as problem:
            reason = f"the schema refers to {problem}, which is not part of it"
            return Score.abstain(Verdict.BAD_REFERENCE, reason=reason[:200])
        if error is None:
            return Score.correct(extracted=text[:200])
        return Score.wrong(reason=f"{error.json_path}: {error.message}"[:200], extracted=text[:200])

    def _schema_text(self, row: Mapping[str, Any]) -> str | None:
        found = self.schema if self.column is None else row.get(self.column)
        if isinstance(found, str):
            return found if _is_json(found) else None
        return json.dumps(found) if isinstance(found, (dict, bool)) else None


@lru_cache(maxsize=1024)
def _checked(schema: str) -> tuple[Any, str | None]:
    """The validator of a schema, or what is wrong with the schema."""
    import jsonschema
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY

    tree = json.loads(schema)
    cls = validator_for(tree, default=jsonschema.Draft202012Validator)
    try:
        cls.check_schema(tree)
    except jsonschema.SchemaError as error:
        return None, f"{error.json_path}: {error.message}"[:200]
    # With a registry of its own it resolves references inside the schema and to the published drafts, and fetches nothing.
    return cls(tree, registry=REGISTRY), None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise ValueError("a key stands twice")
    return tree
