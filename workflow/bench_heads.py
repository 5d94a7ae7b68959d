"""Time the work on heads against the plain way, and against the published method.

`make bench-heads` runs it, with MODEL=folder on a model of your own. Where there is a GPU it runs
there, in bfloat16 and at 32,768 tokens. What a row compares is run in turns in one process, after a
warm-up, and the median of the ratios is given; peak memory is of processes that do nothing else.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from needlework import models

PARTS = ("overhead", "published", "generation", "patching", "long", "adapters")


def main() -> None:
    """Run every part in a process of its own, and print what each says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder or hub id; none: the bundled SmolLM2")
    parser.add_argument("--length", type=int, help="of the long pass (8192; 32768 on a GPU)")
    parser.add_argument("--repeats", type=int, default=3, help="of each timing (%(default)s)")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    models.add_compute_flags(parser)
    parser.set_defaults(threads=2, device=None, dtype=None)
    args = parser.parse_args()
    if args.device is None:
        import torch

        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    args.dtype = args.dtype or ("float32" if args.device == "cpu" else "bfloat16")
    args.length = args.length or (8192 if args.device == "cpu" else 32_768)
    if args.one:
        models.limit_threads(args.threads)
        print(json.dumps(_ONE[args.one](args)))
        return
    with tempfile.TemporaryDirectory() as name:
        if args.model is None:
            folder = Path(name) / "model"
            models.prepare("smollm2-135m-instruct", folder)
            args.model = str(folder / "base.json")
        for part in args.parts:
            print(f"{part}:", flush=True)
            for line in _PARTS[part](args):
                print(f"  {line}", flush=True)


def _child(args: argparse.Namespace, one: str, **changes: Any) -> dict[str, Any]:
    """What one measurement gives in a fresh process."""
    flags = vars(args) | changes | {"one": one}
    command = [sys.executable, __file__]
    for key in ("model", "length", "repeats", "device", "dtype", "threads", "one"):
        command += [f"--{key}", str(flags[key])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- The parts ---------------------------------------------------------------------------------


def _overhead(args: argparse.Namespace) -> Iterator[str]:
    """One pass over a long prompt, with and without reading 16 rows of every head."""
    timed = _child(args, "overhead")
    peaks = [_child(args, f"memory-{what}")["peak_gb"] for what in ("scored", "plain")]
    yield (
        f"{args.length} tokens, 16 answer rows, {args.device} in {args.dtype}, attention by "
        f"{timed['backend']}: scoring {timed['scored']:.2f} s an example, plain forward "
        f"{timed['plain']:.2f} s, ratio {timed['ratio']:.3f}; peak memory "
        f"{peaks[0]:.2f} / {peaks[1]:.2f} GB, ratio {peaks[0] / peaks[1]:.3f}; "
        f"{timed['tokens_per_second']:.0f} tokens/s scored"
    )


def _published(args: argparse.Namespace) -> Iterator[str]:
    """One pass against fast prefill, eager decoding token by token, and a loop over heads."""
    for tokens in (32, 128):
        found = _child(args, f"published-{tokens}", length=2048)
        yield (
            f"2048 tokens and {tokens} answer tokens: one pass {found['ours']:.2f} s, published "
            f"method {found['published']:.2f} s, {found['ratio']:.2f} times faster; highest "
            f"attention at the same place in {found['agreement']:.4%} of rows"
        )


def _generation(args: argparse.Namespace) -> Iterator[str]:
    """Greedy generation with and without reading the rows of every head at every step."""
    for batch in (1, 4):
        found = _child(args, f"generation-{batch}")
        yield (
            f"512 tokens, 32 new, batch {batch}: read {found['read']:.2f} s, alone "
            f"{found['alone']:.2f} s, ratio {found['ratio']:.3f}"
        )


def _patching(args: argparse.Namespace) -> Iterator[str]:
    """Generation of one adapter with heads of another, against one plain generation."""
    found = _child(args, "patching")
    peaks = [_child(args, f"memory-{what}")["peak_gb"] for what in ("patched", "generated")]
    yield (
        f"512 tokens, 16 new, batch 4: patched {found['patched']:.2f} s, plain "
        f"{found['plain']:.2f} s, ratio {found['ratio']:.3f}; peak memory {peaks[0]:.2f} / "
        f"{peaks[1]:.2f} GB, ratio {peaks[0] / peaks[1]:.3f}"
    )


def _long(args: argparse.Namespace) -> Iterator[str]:
    """32 layers of 32 heads over 32,768 tokens, with a tiny hidden size."""
    found = _child(args, "long", length=32_768)
    yield (
        f"32768 tokens, 32 layers of 32 heads: {found['seconds']:.0f} s, peak memory "
        f"{found['peak_gb']:.2f} GB"
    )


def _adapters(args: argparse.Namespace) -> Iterator[str]:
    """Six adapters scored in one job: how often is the base model loaded?"""
    found = _child(args, "adapters")
    yield f"six adapters scored in one job: the base model was loaded {found['loads']} time(s)"


_PARTS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "overhead": _overhead, "published": _published, "generation": _generation,
    "patching": _patching, "long": _long, "adapters": _adapters,
}  # fmt: skip


