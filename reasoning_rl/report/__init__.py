"""What a person looks at after (or during) a run: the HTML report and the overview figure.

Reads the run folder and writes files; it changes nothing in the run, loads no model and computes no score. Needs
matplotlib and jinja2, never torch.
"""

from __future__ import annotations

from pathlib import Path

from reasoning_rl.errors import ReasoningRLError, RunDirError
from reasoning_rl.recipe import Recipe
from reasoning_rl.recipe_io import load_recipe
from reasoning_rl.report import figures, html
from reasoning_rl.report.curves import curve, steps_of
from reasoning_rl.report.results import eval_results, read_summary
from reasoning_rl.run_dir import RunDir, read_jsonl, write_text

__all__ = ["write_overview", "write_report"]


def write_report(run_dir: RunDir) -> Path:
    """Writes `report.html`, one file that opens offline, and returns its path. The run may still be in progress.

    Raises:
        RunDirError: the folder holds no run.
        RecipeError: its resolved recipe is not one that this version reads.
    """
    write_text(run_dir.report, html.render(run_dir, _recipe(run_dir)))
    return run_dir.report


def write_overview(run_dir: RunDir, path: str | Path) -> Path:
    """Writes the one figure that sums up the run, as PNG or SVG by the suffix of `path`, and returns its path.

    Raises:
        ReasoningRLError: the suffix is another one, or the folder holds no run (see `write_report`).
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise ReasoningRLError(f"{path}: expected a file name that ends in .png or .svg, found {path.suffix!r}")
    evals = eval_results(_recipe(run_dir), read_summary(run_dir))
    steps = steps_of(read_jsonl(run_dir.metrics), "grpo")
    figure = figures.overview_figure(evals, curve(steps, "reward"), curve(steps, "completions/mean_length"))
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save(figure, path)
    return path


def _recipe(run_dir: RunDir) -> Recipe:
    if not run_dir.recipe.exists():
        raise RunDirError(f"{run_dir.root}: holds no {run_dir.recipe.name}, so it is no run folder; check the path")
    return load_recipe(run_dir.recipe).recipe
