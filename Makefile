# `make setup` once, then `make demo`, `make test`, `make check`. Python 3.11 or newer is all that is needed.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.tieout-setup
# Two tests at a time and more, as the machine has cores.
PYTEST_ARGS ?= -n auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format soak planted-bugs mutation crash-points fault-matrix bench lock clean

help:  ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: $(STAMP)  ## Make .venv with every requirement, checked by hash

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "tieout needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1 | cut -d' ' -f2)." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "Could not make $(VENV). On Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## Run the whole thing against digital twins, with a console to look at
	$(BIN)/tieout demo

test: setup  ## Every test that this machine can run; says which it left out
	$(BIN)/python -m pytest -m "not soak" $(PYTEST_ARGS)

check: setup  ## Format, lint, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## Put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: setup  ## The long runs that `make test` leaves out
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

planted-bugs: setup  ## Hunt every planted bug by simulation; writes docs/planted-bugs.md
	$(BIN)/python -m tests.simulation.planted_bugs

# All of it takes hours; `make mutation MUTATION_ARGS="--sample 200 --seed 1"` takes a sample of it and says so.
mutation: setup  ## Make mistakes in the engine, one at a time; writes which no test notices to docs/mutation.md
	$(BIN)/python -m tests.mutation $(MUTATION_ARGS)

crash-points: setup  ## Kill every flow at every port operation; writes docs/crash-points.md
	$(BIN)/python -m tests.process.crash_points

fault-matrix: setup  ## Fire every fault at every call of every flow; writes docs/fault-matrix.md
	$(BIN)/python -m tests.process.fault_matrix

bench: setup  ## Measure, each number beside its own raw limit
	$(BIN)/tieout bench

# Resolves anew and writes the hashed lock files. No index address may get in: tests/unit/test_repository.py looks.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-config --custom-compile-command "make lock" --upgrade

lock:  ## Write requirements/*.txt from requirements/*.in
	$(COMPILE) --output-file requirements/base.txt requirements/base.in
	$(COMPILE) --output-file requirements/dev.txt --constraint requirements/base.txt requirements/dev.in
	$(COMPILE) --output-file requirements/image.txt --constraint requirements/dev.txt requirements/image.in

clean:  ## Remove what can be made again
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
