rule prepare_model:
    output:
        base="<results>/models/{model}/base.json",
    log:
        "<results>/logs/prepare_model/{model}.log",
    benchmark:
        "<results>/benchmarks/prepare_model/{model}.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: study.compute.threads
    resources:
        **local_job(study.compute.memory_mb),
    params:
        **by_wildcard("model", model_parameters, study.models),
        **code_of("prepare_model", "gpu"),
    message:
        "Preparing the base model {wildcards.model}"
    shell:
        "python scripts/prepare_model.py {params.source} --threads {threads}"
        " --output {output.base} > {log} 2>&1"
