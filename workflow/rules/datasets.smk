rule build_dataset:
    input:
        train="<results>/corpora/{task}/train.jsonl",
        validation="<results>/corpora/{task}/validation.jsonl",
        rewrites=rewrites_input,
    output:
        train="<results>/datasets/{task}/{variant}/train.jsonl",
        validation="<results>/datasets/{task}/{variant}/validation.jsonl",
        counts="<results>/datasets/{task}/{variant}/dataset.json",
    log:
        "<results>/logs/build_dataset/{task}/{variant}.log",
    benchmark:
        "<results>/benchmarks/build_dataset/{task}/{variant}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        corpus=subpath(input.train, parent=True),
        folder=subpath(output.counts, parent=True),
        rewrites=prepend_param("--rewrites", input.rewrites),
        sizes=dataset_flags,
        seed=study.seed,
        code=code_of("build_dataset"),
    message:
        "Making the {wildcards.variant} data of {wildcards.task}"
    shell:
        "python scripts/build_dataset.py --variant {wildcards.variant} --corpus {params.corpus}"
        " {params.rewrites} {params.sizes} --seed {params.seed}"
        " --output {params.folder} > {log} 2>&1"
