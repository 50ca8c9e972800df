# Two commands set everything up on a machine that has git, Python 3.11 to 3.13 and pip:
#   make demo   runs an example pipeline in simulation on the embedded store
#   make test   format check, lint, types, imports, tests
#   make docs   the documents as a site, in .site
# Everything is installed into this folder: .tools holds uv, .venv holds the project.

SHELL := /bin/sh
PYTHON ?= python3
# The interpreter behind PYTHON: an activated .venv has no pip, and is replaced.
BASE = "$$($(PYTHON) -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')"
UV_VERSION := 0.13.9
BIN := .venv/bin

# A process without compiled bytecode starts two to three times slower.
export UV_COMPILE_BYTECODE := 1
export UV_PYTHON_DOWNLOADS := never
# The certificates that the machine trusts, as pip and git use them.
export UV_SYSTEM_CERTS := 1
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV
unexport CONDA_PREFIX

.PHONY: demo test docs format lock clean

demo: .venv/ready
	@sh tools/demo.sh

test: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 4 --dist worksteal

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .docs/ready
	@NO_MKDOCS_2_WARNING=1 .docs/bin/mkdocs build -q --strict
	@echo "the site is in .site: open .site/index.html"

lock: .tools/ready
	.tools/bin/uv lock
	.tools/bin/uv export -q --all-extras --format requirements-txt --no-emit-project --no-header --no-annotate -o requirements.lock
	.tools/bin/uv export -q --only-group docs --format requirements-txt --no-header --no-annotate -o docs.lock

clean:
	rm -rf .venv .tools .docs .site .demo .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.tools/ready: Makefile
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.11"; exit 1; }
	@rm -rf .tools
	@$(BASE) -m venv --without-pip .tools
	@$(BASE) -m pip --python .tools/bin/python install -q --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/ready: .tools/ready requirements.lock pyproject.toml
	@.tools/bin/uv venv -q --clear --python $(BASE) .venv
	@.tools/bin/uv pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@.tools/bin/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

.docs/ready: .tools/ready docs.lock
	@.tools/bin/uv venv -q --clear --python $(BASE) .docs
	@.tools/bin/uv pip sync -q --python .docs/bin/python --require-hashes docs.lock
	@touch $@
