if study.masking:

    rule mask_heads:
        input:
            base="<results>/models/{model}/base.json",
            adapter=adapter_input,
            scores=f"<results>/heads/{RUN}/validation.json",
            examples="<results>/corpora/{task}/test.jsonl",
            probe="<results>/corpora/{task}/validation.jsonl",
        output:
            predictions=of_conditions(
                f"<results>/predictions/{RUN}/{{condition}}.jsonl", masks
            ),
            records=of_conditions(
                f"<results>/interventions/{RUN}/{{condition}}.json", masks
            ),
        log:
            f"<results>/logs/mask_heads/{RUN}.log",
        benchmark:
            f"<results>/benchmarks/mask_heads/{RUN}.tsv"
        conda:
            "../../envs/gpu.yaml"
        threads: study.compute.threads
        resources:
            **reading_job(minutes=480),
        params:
            **evaluation_parameters(),
            **parameters("masking", study.masking, "variants"),
            **compute_parameters(),
            **code_of("mask_heads", "gpu"),
            adapter=adapter_flag,
            length=LENGTH,
            seed=SEED,
            predictions=answers_folder,
            records=records_folder,
        message:
            "Masking heads of {wildcards.model} after {wildcards.variant} data of {wildcards.task}"
        shell:
            "python scripts/mask_heads.py --base {input.base} {params.adapter}"
            " --scores {input.scores} --examples {input.examples} --probe {input.probe}"
            " --length {params.length} {params.evaluation} {params.masking} --seed {params.seed}"
            " {params.compute} --threads {threads} --records {params.records}"
            " --output {params.predictions} > {log} 2>&1"


if study.patching:

    rule patch_heads:
        input:
            base="<results>/models/{model}/base.json",
            adapter=adapter_input,
            source_adapter=source_adapter_input,
            scores=f"<results>/heads/{RUN}/validation.json",
            source_scores=source_scores_input,
            examples="<results>/corpora/{task}/test.jsonl",
        output:
            predictions=of_conditions(
                f"<results>/predictions/{RUN}/{{condition}}.jsonl", patches
            ),
            records=of_conditions(
                f"<results>/interventions/{RUN}/{{condition}}.json", patches
            ),
        log:
            f"<results>/logs/patch_heads/{RUN}.log",
        benchmark:
            f"<results>/benchmarks/patch_heads/{RUN}.tsv"
        conda:
            "../../envs/gpu.yaml"
        threads: study.compute.threads
        resources:
            **reading_job(minutes=480),
        params:
            **evaluation_parameters(),
            **parameters("patching", study.patching, "source", "targets"),
            **compute_parameters(),
            **code_of("patch_heads", "gpu"),
            adapter=adapter_flag,
            source_adapter=source_adapter_flag,
            source=Said("patching.source", patch_source(study)),
            length=LENGTH,
            top=Said("probe.top", study.probe.top),
            seed=SEED,
            predictions=answers_folder,
            records=records_folder,
        message:
            "Patching {params.source} heads into {wildcards.model} after {wildcards.variant} data"
        shell:
            "python scripts/patch_heads.py --base {input.base} {params.adapter}"
            " {params.source_adapter} --source {params.source:q} --scores {input.scores}"
            " --source-scores {input.source_scores} --examples {input.examples}"
            " --length {params.length} {params.evaluation} {params.patching}"
            " --top {params.top} --seed {params.seed} {params.compute} --threads {threads}"
            " --records {params.records} --output {params.predictions} > {log} 2>&1"


if masks or patches:

    rule compare_interventions:
        input:
            plain=of_intervened_runs(f"<results>/predictions/{RUN}/plain.jsonl"),
            predictions=of_interventions(
                f"<results>/predictions/{RUN}/{{condition}}.jsonl"
            ),
            records=of_interventions(
                f"<results>/interventions/{RUN}/{{condition}}.json"
            ),
        output:
            table="<results>/statistics/interventions.csv",
        log:
            "<results>/logs/compare_interventions.log",
        benchmark:
            "<results>/benchmarks/compare_interventions.tsv"
        conda:
            "../../envs/analysis.yaml"
        threads: 1
        resources:
            **table_job(2000),
        params:
            **parameters("statistics", study.statistics, "alpha", "margin"),
            **code_of("compare_interventions", "analysis"),
            results=subpath(output.table, ancestor=2),
            conditions=condition_flags(),
            seed=SEED,
        message:
            "Comparing what masked and patched models answer"
        shell:
            "python scripts/compare_interventions.py --results {params.results}"
            " {params.conditions} {params.statistics} --seed {params.seed}"
            " --output {output.table} > {log} 2>&1"
