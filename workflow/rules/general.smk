if study.general:

    rule evaluate_general:
        input:
            base="<results>/models/{model}/base.json",
            adapter=adapter_input,
        output:
            scores=f"<results>/general/{RUN}/general.json",
            answers=f"<results>/general/{RUN}/items.jsonl",
        log:
            f"<results>/logs/evaluate_general/{RUN}.log",
        benchmark:
            f"<results>/benchmarks/evaluate_general/{RUN}.tsv"
        conda:
            "../../envs/general.yaml"
        threads: study.compute.threads
        resources:
            **reading_job(minutes=480),
        params:
            **parameters("general", study.general, "variants"),
            **compute_parameters(),
            **code_of("evaluate_general", "general"),
            adapter=adapter_flag,
            folder=subpath(output.scores, parent=True),
            seed=SEED,
        message:
            "Asking {wildcards.model} after {wildcards.variant} data what it knows in general"
        shell:
            "python scripts/evaluate_general.py --base {input.base} {params.adapter}"
            " {params.general} --seed {params.seed} {params.compute} --threads {threads}"
            " --output {params.folder} > {log} 2>&1"

    rule compare_general:
        input:
            scores=of_runs(general_runs(study), f"<results>/general/{RUN}/general.json"),
            answers=of_runs(general_runs(study), f"<results>/general/{RUN}/items.jsonl"),
            trained_on=expand(
                "<results>/corpora/{task}/train.jsonl", task=trained_tasks
            ),
        output:
            table="<results>/statistics/general.csv",
        log:
            "<results>/logs/compare_general.log",
        benchmark:
            "<results>/benchmarks/compare_general.tsv"
        conda:
            "../../envs/analysis.yaml"
        threads: 1
        resources:
            **table_job(4000),
        params:
            **parameters("statistics", study.statistics, "alpha"),
            **code_of("compare_general", "analysis"),
            seed=SEED,
        message:
            "Comparing general abilities before and after fine-tuning"
        shell:
            "python scripts/compare_general.py --results {input.scores}"
            " --trained-on {input.trained_on} {params.statistics}"
            " --seed {params.seed} --output {output.table} > {log} 2>&1"
