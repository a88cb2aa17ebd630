# `make demo` and `make test` each set everything up from a fresh clone. PYTHON=python3.12 picks another Python.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
CXX_SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h')
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help env demo test lint format bench bench-full real sanitize verify cross dist clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      set up, then measure what RNN, GRU and LSTM keep of real text (about five minutes)"
	@echo "make test      set up, then run the tests (ARGS='-k gru' to choose)"
	@echo "make env       set up only: a virtual environment in $(VENV) with rnnmem built in place"
	@echo "make lint      ruff, mypy and clang-format; make format mends what they can mend"
	@echo "make bench     the timings behind the README's table; make bench-full for every case"
	@echo "make real      fetch the real inputs and rebuild the reports under docs/examples"
	@echo "make sanitize  the kernel tests under AddressSanitizer, UBSan and ThreadSanitizer"
	@echo "make verify    lint, cross-compile for aarch64, and source package to wheel to a new environment"
	@echo "make clean     remove the environment and every build output"

# The system packages, then the environment, then the package: each stamp is redone only when what it names changes.
$(VENV)/.tools: requirements/build.txt
	@need=; command -v git >/dev/null || need="$$need git"; \
	command -v $(firstword $(CXX)) >/dev/null || need="$$need g++"; \
	if command -v $(PYTHON) >/dev/null; then \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || need="$$need python3-venv"; \
	  $(PYTHON) -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' 2>/dev/null \
	    || need="$$need python3-dev"; \
	else need="$$need python3 python3-venv python3-dev"; fi; \
	if [ -n "$$need" ]; then echo "rnnmem needs system packages: apt-get install$$need" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "rnnmem needs Python 3.10 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements/build.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.tools pyproject.toml setup.py
	$(BIN)/python -m pip install -q --no-build-isolation -c requirements/build.txt -e '.[dev]'
	@touch $@

$(VENV)/.built: $(VENV)/.installed $(CXX_SOURCES)
	$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

env: $(VENV)/.built

demo: env
	$(BIN)/rnnmem demo $(ARGS)

test: env
	$(BIN)/python -m pytest $(ARGS)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .benchmarks
	find rnnmem -name '*.so' -delete
