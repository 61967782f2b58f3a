"""A recipe is read as written or refused with one sentence per problem that says where it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.errors import RecipeError
from reasoning_rl.recipe_io import load_recipe

Tree = Callable[..., dict[str, Any]]

# Line numbers in this file are counted from 1; the tables below refer to them.
RECIPE = """\
run:
  dir: runs/a
model:
  source: ./policy
prompt:
  system: Think.
  thinking:
    open: <think>
data:
  train:
    source: rows.jsonl
  eval:
    - source: sub/more.py:rows
      completion: trace.py:text
    - source: owner/name
rewards:
  correct:
    use: exact_answer
  mine:
    use: ../mine.py:brevity
grpo:
  max_steps: 4
eval:
  accuracy: correct
  max_completion_length: 8
stages:
  - name: first
    kind: grpo
  - name: last
    kind: eval
launch:
  num_processes: 1
"""


def write(folder: Path, text: str, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    """What is wrong with a recipe, without the name of the file."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert caught.value.problems
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.replace(f"{path}:", "") for problem in caught.value.problems]


def test_the_recipe_of_these_tests_loads(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE)).recipe
    assert [stage.name for stage in recipe.stages] == ["first", "last"]
    assert [len(sources) for sources in recipe.data.values()] == [1, 2]
    assert recipe.prompt.thinking.close == "</think>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1.5e3", 1500.0),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("010", 10),
        ("0o17", 15),
        ("true", True),
        ("null", None),
        ("'5'", "5"),
        ("2024-01-01", "2024-01-01"),
        (".inf", float("inf")),
        ("[1, 2.5, a]", [1, 2.5, "a"]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    read = load_recipe(write(tmp_path, RECIPE.replace("max_steps: 4", f"key: {text}"))).recipe.grpo["key"]
    assert (read, type(read)) == (value, type(value))


def test_byte_order_mark_and_other_scripts(tmp_path: Path) -> None:
    text = "\ufeff" + RECIPE.replace("Think.", "Denk nach 😀 数学")
    assert load_recipe(write(tmp_path, text)).recipe.prompt.system == "Denk nach 😀 数学"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  dir: runs/a", "  dri: runs/a", ["2: run.dri: unknown key; did you mean 'dir'?", "run.dir: is required"]),
        ("./policy", "./policy\n  sauce: x", ["5: model.sauce: unknown key; did you mean 'source'?"]),
        ("  system:", "  sistem:", ["6: prompt.sistem: unknown key; did you mean 'system'?"]),
        ("    open:", "    opne:", ["8: prompt.thinking.opne: unknown key; did you mean 'open'?"]),
        ("jsonl", "jsonl\n    siez: 3", ["12: data.train.0.siez: unknown key; did you mean 'size'?"]),
        ("py:text", "py:text\n      spilt: x", ["15: data.eval.0.spilt: unknown key; did you mean 'split'?"]),
        ("owner/name", "owner/name\n      seeed: 1", ["16: data.eval.1.seeed: unknown key; did you mean 'seed'?"]),
        ("exact_answer", "exact_answer\n    wieght: 1", ["19: rewards.correct.wieght: unknown key; did you mean 'weight'?"]),
        ("accuracy:", "top_k: 3\n  accuracy:", ["24: eval.top_k: unknown key; did you mean 'top_p'?"]),
        ("kind: grpo", "kind: grpo\n    agrs: {}", ["29: stages.0.agrs: unknown key; did you mean 'args'?"]),
        ("num_processes: 1", "num_proceses: 1", ["32: launch.num_proceses: unknown key; did you mean 'num_processes'?"]),
        ("launch:", "lunch:", ["31: lunch: unknown key; did you mean 'launch'? Known here: run, model, prompt, data"]),
        ("launch:", "zzz:", ["31: zzz: unknown key. Known here: run, model, prompt, data"]),
    ],
    ids=lambda value: value[0].split(": ")[1] if isinstance(value, list) else None,
)  # fmt: skip
def test_unknown_key(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    assert RECIPE.count(old) == 1
    found = problems(write(tmp_path, RECIPE.replace(old, new)))
    assert len(found) == len(expected)
    for sentence in expected:
        assert any(sentence in line for line in found), found


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("dir: runs/a", "dir: 3", "2: run.dir: found 3, expected a valid string"),
        ("dir: runs/a", "dir: a\n  seed: 1.5", "3: run.seed: found 1.5, expected a valid integer"),
        ("dir: runs/a", "dir: a\n  seed: true", "3: run.seed: found True, expected a valid integer"),
        ("dir: runs/a", "dir: a\n  seed: -1", "3: run.seed: found -1, expected greater than or equal to 0"),
        ("kind: grpo", "kind: ppo", "28: stages.0.kind: found 'ppo', expected 'sft', 'grpo' or 'eval'"),
        ("name: first", "name: First one", "27: stages.0.name: found 'First one'; String should match pattern"),
        ("rows.jsonl", "rows.jsonl\n    size: '8'", "12: data.train.0.size: found '8', expected a valid integer"),
        ("exact_answer", "exact_answer\n    weight: .nan", "19: rewards.correct.weight: found nan, expected a finite"),
        ("  max_steps: 4", "  - 1", "21: grpo: found [1], expected a valid dictionary"),
        ("./policy", "./policy\n  dtype: float16", "5: model.dtype: found 'float16', expected 'float32' or 'bfloat16'"),
    ],
    ids=lambda value: value.split(", expected")[0] if ": found" in value else None,
)  # fmt: skip
def test_wrong_value(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert RECIPE.count(old) == 1
    (found,) = problems(write(tmp_path, RECIPE.replace(old, new)))
    assert found.startswith(expected)


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = RECIPE.replace("dir: runs/a", "dri: runs/a").replace("kind: eval", "kind: evil")
    found = problems(write(tmp_path, text))
    assert [line.split(": ")[1] for line in found] == ["run.dir", "run.dri", "stages.1.kind"]
    assert [line.split(": ")[0] for line in found] == ["1", "2", "30"]


@pytest.mark.parametrize("section", ["run", "model", "data", "rewards", "stages"])
def test_missing_section(tmp_path: Path, recipe_tree: Tree, section: str) -> None:
    tree = recipe_tree()
    del tree[section]
    assert problems(write(tmp_path, json.dumps(tree))) == [f"1: {section}: is required and missing; add it"]


@pytest.mark.parametrize("section", ["run", "data", "grpo", "stages", "launch"])
def test_section_left_empty(tmp_path: Path, recipe_tree: Tree, section: str) -> None:
    (found,) = problems(write(tmp_path, json.dumps(recipe_tree(**{section: None}))))
    assert f": {section}: found None" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: expected a mapping of sections (run, model, data, …), found None"),
        ("- run\n", "1: expected a mapping of sections (run, model, data, …), found ['run']"),
        ("just text\n", "1: expected a mapping of sections (run, model, data, …), found 'just text'"),
        ("run: {dir: a}\nmodel: {}\nrun: {dir: b}\n", '3: found duplicate key "run"; keep one of the two'),
        ("run:\n  dir: a\n  seed: 1\n  dir: b\n", '4: found duplicate key "dir"; keep one of the two'),
        ("run:\n  dir: [1\n", "3: not valid YAML: "),
        ("run:\n dir: a\n  seed: 1\n", "3: not valid YAML: mapping values are not allowed here"),
        ("run:\n\tdir: a\n", "2: not valid YAML: "),
        ("run: \x07\n", "1: not valid YAML: "),
        ("run: 1\n---\nrun: 2\n", "2: not valid YAML: "),
    ],
    ids=["empty", "list", "text", "section twice", "key twice", "open bracket", "indentation", "tab", "bell", "two"],
)
def test_not_a_recipe(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(write(tmp_path, text))
    assert found.startswith(expected)


def test_unreadable_files(tmp_path: Path) -> None:
    assert "no such recipe" in problems(tmp_path / "none.yaml")[0]
    assert "cannot be read" in problems(tmp_path)[0]
    (tmp_path / "latin.yaml").write_bytes("run: {dir: Länge}\n".encode("latin-1"))
    assert "cannot be read as a UTF-8 text file" in problems(tmp_path / "latin.yaml")[0]


def test_merge_keys_have_no_line_of_their_own(tmp_path: Path) -> None:
    text = RECIPE.replace("grpo:\n", "grpo: &common\n") + "sft:\n  <<: *common\n"
    assert load_recipe(write(tmp_path, text)).recipe.sft == {"max_steps": 4}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("grpo.max_steps=2", ("grpo", "max_steps"), 2),
        ("grpo.learning_rate=1e-6", ("grpo", "learning_rate"), 1e-6),
        ("grpo.loss_type=no", ("grpo", "loss_type"), "no"),
        ("grpo.a=", ("grpo", "a"), None),
        ("grpo.a=x=y", ("grpo", "a"), "x=y"),
        ("grpo={beta: 0.1}", ("grpo",), {"beta": 0.1}),
        ("sft.max_steps=1", ("sft", "max_steps"), 1),
        ("lora.r=4", ("lora", "r"), 4),
        ("prompt.thinking.close=</t>", ("prompt", "thinking", "close"), "</t>"),
        ("data.train.size=3", ("data", "train", 0, "size"), 3),
        ("data.eval.1.seed=3", ("data", "eval", 1, "seed"), 3),
        ("data.extra.source=owner/name", ("data", "extra", 0, "source"), "owner/name"),
        ("stages.0.args.max_steps=9", ("stages", 0, "args", "max_steps"), 9),
        ("stages.0={name: z, kind: sft, data: train}", ("stages", 0, "name"), "z"),
        ("rewards.correct.options.extract=last_number", ("rewards", "correct", "options", "extract"), "last_number"),
        ("launch.num_processes=2", ("launch", "num_processes"), 2),
    ],
)
def test_override(tmp_path: Path, override: str, key: tuple[str | int, ...], value: object) -> None:
    file = load_recipe(write(tmp_path, RECIPE), [override])
    node: Any = json.loads(file.resolved_json())
    for part in key:
        node = node[part]
    assert (node, type(node)) == (value, type(value))
    assert file.overrides == (override,)


