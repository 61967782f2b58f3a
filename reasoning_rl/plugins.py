"""Finds a reward by name and builds it from its options.

Three forms, no fallback between them: a registered name (entry point), `module:Attr`, `file.py:Attr`. The host knows no
built-in reward; its own are registered like anyone's.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reasoning_rl.api import REWARD_GROUP, Reward, Sample, Score, Verdict
from reasoning_rl.errors import RewardPluginError


@dataclass(frozen=True, slots=True)
class FunctionReward:
    """A plain function as a reward: a number becomes a score, `None` abstains as not applicable."""

    function: Callable[..., float | Score | None]
    options: Mapping[str, Any]
    requires: frozenset[str] = frozenset()
    version: int = 1

    def __call__(self, sample: Sample, /) -> Score:
        result = self.function(sample, **self.options)
        if isinstance(result, Score):
            return result
        if result is None:
            return Score.abstain(Verdict.NOT_APPLICABLE)
        value = float(result)
        verdict = Verdict.CORRECT if value >= 1 else Verdict.WRONG if value <= 0 else Verdict.PARTIAL
        return Score(value, verdict)


def registered() -> dict[str, EntryPoint]:
    """Every registered reward by name.

    Raises:
        RewardPluginError: two installed packages register the same name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=REWARD_GROUP):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            owners = " and ".join(sorted(f"{e.dist.name if e.dist else '?'} ({e.value})" for e in (other, entry)))
            raise RewardPluginError(
                f"reward {entry.name!r} is registered by two packages: {owners}; uninstall one or use module:Attr"
            )
    return found


def resolve(use: str, options: Mapping[str, Any] | None = None) -> Reward:
    """The reward that `use` names, built with `options`.

    Raises:
        RewardPluginError: it cannot be found or imported, or an option is unknown or of the wrong type.
    """
    return build(find(use), options or {}, use)


def find(use: str) -> Any:
    """The class or function that `use` names."""
    target, colon, attribute = use.rpartition(":")
    if not colon:
        entries = registered()
        if use not in entries:
            names = ", ".join(sorted(entries)) or "none"
            raise RewardPluginError(
                f"no reward is registered as {use!r}; registered: {names}; or name one as module:Attr or file.py:Attr"
            )
        target, _, attribute = entries[use].value.partition(":")
    return load_attribute(target, attribute, f"reward {use!r}")


def load_attribute(target: str, attribute: str, what: str) -> Any:
    """`attribute` of the module or `.py` file `target`.

    Raises:
        RewardPluginError: the file is missing, its code raises on import, or it has no such attribute.
    """
    try:
        module = _import_file(Path(target)) if target.endswith(".py") else importlib.import_module(target)
    except FileNotFoundError:
        raise RewardPluginError(f"{what}: no such file {target}; check the path") from None
    except Exception as error:  # a plugin may raise anything while it is imported
        reason = f"{type(error).__name__}: {error}"
        raise RewardPluginError(
            f"{what}: importing {target} failed with {reason}; mend it or install what it needs"
        ) from error
    if not hasattr(module, attribute):
        public = ", ".join(name for name in vars(module) if not name.startswith("_")) or "nothing"
        raise RewardPluginError(f"{what}: {target} has no {attribute!r}; it defines {public}")
    return getattr(module, attribute)


def build(attribute: Any, options: Mapping[str, Any], use: str) -> Reward:
    """An instance from a reward class, a function or a ready object.

    Raises:
        RewardPluginError: unknown option, wrong type, missing option, or the object is no reward.
    """
    if isinstance(attribute, type):
        if not dataclasses.is_dataclass(attribute):
            raise RewardPluginError(
                f"reward {use!r}: class {attribute.__name__} must be a dataclass whose fields are its options"
            )
        fields = {f.name: f.default for f in dataclasses.fields(attribute) if f.init}
        hints = typing.get_type_hints(attribute)
        values = _validated(options, fields, hints, dataclasses.MISSING, use)
        try:
            reward = attribute(**values)
        except (TypeError, ValueError) as error:
            raise RewardPluginError(f"reward {use!r}: {error}") from error
        if not callable(reward):
            raise RewardPluginError(f"reward {use!r}: {attribute.__name__} has no __call__(sample)")
        return typing.cast(Reward, reward)
    if inspect.isfunction(attribute):
        parameters = [p for p in inspect.signature(attribute).parameters.values() if p.kind is p.KEYWORD_ONLY]
        fields = {p.name: p.default for p in parameters}
        values = _validated(options, fields, typing.get_type_hints(attribute), inspect.Parameter.empty, use)
        requires = frozenset(getattr(attribute, "requires", ()))
        return FunctionReward(attribute, values, requires, int(getattr(attribute, "version", 1)))
    raise RewardPluginError(f"reward {use!r}: expected a dataclass or a function, found {type(attribute).__name__}")


def _validated(
    options: Mapping[str, Any], fields: Mapping[str, Any], hints: Mapping[str, Any], no_default: Any, use: str
) -> dict[str, Any]:
    names = ", ".join(fields) or "none"
    for key in options:
        if key not in fields:
            raise RewardPluginError(f"reward {use!r}: unknown option {key!r}; it takes: {names}")
    for key, default in fields.items():
        if default is no_default and key not in options:
            raise RewardPluginError(f"reward {use!r}: option {key!r} is required and missing")
    values = {}
    for key, value in options.items():
        try:
            # Lax only for containers: YAML has lists where an option may be a tuple or a set.
            values[key] = TypeAdapter(hints.get(key, Any)).validate_python(value, strict=not isinstance(value, list))
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise RewardPluginError(f"reward {use!r}: option {key!r}: found {value!r}, expected {reason}") from None
    return values


def _import_file(path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(path)
    name = f"reasoning_rl_file_{path.resolve().as_posix().replace('/', '_').removesuffix('.py')}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
