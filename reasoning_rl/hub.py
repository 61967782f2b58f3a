"""Whether the Hugging Face hub answers, asked once and briefly, before anything is loaded from it.

Without a network the libraries would ask for each file several times and wait in between, also for what is in the cache.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from reasoning_rl.errors import ModelError
from reasoning_rl.recipe import Recipe

logger = logging.getLogger(__name__)

_DATA_FILES = (".jsonl", ".json", ".parquet", ".csv")


def go_offline_without(recipe: Recipe) -> None:
    """Asks the hub for the first thing that a recipe names there. If it does not answer, this process takes all from the
    cache; what the hub says of a name is left to whoever loads it.

    Raises:
        ModelError: the hub does not answer, and the model is not in the cache.
    """
    model = recipe.model.source if is_hub_id(recipe.model.source) else None
    used = {stage.dataset for stage in recipe.stages}
    data_sets = [source.source for name in sorted(used) for source in recipe.data[name] if is_hub_id(source.source)]
    if not model and not data_sets:
        return
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    revision = recipe.model.revision
    try:
        if model:
            url = hf_hub_url(model, "config.json", revision=revision)
        else:
            url = hf_hub_url(data_sets[0], "README.md", repo_type="dataset")
    except HFValidationError:
        return  # no name that a hub knows: whoever loads it says so
    problem = "the hub is switched off (HF_HUB_OFFLINE)" if constants.is_offline_mode() else _problem(url)
    if problem is None:
        return
    cached = model and try_to_load_from_cache(model, "config.json", revision=revision)
    if model and not isinstance(cached, str):
        download = f"hf download {model} --revision {revision}" if revision else f"hf download {model}"
        raise ModelError(
            f"model.source {model}: is no folder here, it is not in the cache {constants.HF_HUB_CACHE}, and {problem}; "
            f"name a folder, or run {download} where there is a network"
        )
    logger.warning("%s; models and data sets are taken from the cache", problem)
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True


def is_hub_id(source: str) -> bool:
    """Whether a model or data source is neither a file, a folder, a function nor a package."""
    return ":" not in source and Path(source).suffix not in _DATA_FILES and not Path(source).exists()


def _problem(url: str) -> str | None:
    """Why the hub does not answer; nothing where it does, whatever it says."""
    from huggingface_hub import constants, get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(url)
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            return None
        return f"the hub at {constants.ENDPOINT} answers with an error ({error.response.status_code})"
    except Exception as error:  # noqa: BLE001 - networks and proxies fail in too many ways to list
        return f"the hub at {constants.ENDPOINT} does not answer ({type(error).__name__}: {error})"
    return None
