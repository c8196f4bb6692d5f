"""Rows in and out of files: nothing lost between the two, line numbers right, and folders that appear whole or not at all."""

import errno
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_prep import files
from data_prep.records import BadInput, Reject

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(contents=st.lists(JSON, max_size=5))
@example(contents=["line\nbreak", "\u2028", "\u0085", "\r\n", "\ufeff", "\0", "السؤال", "\ud83d"])
def test_what_is_written_is_read(contents: list[object]) -> None:
    """Separators inside a text (U+2028, U+0085) must not cut a row in two, half an emoji must not stop the write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep" / "rows.jsonl"
        assert files.write_jsonl(path, [{"content": content} for content in contents]) == len(contents)
        assert list(files.read_jsonl(path)) == [(number, {"content": content}) for number, content in enumerate(contents, start=1)]
        assert path.read_bytes().count(b"\n") == len(contents)


def test_real_characters(tmp_path: Path) -> None:
    """Arabic as `\\u0627` is five times as long and cannot be reviewed."""
    files.write_jsonl(tmp_path / "rows.jsonl", [{"content": "قلب"}])
    files.write_json(tmp_path / "value.json", {"content": "قلب"})
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8") == '{"content": "قلب"}\n'
    assert (tmp_path / "value.json").read_text(encoding="utf-8") == '{\n  "content": "قلب"\n}\n'


@given(lines=st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=6))
@example(lines=[b"\xff", b"[]", b"{}", b"", b" \t\r", b"{", b'"text"', b"NaN", b"1" * 5000])
def test_no_line_goes_missing(lines: list[bytes]) -> None:
    """Whatever a line holds, it comes as an object or as a reject with its number; blank lines alone are passed over."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b"\n".join(lines))
        found = list(files.read_jsonl(path))
    assert [number for number, _ in found] == [number for number, line in enumerate(lines, start=1) if line.strip()]
    for number, row in found:
        if isinstance(row, Reject):
            assert (row.reason, row.file, row.row) == ("malformed_json", "rows.jsonl", number)
            assert row.content == lines[number - 1].decode("utf-8", "backslashreplace")  # kept whole, so that it can be mended
        else:
            assert row == json.loads(lines[number - 1].decode("utf-8-sig"))


def test_windows_files_are_read(tmp_path: Path) -> None:
    """A byte order mark and CRLF are how Windows writes; the rows are good rows."""
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r\n')
    (tmp_path / "value.json").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert list(files.read_jsonl(tmp_path / "rows.jsonl")) == [(1, {"a": 1}), (3, {"a": 2})]
    assert files.read_json(tmp_path / "value.json") == {"a": 1}


def test_sha256_is_that_of_sha256sum(tmp_path: Path) -> None:
    """The manifest's hash must be the one that `sha256sum` prints."""
    (tmp_path / "file").write_bytes(b"abc")
    assert files.sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), PermissionError(errno.EACCES, "no")])
@pytest.mark.parametrize("before", [True, False])
def test_a_failed_write_leaves_what_was(tmp_path: Path, error: BaseException, before: bool) -> None:
    """Ctrl-C or a bug half-way: the old folder stays, no new one appears, and nothing is left beside it."""
    folder = tmp_path / "deep" / "out"
    if before:
        folder.mkdir(parents=True)
        (folder / "old").write_text("good")
    with pytest.raises(type(error)), files.written_aside(folder) as aside:
        (aside / "new").write_text("half")
        raise error
    assert [path.name for path in folder.rglob("*")] == (["old"] if before else [])
    assert list(folder.parent.iterdir()) == ([folder] if before else [])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_each_error_of_a_full_disk_is_told(tmp_path: Path, code: int) -> None:
    """A full disk, a spent quota and a file-size limit are the same trouble to the user and get the same message."""
    with pytest.raises(BadInput, match="no room to write .* nothing was changed; make room"), files.written_aside(tmp_path / "out"):
        raise OSError(code, "full")
    assert list(tmp_path.iterdir()) == []


def test_a_whole_write_takes_the_place(tmp_path: Path) -> None:
    """The new folder replaces the old one as a whole and can be read by others than its writer."""
    folder = tmp_path / "out"
    for name in ("first", "second"):
        with files.written_aside(folder) as aside:
            (aside / name).write_text(name)
            assert not (folder / name).exists()
            inode = aside.stat().st_ino
        assert folder.stat().st_ino == inode  # renamed in one step: a copy could be seen half-way
    assert [path.name for path in folder.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [folder]
    assert folder.stat().st_mode & 0o777 == 0o755
