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
        backend_environment_file
    threads: study.compute.threads
    resources:
        **reading_job(minutes=60),
    params:
        **evaluation_parameters(),
        **by_wildcard("model", backend_parameters, study.models),
        **compute_parameters(),
        adapter=adapter_flag,
        length=LENGTH,
    message:
        "Testing {wildcards.model} after {wildcards.variant} data on {wildcards.task}"
    shell:
        "python scripts/predict_answers.py --base {input.base} {params.adapter}"
        " --examples {input.examples} --length {params.length} {params.evaluation}"
        " {params.backend} {params.compute} --threads {threads}"
        " --output {output.predictions} > {log} 2>&1"


if hosted:

    # An API answers, for which no job is needed on a cluster, but the network is.
    use rule predict_answers as predict_hosted with:
        wildcard_constraints:
            model=one_of(hosted),
        threads: 1
        resources:
            **local_job(2000),

    ruleorder: predict_hosted > predict_answers


# The same questions cut to other lengths, with the gold document moved, among other distractors, and
# without documents: one rule for each task, because each has its own views.
for task in [task for task in tasks if views(task)]:

    rule:
        name:
            f"predict_views_{task}"
        input:
            base="<results>/models/{model}/base.json",
            adapter=adapter_input,
            examples="<results>/corpora/{task}/test.jsonl",
            others=expand(
                "<results>/corpora/{{task}}/{test}.jsonl", test=other_tests(task)
            ),
        output:
            predictions=of_conditions(
                f"<results>/predictions/{RUN}/{{condition}}.jsonl",
                [view.name for view in views(task)],
            ),
        log:
            f"<results>/logs/predict_views/{RUN}.log",
        benchmark:
            f"<results>/benchmarks/predict_views/{RUN}.tsv"
        wildcard_constraints:
            task=re.escape(task),
        conda:
            "../../envs/gpu.yaml"
        threads: study.compute.threads
        resources:
            **reading_job(minutes=240),
        params:
            **evaluation_parameters(),
            **compute_parameters(),
            **code_of("predict_views", "gpu"),
            adapter=adapter_flag,
            folder=answers_folder,
            views=Flags(" ".join(view.name for view in views(task))),
            others=prepend_param("--other-examples", input.others),
            length=LENGTH,
        message:
            "Asking {wildcards.model} after {wildcards.variant} data in other views"
        shell:
            "python scripts/predict_views.py --base {input.base} {params.adapter}"
            " --views {params.views} --examples {input.examples} {params.others}"
            " --length {params.length} {params.evaluation} {params.compute} --threads {threads}"
            " --output {params.folder} > {log} 2>&1"


rule compute_statistics:
    input:
        predictions=of_all_runs(f"<results>/predictions/{RUN}/plain.jsonl"),
        views=of_views(f"<results>/predictions/{RUN}/{{condition}}.jsonl"),
        examples=expand("<results>/corpora/{task}/test.jsonl", task=tasks),
        similarity="<results>/statistics/head_similarity.csv",
    output:
        scores="<results>/statistics/scores.csv",
        variants="<results>/statistics/variants.csv",
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
        **table_job(2000),
    params:
        **control_parameters(),
        **parameters("statistics", study.statistics, "alpha", "margin"),
        **code_of("compute_statistics", "analysis"),
        folder=subpath(output.scores, parent=True),
        reference=Said("reference", REFERENCE),
        seed=SEED,
    message:
        "Computing scores, intervals and paired comparisons"
    shell:
        "python scripts/compute_statistics.py --predictions {input.predictions}"
        " {input.views} --examples {input.examples} --similarity {input.similarity}"
        " --reference {params.reference} {params.controls} {params.statistics}"
        " --seed {params.seed} --output {params.folder} > {log} 2>&1"


rule compute_depths:
    input:
        predictions=of_all_runs(f"<results>/predictions/{RUN}/plain.jsonl"),
        views=of_views(f"<results>/predictions/{RUN}/{{condition}}.jsonl"),
    output:
        table="<results>/statistics/depths.csv",
    log:
        "<results>/logs/compute_depths.log",
    benchmark:
        "<results>/benchmarks/compute_depths.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        **local_job(2000),
    params:
        **parameters("statistics", study.statistics, "alpha", "margin"),
        **code_of("compute_depths", "analysis"),
        seed=SEED,
    message:
        "Computing scores by the depth of the needle"
    shell:
        "python scripts/compute_depths.py --predictions {input.predictions} {input.views}"
        " {params.statistics} --seed {params.seed} --output {output.table} > {log} 2>&1"


# One job for all adapters of a model on a task: the base is loaded once.
rule trace_attention:
    input:
        base="<results>/models/{model}/base.json",
        adapters=lambda wildcards: of_runs(
            [run for run in traced(wildcards) if run.variant != UNTUNED],
            f"<results>/adapters/{RUN}/adapter_model.safetensors",
        ),
        scores=lambda wildcards: of_runs(
            traced(wildcards), f"<results>/heads/{RUN}/validation.json"
        ),
        predictions=lambda wildcards: of_runs(
            traced(wildcards), f"<results>/predictions/{RUN}/plain.jsonl"
        ),
        examples="<results>/corpora/{task}/test.jsonl",
    output:
        traces="<results>/attention/{model}/{task}.json",
    log:
        "<results>/logs/trace_attention/{model}/{task}.log",
    benchmark:
        "<results>/benchmarks/trace_attention/{model}/{task}.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: study.compute.threads
    resources:
        **reading_job(minutes=240),
    params:
        **compute_parameters(),
        **code_of("trace_attention", "gpu"),
        adapters=adapter_folders,
        length=LENGTH,
        heads=Said("probe.top", study.probe.top),
    message:
        "Looking where the heads of {wildcards.model} look on {wildcards.task}"
    shell:
        "python scripts/trace_attention.py --base {input.base} {params.adapters}"
        " --scores {input.scores} --predictions {input.predictions} --examples {input.examples}"
        " --length {params.length} --heads {params.heads} {params.compute} --threads {threads}"
        " --output {output.traces} > {log} 2>&1"