def test_later_overrides_win_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, RECIPE)
    assert load_recipe(path, ["grpo.max_steps=2", "grpo.max_steps=3"]).recipe.grpo == {"max_steps": 3}
    assert path.read_text() == RECIPE


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("grpo.max_steps", "expected key.path=value, for example grpo.max_steps=2"),
        ("=2", "expected key.path=value"),
        ("grpo.a=[1", "the value is not valid YAML"),
        ("run.dir.x=1", "run.dir is the plain value 'runs/a'; it has no keys"),
        ("run.dir.x.y=1", "run.dir.x: leads through the plain value 'runs/a'"),
        ("stages.2.name=x", "stages.2: expected a position from 0 to 1 in the list, found '2'"),
        ("stages.first.name=x", "stages.first: expected a position from 0 to 1 in the list, found 'first'"),
        ("stages.2=x", "stages.2: expected a position from 0 to 1 in the list, found '2'"),
        ("stages.-1=x", "stages.-1: expected a position from 0 to 1 in the list, found '-1'"),
        ("run.seed=x", "found 'x', expected a valid integer"),
        ("run.sede=1", "unknown key; did you mean 'seed'?"),
        ("data.train.size=x", "found 'x', expected a valid integer"),
        ("data.eval.1.size=x", "found 'x', expected a valid integer"),
        ("stages.1.kind=x", "found 'x', expected 'sft', 'grpo' or 'eval'"),
        ("run={dir: 3}", "run.dir: found 3, expected a valid string"),
        ("run={seed: 3}", "run.dir: is required and missing"),
        ("eval.accuracy=x", "found 'x', expected one of rewards ['correct', 'mine']"),
    ],
)
def test_refused_override_is_named(tmp_path: Path, override: str, expected: str) -> None:
    (found,) = problems(write(tmp_path, RECIPE), override)
    assert found.startswith(f"override {override!r}: {expected}")


