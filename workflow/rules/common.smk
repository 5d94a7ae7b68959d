# What all rules share: the study, checked before the first job, and functions over it.
import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The library is beside the Snakefile; rules find it there in every environment.
ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
os.environ.update(PYTHONPATH=str(ROOT), HF_HUB_DISABLE_TELEMETRY="1")
# A job's log takes lines, not the bars of the libraries below; needlework writes its own lines.
os.environ.update(TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

from needlework.corpora.downloads import load_sources
from needlework.corpora.tasks import TASKS
from needlework.interventions.conditions import mask_names, patch_names
from needlework.estimates import estimate, text
from needlework.evaluation.views import has_closed_book, views_of
from needlework.layout import Run, mixture_of
from needlework.planning import Flags, Said, flags, load_study, parameters, said
from needlework.provenance import file_hash, source_fingerprint
from needlework.study.files import StudyError, check_files
from needlework.report.names import figure_names
from needlework.study.runs import (
    adapter_run,
    general_runs,
    masked_runs,
    own_tasks,
    patch_source,
    patched_runs,
    recipe,
    reference,
    runs,
    scored_runs,
    traced_runs,
    trained_variants,
    tuned_runs,
)
from needlework.study.values import UNTUNED
from needlework.synthesis.variants import REWRITTEN, WRITTEN

try:
    if workflow.is_main_process:
        check_files(workflow.config_settings.configfiles or workflow.configfiles)
    study = load_study(config)
except StudyError as error:
    raise WorkflowError(str(error)) from None

tasks = list(study.tasks.chosen())
trained_tasks = own_tasks(study)
hosted = [name for name, model in study.models.items() if model.hosted is not None]

# Said once, before anything runs.
if workflow.is_main_process and study.compute.device == "cuda":
    for line in text(estimate(study)):
        print(line, file=sys.stderr)

# The variant that the others are measured against.
REFERENCE = reference(study)
RUN = "{model}/{task}/{variant}/seed{seed}"

# What download_source can fetch.
SOURCES = load_sources()

# Parameters of many rules.
LENGTH, SEED = Said("length", study.length), Said("seed", study.seed)

# The conditions under which runs answer beside the plain one.
masks, patches = [], []
if study.masking:
    masks = mask_names(
        top=study.masking.top,
        kinds=study.masking.kinds,
        during=study.masking.during,
        controls=study.masking.controls,
        draws=study.masking.draws,
    )
if study.patching:
    patches = patch_names(
        sets=study.patching.sets,
        positions=study.patching.positions,
        draws=study.patching.draws,
    )


def one_of(names):
    """A wildcard constraint that lets exactly these names through."""
    return "|".join(re.escape(name) for name in names)


def code_of(script, environment):
    """A script, the library behind it, its environment, to record: editing one reruns the rule."""
    if not workflow.is_main_process:
        return {}  # on a node nothing is compared any more
    behind = source_fingerprint(ROOT / "scripts" / f"{script}.py", ROOT / "needlework")
    words = {f"code of {script}, {part}": found for part, found in behind.items()}
    return said("", words) | environment_of(environment)


def environment_of(name):
    """A software environment to record, whether or not Snakemake is asked to install it."""
    files = sorted(ROOT.glob(f"envs/{name}.*"))
    return said("environment", {file.name: file_hash(file)[:16] for file in files})


def by_wildcard(name, parameters_of, values):
    """Parameters that a wildcard decides, worked out once for each of its values."""
    given = {value: parameters_of(value) for value in values}
    found = {}
    for key in dict.fromkeys(key for each in given.values() for key in each):
        texts = {repr(each.get(key)) for each in given.values()}
        first = next(iter(given.values())).get(key)
        found[key] = first if len(texts) == 1 else _chosen(given, name, key)
    return found


def _chosen(given, name, key):
    return lambda wildcards: given[getattr(wildcards, name)].get(key, Flags(""))


def run_of(wildcards):
    """The run that a job is about."""
    return Run(wildcards.model, wildcards.task, wildcards.variant, int(wildcards.seed))


def dataset_file(name):
    """A file of the dataset on which a run is trained: a control has that of its variant."""

    def path(wildcards):
        data = recipe(study, wildcards.variant).data
        return f"<results>/datasets/{wildcards.task}/{data}/{name}"

    return path


def task_files(wildcards):
    """The files that a task's corpus is drawn from; those to be downloaded by their source."""
    paths = task_paths(wildcards.task).values()
    sources = {Path(path).parts[1] for path in paths if _is_downloaded(Path(path))}
    complete = [f"data/{source}.complete" for source in sorted(sources)]
    return [path for path in paths if _is_own(Path(path))] + complete


def _is_downloaded(path):
    """Whether a file is one of a source that download_source knows."""
    return path.parts[0] == "data" and path.parts[1] in SOURCES


def _is_own(path):
    """Whether a file is not as it was downloaded: named by the study, or edited since."""
    if not _is_downloaded(path):
        return True
    complete = Path("data") / f"{path.parts[1]}.complete"
    if not (path.is_file() and complete.is_file()):
        return False
    return path.stat().st_mtime > complete.stat().st_mtime


def needed_by(variant, kind):
    """Whether a variant, or a part of a mixture, needs texts of a kind."""
    return not kind.isdisjoint(mixture_of(variant))


def generated(wildcards, kind, name):
    """A file that a language model's texts are in, for the variants that need them."""
    if needed_by(wildcards.variant, kind):
        return f"<results>/generations/{wildcards.task}/{name}"
    return []


def generation_reports(wildcards):
    """What the language model's texts of a variant cost."""
    return [
        path
        for kind, name in ((REWRITTEN, "rewrites.json"), (WRITTEN, "documents.json"))
        if (path := generated(wildcards, kind, name))
    ]


def adapter_input(wildcards):
    """A run's adapter, or what names the model that an API tuned; the untuned model has none."""
    if wildcards.variant == UNTUNED:
        return []
    run = RUN.format(**adapter_run(study, run_of(wildcards))._asdict())
    file = "hosted.json" if wildcards.model in hosted else "adapter_model.safetensors"
    return f"<results>/adapters/{run}/{file}"


def source_run(wildcards):
    """The run whose head outputs are put into a run: of the same seed, where it has that."""
    variant, seed = patch_source(study), int(wildcards.seed)
    if variant == UNTUNED:
        seed = 0
    elif seed not in study.training_seeds:
        seed = study.training_seeds[0]
    return RUN.format(
        model=wildcards.model, task=wildcards.task, variant=variant, seed=seed
    )


def source_adapter_input(wildcards):
    """The adapter of the run that a patch is from; the untuned model has none."""
    if patch_source(study) == UNTUNED:
        return []
    return f"<results>/adapters/{source_run(wildcards)}/adapter_model.safetensors"


def source_scores_input(wildcards):
    """The head scores of the run that a patch is from."""
    return f"<results>/heads/{source_run(wildcards)}/validation.json"


def answers_folder(wildcards, output):
    """Where a run's answers under its conditions go."""
    return Path(output.predictions[0]).parent


def records_folder(wildcards, output):
    """Where the records of those conditions go."""
    return Path(output.records[0]).parent


def of_conditions(pattern, conditions):
    """The files of a run under each condition."""
    return [pattern.replace("{condition}", condition) for condition in conditions]


def of_interventions(pattern):
    """The files of every run under each of its conditions."""
    return [
        path.format(**run._asdict())
        for chosen, conditions in ((masked_runs, masks), (patched_runs, patches))
        for run in chosen(study)
        for path in of_conditions(pattern, conditions)
    ]


def of_intervened_runs(pattern):
    """The files of every run that is masked or patched."""
    chosen = dict.fromkeys([*masked_runs(study), *patched_runs(study)])
    return [pattern.format(**run._asdict()) for run in chosen]


def intervention_table():
    """The table of masks and patches, in studies that have any."""
    return "<results>/statistics/interventions.csv" if masks or patches else []


def of_all_runs(pattern):
    """The files of every run of the study that a pattern names."""
    return of_runs(runs(study), pattern)


def of_runs(chosen, pattern):
    """The files of some runs that a pattern names."""
    return [pattern.format(**run._asdict()) for run in chosen]


def traced(wildcards):
    """The runs of a model and task of which the report shows where heads look."""
    here = (wildcards.model, wildcards.task)
    return [run for run in traced_runs(study) if (run.model, run.task) == here]


def of_traced_pairs(pattern):
    """The files of every model and task that has runs whose attention is shown."""
    pairs = dict.fromkeys((run.model, run.task) for run in traced_runs(study))
    return [pattern.format(model=model, task=task) for model, task in pairs]


def local_runs():
    """The runs of models that run here."""
    return [run for run in runs(study) if run.model not in hosted]


def hosted_runs():
    """The runs that are trained through an API."""
    return [
        run
        for run in runs(study)
        if run.model in hosted and run.variant != UNTUNED and run.task in trained_tasks
    ]


def views(task):
    """The views in which a task is asked beside the plain test."""
    section = study.tasks.chosen()[task]
    positions = getattr(section, "positions", None)
    return views_of(
        positions=positions,
        lengths=study.evaluation.lengths,
        closed_book=study.evaluation.closed_book and has_closed_book(task),
        distractor_sets=getattr(section, "test_distractors", []),
        length=study.length,
    )


def other_tests(task):
    """The names of a task's test sets with other distractors."""
    return [
        f"test-{name}"
        for name in getattr(study.tasks.chosen()[task], "test_distractors", [])
    ]


def of_views(pattern):
    """The files of every run in every view of its task."""
    return [
        path.format(**run._asdict())
        for run in local_runs()
        for path in of_conditions(pattern, [view.name for view in views(run.task)])
    ]


def of_all_models(pattern):
    """The files of every model of the study that a pattern names."""
    return expand(pattern, model=study.models)


def of_all_variants(pattern):
    """The files of every task that is trained on and every variant that a pattern names."""
    return expand(pattern, task=trained_tasks, variant=study.variants)


def of_tasks_with(kind, pattern):
    """The files of every such task, if a variant of the study needs texts of a kind."""
    needed = any(needed_by(variant, kind) for variant in study.variants)
    return expand(pattern, task=trained_tasks if needed else [])


def generation_records():
    """What the language model did, for the report."""
    return [
        *of_tasks_with(REWRITTEN, "<results>/generations/{task}/rewrites.json"),
        *of_tasks_with(WRITTEN, "<results>/generations/{task}/documents.json"),
    ]


def of_generating_tasks(pattern):
    """The examples of every task for which a language model writes."""
    files = of_tasks_with(REWRITTEN | WRITTEN, pattern.replace("{split}", "{{split}}"))
    return [
        path.format(split=split) for path in files for split in ("train", "validation")
    ]


def generation_needs():
    """What a language model writes for the variants of the study, as flags."""
    needs = {"--rewrites": REWRITTEN, "--written": WRITTEN}
    variants = study.variants
    return [f for f, kind in needs.items() if any(needed_by(v, kind) for v in variants)]


def all_benchmarks():
    """Time and memory of every job before the report."""
    named = {
        "train_adapter": tuned_runs(study),
        "tune_hosted": hosted_runs(),
        "score_heads": scored_runs(study),
        "predict_answers": runs(study),
        "predict_views": [run for run in local_runs() if views(run.task)],
        "mask_heads": masked_runs(study),
        "patch_heads": patched_runs(study),
        "evaluate_general": general_runs(study),
    }
    tables = ["summarise_training", "compare_heads", "compute_statistics"]
    tables += ["compute_depths"]
    tables += ["compare_interventions"] if masks or patches else []
    tables += ["compare_general"] if study.general else []
    return [
        *expand("<results>/benchmarks/prepare_model/{model}.tsv", model=study.models),
        *expand("<results>/benchmarks/build_corpus/{task}.tsv", task=tasks),
        *of_tasks_with(REWRITTEN, "<results>/benchmarks/rewrite_facts/{task}.tsv"),
        *of_tasks_with(WRITTEN, "<results>/benchmarks/write_documents/{task}.tsv"),
        *of_all_variants("<results>/benchmarks/build_dataset/{task}/{variant}.tsv"),
        *(
            path
            for rule_name, chosen in named.items()
            for path in of_runs(chosen, f"<results>/benchmarks/{rule_name}/{RUN}.tsv")
        ),
        *of_traced_pairs("<results>/benchmarks/trace_attention/{model}/{task}.tsv"),
        *(f"<results>/benchmarks/{rule_name}.tsv" for rule_name in tables),
    ]


def study_parameters():
    """What the report says of the study: all of it."""
    dumped = study.model_dump(mode="json")
    return {"study": Flags(study.model_dump_json())} | said("", dumped)
