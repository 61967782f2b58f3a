"""A data row becomes chat messages."""

from __future__ import annotations

from typing import Any

import pytest

from reasoning_rl.errors import DataError
from reasoning_rl.prompts import render_prompt, template_columns
from reasoning_rl.recipe import Prompt


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


MESSAGES = [user("a"), {"role": "assistant", "content": "b"}, user("c")]
SYSTEM = {"role": "system", "content": "Think."}


@pytest.mark.parametrize(
    ("prompt", "row", "messages"),
    [
        (Prompt(), {"prompt": "1 + 1"}, [user("1 + 1")]),
        (Prompt(system="Think."), {"prompt": "1 + 1"}, [SYSTEM, user("1 + 1")]),
        (Prompt(system=""), {"prompt": "1"}, [{"role": "system", "content": ""}, user("1")]),
        (Prompt(template="{q}: {a}, {q}"), {"q": 3, "a": "x"}, [user("3: x, 3")]),
        (Prompt(template="{{{q}}}"), {"q": "x"}, [user("{x}")]),
        (Prompt(template="always this"), {}, [user("always this")]),
        (Prompt(), {"prompt": "{not} a %s template"}, [user("{not} a %s template")]),
        (Prompt(), {"prompt": MESSAGES}, MESSAGES),
        (Prompt(system="Think."), {"prompt": MESSAGES}, [SYSTEM, *MESSAGES]),
        (Prompt(template="{n:.2f} {s!r}"), {"n": 1.0, "s": "x"}, [user("1.00 'x'")]),
    ],
)
def test_render(prompt: Prompt, row: dict[str, Any], messages: list[dict[str, str]]) -> None:
    assert render_prompt(row, prompt) == messages


@pytest.mark.parametrize(
    ("template", "columns"),
    [("{prompt}", ["prompt"]), ("{b}{a}{b}", ["b", "a"]), ("{{x}}", []), ("", []), ("{n:.2f}", ["n"])],
)
def test_columns(template: str, columns: list[str]) -> None:
    assert template_columns(template) == columns


@pytest.mark.parametrize("template", ["{", "}", "{a", "{}", "{0}", "{a.b}", "{a[0]}", "{a b}"])
def test_malformed_template(template: str) -> None:
    with pytest.raises(DataError, match=r"^prompt\.template "):
        template_columns(template)
