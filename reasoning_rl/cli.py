"""The command line: `reasoning-rl init | check | train | difficulty | rewards | new-reward | audit | score | sandbox | report`.

Only parses arguments and prints; each command imports what it needs when it runs, so that `--help` is instant.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from reasoning_rl.api import Message
    from reasoning_rl.recipe import Recipe

app = typer.Typer(
    help="Reinforcement-learning reasoning trainer on TRL: vLLM rollouts, verifiable rewards, GRPO-family updates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

sandbox_app = typer.Typer(help="Isolation of model-written programs.", no_args_is_help=True)
app.add_typer(sandbox_app, name="sandbox")

RecipeArgument = Annotated[Path, typer.Argument(help="Recipe file (.yaml).", show_default=False)]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(help="Overrides such as grpo.max_steps=2.", show_default=False)
]


@app.command()
def check(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    build: Annotated[
        bool, typer.Option(help="Also build the configs of TRL and PEFT (imports torch: some seconds).")
    ] = False,
    show: Annotated[
        bool, typer.Option(help="Also print the first row of each data set as the model and the rewards get it.")
    ] = False,
) -> None:
    """Check a recipe without loading a model: keys, types, rewards, files, first rows, batch sizes. All problems at once."""
    from reasoning_rl.data_check import check_all, show_lines
    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.recipe_io import load_recipe
    from reasoning_rl.run_dir import RunDir

    try:
        file = load_recipe(recipe, overrides or [])
        data, notes = check_all(file)
        run_dir = RunDir.check(file)
        if build:
            from reasoning_rl.trl_bridge.requirements import require_training_stack

            require_training_stack(file.recipe)

            from reasoning_rl.trl_bridge.args import build_all

            build_all(file.recipe, run_dir.root)
    except ReasoningRLError as error:
        _refuse(error)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if show:
        typer.echo("\n".join(show_lines(file, data, _chat_text(file.recipe))))
    stages = " → ".join(stage.name for stage in file.recipe.stages)
    typer.echo(f"{recipe}: ok ({stages}; run folder {file.recipe.run.dir})")


@app.command()
def init(
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="Your rows (default: made-up chain sums).")] = None,
    model: Annotated[str | None, typer.Option(help="Hub id or folder (default: SmolLM2-135M-Instruct).")] = None,
    reward: Annotated[str | None, typer.Option(help="Reward (default: one that reads the answers).")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Recipe to write.")] = Path("recipe.yaml"),
) -> None:
    """Write a small complete recipe to start from. Overwrites nothing."""
    import shlex

    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.init_recipe import DEFAULT_MODEL, write_recipe

    try:
        write_recipe(output, data, model or DEFAULT_MODEL, reward)
    except ReasoningRLError as error:
        _refuse(error)
    typer.echo(f"{output} written; next:")
    typer.echo(f"  reasoning-rl check {shlex.quote(str(output))} --show")
    typer.echo(f"  reasoning-rl train {shlex.quote(str(output))}")


@app.command()
def train(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Run or resume a recipe under `accelerate launch` with its launch section."""
    from reasoning_rl.data_check import check_all
    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.launch import launch
    from reasoning_rl.recipe_io import load_recipe
    from reasoning_rl.run_dir import RunDir
    from reasoning_rl.trl_bridge.requirements import require_training_stack

    try:
        file = load_recipe(recipe, overrides or [])
        check_all(file)
        run_dir = RunDir.check(file)
        require_training_stack(file.recipe)
    except ReasoningRLError as error:
        _refuse(error)
    size = run_dir.log.stat().st_size if run_dir.log.exists() else 0
    code = launch(str(recipe), overrides or [], file.recipe.launch)
    if code not in (0, 2, 130) and run_dir.log.exists() and run_dir.log.stat().st_size > size:
        typer.echo(f"the run ended with exit code {code}; what libraries wrote stands in {run_dir.log}", err=True)
    raise typer.Exit(code)


