"""Memory of how often each prompt was solved, and the choice of prompts from it.

A prompt with pass rate p gives groups whose variance is proportional to p(1 - p); prompts are drawn with that probability,
without replacement within a batch. A prompt that nobody has tried counts as p = 1/2. Solved prompts are dropped, hopeless
ones wait (ScaleRL, arXiv 2510.13786, drops solved ones; GRESO, arXiv 2506.02177, skips by history). Neither samples nor
scores; the same state gives the same choices, whatever happened in the process before.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from reasoning_rl.errors import DataError
from reasoning_rl.recipe import Curriculum

#: What an older visit weighs when a newer one is known: the policy moves on.
KEEP = 0.5
#: Visits before a prompt can count as solved.
MIN_VISITS = 2


class Standing(IntEnum):
    """How a prompt stands; lower ones are chosen first."""

    OPEN = 0
    DEFERRED = 1
    SOLVED = 2


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one prompt: completions that passed and that were scored, older visits weighing less; the number of
    visits; and the batch from which on it may be chosen again."""

    passed: float = 0.0
    scored: float = 0.0
    visits: int = 0
    waits_until: int = 0

    @property
    def pass_rate(self) -> float:
        """Between 0 and 1, with one success and one failure added, so that an unseen prompt has 1/2."""
        return (self.passed + 1) / (self.scored + 2)


_UNSEEN = Record()


class PassRates:
    """The memory of a stage.

    Args:
        num_prompts: size of the data set; a prompt is its position in it.
        settings: the recipe's `sampling.curriculum`.
        seed: seed of the choices.
    """

    def __init__(self, num_prompts: int, settings: Curriculum, seed: int) -> None:
        self.num_prompts, self.settings, self.seed = num_prompts, settings, seed
        self._records: dict[int, Record] = {}
        self._batch = self._draws = 0
        self._chosen: set[int] = set()  # in this batch, or still under way

    def begin(self, under_way: Sequence[int] = ()) -> None:
        """Begins a batch: what was chosen in the one before may be chosen again, unless it is still under way."""
        self._batch += 1
        self._chosen = set(under_way)

    def take(self, count: int) -> list[int]:
        """Chooses prompts that this batch does not have yet. Deferred and solved ones come only when no others are left,
        and repetitions when the data set has no more.

        Raises:
            DataError: it has fewer prompts than are wanted.
        """
        if count > self.num_prompts:
            raise DataError(f"a batch needs {count} prompts at once, the data set has {self.num_prompts}; add rows")
        self._draws += 1
        # The smallest of exponential times with rates w is a draw with probability w (Efraimidis & Spirakis, 2006).
        chance = random.Random(f"{self.seed}/{self._draws}")
        keys = []
        for prompt in range(self.num_prompts):
            time = chance.expovariate(1.0)
            p = self.record_of(prompt).pass_rate
            keys.append((prompt in self._chosen, self.standing(prompt), time / (p * (1 - p)), prompt))
        taken = [prompt for *_, prompt in heapq.nsmallest(count, keys)]
        self._chosen.update(taken)
        return taken

    def visit(self, prompt: int, passed: int, scored: int) -> None:
        """Notes the outcome of a group; nothing when none of it could be scored."""
        if not scored:
            return
        old = self.record_of(prompt)
        self._records[prompt] = Record(
            passed=KEEP * old.passed + passed,
            scored=KEEP * old.scored + scored,
            visits=old.visits + 1,
            waits_until=self._batch + 1 + self.settings.defer_batches if passed == 0 else 0,
        )

    def record_of(self, prompt: int) -> Record:
        """What is known of a prompt."""
        return self._records.get(prompt, _UNSEEN)

    def standing(self, prompt: int) -> Standing:
        """Solved: passes `solved_above` of the time over two visits or more. Deferred: nobody passed the last time."""
        record = self.record_of(prompt)
        if record.visits >= MIN_VISITS and record.passed >= self.settings.solved_above * record.scored:
            return Standing.SOLVED
        return Standing.DEFERRED if self._batch < record.waits_until else Standing.OPEN

    def metrics(self) -> dict[str, float]:
        """Shares of the data set, and the mean pass rate of the prompts that were tried."""
        standings = [self.standing(prompt) for prompt in self._records]
        rates = [record.pass_rate for record in self._records.values()]
        return {
            "curriculum/seen": len(standings) / self.num_prompts,
            "curriculum/solved": standings.count(Standing.SOLVED) / self.num_prompts,
            "curriculum/deferred": standings.count(Standing.DEFERRED) / self.num_prompts,
            "curriculum/pass_rate": sum(rates) / len(rates) if rates else 0.5,
        }

    def state(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        records = {str(prompt): list(asdict(record).values()) for prompt, record in self._records.items()}
        return {"num_prompts": self.num_prompts, "batch": self._batch, "draws": self._draws, "records": records}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state.

        Raises:
            DataError: it is of another data set.
        """
        refuse_other_data(state, self.num_prompts)
        self._batch, self._draws, self._chosen = state["batch"], state["draws"], set()
        self._records = {int(prompt): Record(*values) for prompt, values in state["records"].items()}


def refuse_other_data(state: Mapping[str, Any], num_prompts: int) -> None:
    """Raises:
    DataError: the state was saved with another number of prompts.
    """
    if state["num_prompts"] != num_prompts:
        raise DataError(
            f"the checkpoint was made with {state['num_prompts']} prompts, the data set has {num_prompts} now; give the run "
            "its data back, or choose another run.dir"
        )
