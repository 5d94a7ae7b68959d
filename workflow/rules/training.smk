rule train_adapter:
    input:
        base="<results>/models/{model}/base.json",
        train="<results>/datasets/{task}/{variant}/train.jsonl",
        validation="<results>/datasets/{task}/{variant}/validation.jsonl",
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
        mem_mb=study.compute.memory_mb,
        gpu=study.compute.gpus,
    params:
        dataset=subpath(input.train, parent=True),
        folder=subpath(output.record, parent=True),
        length=study.length,
        training=flags(study.training),
        compute=compute_flags(),
        code=code_of("train_adapter"),
    message:
        "Training {wildcards.model} on {wildcards.variant} data of {wildcards.task}"
    shell:
        # Checkpoints lie beside the outputs: those of a failed job are deleted.
        "python scripts/train_adapter.py --base {input.base} --dataset {params.dataset}"
        " --length {params.length} --seed {wildcards.seed} {params.training} {params.compute}"
        " --threads {threads} --checkpoints {params.folder}/checkpoints"
        " --output {params.folder} > {log} 2>&1"
