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
            mem_mb=study.compute.memory_mb,
            gpu=one_gpu,
        params:
            adapter=adapter_flag,
            folder=subpath(output.scores, parent=True),
            general=flags(study.general, "variants"),
            seed=study.seed,
            compute=compute_flags(),
            code=code_of("evaluate_general"),
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
            mem_mb=4000,
        params:
            statistics=flags(study.statistics, "alpha"),
            seed=study.seed,
            code=code_of("compare_general"),
        message:
            "Comparing general abilities before and after fine-tuning"
        shell:
            "python scripts/compare_general.py --results {input.scores}"
            " --trained-on {input.trained_on} {params.statistics}"
            " --seed {params.seed} --output {output.table} > {log} 2>&1"
