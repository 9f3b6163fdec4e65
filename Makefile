# make run    the demonstration: sets everything up, places calls, stays up until Ctrl-C
# make test   sets everything up, then all checks and tests
# make check  the checks alone (style, types, layers)
# make bench  the benchmarks, one table
# make lock   pins the dependencies anew, with hashes

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# What is compiled is kept, whatever the machine says: the tests start hundreds of daemons.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-here test-there check bench lock clean
.DEFAULT_GOAL := run

run: $(VENV)/.installed
	@ocs/sample/demo.sh

# Those that wait for real servers in real time are alone on the machine; the others share it by halves.
test: check
	python -m pytest tests/end_to_end
	@$(MAKE) --no-print-directory --output-sync=target -j2 test-here test-there

HALF := ivr simulation scenarios services
test-here:
	python -m pytest $(HALF:%=tests/%)
test-there:
	python -m pytest $(HALF:%=--ignore=tests/%) --ignore=tests/end_to_end

check: $(VENV)/.installed-dev
	ruff check
	ruff format --check
	mypy
	lint-imports

bench: $(VENV)/.installed-dev
	@python -m tests.benchmarks.run $(ONLY)

# The editable install builds with the pinned setuptools, so that nothing unpinned is fetched.
$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "install the venv module: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	python -m pip install -qq --require-hashes -r requirements.txt
	python -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	python -m pip install -qq --require-hashes -r requirements-dev.txt
	@touch $@

LOCK = uv pip compile pyproject.toml requirements.in --generate-hashes --python-version 3.11 \
	--no-header --no-annotate --quiet
lock:
	$(LOCK) -o requirements.txt
	$(LOCK) --extra dev --constraint requirements.txt -o requirements-dev.txt

clean:
	rm -rf $(VENV) var build *.egg-info
