"""One of two ranks in test_micro_batches: the gradients of its half of a saved batch, averaged by DDP.

accelerate launch --num_processes 2 half_batch.py FOLDER POLICY LOSS_TYPE …
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from log_probs import ENGINE  # pyright: ignore[reportAttributeAccessIssue]
from test_micro_batches import TOKEN_RATIO
from test_savings import make_trainer, without_old_logprobs

from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge.engine import Engine


def main(folder: Path, policy: Path, loss_types: list[str]) -> None:
    tree = json.loads((folder / "recipe.json").read_text()) | {"vllm": {**ENGINE, "dtype": "float32"}}
    recipe = Recipe.model_validate(tree)
    engine = Engine(str(policy), recipe)
    trainer = make_trainer(engine, policy, recipe, folder, lora=True, per_device_train_batch_size=8, **TOKEN_RATIO)
    assert trainer.accelerator.num_processes == 2 and trainer.model is not None
    saved = torch.load(folder / "batch.pt", weights_only=False)
    trainer.model.load_state_dict(saved["weights"])
    rank = trainer.accelerator.process_index
    mine = {
        key: value[8 * rank : 8 * rank + 8] if isinstance(value, torch.Tensor) and value.dim() else value
        for key, value in without_old_logprobs(saved["batch"]).items()
    }
    model = trainer.accelerator.prepare_model(trainer.model)
    model.train()
    trainer.current_gradient_accumulation_steps = 1
    found = {}
    for loss_type in loss_types:
        trainer.loss_type = loss_type
        model.zero_grad()
        trainer.accelerator.backward(trainer._compute_loss(model, dict(mine)))
        found[loss_type] = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    torch.save(found, folder / f"gradients_{rank}.pt")
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
