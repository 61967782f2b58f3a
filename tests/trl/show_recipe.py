"""What `reasoning_rl.train` would run, written to the file of `SHOW_RECIPE`; launched in its place, loads nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from reasoning_rl.recipe_io import load_recipe

if __name__ == "__main__":
    Path(os.environ["SHOW_RECIPE"]).write_text(load_recipe(sys.argv[1], sys.argv[2:]).resolved_json())
