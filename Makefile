# All that is needed is Python >= 3.11, pip and make: the rest is set up on first use, in .venv and .uv.
# pip's --target works where the system Python is externally managed, and uv makes the venv without ensurepip.
#
# The locks are made with, for X in "" and "-dev" (the latter with `--group dev -c requirements.lock`):
#   uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
#     -o requirements$X.lock
# and requirements-build.lock, of what [build-system] requires, by the same options from
#   python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'
#     | uv pip compile - …

PYTHON ?= python3
UV := $(if $(shell uv --version 2>/dev/null),uv,.uv/bin/uv)
PYTEST := -m pytest -q -n auto --dist worksteal

# Of a shell's settings those stay that say where packages come from; any other may change what is set up, or stop it.
KEPT := UV_INDEX% UV_HTTP% %_INDEX %_INDEX_URL %_FIND_LINKS %_PROXY %_CERT %_CERTS %_TLS %_HOST %_KEYRING_PROVIDER \
	%_CONFIG_FILE %_TIMEOUT %_RETRIES
unexport $(filter-out $(KEPT),$(filter PYTHON% PIP_% UV_% VIRTUAL_ENV,$(.VARIABLES)))
export UV_SYSTEM_CERTS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# HOME may not be there to write to.
export UV_CACHE_DIR := $(CURDIR)/.uv/cache
ifeq ($(UV_DEFAULT_INDEX)$(UV_INDEX_URL),)
ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX := $(PIP_INDEX_URL)
endif
endif

# An environment is made anew unless it was finished, stands where it was made, and runs, as the PYTHON that was asked for.
CHECK := -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: ecproc needs Python 3.11 or newer")'
VERSION := -E -c 'import sys; print(sys.hexversion)'
ASKED_FOR := $(if $(filter-out file,$(origin PYTHON)),$(PYTHON))
stale = $(shell held=$$($(1)/bin/python $(VERSION) 2>/dev/null) && [ "$$(cat $(1)/.run 2>/dev/null)" = "$(CURDIR)" ] \
	$(if $(2),&& [ "$$held" = "$$($(2) $(VERSION) 2>/dev/null)" ]) || echo anew)

# The next Python is tried too where one runs, but not when ARGS narrow the run. pyenv's shim hides one that it holds.
RUNS := python3.13 -E -c 'import sys; print(sys.executable)' 2>/dev/null
NEXT := $(if $(filter test,$(if $(ARGS),,$(MAKECMDGOALS))),$(shell \
	$(RUNS) || PYENV_VERSION=$$(pyenv latest 3.13 2>/dev/null) $(RUNS)))

# A release is of the version that its tag names; without a tag it is nobody's.
TAGGED := -c 'import sys, ecproc; v = "v" + ecproc.__version__; \
	sys.exit(sys.argv[1] not in ("", v) and f"error: the tag is {sys.argv[1]}, the version {v}")'

.PHONY: help demo test check docs bench torture audit dist sbom tools

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/.run ## a faulty bridge is drained through two crashes, then the log is replayed and compared
	@.venv/bin/ecproc demo $(ARGS)

test: .venv/.dev $(if $(NEXT),.venv-313/.run) ## the whole suite; ARGS="tests/unit -k lanes" narrows it
	@.venv/bin/python $(PYTEST) $(ARGS)
ifneq ($(NEXT),)
	@echo "again on Python 3.13:"
	@.venv-313/bin/python $(PYTEST) -p no:cacheprovider $(wildcard tests/unit tests/runtime)
else ifeq ($(ARGS),)
	@.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 13))' || \
		echo "SKIPPED: unit and runtime once more on Python 3.13, as no python3.13 runs here" >&2
endif

check: .venv/.dev ## format, lint, types, import directions, generated pages, sizes, locks: what comes before the tests
	@.venv/bin/ruff format --check -q .
	@.venv/bin/ruff check -q .
	@.venv/bin/mypy $(wildcard ecproc benchmarks docs tests)
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/python docs/build_requirements.py --check
	@.venv/bin/python docs/build_diagrams.py --check
	@.venv/bin/python docs/build_man.py --check
	@.venv/bin/python docs/build_reference.py --check
	@.venv/bin/python docs/build_log_events.py --check
	@.venv/bin/python docs/build_boards.py --check
	@.venv/bin/python docs/check_tree.py

docs: .venv/.dev ## the documentation as a site, in site/
	@.venv/bin/zensical build --strict --clean

bench: .venv/.dev ## every benchmark beside its baseline; ARGS=--quick or --hold for less, PEERS=1 adds others' software
	@.venv/bin/python -m benchmarks $(if $(PEERS),--peers) $(ARGS)

torture: .venv/.dev ## the long run: commands while answers get lost and processors die; ARGS="creates --minutes 5 --seed 7"
	@.venv/bin/python -m tests.torture $(ARGS)

audit: .venv/.dev ## each lock against the known vulnerabilities, which the package index is asked for
	@for lock in requirements.lock requirements-dev.lock requirements-build.lock; do \
		echo "$$lock" && .venv/bin/python -m pip_audit --strict --disable-pip --require-hashes \
			--progress-spinner off --cache-dir .uv/cache/audit -r "$$lock" || exit; done

dist: .venv/.run ## dist/: source archive and wheel; what builds them is held by hash
	@.venv/bin/python $(TAGGED) "$$TAG"
	@rm -rf dist
	@$(UV) build -q -p .venv --build-constraints requirements-build.lock --require-hashes -o dist

sbom: .venv/.dev ## build/ecproc-bridge.cdx.json: what a release depends on, as CycloneDX
	@mkdir -p build
	@.venv/bin/python -W ignore -m cyclonedx_py requirements requirements.lock --pyproject pyproject.toml \
		--output-reproducible --of JSON -o build/ecproc-bridge.cdx.json

tools: ## what the tests use beside Python, where apt has it; as root
	@apt-get update -qq
	@apt-get install -qq -y --no-install-recommends strace systemd prometheus >/dev/null

.uv/bin/uv:
	@$(PYTHON) $(CHECK)
	@rm -rf .uv/new
	@PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 $(PYTHON) -m pip install -qq --target .uv/new uv
	@mkdir -p $(@D)
	@mv .uv/new/bin/uv $@
	@rm -rf .uv/new

# `.run` says that an environment is whole, so it is gone while something is put in.
define make_environment
@$(1) $(CHECK)
@echo "setting up $(@D) …" >&2
@rm -rf $(@D)
@$(UV) venv -q -p "$$($(1) -c 'import sys; print(sys.executable)')" $(@D)
@$(UV) pip install -q -p $(@D) --require-hashes -r $<
@$(UV) pip install -q -p $(@D) --no-deps -e .
@echo "$(CURDIR)" >$@
endef

.venv/.run: requirements.lock pyproject.toml $(if $(call stale,.venv,$(ASKED_FOR)),FORCE) | $(filter .uv/%,$(UV))
	$(call make_environment,$(PYTHON))

.venv/.dev: requirements-dev.lock .venv/.run
	@rm .venv/.run
	@$(UV) pip install -q -p .venv --require-hashes -r $<
	@echo "$(CURDIR)" >.venv/.run
	@touch $@

.venv-313/.run: requirements-dev.lock pyproject.toml $(if $(NEXT),$(if $(call stale,.venv-313,$(NEXT)),FORCE)) | $(filter .uv/%,$(UV))
	$(call make_environment,$(NEXT))

FORCE:
