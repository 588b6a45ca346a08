# The commands of this house; `make` alone lists them. They need python3 and make, and nothing else.
#
#   PYTHON=python3.12   the Python to build .venv with; by default the first of 3.11, 3.12, 3.13, python3 that works
#   ARGS="..."          goes on to the command: make quickstart ARGS="--help", make test ARGS="-k conv"
#   JOBS=2              processes for the tests; 0 runs them in one, where a debugger works
#   AREA=tensorflow     which area `make test-area` runs; without it, the areas are listed
#   BENCH="..."         which files of benchmarks/ `make bench` runs
#   TORCH=no | yes      leave PyTorch out of the tests' environment, or insist on it

VENV ?= .venv
export VENV PYTHON JOBS TORCH

.PHONY: help quickstart test lint format bench docs soak mutants test-area test-latest site release lock clean

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

quickstart:  ## train a first model, and see what Phlox does
	@scripts/install $(VENV) run
	@$(VENV)/bin/python -m phlox quickstart $(ARGS)

test:  ## run the test suite
	@scripts/install $(VENV) dev
	@scripts/test $(ARGS)

lint:  ## check style, types and the order of imports
	@scripts/install $(VENV) dev
	@scripts/lint

format:  ## rewrite the code in the house's style
	@scripts/install $(VENV) dev
	@$(VENV)/bin/ruff check -q --fix . && $(VENV)/bin/ruff format -q .

BENCH ?= dispatch against_peers language decoding quantized adapting science encrypted exported deployed imported served training_loop spread processes loader kernels moments checkpoint sharded_checkpoints read_weights

bench:  ## measure against plain JAX and the peers: all of benchmarks/, or BENCH="training_loop loader"
	@scripts/install $(VENV) dev
	@for name in $(BENCH); do $(VENV)/bin/python benchmarks/$$name.py $(ARGS) || exit 1; done

docs:  ## rewrite the generated pages and run the examples of all pages
	@scripts/install $(VENV) dev
	@$(VENV)/bin/python -W error scripts/docs.py $(ARGS)

soak:  ## run the tests that take minutes
	@scripts/install $(VENV) dev
	@scripts/test -m soak $(ARGS)

mutants:  ## seed bugs, and see the tests catch each of them
	@scripts/install $(VENV) dev
	@$(VENV)/bin/python tests/mutants/run.py $(ARGS)

test-area:  ## run the tests of one area in an environment of its own: AREA=tensorflow
	@"$$(scripts/find-python)" scripts/area.py "$(AREA)" $(ARGS)

test-latest:  ## run the suite on the newest Python and JAX at hand
	@scripts/install .venv-latest latest
	@CI= VENV=.venv-latest scripts/test $(ARGS)

site:  ## build the pages into build/site
	@scripts/install .venv-site site
	@.venv-site/bin/python scripts/site.py $(ARGS)

release:  ## build both packages into dist/, look them over, install them in an empty environment and run the README there
	@scripts/install .venv-release release
	@.venv-release/bin/python scripts/release.py $(ARGS)

lock:  ## resolve the pinned packages anew; ARGS=--upgrade for newer ones
	@scripts/lock $(ARGS)

clean:  ## remove the environments and everything else that was built
	rm -rf .venv .venv-* dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests docs scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
