# Every target creates what it needs in .venv and says what it does.
# PYTHON chooses the interpreter (3.11 or newer) that .venv is made from.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: ready browser ui ui-check ui-shots help demo test check format chaos bench bench-incumbents clean

help:
	@echo "make demo              train a small model, take its server away, and look at what was tracked"
	@echo "make test              run the whole test suite"
	@echo "make check             formatting, lint and strict types"
	@echo "make format            reformat the sources"
	@echo "make chaos             the fault tests at full length (an hour)"
	@echo "make bench             the figures of docs/figures.md, on this machine"
	@echo "make bench-incumbents  the same log calls and reads beside MLflow and W&B"

$(VENV)/bin/python:
	@echo "-> creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "-> installing tracker with what the demo needs"
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev-ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "-> installing tracker with what its tests need (a minute or two)"
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo-ready

demo: $(VENV)/.demo-ready
	@$(BIN)/tracker demo $(DEMO_ARGS)

# MLflow's clients run in environments of their own: its pins are not ours.
$(VENV)-mlflow/.ready: tests/mlflow/requirements.txt
	@echo "-> installing the newest MLflow into $(VENV)-mlflow (a minute or two)"
	@$(PYTHON) -m venv $(VENV)-mlflow
	@$(VENV)-mlflow/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@$(VENV)-mlflow/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)-mlflow-old/.ready: tests/mlflow/requirements-old.txt
	@echo "-> installing an older MLflow into $(VENV)-mlflow-old (a minute)"
	@$(PYTHON) -m venv $(VENV)-mlflow-old
	@$(VENV)-mlflow-old/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@$(VENV)-mlflow-old/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt -e .
	@touch $@

# All that `check` and `test` need; with --jobs side by side.
ready: $(VENV)/.dev-ready $(VENV)-mlflow/.ready $(VENV)-mlflow-old/.ready browser
	@! command -v npm >/dev/null || $(MAKE) --no-print-directory ui/node_modules/.package-lock.json

test: $(VENV)/.dev-ready $(VENV)-mlflow/.ready $(VENV)-mlflow-old/.ready browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --tb short $(PYTEST_ARGS)

# The tests of the web UI drive a real browser. Debian's Chromium is installed when none is
# there; elsewhere install Chromium or Chrome, or set TRACKER_TEST_BROWSER to one.
browser:
	@test -n "$$TRACKER_TEST_BROWSER" && exit 0; \
	for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		command -v $$name >/dev/null && exit 0; \
	done; \
	echo "-> installing chromium for the tests of the web UI"; \
	get="apt-get install -y -qq --no-install-recommends chromium"; \
	{ command -v apt-get && { $$get || { apt-get update -qq && $$get; }; }; } >/dev/null || \
		{ echo "the tests of the web UI need Chromium: install it, or set TRACKER_TEST_BROWSER"; exit 1; }

ui/node_modules/.package-lock.json: ui/package.json ui/package-lock.json
	cd ui && npm ci --no-audit --no-fund

ui: ui/node_modules/.package-lock.json
	cd ui && npm run build

ui-check: ui/node_modules/.package-lock.json
	cd ui && npm run check && npm test && npm run fresh

ui-shots: $(VENV)/.demo-ready $(VENV)/.dev-ready browser
	$(BIN)/python -m tests.ui_shots docs/images

check: $(VENV)/.dev-ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@command -v npm >/dev/null && $(MAKE) --no-print-directory ui-check \
		|| { ! command -v npm >/dev/null && echo "npm is not here: the UI's types and unit tests are left to a machine that has it"; }

format: $(VENV)/.dev-ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: $(VENV)/.dev-ready
	TRACKER_CHAOS_ROUNDS=full $(BIN)/python -m pytest tests/chaos tests/integration/test_postgres_server_faults.py --timeout 1800 $(PYTEST_ARGS)

bench: $(VENV)/.dev-ready
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

$(VENV)-incumbents/.ready: benchmarks/incumbents/requirements.txt
	@echo "-> installing the incumbents into $(VENV)-incumbents (a few minutes)"
	@$(PYTHON) -m venv $(VENV)-incumbents
	@$(VENV)-incumbents/bin/python -m pip install --quiet -r benchmarks/incumbents/requirements.txt
	@touch $@

bench-incumbents: $(VENV)/.dev-ready $(VENV)-incumbents/.ready
	$(BIN)/python -m benchmarks.incumbents $(BENCH_ARGS)

clean:
	rm -rf $(VENV) $(VENV)-incumbents $(VENV)-mlflow $(VENV)-mlflow-old build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
