rule build_corpus:
    output:
        train="<results>/corpora/{task}/train.jsonl",
        validation="<results>/corpora/{task}/validation.jsonl",
        test="<results>/corpora/{task}/test.jsonl",
        counts="<results>/corpora/{task}/corpus.json",
    log:
        "<results>/logs/build_corpus/{task}.log",
    benchmark:
        "<results>/benchmarks/build_corpus/{task}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        folder=subpath(output.counts, parent=True),
        sizes=corpus_flags,
        seed=study.seed,
        code=code_of("build_corpus"),
    message:
        "Drawing the real examples of {wildcards.task}"
    shell:
        "python scripts/build_corpus.py --task {wildcards.task} {params.sizes}"
        " --seed {params.seed} --output {params.folder} > {log} 2>&1"
