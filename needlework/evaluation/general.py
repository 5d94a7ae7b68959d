"""General abilities of a model before and after fine-tuning, through lm-eval.

MMLU, HellaSwag, GSM8K, TriviaQA and NQ-Open: the benchmarks of Xiong et al. (arXiv 2406.19292,
Table 2), who name neither harness nor shots. Ours: lm-eval's task of that name as it is, with its
prompts, answers, first metric and first filter, without chat template; and `SHOTS` examples in the
prompt. What was used is in the result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from needlework import stored
from needlework.atomic import remove, write_json, write_text
from needlework.evaluation.general_data import Local, Splits, read_local
from needlework.progress import say
from needlework.provenance import value_hash, versions
from needlework.text import normalise_answer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Where lm-eval keeps the task: reading these alone saves the half minute that all its tasks take.
_FOLDERS = {
    "mmlu": "mmlu/default",
    "hellaswag": "hellaswag",
    "gsm8k": "gsm8k",
    "triviaqa": "triviaqa",
    "nq_open": "nq_open",
}
BENCHMARKS = tuple(_FOLDERS)

# Ours: the usual numbers. lm-eval's own are 5 for GSM8K and 0 for all others; without examples,
# though, an exact match depends on the form of an answer, and fine-tuning changes the form.
SHOTS = {"mmlu": 5, "hellaswag": 0, "gsm8k": 5, "triviaqa": 5, "nq_open": 5}

RECORD = "general.json"
ITEMS = "items.jsonl"


def evaluate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    benchmarks: Sequence[str],
    data: Path | None,
    limit: int | None,
    batch: int,
    seed: int,
    about: Mapping[str, Any],
    output: Path,
    shots: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Ask benchmarks; write `output`/general.json and `output`/items.jsonl.

    A killed run keeps the benchmarks it had finished, in neighbours of the outputs; they are taken
    over where `about` and all settings are the same.

    Args:
        model: base model, with an adapter in use or without.
        tokenizer: its tokenizer.
        benchmarks: any of `BENCHMARKS`.
        data: folder of local files, as `read_local` takes them; None: lm-eval's own from the hub.
        limit: score only the first so many items of a benchmark, of MMLU of each subject.
        batch: prompts processed together.
        seed: of the examples in prompts, where lm-eval draws them (hub only).
        about: what the record says of the model and the machine, as plain values.
        output: folder of the two files.
        shots: examples in a prompt by benchmark, where another number than in `SHOTS` is wanted.

    Returns:
        The record written: `benchmarks`, each with its metric, filter, `value` (a share), standard
        error, n, shots and where these are from, items whose prompt was `cut` from the left to fit
        the model, version of the task, and data ("hub" or a hash of the files).

    Raises:
        ModuleNotFoundError: lm-eval is not installed.
        FileNotFoundError, ValueError: of the local files; see `read_local`.
        ValueError: a benchmark is unknown, or not all of its items were scored.
    """
    wanted = SHOTS | dict(shots or {})
    if unknown := [name for name in [*benchmarks, *wanted] if name not in BENCHMARKS]:
        raise ValueError(f"{unknown[0]!r} is no benchmark; takes {', '.join(BENCHMARKS)}")
    lm = _language_model(model, tokenizer, batch)
    settings = {"limit": limit, "batch": batch, "seed": seed, "versions": _versions()}
    record: dict[str, Any] = dict(about) | {"benchmarks": {}} | settings
    items: list[dict[str, Any]] = []
    parts = []
    for name in benchmarks:
        tasks, facts = _tasks(name, data, wanted[name], seed)
        identity = value_hash([dict(about), settings, name, facts])
        part = output / f".{name}.{identity[:16]}.partial.json"
        if not part.is_file():
            say(f"asking {name}")
            write_json(part, _asked(lm, name, tasks, facts, limit))
        done = stored.read_json(part)
        record["benchmarks"][name] = done["summary"]
        items += done["items"]
        parts.append(part)
    lines = (json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    write_text(output / ITEMS, "".join(lines))
    write_json(output / RECORD, record)
    for part in parts:
        remove(part)
    return record


def read_items(record: Path) -> list[dict[str, Any]]:
    """The items beside a general.json, in its order."""
    return stored.read_rows(record.with_name(ITEMS))


def question_key(question: str) -> str:
    """What stands for a question in the items: a hash of its normal form."""
    return value_hash(normalise_answer(question))[:16]


def _language_model(model: Any, tokenizer: PreTrainedTokenizerBase, batch: int) -> Any:
    try:
        from lm_eval.models.huggingface import HFLM
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "general abilities are asked through the package lm-eval, which is not installed: run "
            "`make install-extras`, or leave `general` out of the study"
        ) from error
    # Sums of log-likelihoods tie in half precision, and a tie goes to the first choice.
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, softmax_dtype="float32")


def _versions() -> dict[str, str]:
    return versions() | {name: version(name) for name in ("lm_eval", "datasets")}


