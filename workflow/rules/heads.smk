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
        mem_mb=study.compute.memory_mb,
        gpu=one_gpu,
    params:
        adapter=adapter_flag,
        length=study.length,
        probe=flags(study.probe, "top", "resamples"),
        compute=compute_flags(),
        code=code_of("score_heads"),
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
        mem_mb=2000,
    params:
        folder=subpath(output.similarity, parent=True),
        reference=REFERENCE,
        probe=f"--top {study.probe.top} --resamples {study.probe.resamples}",
        level=study.statistics.level,
        seed=study.seed,
        code=code_of("compare_heads"),
    message:
        "Comparing every run's retrieval heads with those of {params.reference} data"
    shell:
        "python scripts/compare_heads.py --scores {input.scores} --reference {params.reference}"
        " {params.probe} --level {params.level} --seed {params.seed}"
        " --output {params.folder} > {log} 2>&1"
