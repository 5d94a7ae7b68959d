"""Fetch the public data sets that tasks read, and check every file by its SHA-256.

`sources.yaml` beside this module lists them. Where it has no hash, because none could be verified,
the hash of the first copy is kept in the SHA256SUMS of the source's folder, and the file has to
match it from then on.
"""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from needlework.atomic import write_text
from needlework.progress import say, track
from needlework.provenance import file_hash

_LIST = Path(__file__).parent / "sources.yaml"
_SUMS = "SHA256SUMS"
_TIMEOUT = 60.0  # seconds without a byte
_CHUNK = 1 << 20
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SourceFile(_Entry):
    """One file: its `path` in the source's folder; size and hash are None where not known."""

    path: str
    url: str
    sha256: str | None
    bytes: int | None


class Source(_Entry):
    """A public data set; `note` says what of it is listed here, and how its hashes are known."""

    name: str
    note: str
    licence: str
    citation: str
    files: list[SourceFile]


@cache
def load_sources() -> dict[str, Source]:
    """The sources of `sources.yaml` by name.

    Raises:
        ValueError: an entry is not whole; the message names it and the reason.
    """
    try:
        entries = yaml.safe_load(_LIST.read_text(encoding="utf-8"))
        sources = [Source.model_validate(entry) for entry in entries]
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{_LIST}: {error}") from error
    return {source.name: source for source in sources}


def fetch(source: Source, folder: Path) -> list[Path]:
    """The files of a source in `folder`/<name>/, in the order of the source.

    A file that is there is checked; one that is not is downloaded, and takes its name when it is
    whole and has the right hash. What a cut connection left stays beside it as .part, and the next
    call goes on from there.

    Raises:
        ValueError: a file has another hash than expected, or its address is not https.
        OSError: a file could not be downloaded; the message says what to put where instead.
    """
    return [_fetched(source, file, folder / source.name) for file in source.files]


def _fetched(source: Source, file: SourceFile, folder: Path) -> Path:
    path = folder / file.path
    kept = _read_sums(folder)
    expected = file.sha256 or kept.get(file.path)
    if path.exists():
        found = file_hash(path)
        if expected not in (None, found):
            raise ValueError(
                f"{path} has the SHA-256 {found}, expected {expected}; move it away to fetch it "
                f"again from {file.url}"
            )
    else:
        found = _downloaded(source, file, path, expected)
    if file.sha256 is None and file.path not in kept:
        lines = sorted(f"{value}  {name}\n" for name, value in {**kept, file.path: found}.items())
        write_text(folder / _SUMS, "".join(lines))
    return path


def _downloaded(source: Source, file: SourceFile, path: Path, expected: str | None) -> str:
    """Fetch a file to `path`, and return its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if part.is_symlink():
        raise ValueError(f"{part} is a link, and what it points to is not overwritten; remove it")
    if expected is None:
        part.unlink(missing_ok=True)  # nothing could tell whether two halves belong together
    say(f"fetching {file.url} to {path}")
    try:
        found = _stream(file.url, part, file.bytes)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"{file.url} could not be fetched ({error or type(error).__name__}). Try again, or "
            f"put the file at {path} by hand; expected are {file.bytes or 'an unknown number of'} "
            f"bytes with the SHA-256 {expected or 'that the first copy will have'}. "
            f"About {source.name}: {source.note}"
        ) from error
    if expected not in (None, found):
        part.unlink()
        raise ValueError(
            f"{file.url} gave a file with the SHA-256 {found}, expected {expected}. It was "
            f"removed, because it is not the file that was listed; put the right one at {path}"
        )
    part.replace(path)
    return found


def _stream(url: str, part: Path, most: int | None) -> str:
    """Download what `part` still lacks, and return the SHA-256 of the whole.

    Raises:
        OSError: the server refused, or cut the connection before the end.
        ValueError: it sent more than `most` bytes in all; what came was removed.
    """
    size = part.stat().st_size if part.exists() else 0
    try:
        response = _opened(url, size)
    except HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not size:
            raise
        part.unlink()  # longer than the file is: it was another one
        return _stream(url, part, most)
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            part.unlink(missing_ok=True)
            size = 0
        length = response.headers.get("Content-Length")
        left = int(length) if length else None
        chunks: Iterable[bytes] = iter(lambda: response.read(_CHUNK), b"")
        if left is not None:
            chunks = track(chunks, f"MiB of {part.stem}", total=-(-left // _CHUNK))
        with part.open("a+b") as out:
            out.seek(0)
            digest = hashlib.file_digest(out, "sha256")
            for chunk in chunks:
                size += len(chunk)
                if most is not None and size > most:
                    part.unlink()
                    raise ValueError(f"{url} gave more than the {most} bytes that were listed")
                digest.update(chunk)
                out.write(chunk)
                left = left - len(chunk) if left is not None else None
    if left:  # a cut connection looks like the end of the file
        raise OSError(f"the connection was cut {left} bytes before the end")
    return digest.hexdigest()


def _opened(url: str, start: int) -> Any:
    _check_address(url)
    headers = {"User-Agent": "needlework"} | ({"Range": f"bytes={start}-"} if start else {})
    proxies = [ProxyHandler({})] if urlsplit(url).hostname in _LOOPBACK else []
    return build_opener(_Redirects, *proxies).open(Request(url, headers=headers), timeout=_TIMEOUT)


class _Redirects(HTTPRedirectHandler):
    def redirect_request(self, asked: Request, *args: Any) -> Request | None:
        _check_address(args[-1])
        hosts = [urlsplit(url).hostname for url in (asked.full_url, args[-1])]
        if hosts[1] in _LOOPBACK and hosts[0] not in _LOOPBACK:
            raise ValueError(f"{asked.full_url} leads to this machine itself ({args[-1]})")
        return super().redirect_request(asked, *args)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError(f"{url} is not an https address; files are fetched over https alone")


def _read_sums(folder: Path) -> dict[str, str]:
    sums = folder / _SUMS
    if not sums.exists():
        return {}
    lines = [line.split("  ", 1) for line in sums.read_text(encoding="utf-8").splitlines()]
    return {name: value for value, name in lines}
