"""Sharing what was read changes no answer, and a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from needlework.adapters import using
from needlework.answering import answer_of, end_tokens
from needlework.corpora.corpus import Corpus
from needlework.evaluation.intervened import predict_conditions
from needlework.evaluation.predict import Row, predict, read_predictions
from needlework.examples import Example
from needlework.interventions.masking import masked, mean_outputs
from needlework.interventions.patching import lockstep
from needlework.interventions.record import Intervention
from needlework.rendering.prompt import render
from tests import listing

_LENGTH = 600
_NEW = 5
_SMALL = {
    "vocab_size": 258, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 0,
    "eos_token_id": 1, "pad_token_id": 1, "max_position_embeddings": 4096,
}  # fmt: skip
FAMILIES: dict[str, Callable[[], Any]] = {
    "full": lambda: LlamaConfig(**_SMALL),
    "windowed": lambda: MistralConfig(**_SMALL, sliding_window=64),
}


def _mask(kind: Any, during: Any, heads: Sequence[str] = ("0-1", "1-2", "1-3")) -> Intervention:
    return Intervention(
        action="mask", chosen="top", heads=list(heads), wanted=len(heads) or 1, kind=kind,
        during=during,
    )  # fmt: skip


def _patch(positions: Any, chosen: Any = "intersection", source: str = "real") -> Intervention:
    heads = {"intersection": ["0-0", "0-2", "1-0", "1-1", "1-3"], "complement": ["0-1", "1-2"]}
    return Intervention(
        action="patch", chosen=chosen, heads=heads[chosen], positions=positions, source=source
    )


SHARED = [
    _mask("zero", "decoding"), _mask("uniform", "decoding"), _mask("mean", "decoding"),
    _patch("last"), _patch("last", "complement"),
]  # fmt: skip
WHOLE = [
    _mask("zero", "prefill"), _mask("uniform", "prefill"), _mask("mean", "both"), _patch("all"),
    _patch("all", "complement"),
]  # fmt: skip
# So that what comes first does not decide what is shared.
CONDITIONS = [each for pair in zip(WHOLE, SHARED, strict=True) for each in pair]


def _model(family: str) -> Any:
    """Peaked attention, and two adapters that change it: "target" and "source"."""
    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_config(FAMILIES[family]())
    for name, weight in model.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight")):
            weight.data *= 20
    config = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, config, adapter_name="target")
    model.add_adapter("source", config)
    return model.eval()


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return _model(request.param)


@pytest.fixture(scope="module")
def llama() -> Any:
    return _model("full")


@pytest.fixture(scope="module")
def examples(corpus: Corpus, tokenizer: Any) -> list[Example]:
    """Five examples, longest first: batches are made the other way round."""
    found = [*corpus.test[:3], *corpus.validation[:2]]
    return sorted(found, key=lambda each: -len(render(each, tokenizer, _LENGTH).prompt))


def _predict(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    conditions: Sequence[Intervention],
    folder: Path,
    *,
    identity: str = "a" * 64,
    batch: int = 2,
) -> dict[str, list[Row]]:
    return predict_conditions(
        model, tokenizer, examples, conditions, folder,
        target="target", source="source", probe=examples[:2],
        length=_LENGTH, max_new_tokens=_NEW, batch=batch, identity=identity,
    )  # fmt: skip


def _alone(
    model: Any, tokenizer: Any, examples: Sequence[Example], condition: Intervention
) -> list[str]:
    """Each example by itself, each token from the whole sequence anew: no cache, no generate."""
    answers = []
    ends = end_tokens(model, tokenizer) | {tokenizer("\n")["input_ids"][0]}
    for example in examples:
        shown = render(example, tokenizer, _LENGTH)
        with _applied(model, tokenizer, examples, condition) as phase:
            made: list[int] = []
            while len(made) < _NEW and not ends.intersection(made[-1:]):
                phase.decoding = 1 + len(made)
                ids = torch.tensor([shown.prompt + made])
                with torch.no_grad():
                    logits = model(input_ids=ids, use_cache=False).logits
                made.append(int(logits[0, -1].argmax()))
        answers.append(answer_of(made, shown, tokenizer, end_tokens(model, tokenizer)).text)
    return answers


@contextmanager
def _applied(
    model: Any, tokenizer: Any, examples: Sequence[Example], condition: Intervention
) -> Iterator[Any]:
    if condition.action == "patch":
        with lockstep(model, "source", "target") as step:
            step.intervention = condition
            yield step
        return
    prompts = [torch.tensor([render(e, tokenizer, _LENGTH).prompt]) for e in examples[:2]]
    with using(model, "target"):
        means = mean_outputs(model, [(ids, torch.ones_like(ids)) for ids in prompts])
        with masked(model, condition, means) as phase:
            yield phase


@contextmanager
def _prompts_read(model: Any, killed_at: int | None = None) -> Iterator[list[int]]:
    """The sizes of the batches whose prompts the model reads; killed as it starts on one."""
    sizes: list[int] = []

    def read(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].shape[1] > 1:
            if len(sizes) + 1 == killed_at:
                raise KeyboardInterrupt
            sizes.append(len(kwargs["input_ids"]))

    hook = model.get_base_model().register_forward_pre_hook(read, with_kwargs=True)
    try:
        yield sizes
    finally:
        hook.remove()


# --- The answers -------------------------------------------------------------------------------


def test_sharing_a_prefill_gives_the_answers_of_each_condition_alone_in_full(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    examples = examples[::2]
    found = _predict(model, tokenizer, examples, CONDITIONS, tmp_path / "i", batch=3)
    answers = {name: [row["prediction"] for row in rows] for name, rows in found.items()}
    for condition in CONDITIONS:
        expected = _alone(model, tokenizer, examples, condition)
        assert answers[condition.name] == expected, condition.name
    with using(model, "target"):
        plain = predict(
            model, tokenizer, examples, tmp_path / "plain.jsonl",
            length=_LENGTH, max_new_tokens=_NEW, batch=3, identity="p",
        )  # fmt: skip
    answers["plain"] = [row["prediction"] for row in plain]
    assert len({row["prompt_tokens"] for row in plain}) > 1  # some are padded
    assert len(set(map(tuple, answers.values()))) == len(answers)  # each condition does something


def test_a_condition_that_does_nothing_gives_the_plain_rows(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    nothing = [
        _mask("zero", "decoding", heads=[]),
        _patch("last").model_copy(update={"heads": []}),
        _patch("all").model_copy(update={"heads": []}),
    ]
    found = _predict(model, tokenizer, examples, nothing, tmp_path / "i")
    with using(model, "target"):
        plain = predict(
            model, tokenizer, examples, tmp_path / "plain.jsonl",
            length=_LENGTH, max_new_tokens=_NEW, batch=2, identity="p",
        )  # fmt: skip
    assert list(found.values()) == [plain] * 3


def test_prompts_are_read_once_for_all_conditions_that_leave_the_reading_alone(
    llama: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    masks = [each for each in CONDITIONS if each.action == "mask"]
    with _prompts_read(llama) as sizes:
        _predict(llama, tokenizer, examples, masks, tmp_path, batch=5)
    assert sizes == [5] * (1 + 3)  # once for the three shared, and for each of the others
    patches = [each for each in CONDITIONS if each.action == "patch"]
    with _prompts_read(llama) as sizes:
        _predict(llama, tokenizer, examples, patches, tmp_path, batch=5)
    assert sizes == [5] * (1 + 2)


def test_each_condition_has_a_file_of_rows_in_the_order_of_the_examples(
    llama: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    folder = tmp_path / "m/t/v/seed0"
    found = _predict(llama, tokenizer, examples, CONDITIONS, folder)
    names = [condition.name for condition in CONDITIONS]
    assert list(found) == names
    assert listing.names(folder) == sorted(f"{n}.jsonl" for n in names)
    for name, rows in found.items():
        assert read_predictions(folder / f"{name}.jsonl") == rows
        assert [row["id"] for row in rows] == [example.id for example in examples]
        assert list(rows[0]) == [
            "id", "cluster", "question", "answers", "prediction", "stopped_by", "prompt_tokens",
            "documents", "gold", "depth",
        ]  # fmt: skip


def test_a_base_model_can_be_masked_and_mean_outputs_need_what_can_be_shown(
    tokenizer: Any, examples: list[Example], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    base: Any = AutoModelForCausalLM.from_config(FAMILIES["full"]()).eval()
    gold = examples[0].documents[next(i for i, d in enumerate(examples[0].documents) if d.gold)]
    long = gold.model_copy(update={"text": gold.text + " more" * _LENGTH})
    documents = [long if each.id == gold.id else each for each in examples[0].documents]
    probe = [examples[0].model_copy(update={"documents": documents}), examples[1]]
    found = predict_conditions(
        base, tokenizer, examples, [_mask("mean", "decoding")], tmp_path,
        target=None, source=None, probe=probe,
        length=_LENGTH, max_new_tokens=2, batch=5, identity="a",
    )  # fmt: skip
    assert [len(rows) for rows in found.values()] == [5]
    assert f"without 1 of 2 examples: ['{examples[0].id}']" in capsys.readouterr().err


# --- What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([_mask("zero", "both"), _mask("zero", "both", ["0-0", "0-1", "0-2"])], "have this name"),
        ([_patch("last"), _patch("all", source="limited")], "sources limited, real"),
    ],
)
def test_conditions_that_would_be_one_file_are_refused(
    llama: Any,
    tokenizer: Any,
    examples: list[Example],
    tmp_path: Path,
    conditions: list[Intervention],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        _predict(llama, tokenizer, examples, conditions, tmp_path)


# --- Going on after a kill ---------------------------------------------------------------------


@pytest.mark.parametrize("killed_at", [4, 6, 7])  # 3 reads a batch: 1 shared, 1 whole, 1 patched
def test_a_killed_run_loses_one_batch_at_most(
    llama: Any, tokenizer: Any, examples: list[Example], tmp_path: Path, killed_at: int
) -> None:
    conditions = [_mask("zero", "both"), _mask("zero", "decoding"), _patch("last")]
    whole = _predict(llama, tokenizer, examples, conditions, tmp_path / "whole")
    folder = tmp_path / "killed"
    with _prompts_read(llama, killed_at), pytest.raises(KeyboardInterrupt):
        _predict(llama, tokenizer, examples, conditions, folder)
    assert not list(folder.glob("[!.]*"))
    with _prompts_read(llama) as sizes:
        found = _predict(llama, tokenizer, examples, conditions, folder)
    assert sizes == ([2] * 3 if killed_at < 7 else []) + [1] * 3
    assert found == whole
    for name in listing.names(folder):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(listing.names(folder)) == 3


def test_examples_that_one_condition_lacks_are_answered_again(
    llama: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    conditions = [_mask("zero", "decoding"), _patch("last")]
    whole = _predict(llama, tokenizer, examples, conditions, tmp_path / "whole")
    folder = tmp_path / "killed"
    with _prompts_read(llama, killed_at=5), pytest.raises(KeyboardInterrupt):
        _predict(llama, tokenizer, examples, conditions, folder)
    partial = folder / f".patch-intersection-last.{'a' * 16}.partial"
    lines = partial.read_text(encoding="utf-8").splitlines(keepends=True)
    partial.write_text("".join(lines[:2]), encoding="utf-8")
    with _prompts_read(llama) as sizes:
        assert _predict(llama, tokenizer, examples, conditions, folder) == whole
    assert sizes == [2, 2, 1, 1]


def test_another_identity_starts_anew(
    llama: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    conditions = [_mask("zero", "decoding")]
    with _prompts_read(llama, killed_at=2), pytest.raises(KeyboardInterrupt):
        _predict(llama, tokenizer, examples, conditions, tmp_path)
    with _prompts_read(llama) as sizes:
        _predict(llama, tokenizer, examples, conditions, tmp_path, identity="b" * 64)
    assert sizes == [2, 2, 1]
