"""An estimate in a few lines for a person."""

from __future__ import annotations

from collections.abc import Iterator

from needlework.estimates.estimating import Estimate

_STAGES = {
    "training": "training",
    "heads": "scoring heads",
    "evaluation": "answers",
    "masks": "masks",
    "patches": "patches",
    "general": "general benchmarks",
}


def text(estimate: Estimate) -> list[str]:
    """The lines of an estimate, and under which assumptions it is one."""
    stages = {stage: name for stage, name in _STAGES.items() if estimate.runs[stage]}
    runs = [f"{name} {estimate.runs[stage]}" for stage, name in stages.items()]
    lines = [f"runs: {', '.join(runs)}"]
    if any(estimate.seconds.values()):
        lines += _time_lines(estimate, stages)
    sizes = {name: size for name, size in estimate.disk.items() if size and name != "checkpoints"}
    each = ", ".join(f"{name} {_size(size)}" for name, size in sizes.items())
    whole = _size(sum(sizes.values()))
    lines.append(f"disk: about {whole} in results/{estimate.study}, of which {each}")
    if checkpoints := estimate.disk["checkpoints"]:
        lines.append(f"checkpoints, with {estimate.jobs} in training: {_size(checkpoints)} more")
    for name, tokens in estimate.hosted.items():
        lines.append(f"{name} is tuned elsewhere: {tokens / 1e6:.3g} million tokens at most")
    if estimate.unknown:
        lines.append(
            f"not in time and disk: {', '.join(estimate.unknown)}, of unknown size before a "
            "config.json is on this machine"
        )
    return lines


def _time_lines(estimate: Estimate, stages: dict[str, str]) -> Iterator[str]:
    machine, gpu = estimate.machine, estimate.device != "cpu"
    each = ", ".join(f"{name} {_time(estimate.seconds[stage])}" for stage, name in stages.items())
    whole = _time(sum(estimate.seconds.values()))
    yield f"time on one {'GPU' if gpu else 'CPU'}: about {whole}, of which {each}"
    yield (
        f"at {machine.flops / 1e12:g} TFLOP/s "
        f"({'compute.sustained_tflops' if gpu else 'two cores'}), and {machine.bandwidth / 1e9:g} "
        "GB/s of memory while answers are written"
    )
    yield (
        "with contexts as long as the length and answers as long as max_new_tokens lets; to load "
        "models and make data comes on top"
    )
    longest = ", ".join(f"{name} {_time(seconds)}" for name, seconds in estimate.longest.items())
    if longest:
        yield f"the longest training: {longest}"


def _time(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.{1 if seconds < 10 * size else 0}f} {unit}"
    return "under 1 s"


def _size(size: float) -> str:
    for power, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= power:
            return f"{size / power:.{1 if size < 10 * power else 0}f} {unit}"
    return "under 1 MB"
