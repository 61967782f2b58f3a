"""HumanEval through `code_tests`: all canonical solutions accepted, automatic non-solutions not.

    python benchmarks/humaneval_sandbox.py --json humaneval_sandbox.json

For each problem: the canonical solution; an empty body; `return None`; and up to three mutants of the solution, made from
its syntax tree: a constant return, an off-by-one, a swapped operator. A mutant counts only when it gives another result (or
error) than the solution on some input of the problem's tests; both are run on them, in the sandbox, without the tests'
own asserts. Mutants that the tests let through when they run beside them in one process, as HumanEval's authors do, are
counted apart: no grader can tell. Everything is graded as in a run: by the reward, in grading processes.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoning_rl.api import Completion, Sample
from reasoning_rl.code_rows import human_eval
from reasoning_rl.grading import Grader
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Scoring
from reasoning_rl.sandbox import Limits, LocalSandbox, Outcome
from reasoning_rl.scoring import RewardSet, WeightedReward

LET_THROUGH = "let through by the tests"
MUTANTS = ("constant return", "off by one", "swapped operator")
#: Runs the tests once with the solution to collect inputs, then every mutant on them. It ends with the numbers of those
#: that differ, quick ones first; a mutant that runs for long differs too.
_DRIVER = """
import copy, json, random, signal, sys
def load(source):
    space = {"__name__": "solution"}
    exec(compile(source, "solution.py", "exec"), space)
    return space[NAME]
class Slow(BaseException): pass
def stop(*_): raise Slow
signal.signal(signal.SIGALRM, stop)
def result(function, arguments):
    try:
        value = function(*copy.deepcopy(arguments))
        return "returned", value
    except Slow: raise
    except BaseException as error: return "raised", type(error).__name__
solution, inputs = load(SOLUTION), []
def record(*arguments):
    if len(inputs) < 300: inputs.append(copy.deepcopy(arguments))
    return solution(*arguments)
