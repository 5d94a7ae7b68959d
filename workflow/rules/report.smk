from needlework.report.names import of_pair, published_names, scored_pairs


# What `snakemake --report` opens with.
report: "../report/study.rst"


# Where it puts a figure, by the first word of its name.
FIGURE_CATEGORIES = {
    "scores": "Scores",
    "positions": "Scores",
    "lengths": "Scores",
    "heads": "Heads",
    "similarity": "Heads",
    "recall": "Heads",
    "reliability": "Heads",
    "masking": "Interventions",
    "patching": "Interventions",
    "general": "General abilities",
    "training": "Training",
}
TABLE_CATEGORIES = {
    "main": "Scores",
    "heads": "Heads",
    "interventions": "Interventions",
}
# Tables that are also there for a paper, as LaTeX and Markdown.
CSV_TABLES = ["main.csv", *(["interventions.csv"] if masks or patches else [])]
PAIR_OF = {
    of_pair(kind, *pair): pair
    for kind in ("heads", "masking")
    for pair in scored_pairs(study)
}


rule render_report:
    input:
        scores="<results>/statistics/scores.csv",
        variants="<results>/statistics/variants.csv",
        comparisons="<results>/statistics/comparisons.csv",
        correlations="<results>/statistics/correlations.csv",
        depths="<results>/statistics/depths.csv",
        similarity="<results>/statistics/head_similarity.csv",
        differences="<results>/statistics/head_differences.csv",
        reliability="<results>/statistics/reliability.csv",
        interventions=intervention_table(),
        general="<results>/statistics/general.csv" if study.general else [],
        training="<results>/statistics/training.csv",
        curves="<results>/statistics/training_curves.csv",
        heads=of_runs(scored_runs(study), f"<results>/heads/{RUN}/validation.json"),
        attention=of_traced_pairs("<results>/attention/{model}/{task}.json"),
        corpora=expand("<results>/corpora/{task}/corpus.json", task=tasks),
        questions=expand("<results>/corpora/{task}/test.jsonl", task=tasks),
        datasets=of_all_variants("<results>/datasets/{task}/{variant}/dataset.json"),
        examples=of_all_variants("<results>/datasets/{task}/{variant}/train.jsonl"),
        predictions=of_all_runs(f"<results>/predictions/{RUN}/plain.jsonl"),
        generations=generation_records(),
        benchmarks=all_benchmarks(),
    output:
        report=report(
            "<results>/report.html",
            caption="../report/page.rst",
            category="Answer",
            labels={"what": "the whole report", "format": "page"},
        ),
        figures=[
            report(
                f"<results>/figures/{figure}.{kind}",
                caption=f"../report/{figure.partition('-')[0]}.rst",
                category=FIGURE_CATEGORIES[figure.partition("-")[0]],
                subcategory=" on ".join(PAIR_OF.get(figure, ["all models"])),
                labels={"what": figure.partition("-")[0], "format": kind},
            )
            for figure in figure_names(study)
            for kind in ("svg", "png")
        ],
        numbers=expand(
            "<results>/figures/{figure}.csv",
            figure=figure_names(study),
        ),
        tables=[
            report(
                f"<results>/tables/{name}",
                caption=f"../report/table_{Path(name).stem}.rst",
                category=TABLE_CATEGORIES[Path(name).stem],
                subcategory="tables",
                labels={"what": Path(name).stem, "format": Path(name).suffix[1:]},
            )
            for name in [*CSV_TABLES, *published_names(study)]
            if not name.endswith(".md")
        ],
        markdown=[
            f"<results>/tables/{name}"
            for name in published_names(study)
            if name.endswith(".md")
        ],
        counts=report(
            "<results>/tables/counts.csv",
            caption="../report/table_counts.rst",
            category="Data",
            labels={"what": "rows in and out", "format": "csv"},
        ),
        generations=report(
            "<results>/tables/generations.csv",
            caption="../report/table_generations.rst",
            category="Data",
            labels={"what": "what was generated", "format": "csv"},
        ),
        stages=report(
            "<results>/tables/stages.csv",
            caption="../report/table_stages.rst",
            category="Data",
            labels={"what": "time and memory", "format": "csv"},
        ),
    log:
        "<results>/logs/render_report.log",
    benchmark:
        "<results>/benchmarks/render_report.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        **table_job(2000),
    params:
        **study_parameters(),
        **code_of("render_report", "analysis"),
        folder=subpath(output.report, parent=True),
        reference=Said("reference", REFERENCE),
    message:
        "Writing the report"
    shell:
        "python scripts/render_report.py --results {params.folder}"
        " --study {params.study:q} --reference {params.reference}"
        " --benchmarks {input.benchmarks} > {log} 2>&1"
