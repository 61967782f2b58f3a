"""A math verifier in a process of its own, so that one input on which it hangs can be killed and stops nothing else.

    echo '[["7", "\\\\boxed{7}"]]' | python benchmarks/verifier_server.py math_answer

A line in is a JSON list of [gold, completion], graded in one go. A line out is {"values", "wall_s", "cpu_s", "error"}; a value
is 1, 0, or null where the verifier would not judge. The first line out says that the verifier is loaded. Measures nothing
across processes; that is `math_verifiers`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence

Pairs = Sequence[tuple[str, str]]
Values = list[float | None]
#: Address space of the process: some inputs make some verifiers allocate without end.
MAX_BYTES = 8 << 30


def math_answer() -> Callable[[Pairs], Values]:
    """Ours, with its default options, as a grading process calls it."""
    from reasoning_rl.testing import make_sample
    from reasoning_rl_rewards.math_answer import MathAnswer

    reward = MathAnswer()
    reward.warm_up()
    return lambda pairs: [
        reward(make_sample(completion, {"answer": gold}, question="")).value for gold, completion in pairs
    ]


def math_verify() -> Callable[[Pairs], Values]:
    """math-verify with its defaults, the gold as it stands."""
    from math_verify import parse, verify

    return lambda pairs: [float(verify(parse(gold), parse(completion))) for gold, completion in pairs]


def trl() -> Callable[[Pairs], Values]:
    """TRL's `accuracy_reward`, the gold as it stands."""
    from trl.rewards import accuracy_reward

    def grade(pairs: Pairs) -> Values:
        completions = [[{"role": "assistant", "content": completion}] for _, completion in pairs]
        return accuracy_reward(completions, [gold for gold, _ in pairs])

    return grade


def in_dollars(grade: Callable[[Pairs], Values]) -> Callable[[Pairs], Values]:
    """The same with every gold as LaTeX in dollar signs, which math-verify reads much better."""
    return lambda pairs: grade([(gold if "$" in gold else f"${gold}$", completion) for gold, completion in pairs])


VERIFIERS: dict[str, Callable[[], Callable[[Pairs], Values]]] = {
    "math_answer": math_answer,
    "math-verify": math_verify,
    "math-verify, gold in $": lambda: in_dollars(math_verify()),
    "TRL accuracy_reward": trl,
    "TRL accuracy_reward, gold in $": lambda: in_dollars(trl()),
}


def main() -> None:
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a verifier prints is no reply
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    grade = VERIFIERS[sys.argv[1]]()
    grade([("1", "\\boxed{1}")])
    out.write("ready\n")
    for line in sys.stdin:
        wall, cpu, error = time.perf_counter(), time.process_time(), ""
        values: Values = []
        try:
            values = [None if value is None else float(value) for value in grade(json.loads(line))]
        except Exception as found:  # noqa: BLE001 - what a verifier raises is a result of it
            error = f"{type(found).__name__}: {found}"
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        out.write(json.dumps({"values": values, "wall_s": wall, "cpu_s": cpu, "error": error}) + "\n")


if __name__ == "__main__":
    main()
