# Everything a newcomer needs: `make demo` shows it, `make test` proves it. Both set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo test chaos soak lint bench bench-extraction bench-grants bench-peers test-pages test-vllm rabbitmq \
	chromium clean help

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

install: $(READY)  ## .venv with everything, exact versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "scraper needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3 …"; exit 1; }
	@echo "installing into $(VENV): the first time takes a minute"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)  ## the whole path in two minutes: simulated site and model, or yours (VLLM_BASE_URL=… BROKER_URL=…)
	@$(BIN)/python scripts/demo.py

lint: $(READY)  ## format, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

rabbitmq:
	@scripts/install_rabbitmq.sh

chromium:
	@scripts/install_chromium.sh

test: lint rabbitmq chromium  ## lint, types and all tests, a real RabbitMQ and a real browser included
	$(BIN)/python -m pytest

chaos: $(READY) rabbitmq  ## pull every plug while 2,000 tasks run, and audit each of them: make chaos SECONDS=3600
	$(BIN)/python -m tests.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(TASKS),--tasks $(TASKS)) $(ARGS)

test-pages: $(READY) rabbitmq  ## real pages through both brokers: make test-pages PAGES_DIR=../shared/pages
	@test -n "$(PAGES_DIR)" || { echo "name the folder of pages: make test-pages PAGES_DIR=…"; exit 2; }
	PAGES_DIR="$(PAGES_DIR)" $(BIN)/python -m pytest tests/acceptance/test_pages.py

test-vllm: $(READY)  ## against a real vLLM server: make test-vllm VLLM_BASE_URL=http://localhost:8000/v1
	@test -n "$(VLLM_BASE_URL)" || { echo "name the server: make test-vllm VLLM_BASE_URL=http://host:port/v1"; exit 2; }
	VLLM_BASE_URL="$(VLLM_BASE_URL)" $(BIN)/python -m pytest tests/acceptance/test_vllm.py

bench-extraction: $(READY)  ## what pages answer, keep and cost: make bench-extraction PAGES_DIR=../shared/pages
	@test -n "$(PAGES_DIR)" || { echo "name the folder of pages: make bench-extraction PAGES_DIR=…"; exit 2; }
	PAGES_DIR="$(PAGES_DIR)" $(BIN)/python benchmarks/extraction.py $(SECTIONS)

bench: $(READY) rabbitmq  ## cost of a task beside its floor, in one run
	$(BIN)/python benchmarks/tasks.py

bench-grants: $(READY)  ## cost of a grant of the shared throttle beside a bare event loop, in one run
	$(BIN)/python -m benchmarks.grants

bench-peers: $(READY)  ## four processes with the same limits: ours and other limiters, measured at the server
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.peers

soak: $(READY)  ## half an hour of killed, stopped and stalled processes around one throttle: make soak SEED=7
	SIEGE_SCALE=20 SIEGE_SEED=$(or $(SEED),1) $(BIN)/python -m pytest tests/throttle/test_siege.py -s

clean:  ## what can be made again
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
