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

    def __getattr__(self, name: str) -> Any:
        if name in ("cache_key", "warm_up", "default_timeout_s") and hasattr(self.function, name):
            return getattr(self.function, name)
        raise AttributeError(name)

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
    if target.endswith(".py") and not Path(target).exists():
        raise RewardPluginError(f"{what}: no such file {target}; check the path")
    try:
        module = _import_file(Path(target)) if target.endswith(".py") else importlib.import_module(target)
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
    """An instance from a reward class or a function.

    Raises:
        RewardPluginError: unknown option, wrong type, missing option, or the object is no reward.
    """
    if isinstance(attribute, type):
        if not dataclasses.is_dataclass(attribute):
            raise RewardPluginError(
                f"reward {use!r}: class {attribute.__name__} must be a dataclass whose fields are its options"
            )
        values = _validated(attribute, options, use)
        try:
            reward = attribute(**values)
        except Exception as error:  # a reward may check its options as it likes
            raise RewardPluginError(f"reward {use!r}: {type(error).__name__}: {error}") from error
        if not callable(reward):
            raise RewardPluginError(f"reward {use!r}: {attribute.__name__} has no __call__(sample)")
        return typing.cast(Reward, reward)
    if inspect.isfunction(attribute):
        values = _validated(attribute, options, use)
        requires = frozenset(getattr(attribute, "requires", ()))
        return FunctionReward(attribute, values, requires, int(getattr(attribute, "version", 1)))
    raise RewardPluginError(f"reward {use!r}: expected a dataclass or a function, found {type(attribute).__name__}")


def options_of(attribute: Any) -> dict[str, Any]:
    """Option -> default of a reward class or function; `inspect.Parameter.empty` where there is none."""
    parameters = inspect.signature(attribute).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(attribute, type) or p.kind is p.KEYWORD_ONLY}


def _hints(attribute: Any, use: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(attribute)
    except NameError as error:
        raise RewardPluginError(
            f"reward {use!r}: {error} in the annotations of {attribute.__name__}; import it outside of TYPE_CHECKING"
        ) from None


def _validated(attribute: Any, options: Mapping[str, Any], use: str) -> dict[str, Any]:
    fields, hints = options_of(attribute), _hints(attribute, use)
    names = ", ".join(fields) or "none"
    for key in options:
        if key not in fields:
            raise RewardPluginError(f"reward {use!r}: unknown option {key!r}; it takes: {names}")
    for key, default in fields.items():
        if default is inspect.Parameter.empty and key not in options:
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
    name = f"reasoning_rl_file:{path.resolve()}"
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
