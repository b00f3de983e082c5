# All that a newcomer needs: make demo, make test. Needs Python 3.11 to 3.13, make and git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo why test test-slurm test-incremental lint bench leak-study lock docs

demo: $(READY)
	$(BIN)/snakemake --cores all --configfile config/demo.yaml
	@echo "Open results/demo/report.html"

# What `snakemake` would do, a line a job, and which change asks for it; the call's own flags go
# into ARGS: make why ARGS="--configfile mine.yaml"
why: $(READY)
	@NOCTACT_WHY=1 $(BIN)/snakemake --dry-run $(ARGS)

# On all cores: most tests wait for a process of their own that uses one.
test: $(READY)
	$(BIN)/pytest --numprocesses logical --dist worksteal

# On a SLURM cluster of its own, which it starts and stops: needs root, and Debian (or what it would
# install: munge, SLURM, MariaDB). Skipped elsewhere. Two at a time: jobs there mostly wait.
test-slurm: $(READY)
	$(BIN)/pytest -m slurm --numprocesses 2 --durations 5 tests/test_slurm.py

# Every change and every interruption of docs/incremental.md, on small runs of the whole workflow.
test-incremental: $(READY)
	$(BIN)/pytest -m full --durations 5 tests/test_incremental.py tests/test_interruptions.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint --configfile config/demo.yaml

bench: $(READY)
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# What a leaky split is worth, docs/leak-study.md: a quarter of an hour and more on two cores. The
# script's own flags go into ARGS: make leak-study ARGS="--clips FOLDER"
leak-study: $(READY)
	$(BIN)/python studies/leak.py $(ARGS)

# The virtual environment, made once, and again when the lock changes or the folder was moved: its
# scripts name its path.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif
$(READY): envs/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	    { echo "Python 3.11 to 3.13 is needed (TensorFlow has no newer build): make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing the locked packages to $(VENV) (about 3 GB, a few minutes, once)"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement envs/lock.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

# For maintainers: after a change of the dependencies in pyproject.toml (needs uv).
lock:
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes \
	    --no-emit-index-url --no-header --quiet --output-file envs/lock.txt

docs: $(READY)
	$(BIN)/python -m noctact config > config/README.md
