"""Rows come from files, functions and procedural tasks, in mixtures, and never from the evaluation set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.data import Row, load_data
from reasoning_rl.errors import DataError
from reasoning_rl.recipe import Recipe

ROOT = Path(__file__).parents[2]
GRPO = {"name": "g", "kind": "grpo"}
SFT = {"name": "s", "kind": "sft"}
EVAL = {"name": "e", "kind": "eval"}
ROWS = [{"prompt": f"p{i}", "answer": str(i), "trace": f"t{i}"} for i in range(6)]

Load = Callable[..., dict[str, list[Row]]]


@pytest.fixture
def load(recipe_tree: Callable[..., dict[str, Any]]) -> Load:
    """Loads data sets with the given stages; the rewards need a column `answer`."""

    def of(data: dict[str, Any], *stages: dict[str, Any], **sections: Any) -> dict[str, list[Row]]:
        tree = recipe_tree(data=data, stages=list(stages) or [GRPO], **sections)
        return load_data(Recipe.model_validate(tree), ["answer"])

    return of


def prompts(rows: list[Row]) -> list[str]:
    return [row.prompt[-1]["content"] for row in rows]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def jsonl(tmp_path: Path) -> str:
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


def refused(load: Load, data: dict[str, Any], *stages: dict[str, Any], **sections: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(data, *stages, **sections)
    return str(caught.value)


def test_jsonl(load: Load, jsonl: str) -> None:
    rows = load({"train": {"source": jsonl}})["train"]
    assert rows[1] == Row("train/0/1", [{"role": "user", "content": "p1"}], ROWS[1], None)
    assert prompts(rows) == [f"p{i}" for i in range(6)]


def test_jsonl_with_blank_lines_and_odd_characters(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_bytes('\n{"prompt": "a\u2028b\x85c", "answer": "1"}\r\n\n{"prompt": "d", "answer": "2"}'.encode())
    assert prompts(load({"train": {"source": str(path)}})["train"]) == ["a\u2028b\x85c", "d"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"prompt": "p"', "rows.jsonl:3: not valid JSON"),
        ("[1]", "rows.jsonl:3: found list, expected one object per line"),
        ("3", "rows.jsonl:3: found int, expected one object per line"),
    ],
)
def test_bad_line_is_numbered(load: Load, tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n\n" + line + "\n")
    message = refused(load, {"train": {"source": str(path)}})
    assert message.startswith("data.train.0: ")
    assert expected in message


@pytest.mark.parametrize("name", ["gone.jsonl", "gone.json", "gone.parquet", "gone.csv"])
def test_missing_file(load: Load, tmp_path: Path, name: str) -> None:
    source = {"source": str(tmp_path / name)}
    if not name.endswith(".jsonl"):
        source["options"] = {"cache_dir": str(tmp_path / "cache")}  # pyright: ignore[reportArgumentType]
    message = refused(load, {"train": source})
    assert message.startswith(f"data.train.0: {tmp_path / name}")


def test_file_that_is_no_text(load: Load, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe{}")
    assert "a.jsonl cannot be read" in refused(load, {"train": {"source": str(tmp_path / "a.jsonl")}})


@pytest.mark.parametrize("suffix", ["json", "parquet", "csv"])
def test_files_through_datasets(load: Load, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(ROWS))
    elif suffix == "csv":
        path.write_text("prompt,answer,trace\n" + "".join(",".join(row.values()) + "\n" for row in ROWS))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    source = {"source": str(path), "size": 4, "options": {"cache_dir": str(tmp_path / "cache")}}
    rows = load({"train": source})["train"]
    assert prompts(rows) == ["p0", "p1", "p2", "p3"]
    assert [str(row.columns["answer"]) for row in rows] == ["0", "1", "2", "3"]


def test_file_that_is_no_json(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("{")
    source = {"source": str(path), "options": {"cache_dir": str(tmp_path / "cache")}}
    assert f"data.train.0: {path} (split 'train') cannot be loaded: " in refused(load, {"train": source})


def test_reasoning_gym(load: Load) -> None:
    source = {"source": "reasoning_gym:chain_sum", "size": 3, "seed": 7, "options": {"min_terms": 2, "max_terms": 2}}
    rows = load({"train": source})["train"]
    assert len(rows) == 3
    for row in rows:
        assert set(row.columns) == {"prompt", "answer", "task", "task_options", "metadata"}
        expression = row.prompt[0]["content"].split(":")[-1].split("=")[0]
        assert eval(expression) == int(row.columns["answer"])
    assert prompts(load({"train": source})["train"]) == prompts(rows), "the same seed makes the same rows"


def test_reasoning_gym_metadata_with_fractions(load: Load) -> None:
    """Some rows of gsm_symbolic hold one, which JSON cannot say; the row of this seed does."""
    (row,) = load({"train": {"source": "reasoning_gym:gsm_symbolic", "size": 1, "seed": 39}})["train"]
    assert json.loads(row.columns["metadata"])["variables"]["initial_fraction"] == {"__fraction__": [1, 5]}


def test_reasoning_gym_rows_are_seeded_one_by_one(load: Load) -> None:
    """What the check of overlapping seeds relies on: row i of seed s is row 0 of seed s + i."""
    first = load({"train": {"source": "reasoning_gym:chain_sum", "size": 4, "seed": 7}})["train"]
    later = load({"train": {"source": "reasoning_gym:chain_sum", "size": 2, "seed": 9}})["train"]
    assert prompts(first)[2:] == prompts(later)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"source": "reasoning_gym:no_such_task", "size": 2}, "reasoning_gym task 'no_such_task'"),
        ({"source": "reasoning_gym:chain_sum", "size": 2, "options": {"terms": 2}}, "reasoning_gym task 'chain_sum'"),
        ({"source": "reasoning_gym:chain_sum", "size": 2, "options": {"min_terms": 9, "max_terms": 2}}, "chain_sum"),
    ],
)
def test_reasoning_gym_refuses(load: Load, source: dict[str, Any], expected: str) -> None:
    assert expected in refused(load, {"train": source})


FUNCTIONS = """
def rows(*, seed, size=3, prefix="p"):
    for i in range(size):
        yield {"prompt": f"{prefix}{seed + i}", "answer": i}

