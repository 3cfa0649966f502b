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
LOG ?= memory
# What all else rests on: tests run every branch of it, and 95 in 100 of the rest.
CORE := events/*,projections/*,broker/decide.py,broker/matching.py,broker/reads.py,broker/waits.py

.PHONY: serve test test-no-lane check lint types imports install test-clients test-browser bench soak fuzz mutate simulate plant clean

install: $(INSTALLED)

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

serve: $(RUNTIME)  ## run the broker on http://127.0.0.1:8000/mcp
	$(BIN)/chat-broker serve

test: install  ## the whole Python suite, one worker a core; too little branch coverage is a failure
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=
	$(BIN)/python -m coverage report --include='$(CORE)' --fail-under=100
	$(BIN)/python -m coverage report --omit='$(CORE)' --fail-under=95

NO_LANE := tools waits handles subscriptions get_stream http presence cursors resources

test-no-lane: install  ## what clients see with the SDK alone, without the fast lane
	TEST_FAST_LANE=0 $(BIN)/python -m pytest -n auto --dist worksteal $(NO_LANE:%=tests/facade/test_%.py)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

check: lint types imports test test-no-lane  ## all that CI runs, but for the clients written in other languages

test-clients: install  ## official clients and the conformance suite, from npm
	$(MAKE) -C tests/clients test PYTHON="$(abspath $(BIN)/python)"
	CHAT_BROKER_NO_FAST_LANE=1 $(MAKE) -C tests/clients test PYTHON="$(abspath $(BIN)/python)"

test-browser: install  ## the report in a real browser: Chromium at /usr/bin/chromium, or where CHROMIUM says
	$(BIN)/python -m pytest tests/browser

fuzz: install  ## requests that are wrong in every way, over HTTP: EXAMPLES=100 thought up, ten times as many bred of them, SEED=
	EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/fuzz -s

mutate: install  ## whether tests notice small faults in what all else rests on, one by one; in a file: ONLY=projections/queue.py
	$(BIN)/python -m tests.mutation $(ONLY)

simulate: install  ## the whole broker against faults, on a simulated loop: make simulate SEEDS=1000 JOBS=2
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs $(or $(JOBS),1)

bench: install $(TYPESCRIPT)/.installed  ## what messages, streams, matches, folding, checking and starting cost
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.match
	$(BIN)/python -m benchmarks.fold
	$(BIN)/python -m benchmarks.replay
	$(BIN)/python -m benchmarks.startup

$(TYPESCRIPT)/.installed: benchmarks/typescript/package-lock.json  # without npm, that is left out
	if command -v npm >/dev/null; then npm ci --silent --prefix benchmarks/typescript; fi
	mkdir -p $(@D)
	touch $@

soak: install  ## many people on one broker for MINUTES=10, CONNECTIONS=2000, LOG=memory or sqlite, SEED=
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --connections $(CONNECTIONS) --log $(LOG) $(if $(SEED),--seed $(SEED))

plant: install  ## bugs planted one at a time, and what catches each
	$(BIN)/python -m tests.planted --jobs 2 --evidence

clean:
	rm -rf .venv tests/clients/node_modules $(TYPESCRIPT) .pytest_cache .mypy_cache .ruff_cache .hypothesis .mutation
