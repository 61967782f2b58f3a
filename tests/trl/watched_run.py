"""`reasoning_rl.train`, with each process writing down what its engine and its trainer hold.

Nothing is replaced: after every weight sync, before a policy is handed on, and before the engine closes, a line goes to
`rank_N.jsonl` in the folder of `WATCH_FOLDER`. Launched in the place of `reasoning_rl.train`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

PROMPTS = [[5, 900, 31, 2000], [17, 4, 12000, 8]]
COMPLETIONS = [[71, 30000, 5], [400, 401, 402]]


def watch() -> None:
    """Wraps the three places."""
    import torch
    from trl.distributed import DistributedBackend

    from reasoning_rl.trl_bridge import stages
    from reasoning_rl.trl_bridge.engine import Engine
    from reasoning_rl.trl_bridge.generation import EngineGeneration
    from reasoning_rl.trl_bridge.weights import merged_tensors, unwrapped

    file = Path(os.environ["WATCH_FOLDER"]) / f"rank_{os.environ.get('RANK', '0')}.jsonl"

    def note(**row: Any) -> None:
        with file.open("a") as lines:
            lines.write(json.dumps(row) + "\n")

    def held(model: Any, backend: DistributedBackend) -> dict[str, Any]:
        """Digest of the merged policy, and its log-probs by a plain model that is loaded with it."""
        tensors = {name: tensor.to("cpu", copy=True) for name, tensor in merged_tensors(model, backend)}
        policy = unwrapped(model)
        plain: Any = (
            type(policy)(policy.config).float().eval()
        )  # by its class: under ZeRO-3 from_config would make shards
        missing = plain.load_state_dict(tensors, strict=False).missing_keys
        assert set(missing) <= {"lm_head.weight"}, missing
        plain.tie_weights()
        logprobs = []
        for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
            with torch.no_grad():
                scores = plain(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
            logprobs.append([scores[len(prompt) + i - 1, token].item() for i, token in enumerate(completion)])
        return {"digest": digest(tensors), "trainer": logprobs}

    sync, hand_on, close = EngineGeneration.sync_weights, stages._hand_on, Engine.close

    def watched_sync(self: Any) -> None:
        sync(self)
        note(what="sync", engine=self.engine.score(PROMPTS, COMPLETIONS), **held(self.model, self._dist))

    def watched_hand_on(given: Any, trainer: Any) -> None:
        model = trainer.accelerator.unwrap_model(trainer.model)
        note(what=given.stage.name, **held(model, DistributedBackend(trainer.accelerator)))
        hand_on(given, trainer)

    def watched_close(self: Any) -> None:
        note(what="close", engine=self.score(PROMPTS, COMPLETIONS))
        close(self)

    EngineGeneration.sync_weights, stages._hand_on, Engine.close = watched_sync, watched_hand_on, watched_close


def digest(tensors: dict[str, Any]) -> str:
    """SHA-256 over names and values."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def main() -> None:
    from reasoning_rl.launch import process_environment

    os.environ |= process_environment(os.environ)  # before torch is imported
    watch()
    from reasoning_rl import train

    code = train.main()
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    sys.exit(code)


if __name__ == "__main__":
    main()
