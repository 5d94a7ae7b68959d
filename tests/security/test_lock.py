"""Every package is pinned to one version, and to the bytes of its files."""

from __future__ import annotations

import re
from pathlib import Path

_PIN = re.compile(
    r"[A-Za-z0-9][\w.-]*==[\w.]+"
    r"(?: ; (?:[^\"]* and )?extra == \"(?:general|deepspeed|cuda)\")?"
    r"(?: --hash=sha256:[0-9a-f]{64})+"
)


def _pins(root: Path) -> list[str]:
    lines = (root / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_every_pin_has_hashes(root: Path) -> None:
    pins = _pins(root)
    assert len(pins) > 150
    assert [pin[:80] for pin in pins if not _PIN.fullmatch(pin)] == []
    names = [re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in pins]
    assert len(set(names)) == len(names)


def test_what_gpus_need_is_installed_for_a_build_of_torch_that_asks_for_it(root: Path) -> None:
    cuda = [pin for pin in _pins(root) if 'extra == "cuda"' in pin]
    assert any(pin.startswith("nvidia-cudnn") for pin in cuda)
    # Elsewhere there are no such files: the marker that is left says so.
    assert all("sys_platform == 'linux' and extra" in pin for pin in cuda)


def test_no_package_comes_from_an_address(root: Path) -> None:
    text = (root / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|git\+| @ |--(extra-)?index|--find|--trusted", text)
