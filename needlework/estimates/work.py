"""What a run has to do in each stage: prompts to read, tokens to write, examples to learn from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from needlework.evaluation.views import has_closed_book, views_of
from needlework.layout import Run
from needlework.models.shapes import Shape
from needlework.rendering.placing import Positions
from needlework.study.runs import recipe
from needlework.study.sections import Study
from needlework.study.tasks import TaskSection
from needlework.training.settings import SftSettings
from needlework.training.throughput import forward_flops, training_flops

_TOKENS_PER_DOCUMENT = 200  # Liu et al., arXiv 2307.03172: 20 documents are about 4K tokens
_FLENQA_TOKENS = 1350  # mean of its five context sizes (Levy et al., arXiv 2402.14848)
_QUESTION_TOKENS = 100


class _Benchmark(NamedTuple):
    """Questions, subjects of which each has a limit of its own, tokens read and written each."""

    questions: int
    subjects: int
    read: int
    written: int


# In lm-eval's tasks of these names: HellaSwag reads four endings, GSM8K five examples before each.
_BENCHMARKS = {
    "mmlu": _Benchmark(14_042, 57, 150, 0),
    "hellaswag": _Benchmark(10_042, 1, 4 * 100, 0),
    "gsm8k": _Benchmark(1319, 1, 900, 256),
    "triviaqa": _Benchmark(17_944, 1, 40, 32),
    "nq_open": _Benchmark(3610, 1, 40, 32),
}


class Work(NamedTuple):
    """Prompts of a length that are read `passes` times and answered `answers` times."""

    examples: int
    length: int
    written: int
    batch: int
    passes: int = 1
    answers: int = 1

    def seconds(self, shape: Shape, machine: Machine) -> float:
        """A step that writes a token reads all weights, and the keys and values of its batch."""
        batch = min(self.batch, self.examples)
        reading = self.examples * self.passes * forward_flops(shape, self.length, 1)
        size = shape.parameters * machine.bytes_per_value
        size += batch * shape.kv_bytes(self.length + self.written, machine.bytes_per_value)
        steps = math.ceil(self.examples / batch) * self.written * self.answers
        return reading / machine.flops + steps * size / machine.bandwidth


class Machine(NamedTuple):
    """FLOP/s, bytes/s of memory while answers are written, and bytes of a weight."""

    flops: float
    bandwidth: float
    bytes_per_value: int

    @classmethod
    def of(cls, study: Study) -> Machine:
        """The study's device.

        A GPU does compute.sustained_tflops; 2 TB/s are 60 % of an H100's 3.35 (its data sheet). A
        CPU is the two cores on which the default study was timed (docs/benchmarks.md).
        """
        compute = study.compute
        if compute.device == "cpu":
            return cls(1e11, 2e10, 2 if "16" in compute.dtype else 4)
        return cls(compute.sustained_tflops * 1e12, 2e12, 4 if compute.dtype == "float32" else 2)


def training_seconds(study: Study, run: Run, shape: Shape, machine: Machine) -> float:
    """Seconds of fine-tuning, and of the validation loss after it."""
    task, how = _task(study, run), recipe(study, run.variant)
    training = how.training
    checkpointing = SftSettings(**training.model_dump()).checkpointing(how.length)
    labelled = study.evaluation.max_new_tokens
    flops = training_flops(
        shape, [how.length], [labelled], method=training.method, rank=training.rank,
        target_modules=training.target_modules, checkpointing=checkpointing,
    )  # fmt: skip
    flops *= training.epochs * (how.examples or task.train)
    if training.validation_loss:
        flops += task.validation * forward_flops(shape, how.length, labelled)
    return flops / machine.flops


def heads(study: Study, run: Run) -> Iterator[Work]:
    """Head scores on the validation examples."""
    probe = study.probe
    written = probe.max_new_tokens if probe.answers == "own" else 0
    passes = 2 if probe.null_question else 1
    yield Work(_task(study, run).validation, study.length, written, probe.batch, passes)


def evaluation(study: Study, run: Run) -> Iterator[Work]:
    """Answers to the test examples, plain and in every other view."""
    task, asked = _task(study, run), study.evaluation
    positions = getattr(task, "positions", None)  # not every task has these keys
    views = views_of(
        positions=positions and Positions(positions.documents, positions.gold),
        lengths=asked.lengths,
        closed_book=asked.closed_book and has_closed_book(run.task),
        distractor_sets=getattr(task, "test_distractors", []),
        length=study.length,
    )
    whole = whole_length(study, run.task)
    lengths = [whole]
    for view in views:
        if view.closed_book:
            lengths.append(_QUESTION_TOKENS)
        elif view.documents is not None:
            lengths.append(min(whole, view.documents * _TOKENS_PER_DOCUMENT))
        else:
            lengths.append(min(whole, view.length))
    for length in lengths:
        yield Work(task.test, length, asked.max_new_tokens, asked.batch)


def masks(study: Study, run: Run) -> Iterator[Work]:
    """Answers under masks; all that leave the reading alone share one pass over the prompts."""
    masking, task = study.masking, _task(study, run)
    if masking is None:
        return
    sets = 1 + masking.draws * ("random" in masking.controls) + ("lowest" in masking.controls)
    count = len(masking.kinds) * len(masking.top) * sets
    apart = count * len(set(masking.during) - {"decoding"})
    if "mean" in masking.kinds:
        yield Work(task.validation, study.length, written=0, batch=1, answers=0)
    yield _conditions(
        study,
        min(masking.test_examples or task.test, task.test),
        passes=("decoding" in masking.during) + apart,
        answers=count * len(masking.during),
    )


def patches(study: Study, run: Run) -> Iterator[Work]:
    """Answers under patches, first of the target, then of the source, which runs beside it."""
    patching, task = study.patching, _task(study, run)
    if patching is None:
        return
    count = sum(patching.draws if each == "random" else 1 for each in patching.sets)
    apart = count * ("all" in patching.positions)
    target = _conditions(
        study,
        min(patching.test_examples or task.test, task.test),
        passes=("last" in patching.positions) + apart,
        answers=count * len(patching.positions),
    )
    yield from (target, target)


def _conditions(study: Study, examples: int, *, passes: int, answers: int) -> Work:
    asked = study.evaluation
    return Work(examples, study.length, asked.max_new_tokens, asked.batch, passes, answers)


def general(study: Study, run: Run) -> Iterator[Work]:
    """General benchmarks."""
    if study.general is None:
        return
    for name in study.general.benchmarks:
        questions, subjects, read, written = _BENCHMARKS[name]
        if study.general.limit is not None:
            questions = min(questions, study.general.limit * subjects)
        yield Work(questions, read, written, study.general.batch)


def whole_length(study: Study, task: str) -> int:
    """Tokens of a task's examples as they are drawn."""
    return min(study.length, _FLENQA_TOKENS) if task == "flenqa" else study.length


def _task(study: Study, run: Run) -> TaskSection:
    return study.tasks.chosen()[run.task]
