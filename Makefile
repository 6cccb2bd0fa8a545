# Every target makes its own environment in .venv when it is missing or older than its recipe.
PROFILE ?= cpu
SEEDS   ?= 1
RETRAIN ?= 0
TRAIN   ?= headline
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
# Small models gain nothing from more threads, and lose much where other work wants the cores.
export OMP_NUM_THREADS ?= 1

.PHONY: help reproduce test smoke lab lint figures publish report verify clean

help:
	@echo "make reproduce  train and execute every notebook (PROFILE=cpu TRAIN=headline SEEDS=1)"
	@echo "make test       run the tests"
	@echo "make smoke      every notebook at toy size: proves that they run, not what they show"
	@echo "make lab        JupyterLab at notebooks/00_start_here.ipynb"
	@echo "make lint       formatting, style, types, notebooks without outputs"
	@echo "make figures    execute the notebooks on the published results: pictures, values, claims"
	@echo "make report     a site of the executed notebooks in build/report/, to read without a server"
	@echo "make verify     execute them again and compare (RETRAIN=1: train one published run, too)"
	@echo "make publish    append this machine's finished evaluations to the published results"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; choose another with PYTHON=/path/to/python3"; exit 2; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	touch $@

reproduce: $(STAMP)
	$(BIN)/disperse reproduce --profile $(PROFILE) --train $(TRAIN) --seeds $(SEEDS)

test: $(STAMP)
	$(BIN)/python -m pytest -q -n auto

smoke: $(STAMP)
	$(BIN)/disperse reproduce --profile smoke

lab: $(STAMP)
	$(BIN)/jupyter lab --notebook-dir . --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify notebooks/*.ipynb

figures: $(STAMP)
	$(BIN)/disperse figures --profile $(PROFILE)

publish: $(STAMP)
	$(BIN)/disperse publish --profile $(PROFILE)
	$(BIN)/disperse figures --profile $(PROFILE)

report: $(STAMP)
	$(BIN)/disperse report --profile $(PROFILE)

verify: $(STAMP)
	$(BIN)/disperse verify --profile $(PROFILE) --retrain $(RETRAIN)

clean:
	rm -rf $(VENV) .snakemake build runs papermill_runs/here
