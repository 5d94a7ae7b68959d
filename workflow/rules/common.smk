# What all rules share: the study, checked before the first job, and functions over it.
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The library is beside the Snakefile; rules find it there in every environment.
ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
os.environ.update(PYTHONPATH=str(ROOT), HF_HUB_DISABLE_TELEMETRY="1")
# A job's log takes lines, not the bars of the libraries below; needlework writes its own lines.
os.environ.update(TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

from needlework.planning import flags, load_study
from needlework.provenance import source_fingerprint
from needlework.study import UNTUNED, StudyError, runs, trained_variants
from needlework.synthesis.variants import REWRITTEN

try:
    study = load_study(config)
except StudyError as error:
    raise WorkflowError(str(error)) from None

# The variant that the others are measured against.
REFERENCE = "real" if "real" in study.variants else study.variants[0]
RUN = "{model}/{task}/{variant}/seed{seed}"


def one_of(names):
    """A wildcard constraint that lets exactly these names through."""
    return "|".join(re.escape(name) for name in names)


def code_of(script):
    """Fingerprint of a script and the library modules behind it: editing them reruns the rule."""
    return source_fingerprint(ROOT / "scripts" / f"{script}.py", ROOT / "needlework")


def compute_flags():
    """Where a model runs; threads are given by each rule."""
    return flags(study.compute, "threads", "memory_mb", "gpus")


def model_flags(wildcards):
    """Source and revision of a model."""
    return flags(study.models[wildcards.model])


def corpus_flags(wildcards):
    """Sizes of a task's splits."""
    return flags(study.tasks[wildcards.task])


def dataset_flags(wildcards):
    """Wanted sizes of a variant's splits."""
    return flags(study.tasks[wildcards.task], "spare", "test", "documents")


def rewrites_input(wildcards):
    """The rewrites, for the variants that need them."""
    if wildcards.variant in REWRITTEN:
        return "<results>/generations/{task}/rewrites.jsonl".format(task=wildcards.task)
    return []


def adapter_input(wildcards):
    """A run's adapter; the untuned model has none."""
    if wildcards.variant == UNTUNED:
        return []
    run = RUN.format(**wildcards)
    return f"<results>/adapters/{run}/adapter_model.safetensors"


def of_all_runs(pattern):
    """The files of every run of the study that a pattern names."""
    return [pattern.format(**run._asdict()) for run in runs(study)]


def of_all_variants(pattern):
    """The files of every task and variant that a pattern names."""
    return expand(pattern, task=study.tasks, variant=study.variants)


def of_rewritten_tasks(pattern):
    """The files of every task whose facts a language model rewrites."""
    return expand(pattern, task=study.tasks if REWRITTEN & set(study.variants) else [])


def adapter_flag(wildcards, input):
    """The flag that names a run's adapter folder; none for the untuned model."""
    return f"--adapter {Path(input.adapter).parent}" if input.adapter else ""


def all_benchmarks():
    """Time and memory of every job before the report."""
    trained = [run for run in runs(study) if run.variant != UNTUNED]
    return [
        *expand("<results>/benchmarks/prepare_model/{model}.tsv", model=study.models),
        *expand("<results>/benchmarks/build_corpus/{task}.tsv", task=study.tasks),
        *of_rewritten_tasks("<results>/benchmarks/rewrite_facts/{task}.tsv"),
        *of_all_variants("<results>/benchmarks/build_dataset/{task}/{variant}.tsv"),
        *(
            f"<results>/benchmarks/train_adapter/{RUN}.tsv".format(**run._asdict())
            for run in trained
        ),
        *of_all_runs(f"<results>/benchmarks/score_heads/{RUN}.tsv"),
        *of_all_runs(f"<results>/benchmarks/predict_answers/{RUN}.tsv"),
        "<results>/benchmarks/compare_heads.tsv",
        "<results>/benchmarks/compute_statistics.tsv",
    ]


def study_json():
    """What the report says of the study."""
    return study.model_dump_json()
