"""Tiers of isolation, and the choice of one: the strongest whose walls stand against attacks that are really tried.

Fails closed. What an environment variable can do is to take capabilities away, never to add one.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
from dataclasses import dataclass

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import canaries
from reasoning_rl.sandbox.jail import Walls, bwrap_path, landlock_abi

#: `bwrap`, `userns`, `landlock`, `seccomp`, separated by commas: to be treated as missing. For tests and for trials.
WITHOUT = "REASONING_RL_SANDBOX_WITHOUT"
UNSANDBOXED = "REASONING_RL_SANDBOX_UNSANDBOXED"
NAMES = {
    "T1": "namespaces (bubblewrap), Landlock, seccomp, resource limits",
    "T2": "Landlock, seccomp, resource limits",
    "T4": "NO ISOLATION",
}
NO_BWRAP = "bubblewrap is not installed"
NO_LANDLOCK = "Landlock version 3 or newer is missing (Linux 6.2, and enabled in lsm=)"
_log = logging.getLogger(__name__)
_lock = threading.Lock()
_found: dict[tuple[object, ...], tuple[Trial, ...]] = {}


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier that holds here."""

    name: str
    walls: Walls


@dataclass(frozen=True, slots=True)
class Trial:
    """How one tier did: the attacks that were tried, or why it could not even start."""

    tier: Tier
    attacks: tuple[canaries.Attack, ...]
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether it started and every attack was contained."""
        return not self.problem and bool(self.attacks) and all(attack.is_contained for attack in self.attacks)

    @property
    def fault(self) -> str:
        """Why it does not hold, as a phrase."""
        leaks = [attack.name for attack in self.attacks if not attack.is_contained]
        return self.problem or f"these attacks were not contained: {', '.join(leaks)}"


def choose(tier: str | None = None, *, allow_unsandboxed: bool = False) -> Tier:
    """The strongest tier that holds, or the one asked for.

    Raises:
        SandboxError: there is none.
    """
    if tier not in (None, "T1", "T2"):
        raise SandboxError(f"tier is {tier!r}; it must be 'T1' or 'T2'")
    trials = try_tiers(tier)
    for trial in trials:
        if trial.holds:
            return trial.tier
    faults = "; ".join(f"{trial.tier.name}: {trial.fault}" for trial in trials)
    if allow_unsandboxed and tier is None:
        if os.environ.get(UNSANDBOXED) != "yes":
            raise SandboxError(f"{faults}; to run without isolation all the same, set {UNSANDBOXED}=yes too")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise SandboxError(f"{faults}; runs without isolation are refused with more than one process")
        _log.warning("programs run WITHOUT ISOLATION, with your rights (%s)", faults)
        return Tier("T4", Walls("", 0, False))
    raise SandboxError(f"no sandbox here ({faults}); `reasoning-rl sandbox doctor` says what to do")


def try_tiers(only: str | None = None, *, all_of_them: bool = False) -> tuple[Trial, ...]:
    """Tries the tiers, strongest first, up to the first that holds (or all). Remembered for this process."""
    taken = frozenset(filter(None, os.environ.get(WITHOUT, "").replace(" ", "").split(",")))
    unknown = taken - {"bwrap", "userns", "landlock", "seccomp"}
    if unknown:
        raise SandboxError(f"{WITHOUT} names {sorted(unknown)}; known are bwrap, userns, landlock, seccomp")
    key = (os.getpid(), os.geteuid(), only, all_of_them, taken)
    with _lock:
        if key not in _found:
            _found.clear()
            _found[key] = tuple(_trials(only, taken, all_of_them))
        return _found[key]


def _trials(only: str | None, taken: frozenset[str], all_of_them: bool) -> list[Trial]:
    trials: list[Trial] = []
    version = 0 if "landlock" in taken else landlock_abi()
    for name, namespaces in (("T1", "user"), ("T1", "root"), ("T2", "")):
        if (only and name != only) or (namespaces == "root" and os.geteuid() != 0):
            continue
        if all_of_them and any(trial.holds and trial.tier.name == name for trial in trials):
            continue
        tier = Tier(name, Walls(namespaces, version, "seccomp" not in taken))
        problem = _missing(tier.walls, taken)
        try:
            trials.append(Trial(tier, () if problem else canaries.attack(tier.walls), problem))
        except SandboxError as error:
            trials.append(Trial(tier, (), str(error)))
        if trials[-1].holds and not all_of_them:
            break
    return trials


def _missing(walls: Walls, taken: frozenset[str]) -> str:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"not written for {sys.platform} on {platform.machine()}, only for Linux on x86-64"
    if walls.namespaces and ("bwrap" in taken or bwrap_path() is None):
        return NO_BWRAP
    if walls.namespaces == "user" and "userns" in taken:
        return "user namespaces are switched off"
    if not walls.landlock:
        return NO_LANDLOCK
    if not walls.seccomp:
        return "seccomp filters are missing"
    return ""
