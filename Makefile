# Every verb makes what it needs and reuses it: a folder of its own for each set of packages, made anew only when the
# pins or pyproject.toml change.
PYTHON ?= python3
SERVE  := .venv
DEV    := .venv-dev
NEWEST := .venv-newest
FUZZ   := .venv-fuzz
TORCH  := .venv-encoder
SECONDS ?= 60
TARGET ?= requests
PIP     = -m pip install --quiet --disable-pip-version-check

.PHONY: help demo serve test test-fast test-newest test-encoder fuzz lint format proto bench bench-overload bench-swap bench-faults bench-load bench-ledger bench-encoder bench-gpu bench-quality bench-peers default-bundle clean

help:  ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

$(SERVE)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(SERVE)
	$(SERVE)/bin/python $(PIP) -c constraints.txt -e '.[cpu]'
	$(SERVE)/bin/python -m compileall -q sidecar  # else each start compiles, where PYTHONDONTWRITEBYTECODE is set
	@touch $@

$(DEV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(DEV)
	$(DEV)/bin/python $(PIP) --upgrade 'pip>=25.1'
	$(DEV)/bin/python $(PIP) -c constraints.txt -e '.[cpu,train,bench,postgres,peers]' --group lint --group test
	@touch $@

demo: $(SERVE)/.done  ## route a dozen prompts through a sidecar of its own
	@$(SERVE)/bin/router-sidecar demo

serve: $(SERVE)/.done  ## serve on 127.0.0.1:8470 (ARGS="--config FILE ...")
	@$(SERVE)/bin/router-sidecar serve $(ARGS)

test: $(DEV)/.done  ## run all tests (ARGS="-k word ...")
	$(DEV)/bin/pytest -n 2 $(ARGS)

test-fast: $(DEV)/.done  ## run the tests that take seconds
	$(DEV)/bin/pytest -n 2 -m 'not slow' $(ARGS)

# The other end of the range of grpcio, for clients and the portable transport; all else is pinned as in constraints.txt.
$(NEWEST)/.done: pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv --clear $(NEWEST)
	grep -vE '^(grpcio|protobuf)' constraints.txt > $(NEWEST)/constraints.txt
	$(NEWEST)/bin/python $(PIP) -c $(NEWEST)/constraints.txt -e '.[cpu]' \
	  grpcio==1.85.1 grpcio-health-checking==1.85.1 grpcio-reflection==1.85.1 protobuf==7.36.2 \
	  onnx hypothesis psutil pytest pytest-asyncio pytest-randomly pytest-timeout trustme
	@touch $@

test-newest: $(NEWEST)/.done  ## run the conformance suite on the newest grpcio of the supported range
	$(NEWEST)/bin/pytest tests/lanes tests/clients/test_python.py $(ARGS)

# transformers below 4.58 wants an older tokenizers and huggingface_hub than the rest of the project.
$(TORCH)/.done: pyproject.toml constraints-encoder.txt
	$(PYTHON) -m venv --clear $(TORCH)
	$(TORCH)/bin/python $(PIP) -c constraints-encoder.txt -e '.[cpu,train,encoder]' \
	  hypothesis pytest pytest-asyncio pytest-randomly pytest-timeout pytest-xdist
	@touch $@

test-encoder: $(TORCH)/.done  ## run the tests of routers over a transformer encoder, which need torch
	HF_HUB_OFFLINE=1 $(TORCH)/bin/pytest tests/export/encoder $(ARGS)

$(FUZZ)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(FUZZ)
	$(FUZZ)/bin/python $(PIP) --upgrade 'pip>=25.1'
	$(FUZZ)/bin/python $(PIP) -c constraints.txt -e '.[cpu]' --group fuzz
	@touch $@

fuzz: $(FUZZ)/.done  ## throw requests, header blocks or connections made wrong at what reads them, led by coverage (SECONDS=60 TARGET=requests|hpack|connection)
	$(FUZZ)/bin/python -m tests.fuzz.run --seconds $(SECONDS) --target $(TARGET)

lint: $(DEV)/.done  ## check style, types, imports and the contract
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	PYTHONPATH=. $(DEV)/bin/lint-imports
	cd proto && ../$(DEV)/bin/buf lint && ../$(DEV)/bin/buf format --diff --exit-code
	cd proto && ../$(DEV)/bin/buf breaking --against released.binpb

format: $(DEV)/.done  ## lay out the code
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .
	cd proto && ../$(DEV)/bin/buf format --write

# What callers rely on; to be renewed with each release: cd proto && buf build -o released.binpb
proto: $(DEV)/.done  ## regenerate sidecar/wire from proto/
	$(DEV)/bin/python proto/generate.py

bench: $(DEV)/.done  ## measure latency and throughput beside the empty-handler floors (ARGS="--help")
	$(DEV)/bin/python benchmarks/latency.py $(ARGS)

bench-overload: $(DEV)/.done  ## measure goodput, coverage and fairness beyond the peak (ARGS="--config FILE ...")
	$(DEV)/bin/python benchmarks/overload.py $(ARGS)

bench-quality: $(DEV)/.done  ## measure decision quality; needs the data sets (ARGS="--data DIR ...")
	$(DEV)/bin/python benchmarks/quality.py $(ARGS)

bench-peers: $(DEV)/.done  ## measure mosec, PyTriton and MLServer with the same model beside us
	$(DEV)/bin/python benchmarks/peers/run.py $(ARGS)

bench-swap: $(DEV)/.done  ## measure 200 swaps of the bundle at full load (ARGS="--help")
	$(DEV)/bin/python benchmarks/swap.py $(ARGS)

bench-faults: $(DEV)/.done  ## measure killed workers, overload, two workers beside one (ARGS="--help")
	$(DEV)/bin/python benchmarks/faults.py $(ARGS)

bench-load: $(DEV)/.done  ## measure the closed loop with a simulated fleet; needs the data sets (ARGS="--quick ...")
	$(DEV)/bin/python benchmarks/load.py $(ARGS)

bench-ledger: $(DEV)/.done  ## measure durable acknowledgements and what recording a decision costs (ARGS="--help")
	$(DEV)/bin/python benchmarks/ledger.py $(ARGS)

bench-encoder: $(DEV)/.done  ## measure an encoder on the CPU beside the plain session (ARGS="--help")
	$(DEV)/bin/python -m benchmarks.encoder $(ARGS)

bench-gpu: $(DEV)/.done  ## measure an encoder on a GPU: parity, latency, throughput, the device's floor (ARGS="--help")
	$(DEV)/bin/python -m benchmarks.gpu $(ARGS)

clean:  ## remove the environments and caches
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