space = {"__name__": "tests", NAME: record}
random.seed(0)
exec(compile(TESTS, "tests.py", "exec"), space)
space["check"](record)
golds = [result(solution, arguments) for arguments in inputs]
quick, slow, let_through = [], [], []
for number, source in enumerate(MUTANTS):
    try:
        function = load(source)
        signal.setitimer(signal.ITIMER_REAL, 0.25)
        differs = any(result(function, arguments) != gold for arguments, gold in zip(inputs, golds))
        signal.setitimer(signal.ITIMER_REAL, 0)
        if differs:
            quick.append(number)
            signal.setitimer(signal.ITIMER_REAL, 0.25)
            try:
                space[NAME] = function
                space["check"](function)
                let_through.append(number)
            except Slow: pass
            except BaseException: pass
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Slow: slow.append(number)
print(json.dumps([len(inputs), quick + slow, let_through]))
"""


@dataclass(frozen=True)
class Attempt:
    """A program for a problem, and of what kind it is: `solution`, or a kind of non-solution."""

    kind: str
    row: Mapping[str, Any]
    program: str


def mutants(source: str, name: str, kind: str) -> Iterator[str]:
    """Mutants of one kind, one change each, in the order of the source; only the function `name` is changed."""
    tree = ast.parse(source)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    for position, node in enumerate(ast.walk(function)):
        for number in range(len(_changes(node, kind))):
            changed = copy.deepcopy(tree)
            target = next(node for node in changed.body if isinstance(node, ast.FunctionDef) and node.name == name)
            part = list(ast.walk(target))[position]
            field, value = _changes(part, kind)[number]
            setattr(part, field, value)
            yield ast.unparse(ast.fix_missing_locations(changed))


_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or,
    ast.Or: ast.And, ast.USub: ast.UAdd,
}  # fmt: skip


def _changes(node: ast.AST, kind: str) -> list[tuple[str, Any]]:
    """Fields of a node and what to put there."""
    if kind == "constant return" and isinstance(node, ast.Return):
        return [("value", ast.Constant(value)) for value in (0, True, "")]
    if kind == "off by one" and isinstance(node, ast.Constant) and type(node.value) is int:
        return [("value", node.value + 1)]
    if (
        kind == "off by one"
        and isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("range", "len")
    ):
        if node.func.id == "range":
            more = ast.BinOp(node.args[-1], ast.Add(), ast.Constant(1))
            return [("args", [*node.args[:-1], more])]
        return [("func", ast.Lambda(_one_argument(), ast.BinOp(_call("len"), ast.Add(), ast.Constant(1))))]
    if kind == "off by one" and isinstance(node, ast.Return) and node.value is not None:
        return [("value", ast.BinOp(node.value, ast.Add(), ast.Constant(1)))]
    if kind == "swapped operator":
        for field in ("op",):
            swap = _SWAPS.get(type(getattr(node, field, None)))
            if swap:
                return [(field, swap())]
        if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
            return [("ops", [_SWAPS[type(node.ops[0])](), *node.ops[1:]])]
        if isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(node.test, ast.Compare):
            return [("test", ast.UnaryOp(ast.Not(), node.test))]
        if isinstance(node, ast.comprehension) and node.ifs:
            return [("ifs", [ast.UnaryOp(ast.Not(), node.ifs[0]), *node.ifs[1:]])]
    return []


def _one_argument() -> ast.arguments:
    return ast.arguments([], [ast.arg("x")], None, [], [], None, [])


def _call(name: str) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), [ast.Name("x", ast.Load())], [])


def attempts(row: Mapping[str, Any], sandbox: LocalSandbox) -> list[Attempt]:
    """The solution and the non-solutions of a problem; a kind of mutant that does not exist or differs nowhere is left
    out."""
    name, solution, prompt = row["entry_point"], row["solution"], row["prompt"]
    (tests,) = json.loads(row["tests"])
    found = [Attempt("solution", row, solution)]
    found += [
        Attempt(what, row, f"{prompt}    {body}\n")
        for what, body in (("empty body", "pass"), ("return None", "return None"))
    ]
    made = [(kind, source) for kind in MUTANTS for source in mutants(solution, name, kind)]
    facts = {"NAME": name, "SOLUTION": solution, "TESTS": tests["code"], "MUTANTS": [source for _, source in made]}
    program = "".join(f"{key} = {value!r}\n" for key, value in facts.items()) + _DRIVER
    result = sandbox.run(program, b"", Limits(cpu_s=30, wall_s=60))
    if result.outcome is not Outcome.EXITED:
        raise RuntimeError(f"{row['task_id']}: the mutants could not be compared: {result.reason}")
    num_inputs, differing, let_through = json.loads(result.stdout)
    assert num_inputs, f"{row['task_id']}: the tests call nothing"
    for kind in MUTANTS:
        of_kind = [number for number in differing if made[number][0] == kind]
        first = next((number for number in of_kind if number not in let_through), None)
        if first is not None:
            found.append(Attempt(kind, row, made[first][1]))
        elif of_kind:
            found.append(Attempt(LET_THROUGH, row, made[of_kind[0]][1]))
    return found


def sample(attempt: Attempt) -> Sample:
    """The attempt as a completion."""
    text = f"```python\n{attempt.program}\n```"
    return Sample([], Completion(text, None, text, len(text) // 4, False), attempt.row, attempt.row["task_id"])


def run(rows: Sequence[Mapping[str, Any]], num_workers: int) -> dict[str, Any]:
    """Makes, grades and counts everything. `wrong` lists what was judged wrongly: of solutions, those not accepted; of all
    others, those accepted."""
    start = time.perf_counter()
    with LocalSandbox(parallel=num_workers) as sandbox, ThreadPoolExecutor(num_workers) as pool:
        made = [attempt for found in pool.map(lambda row: attempts(row, sandbox), rows) for attempt in found]
        tier = sandbox.tier.name
    made_s = time.perf_counter() - start
    rewards = RewardSet((WeightedReward("code", resolve("code_tests"), 1.0, use="code_tests"),))
    with Grader(rewards, Scoring(num_workers=num_workers)) as grader:
        scored = grader.score_batch(map(sample, made))
    scores = [item.scores["code"] for item in scored]
    seconds = dict.fromkeys((item.scores["code"].verdict for item in scored), 0.0)
    for item in scored:
        seconds[item.scores["code"].verdict] += item.seconds["code"]
    total_s = time.perf_counter() - start
    graded = Counter(attempt.kind for attempt in made)
    accepted = Counter(attempt.kind for attempt, score in zip(made, scores, strict=True) if score.value == 1)
    abstained = sum(score.value is None for score in scores)
    wrong = [
        {
            "task_id": a.row["task_id"],
            "kind": a.kind,
            "program": a.program,
            "verdict": str(s.verdict),
            "detail": dict(s.detail),
        }
        for a, s in zip(made, scores, strict=True)
        if a.kind != LET_THROUGH and (s.value == 1) != (a.kind == "solution")
    ]
    kinds = {
        kind: {"graded": graded[kind], "accepted": accepted[kind]}
        for kind in ("solution", "empty body", "return None", *MUTANTS, LET_THROUGH)
    }
    return {
        "num_problems": len(rows), "tier": tier, "num_workers": num_workers, "kinds": kinds, "abstained": abstained,
        "wrong": wrong, "make_s": round(made_s, 2), "total_s": round(total_s, 2),
        "seconds": {str(k): round(v, 2) for k, v in seconds.items()},
        "suites_per_s": round(len(made) / (total_s - made_s), 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=164)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = run(list(human_eval())[: given.problems], given.workers)
    print(f"{found['num_problems']} problems, tier {found['tier']}, {found['num_workers']} grading processes")
    for kind, counts in found["kinds"].items():
        print(f"{kind:>24}: {counts['accepted']:4} of {counts['graded']:4} accepted")
    print(f"{'abstained':>24}: {found['abstained']:4}")
    print(
        f"{found['total_s']} s in all, {found['make_s']} s of it making mutants; {found['suites_per_s']} suites/s graded"
    )
    print("seconds by verdict: " + ", ".join(f"{name} {spent}" for name, spent in found["seconds"].items()))
    for case in found["wrong"]:
        print(f"WRONG {case['task_id']} {case['kind']}: {case['verdict']} {case['detail']}\n{case['program']}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