def no_rows(*, seed):
    return []

def texts(*, seed):
    return ["a", "b"]

def trace(row):
    return f"trace of {row['prompt']}"

def no_trace(row):
    return None
"""


@pytest.fixture
def functions(tmp_path: Path) -> str:
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS)
    return str(path)


def test_function_of_a_file(load: Load, functions: str) -> None:
    source = {"source": f"{functions}:rows", "seed": 5, "size": 2, "options": {"prefix": "q"}}
    assert prompts(load({"train": source})["train"]) == ["q5", "q6"]
    assert prompts(load({"train": {"source": f"{functions}:rows"}})["train"]) == ["p0", "p1", "p2"]


def test_function_of_a_module(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_with_rows.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert prompts(load({"train": {"source": "module_with_rows:rows"}})["train"]) == ["p0", "p1", "p2"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"source": "{}:gone"}, "has no 'gone'; it defines rows, no_rows, texts"),
        ({"source": "{}:rows", "options": {"prefiks": "x"}}, "takes other options: "),
        ({"source": "{}:texts"}, "yields str, expected mappings of columns"),
        ({"source": "{}:no_rows"}, "has no rows"),
        ({"source": "no_such_module:rows"}, "importing no_such_module failed with ModuleNotFoundError"),
    ],
)
def test_function_refused(load: Load, functions: str, source: dict[str, Any], expected: str) -> None:
    message = refused(load, {"train": {**source, "source": source["source"].format(functions)}})
    assert message.startswith("data.train.0: ")
    assert expected in message


def test_size_takes_the_first_rows(load: Load, jsonl: str) -> None:
    assert prompts(load({"train": {"source": jsonl, "size": 2}})["train"]) == ["p0", "p1"]
    assert len(load({"train": {"source": jsonl, "size": 99}})["train"]) == 6


def test_empty_source(load: Load, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    message = refused(load, {"train": {"source": str(tmp_path / "empty.jsonl")}})
    assert message == f"data.train.0: {tmp_path}/empty.jsonl has no rows"


def test_columns_are_renamed(load: Load, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"question": "q", "gold": "g"}])
    (row,) = load({"train": {"source": path, "columns": {"prompt": "question", "answer": "gold"}}})["train"]
    assert (row.prompt[0]["content"], row.columns["answer"]) == ("q", "g")


def test_columns_can_change_places(load: Load, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "a", "answer": "p"}])
    (row,) = load({"train": {"source": path, "columns": {"prompt": "answer", "answer": "prompt"}}})["train"]
    assert (row.columns["prompt"], row.columns["answer"]) == ("p", "a")


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (
            [{"prompt": "p", "gold": "g"}],
            {},
            "has no column 'answer' (needed by the prompt template or a reward), it has ['gold', 'prompt']; "
            "rename one with columns: {answer: …}",
        ),
        ([{"q": "p"}], {}, "{path}:1 has no column 'answer', 'prompt'"),
        ([{"prompt": "p", "answer": "g"}, {"prompt": "p"}], {}, "{path}:2 has no column 'answer'"),
        ([{"q": "p"}], {"prompt": "question"}, "data.train.0.columns: prompt: found no column 'question', the source"),
    ],
)
def test_missing_column(
    load: Load, tmp_path: Path, rows: list[dict[str, Any]], columns: dict[str, str], expected: str
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    assert expected.replace("{path}", path) in refused(load, {"train": {"source": path, "columns": columns}})


def test_template_columns_are_needed(load: Load, jsonl: str) -> None:
    template = {"template": "{prompt} {unit}"}
    assert "has no column 'unit'" in refused(load, {"train": {"source": jsonl}}, prompt=template)


def test_sft_needs_no_columns_of_the_rewards(load: Load, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "p", "trace": "t"}])
    (row,) = load({"sft": {"source": path, "completion": "trace"}}, SFT)["sft"]
    assert row.completion == "t"


def test_completion_from_a_function(load: Load, jsonl: str, functions: str) -> None:
    rows = load({"sft": {"source": jsonl, "completion": f"{functions}:trace"}}, SFT)["sft"]
    assert [row.completion for row in rows] == [f"trace of p{i}" for i in range(6)]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("gone", "data.sft.0.completion: column 'gone' holds None, expected text"),
        ("number", "data.sft.0.completion: column 'number' holds 3, expected text"),
        ("{}:no_trace", "no_trace holds None, expected text"),
        ("{}:gone", "data.sft.0.completion: {} has no 'gone'"),
    ],
)
def test_completion_refused(load: Load, tmp_path: Path, functions: str, completion: str, expected: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "p", "number": 3}])
    source = {"source": path, "completion": completion.format(functions)}
    assert expected.format(functions) in refused(load, {"sft": source}, SFT)


def test_sources_without_weights_are_concatenated(load: Load, jsonl: str, functions: str) -> None:
    rows = load({"train": [{"source": jsonl, "size": 2}, {"source": f"{functions}:rows", "seed": 50}]})["train"]
    assert prompts(rows) == ["p0", "p1", "p50", "p51", "p52"]
    assert [row.row_id for row in rows] == ["train/0/0", "train/0/1", "train/1/0", "train/1/1", "train/1/2"]


@pytest.mark.parametrize(
    ("sizes", "weights", "counts"),
    [
        ((100, 100), (1.0, 1.0), (100, 100)),
        ((100, 100), (3.0, 1.0), (100, 33)),
        ((100, 10), (0.5, 0.5), (10, 10)),
        ((90, 10), (0.9, 0.1), (90, 10)),
        ((10, 100, 100), (0.2, 0.3, 0.5), (10, 15, 25)),
        ((100, 1), (0.999, 0.001), (100, 1)),
    ],
)
def test_mixture_has_the_shares_and_no_row_twice(
    load: Load, functions: str, sizes: tuple[int, ...], weights: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    sources = [
        {"source": f"{functions}:rows", "size": size, "weight": weight, "seed": 1000 * index}
        for index, (size, weight) in enumerate(zip(sizes, weights, strict=True))
    ]
    rows = load({"train": sources})["train"]
    ids = [row.row_id for row in rows]
    assert len(set(ids)) == len(ids)
    assert tuple(sum(name.startswith(f"train/{index}/") for name in ids) for index in range(len(sizes))) == counts


def test_mixture_is_shuffled_with_the_seed_of_the_run(load: Load, functions: str, tmp_path: Path) -> None:
    sources = [{"source": f"{functions}:rows", "size": 20, "weight": 1.0, "seed": seed} for seed in (0, 100)]

    def ids(seed: int) -> list[str]:
        return [r.row_id for r in load({"train": sources}, run={"dir": str(tmp_path), "seed": seed})["train"]]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)
    assert sorted(ids(1)) == sorted(ids(2))
    assert ids(1) != sorted(ids(1), key=lambda name: [int(part) for part in name.split("/")[1:]])


def test_held_out_prompts_are_not_trained_on(load: Load, jsonl: str, functions: str, caplog: Any) -> None:
    held_out = {"source": f"{functions}:rows", "seed": 4, "size": 9}
    with caplog.at_level("INFO", logger="reasoning_rl"):
        data = load({"train": {"source": jsonl}, "eval": held_out}, GRPO, EVAL)
    assert prompts(data["train"]) == ["p0", "p1", "p2", "p3"]
    assert len(data["eval"]) == 9
    assert "data.train: 2 prompts that are held out for evaluation were dropped" in caplog.text


def test_nothing_is_dropped_silently(load: Load, jsonl: str, functions: str, caplog: Any) -> None:
    held_out = {"source": f"{functions}:rows", "seed": 40, "size": 9}
    with caplog.at_level("INFO", logger="reasoning_rl"):
        data = load({"train": {"source": jsonl}, "eval": held_out}, GRPO, EVAL)
    assert len(data["train"]) == 6
    assert caplog.text == ""


def test_everything_dropped(load: Load, jsonl: str, functions: str) -> None:
    data = {"train": {"source": jsonl}, "eval": {"source": f"{functions}:rows", "size": 6}}
    expected = "data.train: all 6 prompts also stand in an evaluation set; use other seeds or files"
    assert refused(load, data, GRPO, EVAL) == expected


def test_the_same_data_trained_and_evaluated(load: Load, jsonl: str) -> None:
    message = refused(load, {"eval": {"source": jsonl}}, {**GRPO, "data": "eval"}, EVAL)
    assert message.startswith("data.eval: is both trained on and evaluated on; ")


def test_only_data_that_a_stage_uses_is_loaded(load: Load, jsonl: str) -> None:
    data = load({"train": {"source": jsonl}, "other": {"source": "/nowhere/gone.jsonl"}})
    assert set(data) == {"train"}
