"""What `reasoning-rl rewards` shows: every registered reward with its origin, version, columns and options.

Reads docstrings and signatures; builds a reward only to ask for the columns that depend on its options. A reward that cannot
be imported is listed as broken and hides no other. Finding rewards is the business of `plugins`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from reasoning_rl.api import REWARD_GROUP
from reasoning_rl.errors import ReasoningRLError, RewardPluginError
from reasoning_rl.plugins import find, load_attribute, options_of, resolve
from reasoning_rl.recipe_io import closest

_SECTION = re.compile(r"^(?:Attributes|Args):$\n((?:^(?:    .*)?$\n?)*)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): ?(.*(?:\n(?:        .*)?)*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """One option: its type as written, its default as text (`None`: it must be given), its documentation."""

    name: str
    type: str
    default: str | None
    doc: str


@dataclass(frozen=True, slots=True)
class RewardInfo:
    """One reward. `columns` is `None` when they depend on options that must be given; `broken` says why it cannot be used."""

    name: str
    package: str
    target: str
    version: int | None = None
    summary: str = ""
    description: str = ""
    columns: tuple[str, ...] | None = None
    options: tuple[OptionInfo, ...] = ()
    broken: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """Its part of the list."""
        head = f"{self.name}  ({self.package}: {self.target})"
        if self.broken:
            return [head, f"  broken: {self.broken}"]
        options = ", ".join(
            f"{option.name} (required)" if option.default is None else f"{option.name}={option.default}"
            for option in self.options
        )
        facts = f"  version {self.version}; columns: {self._columns()}"
        return [head, f"  {self.summary}", facts, f"  options: {options or 'none'}"]

    def details(self) -> list[str]:
        """All about it."""
        lines = [
            f"{self.name}  ({self.package}: {self.target})",
            f"version {self.version}; columns: {self._columns()}",
            "",
        ]
        lines += [*self.description.splitlines(), "", "options:" if self.options else "options: none"]
        for option in self.options:
            default = "required" if option.default is None else f"default {option.default}"
            lines += [
                f"  {option.name}: {option.type}  ({default})",
                *(f"      {line}" for line in option.doc.splitlines()),
            ]
        return lines

    def _columns(self) -> str:
        return "depend on the options" if self.columns is None else ", ".join(self.columns) or "none"


def list_rewards() -> list[RewardInfo]:
    """Every registered reward, by name; a name that two packages register is listed for each, as broken."""
    entries: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=REWARD_GROUP):
        if entry.value not in (other.value for other in entries[entry.name]):
            entries[entry.name].append(entry)
    infos = []
    for name in sorted(entries):
        for entry in entries[name]:
            if len(entries[name]) > 1:
                reason = "another package registers this name too; uninstall one or use module:Attr"
                infos.append(RewardInfo(name, _package(entry), entry.value, broken=reason))
            else:
                infos.append(_registered_info(name, entry))
    return infos


def reward_info(use: str) -> RewardInfo:
    """All about the reward that `use` names: a registered name, `module:Attr` or `file.py:Attr`.

    Raises:
        RewardPluginError: there is no such reward, or it cannot be used.
    """
    if ":" in use:
        info = _described(RewardInfo(use, "not registered", use), find(use))
    else:
        found = {info.name: info for info in list_rewards()}
        if use not in found:
            guess = closest(use, list(found)) or f"; registered: {', '.join(found) or 'none'}"
            raise RewardPluginError(f"no reward is registered as {use!r}{guess}")
        info = found[use]
    if info.broken:
        raise RewardPluginError(f"reward {use!r} ({info.package}: {info.target}): {info.broken}")
    return info


def _registered_info(name: str, entry: EntryPoint) -> RewardInfo:
    info = RewardInfo(name, _package(entry), entry.value)
    target, _, attribute = entry.value.partition(":")
    try:
        return _described(info, load_attribute(target, attribute, f"reward {name!r}"))
    except ReasoningRLError as error:
        return dataclasses.replace(info, broken=str(error))


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown origin"


def _described(info: RewardInfo, attribute: Any) -> RewardInfo:
    if not (inspect.isfunction(attribute) or (isinstance(attribute, type) and dataclasses.is_dataclass(attribute))):
        return dataclasses.replace(info, broken=f"expected a dataclass or a function, found {attribute!r:.80}")
    description, docs = _documentation(attribute)
    try:
        hints = typing.get_type_hints(attribute)
    except Exception as error:  # noqa: BLE001 - annotations are expressions and may raise anything
        return dataclasses.replace(info, broken=f"its annotations fail with {type(error).__name__}: {error}")
    options = tuple(
        OptionInfo(
            name,
            _type_text(hints.get(name, Any)),
            None if default is inspect.Parameter.empty else _default_text(attribute, name, default),
            docs.get(name, ""),
        )
        for name, default in options_of(attribute).items()
    )
    version = getattr(attribute, "version", 1)
    return dataclasses.replace(
        info,
        version=version if isinstance(version, int) else None,
        summary=" ".join(description.partition("\n\n")[0].split()),
        description=description,
        columns=_columns(attribute, info.target, options),
        options=options,
    )


def _documentation(attribute: Any) -> tuple[str, Mapping[str, str]]:
    """The docstring without its list of options, and what that list says, by option."""
    doc = inspect.getdoc(attribute) or ""
    if isinstance(attribute, type) and doc.startswith(f"{attribute.__name__}("):  # which dataclasses make up
        doc = ""
    listed = _SECTION.search(doc)
    if not listed:
        return doc.strip(), {}
    docs = {name: " ".join(text.split()) for name, text in _ENTRY.findall(listed[1])}
    return (doc[: listed.start()].rstrip() + "\n\n" + doc[listed.end() :]).strip(), docs


def _type_text(hint: Any) -> str:
    """A type as one writes it: `'boxed' | 'final_text'`, `int`, `str | None`."""
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(repr, typing.get_args(hint)))
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def _default_text(attribute: Any, name: str, default: Any) -> str:
    """A default as text, also one that a dataclass makes anew for every instance."""
    if isinstance(attribute, type):
        for field in dataclasses.fields(attribute):
            if field.name == name and field.default_factory is not dataclasses.MISSING:
                return repr(field.default_factory())
    return repr(default)


def _columns(attribute: Any, use: str, options: tuple[OptionInfo, ...]) -> tuple[str, ...] | None:
    """The required columns with the default options."""
    found = getattr(attribute, "requires", ())
    if isinstance(found, property):
        if any(option.default is None for option in options):
            return None
        try:
            found = getattr(resolve(use), "requires", ())
        except (ReasoningRLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return None
    return tuple(sorted(map(str, found)))
