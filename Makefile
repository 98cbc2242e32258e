# Parallax: everything a person types. `make` alone lists it.
# Only Python 3.11 or newer and make are expected of the machine; the rest is installed below this folder.

PYTHON ?= python3
PY := .venv/bin/python
# PYTHON= on the command line or in the environment is a choice, and then no other Python will do.
CHOSEN := $(if $(filter file,$(origin PYTHON)),,--chosen)
HAVE_PYTHON = command -v '$(PYTHON)' >/dev/null || { echo 'set-up: there is no $(PYTHON) here; install Python 3.11 or newer (Debian: \
	sudo apt install python3 python3-venv), or name one: make PYTHON=python3.12' >&2; exit 1; }
NAME ?=
ID ?=
WITH ?=
MARKDOWN ?=
JUNIT ?=
FILE ?=
LINES ?= 20
FOLLOW ?=
ARGS ?=
# Tests mostly wait for something: two processes share them. A file stays with one of them (its tests may share a vendor), and so does
# the folder of browser tests (tests/conftest.py).
TWO := -n 2 --dist loadfile

# A setting given on the command line (make demo REQUESTS=300) is exported to every command by make itself.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-dev demo up down status logs load compare export import replay open trace doctor init start stop restart kill test \
	test-unit test-api test-system test-faults test-browser screenshots check format bench collector lock docs clean distclean

help: ## list this
	@echo 'Parallax: one request, seen from four observability backends at once.'
	@echo
	@sed -n -E 's/^([a-z-]+):[^#]*## (.*)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-16s%s\n", $$1, $$2}'
	@echo
	@cat compose/help.txt

# --- Use it

demo: setup ## set up, up, load and compare: what arrived, on every path (REQUESTS=, PROFILE=, BACKENDS=)
	@$(PY) -m compose up
	@$(PY) -m loadtest
	@status=0; $(PY) -m services.compare || status=$$?; $(PY) -m compose hint; exit $$status

up: setup ## start the sandbox; on a running one, apply changed settings
	@$(PY) -m compose up

down: setup ## end the sandbox, whatever state it is in
	@$(PY) -m compose down

load: setup ## drive traffic through the application and write the ledger (REQUESTS=, PROFILE=, SEED=, SAMPLING=, UI=1)
	@$(PY) -m loadtest

compare: setup ## read every backend back and hold it against the ledger (RUN=, FORMAT=json); WITH= an earlier run (THRESHOLDS=, MARKDOWN=, JUNIT=)
	@$(PY) -m services.compare $(if $(WITH),--with '$(WITH)') $(if $(MARKDOWN),--markdown '$(MARKDOWN)') $(if $(JUNIT),--junit '$(JUNIT)')

export: setup ## a run as one file, to be looked at elsewhere without its backends (RUN=, FILE=)
	@$(PY) -m services.compare export $(if $(FILE),'$(FILE)',)

import: setup ## an exported run becomes a run here (FILE=)
	@$(PY) -m services.compare import $(if $(FILE),'$(FILE)',)

open: setup ## the web page in a browser: runs, one request in four panes, the vendors' own pages
	@$(PY) -m services.compare.web --open

replay: setup ## send a run's recorded telemetry again, as a new run, through another Collector configuration (RUN=, CONFIG=, CONFIG_ONLY=1)
	@$(PY) -m services.compare.replay

trace: setup ## one request as every path saw it (ID=<trace id>)
	@$(PY) -m services.compare trace $(if $(ID),'$(ID)',)

status: setup ## what runs: pid, ports, memory, restarts
	@$(PY) -m compose status

logs: setup ## the last lines of every log, or of one (NAME=, LINES=, FOLLOW=1)
	@$(PY) -m compose logs $(if $(NAME),'$(NAME)',) --lines='$(LINES)' $(if $(FOLLOW),--follow,)

doctor: setup ## what could keep it from running, each with the next command
	@$(PY) -m compose doctor

