"""The tests of a row: what the column may hold, checked, as frozen values.

Whatever is wrong in it is the data's fault: `BadTests` names the place, and the reward abstains. Nothing here runs a test.
"""

from __future__ import annotations

import ast
import builtins
import json
import keyword
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

CodeKind = Literal["assert", "check", "unittest"]
Compare = Literal["tokens", "exact"]

#: Arguments and expected values must fit into a message of the sandbox; its own limit is 8 MiB.
_MAX_DEPTH = 100
_NAME = "a name such as 'add' or 'Solution.add'"


class BadTests(ValueError):  # noqa: N818 - about the data
    """The tests of a row cannot be used. The message names the place: `tests[2].input: found …, expected …`."""


@dataclass(frozen=True, slots=True)
class StdioCase:
    """A run of the whole program: `stdin` goes in, `expected` must come out."""

    stdin: str
    expected: str
    compare: Compare | None = None
    float_tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class CallCase:
    """A call of a function: what it returns is compared with `expected`.

    `in_place` is the position of the argument that holds the answer after the call, instead of the returned value;
    `as_list` turns a returned iterator into a list; `is_ordered` keeps the order of the row's tests.
    """

    entry_point: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    expected: Any
    float_tolerance: float | None = None
    in_place: int | None = None
    as_list: bool = False
    is_ordered: bool = False


@dataclass(frozen=True, slots=True)
class CodeCase:
    """Test code. `names` are the names of the program that it uses, the first one being the candidate of a `check`."""

    kind: CodeKind
    names: tuple[str, ...]
    code: str
    is_ordered: bool = False


Case: TypeAlias = StdioCase | CallCase | CodeCase


