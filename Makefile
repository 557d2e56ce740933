# walltime: `make demo` and `make test` are the two to start with; both install what they need into .venv.

PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
LOCK_BIN := .venv-lock/bin
PIP_FLAGS := -qq --disable-pip-version-check --no-input --root-user-action=ignore
PIP_INSTALL := -m pip install $(PIP_FLAGS)
LOCKED := --require-hashes -r
# Not in the locks: its build, and what it takes along, differ by machine.
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo reproduce test bench lint docs lock clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(VENV)/.run ## make .venv with the locked requirements and walltime itself
	@echo "walltime is ready: $(BIN)/walltime --help"

# The published run as its paper describes it: a chunk a layer, optimizer state and gradients sharded, no recomputation,
# stages inside data-parallel groups; its software is not public, so an ordinary framework stands for it.
LLAMA := llama-3.1-405b --on 16384xh100-sxm --seq-len 8192 --batch 2048
PUBLISHED_PLAN := --tp 8 --pp 16 --vpp 8 --sharding zero2 --sequence-parallel --order tp,cp,ep,pp,dp --stack generic

demo: setup ## three questions: how long is a step, which plan is best, how far can training scale?
	@echo; echo "== How long is a step? A famous run, its published speed beside ours"; echo
	$(BIN)/walltime estimate $(LLAMA) $(PUBLISHED_PLAN)
	@echo; echo "== Which plan is best? The same model on as many accelerators, with Megatron-Core"; echo
	$(BIN)/walltime search $(LLAMA)
	@echo; echo "== How far can training scale?"; echo
	$(BIN)/walltime limits --on h100-sxm
	@echo; echo "Now yours: $(BIN)/walltime search llama-3.1-70b --on 256..1024xh100-sxm --batch 1024 --tokens 2T --deadline 60d --goal cost"

reproduce: setup ## every figure and table of both papers, into out/
	@$(BIN)/walltime reproduce erdil2024 all --out out/erdil2024
	@$(BIN)/walltime reproduce fernandez2024 all --out out/fernandez2024

test: $(VENV)/.dev ## run every test (PYTEST_ARGS='-k name' for some)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: setup ## how fast is this build?
	@$(BIN)/walltime bench

lint: $(VENV)/.dev ## style, formatting and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

docs: $(VENV)/.docs ## the documentation, into docs/_build
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

clean: ## remove everything that make made
	rm -rf $(VENV) .venv-lock out build dist docs/_build .pytest_cache .ruff_cache .mypy_cache .hypothesis

# One environment, filled as far as a target needs: .run, then .dev or .docs. The locks agree on shared packages.

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "walltime needs Python 3.11 or newer (make PYTHON=/path/to/python)" >&2; exit 2; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing requirements/run.txt and walltime"
	@$(BIN)/python $(PIP_INSTALL) $(LOCKED) requirements/run.txt
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "installing requirements/dev.txt"
	@$(BIN)/python $(PIP_INSTALL) $(LOCKED) requirements/dev.txt
	@echo "installing $(TORCH)"
	@$(BIN)/python $(PIP_INSTALL) $(TORCH)
	@touch $@

$(VENV)/.docs: requirements/docs.txt $(VENV)/.run
	@echo "installing requirements/docs.txt"
	@$(BIN)/python $(PIP_INSTALL) $(LOCKED) requirements/docs.txt
	@touch $@

# The locks: versions and hashes only, never an index or a path. UPGRADE=1 takes the newest versions.

COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(LOCK_BIN)/pip-compile -q --generate-hashes --allow-unsafe \
	--strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links $(if $(UPGRADE),--upgrade)
LOCK_GROUPS := $(foreach group,build dev docs lock-tools,.venv-lock/$(group).in)

lock: $(LOCK_GROUPS) ## refresh requirements/*.txt from pyproject.toml (UPGRADE=1 for newest versions)
	$(COMPILE) .venv-lock/lock-tools.in -o requirements/lock-tools.txt
	$(COMPILE) pyproject.toml --extra plot .venv-lock/build.in -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra plot --extra sci .venv-lock/build.in .venv-lock/dev.in \
		-c requirements/run.txt -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra plot .venv-lock/build.in .venv-lock/docs.in \
		-c requirements/dev.txt -o requirements/docs.txt

$(LOCK_GROUPS): .venv-lock/%.in: pyproject.toml .venv-lock/.tools
	@$(LOCK_BIN)/python -m dependency_groups $* > $@

.venv-lock/.tools: requirements/lock-tools.txt
	@test -n "$(PYTHON)" || { echo "walltime needs Python 3.11 or newer (make PYTHON=/path/to/python)" >&2; exit 2; }
	@$(PYTHON) -m venv .venv-lock
	@$(LOCK_BIN)/python $(PIP_INSTALL) $(LOCKED) requirements/lock-tools.txt
	@touch $@
