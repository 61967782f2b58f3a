"""GRPO in one file: what a step of this trainer computes, in plain torch, without TRL, vLLM or any of the savings.

    python docs/grpo_in_one_file.py [MODEL_FOLDER]

A step is rows → completions → scores → advantages → loss → update. The trainer does the same, only faster and for more cases:
tests/trl/test_three_steps.py holds its losses, gradients and weights against these functions.

Shapes: B completions (prompts × completions each), P prompt tokens, T completion tokens, V tokens in the vocabulary.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """Completions of one step. Prompts are padded on the left, completions on the right, so that they meet in the middle."""

    prompt_ids: Tensor  # (B, P)
    prompt_mask: Tensor  # (B, P), 1 where a token stands and 0 where padding does
    completion_ids: Tensor  # (B, T)
    completion_mask: Tensor  # (B, T)


def make_row(rng: random.Random) -> dict[str, str]:
    """A row of data: what the policy reads, and what the reward knows."""
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return {"prompt": f"{a} + {b} = ? Answer with the number alone.", "answer": str(a + b)}


def pad(sequences: Sequence[Sequence[int]], *, left: bool, value: int) -> tuple[Tensor, Tensor]:
    """Sequences of token ids as one (B, longest) tensor, and its mask."""
    longest = max(1, *map(len, sequences))
    ids = torch.full((len(sequences), longest), value)
    mask = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, tokens in enumerate(sequences):
        place = slice(longest - len(tokens), longest) if left else slice(0, len(tokens))
        ids[row, place] = torch.tensor(tokens, dtype=torch.long)
        mask[row, place] = 1
    return ids, mask


def positions(mask: Tensor) -> Tensor:
    """Position of each token in its sequence, not counting padding; (B, S)."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


@torch.no_grad()
def sample(
    model: nn.Module, prompts: Sequence[Sequence[int]], num_tokens: int, eos: int, temperature: float = 1.0
) -> list[list[int]]:
    """Draws one completion for each prompt, token by token, until each has ended or has `num_tokens`.

    Returns the token ids, the end-of-turn token included. A completion without it was cut.
    """
    ids, mask = pad(prompts, left=True, value=0)
    completions: list[list[int]] = [[] for _ in prompts]
    has_ended = [False] * len(prompts)
    cache = None
    for _ in range(num_tokens):
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions(mask)[:, -ids.size(1) :], past_key_values=cache
        )
        cache = output.past_key_values
        probabilities = torch.softmax(output.logits[:, -1].float() / temperature, dim=-1)  # (B, V)
        ids = torch.multinomial(probabilities, 1)  # (B, 1); the next pass needs these alone, the cache has the rest
        for row, token in enumerate(ids[:, 0].tolist()):
            if not has_ended[row]:
                completions[row].append(token)
                has_ended[row] = token == eos
        if all(has_ended):
            break
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
    return completions


def score(text: str, row: dict[str, str]) -> float:
    """A rule, not a model: 1 if the last number of a completion is the answer, else 0; a little for any number at all."""
    numbers = re.findall(r"-?\d+", text)
    return float(bool(numbers) and numbers[-1] == row["answer"]) + 0.1 * bool(numbers)


def advantages(scores: Tensor, group_size: int) -> Tensor:
    """How much better each completion did than the others of its prompt, in standard deviations; (B,) → (B,).

    A group whose scores are all equal says nothing: its advantages are 0, and so is its gradient.
    """
    groups = scores.view(-1, group_size)
    deviation = groups - groups.mean(dim=1, keepdim=True)
    is_equal = (groups == groups[:, :1]).all(dim=1, keepdim=True)
    return (deviation / (groups.std(dim=1, keepdim=True) + 1e-4)).masked_fill(is_equal, 0.0).flatten()


def log_probs(model: nn.Module, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Log-probability of every completion token given all before it; (B, T)."""
    ids = torch.cat([batch.prompt_ids, batch.completion_ids], dim=1)  # (B, P + T)
    mask = torch.cat([batch.prompt_mask, batch.completion_mask], dim=1)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions(mask)).logits  # (B, P + T, V)
    num_prompt = batch.prompt_ids.size(1)
    predicting = logits[:, num_prompt - 1 : -1].float() / temperature  # the logits at t predict the token at t + 1
    return torch.log_softmax(predicting, dim=-1).gather(2, batch.completion_ids.unsqueeze(2)).squeeze(2)


def grpo_loss(
    new: Tensor,  # (B, T) log-probs of the policy that is trained
    old: Tensor,  # (B, T) log-probs of the policy that sampled
    advantage: Tensor,  # (B,)
    mask: Tensor,  # (B, T)
    clip: float = 0.2,
) -> Tensor:
    """The clipped objective of PPO with a group's advantages, averaged over the tokens of a completion and then over completions.

    DeepSeekMath (https://arxiv.org/abs/2402.03300), without its KL term. At the first update after sampling the ratio is 1, its
    gradient is that of the log-prob, and nothing is clipped.
    """
    ratio = torch.exp(new - old)
    gain = torch.minimum(ratio * advantage[:, None], ratio.clamp(1 - clip, 1 + clip) * advantage[:, None])
    per_completion = (gain * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return -per_completion.mean()


def update(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, scores: Tensor, group_size: int) -> float:
    """One optimiser step on one batch of completions; returns the loss."""
    new = log_probs(model, batch)
    # One update per batch: the policy that sampled is the one that is trained. An engine with numbers of its own (vLLM) needs a
    # further factor for the difference, which TRL and this trainer apply.
    loss = grpo_loss(new, new.detach(), advantages(scores, group_size), batch.completion_mask)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def main(folder: str, num_steps: int = 20, num_prompts: int = 4, group_size: int = 8) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    rng = random.Random(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-6)
    for step in range(num_steps):
        rows = [row for row in (make_row(rng) for _ in range(num_prompts)) for _ in range(group_size)]
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": row["prompt"]}], add_generation_prompt=True, return_dict=False
            )
            for row in rows
        ]
        completions = sample(model, prompts, 16, tokenizer.eos_token_id)
        texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
        scores = torch.tensor([score(text, row) for text, row in zip(texts, rows, strict=True)])
        batch = Batch(
            *pad(prompts, left=True, value=tokenizer.eos_token_id),
            *pad(completions, left=False, value=tokenizer.eos_token_id),
        )
        loss = update(model, optimizer, batch, scores, group_size)
        sys.stdout.write(f"step {step}: score {scores.mean():.3f}, loss {loss:+.4f}, e.g. {texts[0]!r}\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        from reasoning_rl.recipe import Model
        from reasoning_rl.trl_bridge.policy import policy_folder

        main(policy_folder(Model(source="package:smollm2-135m-instruct")))
