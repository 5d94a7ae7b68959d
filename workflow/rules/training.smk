rule train_adapter:
    input:
        base="<results>/models/{model}/base.json",
        train=dataset_file("train.jsonl"),
        validation=dataset_file("validation.jsonl"),
    output:
        adapter=f"<results>/adapters/{RUN}/adapter_model.safetensors",
        config=f"<results>/adapters/{RUN}/adapter_config.json",
        record=f"<results>/adapters/{RUN}/training.json",
        history=f"<results>/adapters/{RUN}/log.jsonl",
    log:
        f"<results>/logs/train_adapter/{RUN}.log",
    benchmark:
        f"<results>/benchmarks/train_adapter/{RUN}.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: study.compute.threads
    resources:
        **training_job(),
    params:
        **by_wildcard("variant", recipe_parameters, trained_variants(study)[1:]),
        **compute_parameters(),
        **code_of("train_adapter", "gpu"),
        dataset=subpath(input.train, parent=True),
        folder=subpath(output.record, parent=True),
    message:
        "Training {wildcards.model} on {wildcards.variant} data of {wildcards.task}"
    shell:
        # Checkpoints lie beside the outputs: those of a failed job are deleted.
        "{params.launcher} scripts/train_adapter.py --base {input.base}"
        " --dataset {params.dataset} --seed {wildcards.seed} {params.recipe} {params.compute}"
        " --threads {threads} --checkpoints {params.folder}/checkpoints"
        " --output {params.folder} > {log} 2>&1"


if hosted:

    rule tune_hosted:
        input:
            base="<results>/models/{model}/base.json",
            train=dataset_file("train.jsonl"),
            validation=dataset_file("validation.jsonl"),
        output:
            record=f"<results>/adapters/{RUN}/hosted.json",
        log:
            f"<results>/logs/tune_hosted/{RUN}.log",
        benchmark:
            f"<results>/benchmarks/tune_hosted/{RUN}.tsv"
        conda:
            "../../envs/generation.yaml"
        threads: 1
        resources:
            **local_job(2000),
        params:
            **by_wildcard("variant", data_parameters, trained_variants(study)[1:]),
            **by_wildcard("model", hosted_parameters, hosted),
            **code_of("tune_hosted", "generation"),
            dataset=subpath(input.train, parent=True),
            folder=subpath(output.record, parent=True),
        message:
            "Tuning {wildcards.model} on {wildcards.variant} data of {wildcards.task} by its API"
        shell:
            # What is known of a job lies beside the outputs: those of a failed job are deleted.
            "python scripts/tune_hosted.py --base {input.base} --dataset {params.dataset}"
            " --seed {wildcards.seed} {params.data} {params.hosted} --state {params.folder}/job"
            " --output {params.folder} > {log} 2>&1"


rule summarise_training:
    input:
        records=of_runs(tuned_runs(study), f"<results>/adapters/{RUN}/training.json"),
    output:
        table="<results>/statistics/training.csv",
        curves="<results>/statistics/training_curves.csv",
    log:
        "<results>/logs/summarise_training.log",
    benchmark:
        "<results>/benchmarks/summarise_training.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        **local_job(1000),
    params:
        **code_of("summarise_training", "analysis"),
    message:
        "Summing up what was trained, and how fast"
    shell:
        "python scripts/summarise_training.py --records {input.records}"
        " --output {output.table} --curves {output.curves} > {log} 2>&1"