init: setup ## make the sampling rule and the group in X-Ray where they are missing (make up does it)
	@$(PY) -m compose init

# --- Break it

start: setup ## start one process (NAME=)
	@$(PY) -m compose start $(if $(NAME),'$(NAME)',)

stop: setup ## stop one process; it stays away (NAME=)
	@$(PY) -m compose stop $(if $(NAME),'$(NAME)',)

restart: setup ## stop and start one process (NAME=)
	@$(PY) -m compose restart $(if $(NAME),'$(NAME)',)

kill: setup ## SIGKILL one process; the supervisor starts it again (NAME=)
	@$(PY) -m compose kill $(if $(NAME),'$(NAME)',)

# --- Work on it

test: setup-dev ## every test (ARGS= for pytest)
	@$(PY) -m collector.build >/dev/null
	@$(PY) -m tests.browser.chromium >/dev/null
	@$(PY) -m pytest tests --ignore=tests/bench $(TWO) $(ARGS)

test-unit: setup-dev ## what needs no other process
	@$(PY) -m pytest tests/unit $(ARGS)

test-api: setup-dev ## each local vendor against its own official clients
	@$(PY) -m pytest tests/api $(ARGS)

test-system: setup-dev ## everything up
	@$(PY) -m collector.build >/dev/null
	@$(PY) -m pytest tests/system $(ARGS)

test-faults: setup-dev ## processes killed at the worst moment
	@$(PY) -m collector.build >/dev/null
	@$(PY) -m pytest tests/faults $(ARGS)

test-browser: setup-dev ## the web page in a real Chromium (HEADED=1 to watch)
	@$(PY) -m collector.build >/dev/null
	@$(PY) -m tests.browser.chromium >/dev/null
	@$(PY) -m pytest tests/browser $(ARGS)

check: setup-dev ## linter, format, types, Collector configurations, generated files
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy .
	@$(PY) -m collector.check
	@$(PY) -m compose.generate --check

format: setup-dev ## format the code
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bench: setup-dev ## measure: what telemetry costs, how fast each part is
	@$(PY) -m collector.build >/dev/null
	@$(PY) -m tests.bench $(ARGS)

collector: setup ## build the OpenTelemetry Collector (make up does it when it must)
	@$(PY) -m collector.build

screenshots: setup-dev ## take the pictures in docs/images from a real run (ARGS= names some)
	@$(PY) -m collector.build >/dev/null
	@$(PY) -m tests.browser.screenshots $(ARGS)

docs: setup-dev ## write what is generated: docs/settings.md, docs/signals.md, docs/local-xray-operations.md, .env.example
	@$(PY) -m compose.generate
	@$(PY) -m services.cruddur.signals --write
	@$(PY) -m localstack.aws.xray.offers --write

# The same flags always, so that a lock changes only where a dependency does.
COMPILE = $(PY) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links
lock: setup-dev ## write requirements/*.lock anew from pyproject.toml (ARGS=--upgrade)
	@$(COMPILE) $(ARGS) -q pyproject.toml -o requirements/runtime.lock
	@$(COMPILE) $(ARGS) -q -c requirements/runtime.lock --extra dev pyproject.toml -o requirements/dev.lock
	@echo 'wrote requirements/runtime.lock and requirements/dev.lock. Next: make test'

setup: ## make .venv and install requirements/runtime.lock (every target does it when it must; PYTHON= selects one)
	@$(HAVE_PYTHON)
	@$(PYTHON) compose/bootstrap.py runtime $(CHOSEN)

setup-dev: ## the same with the tools of development
	@$(HAVE_PYTHON)
	@$(PYTHON) compose/bootstrap.py dev $(CHOSEN)

clean: setup ## down, then remove databases, queues, recordings, logs, runs and caches
	@$(PY) -m compose clean

distclean: clean ## clean, then remove .venv and the built Collector too
	@rm -rf .venv .build
