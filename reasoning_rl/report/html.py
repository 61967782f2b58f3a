"""The HTML report: which sections it has, what each says when there is nothing to show, and its rendering.

Draws no figure and picks no completion itself. The template escapes every text; only SVG of our own is trusted. The
page refers to nothing outside of itself, and its content security policy forbids scripts and network access.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from reasoning_rl.recipe import Recipe
from reasoning_rl.report import figures
from reasoning_rl.report.curves import StageSteps, curve, curves, phase_times, steps_of
from reasoning_rl.report.results import EvalResult, eval_results, headline, read_summary, stage_minutes
from reasoning_rl.report.samples import NUM_LAST_STEPS, pick_samples
from reasoning_rl.run_dir import RunDir, read_json, read_jsonl


@dataclass(frozen=True, slots=True)
class Panel:
    """A figure with its title and a sentence on how to read it, or the sentence that says why there is none."""

    title: str
    caption: str
    svg: Markup | None


def render(run_dir: RunDir, recipe: Recipe) -> str:
    """The whole page."""
    summary = read_summary(run_dir)
    results = eval_results(recipe, summary)
    samples = pick_samples(run_dir, recipe)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": _share, "num": _num, "mean": _mean}
    return environment.get_template("template.html").render(
        run_dir=run_dir.root,
        recipe=recipe,
        headline=headline(results),
        results=results,
        reward_names=list(dict.fromkeys(name for result in results for name in result.rewards)),
        stages=[(stage, run_dir.stage(recipe, stage).done.exists()) for stage in recipe.stages],
        panels=_panels(run_dir, recipe, results, stage_minutes(summary)),
        samples=samples,
        num_last_steps=NUM_LAST_STEPS,
        manifest=_manifest(run_dir, summary.get("model")),
        recipe_json=json.dumps(recipe.model_dump(mode="json"), indent=2, ensure_ascii=False),
    )


def _panels(run_dir: RunDir, recipe: Recipe, results: list[EvalResult], minutes: dict[str, float]) -> Iterable[Panel]:
    metrics = list(read_jsonl(run_dir.metrics))
    yield _panel(
        "Accuracy per eval stage",
        "Bars are the mean score over all samples; the line on each is the 95\u00a0% interval.",
        figures.accuracy_figure(results) if results else None,
        _missing(recipe, "eval", "no eval stage has finished"),
    )
    yield from _grpo_panels(steps_of(metrics, "grpo"), _missing(recipe, "grpo", "no GRPO step has logged it"))
    yield _panel(
        "Minutes per stage",
        "Wall-clock time of each stage.",
        figures.minutes_figure(minutes) if minutes else None,
        "Nothing to show yet: no summary has been written.",
    )
    if any(stage.kind == "sft" for stage in recipe.stages):
        loss = curve(steps_of(metrics, "sft"), "loss")
        yield _panel(
            "SFT loss",
            "Cross-entropy of the supervised completions.",
            figures.trend_figure(loss, "loss", "SFT step") if loss else None,
            "Nothing to show yet: no SFT step has been logged.",
        )


def _grpo_panels(grpo: list[StageSteps], nothing: str) -> Iterable[Panel]:
    reward = curve(grpo, "reward")
    yield _panel(
        "Reward",
        f"Mean total reward of the completions of a step. Points are steps, lines the mean of the last {figures.WINDOW}.",
        figures.trend_figure(reward, "reward", "GRPO step") if reward else None,
        nothing,
    )
    length = curve(grpo, "completions/mean_length")
    shortest, longest = curves(grpo, ("completions/min_length", "completions/max_length"))
    yield _panel(
        "Completion length",
        "Tokens per completion, thinking included: the mean, and a band from the shortest to the longest.",
        figures.length_figure(length, shortest, longest) if length else None,
        nothing,
    )
    truncated = curve(grpo, "completions/clipped_ratio")
    yield _panel(
        "Truncated completions",
        "Share of completions cut off at the token limit before they ended.",
        figures.share_figure(truncated, "truncated", "GRPO step", color="#d97706") if truncated else None,
        nothing,
    )
    entropy = curve(grpo, "entropy")
    yield _panel(
        "Entropy",
        "Mean entropy of the policy per token; near 0 it no longer explores.",
        figures.trend_figure(entropy, "nats per token", "GRPO step", color="#9333ea") if entropy else None,
        nothing,
    )
    useful = curve(grpo, "useful_group_share")
    yield _panel(
        "Useful groups",
        "Share of groups whose completions got different rewards; the others give no gradient.",
        figures.share_figure(useful, "useful groups", "GRPO step") if useful else None,
        nothing,
    )
    if prompts := curve(grpo, "prompts/sampled"):  # only where the recipe chooses
        yield _panel(
            "Prompts per step",
            "Prompts sampled in a step, those included whose groups were dropped.",
            figures.trend_figure(prompts, "prompts", "GRPO step"),
            nothing,
        )
    times = phase_times(grpo)
    yield _panel(
        "Time per phase",
        "Seconds that each phase of a step took.",
        figures.phases_figure(times) if times.seconds else None,
        nothing,
    )
    sampled, trained = curve(grpo, "sampled_tokens_per_s"), curve(grpo, "trained_tokens_per_s")
    yield _panel(
        "Tokens per second",
        "Completion tokens sampled per second of rollout, and trained per second of update.",
        figures.rates_figure(sampled, trained) if sampled or trained else None,
        nothing,
    )


def _panel(title: str, caption: str, figure: Figure | None, nothing: str) -> Panel:
    if figure is None:
        return Panel(title, nothing, None)
    return Panel(title, caption, Markup(figures.inline_svg(figure, title)))


def _missing(recipe: Recipe, kind: str, otherwise: str) -> str:
    if all(stage.kind != kind for stage in recipe.stages):
        return f"Nothing to show: the recipe has no {kind} stage."
    return f"Nothing to show yet: {otherwise}."


def _manifest(run_dir: RunDir, final_model: Any) -> list[tuple[str, list[str]]]:
    """Name and lines of each entry; empty as long as there is no manifest."""
    if not run_dir.manifest.exists():
        return []
    manifest = read_json(run_dir.manifest)
    git = manifest.get("git") or {}
    commit = f"{git.get('commit', '')}{' with uncommitted changes' if git.get('dirty') else ''}"
    return [
        ("recipe file", [str(manifest.get("recipe", "unknown"))]),
        ("overrides", [str(override) for override in manifest.get("overrides") or ()] or ["none"]),
        ("started", [str(time) for time in manifest.get("started") or ()] or ["unknown"]),
        ("git", [commit or "not run from a git checkout"]),
        (
            "rewards",
            [f"{name}: {_origin(origin)}" for name, origin in (manifest.get("rewards") or {}).items()] or ["none"],
        ),
        ("final model", [str(final_model or "not written yet")]),
        (
            "versions",
            [f"{name} {version}" for name, version in (manifest.get("versions") or {}).items()] or ["unknown"],
        ),
    ]


def _origin(origin: Any) -> str:
    if isinstance(origin, dict):
        return ", ".join(f"{key} {value}" for key, value in origin.items())
    return str(origin)


def _num(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
