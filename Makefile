# make demo: install, train the default network, show the result. make test: install, run the fast tests.
# On Linux without an NVIDIA GPU, the small CPU build of PyTorch saves gigabytes:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
PYTEST ?=

.PHONY: help install demo quick test test-slow bench bench-full check docs format release clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

## make install     a virtual environment in .venv with Convlens and its development tools
install: $(VENV)/.installed

## make demo        trains the default network on real handwritten digits and shows the result
demo: install
	$(BIN)/convlens train

## make quick       the tests to run while you write: a few seconds
quick: install
	$(BIN)/python -m pytest -x tests/base tests/test_geometry.py tests/data/test_tree.py tests/data/test_splits.py \
	  tests/training/test_recipe.py tests/training/test_schedules.py tests/ops/test_linear.py $(PYTEST)

## make test        the fast test suite (set CONVLENS_DATA to include the tests on MNIST, CIFAR-10 and photographs)
test: install
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n auto $(PYTEST)

## make test-slow   the long tests
test-slow: install
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow $(PYTEST)

## make bench       the short benchmarks, a few minutes (CONVLENS_DATA names the folder with mnist/); logs in bench/results/short
bench: install
	mkdir -p bench/results/short
	$(BIN)/python bench/startup.py --out bench/results/short/startup.json
	$(BIN)/python bench/ops.py --out bench/results/short/ops.json
	$(BIN)/python bench/training.py --seconds 3 --out bench/results/short/training.json
	$(BIN)/python bench/mnist.py --seeds 1 --out bench/results/short/mnist.json

## make bench-full  all benchmarks with all seeds, half an hour, and the table in docs/performance.md
bench-full: install
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/ops.py
	$(BIN)/python bench/ops.py --one-thread
	$(BIN)/python bench/scratch.py
	$(BIN)/python bench/augment.py
	$(BIN)/python bench/streaming.py
	$(BIN)/python bench/training.py
	$(BIN)/python bench/mnist.py
	$(BIN)/python bench/unseen.py
	$(BIN)/python docs/generate_performance_table.py

## make check       style, types, the floor plan, and code that nothing uses
check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright
	! $(BIN)/vulture | grep '^src/'

## make docs        the documentation site in site/, which opens offline; a dead link or a missing reference fails
docs: install
	$(BIN)/python docs/generate_commands.py
	$(BIN)/python docs/generate_coverage.py
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=src $(BIN)/mkdocs build --quiet --clean
	$(BIN)/python docs/check_site.py

## make format      rewrites the code in the house style
format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## make release     wheel and source package in dist/, each tried in an empty environment
release: install
	rm -rf dist
	$(BIN)/python -m build
	set -e; for package in dist/*.whl dist/*.tar.gz; do \
	  rm -rf dist/.try && $(PYTHON) -m venv dist/.try; \
	  dist/.try/bin/python -m pip install --quiet -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch; \
	  dist/.try/bin/python -m pip install --quiet -c constraints.txt "$$package[train]"; \
	  (cd dist/.try && bin/convlens train --quiet --out run); \
	  rm -rf dist/.try; \
	done

## make clean       removes the environment and caches (never runs/)
clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
