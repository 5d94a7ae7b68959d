# A needlework study, from corpus to report. The stages are in the order data flows.
from snakemake.utils import min_version

min_version("9.27")

# A study is whole: it replaces the default study and is not merged into it.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/flags.smk"
include: "workflow/rules/failures.smk"


pathvars:
    results=f"results/{study.name}",


wildcard_constraints:
    model=one_of(study.models),
    task=one_of(tasks),
    variant=one_of(trained_variants(study)),
    seed=r"\d+",
    source=r"[a-z0-9_]+",


include: "workflow/rules/models.smk"
include: "workflow/rules/corpora.smk"
include: "workflow/rules/generation.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/heads.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/interventions.smk"
include: "workflow/rules/general.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    # Everything that a reader sees. What it is made of is made again when something needs it.
    input:
        rules.render_report.output,
        rules.compute_statistics.output,


# `snakemake datasets` makes the training data of a study and stops there.
rule datasets:
    input:
        of_all_variants("<results>/datasets/{task}/{variant}/README.md"),
