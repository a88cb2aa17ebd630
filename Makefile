# `make demo` and `make test` each set everything up from a fresh clone. PYTHON=python3.12 picks another Python.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
CXX_SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h')
WITH_NINJA := PATH="$(abspath $(BIN)):$$PATH"
INSTALL := -m pip install -q --no-build-isolation -c requirements/build.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help env demo test lint format bench bench-full real sanitize verify cross dist clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      set up, then measure what RNN, GRU and LSTM keep of real text (about five minutes)"
	@echo "make test      set up, then run the tests (ARGS='-k gru' to choose)"
	@echo "make env       set up only: a virtual environment in $(VENV) with rnnmem built in place"
	@echo "make lint      ruff, mypy and clang-format; make format mends what they can mend"
	@echo "make bench     every target's timing, in a quarter of an hour; make bench-full for the sweeps as well"
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

# An edit of csrc/ alone compiles again the files that it touches; all else installs anew.
$(VENV)/.built: $(VENV)/.tools pyproject.toml setup.py $(CXX_SOURCES)
	$(WITH_NINJA) $(BIN)/python $(if $(filter-out csrc/%,$?),$(INSTALL) -e '.[dev]',setup.py -q build_ext --inplace)
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

bench: env
	$(WITH_NINJA) $(BIN)/python $(INSTALL) -e '.[bench]'
	$(BIN)/python bench/forward.py
	$(BIN)/python -m pytest bench --benchmark-json=bench/results/bench.json $(ARGS)
	$(BIN)/python bench/table.py

bench-full: bench
	$(BIN)/python bench/around.py
	$(BIN)/python bench/levels.py
	$(BIN)/python bench/sweeps.py

real: env
	$(BIN)/python docs/examples/make_real.py $(ARGS)

sanitize: env
	PYTHON="$(abspath $(BIN)/python)" bash csrc/tests/sanitize.sh

verify: lint cross dist
	@echo "verified: lint, aarch64, source package to wheel to a new environment"

cross:
	@command -v aarch64-linux-gnu-g++ >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -y -q g++-aarch64-linux-gnu; } \
	  || { echo "make cross needs a system package: apt-get install g++-aarch64-linux-gnu" >&2; exit 1; }
	bash csrc/tests/cross.sh

# What a user of the source package gets: sdist, wheel from it, and the wheel in an environment of its own.
dist: env
	rm -rf build/dist && mkdir -p build/dist
	$(BIN)/python -m build -q --sdist --no-isolation --outdir build/dist .
	$(WITH_NINJA) $(BIN)/python -m pip wheel -q --no-build-isolation --no-deps -w build/dist build/dist/rnnmem-*.tar.gz
	$(PYTHON) -m venv build/dist/venv
	build/dist/venv/bin/python -m pip install -q -c requirements/build.txt build/dist/rnnmem-*.whl
	cd build/dist && venv/bin/python -c 'import rnnmem, rnnmem._C, rnnmem.kernels; print(rnnmem.__version__, rnnmem._C.__file__)'
	cd build/dist && venv/bin/rnnmem --version
	rm -rf build/dist/venv

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .benchmarks
	find rnnmem -name '*.so' -delete
