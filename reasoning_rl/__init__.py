"""Reinforcement-learning reasoning trainer on TRL. Importing this package imports no torch."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("reasoning-rl")
except PackageNotFoundError:  # a source tree on sys.path without an install
    __version__ = "0+unknown"
