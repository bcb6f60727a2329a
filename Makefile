# Every target sets up what it needs: Python 3.11 or newer is all a machine must have.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test e2e lint bench fuzz clean sim mutants crash interop chaos divergence hostile pool

help: ## list the targets
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make the environment in .venv

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: setup ## a local testnet of four nodes that train together (about three minutes once installed)
	$(BIN)/pdfed testnet --nodes 4 --submissions 6 --dir ./testnet

test: setup lint ## unit, property, simulation and import tests
	$(BIN)/pytest

e2e: setup ## tests with real node processes
	$(BIN)/pytest -m e2e

interop: setup ## a node's host, and a checkpoint of make demo, against js-libp2p and Helia (needs npm)
	cd tests/interop && npm install --silent --no-audit --no-fund
	cd tests/interop/node_modules/node && { test -x bin/node || npm run --silent preinstall; }
	PYTHONPATH=. $(BIN)/python tests/interop/check.py tests/interop/node_modules $(wildcard testnet/node0)

chaos: setup ## seven nodes behind lines that are cut, slow and lossy (about four minutes)
	PYTHONPATH=. $(BIN)/python tests/chaos/run.py

hostile: setup ## honest traffic beside hostile peers, measured (about four minutes)
	PYTHONPATH=. $(BIN)/python -m tests.hostile

lint: setup ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

sim: setup ## ten thousand simulated chains with faults and liars; goes on where it was stopped
	nice -n 10 $(BIN)/python -m pdfedchain.testing.campaign

mutants: setup ## do the tests catch bugs that are planted in consensus? (about two minutes)
	$(BIN)/python -m tests.mutation

pool: setup ## are copies found among real images, altered ones too? (minutes of a core for each of two data sets)
	nice $(BIN)/python -m tests.diffusion.pool

crash: setup ## kill processes at every write and 400 times at random; nothing signed twice, no block lost
	$(BIN)/python -m tests.crash

divergence: setup ## score 200 checkpoints under every setting of this machine (hours; resumable)
	nice -n 10 $(BIN)/python -m tests.diffusion.divergence build/divergence --jobs 2

bench: setup ## measured figures of this machine
	$(BIN)/pdfed bench chain
	@if [ -d testnet/node0 ]; then $(BIN)/pdfed bench score --home testnet/node0 && \
		$(BIN)/pdfed bench train --home testnet/node0; \
	else $(BIN)/pdfed bench score && echo "make demo first: bench train measures its model"; fi

fuzz: setup ## ten million generated inputs for every decoder and handler (resumable)
	$(BIN)/pip install --quiet --quiet --disable-pip-version-check -c constraints.txt atheris
	nice $(BIN)/python -m tests.fuzz.campaign

bench-eth: setup ## the chain's figures beside eth-tester with py-evm, in an environment of its own
	test -x .venv-eth/bin/pip || $(PYTHON) -m venv .venv-eth
	.venv-eth/bin/pip install --quiet --quiet --disable-pip-version-check --pre eth-tester py-evm eth-account coincurve
	$(BIN)/pdfed bench chain --eth-tester-python .venv-eth/bin/python

clean: ## remove the environment and the testnet
	rm -rf $(VENV) .venv-eth testnet
