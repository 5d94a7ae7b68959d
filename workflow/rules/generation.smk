rule rewrite_facts:
    input:
        train="<results>/corpora/{task}/train.jsonl",
        validation="<results>/corpora/{task}/validation.jsonl",
    output:
        rewrites="<results>/generations/{task}/rewrites.jsonl",
        report="<results>/generations/{task}/generation.json",
    log:
        "<results>/logs/rewrite_facts/{task}.log",
    benchmark:
        "<results>/benchmarks/rewrite_facts/{task}.tsv"
    conda:
        "../../envs/generation.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=2000,
    params:
        # Not an output: outputs of a failed job are deleted, and every reply here was paid for.
        cache=subpath(output.report, parent=True),
        generator=flags(study.generator),
        seed=study.seed,
        code=code_of("rewrite_facts"),
    message:
        "Letting a language model rewrite the facts of {wildcards.task}"
    shell:
        "python scripts/rewrite_facts.py --examples {input.train} {input.validation}"
        " {params.generator} --seed {params.seed} --cache {params.cache}/cache"
        " --threads {threads} --output {output.rewrites} --report {output.report} > {log} 2>&1"