@app.command()
def difficulty(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT.jsonl", help="Rows that are kept (default: RECIPE.difficulty.jsonl)."
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Completions per row (default: num_generations of the stage).")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows to sample, drawn at random (default: all).")] = None,
    low: Annotated[
        float | None, typer.Option("--min", min=0, max=1, help="Lowest pass rate (default: above 0).")
    ] = None,
    high: Annotated[
        float | None, typer.Option("--max", min=0, max=1, help="Highest pass rate (default: below 1).")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="A grpo stage (default: the first).")] = None,
    reward: Annotated[str | None, typer.Option(help="What counts as solved (default: eval.accuracy).")] = None,
) -> None:
    """Sample every training prompt, and keep the rows that the policy solves sometimes. The same call resumes.

    Beside OUT.jsonl, OUT.jsonl.rates.jsonl has the pass rate of every row; another --min or --max samples nothing again.
    The policy is model.source: to sample one that a run has trained, add model.source=RUN/stages/NN_name/model.
    """
    from reasoning_rl.difficulty import Bounds, earlier_stages, job_from, measure, nothing_kept, summary_lines
    from reasoning_rl.errors import DataError, ReasoningRLError
    from reasoning_rl.recipe_io import load_recipe

    try:
        job = job_from(load_recipe(recipe, overrides or []), output, samples, rows, Bounds(low, high), stage, reward)
        if before := earlier_stages(job):
            typer.echo(f"note: the recipe trains {', '.join(before)} first; sampled is model.source as it is", err=True)
        rates = measure(job)
    except ReasoningRLError as error:
        _refuse(error)
    except KeyboardInterrupt:
        typer.echo("stopped; the same call goes on from here", err=True)
        raise typer.Exit(130) from None
    typer.echo("\n".join(summary_lines(job, rates)))
    if problem := nothing_kept(job, rates):
        _refuse(DataError(problem))


