rule predict_answers:
    input:
        base="<results>/models/{model}/base.json",
        adapter=adapter_input,
        examples="<results>/corpora/{task}/test.jsonl",
    output:
        predictions=f"<results>/predictions/{RUN}/plain.jsonl",
    log:
        f"<results>/logs/predict_answers/{RUN}.log",
    benchmark:
        f"<results>/benchmarks/predict_answers/{RUN}.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=study.compute.memory_mb,
        gpu=study.compute.gpus,
    params:
        adapter=adapter_flag,
        length=study.length,
        evaluation=flags(study.evaluation),
        compute=compute_flags(),
        code=code_of("predict_answers"),
    message:
        "Testing {wildcards.model} after {wildcards.variant} data on {wildcards.task}"
    shell:
        "python scripts/predict_answers.py --base {input.base} {params.adapter}"
        " --examples {input.examples} --length {params.length} {params.evaluation}"
        " {params.compute} --threads {threads} --output {output.predictions} > {log} 2>&1"


rule compute_statistics:
    input:
        predictions=of_all_runs(f"<results>/predictions/{RUN}/plain.jsonl"),
        similarity="<results>/statistics/head_similarity.csv",
    output:
        scores="<results>/statistics/scores.csv",
        comparisons="<results>/statistics/comparisons.csv",
        correlations="<results>/statistics/correlations.csv",
    log:
        "<results>/logs/compute_statistics.log",
    benchmark:
        "<results>/benchmarks/compute_statistics.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        folder=subpath(output.scores, parent=True),
        reference=REFERENCE,
        statistics=flags(study.statistics, "alpha"),
        seed=study.seed,
        code=code_of("compute_statistics"),
    message:
        "Computing scores, intervals and paired comparisons"
    shell:
        "python scripts/compute_statistics.py --predictions {input.predictions}"
        " --similarity {input.similarity} --reference {params.reference} {params.statistics}"
        " --seed {params.seed} --output {params.folder} > {log} 2>&1"
