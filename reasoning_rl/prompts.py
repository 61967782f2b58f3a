"""Data row to chat messages. Tokens and chat templates belong to the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any

from reasoning_rl.api import Message
from reasoning_rl.errors import DataError
from reasoning_rl.recipe import Prompt


def template_columns(template: str) -> list[str]:
    """The columns that a template needs, in order of appearance.

    Raises:
        DataError: the template is malformed (a lone brace; write `{{` for a brace).
    """
    try:
        fields = [field for field in Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise DataError(f"prompt.template {template!r}: {error}; write {{{{ and }}}} for braces") from None
    names = [str(name) for _, name, _, _ in fields]
    if any(not str(name).isidentifier() or "{" in (spec or "") for _, name, spec, _ in fields):
        raise DataError(f"prompt.template {template!r}: found {names}, expected plain column names in the braces")
    return list(dict.fromkeys(names))


def render_prompt(row: Mapping[str, Any], prompt: Prompt) -> list[Message]:
    """The messages of one row. A `prompt` column that already holds messages is kept, after the system message."""
    system: list[Message] = [{"role": "system", "content": prompt.system}] if prompt.system is not None else []
    if isinstance(row.get("prompt"), list) and prompt.template == "{prompt}":
        return [*system, *row["prompt"]]
    values = {name: row[name] for name in template_columns(prompt.template)}
    return [*system, {"role": "user", "content": prompt.template.format_map(values)}]
