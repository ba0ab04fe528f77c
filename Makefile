# demo and test need Python >= 3.11, pip and make; the rest is set up on first use, in .venv (and .uv if uv is not installed).
# pip's --target works where the system Python is externally managed, and uv makes the venv without ensurepip.
#
# The locks are made with, for X in "" and "-dev" (the latter with `--group dev -c requirements.lock`):
#   uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
#     -o requirements$X.lock

PYTHON ?= python3
UV := $(or $(shell uv --version >/dev/null 2>&1 && command -v uv),.uv/bin/uv)
PYTEST := -m pytest -q -n auto --dist worksteal

# The next interpreter is tried too where one runs (a version manager's shim may exist and not run), but not when ARGS narrow the run.
NEXT := $(if $(ARGS),,$(shell $(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 13))' 2>/dev/null \
	&& python3.13 -c 'import sys; print(sys.executable)' 2>/dev/null))

export UV_SYSTEM_CERTS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.PHONY: help demo test check bench

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/.run ## a faulty bridge is drained through two crashes, then the log is replayed and compared
	@.venv/bin/ecproc demo $(ARGS)

test: .venv/.dev $(if $(NEXT),.venv-313/.dev) ## the whole suite; ARGS="tests/unit -k lanes" narrows it
	@.venv/bin/python $(PYTEST) $(ARGS)
ifneq ($(NEXT),)
	@echo "again on Python 3.13:"
	@.venv-313/bin/python $(PYTEST) -p no:cacheprovider $(wildcard tests/unit tests/runtime)
endif

check: .venv/.dev ## format, lint, types, import directions, generated pages, sizes, locks: what comes before the tests
	@.venv/bin/ruff format --check -q .
	@.venv/bin/ruff check -q .
	@.venv/bin/mypy $(wildcard ecproc benchmarks docs tests)
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/python docs/build_requirements.py --check
	@.venv/bin/python docs/build_diagrams.py --check
	@.venv/bin/python docs/check_tree.py

bench: .venv/.run ## every benchmark beside its baseline; ARGS=--quick only shows that they run, PEERS=1 adds others' software
	@.venv/bin/python -m benchmarks $(if $(PEERS),--peers) $(ARGS)

.uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: ecproc needs Python 3.11 or newer")'
	@$(PYTHON) -m pip install -qq --target .uv uv

.venv/.run: requirements.lock pyproject.toml | $(UV)
	@$(UV) venv -q --allow-existing -p $(PYTHON) .venv
	@$(UV) pip install -q -p .venv --require-hashes -r $<
	@$(UV) pip install -q -p .venv --no-deps -e .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.run | $(UV)
	@$(UV) pip install -q -p .venv --require-hashes -r $<
	@touch $@

.venv-313/.dev: requirements-dev.lock pyproject.toml | $(UV)
	@$(UV) venv -q --allow-existing -p $(NEXT) .venv-313
	@$(UV) pip install -q -p .venv-313 --require-hashes -r $<
	@$(UV) pip install -q -p .venv-313 --no-deps -e .
	@touch $@
