"""Where a process listens, as the kernel has it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

_LISTEN = "0A"


def listening(pid: int) -> set[tuple[str, int]]:
    """The addresses and ports at which a process waits for TCP connections."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("there is no /proc/net/tcp here")
    own = set()
    for name in (Path("/proc") / str(pid) / "fd").iterdir():
        try:
            own.add(os.readlink(name))
        except FileNotFoundError:  # closed meanwhile
            continue
    found = set()
    for file, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{file}").read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTEN and f"socket:[{inode}]" in own:
                address, _, port = local.partition(":")
                found.add((_address(address, family), int(port, 16)))
    return found


def _address(text: str, family: int) -> str:
    """An address as the kernel writes it: words of 32 bits in the machine's order, as digits."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    return socket.inet_ntop(family, b"".join(words))
