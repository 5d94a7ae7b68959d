"""Archives are read member by member, within bounds; nothing in them says where a file goes."""

from __future__ import annotations

import gzip
import stat
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest

from needlework import given
from needlework.corpora.archives import only_member
from needlework.corpora.flenqa import flenqa

MOST = 1 << 20


def packed(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members with one name
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return path


def of_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def test_the_one_file_is_read_beside_its_folders(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", ("data/", b""), ("data/rows.jsonl", "Perú\n".encode()))
    assert only_member(path, MOST) == "Perú\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(
    "name", ["../rows.jsonl", "a/../../rows", "/etc/passwd", "..\\rows", "C:\\rows", "\\\\host\\a"]
)
def test_a_name_that_leads_away_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="leads out of its folder"):
        only_member(packed(tmp_path / "a.zip", (name, b"x")), MOST)
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_or_a_device_is_refused(tmp_path: Path, kind: int) -> None:
    info = of_mode("rows.jsonl", kind | 0o777)
    with pytest.raises(ValueError, match="is a link or a device"):
        only_member(packed(tmp_path / "a.zip", (info, b"/etc/passwd")), MOST)


@pytest.mark.parametrize(
    "members", [[], [("a", b"1"), ("b", b"2")], [("a", b"1"), ("a", b"2")], [("folder/", b"")]]
)
def test_any_other_number_of_files_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes]]
) -> None:
    with pytest.raises(ValueError, match=r"holds \d files.*expected one"):
        only_member(packed(tmp_path / "a.zip", *members), MOST)


def test_a_bomb_is_refused_by_what_it_says_of_itself(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", ("rows", bytes(100 * MOST)))
    assert path.stat().st_size < MOST
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"unpacks to {100 * MOST} bytes, expected at most {MOST}"):
        only_member(path, MOST)
    assert tracemalloc.get_traced_memory()[1] < MOST
    tracemalloc.stop()


def test_a_bomb_that_lies_about_its_size_is_read_no_further(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", ("rows", bytes(100 * MOST)))
    content = path.read_bytes()
    said = struct.pack("<I", 100 * MOST)
    assert content.count(said) == 2  # in the member's head, and in the archive's list
    path.write_bytes(content.replace(said, struct.pack("<I", 10)))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a\.zip: .*(CRC|size)"):
        only_member(path, MOST)
    assert tracemalloc.get_traced_memory()[1] < 10 * MOST
    tracemalloc.stop()


@pytest.mark.parametrize("damage", ["cut", "text", "changed", "encrypted", "latin"])
def test_what_is_no_whole_archive_of_text_says_so(tmp_path: Path, damage: str) -> None:
    content = "Perú".encode("latin-1") if damage == "latin" else b"some rows" * 99
    path = packed(tmp_path / "a.zip", ("rows", content))
    whole = bytearray(path.read_bytes())
    if damage == "changed":
        whole[40] ^= 255
    if damage == "encrypted":
        whole[6] |= 1
        whole[whole.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes({"cut": bytes(whole[:-30]), "text": b"rows"}.get(damage, bytes(whole)))
    with pytest.raises(ValueError, match=r"a\.zip: .*(no whole zip|encrypted|not UTF-8)"):
        only_member(path, MOST)


def test_flenqa_reads_archives_so(tmp_path: Path) -> None:
    path = packed(tmp_path / "FLenQA.zip", ("a.jsonl", b"{}\n"), ("b.jsonl", b"{}\n"))
    with pytest.raises(ValueError, match=r"FLenQA\.zip: holds 2 files"):
        flenqa(test=1, seed=1, path=path)


def test_a_gzip_bomb_is_refused_after_a_bounded_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(160):
            file.write(b" " * (1 << 20))  # one line of 160 MiB
    assert path.stat().st_size < MOST
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"rows\.jsonl\.gz"):
        list(given.rows(path))
    assert tracemalloc.get_traced_memory()[1] < 3 * given.LINE
    tracemalloc.stop()
