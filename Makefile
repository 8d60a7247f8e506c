# What a contributor types. Each target does its own set-up; see tests/environment.sh.
SHELL := /bin/bash
PYTHON_SOURCES := bootstrap instrumentors tests
export DIFY_OTEL_CACHE ?= $(HOME)/.cache/dify-otel
VENV := $(DIFY_OTEL_CACHE)/venv-test/bin
DEMO := $(DIFY_OTEL_CACHE)/venv-demo/bin

.PHONY: help demo test lint bench dist environment environment-demo clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: environment-demo ## one request of a Dify-shaped app on the real engine, as one trace
	@PYTHONPATH=$(DIFY_OTEL_CACHE)/agent $(DEMO)/python -m dify_otel.cli demo

environment-demo:
	@tests/environment.sh demo >/dev/null

environment:
	@tests/environment.sh test >/dev/null

# Two at a time: the suites that start servers mostly wait. With PYTEST_ARGS it is one run of what they say.
PYTEST := PYTHONPATH=$(CURDIR)/bootstrap:$(CURDIR)/instrumentors:$(CURDIR) $(VENV)/python -m pytest
SERVERS := tests/load tests/process tests/matrix

test: environment lint ## ruff, mypy and every suite that can run here
	@if [ -n "$(PYTEST_ARGS)" ]; then $(PYTEST) $(PYTEST_ARGS); exit; fi; \
	said=$$(mktemp); status=0; \
	$(PYTEST) $(SERVERS:%=--ignore=%) >"$$said" 2>&1 & others=$$!; \
	$(PYTEST) $(SERVERS) || status=$$?; \
	wait $$others || status=$$?; \
	cat "$$said"; rm -f "$$said"; exit $$status

lint: environment
	@$(VENV)/ruff check $(PYTHON_SOURCES)
	@MYPYPATH=bootstrap:instrumentors $(VENV)/mypy

bench: environment ## per-call cost against budgets; fails when one is broken
	@PYTHONPATH=$(CURDIR)/bootstrap:$(CURDIR)/instrumentors:$(CURDIR) $(VENV)/python -m tests.bench

dist: environment ## wheel, sdist and the injection zip, reproducibly
	@$(VENV)/python -m tests.release.build

clean: ## what the build left here (the cache stays)
	@rm -rf build dist bench.json .mypy_cache .ruff_cache .pytest_cache
