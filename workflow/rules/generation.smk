rule rewrite_facts:
    input:
        train="<results>/corpora/{task}/train.jsonl",
        validation="<results>/corpora/{task}/validation.jsonl",
    output:
        rewrites="<results>/generations/{task}/rewrites.jsonl",
        report="<results>/generations/{task}/rewrites.json",
    log:
        "<results>/logs/rewrite_facts/{task}.log",
    benchmark:
        "<results>/benchmarks/rewrite_facts/{task}.tsv"
    conda:
        "../../envs/generation.yaml"
    threads: study.compute.threads
    resources:
        **writing_job(),
    params:
        **generator_parameters("documents", "document_tokens"),
        **code_of("rewrite_facts", "generation"),
        # Not an output: outputs of a failed job are deleted, and every reply here was paid for.
        cache=subpath(output.report, parent=True),
        seed=SEED,
    message:
        "Letting a language model rewrite the facts of {wildcards.task}"
    shell:
        "python scripts/rewrite_facts.py --examples {input.train} {input.validation}"
        " {params.generator} --seed {params.seed} --cache {params.cache}/rewrites.sqlite"
        " --threads {threads} --output {output.rewrites} --report {output.report} > {log} 2>&1"


rule write_documents:
    input:
        train="<results>/corpora/{task}/train.jsonl",
        validation="<results>/corpora/{task}/validation.jsonl",
    output:
        documents="<results>/generations/{task}/documents.jsonl",
        report="<results>/generations/{task}/documents.json",
    log:
        "<results>/logs/write_documents/{task}.log",
    benchmark:
        "<results>/benchmarks/write_documents/{task}.tsv"
    conda:
        "../../envs/generation.yaml"
    threads: study.compute.threads
    resources:
        **writing_job(),
    params:
        **generator_parameters("attempts"),
        **code_of("write_documents", "generation"),
        cache=subpath(output.report, parent=True),
        seed=SEED,
    message:
        "Letting a language model write documents for {wildcards.task}"
    shell:
        "python scripts/write_documents.py --examples {input.train} {input.validation}"
        " {params.generator} --seed {params.seed} --cache {params.cache}/documents.sqlite"
        " --threads {threads} --output {output.documents} --report {output.report} > {log} 2>&1"


# On demand: `snakemake plan_generation` says what a language model would be asked, and the cost.
rule plan_generation:
    input:
        bases=of_all_models("<results>/models/{model}/base.json"),
        corpora=of_generating_tasks("<results>/corpora/{task}/{split}.jsonl"),
    output:
        plan="<results>/generations/plan.json",
    log:
        "<results>/logs/plan_generation.log",
    benchmark:
        "<results>/benchmarks/plan_generation.tsv"
    conda:
        "../../envs/generation.yaml"
    threads: 1
    resources:
        **local_job(4000),
    params:
        **generator_parameters(),
        **code_of("plan_generation", "generation"),
        generations=subpath(output.plan, parent=True),
        needs=Said("generation needs", *generation_needs()),
        seed=SEED,
    message:
        "Counting what a language model would be asked"
    shell:
        "python scripts/plan_generation.py --corpora {input.corpora} --base {input.bases[0]}"
        " {params.generator} {params.needs} --generations {params.generations}"
        " --seed {params.seed} --output {output.plan} 2> {log}"