def test_all_bad_overrides_at_once(tmp_path: Path) -> None:
    assert len(problems(write(tmp_path, RECIPE), "a", "run.dir.x=1", "stages.9.name=x", "run.seed=0")) == 3


def test_paths_are_relative_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipes"
    (tmp_path / "elsewhere").mkdir()
    folder.mkdir()
    write(folder, RECIPE + "  config_file: accelerate/two.yaml\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    recipe = load_recipe("../recipes/r.yaml").recipe
    assert recipe.data["train"][0].source == str(folder / "rows.jsonl")
    assert recipe.data["eval"][0].source == f"{folder}/sub/more.py:rows"
    assert recipe.data["eval"][0].completion == f"{folder}/trace.py:text"
    assert recipe.data["eval"][1].source == "owner/name"
    assert recipe.rewards["mine"].use == f"{tmp_path}/mine.py:brevity"
    assert recipe.rewards["correct"].use == "exact_answer"
    assert recipe.model.source == str(folder / "policy")
    assert recipe.launch.config_file == str(folder / "accelerate" / "two.yaml")
    assert recipe.run.dir == "runs/a"


@pytest.mark.parametrize(
    "source", ["owner/name", "package:smollm2-135m-instruct", "reasoning_gym:chain_sum", "module:rows", "/abs/rows.csv"]
)
def test_what_names_no_file_beside_the_recipe_stays(tmp_path: Path, source: str) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE), [f"data.train.source={source}", f"model.source={source}"]).recipe
    assert (recipe.data["train"][0].source, recipe.model.source) == (source, source)


def test_home_folder(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE), ["model.source=~/policy"]).recipe
    assert recipe.model.source == str(Path.home() / "policy")


def test_resolved_json_is_a_recipe_again(tmp_path: Path) -> None:
    text = RECIPE.replace("Think.", r'"😀 \x7f \u2028 é"').replace("max_steps: 4", "max_grad_norm: .inf\n  beta: 1e-6")
    first = load_recipe(write(tmp_path, text), ["run.seed=7"])
    second = load_recipe(write(tmp_path, first.resolved_json(), "recipe.json"))
    assert json.loads(first.resolved_json())["run"]["seed"] == 7
    assert json.loads(first.resolved_json())["prompt"]["thinking"]["close"] == "</think>", "defaults are written out"
    assert second.resolved_json() == first.resolved_json()
    assert second.recipe == first.recipe


def test_problem_names_the_nearest_line(tmp_path: Path) -> None:
    path = write(tmp_path, RECIPE)
    file = load_recipe(path, ["sft.max_steps=1"])
    assert file.problem(("grpo", "max_steps"), "no") == f"{path}:22: grpo.max_steps: no"
    assert file.problem(("grpo", "not_written"), "no") == f"{path}:21: grpo.not_written: no"
    assert file.problem(("data", "train", 0, "source"), "no") == f"{path}:11: data.train.0.source: no"
    assert file.problem(("data", "eval", 1, "source"), "no") == f"{path}:15: data.eval.1.source: no"
    assert file.problem(("vllm", "dtype"), "no") == f"{path}:1: vllm.dtype: no"
    assert file.problem(("sft", "max_steps"), "no") == "override 'sft.max_steps=1': no"
