"""Masked heads against models whose weights have the same effect, on tiny random decoders.

A zero output is a zero column of the output projection; a mean output is that and a bias; a query
of zeros is a zero row of the query projection. The weights are large, so that attention is peaked
and every head matters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch import Tensor

from needlework.attention.intercept import intercept
from needlework.interventions.masking import masked, mean_outputs
from needlework.interventions.record import Intervention, Kind, by_layer

_SMALL: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "initializer_range": 0.2,
}  # fmt: skip

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaConfig(**_SMALL),
    "mistral-window": lambda: hf.MistralConfig(**_SMALL, sliding_window=7),
    "qwen2-bias": lambda: hf.Qwen2Config(**_SMALL),
    "qwen3": lambda: hf.Qwen3Config(**_SMALL, head_dim=16),
}
OTHERS: dict[str, Callable[[], Any]] = {
    "gemma2-softcap": lambda: hf.Gemma2Config(**_SMALL, head_dim=16, sliding_window=7),
    "gpt-oss-sinks": lambda: hf.GptOssConfig(
        **_SMALL, head_dim=16, num_local_experts=2, num_experts_per_tok=1
    ),
    "lfm2-convolution": lambda: hf.Lfm2Config(
        **_SMALL, layer_types=["conv", "full_attention", "conv"]
    ),
}
KINDS: tuple[Kind, ...] = get_args(Kind)
HEADS = ["0-1", "1-0", "1-3"]
PROMPT = 20


def build(config: Any) -> Any:
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for name, weight in model.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            weight.data *= 2
        if name.endswith("q_proj.bias"):
            weight.data += 0.5
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return build(FAMILIES[request.param]())


@pytest.fixture(scope="module")
def llama() -> Any:
    return build(FAMILIES["llama"]())


def tokens(count: int, seed: int = 1) -> Tensor:
    return torch.randint(2, 97, (1, count), generator=torch.Generator().manual_seed(seed))


def mask(heads: list[str], kind: Kind = "zero", during: Any = "both") -> Intervention:
    return Intervention(
        action="mask", chosen="top", heads=heads, wanted=max(1, len(heads)), kind=kind,
        during=during,
    )  # fmt: skip


def means_of(model: Any) -> dict[int, Tensor]:
    ids = torch.cat([tokens(12, seed=5), tokens(12, seed=6)])
    return mean_outputs(model, [(ids, torch.ones_like(ids))])


def logits(model: Any, ids: Tensor, **more: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(ids, **more).logits
    return found


def attention(model: Any, layer: int) -> Any:
    module = model.model.layers[layer]
    return getattr(module, "self_attn", module)


def rewritten(model: Any, heads: list[str], kind: Kind) -> Any:
    """A copy of the model whose weights do to every row what the mask does."""
    changed = copy.deepcopy(model)
    for layer, numbers in by_layer(heads).items():
        of_layer = attention(changed, layer)
        for head in numbers:
            width = of_layer.head_dim
            place = slice(head * width, (head + 1) * width)
            output, query = of_layer.o_proj, of_layer.q_proj
            if kind == "uniform":
                query.weight.data[place] = 0
                if query.bias is not None:
                    query.bias.data[place] = 0
                continue
            if kind == "mean":
                bias = output.weight.data[:, place] @ means_of(model)[layer][head]
                before = 0 if output.bias is None else output.bias.data
                output.bias = torch.nn.Parameter(before + bias)
            output.weight.data[:, place] = 0
    if kind == "uniform":
        changed.set_attn_implementation("eager")
    return changed


def means_for(model: Any, kind: Kind) -> dict[int, Tensor] | None:
    return means_of(model) if kind == "mean" else None


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def far(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).abs().max() > 0.05


# --- Every kind, against weights ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_all_rows_equals_weights_of_its_effect(model: Any, kind: Kind) -> None:
    ids = tokens(PROMPT)
    with masked(model, mask(HEADS, kind), means_for(model, kind)):
        found = logits(model, ids)
    near(found, logits(rewritten(model, HEADS, kind), ids))
    far(found, logits(model, ids))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("during", ["prefill", "decoding", "both"])
def test_phases_equal_two_models_that_share_a_cache(model: Any, kind: Kind, during: Any) -> None:
    """The rows before come from the one model, the last ones from the other, by its cache."""
    ids, changed, rows = tokens(PROMPT), rewritten(model, HEADS, kind), 4
    cache = hf.DynamicCache(config=model.config)
    logits(model if during == "decoding" else changed, ids[:, :-rows], past_key_values=cache)
    expected = logits(
        model if during == "prefill" else changed, ids[:, -rows:], past_key_values=cache
    )
    with masked(model, mask(HEADS, kind, during), means_for(model, kind)) as phase:
        phase.decoding = rows
        in_one = logits(model, ids, use_cache=False)[:, -rows:]
        cache = hf.DynamicCache(config=model.config)
        phase.decoding = 0
        logits(model, ids[:, :-rows], past_key_values=cache)
        phase.decoding = rows
        in_two = logits(model, ids[:, -rows:], past_key_values=cache)
    near(in_one, expected)
    near(in_two, expected)
    far(expected, logits(model, ids)[:, -rows:])


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_leaves_the_cache_of_the_prompt_alone(model: Any, kind: Kind) -> None:
    ids = tokens(PROMPT)
    caches = [hf.DynamicCache(), hf.DynamicCache()]
    logits(model, ids, past_key_values=caches[0])
    with masked(model, mask(HEADS, kind, "decoding"), means_for(model, kind)):
        logits(model, ids, past_key_values=caches[1])
    for plain, changed in zip(caches[0].layers, caches[1].layers, strict=True):
        # Uniform attention is computed through another function: equal, but for rounding.
        tolerance = 1e-4 if kind == "uniform" else 0
        for one, other in ((plain.keys, changed.keys), (plain.values, changed.values)):
            torch.testing.assert_close(
                one[:, :, :-1], other[:, :, :-1], rtol=tolerance, atol=tolerance
            )
    far(caches[0].layers[2].keys[:, :, -1], caches[1].layers[2].keys[:, :, -1])


def test_prefill_leaves_the_outputs_of_the_last_row_alone(model: Any) -> None:
    seen: list[Tensor] = []
    plain: list[Tensor] = []
    projection = attention(model, 0).o_proj
    before = projection.register_forward_pre_hook(lambda _, inputs: plain.append(inputs[0]))
    with masked(model, mask(["0-1"], "zero", "prefill")) as phase:
        phase.decoding = 3
        after = projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        logits(model, tokens(PROMPT))
        after.remove()
    before.remove()
    (found,), expected = seen, plain[-1]
    width = found.shape[-1] // 6
    assert torch.equal(found[:, -3:], expected[:, -3:])
    assert not found[:, :-3, width : 2 * width].any()
    assert expected[:, :-3, width : 2 * width].all()  # what it was given is not changed in place
    assert torch.equal(found[..., 2 * width :], expected[..., 2 * width :])


@pytest.mark.parametrize("kind", KINDS)
def test_generated_tokens_are_those_of_masked_decode_steps(model: Any, kind: Kind) -> None:
    ids, changed = tokens(PROMPT), rewritten(model, HEADS, kind)
    cache = hf.DynamicCache(config=model.config)
    logits(model, ids[:, :-1], past_key_values=cache)
    expected = ids
    for _ in range(8):
        step = logits(changed, expected[:, -1:], past_key_values=cache)
        expected = torch.cat([expected, step[:, -1:].argmax(-1)], dim=1)
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 1}
    with masked(model, mask(HEADS, kind, "decoding"), means_for(model, kind)):
        found = model.generate(ids, **settings)
    assert torch.equal(found, expected)
    assert not torch.equal(found, model.generate(ids, **settings))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("during", ["prefill", "decoding"])
def test_a_batch_with_left_padding_equals_single_prompts(
    model: Any, kind: Kind, during: Any
) -> None:
    long, short = tokens(PROMPT), tokens(PROMPT - 6, seed=2)
    ids = torch.cat([long, torch.nn.functional.pad(short, (6, 0), value=1)])
    seen = torch.ones_like(ids)
    seen[1, :6] = 0
    means = means_for(model, kind)
    with masked(model, mask(HEADS, kind, during), means):
        both = logits(model, ids, attention_mask=seen)[:, -1]
        near(both[0], logits(model, long)[0, -1])
        near(both[1], logits(model, short)[0, -1])
        settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
        made = model.generate(ids, attention_mask=seen, pad_token_id=1, **settings)
        alone = model.generate(short, pad_token_id=1, **settings)
    assert torch.equal(made[1, PROMPT:], alone[0, PROMPT - 6 :])


# --- Other architectures, adapters, precision ---------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", OTHERS)
def test_masks_change_every_architecture(family: str, kind: Kind) -> None:
    model, ids = build(OTHERS[family]()), tokens(PROMPT)
    chosen = mask(["1-3"], kind)
    plain = logits(model, ids)
    with masked(model, chosen, means_for(model, kind)):
        if (family, kind) == ("gpt-oss-sinks", "uniform"):
            with pytest.raises(ValueError, match="layer 1 has learned attention sinks"):
                logits(model, ids)
        else:
            assert (logits(model, ids) - plain).abs().max() > 1e-3
    assert torch.equal(logits(model, ids), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_attached_and_merged(llama: Any, kind: Kind) -> None:
    torch.manual_seed(3)
    names = ["q_proj", "k_proj", "v_proj", "o_proj"]
    config = LoraConfig(r=4, target_modules=names, init_lora_weights=False)
    tuned, ids = get_peft_model(copy.deepcopy(llama), config).eval(), tokens(PROMPT)
    means = means_for(tuned, kind)
    with masked(tuned, mask(HEADS, kind), means):
        found = logits(tuned, ids)
        far(found, logits(llama, ids))
    far(found, logits(tuned, ids))
    merged = tuned.merge_and_unload()
    with masked(merged, mask(HEADS, kind), means):
        near(logits(merged, ids), found)
    near(found, logits(rewritten(merged, HEADS, kind), ids))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_stays_bfloat16(llama: Any, kind: Kind) -> None:
    model, ids = copy.deepcopy(llama).to(torch.bfloat16), tokens(PROMPT)
    means = means_for(model, kind)
    assert means is None or means[0].dtype == torch.float32
    with masked(model, mask(HEADS, kind), means):
        found = logits(model, ids)
    assert found.dtype == torch.bfloat16
    assert not torch.equal(found, logits(model, ids))


# --- The model is left as it was -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_head_changes_nothing(model: Any, kind: Kind) -> None:
    ids = tokens(PROMPT)
    plain = logits(model, ids)
    with masked(model, mask([], kind), means_for(model, kind)):
        assert torch.equal(logits(model, ids), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_ends_with_its_context(llama: Any, kind: Kind) -> None:
    ids = tokens(PROMPT)
    plain = logits(llama, ids)
    with masked(llama, mask(HEADS, kind), means_for(llama, kind)):
        far(logits(llama, ids), plain)
    assert torch.equal(logits(llama, ids), plain)
    with pytest.raises(ZeroDivisionError), masked(
        llama, mask(HEADS, kind), means_for(llama, kind)
    ):  # fmt: skip
        raise ZeroDivisionError
    assert torch.equal(logits(llama, ids), plain)


def test_nested_masks_add_up(llama: Any) -> None:
    ids = tokens(PROMPT)
    with masked(llama, mask(["0-1"])), masked(llama, mask(["0-2", "2-0"])):
        found = logits(llama, ids)
    with masked(llama, mask(["0-1", "0-2", "2-0"])):
        assert torch.equal(found, logits(llama, ids))
    with masked(llama, mask(["0-1"], "uniform")), masked(llama, mask(["2-0"], "uniform")):
        found = logits(llama, ids)
    with masked(llama, mask(["0-1", "2-0"], "uniform")):
        assert torch.equal(found, logits(llama, ids))


def test_what_others_were_given_is_not_changed_in_place(llama: Any) -> None:
    queries: list[Tensor] = []
    copies: list[Tensor] = []

    def edit(call: Any) -> Tensor:
        queries.append(call.query)
        copies.append(call.query.clone())
        return queries[-1]

    with intercept(llama, edit=edit), masked(llama, mask(HEADS, "uniform")):
        logits(llama, tokens(PROMPT))
    assert len(queries) == 3
    assert all(map(torch.equal, queries, copies))


# --- Means ---------------------------------------------------------------------------------------


def test_means_are_over_the_real_positions(model: Any) -> None:
    prompts = [tokens(9, seed=2), tokens(14, seed=3), tokens(11, seed=4)]
    inputs: list[Tensor] = []
    hook = attention(model, 1).o_proj.register_forward_pre_hook(
        lambda _, given: inputs.append(given[0])
    )
    for ids in prompts:
        logits(model, ids)
    hook.remove()
    expected = torch.cat([each[0] for each in inputs]).mean(0).view(6, -1)
    ways = [(5, 0), (0, 0), (0, 3)]  # padding on the left, none, on the right
    pairs = list(zip(prompts, ways, strict=True))
    batch = torch.cat([torch.nn.functional.pad(ids, way, value=1) for ids, way in pairs])
    real = torch.cat([torch.nn.functional.pad(torch.ones_like(ids), way) for ids, way in pairs])
    found = mean_outputs(model, [(batch[:2], real[:2]), (batch[2:], real[2:])])
    assert sorted(found) == [0, 1, 2]
    torch.testing.assert_close(found[1], expected, rtol=1e-4, atol=1e-5)


def test_positions_count_from_a_prompts_first_token() -> None:
    config = hf.GPTBigCodeConfig(
        vocab_size=97, n_embd=48, n_layer=2, n_head=6, n_positions=64, initializer_range=0.2,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model, ids = build(config), tokens(12)  # its positions are learned, not relative
    padded, real = (torch.nn.functional.pad(x, (5, 0)) for x in (ids, torch.ones_like(ids)))
    expected = mean_outputs(model, [(ids, torch.ones_like(ids))])
    near(mean_outputs(model, [(padded, real)])[1], expected[1])


def test_a_layer_without_heads_has_no_means() -> None:
    assert sorted(means_of(build(OTHERS["lfm2-convolution"]()))) == [1]


def test_no_prompts_have_no_mean(llama: Any) -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        mean_outputs(llama, [])


# --- What would do nothing, or something else, is refused ---------------------------------------


@pytest.mark.parametrize(
    ("family", "heads", "said"),
    [
        ("llama", ["0-1", "3-0"], "head 3-0 does not exist: the model has 3 layers"),
        ("llama", ["0-1", "1-6"], "head 1-6 does not exist: layer 1 has 6 heads"),
        ("lfm2-convolution", ["2-0"], "head 2-0 does not exist: layer 2 has no attention heads"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_heads_that_do_not_exist(family: str, heads: list[str], said: str, kind: Kind) -> None:
    model = build((FAMILIES | OTHERS)[family]())
    with pytest.raises(ValueError, match=said), masked(model, mask(heads, kind), means_of(model)):
        pass


def test_means_that_do_not_fit(llama: Any) -> None:
    for means, said in [
        (None, "mask-top3-mean-both needs the mean outputs of the heads of layer 0"),
        ({0: torch.zeros(6, 8)}, "needs the mean outputs of the heads of layer 1"),
        ({0: torch.zeros(6, 9)}, r"layer 0 are \(6, 9\), expected \(6, 8\)"),
    ]:
        with pytest.raises(ValueError, match=said), masked(llama, mask(HEADS, "mean"), means):
            pass
    assert not attention(llama, 0).o_proj._forward_pre_hooks  # nothing is left behind


def test_a_patch_is_no_mask(llama: Any) -> None:
    patch = Intervention(
        action="patch", chosen="intersection", heads=[], positions="last", source="real"
    )
    with pytest.raises(ValueError, match="is a patch, expected a mask"), masked(llama, patch):
        pass
