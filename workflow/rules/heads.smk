rule score_heads:
    input:
        base="<results>/models/{model}/base.json",
        adapter=adapter_input,
        examples="<results>/corpora/{task}/validation.jsonl",
    output:
        scores=f"<results>/heads/{RUN}/validation.json",
    log:
        f"<results>/logs/score_heads/{RUN}.log",
    benchmark:
        f"<results>/benchmarks/score_heads/{RUN}.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: study.compute.threads
    resources:
        **reading_job(minutes=60),
    params:
        **parameters("probe", study.probe, "top", "resamples"),
        **compute_parameters(),
        **code_of("score_heads", "gpu"),
        adapter=adapter_flag,
        length=LENGTH,
    message:
        "Scoring the heads of {wildcards.model} after {wildcards.variant} data"
    shell:
        "python scripts/score_heads.py --base {input.base} {params.adapter}"
        " --examples {input.examples} --length {params.length}"
        " {params.probe} {params.compute} --threads {threads}"
        " --output {output.scores} > {log} 2>&1"


rule compare_heads:
    input:
        scores=of_runs(scored_runs(study), f"<results>/heads/{RUN}/validation.json"),
    output:
        similarity="<results>/statistics/head_similarity.csv",
        reliability="<results>/statistics/reliability.csv",
        differences="<results>/statistics/head_differences.csv",
    log:
        "<results>/logs/compare_heads.log",
    benchmark:
        "<results>/benchmarks/compare_heads.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        **table_job(2000),
    params:
        **code_of("compare_heads", "analysis"),
        folder=subpath(output.similarity, parent=True),
        reference=Said("reference", REFERENCE),
        top=Said("probe.top", study.probe.top),
        resamples=Said("probe.resamples", study.probe.resamples),
        level=Said("statistics.level", study.statistics.level),
        seed=SEED,
    message:
        "Comparing every run's retrieval heads with those of {params.reference} data"
    shell:
        "python scripts/compare_heads.py --scores {input.scores} --reference {params.reference}"
        " --top {params.top} --resamples {params.resamples} --level {params.level} --seed {params.seed}"
        " --output {params.folder} > {log} 2>&1"
