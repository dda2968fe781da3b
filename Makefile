# Two commands do all the set-up: `make demo` runs the main job, `make test` proves the promises.
# A fresh machine needs python3 (3.11 or newer), pip and make; everything else comes from the package registry.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APT := -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20

.PHONY: demo test check bench clean

# `python3 -m venv` is missing on a Debian without python3-venv; then virtualenv does the same.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"omixa needs Python 3.11 or newer, this is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install --quiet --user virtualenv 2>/dev/null || $(PYTHON) -m pip install --quiet --user --break-system-packages virtualenv; \
	  $(PYTHON) -m virtualenv --quiet $(VENV); }

$(VENV)/.run: $(BIN)/python pyproject.toml
	@echo "installing omixa into $(VENV) …"
	@# An old pip writes a start script that imports `re`, which costs a third of a bare start of Python.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing what the tests need into $(VENV) …"
	@$(BIN)/python -m pip install --quiet -e '.[dev]'
	@# The page is tested in a real browser. Where none can be had, those tests are skipped, and say so.
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get && apt-get $(APT) update && \
	    DEBIAN_FRONTEND=noninteractive apt-get $(APT) install -y --no-install-recommends chromium; }; } >/dev/null 2>&1 || \
	  echo "there is no chromium here: what is tested in a browser will be skipped"
	@touch $@

demo: $(VENV)/.run
	@$(BIN)/omixa plan restore-scans
	@echo
	@$(BIN)/omixa run restore-scans
	@echo
	@$(BIN)/omixa budget
	@echo
	@$(BIN)/omixa report --by recipe,day

test: $(VENV)/.dev
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/omixa check
	$(BIN)/omixa fmt --check

# Every program prints its figures; those that keep them in benchmarks/results/ make docs/performance.md anew.
bench: $(VENV)/.run
	$(BIN)/python -m benchmarks.sending
	$(BIN)/python -m benchmarks.processes
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.startup
	@echo
	@echo "docs/performance.md is made anew. What takes longer, or needs the development packages:"
	@echo "  $(BIN)/python -m benchmarks.sending --full           as many pictures as the goals speak of, five rounds"
	@echo "  $(BIN)/python -m benchmarks.rivals                   Dask, Luigi, Prefect, Snakemake, promptfoo (installs them)"
	@echo "  $(BIN)/python -m benchmarks.growth --pictures 1000,100000"
	@echo "  $(BIN)/python -m benchmarks.plan --keep              a plan of 10^5 pictures beside 10^6 attempts (--also 1000000: of a million)"
	@echo "  $(BIN)/python -m benchmarks.sending --profile        where the CPU of a picture goes"
	@echo "  $(BIN)/python -m benchmarks.verify                   10^6 entries verified, beside SHA-256 over the same bytes"
	@echo "  $(BIN)/python -m benchmarks.report --attempts 10000000   a monthly report, beside DuckDB; needs 10 GB"
	@echo "  $(BIN)/python benchmarks/NAME.py                     memory, page, scheduler, trail: see the head of each"

clean:
	rm -rf $(VENV) benchmarks/.cache out .omixa
