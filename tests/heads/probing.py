"""What the tests of probes share: small examples, models whose heads copy, and eager attention.

Tokens are bytes, so that needles are found here by searching for their text, not by offsets.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch import Tensor

from needlework.examples import Document, Example, Needle

LENGTH = 600
NEW = 10

SMALL: dict[str, Any] = {
    "vocab_size": 258, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 8,
    "max_position_embeddings": 1024, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
_CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaConfig(**SMALL),
    "mistral": lambda: hf.MistralConfig(**SMALL, sliding_window=150),
    "qwen3": lambda: hf.Qwen3Config(
        **SMALL, use_sliding_window=True, sliding_window=150, max_window_layers=1
    ),
    "lfm2": lambda: hf.Lfm2Config(
        **SMALL | {"num_hidden_layers": 3}, layer_types=["conv", "full_attention", "conv"]
    ),
}


# --- Examples ------------------------------------------------------------------------------------


def example(
    name: str,
    texts: Sequence[str],
    needles: Sequence[tuple[int, str, str]],
    *,
    answer: str = "Lima",
    question: str = "Where is it?",
    **others: Any,
) -> Example:
    """Needles are (document, role, their text); documents with one, or with `cites`, are gold."""
    gold = {str(number) for number, _, _ in needles} | set(others.get("cites", ()))
    return Example(
        id=name,
        task="jsonl",
        variant="real",
        question=question,
        answers=[answer],
        documents=[
            Document(id=str(number), title="", text=text, gold=str(number) in gold)
            for number, text in enumerate(texts)
        ],
        needles=[
            Needle(
                document=str(number),
                start=texts[number].index(text),
                end=texts[number].index(text) + len(text),
                role=role,  # type: ignore[arg-type]
            )
            for number, role, text in needles
        ],
        cluster=f"cluster of {name}",
        source={},
        **others,
    )


def examples() -> list[Example]:
    """Three of three lengths, the longest second; all have answers, one each of other needles."""
    return [
        example(
            "bridged",
            [
                "Sailors sent stolen minerals to Lima in summer rains.",
                "No wax here.",
                "Melissa, sister to Samuel, sells salt & tea to all.",
            ],
            [
                (0, "answer", "sent stolen minerals to Lima in summer"),
                (2, "bridge", "sister to Samuel, sells salt"),
            ],
            question="Where was it that the goods of her brother went?",
            answer="minerals to Lima",
        ),
        example(
            "twice",
            [
                "Nothing of 82 quick foxes, nor of 73 dogs; just hay.",
                "All in Lima: trams, ports, a mill.",
                "Some 64 gulls fly by Callao.",
                "Stone mills line Lima, its trails so steep that mules rest.",
            ],
            [
                (1, "answer", "in Lima: trams, ports"),
                (3, "answer", "mills line Lima, its trails so steep"),
            ],
        ),
        example(
            "insight",
            ["Aunts met in Lima at noon, still silent.", "Its motto is: let all roam east."],
            [(0, "answer", "met in Lima at noon, still"), (1, "insight", "is: let all roam")],
            answer="Lima at noon",
        ),
    ]


def found(tokens: Sequence[int], text: str, tokenizer: Any) -> set[int]:
    """The positions of the one place among the tokens that shows a text."""
    wanted = tokenizer(text, add_special_tokens=False)["input_ids"]
    places = [
        start for start in range(len(tokens)) if list(tokens[start : start + len(wanted)]) == wanted
    ]
    (start,) = places
    return set(range(start, start + len(wanted)))


# --- Models --------------------------------------------------------------------------------------


@functools.cache
def built(family: str) -> Any:
    """A model with random weights; no test may leave it changed."""
    torch.manual_seed(0)
    return hf.AutoModelForCausalLM.from_config(_CONFIGS[family](), dtype=torch.float32).eval()


@functools.cache
def copying(family: str, tokenizer: Any) -> Any:
    """Peaked attention whose outputs resemble what was attended to, and answers in letters.

    So heads often copy.
    """
    torch.manual_seed(0)
    config = _CONFIGS[family.removesuffix("-adapter")]()
    model: Any = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for layer in model.model.layers:
        attention = layer.self_attn
        attention.q_proj.weight.data *= 20
        attention.k_proj.weight.data *= 20
        value = attention.v_proj.weight.data
        groups = value.reshape(config.num_key_value_heads, -1, value.shape[1])
        repeats = config.num_attention_heads // len(groups)
        back = torch.cat([group for group in groups for _ in range(repeats)]).T
        attention.o_proj.weight.data = 20 * back
    letters = tokenizer("aeilmnorstu")["input_ids"]
    head = torch.zeros_like(model.lm_head.weight.data)
    head[letters] = model.model.embed_tokens.weight.data[letters]
    model.lm_head.weight.data = head
    return _adapted(model) if family.endswith("-adapter") else model


def _adapted(model: Any) -> Any:
    torch.manual_seed(1)
    config = LoraConfig(
        r=4, lora_alpha=1, target_modules=["q_proj", "k_proj", "v_proj"], init_lora_weights=False,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, config).eval()


@contextmanager
def saying(model: Any, text: str, tokenizer: Any) -> Iterator[None]:
    """Within it each character of `text` is followed by the next, whoever wrote it."""
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    next_of = dict(itertools.pairwise(tokens))

    def speak(module: Any, args: Any, given: dict[str, Any], output: Any) -> None:
        rows = output.logits.shape[1]
        for index, ids in enumerate(given["input_ids"][:, -rows:].tolist()):
            for row, token in enumerate(ids):
                if token in next_of:
                    output.logits[index, row, next_of[token]] = 1e9

    hook = model.register_forward_hook(speak, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


# --- Eager attention -----------------------------------------------------------------------------


@contextmanager
def eagerly(model: Any) -> Iterator[None]:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = base.config._attn_implementation
    base.set_attn_implementation("eager")
    try:
        yield
    finally:
        base.set_attn_implementation(before)


def maps(model: Any, tokens: Sequence[int]) -> Tensor:
    """All attention of one forward pass over one sequence, (layers with heads, H, Q, Q)."""
    with eagerly(model), torch.no_grad():
        output = model(input_ids=torch.tensor([tokens]), output_attentions=True, use_cache=False)
    return torch.cat([layer for layer in output.attentions if layer is not None])
