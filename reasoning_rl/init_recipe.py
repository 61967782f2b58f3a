"""Writes a small complete recipe, on a file of one's own or on made-up chain sums: `reasoning-rl init`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from reasoning_rl.data import convert_rows, read_rows
from reasoning_rl.errors import DataError, ReasoningRLError, RecipeError
from reasoning_rl.math_rows import converter_for
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Source

DEFAULT_MODEL = "package:smollm2-135m-instruct"

#: Names that stand for a column, the best first.
_NAMES = {
    "prompt": ("prompt", "question", "problem", "instruction"),
    "answer": ("answer", "solution", "label", "target"),
}
#: What all answers look like -> reward and options. The first whose reward reads every answer is taken.
_REWARDS: tuple[tuple[re.Pattern[str], str, dict[str, Any]], ...] = (
    (re.compile(r"[A-E]"), "choice_answer", {}),
    (re.compile(r"[^\W\d_]{2,}(?:[ .,'’-]+[^\W\d_]+)*"), "string_match", {"extract": "boxed"}),
    (re.compile(r".*", re.DOTALL), "math_answer", {}),
    (re.compile(r".*", re.DOTALL), "string_match", {"extract": "boxed"}),
)

_HELD_OUT, _FEWEST_ROWS, _LOOKED_AT = 50, 10, 100

_CHAIN_SUMS = """\
  train:                # made as they are needed; pip install reasoning-gym
    source: reasoning_gym:chain_sum
    size: 2000
    seed: 1000
  eval:                 # other seeds, so other rows
    source: reasoning_gym:chain_sum
    size: 50
    seed: 0
"""

_RECIPE = """\
# A small run to start from: a few GRPO steps with LoRA, evaluated before and after. The keys of every section are in
# reasoning_rl/recipe.py; grpo, lora and vllm take those of TRL, PEFT and vLLM.
run:
  dir: {run_dir}

model:
  source: {model}

prompt:
  system: Think step by step, then answer in \\boxed{{}}.

data:
{data}
rewards:
  correct:              # 1 for the right answer, else 0; `reasoning-rl rewards` lists others
    use: {reward}
{options}
lora:                   # without this section every weight is trained
  r: 16
  lora_alpha: 32
  target_modules: all-linear

grpo:
  max_steps: 10
  learning_rate: 2e-5
  per_device_train_batch_size: 8
  gradient_accumulation_steps: 4   # 8 × 4 completions a step: 4 prompts, 8 completions each
  num_generations: 8
  max_completion_length: 256       # tokens; also that of eval
  save_steps: 10

eval:
  accuracy: correct
  num_samples: 1

vllm:
  max_model_len: 1024              # prompt and completion
  max_num_seqs: 64
  enforce_eager: true
  kv_cache_memory_bytes: 1073741824

stages:
  - {{name: before, kind: eval}}
  - {{name: grpo, kind: grpo}}
  - {{name: after, kind: eval}}
"""


def write_recipe(output: Path, data: Path | None, model: str, reward: str | None) -> None:
    """Writes the recipe.

    Raises:
        RecipeError: a file stands in the way, or cannot be written.
        DataError: the data cannot be read, is too short, or has no columns that are known.
        RewardPluginError: the reward cannot be found or built.
    """
    if output.exists():
        raise RecipeError([f"{output}: exists already and is not overwritten; choose another name with -o"])
    if data is None:
        section, chosen, options = _CHAIN_SUMS, reward or "exact_answer", {}
    else:
        section, rows = _data_section(data, output)
        chosen, options = (reward, {}) if reward else _reward_for(rows)
    resolve(chosen, options)
    text = _RECIPE.format(
        run_dir=json.dumps(f"runs/{output.stem}"),
        model=json.dumps(model),
        data=section,
        reward=json.dumps(chosen),
        options=f"    options: {json.dumps(options)}\n" if options else "",
    )
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RecipeError([f"{output}: cannot be written ({error.strerror}); choose another place with -o"]) from None


def _data_section(data: Path, output: Path) -> tuple[str, list[dict[str, Any]]]:
    """The `data` section, and the first rows as the rewards will get them."""
    if data.suffix not in (".jsonl", ".json", ".csv", ".parquet"):
        raise DataError(f"{data}: expected a .jsonl, .json, .csv or .parquet file; convert it first")
    plain = Source(source=str(data.resolve()))
    raw = read_rows(plain, "--data")
    if len(raw) < _FEWEST_ROWS:
        raise DataError(f"{data}: has {len(raw)} rows, expected at least {_FEWEST_ROWS}; add some")
    first = next(iter(raw.values()))
    convert = converter_for(first)
    columns = {} if convert else _columns(first, data)
    held_out = min(_HELD_OUT, len(raw) // 5)
    source = plain.model_copy(update={"convert": convert, "columns": columns})
    looked_at = convert_rows(dict(islice(raw.items(), _LOOKED_AT)), source, "--data")
    if not looked_at.keys() & set(islice(raw, held_out)):
        raise DataError(f"{data}: {convert} leaves out all of the first {held_out} rows; put others first")
    relative = os.path.relpath(data.resolve(), output.parent.resolve())
    how = f"    convert: {convert}\n" if convert else f"    columns: {json.dumps(columns)}\n" if columns else ""
    common = f"    source: {json.dumps(relative)}\n{how}"
    section = (
        f"  train:                # all rows but those of eval\n{common}    skip: {held_out}\n"
        f"  eval:                 # the first rows, held out\n{common}    size: {held_out}\n"
    )
    return section, list(looked_at.values())


def _columns(row: Mapping[str, Any], data: Path) -> dict[str, str]:
    """Renames that give a row `prompt` and `answer`."""
    found = {new: next((name for name in names if name in row), None) for new, names in _NAMES.items()}
    for new, old in found.items():
        if old is None:
            raise DataError(
                f"{data}: found columns {sorted(row)}, expected one for {new} ({', '.join(_NAMES[new])}); rename one"
            )
    return {new: old for new, old in found.items() if old is not None and old != new}


def _reward_for(rows: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    """The first reward that fits every answer and reads it."""
    for form, name, options in _REWARDS:
        if not all(form.fullmatch(str(row["answer"]).strip()) for row in rows):
            continue
        try:
            reference = getattr(resolve(name, options), "reference", None)
        except ReasoningRLError:  # what it needs is not installed
            continue
        if reference is not None and all(reference(row) is not None for row in rows):
            return name, options
    return "exact_answer", {}
