# Everything a newcomer needs; each target does its own set-up in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUNTIME := .venv/.runtime
INSTALLED := .venv/.installed
EXAMPLES ?= 100
SEEDS ?= 1000
TYPESCRIPT := benchmarks/typescript/node_modules
MINUTES ?= 10
CONNECTIONS ?= 2000
ROUNDS ?= 10
MEASUREMENTS ?= 5
STREAMS ?= 5000
COMMITS ?= 1000000
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
# Tests run every branch of these, and 95 in 100 of the rest.
CORE := events projections broker.conduct broker.decide broker.decision broker.matching broker.reads broker.waits
# Stores in engines are tested against real servers, in tests/stores.
STORE_FILES := events/redis/*,events/postgresql/*,events/nats/*
CORE_FILES := events/*,projections/*,broker/conduct.py,broker/decide.py,broker/decision.py,broker/matching.py,broker/reads.py,broker/waits.py

.PHONY: help serve check lint types imports docs settings test test-core test-daily test-fast test-slow test-all test-suite test-pythons test-map test-no-lane test-clients test-browser fuzz simulate proof bench soak install clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' Makefile

install: $(INSTALLED)  ## what the tests and tools need, into .venv

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'It needs Python 3.11 or later: say which, as in make serve PYTHON=python3.13'; exit 1; }
	$(PYTHON) -m venv .venv

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing what the broker runs on into .venv: 120 MB, which takes a minute or so the first time'
	$(PIP_INSTALL) --editable .
	touch $(RUNTIME)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing what its tests and tools need into .venv: 450 MB with what the broker runs on, a few minutes the first time'
	$(PIP_INSTALL) --editable '.[dev]'
	touch $(RUNTIME) $(INSTALLED)

serve: $(RUNTIME)  ## run the broker on http://127.0.0.1:8000/mcp: PORT=8000, LOG=memory or sqlite:PATH
	$(BIN)/chat-broker serve$(if $(PORT), --port $(PORT))$(if $(LOG), --log '$(LOG)')

check: lint types imports  ## what needs no test to run

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

docs: install  ## docs/ as a site, in site/; a broken link is an error
	$(BIN)/python -m tests.site

settings: install  ## the tables of docs/settings.md, from the code
	$(BIN)/python -m tests.settings_page

DAILY := HYPOTHESIS_PROFILE=daily $(PYTEST) -m 'not slow'

# Coverage slows down all code that runs, measured or not. So it is on only where the core's own tests run, and off in slow tests.
# With ONCE, `make test` runs the fast tests at their full size, and `make test-all` does not run them again: for CI.
test: test-core $(if $(ONCE),test-fast,test-daily)  ## the daily loop: all but the slow tests; a branch of the core that its own tests do not run is a failure

test-core: install
	$(DAILY) tests/core $(CORE:%=--cov=%) --cov-report=
	$(BIN)/python -m coverage report --omit='$(STORE_FILES)' --fail-under=100

test-daily: install
	$(DAILY) --deselect=tests/core/

test-all: SEEDS = 400
test-all: JOBS = 2
test-all: export SEED = 1
test-all: PYTHONS = --newest
test-all: docs test-suite test-pythons test-map test-no-lane test-clients test-browser fuzz simulate  ## every test at its full size; needs npm and Chromium

test-suite: $(if $(ONCE),,test-fast) test-slow  ## the whole Python suite, slow tests included; too little branch coverage is a failure

test-fast: install
	$(PYTEST) -m 'not slow' --cov --cov-report=
	$(BIN)/python -m coverage report --include='$(CORE_FILES)' --omit='$(STORE_FILES)' --fail-under=100
	$(BIN)/python -m coverage report --omit='$(CORE_FILES)' --fail-under=95
	$(BIN)/python -m coverage report --include='$(STORE_FILES)' --fail-under=95

test-slow: install
	$(PYTEST) -m slow

test-pythons: install  ## the daily suite on every other supported Python of this machine, in .venvs; PYTHONS=--newest for one
	$(BIN)/python -m tests.pythons $(PYTHONS)

test-map: install  ## the core and the state machines with the persistent map of Python 3.14, which is our own
	PYTHONPATH=tests/support/missing $(DAILY) tests/core tests/testing tests/simulation

NO_LANE := tools window waits handles subscriptions get_stream http presence cursors resources idle bounds messages lenient_arguments pages

test-no-lane: install  ## the facade with the SDK alone, without the fast lane
	TEST_FAST_LANE=0 $(PYTEST) $(NO_LANE:%=tests/facade/test_%.py)

test-clients: install  ## other people's clients and the conformance suite, from npm, with the fast lane and without it
	$(MAKE) -C tests/clients test PYTHON="$(abspath $(BIN)/python)"
	CHAT_BROKER_NO_FAST_LANE=1 $(MAKE) -C tests/clients test PYTHON="$(abspath $(BIN)/python)"

test-browser: install  ## the report and the chat page in a real browser: Chromium at /usr/bin/chromium, or where CHROMIUM says; needs npm
	$(MAKE) -C tests/clients node_modules/.package-lock.json
	$(BIN)/python -m pytest tests/browser

fuzz: install  ## malformed requests over HTTP: EXAMPLES=100 generated, ten times as many bred from them; SEED=, else a new one each time
	EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/fuzz -s

simulate: install  ## the whole broker against faults, on a simulated loop: SEEDS=1000 JOBS=1
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs $(or $(JOBS),1)

proof: install  ## several brokers on one log: simulated (SEEDS=1000 JOBS=1), killed (ROUNDS=10 of each store, SEED=), and measured (MEASUREMENTS=5 STREAMS=5000 COMMITS=1000000); needs HAProxy
	$(BIN)/python -m tests.simulation --shared --seeds $(SEEDS) --jobs $(or $(JOBS),1)
	$(BIN)/python -m benchmarks.chaos --store redis --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m benchmarks.chaos --store postgresql --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m benchmarks.chaos --store nats --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m benchmarks.stores --rounds $(MEASUREMENTS) --streams $(STREAMS) --commits $(COMMITS)

bench: install $(TYPESCRIPT)/.installed  ## what messages, streams, matches, folding, checking and starting cost
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.match
	$(BIN)/python -m benchmarks.fold
	$(BIN)/python -m benchmarks.replay
	$(BIN)/python -m benchmarks.debugger
	$(BIN)/python -m benchmarks.startup

$(TYPESCRIPT)/.installed: benchmarks/typescript/package-lock.json  # without npm, that is left out
	if command -v npm >/dev/null; then npm ci --silent --prefix benchmarks/typescript; fi
	mkdir -p $(@D)
	touch $@

soak: install  ## many people on one broker for MINUTES=10, CONNECTIONS=2000, LOG=memory or sqlite, SEED=
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --connections $(CONNECTIONS) --log $(or $(LOG),memory) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf .venv .venvs site build/docs tests/clients/node_modules $(TYPESCRIPT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
