"""The text in an archive of one file, whose members are checked before anything is unpacked."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

_MOST = 2**29  # bytes of a member; the largest that a task reads has 88 million


def only_member(path: Path, most: int = _MOST) -> str:
    """The text of the one file in a zip archive; it is read into memory, and nothing is written.

    Raises:
        ValueError: it is no whole zip archive; it holds another number of files, a link, or a name
            that leads out of a folder; or the file is encrypted, larger than `most` bytes, packed
            by a method that Python does not know, or not UTF-8. The message names the member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = _only(archive, path)
            _check(member, path, most)
            with archive.open(member) as file:
                content = file.read(most + 1)  # what the archive says of its size may be false
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path}: is no whole zip archive: {error}; fetch it again") from error
    if len(content) != member.file_size:
        raise ValueError(f"{path}: {member.filename!r} has another size than the archive says")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {member.filename!r} is not UTF-8: {error}") from error


def _only(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        some = ", ".join(repr(member.filename[:80]) for member in members[:3])
        raise ValueError(
            f"{path}: holds {len(members)} files{some and f' ({some} ...)'}, expected one; unpack "
            "it and name the file with the rows"
        )
    return members[0]


def _check(member: zipfile.ZipInfo, path: Path, most: int) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in member.filename:
        raise ValueError(f"{path}: the name {member.filename[:80]!r} leads out of its folder")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):  # 0: made where files have no Unix mode
        raise ValueError(f"{path}: {member.filename!r} is a link or a device, expected a file")
    if member.flag_bits & 1:
        raise ValueError(f"{path}: {member.filename!r} is encrypted; unpack it and name the file")
    if member.file_size > most:
        raise ValueError(
            f"{path}: {member.filename!r} unpacks to {member.file_size} bytes, expected at most "
            f"{most}; is it the right archive?"
        )