@app.command()
def rewards(
    name: Annotated[
        str | None,
        typer.Argument(help="Show all about one: its name, module:Attr or file.py:Attr.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """List the registered rewards with origin, version, columns and options."""
    import json

    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.reward_listing import list_rewards, reward_info

    try:
        if name:
            info = reward_info(name)
            typer.echo(json.dumps(info.as_dict(), indent=2) if as_json else "\n".join(info.details()))
            return
        infos = list_rewards()
    except ReasoningRLError as error:
        _refuse(error)
    if as_json:
        typer.echo(json.dumps([info.as_dict() for info in infos], indent=2))
    else:
        typer.echo("\n".join(line for info in infos for line in info.lines()))


@app.command()
def score(
    source: Annotated[
        str, typer.Argument(metavar="IN.jsonl", help="Rows with id, completion and columns; - for stdin.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT.jsonl", help="Scores; - for stdout.")],
    recipe: Annotated[Path | None, typer.Option(help="Take rewards, prompt and scoring from a recipe.")] = None,
    use: Annotated[str | None, typer.Option(help="Or one reward: its name, module:Attr or file.py:Attr.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Option of that reward: key=value (repeatable).")] = None,
    timeout_s: Annotated[float | None, typer.Option(help="Seconds for one completion.")] = None,
    workers: Annotated[int | None, typer.Option(help="Grading processes; 0: in this one, without deadlines.")] = None,
) -> None:
    """Score completions with the rewards of a recipe or with one reward. The same call resumes after an interruption.

    Optional columns: prompt (a text, or a list of messages), truncated (false), num_tokens (0).
    """
    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.score_file import job_from, score_file

    try:
        summary = score_file(job_from(source, output, recipe, use, option or [], timeout_s, workers))
    except ReasoningRLError as error:
        _refuse(error)
    except KeyboardInterrupt:
        typer.echo("stopped; the same call goes on from here", err=True)
        raise typer.Exit(130) from None
    if summary.resumed_at:
        typer.echo(f"resumed after {summary.resumed_at} rows", err=True)
    for line in summary.lines():
        typer.echo(line, err=True)


@app.command()
def audit(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows to look at, drawn at random. [default: up to 1000]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Try the rewards on the recipe's rows: right answers, answers beside them, attacks. Exit code 2 on an offence."""
    import json

    from reasoning_rl.audit import MAX_ROWS, audit_recipe, sampled_rows
    from reasoning_rl.data import load_data
    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.grading import Grader
    from reasoning_rl.progress import StageProgress
    from reasoning_rl.recipe_check import check as check_recipe
    from reasoning_rl.recipe_io import load_recipe
    from reasoning_rl.scoring import RewardSet

    try:
        file = load_recipe(recipe, overrides or [])
        check_recipe(file)
        rewards = RewardSet.from_recipe(file.recipe)
        data = load_data(file.recipe, rewards.required_columns)
        max_rows = rows or MAX_ROWS
        total = len(sampled_rows(file.recipe, data, max_rows))
        with Grader(rewards, file.recipe.scoring) as grader, StageProgress("audit", total, "rows") as progress:
            found = audit_recipe(
                file.recipe,
                data,
                rewards,
                max_rows=max_rows,
                score=lambda sample: grader.submit(sample).result(),
                advance=progress.advance,
            )
    except ReasoningRLError as error:
        _refuse(error)
    typer.echo(json.dumps(found.as_dict(), indent=2, default=str) if as_json else "\n".join(found.lines()))
    if not found.is_clean:
        raise typer.Exit(2)


@app.command("new-reward")
def new_reward(
    name: Annotated[
        str, typer.Argument(help="Name of the reward: lower case, digits, underscores.", show_default=False)
    ],
    package: Annotated[bool, typer.Option("--package", help="Make a folder that pip can install.")] = False,
    into: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
) -> None:
    """Write a reward and its test, ready to be filled in."""
    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.scaffold import write_reward

    try:
        written = write_reward(name, into, as_package=package)
    except ReasoningRLError as error:
        _refuse(error)
    for path in written:
        typer.echo(path)


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    overview: Annotated[Path | None, typer.Option(help="Also write the overview figure (.png or .svg).")] = None,
) -> None:
    """Write report.html of a run, finished or still going."""
    from reasoning_rl.errors import MissingExtraError, ReasoningRLError
    from reasoning_rl.run_dir import RunDir

    try:
        try:
            from reasoning_rl.report import write_overview, write_report
        except ImportError as error:
            raise MissingExtraError(f"reports need {error.name}; pip install matplotlib jinja2") from None
        typer.echo(write_report(RunDir(run_dir)))
        if overview:
            typer.echo(write_overview(RunDir(run_dir), overview))
    except ReasoningRLError as error:
        _refuse(error)


@sandbox_app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False) -> None:
    """Try every tier of isolation with real attacks; say which one holds here. Exit code 2 when none does."""
    import json

    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.sandbox.doctor import examine, lines

    try:
        found = examine()
    except ReasoningRLError as error:
        _refuse(error)
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))
    if found["tier"] is None:
        raise typer.Exit(2)


def main() -> None:
    """Entry point of the `reasoning-rl` command."""
    sys.path.insert(0, "")  # as `python -m` does, so that `my_module:Attr` of the working directory is found here too
    app()


def _chat_text(recipe: Recipe) -> Callable[[list[Message]], tuple[str, int]] | None:
    """Messages to the text that the model gets and its number of tokens; `None`, with a note, without a tokenizer here."""
    try:
        from reasoning_rl.trl_bridge.policy import local_tokenizer

        tokenizer = local_tokenizer(recipe.model)
    except Exception as error:  # noqa: BLE001 - transformers and a hub cache fail in too many ways to list
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        typer.echo(f"note: no tokenizer of {recipe.model.source} here, so no chat template ({reason:.200})", err=True)
        return None

    def text(messages: list[Message]) -> tuple[str, int]:
        conversation: Any = messages
        rendered = str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))
        return rendered, len(tokenizer(rendered, add_special_tokens=False)["input_ids"])

    return text


def _refuse(error: Exception) -> NoReturn:
    for line in str(error).splitlines():
        typer.secho(f"error: {line}", fg="red", err=True)
    raise typer.Exit(2)
