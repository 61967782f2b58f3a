"""The report shows what the run folder holds, says plainly what it does not, and trusts no model text."""

from __future__ import annotations

import html.parser
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from reasoning_rl.errors import ReasoningRLError, RunDirError
from reasoning_rl.recipe import Recipe
from reasoning_rl.report import figures, write_overview, write_report
from reasoning_rl.report.curves import Segment, curve, curves, phase_times, steps_of
from reasoning_rl.report.results import EvalResult, eval_results, headline
from reasoning_rl.run_dir import RunDir, read_json

MakeRun = Callable[..., RunDir]
EVAL, SFT, GRPO = {"name": "before", "kind": "eval"}, {"name": "sft", "kind": "sft"}, {"name": "grpo", "kind": "grpo"}
SECTIONS = ["Eval stages", "Figures", "Completions", "Manifest", "Resolved recipe"]
PANELS = ["Accuracy per eval stage", "Reward", "Completion length", "Truncated completions", "Entropy", "Useful groups",
          "Time per phase", "Tokens per second", "Minutes per stage"]  # fmt: skip


class Page(html.parser.HTMLParser):
    """What a browser would see: headings, tags, references, text, and how often each id occurs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self.tags[-1] in ("h2", "h3") and data.strip():
            self.headings.append(data.strip())


def result(accuracy: float, stage: str = "before", dataset: str = "eval", num_problems: int = 256) -> EvalResult:
    return EvalResult(
        stage, dataset, accuracy, (accuracy - 0.01, accuracy + 0.02), num_problems, 4 * num_problems, 0.0, {}
    )


def grpo(step: int, stage: Any = "grpo", **metrics: Any) -> dict[str, Any]:
    return {"stage": stage, "kind": "grpo", "step": step, **metrics}


def svg_of(figure: Figure) -> str:
    return figures.inline_svg(figure, "a title")


# --- the page ---


def test_finished_run_has_every_section_and_figure(finished_run: RunDir) -> None:
    path = write_report(finished_run)
    page = Page(path.read_text(encoding="utf-8"))
    assert path == finished_run.report
    assert [heading for heading in page.headings if heading in SECTIONS] == SECTIONS
    assert [heading for heading in page.headings if heading in PANELS] == PANELS
    assert "SFT loss" in page.headings
    assert page.tags.count("svg") == 10
    assert "accuracy 0.02 → 0.43 → 0.86 on 256 problems × 4 samples" in page.text
    assert "Nothing to show" not in page.text
    for shown in ("package:smollm2-135m-instruct", "arithmetic-135m", "0.390 – 0.470", "5.0 %", "run.seed=1", "trl 1.16.0",
                  "0123456789abcdef with uncommitted changes", '"num_generations": 8', "eval-3"):  # fmt: skip
        assert shown in page.text


def test_prompts_per_step_only_where_they_are_chosen(make_run: MakeRun) -> None:
    plain = write_report(make_run(metrics=[grpo(1, reward=0.5)])).read_text(encoding="utf-8")
    chosen = write_report(make_run(metrics=[grpo(2, **{"prompts/sampled": 9.0})])).read_text(encoding="utf-8")
    assert ["Prompts per step" in Page(text).headings for text in (plain, chosen)] == [False, True]


def test_model_text_stays_text(finished_run: RunDir) -> None:
    text = write_report(finished_run).read_text(encoding="utf-8")
    page = Page(text)
    assert page.text.count("<script>alert(1)</script>") >= 4
    assert "script" not in page.tags and "b" in page.tags
    assert "<b>not</b>" not in text


def test_every_text_from_the_run_is_escaped(make_run: MakeRun) -> None:
    attack = '"><img src=x onerror=alert(1)>'
    row = {
        "stage": attack, "step": 1, "row_id": attack, "prompt": [{"role": attack, "content": attack}],
        "completion": attack, "total": 1.0, "scores": {attack: {"value": 1.0, "verdict": attack, "detail": {attack: attack}}},
    }  # fmt: skip
    summary = {"before": {"accuracy": 0.5, "rewards": {attack: 0.5}}, "minutes": {attack: 1.0}, "model": attack}
    run_dir = make_run([EVAL, GRPO], summary, [grpo(1, attack, reward=1.0), grpo(1, attack + "2", reward=1.0)], [row])
    page = Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert page.text.count(attack) >= 12
    assert "img" not in page.tags


def test_page_refers_to_nothing_outside(finished_run: RunDir) -> None:
    text = write_report(finished_run).read_text(encoding="utf-8")
    page = Page(text)
    assert page.references, "the figures use references, or this test looks at nothing"
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    assert not {"script", "link", "iframe", "img", "object", "base"} & set(page.tags)
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert text.count("url(") == text.count("url(#") > 0
    assert "default-src 'none'" in text


def test_ids_are_unique_over_all_figures(finished_run: RunDir) -> None:
    ids = Page(write_report(finished_run).read_text(encoding="utf-8")).ids
    assert ids and len(ids) == len(set(ids))


def test_same_run_same_bytes(finished_run: RunDir) -> None:
    assert write_report(finished_run).read_bytes() == write_report(finished_run).read_bytes()


# --- partial runs ---


@pytest.mark.parametrize(
    ("stages", "summary", "metrics", "num_svgs", "sentences"),
    [
        pytest.param([EVAL], None, None, 0, [
            "No eval stage has finished yet.", "no eval stage has finished.", "the recipe has no grpo stage.",
            "no summary has been written.", "no GRPO step has left scored completions.", "no eval stage has left completions.",
        ], id="nothing yet"),
        pytest.param([EVAL], {"before": {"accuracy": 0.25, "num_problems": 1, "num_samples": 1}}, None, 1,
                     ["accuracy 0.25 on 1 problem × 1 sample", "the recipe has no grpo stage."], id="eval only"),
        pytest.param([SFT], {"minutes": {"sft": 1.0}}, [{"stage": "sft", "kind": "sft", "step": 1, "loss": 2.0}], 2,
                     ["the recipe has no eval stage.", "the recipe has no grpo stage."], id="sft only"),
        pytest.param([SFT, GRPO], None, None, 0, ["no SFT step has been logged.", "no GRPO step has logged it."],
                     id="before the first step"),
        pytest.param([EVAL, GRPO], None, [grpo(1, reward=0.5), grpo(2, reward=float("nan")), grpo(3, entropy=None)], 1,
                     ["no eval stage has finished.", "no GRPO step has logged it."], id="grpo in progress"),
        pytest.param([GRPO], {}, [grpo(1), {}, {"kind": "grpo"}, {"step": 2}], 0, ["no GRPO step has logged it."],
                     id="rows without metrics"),
        pytest.param([EVAL], {"before": {"accuracy": None}, "minutes": {}}, [], 0, ["no eval stage has finished."],
                     id="empty entries"),
    ],
)  # fmt: skip
def test_partial_runs_say_what_is_missing(
    make_run: MakeRun, stages: Any, summary: Any, metrics: Any, num_svgs: int, sentences: list[str]
) -> None:
    run_dir = make_run(stages, summary, metrics)
    page = Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert page.tags.count("svg") == num_svgs
    assert [heading for heading in page.headings if heading in SECTIONS] == SECTIONS
    for sentence in sentences:
        assert sentence in page.text
    assert write_overview(run_dir, run_dir.root / "overview.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    "rollouts",
    [
        pytest.param([], id="empty file"),
        pytest.param([{"total": None, "completion": "x"}], id="only abstained"),
        pytest.param([{"total": float("nan")}], id="no finite total"),
    ],
)
def test_rollouts_without_totals(make_run: MakeRun, rollouts: list[dict[str, Any]]) -> None:
    page = Page(write_report(make_run([GRPO], rollouts=rollouts)).read_text(encoding="utf-8"))
    assert "no GRPO step has left scored completions." in page.text


def test_rollout_row_with_missing_keys_and_a_missing_manifest(make_run: MakeRun) -> None:
    run_dir = make_run([GRPO], rollouts=[{"total": 0.5}, {"total": 0.25, "scores": {"exact": {}}, "prompt": None}])
    run_dir.manifest.unlink()
    page = Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert "Highest totals" in page.headings and page.tags.count("article") == 2
    assert "no manifest has been written." in page.text


def test_no_wrong_completion_in_the_last_eval(make_run: MakeRun) -> None:
    right = {"row_id": "1", "completion": "5", "scores": {"exact": {"value": 1.0, "verdict": "correct"}}}
    page = Page(write_report(make_run([EVAL], wrong=[right])).read_text(encoding="utf-8"))
    assert "No completion of the stage “before” was scored as wrong." in page.text


def test_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match=r"holds no recipe\.json"):
        write_report(RunDir(tmp_path))


# --- curves ---


def test_curve_leaves_out_what_is_no_number() -> None:
    values = [0.5, None, float("nan"), float("inf"), "0.5", True, 1]
    steps = steps_of([grpo(step, reward=value) for step, value in enumerate(values, 1)], "grpo")
    assert curve(steps, "reward") == [Segment("grpo", (1, 7), (0.5, 1.0))]
    assert curve(steps, "absent") == []


def test_stages_follow_one_another_on_the_axis() -> None:
    rows = [
        grpo(1, "easy", a=1),
        grpo(2, "easy", a=2),
        {"stage": "sft", "kind": "sft", "step": 9},
        grpo(1, "hard", a=3),
    ]
    assert curve(steps_of(rows, "grpo"), "a") == [Segment("easy", (1, 2), (1.0, 2.0)), Segment("hard", (3,), (3.0,))]


def test_rows_of_one_step_merge_and_a_resumption_wins() -> None:
    steps = steps_of([grpo(1, a=1), grpo(2, a=9), grpo(2, b=5), grpo(2, a=2)], "grpo")
    assert curve(steps, "a") == [Segment("grpo", (1, 2), (1.0, 2.0))]
    assert curve(steps, "b") == [Segment("grpo", (2,), (5.0,))]


def test_joint_curves_share_their_steps() -> None:
    low, high = curves(
        steps_of([grpo(1, low=1, high=2), grpo(2, low=3), grpo(3, low=5, high=6)], "grpo"), ("low", "high")
    )
    assert low == [Segment("grpo", (1, 3), (1.0, 5.0))] and high == [Segment("grpo", (1, 3), (2.0, 6.0))]


def test_phase_times_add_up_to_the_step() -> None:
    first = {"time/rollout_s": 3.0, "time/update_s": 2.0, "time/step_s": 6.0}
    times = phase_times(steps_of([grpo(1, **first), grpo(2, reward=1), grpo(3, **{"time/rollout_s": 4.0})], "grpo"))
    assert times.x == (1, 3)
    assert times.seconds == {"rollout": (3.0, 4.0), "update": (2.0, 0.0), "other": (1.0, 0.0)}


# --- results ---


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        pytest.param([], "No eval stage has finished yet.", id="none"),
        pytest.param([result(0.02), result(0.43), result(0.86)],
                     "accuracy 0.02 → 0.43 → 0.86 on 256 problems × 4 samples", id="three"),
        pytest.param([result(0.1), result(0.5, dataset="hard", num_problems=8), result(0.9)],
                     "accuracy 0.10 → 0.90 on 256 problems × 4 samples of eval; "
                     "accuracy 0.50 on 8 problems × 4 samples of hard", id="two data sets"),
        pytest.param([EvalResult("a", "eval", 0.5, None, None, None, None, {})],
                     "accuracy 0.50 on an unknown number of problems", id="unknown"),
    ],
)  # fmt: skip
def test_headline(results: list[EvalResult], sentence: str) -> None:
    assert headline(results) == sentence


def test_eval_results_follow_the_recipe(finished_run: RunDir) -> None:
    recipe = Recipe.model_validate(read_json(finished_run.recipe))
    summary = dict(reversed(read_json(finished_run.summary).items()))
    assert [result.stage for result in eval_results(recipe, summary)] == ["before", "after_sft", "after"]


# --- figures ---


def test_accuracy_figure_draws_values_and_intervals() -> None:
    figure = figures.accuracy_figure([result(0.25), result(0.75, "after")])
    ax = figure.axes[0]
    assert [bar.get_height() for bar in ax.patches] == [0.25, 0.75]  # pyright: ignore[reportAttributeAccessIssue]
    svg = svg_of(figure)
    assert all(f">{text}</text>" in svg for text in ("before", "after", "0.25", "0.75"))


def test_trend_figure_draws_points_and_trailing_mean_per_stage() -> None:
    figure = figures.trend_figure([Segment("a", (1, 2), (0.0, 1.0)), Segment("b", (3,), (5.0,))], "reward", "step")
    drawn = [list(line.get_ydata()) for line in figure.axes[0].lines]  # pyright: ignore[reportArgumentType]
    assert drawn[:4] == [[0.0, 1.0], [0.0, 0.5], [5.0], [5.0]]
    assert list(figure.axes[0].lines[4].get_xdata()) == [2.5, 2.5]  # pyright: ignore[reportArgumentType]


def test_trailing_mean() -> None:
    assert figures.trailing_mean([2.0, 4.0, 6.0, 8.0], window=2) == [2.0, 3.0, 5.0, 7.0]


def test_length_figure_has_a_band_only_where_bounds_are_known() -> None:
    mean = [Segment("grpo", (1, 2), (5.0, 6.0))]
    assert len(figures.length_figure(mean, [], []).axes[0].collections) == 0
    assert len(figures.length_figure(mean, [Segment("grpo", (1,), (1.0,))], [Segment("grpo", (1,), (9.0,))])
               .axes[0].collections) == 1  # fmt: skip


def test_rates_figure_draws_what_is_known() -> None:
    sampled = [Segment("grpo", (1, 2), (300.0, 310.0))]
    legend = figures.rates_figure(sampled, []).axes[0].get_legend()
    assert legend and [text.get_text() for text in legend.get_texts()] == ["sampled"]
    ax = figures.rates_figure(sampled, [Segment("grpo", (2,), (200.0,))]).axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sampled", "trained"]  # pyright: ignore
    assert ax.get_ylim()[0] == 0


@pytest.mark.parametrize(("num_steps", "num_bars"), [(1, 1), (120, 120), (121, 61), (3000, 120)])
def test_phases_figure_bounds_its_bars(num_steps: int, num_bars: int) -> None:
    rows = [grpo(step, **{"time/rollout_s": 2.0, "time/update_s": 1.0}) for step in range(1, num_steps + 1)]
    ax = figures.phases_figure(phase_times(steps_of(rows, "grpo"))).axes[0]
    assert len(ax.patches) == 2 * num_bars
    assert {bar.get_height() for bar in ax.patches} == {2.0, 1.0}  # pyright: ignore[reportAttributeAccessIssue]


def test_long_runs_stay_small(make_run: MakeRun) -> None:
    run_dir = make_run([GRPO], metrics=[grpo(step, reward=step % 7, entropy=0.5) for step in range(1, 20_001)])
    assert write_report(run_dir).stat().st_size < 4_000_000


def test_dollars_in_names_are_no_formula() -> None:
    assert "$x^2$" in svg_of(figures.minutes_figure({"$x^2$": 1.0}))


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_overview_by_suffix(finished_run: RunDir, tmp_path: Path, suffix: str, start: bytes) -> None:
    path = write_overview(finished_run, tmp_path / "docs" / f"overview{suffix}")
    assert path.read_bytes().startswith(start)


def test_overview_refuses_other_suffixes(finished_run: RunDir) -> None:
    with pytest.raises(ReasoningRLError, match=r"expected a file name that ends in \.png or \.svg, found '\.gif'"):
        write_overview(finished_run, "overview.gif")


def test_no_training_stack_is_imported() -> None:
    code = "import reasoning_rl.report, sys, json; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
    assert "matplotlib.figure" in modules
    assert not {"torch", "trl", "transformers", "vllm", "matplotlib.pyplot"} & set(modules)
