# make demo   sets up everything, runs the loop on real parts, prints the accuracy per level
# make test   sets up everything, runs all tests
# make help   the rest

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LABEL_STUDIO := .venv-label-studio
# A lock file is complete: pip resolves nothing, so no release made since can get into its way.
PIP := -m pip install --quiet --disable-pip-version-check --no-deps

.PHONY: help setup demo test check lint types imports programs lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Both virtual environments, with pinned dependencies
	@$(MAKE) -s --no-print-directory -j2 $(VENV)/.ready $(LABEL_STUDIO)/.ready
	@$(MAKE) -s --no-print-directory $(LABEL_STUDIO)/template

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Atlas needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=..."; exit 2; }
	@echo "installing Atlas's dependencies into $(VENV) (a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) --require-hashes -r requirements.lock
	@$(BIN)/python $(PIP) --no-build-isolation --editable .
	@touch $@

$(LABEL_STUDIO)/.ready: requirements-label-studio.lock
	@echo "installing Label Studio into $(LABEL_STUDIO)"
	@$(PYTHON) -m venv $(LABEL_STUDIO)
	@$(LABEL_STUDIO)/bin/python $(PIP) --require-hashes -r requirements-label-studio.lock
	@touch $@

$(LABEL_STUDIO)/template: $(LABEL_STUDIO)/.ready $(VENV)/.ready
	@echo "preparing an empty Label Studio database (half a minute, once)"
	@$(BIN)/python -m services.label_studio make-template
	@touch $@

demo: setup ## The whole loop on a drawn pool, about 4 minutes
	@$(BIN)/atlas demo

test: setup programs ## Every test, on real parts
	@$(BIN)/pytest

check: setup ## What must be clean before a commit: style, types, imports, tests
	@$(MAKE) -s --no-print-directory lint types imports test

lint: setup ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy --strict
	@$(BIN)/mypy

imports: setup ## import-linter: data flows one way
	@$(BIN)/lint-imports --no-cache

# Programs that some tests drive. Without root or apt those tests skip and say so. RUNLEVEL keeps
# Debian from starting a server of its own: the tests start theirs.
PROGRAMS := command -v chromium && command -v redis-server && ls /usr/lib/postgresql/*/bin/postgres
programs:
	@{ $(PROGRAMS); } >/dev/null 2>&1 || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo "installing Chromium, PostgreSQL and Redis for the tests that drive them"; \
	  apt-get update -qq >/dev/null && RUNLEVEL=1 \
	  apt-get install -y -qq --no-install-recommends chromium postgresql redis-server >/dev/null; \
	else echo "no Chromium, PostgreSQL or Redis, and no way to install them here: tests will skip"; fi

lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-header \
	  --no-emit-index-url --upgrade -o requirements.lock
	echo 'label-studio==1.23.2' | uv pip compile - --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade \
	  -o requirements-label-studio.lock

clean: ## Remove the environments and the demo
	rm -rf $(VENV) $(LABEL_STUDIO) atlas-demo
