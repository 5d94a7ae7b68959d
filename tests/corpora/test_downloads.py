"""Downloads are whole and right, or they are an error that says what to do."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import Request

import pytest

from needlework.corpora.downloads import Source, SourceFile, _Redirects, fetch, load_sources

CONTENT = bytes(range(256)) * 8000  # larger than one chunk
HASH = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `cut_after` bytes of an answer it closes the connection."""

    cut_after: int | None = None
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name: str = "data.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.asked.append((self.path, wanted))
        start = 0
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://example.org/data.bin")
            self.end_headers()
            return
        if self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):  # the client has had enough
                for _ in range(10):
                    self.wfile.write(CONTENT)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", self.server.url())
            self.end_headers()
            return
        if self.path != "/data.bin":
            self.send_error(404)
            return
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = None if self.server.cut_after is None else start + self.server.cut_after
        self.wfile.write(CONTENT[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def source(url: str, sha256: str | None = HASH, path: str = "folder/data.bin") -> Source:
    file = SourceFile(path=path, url=url, sha256=sha256, bytes=len(CONTENT))
    return Source(name="set", note="A remark.", licence="none", citation="nobody", files=[file])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    expected = tmp_path / "set/folder/data.bin"
    assert fetch(source(server.url()), tmp_path) == [expected]
    assert expected.read_bytes() == CONTENT
    assert fetch(source(server.url()), tmp_path) == [expected]
    assert len(server.asked) == 1
    assert files(tmp_path) == {"data.bin"}


def test_a_redirect_is_followed_on_safe_addresses_only(server: Server, tmp_path: Path) -> None:
    assert fetch(source(server.url("moved")), tmp_path / "a")
    with pytest.raises(ValueError, match=r"http://example.org/data.bin is not an https address"):
        fetch(source(server.url("away")), tmp_path / "b")
    assert files(tmp_path / "b") == set()


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/hosts"])
def test_other_addresses_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="over https alone"):
        fetch(source(url), tmp_path)


def test_a_cut_connection_is_an_error_and_continued_later(server: Server, tmp_path: Path) -> None:
    server.cut_after = 1_500_000
    with pytest.raises(OSError, match=f"cut {len(CONTENT) - 1_500_000} bytes before the end"):
        fetch(source(server.url()), tmp_path)
    assert files(tmp_path) == {"data.bin.part"}
    server.cut_after = None
    (path,) = fetch(source(server.url()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [("/data.bin", None), ("/data.bin", "bytes=1500000-")]
    assert files(tmp_path) == {"data.bin"}


def test_a_server_that_cannot_continue_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.cut_after = 1000
    with pytest.raises(OSError, match="cut"):
        fetch(source(server.url()), tmp_path)
    server.cut_after, server.ranges = None, False
    (path,) = fetch(source(server.url()), tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("more", [b"", b"of another file"])
def test_a_part_that_has_no_rest_is_fetched_anew(
    server: Server, tmp_path: Path, more: bytes
) -> None:
    part = tmp_path / "set/folder/data.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + more)
    (path,) = fetch(source(server.url()), tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_part_of_another_file_is_removed(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "set/folder/data.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of another file")
    with pytest.raises(ValueError, match="not the file that was listed"):
        fetch(source(server.url()), tmp_path)
    assert files(tmp_path) == set()
    assert fetch(source(server.url()), tmp_path)


def test_a_wrong_hash_names_both(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"SHA-256 {HASH}, expected {'0' * 64}"):
        fetch(source(server.url(), "0" * 64), tmp_path)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("sha256", [HASH, None])
def test_more_than_was_listed_is_not_kept(
    server: Server, tmp_path: Path, sha256: str | None
) -> None:
    with pytest.raises(ValueError, match=f"more than the {len(CONTENT)} bytes that were listed"):
        fetch(source(server.url("endless"), sha256), tmp_path)
    assert files(tmp_path) == set()


def test_a_link_in_place_of_a_part_is_not_written_through(server: Server, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    part = tmp_path / "set/folder/data.bin.part"
    part.parent.mkdir(parents=True)
    part.symlink_to(mine)
    with pytest.raises(ValueError, match=r"data\.bin\.part is a link"):
        fetch(source(server.url()), tmp_path)
    assert mine.read_bytes() == b"mine"
    assert not part.with_name("data.bin").exists()
    assert server.asked == []


def test_a_link_to_nothing_in_place_of_a_file_is_replaced(server: Server, tmp_path: Path) -> None:
    link = tmp_path / "set/folder/data.bin"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    assert fetch(source(server.url()), tmp_path) == [link]
    assert not link.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("https://data.example/x", "http://127.0.0.1:80/x", "leads to this machine itself"),
        ("https://data.example/x", "https://localhost/x", "leads to this machine itself"),
        ("https://data.example/x", "http://data.example/x", "is not an https address"),
        ("https://data.example/x", "file:///etc/passwd", "is not an https address"),
    ],
)
def test_a_redirect_leads_to_no_other_kind_of_place(start: str, end: str, words: str) -> None:
    redirect = _Redirects().redirect_request
    with pytest.raises(ValueError, match=words):
        redirect(Request(start), None, 302, "Found", {}, end)
    other = redirect(Request(start), None, 302, "Found", {}, "https://other.example/x")
    assert other is not None  # its hash says whether it is the file


def test_a_file_that_is_there_and_wrong_stays(server: Server, tmp_path: Path) -> None:
    (path,) = fetch(source(server.url()), tmp_path)
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=f"expected {HASH}; move it away"):
        fetch(source(server.url()), tmp_path)
    assert path.read_bytes() == b"mine"
    assert len(server.asked) == 1


def test_a_file_that_cannot_be_fetched_says_what_to_put_where(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="404") as raised:
        fetch(source(server.url("gone")), tmp_path)
    for part in (str(tmp_path / "set/folder/data.bin"), HASH, str(len(CONTENT)), "A remark."):
        assert part in str(raised.value)
    server.server_close()
    with pytest.raises(OSError, match="put the file at"):
        fetch(source(server.url()), tmp_path)
    assert files(tmp_path) == set()


def test_a_file_put_by_hand_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "set/folder/data.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch(source("https://127.0.0.1:1/nothing"), tmp_path) == [path]


def test_an_unknown_hash_is_kept_and_checked(server: Server, tmp_path: Path) -> None:
    unknown = source(server.url(), sha256=None)
    (path,) = fetch(unknown, tmp_path)
    sums = tmp_path / "set/SHA256SUMS"
    assert sums.read_text() == f"{HASH}  folder/data.bin\n"
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "set", check=False)
    assert checked.returncode == 0
    path.write_bytes(b"other")
    with pytest.raises(ValueError, match=f"expected {HASH}"):
        fetch(unknown, tmp_path)
    assert sums.read_text() == f"{HASH}  folder/data.bin\n"


def test_halves_of_an_unknown_hash_are_not_joined(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "set/folder/data.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of another file")
    (path,) = fetch(source(server.url(), sha256=None), tmp_path)
    assert path.read_bytes() == CONTENT


def test_the_sources_are_pinned_or_say_that_they_are_not() -> None:
    sources = load_sources()
    known = {"mdqa", "mdqa_retrieved", "musique", "summhay", "flenqa", "wikipedia"}
    assert set(sources) == known
    for entry in sources.values():
        paths = [file.path for file in entry.files]
        assert len(set(paths)) == len(paths)
        for file in entry.files:
            assert file.url.startswith("https://")
            assert not Path(file.path).is_absolute()
            assert ".." not in file.path
            if file.sha256 is None:
                assert "No published hash" in entry.note
            else:
                assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
                assert re.search(r"/[0-9a-f]{40}/", file.url), "pinned to no commit"
                assert file.bytes


def test_the_command_says_what_is_wrong(root: Path) -> None:
    run = subprocess.run(
        [sys.executable, "scripts/download_source.py", "--source", "mdq"],
        cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert "wikipedia" in run.stderr


def test_the_command_lists_what_is_there(root: Path, tmp_path: Path) -> None:
    for file in load_sources()["wikipedia"].files:
        path = tmp_path / "wikipedia" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"put by hand")
    run = subprocess.run(
        [
            sys.executable, "scripts/download_source.py",
            "--source", "wikipedia", "--folder", str(tmp_path),
        ],
        cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(tmp_path / "wikipedia/psgs_w100.tsv.gz") in run.stdout
    assert "Karpukhin" in run.stdout
