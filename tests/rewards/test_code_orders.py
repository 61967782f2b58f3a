"""`code_tests`: the orders in which tests are run, so that no program can answer by counting."""

from __future__ import annotations

import pytest
from code_grading import call, grade

from reasoning_rl_rewards.code_tests.cases import CallCase, CodeCase, parse_tests
from reasoning_rl_rewards.code_tests.orders import call_orders, code_orders


def test_both_orders_are_run_and_the_same_for_a_row() -> None:
    cases = tuple(case for case in parse_tests([call("f", [n], n) for n in range(8)]) if isinstance(case, CallCase))
    first, second = call_orders(cases, "0/row")
    assert sorted(first) == list(range(8))
    assert second == first[::-1]
    assert (first, second) == call_orders(cases, "0/row")
    assert len({call_orders(cases, f"0/row{n}")[0] for n in range(20)}) > 10
    assert call_orders(cases[:1], "0/row") == ((0,),)


@pytest.mark.parametrize(
    ("code", "num_versions", "kept"),
    [
        ("assert f(1)\nassert f(2)\nassert f(3)", 2, ()),
        ("import math\nassert f(1) == math.pi\nassert all([f(x) for x in [2]])", 2, ("import math",)),
        ("assert f(1)", 1, ()),
        ("x = f(1)\nassert x\nassert x == 2", 1, ()),
        ("assert f(1)\nf(2)\nassert f(3)", 1, ()),
        ("assert f(1)\nassert f(2)\nx = 3\nassert f(x)\nassert f(x + 1)", 2, ("x = 3\nassert f(x)\nassert f(x + 1)",)),
        ("assert (y := f(1))\nassert f(2) == y", 1, ()),
    ],
)  # fmt: skip
def test_asserts_change_places_only_where_they_may(code: str, num_versions: int, kept: tuple[str, ...]) -> None:
    versions = code_orders(CodeCase("assert", ("f",), code), "0/row")
    assert len(versions) == num_versions
    if num_versions == 1:
        assert versions == (code,)
    for version in versions:
        assert sorted(version.splitlines()) == sorted(code.splitlines())
        assert all(text in version for text in kept)
    assert len(set(versions)) == num_versions


def test_the_asserts_of_a_check_change_places() -> None:
    code = "X = 1\ndef check(candidate):\n    import math\n    assert candidate(1) == 1\n    assert candidate(2) == 4\n    y = 2\n    assert candidate(y)\n"
    first, second = code_orders(CodeCase("check", ("f",), code), "0/row")
    lines = [[line for line in text.splitlines() if "== " in line] for text in (first, second)]
    assert lines[0] == lines[1][::-1]
    assert len(lines[0]) == 2


def test_a_row_may_keep_its_order() -> None:
    counter = "N = 0\ndef next_id():\n    global N\n    N += 1\n    return N"
    tests = [call("next_id", [], 1, ordered=True), call("next_id", [], 2, ordered=True)]
    assert grade(counter, tests).value == 1
    assert grade(counter, [call("next_id", [], 1), call("next_id", [], 2)]).value == 0
    assert grade(counter, [call("next_id", [], 1), call("next_id", [], 2)], shuffle=False).value == 1
    code = "assert next_id() == 1\nassert next_id() == 2"
    assert grade(counter, [{"type": "assert", "entry_point": "next_id", "code": code, "ordered": True}]).value == 1
    assert grade(counter, [{"type": "assert", "entry_point": "next_id", "code": code}]).value == 0
