# What the work on metering needs, on any machine with make and Python 3.11 or later.

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=

venv := .venv
bin := $(venv)/bin
# Newer than pyproject.toml exactly when all that it names is installed.
stamp := $(venv)/installed
# The same of what the demo needs, which is there in less than a minute.
shown := $(venv)/installed-demo
peers := $(venv)/installed-peers
# Real model servers have an environment of their own: they are large.
real := $(venv)/realworld

.DEFAULT_GOAL := help
.PHONY: help install test lint unit coverage bench sim overload crash throughput \
	realworld demo docs screenshots clean

help: ## This list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(stamp) ## The package and its tools, in .venv

test: lint unit ## All checks and all tests

lint: $(stamp) ## Style, formatting, types, and which way imports run
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/basedpyright
	$(bin)/lint-imports --no-logo

unit: $(stamp) ## All tests; ARGS="-k journal" chooses
	$(bin)/python -m pytest -n $(WORKERS) $(ARGS)

coverage: $(stamp) ## All tests, and the lines and branches that none of them reached
	$(bin)/coverage erase
	$(bin)/coverage run -m pytest -n $(WORKERS) $(ARGS)
	$(bin)/coverage combine --quiet
	$(bin)/coverage report

bench: $(peers) ## What the library costs, and others beside it: some four minutes
	$(bin)/python -m pytest benchmarks -p benchmark $(ARGS)

sim: $(peers) ## Adaptive limits and others on a simulated platform: some five minutes
	$(bin)/python -m benchmarks.adaptive --plots $(ARGS)

overload: $(stamp) ## Adaptive limits in a real server, four times overloaded: two minutes
	$(bin)/python -m benchmarks.adaptive.overload $(ARGS)

crash: $(stamp) ## Servers killed 80 times, a ledger locked, a full disk: then the sums
	$(bin)/python tests/crash/storm.py $(ARGS)

throughput: $(stamp) ## Answers a second of uvicorn with the stack and without; needs wrk
	$(bin)/python -m benchmarks.throughput

realworld: $(real)/installed ## Real model servers with tiny models: 6 GB, and a compiler
	$(real)/bin/python -m pytest -o timeout=300 -W default $(ARGS) \
		tests/realworld/served_by_*.py

demo: $(shown) ## A small model server with everything around it
	$(bin)/python -m metering.demo $(ARGS)

docs: $(stamp) ## The documentation as a site, in build/docs; fails on a broken link
	$(bin)/python -m sphinx --nitpicky --fail-on-warning --keep-going --quiet docs build/docs
	@echo build/docs/index.html

screenshots: $(stamp) ## Pictures of the console for the documentation; needs Chromium
	$(bin)/python tests/browser/screenshots.py docs/_static

clean: ## Remove what the targets above have made
	rm -rf $(venv) .benchmarks .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache .coverage .coverage.* htmlcov build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

define environment
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("metering needs Python 3.11 or later, and this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv $(venv)
endef

$(shown): pyproject.toml
	$(environment)
	$(bin)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@

# pip learned to read dependency groups in 25.1; what comes with Python may be older.
$(stamp): pyproject.toml
	$(environment)
	$(bin)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(bin)/python -m pip install --quiet --editable . --group dev
	touch $(shown) $@

$(peers): $(stamp)
	$(bin)/python -m pip install --quiet --disable-pip-version-check --group bench
	touch $@

$(real)/installed: pyproject.toml tests/realworld/requirements.txt
	$(PYTHON) -m venv $(real)
	$(real)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(real)/bin/python -m pip install --quiet --editable . --group test \
		--requirement tests/realworld/requirements.txt
	touch $@
