# What rules give their scripts: the keys of the study as flags, and what starts a script.
def compute_flags():
    """Where a model runs; threads are given by each rule."""
    return flags(study.compute, "threads", "memory_mb", "gpus", "sustained_tflops")


def model_flags(wildcards):
    """Source and revision of a model, and how far it is to reach."""
    model = study.models[wildcards.model]
    parts = [flags(model, "context", "hosted"), "--hosted" if model.hosted else ""]
    if model.context is not None:
        length = model.context.length or study.length
        parts.append(
            f"--context-method {model.context.method} --context-length {length}"
        )
        parts.append(flags(model.context, "method", "length"))
    return " ".join(filter(None, parts))


def recipe_flags(wildcards):
    """How a run is trained: length, number of examples and all of `training`."""
    chosen = recipe(study, wildcards.variant)
    parts = [f"--length {chosen.length}", flags(chosen.training)]
    if chosen.examples is not None:
        parts.append(f"--examples {chosen.examples}")
    return " ".join(parts)


def hosted_flags(wildcards):
    """How a hosted model is tuned, and on what."""
    chosen = recipe(study, wildcards.variant)
    parts = [f"--length {chosen.length}"]
    if chosen.examples is not None:
        parts.append(f"--examples {chosen.examples}")
    parts.append(flags(study.models[wildcards.model].hosted, "concurrency"))
    return " ".join(parts)


def launcher(wildcards):
    """What starts a training: accelerate, where it is one of several processes or of DeepSpeed."""
    if (
        study.compute.gpus < 2
        and not recipe(study, wildcards.variant).training.deepspeed
    ):
        return "python"
    processes = max(1, study.compute.gpus)
    return (
        f"accelerate launch --num_processes {processes} --num_machines 1"
        " --mixed_precision no --dynamo_backend no"
        f"{' --multi_gpu' if processes > 1 else ''}"
    )


def task_paths(task):
    """Where a task reads its files: the study's paths, or what download_source fetches."""
    section = study.tasks.chosen()[task].model_dump()
    downloaded = {key: f"data/{file}" for key, file in TASKS[task].files.items()}
    given = {
        key: section[key]
        for key in ("path", "test_path", "passages")
        if section.get(key)
    }
    # A file of one's own to train on is split for the test, unless there is one for that too.
    if "path" in given:
        downloaded = {
            key: file for key, file in downloaded.items() if key == "passages"
        }
    return downloaded | given


def corpus_flags(wildcards):
    """Sizes of a task's splits, and its other keys as one flag."""
    section = study.tasks.chosen()[wildcards.task]
    sizes = {"train", "spare", "validation", "test"}
    elsewhere = sizes | {"trained_on"}
    options = section.model_dump(exclude=elsewhere, exclude_none=True) | task_paths(
        wildcards.task
    )
    sized = flags(section, *(set(type(section).model_fields) - sizes))
    return f"{sized} --options {shlex.quote(json.dumps(options))}"


def dataset_flags(wildcards):
    """Wanted sizes of a variant's splits; a bound on documents lets contexts fall short."""
    section = study.tasks.chosen()[wildcards.task]
    keys = set(type(section).model_fields) - {"train", "validation"}
    bounded = getattr(section, "documents", None) or not getattr(section, "fill", True)
    return f"{flags(section, *keys)}{' --unfilled' if bounded else ''}"


def source_adapter_flag(wildcards, input):
    """The flag that names the folder of that adapter."""
    folder = input.source_adapter and Path(input.source_adapter).parent
    return f"--source-adapter {folder}" if folder else ""


def condition_flags():
    """Which runs were masked and patched, and how: names, because paths would be too many."""
    parts = {
        "--masked": [RUN.format(**run._asdict()) for run in masked_runs(study)],
        "--masks": masks,
        "--patched": [RUN.format(**run._asdict()) for run in patched_runs(study)],
        "--patches": patches,
    }
    return " ".join(
        shlex.join([flag, *names]) for flag, names in parts.items() if names
    )


def adapter_flag(wildcards, input):
    """The flag that names a run's adapter folder; none for the untuned model."""
    if wildcards.model in hosted:
        return f"--hosted {input.adapter}" if input.adapter else ""
    return f"--adapter {Path(input.adapter).parent}" if input.adapter else ""


def adapter_folders(wildcards, input):
    """The flag that names the folders of all adapters of a job; none where there is none."""
    folders = [str(Path(adapter).parent) for adapter in input.adapters]
    return f"--adapters {' '.join(folders)}" if folders else ""


def backend_flags(wildcards):
    """What answers a run's questions."""
    model = study.models[wildcards.model]
    if model.hosted is None:
        return f"--backend {study.evaluation.backend}"
    server = flags(model.hosted, "epochs", "batch", "learning_rate_multiplier", "poll")
    return f"--backend server --form chat {server}"


def backend_environment(wildcards):
    """The environment of what answers: an API needs no torch, and vLLM one of its own."""
    if wildcards.model in hosted:
        return str(ROOT / "envs/analysis.yaml")
    own = {"transformers": "gpu", "vllm": "vllm"}
    return str(ROOT / "envs" / f"{own[study.evaluation.backend]}.yaml")


def evaluation_flags():
    """How answers are made."""
    return flags(study.evaluation, "backend", "lengths", "closed_book")
