"""Assembles one run, top to bottom: `python -m reasoning_rl.train RECIPE [key.path=value …]`, usually under
`accelerate launch`.

Everything that can be wrong is looked at before anything is written or loaded; then the stages run in order, each from
the policy that the one before left.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from reasoning_rl import allocator, hub, recipe_check, terminal
from reasoning_rl.audit import refuse_bad_rewards
from reasoning_rl.data import check_rows, load_data
from reasoning_rl.errors import ReasoningRLError
from reasoning_rl.grading import Grader
from reasoning_rl.launch import EXIT_FILE, process_environment
from reasoning_rl.processes import processes
from reasoning_rl.recipe import Recipe
from reasoning_rl.recipe_io import RecipeFile, load_recipe
from reasoning_rl.run_dir import RunDir, read_json, versions, write_json
from reasoning_rl.scoring import RewardSet

logger = logging.getLogger("reasoning_rl")

#: How long a process that stops leaves the word to the first one.
_FIRST_RANK_SPEAKS_S = 30.0


def main(arguments: list[str] | None = None) -> int:
    """Runs a recipe; returns the exit code: 0 done, 2 refused, 130 interrupted and resumable."""
    recipe_path, *overrides = sys.argv[1:] if arguments is None else arguments
    os.environ |= process_environment(os.environ)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    terminal.configure_logging(logging.INFO if _is_first_rank() else logging.ERROR)
    try:
        run(load_recipe(recipe_path, overrides))
        code = 0
    except ReasoningRLError as error:
        if _speaks_for_the_run():
            for line in str(error).splitlines():
                terminal.say(f"error: {line}", style="red")
        code = 2
    except KeyboardInterrupt:
        if _speaks_for_the_run():
            again = " ".join(["reasoning-rl train", recipe_path, *overrides])
            terminal.say(f"stopped. Resume with: {again}")
        code = 130
    if EXIT_FILE in os.environ and (code or _is_first_rank()):
        Path(os.environ[EXIT_FILE]).write_text(str(code))
    return code


def run(file: RecipeFile) -> None:
    """Runs the stages of a recipe that are not done yet.

    Raises:
        ReasoningRLError: the recipe cannot be run as written, or a stage failed for a reason that has a name.
        KeyboardInterrupt: the user stopped the run; the same call resumes it.
    """
    recipe = file.recipe
    recipe_check.check(file)
    run_dir = RunDir.check(file)
    run_dir.refuse_other_processes(recipe, processes(recipe.launch))
    rewards = RewardSet.from_recipe(recipe)

    from reasoning_rl.trl_bridge.requirements import require_training_stack

    require_training_stack(recipe)
    hub.go_offline_without(recipe)

    from accelerate import PartialState

    from reasoning_rl.trl_bridge import args, policy, precision
    from reasoning_rl.trl_bridge.engine import Engine
    from reasoning_rl.trl_bridge.preflight import refuse_what_would_be_cut
    from reasoning_rl.trl_bridge.stages import RUNNERS, Interrupted, StageInput

    args.build_all(recipe, run_dir.root)
    if sentence := precision.describe(recipe):
        logger.warning(sentence)
    data = load_data(recipe, rewards.required_columns)
    for name in {stage.dataset for stage in recipe.stages if stage.kind != "sft"}:
        check_rows(recipe, rewards, name, data[name])
    current = policy.policy_folder(recipe.model)
    tokenizer = policy.load_tokenizer(current, recipe.model)
    room = refuse_what_would_be_cut(recipe, data, current, tokenizer)

    state = PartialState()
    engine: Engine | None = None
    with contextlib.ExitStack() as resources:
        grader = resources.enter_context(Grader(rewards, recipe.scoring))
        refuse_bad_rewards(recipe, data, rewards, score=lambda sample: grader.submit(sample).result())
        if state.is_main_process:
            run_dir.create(file, {name: use.use for name, use in recipe.rewards.items()})
        state.wait_for_everyone()
        terminal.keep(run_dir.log)

        def engine_with(folder: str) -> Engine:
            """The run's engine, holding the policy in `folder`."""
            nonlocal engine
            if engine is None:
                engine = Engine(folder, recipe, room)
                resources.callback(engine.close)
            elif Path(folder).is_dir():
                engine.load_folder(Path(folder))
            return engine

        for stage in recipe.stages:
            folder = run_dir.stage(recipe, stage)
            if not folder.done.exists():
                start = time.monotonic()
                given = StageInput(recipe, stage, run_dir, data[stage.dataset], grader, tokenizer, current, engine_with)
                try:
                    result = RUNNERS[stage.kind](given)
                except Interrupted:
                    raise KeyboardInterrupt from None
                gc.collect()  # a trainer holds itself; its memory would stay beside that of the next stage
                allocator.give_back()
                if state.is_main_process:
                    write_json(folder.done, {"minutes": (time.monotonic() - start) / 60, "result": result})
                    write_summary(recipe, run_dir)
                state.wait_for_everyone()
            if state.is_main_process:  # only now: a run killed before has to find them whole
                shutil.rmtree(folder.checkpoints, ignore_errors=True)
            if folder.model.exists():
                current = str(folder.model)
    if state.is_main_process:
        finish(recipe, run_dir, current)


def write_summary(recipe: Recipe, run_dir: RunDir) -> dict[str, Any]:
    """Collects the results of the stages done so far into `summary.json`."""
    summary: dict[str, Any] = {}
    minutes: dict[str, float] = {}
    for stage in recipe.stages:
        folder = run_dir.stage(recipe, stage)
        if folder.done.exists():
            done = read_json(folder.done)
            minutes[stage.name] = round(done["minutes"], 2)
            if stage.kind == "eval":
                summary[stage.name] = done["result"]
    summary |= {"minutes": {**minutes, "total": round(sum(minutes.values()), 2)}, "versions": versions()}
    summary["model"] = str(run_dir.model)
    write_json(run_dir.summary, summary)
    return summary


def finish(recipe: Recipe, run_dir: RunDir, policy: str) -> None:
    """Puts the final policy in its place, writes summary and report, says where everything is."""
    from reasoning_rl.report import write_report

    summary = write_summary(recipe, run_dir)
    if Path(policy).is_dir() and Path(policy).is_relative_to(run_dir.root):
        run_dir.place_model(Path(policy))
    report = write_report(run_dir)
    for stage in recipe.stages:
        if stage.kind == "eval":
            result = summary[stage.name]
            low, high = result["ci95"]
            terminal.say(
                f"{stage.name:>12}: accuracy {result['accuracy']:.3f} [{low:.3f}, {high:.3f}] "
                f"on {result['num_problems']} problems, truncated {result['truncated']:.1%}"
            )
    terminal.say(f"model {run_dir.model}\nreport {report}\nsummary {run_dir.summary}")


def _is_first_rank() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _speaks_for_the_run() -> bool:
    """Whether it is for this process to say why the run ends. The first does; another waits to be ended by the launcher
    with it, for its own end would end the first before it has spoken, and speaks when it has stopped alone."""
    if not _is_first_rank():
        time.sleep(_FIRST_RANK_SPEAKS_S)
    return True


if __name__ == "__main__":
    allocator.restart()
    terminal.divert()
    code = main()
    with contextlib.suppress(Exception):  # leave no process group behind
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    sys.exit(code)