# --- One measurement, in a process of its own --------------------------------------------------


def _one_overhead(args: argparse.Namespace) -> dict[str, Any]:
    from needlework.attention.intercept import backend

    model, ids = _model(args), _ids(args, 1, args.length + 15)
    times = _in_turns(args, scored=lambda: _score(model, ids), plain=lambda: _pass(model, ids))
    return times | {
        "ratio": _ratio(times, "scored", "plain"),
        "backend": backend(model),
        "tokens_per_second": args.length / median(times["scored_all"]),
    }


def _one_published(args: argparse.Namespace, tokens: int) -> dict[str, Any]:
    import torch

    model, ids = _model(args), _ids(args, 1, args.length + tokens - 1)
    tops: dict[str, Any] = {}

    def ours() -> None:
        tops["ours"] = torch.stack([layer[0][0] for layer in _score(model, ids, tokens)])

    def published() -> None:
        tops["published"] = _published_tops(model, ids, tokens)

    times = _in_turns(args, ours=ours, published=published)
    agreement = (tops["ours"].cpu() == tops["published"]).float().mean().item()
    return times | {"ratio": _ratio(times, "published", "ours"), "agreement": agreement}


def _published_tops(model: Any, ids: Any, tokens: int) -> Any:
    """As Wu et al.'s code works: prefill, then one eager step a token, and a loop over the heads.

    Returns the position of the highest attention, (layers, heads, tokens).
    """
    import torch

    start = ids.shape[1] - tokens
    with torch.no_grad():
        cache = model(input_ids=ids[:, :start], use_cache=True, logits_to_keep=1).past_key_values
        model.set_attn_implementation("eager")
        rows = []
        for place in range(start, ids.shape[1]):
            step = model(
                input_ids=ids[:, place : place + 1],
                past_key_values=cache,
                use_cache=True,
                output_attentions=True,
            )
            rows.append(
                [
                    [layer[0, head, -1].topk(1).indices.item() for head in range(layer.shape[1])]
                    for layer in step.attentions
                ]
            )
        model.set_attn_implementation("sdpa")
    return torch.tensor(rows).permute(1, 2, 0)


def _one_generation(args: argparse.Namespace, batch: int) -> dict[str, Any]:
    from needlework.attention.reading import reading

    model, ids = _model(args), _ids(args, batch, 512)
    reduce = _reduction(ids)

    def read() -> None:
        with reading(model, reduce):
            _generate(model, ids, 32)

    times = _in_turns(args, read=read, alone=lambda: _generate(model, ids, 32))
    return times | {"ratio": _ratio(times, "read", "alone")}


def _one_patching(args: argparse.Namespace) -> dict[str, Any]:
    model, ids = _tuned(args), _ids(args, 4, 512)
    times = _in_turns(
        args, patched=lambda: _patch(model, ids), plain=lambda: _generate(model, ids, 16)
    )
    return times | {"ratio": _ratio(times, "patched", "plain")}


