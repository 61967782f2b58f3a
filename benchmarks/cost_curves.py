"""How the update of one group grows with its size and with the completions' length: stock TRL against this project.

    python benchmarks/cost_curves.py            # ~7 minutes on 2 cores
    python benchmarks/cost_curves.py --quick    # the short half of both curves, one repeat

One prompt of 44 tokens and its G completions, lengths spread evenly from a quarter of L to L; LoRA r 16, bf16 autocast,
micro-batches of at most 8 rows and about 2048 tokens for both arms. A1: the pass for the old log-probs, then forward and
backward, on padded rows with TRL's head. B: forward and backward, packed, with the head, the layers and the kept casts of this
project. The floor: multiply-adds that no exact method saves (each token once, the head at completion tokens, one forward and one
backward pass for inputs, attention itself left out) at the speed of a plain matrix product of this machine. Both arms have the
trainer's allocator, as in step_speed.py. Writes OUT/cost_curves.json, .md and .svg. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench import ARM_COLORS, describe, figure, provenance, table, write_figure
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel
from trl.trainer import utils
from update import HEAD

from reasoning_rl import allocator
from reasoning_rl.recipe import Model
from reasoning_rl.trl_bridge.cpu_layers import use_cpu_layers
from reasoning_rl.trl_bridge.frozen_weights import keep_casts
from reasoning_rl.trl_bridge.lm_head import use_cpu_lm_head
from reasoning_rl.trl_bridge.packing import IGNORED, pack
from reasoning_rl.trl_bridge.policy import policy_folder
from reasoning_rl.trl_bridge.tree_attention import use_tree_attention
from reasoning_rl.trl_bridge.weights import unwrapped

PROMPT, MICRO_ROWS, MICRO_TOKENS = 44, 8, 2048
GROUPS, LENGTH_OF_GROUPS = (4, 8, 16, 32, 64), 64
LENGTHS, GROUP_OF_LENGTHS = (32, 64, 128, 256, 512, 1024), 8
QUICK_GROUPS, QUICK_LENGTHS = (4, 8, 16), (32, 64, 128)


@dataclass(frozen=True)
class Group:
    """A group's completions behind one prompt, padded as TRL pads them."""

    input_ids: torch.Tensor  # (G, PROMPT + L)
    attention_mask: torch.Tensor  # (G, PROMPT + L)
    labels: torch.Tensor  # (G, PROMPT + L), IGNORED off the completions

    @classmethod
    def make(cls, size: int, length: int, vocab_size: int) -> Group:
        generator = torch.Generator().manual_seed(size * 10_000 + length)
        prompt = torch.randint(10, vocab_size, (1, PROMPT), generator=generator).expand(size, -1)
        completions = torch.randint(10, vocab_size, (size, length), generator=generator)
        lengths = torch.linspace(length / 4, length, size).round().long()
        mask = torch.ones(size, PROMPT + length, dtype=torch.long)
        mask[:, PROMPT:] = torch.arange(length) < lengths[:, None]
        ids = torch.cat([prompt, completions], dim=1) * mask
        labels = ids.masked_fill(mask == 0, IGNORED)
        labels[:, :PROMPT] = IGNORED
        return cls(ids, mask, labels)

    def micro_batches(self) -> list[Group]:
        rows = max(1, min(MICRO_ROWS, MICRO_TOKENS // self.input_ids.size(1)))
        parts = (tensor.split(rows) for tensor in (self.input_ids, self.attention_mask, self.labels))
        return [Group(*part) for part in zip(*parts, strict=True)]

    @property
    def num_completion_tokens(self) -> int:
        return int((self.labels != IGNORED).sum())


def policy(folder: str) -> PeftModel:
    base: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    utils.add_fused_lm_head(base, outputs=("log_probs", "entropy"))
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, lora)
    assert isinstance(model, PeftModel)
    return model


def stock_step(model: torch.nn.Module, group: Group) -> None:
    """What TRL's step does with a group whose rollout has its log-probs corrected."""
    batches = group.micro_batches()
    inputs = [{"input_ids": b.input_ids, "attention_mask": b.attention_mask, "labels": b.labels} for b in batches]
    with torch.no_grad():
        for given in inputs:
            _log_probs(model, given)
    for given in inputs:
        (-_log_probs(model, given).sum()).backward()


def our_step(model: torch.nn.Module, group: Group) -> None:
    for batch in group.micro_batches():
        given = pack(batch.input_ids, batch.attention_mask, batch.labels).model_inputs()
        (-_log_probs(model, given).sum()).backward()


def floor_flops(config: Any, group: Group) -> float:
    """Multiply-adds × 2 of the linear layers and the head, forward and backward for inputs, each token once."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    hidden, heads, kv_heads = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
    attention = hidden * head_dim * (2 * heads + 2 * kv_heads)
    body = config.num_hidden_layers * (attention + 3 * hidden * config.intermediate_size)
    tokens = group.num_completion_tokens
    return 2 * 2 * (body * (PROMPT + tokens) + hidden * config.vocab_size * tokens)


def matmul_flops_per_s(config: Any) -> float:
    """The best of some bf16 products of the size of the model's largest linear layer."""
    a = torch.randn(MICRO_TOKENS, config.hidden_size).bfloat16()
    b = torch.randn(config.hidden_size, config.intermediate_size).bfloat16()
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * a.size(0) * a.size(1) * b.size(1) / min(seconds)


def main() -> None:
    given = _arguments()
    allocator.restart()
    folder = policy_folder(Model(source=given.model))
    stock_head = {name: getattr(utils, name) for name in HEAD}
    use_cpu_lm_head()
    cpu_head = {name: getattr(utils, name) for name in HEAD}
    ours = policy(folder)
    keep_casts(ours, torch.bfloat16)
    use_cpu_layers(ours)
    use_tree_attention(unwrapped(ours))
    arms: dict[str, tuple[dict[str, Any], Callable[[torch.nn.Module, Group], None], PeftModel]] = {
        "A1": (stock_head, stock_step, policy(folder)),
        "B": (cpu_head, our_step, ours),
    }
    config = unwrapped(ours).config
    groups, lengths = (QUICK_GROUPS, QUICK_LENGTHS) if given.quick else (GROUPS, LENGTHS)
    points = [("group size", size, LENGTH_OF_GROUPS) for size in groups]
    points += [("length", GROUP_OF_LENGTHS, length) for length in lengths]
    flops_per_s = matmul_flops_per_s(config)
    tree: dict[str, Any] = {**provenance(), "matmul_gflops_per_s": flops_per_s / 1e9, "points": []}
    given.out.mkdir(parents=True, exist_ok=True)
    for curve, size, length in points:
        group = Group.make(size, length, config.vocab_size)
        point = {"curve": curve, "group": size, "length": length, "tokens": group.num_completion_tokens}
        point |= {"floor_s": floor_flops(config, group) / flops_per_s, "seconds": {arm: [] for arm in arms}}
        for repeat in range(1 if given.quick else given.repeats):
            for arm, (head, step, model) in arms.items():
                for name, value in head.items():
                    setattr(utils, name, value)
                if repeat == 0:
                    step(model, Group.make(2, 16, config.vocab_size))  # warms up
                start = time.perf_counter()
                step(model, group)
                point["seconds"][arm].append(time.perf_counter() - start)
                model.zero_grad()
        point["ratio"] = _median(point, "A1") / _median(point, "B")
        tree["points"].append(point)
        print(f"G {size:3d}, L {length:4d}: {_line(point)}", flush=True)
        (given.out / "cost_curves.json").write_text(json.dumps(tree, indent=1) + "\n")
    (given.out / "cost_curves.md").write_text(markdown(tree) + "\n")
    draw(tree["points"], given.out / "cost_curves.svg")


def markdown(tree: dict[str, Any]) -> str:
    rows = [
        [p["curve"], str(p["group"]), str(p["length"]), *(f"{_median(p, arm):.2f}" for arm in ("A1", "B")),
         f"{p['floor_s']:.2f}", f"{p['ratio']:.2f}×", f"{_median(p, 'B') / p['floor_s']:.1f}×"]
        for p in tree["points"]
    ]  # fmt: skip
    head = ["curve", "group", "longest", "A1, s", "B, s", "floor, s", "A1 / B", "B / floor"]
    return f"{describe(tree)}; matrix product {tree['matmul_gflops_per_s']:.0f} GFLOP/s.\n\n{table(head, rows)}"


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Seconds over group size and over length, both logarithmic."""
    made, axes = figure(2)
    for ax, (curve, key) in zip(axes, (("group size", "group"), ("length", "length")), strict=True):
        mine = [point for point in points if point["curve"] == curve]
        x = [point[key] for point in mine]
        for arm in ("A1", "B"):
            ax.plot(x, [_median(point, arm) for point in mine], color=ARM_COLORS[arm], marker="o", label=arm)
        ax.plot(x, [p["floor_s"] for p in mine], color=ARM_COLORS["floor"], linestyle=":", label="floor")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(x, [str(value) for value in x])
        other = (
            f"completions of at most {LENGTH_OF_GROUPS} tokens"
            if key == "group"
            else f"{GROUP_OF_LENGTHS} completions, tokens at most"
        )
        ax.set_xlabel(f"completions to a prompt ({other})" if key == "group" else other)
        ax.set_ylabel("seconds per update of one group")
        ax.legend()
    write_figure(made, path)


def _log_probs(model: torch.nn.Module, given: dict[str, Any]) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model(**given, fused_lm_head=True).log_probs


def _median(point: dict[str, Any], arm: str) -> float:
    return statistics.median(point["seconds"][arm])


def _line(point: dict[str, Any]) -> str:
    times = ", ".join(f"{arm} {_median(point, arm):.2f} s" for arm in point["seconds"])
    return f"{times}, floor {point['floor_s']:.2f} s, {point['ratio']:.2f}x"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short cases only, one repeat")
    parser.add_argument("--repeats", type=int, default=3, help="medians over so many")
    parser.add_argument("--model", default="package:smollm2-135m-instruct")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
