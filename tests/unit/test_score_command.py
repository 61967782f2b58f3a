"""`reasoning-rl score` as a user calls it: rows in order, resumption, refusals with their line, no torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.errors import DataError
from reasoning_rl.score_file import ScoreJob, job_from, score_file

COMMAND = Path(sys.executable).parent / "reasoning-rl"
HOSTILE = Path(__file__).parents[1] / "fixtures" / "hostile_rewards.py"


def call(*arguments: str | Path, cwd: Path | None = None, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "score", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        input=given,
        timeout=120,
    )


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def row(number: int, box: int, answer: int = 3) -> dict[str, Any]:
    return {"id": f"r{number}", "completion": f"<think>a</think>\\boxed{{{box}}}", "answer": str(answer)}


ROWS = [row(number, number % 4) for number in range(40)]


def test_one_reward(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    done = call(source, "-o", out, "--use", "exact_answer", "--option", "extract=boxed", "--workers", "2")
    assert (done.returncode, done.stdout) == (0, "")
    found = read(out)
    assert [item["id"] for item in found] == [item["id"] for item in ROWS]
    assert [item["total"] for item in found] == [float(number % 4 == 3) for number in range(40)]
    assert found[3].keys() == {"id", "total", "scores"}
    (name, score), *_ = found[3]["scores"].items()
    assert name == "exact_answer"
    assert score.keys() == {"value", "verdict", "detail", "seconds"}
    assert (score["value"], score["verdict"], score["detail"]) == (1.0, "correct", {"extracted": "3", "gold": "3"})
    assert "exact_answer: mean 0.2500  wrong 30  correct 10" in done.stderr
    assert "total: mean 0.2500 of 40 scored rows, 40 in all" in done.stderr


def test_recipe(tmp_path: Path, recipe_tree: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path]) -> None:
    rewards = {
        "correct": {"use": "exact_answer", "gate": "format"},
        "format": {"use": "think_format", "weight": 0.5, "options": {"open": "[", "close": "]"}},
        "code": {"use": "exact_answer", "options": {"column": "tests"}, "when": {"kind": "code"}},
    }
    thinking = {"open": "[", "close": "]"}
    recipe = write_recipe(recipe_tree(rewards=rewards, prompt={"thinking": thinking}))
    rows = [
        {"id": 1, "completion": "[a]\\boxed{3}", "answer": 3, "prompt": "q"},
        {"id": 2, "completion": "\\boxed{3}", "answer": 3, "prompt": "q"},
        {"id": 3, "completion": "[a]\\boxed{3}", "answer": 3, "prompt": "q", "kind": "code", "tests": 4},
        {"id": 4, "completion": "[a]\\boxed{3}", "answer": 3, "prompt": "q", "truncated": True},
        {"id": 5, "completion": "[a]\\boxed{3}", "answer": None, "prompt": "q"},
    ]
    out = tmp_path / "out.jsonl"
    done = call(write(tmp_path / "in.jsonl", rows), "-o", out, "--recipe", recipe)
    assert done.returncode == 0, done.stderr
    assert [(item["id"], item["total"]) for item in read(out)] == [(1, 1.5), (2, 0.0), (3, 1.5), (4, 0.0), (5, None)]
    assert read(out)[0]["scores"]["code"]["verdict"] == "not_applicable"
    assert "not scored through no fault of the completion: 1× correct: bad_reference" in done.stderr


def test_standard_streams() -> None:
    given = "".join(json.dumps(item) + "\n" for item in ROWS[:4])
    done = call("-", "-o", "-", "--use", "exact_answer", given=given)
    assert [json.loads(line)["total"] for line in done.stdout.splitlines()] == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("cut", [0, 1, 17, 39, 40])
@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
def test_resume(tmp_path: Path, cut: int, torn: bool) -> None:
    source, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    job = job_from(str(source), str(out), None, "exact_answer", [], None, 0)
    score_file(job)
    whole = read(out)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:cut]) + (lines[cut][:25] if torn and cut < 40 else ""))
    summary = score_file(job)
    assert (summary.resumed_at, summary.rows) == (cut, 40)
    assert [(item["id"], item["total"]) for item in read(out)] == [(item["id"], item["total"]) for item in whole]
    assert summary.lines()[0] == "exact_answer: mean 0.2500  wrong 30  correct 10"


def test_rows_added_later(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", ROWS[:10]), tmp_path / "out.jsonl"
    job = job_from(str(source), str(out), None, "exact_answer", [], None, 0)
    score_file(job)
    write(source, ROWS)
    assert score_file(job).resumed_at == 10
    assert len(read(out)) == 40


def job(tmp_path: Path, rows: Iterable[dict[str, Any]] = ROWS, use: str = "exact_answer", *options: str) -> ScoreJob:
    source = write(tmp_path / "in.jsonl", rows)
    return job_from(str(source), str(tmp_path / "out.jsonl"), None, use, options, None, 0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: job(folder, ROWS, "exact_answer", "extract=final_text"), "was written with other rewards settings"),
        (lambda folder: job(folder, ROWS[1:]), "out.jsonl:1: has the id 'r0' where"),
        (lambda folder: job(folder, ROWS[:5]), "out.jsonl:6: has the id 'r5' where"),
        (lambda folder: ((folder / "out.jsonl.config.json").unlink(), job(folder))[1], "was not written by score"),
        (lambda folder: ((folder / "out.jsonl").write_text("no\n"), job(folder))[1], "out.jsonl:1: found b'no\\n', no row"),
    ],
    ids=["options", "other input", "shorter input", "no config", "no scores"],
)  # fmt: skip
def test_nothing_is_mixed(tmp_path: Path, change: Callable[[Path], ScoreJob], expected: str) -> None:
    score_file(job(tmp_path))
    changed = change(tmp_path)
    before = (tmp_path / "out.jsonl").read_text()
    with pytest.raises(DataError) as caught:
        score_file(changed)
    assert expected in str(caught.value)
    assert "choose another output" in str(caught.value)
    assert (tmp_path / "out.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "in.jsonl:3: not valid JSON"),
        ("[1]", "in.jsonl:3: found '[1]', expected an object"),
        ('{"completion": "x", "answer": 1}', "in.jsonl:3: has no 'id', only ['answer', 'completion']"),
        ('{"id": true, "completion": "x", "answer": 1}', "in.jsonl:3: found id = 'True', expected a text or a number"),
        ('{"id": 1, "completion": null, "answer": 1}', "in.jsonl:3: found completion = 'None', expected a text"),
        ('{"id": 1, "completion": "x", "gold": 1}', "in.jsonl:3: has no column 'answer', which the reward 'exact_answer'"),
        ('{"id": 1, "completion": "x", "answer": 1, "truncated": 1}', "in.jsonl:3: truncated must be true or false"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_and_what_came_before_is_kept(tmp_path: Path, line: str, expected: str) -> None:
    source = write(tmp_path / "in.jsonl", ROWS[:2])
    source.write_text(source.read_text() + line + "\n" + json.dumps(ROWS[2]) + "\n")
    out = tmp_path / "out.jsonl"
    done = call(source, "-o", out, "--use", "exact_answer")
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len(read(out)) == 2
    write(source, ROWS[:3])
    assert call(source, "-o", out, "--use", "exact_answer").returncode == 0
    assert len(read(out)) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expected either --recipe FILE or --use NAME"),
        (["--use", "exact_answer", "--recipe", "x.yaml"], "expected either --recipe FILE or --use NAME"),
        (["--use", "exact_anser"], "no reward is registered as 'exact_anser'"),
        (["--use", "exact_answer", "--option", "extract=box"], "option 'extract': found 'box'"),
        (["--use", "exact_answer", "--option", "extract"], "override 'extract': expected key.path=value"),
        (["--recipe", "gone.yaml"], "gone.yaml: no such recipe"),
        (["--recipe", "gone.yaml", "--option", "a=1"], "--option belongs to --use"),
    ],
)
def test_refused(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = call(write(tmp_path / "in.jsonl", ROWS), "-o", tmp_path / "out.jsonl", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_missing_files(tmp_path: Path) -> None:
    done = call(tmp_path / "gone.jsonl", "-o", tmp_path / "out.jsonl", "--use", "exact_answer")
    assert (done.returncode, "gone.jsonl: cannot be read (No such file" in done.stderr) == (2, True)
    done = call(write(tmp_path / "in.jsonl", ROWS), "-o", tmp_path / "a" / "out.jsonl", "--use", "exact_answer")
    assert (done.returncode, "cannot be written (No such file" in done.stderr) == (2, True)


def test_rewards_of_the_working_directory_and_deadlines(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import time\ndef slow(sample):\n    time.sleep(float(sample.completion.text))\n    return 1.0\n"
    )
    rows = [{"id": 0, "completion": "0"}, {"id": 1, "completion": "60"}, {"id": 2, "completion": "0.0"}]
    write(tmp_path / "in.jsonl", rows)
    done = call("in.jsonl", "-o", "out.jsonl", "--use", "mine.py:slow", "--timeout-s", "0.5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [item["total"] for item in read(tmp_path / "out.jsonl")] == [1.0, None, 1.0]
    assert "no score within 0.5 s" in done.stderr


def test_interrupted_and_resumed(tmp_path: Path) -> None:
    rows = ({"id": number, "completion": f"sleep 0.0{number % 5}"} for number in range(300))
    source, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    arguments = [COMMAND, "score", source, "-o", out, "--use", f"{HOSTILE}:act", "--workers", "1"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=os.environ) as started:
        end = time.monotonic() + 30
        while time.monotonic() < end and not (out.exists() and out.stat().st_size):
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        assert started.wait(timeout=20) == 130
    assert 0 < len(read(out)) < 300
    done = call(*arguments[2:])
    assert done.returncode == 0, done.stderr
    assert [item["id"] for item in read(out)] == list(range(300))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Five thousand rows of 40 kB: 200 MB through a process that may not grow by 150."""
    source = tmp_path / "in.jsonl"
    with source.open("w") as file:
        for number in range(5_000):
            file.write(json.dumps({"id": number, "completion": f"{number} " + "x" * 40_000, "answer": 1}) + "\n")
    script = (
        "import resource, sys; from reasoning_rl.score_file import job_from, score_file; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "score_file(job_from(sys.argv[1], sys.argv[2], None, 'exact_answer', [], None, 1)); "
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, source, tmp_path / "out.jsonl"], capture_output=True, text=True, check=True
    )
    grown, has_torch = done.stdout.split()
    assert int(grown) < 150
    assert has_torch == "False"
    assert sum(1 for _ in (tmp_path / "out.jsonl").open()) == 5_000
