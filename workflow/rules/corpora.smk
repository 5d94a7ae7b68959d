rule download_source:
    output:
        done=touch("data/{source}.complete"),
    log:
        "logs/download_source/{source}.log",
    benchmark:
        "logs/download_source/{source}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        **local_job(500),
    params:
        **code_of("download_source", "analysis"),
        folder=subpath(output.done, parent=True),
    message:
        "Fetching the files of {wildcards.source}"
    shell:
        "python scripts/download_source.py --source {wildcards.source} --folder {params.folder}"
        " 2>&1 | tee {log}"


rule build_corpus:
    input:
        bases=of_all_models("<results>/models/{model}/base.json"),
        files=task_files,
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
    threads: 2
    resources:
        **text_job(),
    params:
        **by_wildcard("task", corpus_parameters, tasks),
        **code_of("build_corpus", "analysis"),
        folder=subpath(output.counts, parent=True),
        length=LENGTH,
        seed=SEED,
    message:
        "Drawing the real examples of {wildcards.task}"
    shell:
        "python scripts/build_corpus.py --task {wildcards.task} --bases {input.bases}"
        " --length {params.length} {params.sizes} --seed {params.seed}"
        " --output {params.folder} > {log} 2>&1"


if "mdqa" in tasks and other_tests("mdqa"):

    # The same questions among other distractors as well.
    use rule build_corpus as build_corpus_mdqa with:
        output:
            train="<results>/corpora/{task}/train.jsonl",
            validation="<results>/corpora/{task}/validation.jsonl",
            test="<results>/corpora/{task}/test.jsonl",
            counts="<results>/corpora/{task}/corpus.json",
            others=expand(
                "<results>/corpora/{{task}}/{test}.jsonl", test=other_tests("mdqa")
            ),
        wildcard_constraints:
            task="mdqa",

    ruleorder: build_corpus_mdqa > build_corpus
