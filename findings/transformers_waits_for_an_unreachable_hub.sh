#!/usr/bin/env bash
# transformers 5.17.0 with huggingface_hub 1.33.0: loading a tokenizer by its hub id, while the endpoint refuses every connection at
# once, takes tens of seconds before it raises. The same question asked once (`get_hf_file_metadata`) fails within a second.
# The download of each file asks again after network errors, with growing pauses, also where nothing answers at all.
# Seen on 2026-12-01: "from_pretrained: OSError after 48 s".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet transformers==5.17.0 huggingface_hub==1.33.0
cat >"$folder/ask.py" <<'PY'
import time

from huggingface_hub import get_hf_file_metadata, hf_hub_url
from transformers import AutoTokenizer


def seconds(name, call):
    start = time.monotonic()
    try:
        call()
    except Exception as error:
        took = time.monotonic() - start
        print(f"{name}: {type(error).__name__} after {took:.0f} s")
        return took
    raise SystemExit(f"{name}: no error")


once = seconds("asked once", lambda: get_hf_file_metadata(hf_hub_url("org/name", "config.json")))
loading = seconds("from_pretrained", lambda: AutoTokenizer.from_pretrained("org/name"))
raise SystemExit(0 if once < 5 and loading > 15 else "this has changed")
PY
HF_ENDPOINT=http://127.0.0.1:9 HF_HOME="$folder/home" "$folder/venv/bin/python" "$folder/ask.py"