def _one_long(args: argparse.Namespace) -> dict[str, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=256, hidden_size=128, intermediate_size=128, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=65_536,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    ids = _ids(args, 1, args.length + 15)
    began = time.monotonic()
    _score(model, ids)
    return {"seconds": time.monotonic() - began, "peak_gb": _peak(args)}


def _one_adapters(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command itself, on six adapters of the tiny model, and count what it says."""
    from peft import LoraConfig, get_peft_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = models.prepare("tiny-random-llama", folder)
        for i in range(6):
            config = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
            adapter = get_peft_model(models.load_model(base, dtype="float32"), config)
            adapter.save_pretrained(folder / f"adapter{i}")
            record = json.dumps({"base": base.model_dump()})
            (folder / f"adapter{i}" / "training.json").write_text(record, encoding="utf-8")
        row = {"question": "Where?", "answers": "here", "documents": ["It is here.", "No."]}
        (folder / "questions.jsonl").write_text(json.dumps(row), encoding="utf-8")
        command = [sys.executable, "scripts/score_heads.py", "--base", folder / "base.json"]
        command += ["--questions", folder / "questions.jsonl", "--adapter"]
        command += [folder / f"adapter{i}" for i in range(6)]
        command += ["--output", *(folder / f"scores{i}.json" for i in range(6))]
        done = subprocess.run(
            list(map(str, command)), check=True, text=True, cwd=Path(__file__).parent.parent,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert all((folder / f"scores{i}.json").is_file() for i in range(6)), done.stdout
    return {"loads": done.stdout.count("loaded the base model")}


def _memory(what: str) -> Callable[[argparse.Namespace], dict[str, Any]]:
    def measure(args: argparse.Namespace) -> dict[str, Any]:
        if what in ("patched", "generated"):
            ids = _ids(args, 4, 512)
            if what == "patched":
                _patch(_tuned(args), ids)
            else:
                _generate(_model(args), ids, 16)
        else:
            run = _score if what == "scored" else _pass
            run(_model(args), _ids(args, 1, args.length + 15))
        return {"peak_gb": _peak(args)}

    return measure


_ONE: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "overhead": _one_overhead,
    "published-32": lambda args: _one_published(args, 32),
    "published-128": lambda args: _one_published(args, 128),
    "generation-1": lambda args: _one_generation(args, 1),
    "generation-4": lambda args: _one_generation(args, 4),
    "patching": _one_patching,
    "long": _one_long,
    "adapters": _one_adapters,
    **{f"memory-{w}": _memory(w) for w in ("scored", "plain", "patched", "generated")},
}


# --- What is run -------------------------------------------------------------------------------


def _model(args: argparse.Namespace) -> Any:
    return models.load_model(models.base_of(args.model), dtype=args.dtype, device=args.device)


def _tuned(args: argparse.Namespace) -> Any:
    """The model with two random adapters, "source" and "target"."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], init_lora_weights=False
    )
    model = get_peft_model(_model(args), config, adapter_name="target")
    model.add_adapter("source", config)
    return model.eval()


def _ids(args: argparse.Namespace, batch: int, length: int) -> Any:
    import torch

    drawn = torch.randint(3, 250, (batch, length), generator=torch.Generator().manual_seed(0))
    return drawn.to(args.device)


def _reduction(ids: Any) -> Any:
    """That of a probe: a needle of 16 tokens in the middle, of each of two roles."""
    from needlework.heads.seen import reduction

    middle = ids.shape[1] // 2
    needle = set(range(middle, middle + 16))
    return reduction([[needle, needle]] * len(ids), ids.device)


def _score(model: Any, ids: Any, rows: int = 16) -> Any:
    from needlework.attention.reading import attention_rows

    return attention_rows(model, ids, rows=rows, reduce=_reduction(ids)).layers


def _pass(model: Any, ids: Any) -> None:
    import torch

    with torch.no_grad():
        model(input_ids=ids, use_cache=False, logits_to_keep=16)


def _generate(model: Any, ids: Any, tokens: int) -> None:
    import torch

    model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=None,
        max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0,
    )  # fmt: skip


def _patch(model: Any, ids: Any) -> None:
    """20 heads, as many as the default study compares."""
    from needlework.interventions.patching import lockstep
    from needlework.interventions.record import Intervention, names

    heads = names((layer, head) for layer in range(10, 20) for head in (0, 1))
    patch = Intervention(
        action="patch", chosen="intersection", heads=heads, positions="last", source="source"
    )
    with lockstep(model, "source", "target") as step:
        step.intervention = patch
        _generate(model, ids, 16)


def _in_turns(args: argparse.Namespace, **runs: Callable[[], Any]) -> dict[str, Any]:
    """Median seconds of each, run in turns after a warm-up of all; and all seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(args.repeats + 1):
        for name, run in runs.items():
            began = time.monotonic()
            run()
            _wait(args)
            if turn:
                seconds[name].append(time.monotonic() - began)
    middle = {name: median(each) for name, each in seconds.items()}
    return middle | {f"{name}_all": each for name, each in seconds.items()}


def _ratio(times: dict[str, Any], a: str, b: str) -> float:
    """The median of the ratios turn by turn: what slows the machine slows both."""
    return median(x / y for x, y in zip(times[f"{a}_all"], times[f"{b}_all"], strict=True))


def _wait(args: argparse.Namespace) -> None:
    if args.device != "cpu":
        import torch

        torch.cuda.synchronize()


def _peak(args: argparse.Namespace) -> float:
    """Peak memory: of this process, or of the GPU."""
    if args.device != "cpu":
        import torch

        return float(torch.cuda.max_memory_allocated() / 1e9)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
