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
        mem_mb=study.compute.memory_mb,
    params:
        source=model_flags,
        code=code_of("prepare_model"),
    message:
        "Preparing the base model {wildcards.model}"
    shell:
        "python scripts/prepare_model.py {params.source} --threads {threads}"
        " --output {output.base} > {log} 2>&1"
