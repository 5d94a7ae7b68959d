"""Operations are those that PyTorch counts, and those of a published roofline."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from needlework.models.shapes import Shape, known_shape, shape_of
from needlework.training.throughput import (
    forward_flops,
    peak_flops,
    training_flops,
    tuned_parameters,
)

_ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
_LENGTH = 32_768


@pytest.fixture(scope="module")
def llama() -> Shape:
    """Llama-3-8B."""
    shape = known_shape("meta-llama/Meta-Llama-3-8B-Instruct")
    assert shape is not None
    return shape


def _lora(shape: Shape, checkpointing: str, labelled: int = 0) -> float:
    return training_flops(
        shape, [_LENGTH], [labelled], method="lora", target_modules=_ATTENTION, rank=8,
        checkpointing=checkpointing,
    )  # fmt: skip


def test_a_forward_pass_of_llama_at_32k(llama: Shape) -> None:
    linears = 2 * llama.linear_parameters * _LENGTH
    assert linears / 1e12 == pytest.approx(457.4, abs=0.05)
    assert (forward_flops(llama, _LENGTH, 0) - linears) / 1e12 == pytest.approx(281.5, abs=0.05)
    head = forward_flops(llama, _LENGTH, _LENGTH) - forward_flops(llama, _LENGTH, 0)
    assert head / 1e12 == pytest.approx(34.4, abs=0.05)


@pytest.mark.parametrize(
    ("checkpointing", "peta"), [("none", 1.90), ("selective", 2.36), ("full", 2.64)]
)
def test_an_example_of_llama_with_lora(llama: Shape, checkpointing: str, peta: float) -> None:
    assert _lora(llama, checkpointing) / 1e15 == pytest.approx(peta, abs=0.005)
    all_labelled = _lora(llama, checkpointing, _LENGTH) - _lora(llama, checkpointing)
    assert all_labelled / 1e15 == pytest.approx(0.10, abs=0.005)


@pytest.mark.parametrize(("labelled", "peta"), [(0, 2.36), (_LENGTH, 2.46)])
def test_an_example_of_llama_tuned_in_full(llama: Shape, labelled: int, peta: float) -> None:
    flops = training_flops(
        llama, [_LENGTH], [labelled], method="full", target_modules=list(llama.projections),
        rank=8, checkpointing="none",
    )  # fmt: skip
    assert flops / 1e15 == pytest.approx(peta, abs=0.005)


def test_tuned_parameters_of_llama(llama: Shape) -> None:
    def count(method: str, modules: Any, rank: int) -> int:
        return tuned_parameters(llama, method=method, target_modules=modules, rank=rank)

    assert count("lora", _ATTENTION, 8) == 6_815_744
    assert count("lora", ["self_attn.q_proj", *_ATTENTION[1:]], 16) == 13_631_488
    assert count("full", "all-linear", 8) == llama.linear_parameters
    with pytest.raises(ValueError, match="target_modules: lm_head, wq cannot be counted"):
        count("lora", ["q_proj", "wq", "lm_head"], 8)


@given(
    st.integers(1, 60), st.lists(st.one_of(st.none(), st.integers(1, 70)), min_size=3, max_size=3)
)
def test_attention_counts_every_pair_that_a_window_lets_see(
    length: int, windows: list[int | None]
) -> None:
    shape = Shape(3, 8, 8, 4, 2, 2, 10, windows=tuple(windows))
    pairs = sum(
        1
        for window in windows
        for row in range(length)
        for column in range(length)
        if 0 <= row - column < (window or length)
    )
    linears = 2 * shape.linear_parameters * length
    assert forward_flops(shape, length, 0) - linears == 4 * 4 * 2 * pairs


def _counted(model: Any, length: int) -> int:
    """Operations of linear maps, forward and backward, as PyTorch counts them."""
    # As of a layer that is not the first: gradients go on to what is below.
    states = torch.randn(1, length, model.config.hidden_size, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        decoder = model.get_base_model().model if hasattr(model, "peft_config") else model.model
        decoder(inputs_embeds=states, use_cache=False).last_hidden_state.sum().backward()
    products = (torch.ops.aten.mm, torch.ops.aten.addmm)
    return sum(n for op, n in counter.get_flop_counts()["Global"].items() if op in products)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("modules", [_ATTENTION, ["v_proj", "down_proj"]])
def test_linear_maps_cost_what_pytorch_counts(method: str, modules: list[str]) -> None:
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, attn_implementation="eager",
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    shape, length = shape_of(model.config), 24
    if method == "lora":
        model = get_peft_model(model, LoraConfig(r=4, target_modules=modules))
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = any(module in name for module in modules)
    tuned = tuned_parameters(shape, method=method, target_modules=modules, rank=4)
    assert tuned == sum(p.numel() for p in model.parameters() if p.requires_grad)
    flops = training_flops(
        shape, [length], [0], method=method, target_modules=modules, rank=4, checkpointing="none"
    )
    attention = forward_flops(shape, length, 0) - 2 * shape.linear_parameters * length
    assert flops - 3.5 * attention == _counted(model, length)


def test_examples_add_up(llama: Shape) -> None:
    def flops(lengths: list[int], labelled: list[int]) -> float:
        return training_flops(
            llama, lengths, labelled, method="lora", target_modules=_ATTENTION, rank=8,
            checkpointing="full",
        )  # fmt: skip

    assert flops([100, 3000], [5, 7]) == pytest.approx(flops([100], [5]) + flops([3000], [7]))
    assert flops([], []) == 0
    with pytest.raises(ValueError, match="argument 2 is longer"):
        flops([100], [5, 7])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"checkpointing": "auto"}, "checkpointing: got 'auto', takes none, selective or full"),
        ({"method": "qlora"}, "method: got 'qlora', takes lora or full"),
    ],
)
def test_unknown_words_are_refused(llama: Shape, changed: dict[str, str], reason: str) -> None:
    given = {"method": "lora", "checkpointing": "none"} | changed
    with pytest.raises(ValueError, match=reason):
        training_flops(llama, [10], [1], target_modules=_ATTENTION, rank=8, **given)


@pytest.mark.parametrize(
    ("name", "half", "single"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5, 67),
        ("NVIDIA H100 PCIe", 756.5, 51),
        ("NVIDIA H100 NVL", 835.5, 60),
        ("NVIDIA H200", 989.5, 67),
        ("NVIDIA H200 NVL", 835.5, 60),
        ("NVIDIA A100-SXM4-80GB", 312, 19.5),
        ("NVIDIA A100 80GB PCIe", 312, 19.5),
        ("NVIDIA L40S", 362.05, 91.6),
        ("NVIDIA A10G", 70, 35),
        ("NVIDIA L4", 121, 30.3),
        ("NVIDIA GeForce RTX 4090", 165.2, 82.6),
        ("NVIDIA GeForce RTX 3090", 71, 35.6),
        ("NVIDIA B200", 2250, 75),
    ],
)
def test_peaks_of_known_gpus(name: str, half: float, single: float) -> None:
    assert peak_flops(name, "bfloat16") == peak_flops(name, "float16") == half * 1e12
    assert peak_flops(name, "float32") == single * 1e12


@pytest.mark.parametrize(
    "name",
    [
        "AMD EPYC 7B13", "Tesla V100-SXM2-16GB", "NVIDIA L40", "NVIDIA A10", "NVIDIA GH200 480GB",
        "NVIDIA GeForce RTX 3090 Ti", "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "",
    ],
)  # fmt: skip
def test_no_peak_is_given_for_what_is_not_listed(name: str) -> None:
    assert peak_flops(name, "bfloat16") is None