def _tasks(
    benchmark: str, data: Path | None, shots: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """lm-eval's tasks of a benchmark by their names, and what the result says of all of them."""
    import lm_eval.tasks

    folder = Path(lm_eval.tasks.__file__).parent / _FOLDERS[benchmark]
    manager = lm_eval.tasks.TaskManager(include_path=folder, include_defaults=False)
    names = [name for name in manager.all_subtasks if name.startswith(f"{benchmark}_")]
    names = names if benchmark == "mmlu" else [benchmark]
    local = read_local(data, benchmark, shots) if data else None
    group = {
        "group": f"needlework-{benchmark}",
        "task": [
            {"task": name, "num_fewshot": shots} | _overrides(name, local)
            for name in (local.splits if local else names)
        ],
    }
    tasks = manager.load([group])["tasks"]
    for task in tasks.values():
        task.set_fewshot_seed(seed)
    one = next(iter(tasks.values()))
    origin = "the hub's training or dev split" if shots else None
    return tasks, {
        "metric": one.config.metric_list[0]["metric"],
        "filter": one.config.filter_list[0]["name"] if one.config.filter_list else "none",
        "shots": shots,
        "shots_from": local.shots_from if local else origin,
        "version": one.VERSION,
        "data": local.sha256 if local else "hub",
    }


def _overrides(name: str, local: Local | None) -> dict[str, Any]:
    """The keys of a task that put local rows in the place of the hub's.

    lm-eval gets the rows themselves (`custom_dataset`): reading a file through `datasets` would
    guess the types of the columns, and keep a copy in the user's cache.
    """
    if local is None:
        return {}
    splits = local.splits[name]
    return {
        "dataset_path": None,
        "dataset_name": None,
        "custom_dataset": _dataset(splits),
        "training_split": None,
        "validation_split": None,
        "test_split": "scored",
        "fewshot_split": "shots" if splits.shots else None,
        "fewshot_config": {"sampler": "first_n"},
    }


def _dataset(splits: Splits) -> Callable[..., Any]:
    def build(**metadata: Any) -> Any:
        from datasets import Dataset

        present = {name: rows for name, rows in splits._asdict().items() if rows}
        return {name: Dataset.from_list(rows) for name, rows in present.items()}

    return build


def _asked(
    lm: Any, benchmark: str, tasks: dict[str, Any], facts: Mapping[str, Any], limit: int | None
) -> dict[str, Any]:
    """The result of a benchmark and its items."""
    import lm_eval

    # Not `simple_evaluate`: it also runs pip and others to describe the machine.
    found = lm_eval.evaluate(lm, {"tasks": tasks}, limit=limit, bootstrap_iters=0, log_samples=True)
    items: list[dict[str, Any]] = []
    cut = 0
    for name, task in tasks.items():
        samples = [s for s in found["samples"][name] if s["filter"] == facts["filter"]]
        expected = min(limit or math.inf, len(task.eval_docs))
        if len(samples) != expected:
            raise ValueError(f"{name}: {len(samples)} of {expected} items were scored; report this")
        subject = name.removeprefix("mmlu_") if benchmark == "mmlu" else ""
        items += [_item(benchmark, subject, sample, facts["metric"]) for sample in samples]
        cut += sum(_is_cut(lm, sample) for sample in samples)
    scores = np.array([item["score"] for item in items])
    error = float(scores.std(ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else None
    summary = dict(facts) | {
        "value": float(scores.mean()), "stderr": error, "n": len(items), "cut": cut,
    }  # fmt: skip
    return {"summary": summary, "items": items}


def _item(benchmark: str, subject: str, sample: Mapping[str, Any], metric: str) -> dict[str, Any]:
    doc = sample["doc"]
    return {
        "benchmark": benchmark,
        "subject": subject,
        "id": f"{sample['doc_id']}-{sample['doc_hash'][:8]}",
        "question": question_key(doc.get("question") or doc["query"]),
        "prediction": _prediction(sample["filtered_resps"]),
        "score": float(sample[metric]),
    }


def _prediction(answers: Sequence[Any]) -> str | int:
    """What was generated, as lm-eval compares it, or the index of the likeliest choice."""
    if isinstance(answers[0], str):
        return answers[0]
    likelihoods = [likelihood for likelihood, _ in answers]
    if not np.isfinite(likelihoods).all():
        raise ValueError(
            f"the log-likelihoods of an item's choices are {likelihoods}; the model overflows: "
            "load it in bfloat16 or float32"
        )
    return int(np.argmax(likelihoods))


def _is_cut(lm: Any, sample: Mapping[str, Any]) -> bool:
    """Whether lm-eval cut an item's prompt from the left, as HFLM does without counting."""
    for context, rest in sample["arguments"]:
        if isinstance(rest, dict):  # how to generate
            text, room = context, lm.max_length - rest.get("max_gen_toks", lm.max_gen_toks)
        else:  # the last token of an answer is predicted, not read
            text, room = context + rest, lm.max_length + 1
        # A token is a byte at least, so that most prompts need no second look.
        if len(text.encode()) >= room and len(lm.tok_encode(text)) > room:
            return True
    return False