@dataclass(frozen=True, slots=True)
class _Item:
    """One entry of the list, with the words to say what is wrong with it."""

    where: str
    values: Mapping[str, Any]
    used: set[str] = field(default_factory=lambda: {"type"})

    def take(self, key: str, kinds: tuple[type, ...], expected: str, default: Any = ...) -> Any:
        """The value of a key.

        Raises:
            BadTests: it is missing or of another type.
        """
        self.used.add(key)
        if self.values.get(key) is None and default is not ...:
            return default
        if key not in self.values:
            raise BadTests(f"{self.where}: has no {key!r}, expected {expected}")
        value = self.values[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise BadTests(f"{self.where}.{key}: found {value!r:.80}, expected {expected}")
        return value

    def tolerance(self) -> float | None:
        value = self.take("float_tolerance", (int, float), "a number from 0 on", None)
        if value is not None and not (0 <= value < math.inf):
            raise BadTests(f"{self.where}.float_tolerance: found {value!r}, expected a number from 0 on")
        return None if value is None else float(value)

    def name(self) -> str:
        value = self.take("entry_point", (str,), _NAME)
        if not _is_name(value):
            raise BadTests(f"{self.where}.entry_point: found {value!r:.80}, expected {_NAME}")
        return value

    def names(self, default: Any) -> tuple[str, ...]:
        """One name, or several separated by commas."""
        value = self.take("entry_point", (str,), _NAME, default)
        names = tuple(part.strip() for part in value.split(",")) if value else ()
        if not all(map(_is_name, names)) or (default is ... and not names):
            raise BadTests(f"{self.where}.entry_point: found {value!r:.80}, expected {_NAME}")
        return names

    def finish(self) -> None:
        """Raises for a key that nobody has asked for: a misspelt one would be ignored in silence."""
        # A table with one type for all rows has every key in every row; what does not apply is null there.
        unknown = sorted(str(key) for key in self.values.keys() - self.used if self.values[key] is not None)
        if unknown:
            raise BadTests(f"{self.where}: unknown key {unknown[0]!r}, expected among {', '.join(sorted(self.used))}")


def parse_tests(value: Any, where: str = "tests") -> tuple[Case, ...]:
    """The tests of a row: a list of mappings, or JSON text of one.

    Raises:
        BadTests: it cannot be used; the message names the place.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadTests(f"{where}: found text that is not JSON ({error}), expected a list of tests") from None
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise BadTests(f"{where}: found {type(value).__name__}, expected a list of tests")
    if not value:
        raise BadTests(f"{where}: found an empty list, expected at least one test")
    return tuple(_parse_one(item, f"{where}[{index}]") for index, item in enumerate(value))


def _parse_one(value: Any, where: str) -> Case:
    if not isinstance(value, Mapping):
        raise BadTests(f"{where}: found {type(value).__name__}, expected a mapping with 'type'")
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _PARSERS:
        raise BadTests(f"{where}.type: found {kind!r:.80}, expected one of {', '.join(_PARSERS)}")
    item = _Item(where, value)
    case = _PARSERS[kind](item)
    item.finish()
    return case


def _stdio(item: _Item) -> StdioCase:
    compare = item.take("compare", (str,), "'tokens' or 'exact'", None)
    if compare not in (None, "tokens", "exact"):
        raise BadTests(f"{item.where}.compare: found {compare!r:.80}, expected 'tokens' or 'exact'")
    tolerance = item.tolerance()
    if compare == "exact" and tolerance is not None:
        raise BadTests(f"{item.where}: 'float_tolerance' makes no sense where output must be 'exact'; leave one out")
    return StdioCase(item.take("input", (str,), "text"), item.take("output", (str,), "text"), compare, tolerance)


def _call(item: _Item) -> CallCase:
    args = item.take("args", (list, tuple), "a list of arguments")
    kwargs = item.take("kwargs", (Mapping,), "a mapping of arguments", {})
    bad = [key for key in kwargs if not isinstance(key, str)]
    if bad:
        raise BadTests(f"{item.where}.kwargs: found the key {bad[0]!r:.80}, expected names")
    item.used.add("expected")
    if "expected" not in item.values:
        raise BadTests(f"{item.where}: has no 'expected', expected the value that the call must return")
    in_place = item.take("in_place", (int,), "the position of an argument", None)
    if in_place is not None and not 0 <= in_place < len(args):
        raise BadTests(f"{item.where}.in_place: found {in_place}, expected a position among {len(args)} arguments")
    case = CallCase(
        entry_point=item.name(),
        args=tuple(args),
        kwargs=dict(kwargs),
        expected=item.values["expected"],
        float_tolerance=item.tolerance(),
        in_place=in_place,
        as_list=item.take("as_list", (bool,), "true or false", False),
        is_ordered=item.take("ordered", (bool,), "true or false", False),
    )
    for key, plain in (("args", case.args), ("kwargs", case.kwargs), ("expected", case.expected)):
        _check_plain(plain, f"{item.where}.{key}", 0)
    return case


def _code(item: _Item) -> CodeCase:
    kind: Any = item.values["type"]
    named = item.names("" if kind == "unittest" else ...)
    code = item.take("code", (str,), "test code")
    is_ordered = item.take("ordered", (bool,), "true or false", False)
    tree = _parse_code(code, f"{item.where}.code")
    if kind == "check" and not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
        raise BadTests(f"{item.where}.code: defines no function 'check(candidate)'")
    if kind == "assert" and not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        raise BadTests(f"{item.where}.code: holds no assert")
    if kind == "unittest" and not any(isinstance(node, ast.ClassDef) for node in tree.body):
        raise BadTests(f"{item.where}.code: defines no unittest.TestCase")
    names = named or _free_names(tree)
    if not names:
        raise BadTests(f"{item.where}: uses no name of the program; say which one in 'entry_point'")
    return CodeCase(kind, names, code, is_ordered)


def _parse_code(code: str, where: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in test code, for one
            return ast.parse(code)
    except SyntaxError as error:
        raise BadTests(f"{where}: line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise BadTests(f"{where}: cannot be parsed ({type(error).__name__}: {error})") from None


def _free_names(tree: ast.Module) -> tuple[str, ...]:
    """Names that code uses and nowhere binds, builtins aside."""
    used: dict[str, None] = {}
    bound: set[str] = set(dir(builtins)) | {"__file__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                used[node.id] = None
            else:
                bound.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return tuple(name for name in used if name not in bound)


def _is_name(text: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))


def _check_plain(value: Any, where: str, depth: int) -> None:
    """Only what can be sent to a program: plain data, of exactly these types."""
    if depth > _MAX_DEPTH:
        raise BadTests(f"{where}: nested more than {_MAX_DEPTH} deep")
    kind = type(value)
    if value is None or kind in (bool, int, float, complex, str, bytes):
        return
    if kind in (list, tuple, set, frozenset):
        for item in value:
            _check_plain(item, where, depth + 1)
        return
    if kind is dict:
        for key, item in value.items():
            _check_plain(key, where, depth + 1)
            _check_plain(item, where, depth + 1)
        return
    raise BadTests(f"{where}: found a {kind.__name__}, expected plain data (numbers, texts, lists, dicts, …)")


_PARSERS = {"stdio": _stdio, "call": _call, "assert": _code, "check": _code, "unittest": _code}
