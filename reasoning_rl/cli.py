"""The command line: `reasoning-rl check | train | rewards | report`.

Only parses arguments and prints; each command imports what it needs when it runs, so that `--help` is instant.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    help="Reinforcement-learning reasoning trainer on TRL: vLLM rollouts, verifiable rewards, GRPO-family updates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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
) -> None:
    """Check a recipe without loading a model: keys, types, rewards, files, batch sizes. All problems at once."""
    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.recipe_check import check as check_recipe
    from reasoning_rl.recipe_io import load_recipe
    from reasoning_rl.run_dir import RunDir

    try:
        file = load_recipe(recipe, overrides or [])
        notes = check_recipe(file)
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
    stages = " → ".join(stage.name for stage in file.recipe.stages)
    typer.echo(f"{recipe}: ok ({stages}; run folder {file.recipe.run.dir})")


@app.command()
def train(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Run or resume a recipe under `accelerate launch` with its launch section."""
    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.launch import launch
    from reasoning_rl.recipe_check import check as check_recipe
    from reasoning_rl.recipe_io import load_recipe
    from reasoning_rl.trl_bridge.requirements import require_training_stack

    try:
        file = load_recipe(recipe, overrides or [])
        check_recipe(file)
        require_training_stack(file.recipe)
    except ReasoningRLError as error:
        _refuse(error)
    raise typer.Exit(launch(str(recipe), overrides or [], file.recipe.launch))


@app.command()
def rewards() -> None:
    """List the registered rewards with their origin and options."""
    from inspect import Parameter

    from reasoning_rl.errors import ReasoningRLError
    from reasoning_rl.plugins import find, options_of, registered

    try:
        for name, entry in sorted(registered().items()):
            origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown origin"
            options = ", ".join(
                f"{option} (required)" if default is Parameter.empty else f"{option}={default!r}"
                for option, default in options_of(find(name)).items()
            )
            typer.echo(f"{name}  ({origin}: {entry.value})\n  options: {options or 'none'}")
    except ReasoningRLError as error:
        _refuse(error)


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
            raise MissingExtraError(f"reports need {error.name}; pip install 'reasoning-rl[train]'") from None
        typer.echo(write_report(RunDir(run_dir)))
        if overview:
            typer.echo(write_overview(RunDir(run_dir), overview))
    except ReasoningRLError as error:
        _refuse(error)


def main() -> None:
    """Entry point of the `reasoning-rl` command."""
    sys.path.insert(0, "")  # as `python -m` does, so that `my_module:Attr` of the working directory is found here too
    app()


def _refuse(error: Exception) -> NoReturn:
    for line in str(error).splitlines():
        typer.secho(f"error: {line}", fg="red", err=True)
    raise typer.Exit(2)
