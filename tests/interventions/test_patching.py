"""Patched heads against a plain reference, on tiny random decoders with two random adapters.

The reference knows no cache, no adapter switching and no hook of ours: it runs each model whole on
all tokens so far, and puts slices of the one into the other by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch import Tensor

from needlework.attention.intercept import intercept
from needlework.interventions.patching import lockstep
from needlework.interventions.record import Intervention, by_layer, names

_SMALL: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "initializer_range": 0.2,
}  # fmt: skip

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaConfig(**_SMALL),
    "mistral-window": lambda: hf.MistralConfig(**_SMALL, sliding_window=7),
    "qwen3": lambda: hf.Qwen3Config(**_SMALL, head_dim=16),
}
HEADS = ["0-1", "1-0", "1-3", "2-5"]
ALL = names((layer, head) for layer in range(3) for head in range(6))
PROMPT = 20
# Name of an adapter, None: the base model.
PAIRS = [("real", "synthetic"), ("real", None), (None, "synthetic")]


def build(config: Any, targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")) -> Any:
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    lora = LoraConfig(r=4, target_modules=list(targets), init_lora_weights=False)
    tuned = get_peft_model(model, lora, adapter_name="real")
    tuned.add_adapter("synthetic", lora)
    for name, weight in tuned.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return tuned.eval()


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return build(FAMILIES[request.param]())


@pytest.fixture(scope="module")
def llama() -> Any:
    return build(FAMILIES["llama"]())


def tokens(count: int, seed: int = 1) -> Tensor:
    return torch.randint(2, 97, (1, count), generator=torch.Generator().manual_seed(seed))


def patch(heads: list[str], positions: Literal["last", "all"] = "last") -> Intervention:
    return Intervention(
        action="patch", chosen="intersection", heads=heads, positions=positions, source="real"
    )


def logits(model: Any, ids: Tensor, **more: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(ids, **more).logits
    return found


def generated(model: Any, ids: Tensor, count: int = 6, **more: Any) -> Tensor:
    found: Tensor = model.generate(
        ids, max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=1, **more
    )
    return found


def alone(model: Any, adapter: str | None) -> Any:
    """A copy of the model with one adapter, or none, merged into its weights."""
    single = copy.deepcopy(model)
    if adapter is None:
        return single.unload()
    single.set_adapter(adapter)
    return single.merge_and_unload(adapter_names=[adapter])


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def far(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).abs().max() > 0.05


class Slices(torch.nn.Module):
    """An output projection that notes its input, or takes slices of a noted one."""

    def __init__(self, projection: Any, heads: list[int], width: int) -> None:
        super().__init__()
        self.projection, self.heads, self.width = projection, heads, width
        self.noted: Tensor | None = None
        self.given: tuple[Tensor, list[int]] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        self.noted = inputs.clone()
        if self.given is not None:
            other, positions = self.given
            for row in positions:
                for head in self.heads:
                    columns = slice(head * self.width, (head + 1) * self.width)
                    inputs[:, row, columns] = other[:, row, columns]
        out: Tensor = self.projection(inputs)
        return out


class Reference:
    """Source and target as two models, each run whole and uncached."""

    def __init__(self, model: Any, source: str | None, target: str | None, heads: list[str]):
        self.source, self.target = alone(model, source), alone(model, target)
        chosen = by_layer(heads)
        for each in (self.source, self.target):
            for index, layer in enumerate(each.model.layers):
                attention = layer.self_attn
                attention.o_proj = Slices(
                    attention.o_proj, chosen.get(index, []), attention.head_dim
                )

    def logits(self, ids: Tensor, positions: list[int]) -> Tensor:
        logits(self.source, ids, use_cache=False)
        for one, other in zip(self.source.model.layers, self.target.model.layers, strict=True):
            other.self_attn.o_proj.given = (one.self_attn.o_proj.noted, positions)
        return logits(self.target, ids, use_cache=False)

    def generated(self, ids: Tensor, positions: Callable[[int], list[int]], count: int = 6) -> Any:
        """Greedy; the logits of each step, too."""
        steps = []
        for _ in range(count):
            steps.append(self.logits(ids, positions(ids.shape[1]))[:, -1])
            ids = torch.cat([ids, steps[-1].argmax(-1, keepdim=True)], dim=1)
        return ids, torch.stack(steps, dim=1)


# --- Against the reference -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "positions"),
    [
        ("real", "synthetic", "last"),
        ("real", "synthetic", "all"),
        ("real", None, "last"),
        (None, "synthetic", "all"),
    ],
)
def test_generation_equals_uncached_runs_with_slices_put_in(
    model: Any, source: str | None, target: str | None, positions: Any
) -> None:
    ids = tokens(PROMPT)
    start = PROMPT - 1 if positions == "last" else 0
    reference = Reference(model, source, target, HEADS)
    expected, steps = reference.generated(ids, lambda length: list(range(start, length)))
    with lockstep(model, source, target) as step:
        plain = generated(model, ids)
        step.intervention = patch(HEADS, positions)
        found = generated(model, ids, output_logits=True, return_dict_in_generate=True)
        step.decoding = 6
        in_one = logits(model, found.sequences[:, :-1], use_cache=False)[:, -6:]
    near(torch.stack(found.logits, dim=1), steps)
    near(in_one, steps)
    assert torch.equal(found.sequences, expected)
    assert not torch.equal(found.sequences, plain)
    assert torch.equal(plain, Reference(model, source, target, []).generated(ids, lambda _: [])[0])


def test_a_prompt_read_in_parts_equals_one_read_at_once(model: Any) -> None:
    ids = tokens(PROMPT)
    reference = Reference(model, "real", "synthetic", HEADS)
    expected = reference.logits(ids, list(range(PROMPT - 3, PROMPT)))
    with lockstep(model, "real", "synthetic") as step:
        step.intervention = patch(HEADS)
        cache = hf.DynamicCache(config=model.base_model.model.config)
        step.decoding = 0
        logits(model, ids[:, :9], past_key_values=cache)
        logits(model, ids[:, 9:-3], past_key_values=cache)
        step.decoding = 3
        near(logits(model, ids[:, -3:], past_key_values=cache), expected[:, -3:])


def test_one_reading_serves_several_conditions(model: Any) -> None:
    ids = tokens(PROMPT)
    conditions = [["0-1"], HEADS, []]
    with lockstep(model, "real", "synthetic") as step:
        cache = hf.DynamicCache(config=model.base_model.model.config)
        step.decoding = 0
        logits(model, ids[:, :-1], past_key_values=cache)
        step.decoding = 1
        read = copy.deepcopy((cache, step.cache))
        for heads in conditions:
            cache, step.cache = copy.deepcopy(read)
            step.intervention = patch(heads)
            found = generated(model, ids, past_key_values=cache)
            assert torch.equal(found, generated(model, ids))  # as without sharing


@pytest.mark.parametrize("positions", ["last", "all"])
def test_a_batch_with_left_padding_equals_single_prompts(model: Any, positions: Any) -> None:
    long, short = tokens(PROMPT), tokens(PROMPT - 6, seed=2)
    ids = torch.cat([long, torch.nn.functional.pad(short, (6, 0), value=1)])
    seen = torch.ones_like(ids)
    seen[1, :6] = 0
    with lockstep(model, "real", "synthetic") as step:
        step.intervention = patch(HEADS, positions)
        made = generated(model, ids, attention_mask=seen)
        assert torch.equal(made[0], generated(model, long)[0])
        assert torch.equal(made[1, 6:], generated(model, short)[0])
        both = logits(model, ids, attention_mask=seen)
        near(both[0], logits(model, long)[0])
        near(both[1, 6:], logits(model, short)[0])


# --- What must hold exactly ----------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ["real", "synthetic"])
@pytest.mark.parametrize("positions", ["last", "all"])
def test_a_model_patched_from_itself_is_unchanged(model: Any, adapter: str, positions: Any) -> None:
    ids = tokens(PROMPT)
    model.set_adapter(adapter, inference_mode=True)
    plain, answer = logits(model, ids), generated(model, ids)
    with lockstep(model, adapter, adapter) as step:
        step.intervention = patch(ALL, positions)
        assert torch.equal(logits(model, ids), plain)
        assert torch.equal(logits(model, ids, use_cache=False), plain)
        assert torch.equal(generated(model, ids), answer)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_heads_of_a_source_that_differs_in_attention_only_give_the_source(family: str) -> None:
    model, ids = build(FAMILIES[family](), ("q_proj", "k_proj", "v_proj")), tokens(PROMPT)
    with lockstep(model, "real", "synthetic") as step:
        plain = logits(model, ids)
        step.intervention = patch(ALL, "all")
        found, answer = logits(model, ids), generated(model, ids)
    model.set_adapter("real", inference_mode=True)
    assert torch.equal(found, logits(model, ids))
    assert torch.equal(answer, generated(model, ids))
    far(found, plain)


def test_without_a_patch_the_target_runs(model: Any) -> None:
    ids = tokens(PROMPT)
    with lockstep(model, "real", "synthetic") as step:
        found = logits(model, ids)
        step.intervention = patch([])
        assert torch.equal(logits(model, ids), found)
        step.intervention = patch(HEADS)
        far(logits(model, ids), found)
        step.intervention = None
        assert torch.equal(logits(model, ids), found)
        step.intervention, step.decoding = patch(HEADS), 0
        assert torch.equal(logits(model, ids), found)
    model.set_adapter("synthetic", inference_mode=True)
    assert torch.equal(found, logits(model, ids))


def test_reading_attention_shows_the_target_only(llama: Any) -> None:
    ids = tokens(PROMPT)
    calls: list[Any] = []
    with lockstep(llama, "real", "synthetic") as step, intercept(llama, read=calls.append):
        step.intervention = patch(["1-0"])
        logits(llama, ids)
    llama.set_adapter("synthetic", inference_mode=True)
    expected: list[Any] = []
    with intercept(llama, read=expected.append):
        logits(llama, ids)
    assert [call.layer for call in calls] == [0, 1, 2]
    assert torch.equal(calls[1].query, expected[1].query)  # above the patch nothing has changed
    assert not torch.equal(calls[2].query, expected[2].query)


def test_forward_passes_without_a_cache_leave_the_sources_cache_alone(llama: Any) -> None:
    ids = tokens(PROMPT)
    with lockstep(llama, "real", "synthetic") as step:
        step.intervention = patch(HEADS)
        expected = logits(llama, ids)[:, -1:]
        cache = hf.DynamicCache()
        step.decoding = 0
        logits(llama, ids[:, :-1], past_key_values=cache)
        step.decoding = 1
        logits(llama, tokens(5), use_cache=False)
        near(logits(llama, ids[:, -1:], past_key_values=cache), expected)


def test_the_source_keeps_no_graph(llama: Any) -> None:
    model = copy.deepcopy(llama).requires_grad_(True)
    with lockstep(model, "real", "synthetic") as step:
        step.intervention = patch(HEADS)
        found = model(tokens(PROMPT))
        assert found.past_key_values.layers[2].keys.requires_grad
        assert step.cache is not None
        assert not step.cache.layers[2].keys.requires_grad


def test_bfloat16(llama: Any) -> None:
    model, ids = copy.deepcopy(llama).to(torch.bfloat16), tokens(PROMPT)
    with lockstep(model, "real", "synthetic") as step:
        plain = logits(model, ids)
        step.intervention = patch(HEADS)
        found = logits(model, ids)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found[:, :-1], plain[:, :-1])
    assert not torch.equal(found[:, -1], plain[:, -1])


# --- The model is left as it was -----------------------------------------------------------------


@pytest.mark.parametrize("active", ["real", "synthetic"])
@pytest.mark.parametrize("pair", PAIRS)
def test_adapters_flags_and_hooks_are_put_back(
    llama: Any, active: str, pair: tuple[str | None, str | None]
) -> None:
    llama.set_adapter(active)  # for training: its weights ask for gradients
    llama.base_model.model.lm_head.weight.requires_grad_(True)
    ids = tokens(PROMPT)
    plain = logits(llama, ids)
    flags = {name: weight.requires_grad for name, weight in llama.named_parameters()}
    assert any(flags.values())

    def unchanged() -> bool:
        now = {name: weight.requires_grad for name, weight in llama.named_parameters()}
        return now == flags and torch.equal(logits(llama, ids), plain)

    with lockstep(llama, *pair) as step:
        step.intervention = patch(HEADS)
        logits(llama, ids)
    assert unchanged()
    with pytest.raises(ZeroDivisionError), lockstep(llama, *pair):
        raise ZeroDivisionError
    assert unchanged()
    with pytest.raises(IndexError), lockstep(llama, *pair):
        logits(llama, ids + 97)  # the source fails
    assert unchanged()
    assert llama.active_adapter == active


# --- What would be wrong is refused --------------------------------------------------------------


def test_caches_out_of_step_are_refused(llama: Any) -> None:
    ids = tokens(PROMPT)
    cache = hf.DynamicCache()
    logits(llama, ids[:, :-1], past_key_values=cache)
    with lockstep(llama, "real", "synthetic"):
        with pytest.raises(ValueError, match="holds 19 tokens and the source's 0"):
            logits(llama, ids[:, -1:], past_key_values=cache)
        cache = hf.DynamicCache()
        logits(llama, ids, past_key_values=cache)
        cache.crop(-1)
        with pytest.raises(ValueError, match="holds 19 tokens and the source's 20"):
            logits(llama, ids[:, -1:], past_key_values=cache)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("reel", "synthetic", r"no adapter 'reel'; it has \['real', 'synthetic'\]"),
        ("real", "synthetik", "no adapter 'synthetik'"),
        (None, None, "there is nothing to patch"),
    ],
)
def test_adapters_that_are_not_there(
    llama: Any, source: str | None, target: str | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said), lockstep(llama, source, target):
        pass


def test_models_that_cannot_switch(llama: Any) -> None:
    with (
        pytest.raises(ValueError, match=r"no adapter 'real'; it has \[\]"),
        lockstep(alone(llama, None), "real", None),
    ):
        pass
    merged = copy.deepcopy(llama)
    merged.merge_adapter(["real"])
    with (
        pytest.raises(ValueError, match="merged or disabled"),
        lockstep(merged, "real", "synthetic"),
    ):
        pass
    with (
        llama.disable_adapter(),
        pytest.raises(ValueError, match="merged or disabled"),
        lockstep(llama, "real", "synthetic"),
    ):
        pass
    lora = LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])
    saved = get_peft_model(alone(llama, None), lora, adapter_name="real")
    with (
        pytest.raises(ValueError, match="modules_to_save"),
        lockstep(saved, "real", None),
    ):
        pass


def test_interventions_that_do_not_fit(llama: Any) -> None:
    mask = Intervention(action="mask", chosen="top", heads=[], wanted=1, kind="zero", during="both")
    with lockstep(llama, "real", "synthetic") as step:
        with pytest.raises(ValueError, match="mask-top1-zero-both is a mask, expected a patch"):
            step.intervention = mask
        with pytest.raises(ValueError, match="head 1-6 does not exist: layer 1 has 6 heads"):
            step.intervention = patch(["1-6"])
        assert step.intervention is None
