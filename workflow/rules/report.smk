rule render_report:
    input:
        scores="<results>/statistics/scores.csv",
        comparisons="<results>/statistics/comparisons.csv",
        correlations="<results>/statistics/correlations.csv",
        similarity="<results>/statistics/head_similarity.csv",
        reliability="<results>/statistics/reliability.csv",
        interventions=intervention_table(),
        training="<results>/statistics/training.csv",
        depths="<results>/statistics/depths.csv",
        general="<results>/statistics/general.csv" if study.general else [],
        heads=of_runs(scored_runs(study), f"<results>/heads/{RUN}/validation.json"),
        datasets=of_all_variants("<results>/datasets/{task}/{variant}/dataset.json"),
        examples=of_all_variants("<results>/datasets/{task}/{variant}/train.jsonl"),
        predictions=of_all_runs(f"<results>/predictions/{RUN}/plain.jsonl"),
        generations=generation_records(),
        benchmarks=all_benchmarks(),
    output:
        report="<results>/report.html",
        figures=expand(
            "<results>/figures/{figure}.{kind}",
            figure=figure_names(study),
            kind=["svg", "png", "csv"],
        ),
    log:
        "<results>/logs/render_report.log",
    benchmark:
        "<results>/benchmarks/render_report.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        folder=subpath(output.report, parent=True),
        study=study_json(),
        reference=REFERENCE,
        code=code_of("render_report"),
    message:
        "Writing the report"
    shell:
        "python scripts/render_report.py --results {params.folder}"
        " --study {params.study:q} --reference {params.reference}"
        " --benchmarks {input.benchmarks} > {log} 2>&1"
