rule build_dataset:
    input:
        bases=of_all_models("<results>/models/{model}/base.json"),
        train="<results>/corpora/{task}/train.jsonl",
        validation="<results>/corpora/{task}/validation.jsonl",
        test="<results>/corpora/{task}/test.jsonl",
        rewrites=lambda wildcards: generated(wildcards, REWRITTEN, "rewrites.jsonl"),
        documents=lambda wildcards: generated(wildcards, WRITTEN, "documents.jsonl"),
        generations=generation_reports,
    output:
        train="<results>/datasets/{task}/{variant}/train.jsonl",
        validation="<results>/datasets/{task}/{variant}/validation.jsonl",
        counts="<results>/datasets/{task}/{variant}/dataset.json",
        card="<results>/datasets/{task}/{variant}/README.md",
    log:
        "<results>/logs/build_dataset/{task}/{variant}.log",
    benchmark:
        "<results>/benchmarks/build_dataset/{task}/{variant}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 2
    resources:
        **text_job(),
    params:
        **by_wildcard("task", dataset_parameters, trained_tasks),
        **code_of("build_dataset", "analysis"),
        corpus=subpath(input.train, parent=True),
        folder=subpath(output.counts, parent=True),
        rewrites=prepend_param("--rewrites", input.rewrites),
        documents=prepend_param("--documents", input.documents),
        generations=prepend_param("--generations", input.generations),
        length=LENGTH,
        seed=SEED,
    message:
        "Making the {wildcards.variant} data of {wildcards.task}"
    shell:
        "python scripts/build_dataset.py --variant {wildcards.variant} --corpus {params.corpus}"
        " --bases {input.bases} --length {params.length} {params.rewrites} {params.documents}"
        " {params.generations} {params.sizes} --seed {params.seed} --threads {threads}"
        " --output {params.folder} > {log} 2>&1"


# On demand: a dataset as chats, the form in which a hosted fine-tuning API takes it.
rule export_chat:
    input:
        base="<results>/models/{model}/base.json",
        train="<results>/datasets/{task}/{variant}/train.jsonl",
        validation="<results>/datasets/{task}/{variant}/validation.jsonl",
    output:
        train="<results>/chats/{model}/{task}/{variant}/{form}-train.jsonl",
        validation="<results>/chats/{model}/{task}/{variant}/{form}-validation.jsonl",
    log:
        "<results>/logs/export_chat/{model}/{task}/{variant}/{form}.log",
    benchmark:
        "<results>/benchmarks/export_chat/{model}/{task}/{variant}/{form}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        **table_job(2000),
    params:
        **code_of("export_chat", "analysis"),
        length=LENGTH,
    message:
        "Writing {wildcards.variant} of {wildcards.task} as chats"
    shell:
        "python scripts/export_chat.py --base {input.base} --length {params.length}"
        " --form {wildcards.form} --examples {input.train} {input.validation}"
        " --output {output.train} {output.validation} > {log} 2>&1"
