"""The only place that imports torch, transformers, TRL, PEFT, Accelerate and vLLM.

Each module overrides named seams of those packages and calls `super()` where it can; every override of TRL's numerics is
pinned by an equivalence test under tests/trl.
"""
