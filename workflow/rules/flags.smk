# What rules give their scripts: the keys of the study as flags, and what starts a script.
def compute_parameters():
    """Where a model runs; threads are given by each rule."""
    elsewhere = ("threads", "memory_mb", "gpus", "sustained_tflops")
    return parameters("compute", study.compute, *elsewhere)


def model_parameters(name):
    """Source and revision of a model, and how far it is to reach."""
    model, path = study.models[name], f"models.{name}"
    found = parameters("source", model, "context", "hosted", path=path)
    parts = [str(found["source"]), "--hosted" if model.hosted else ""]
    if model.context is not None:
        length = model.context.length or study.length
        parts.append(
            f"--context-method {model.context.method} --context-length {length}"
        )
        parts.append(flags(model.context, "method", "length"))
        context = model.context.model_dump(exclude_none=True) | {"length": length}
        found |= said(f"{path}.context", context, "context")
    return found | {"source": Flags(" ".join(filter(None, parts)))}


def recipe_parameters(variant):
    """How a run is trained: length, number of examples and all of `training`."""
    chosen = recipe(study, variant)
    found = parameters("training", chosen.training)
    data = data_parameters(variant)
    parts = [f"--length {chosen.length}", str(found.pop("training"))]
    if chosen.examples is not None:
        parts.append(f"--examples {chosen.examples}")
    if chosen.training.deepspeed:
        path = f"workflow/deepspeed/zero{chosen.training.deepspeed}.json"
        found["deepspeed"] = Said(path, file_hash(ROOT / path)[:16])
    launched = {"launcher": Said("launcher", launcher(chosen.training.deepspeed))}
    return data | found | launched | {"recipe": Flags(" ".join(parts))}


# Keys of the generator that change no text.
PACE = (
    "concurrency",
    "timeout",
    "requests_per_minute",
    "tokens_per_minute",
    "budget_usd",
)


def generator_parameters(*leave_out):
    """How a language model is asked; how fast, and for how much, is not recorded."""
    found = parameters("generator", study.generator, *leave_out, *PACE)
    return found | {"generator": Flags(flags(study.generator, *leave_out))}


def data_parameters(variant):
    """How long the examples are that a run is trained on, and how many, unless it is all."""
    chosen = recipe(study, variant)
    keys = {"length": chosen.length}
    parts = [f"--length {chosen.length}"]
    if chosen.examples is not None:
        keys["examples"] = chosen.examples
        parts.append(f"--examples {chosen.examples}")
    return {"data": Flags(" ".join(parts))} | said("training data", keys, "data")


def hosted_parameters(name):
    """How a hosted model is tuned."""
    server, path = study.models[name].hosted, f"models.{name}.hosted"
    return parameters("hosted", server, "concurrency", path=path)


def launcher(deepspeed):
    """What starts a training: accelerate, where it is one of several processes or of DeepSpeed."""
    if study.compute.gpus < 2 and not deepspeed:
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


def corpus_parameters(task):
    """Sizes of a task's splits, and its other keys as one flag."""
    section, path = study.tasks.chosen()[task], f"tasks.{task}"
    sizes = {"train", "spare", "validation", "test"}
    elsewhere = sizes | {"trained_on"}
    options = section.model_dump(exclude=elsewhere, exclude_none=True)
    options |= task_paths(task)
    others = set(type(section).model_fields) - sizes
    found = parameters("sizes", section, *others, path=path)
    text = f"{found['sizes']} --options {shlex.quote(json.dumps(options))}"
    return found | {"sizes": Flags(text)} | said(path, options, "options")


def dataset_parameters(task):
    """Wanted sizes of a variant's splits; a bound on documents lets contexts fall short."""
    section, path = study.tasks.chosen()[task], f"tasks.{task}"
    others = set(type(section).model_fields) - {"train", "validation"}
    found = parameters("sizes", section, *others, path=path)
    if getattr(section, "documents", None) or not getattr(section, "fill", True):
        found["sizes"] = Flags(f"{found['sizes']} --unfilled")
        found |= said(path, {"fill": False}, "sizes")
    return found


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
    return Flags(
        " ".join(shlex.join([flag, *names]) for flag, names in parts.items() if names)
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


def control_parameters():
    """Which runs are controls."""
    text = f"--controls {' '.join(study.controls)}" if study.controls else ""
    return {"controls": Flags(text)} | said("", {"controls": list(study.controls)})


def backend_parameters(name):
    """What answers a run's questions, and its code."""
    server, backend = study.models[name].hosted, study.evaluation.backend
    code = code_of("predict_answers", backend_environment(name))
    if server is None:
        shown = {"backend": Flags(f"--backend {backend}")}
        return code | shown | said("evaluation", {"backend": backend}, "backend")
    tuning = ("epochs", "batch", "learning_rate_multiplier", "poll")
    found = parameters("backend", server, *tuning, path=f"models.{name}.hosted")
    shown = {"backend": Flags(f"--backend server --form chat {found['backend']}")}
    return code | found | shown


def backend_environment(model):
    """The environment of what answers: an API needs no torch, and vLLM one of its own."""
    if model in hosted:
        return "analysis"
    return {"transformers": "gpu", "vllm": "vllm"}[study.evaluation.backend]


def backend_environment_file(wildcards):
    """Where that environment is defined."""
    return str(ROOT / f"envs/{backend_environment(wildcards.model)}.yaml")


def evaluation_parameters():
    """How answers are made."""
    return parameters(
        "evaluation", study.evaluation, "backend", "lengths", "closed_book"
    )
