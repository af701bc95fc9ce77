"""Files are written whole or not at all, and what cannot be written is said in words."""

import os
from pathlib import Path

import pytest

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.reporting.files import write_text


def test_written_through_a_temporary_file(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    assert write_text(target, "one\ntwo ± \ud800") == target
    assert target.read_bytes() == "one\ntwo ± \\ud800".encode()
    assert os.listdir(target.parent) == ["a.txt"]


def test_an_old_file_is_replaced(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("a much longer old text", encoding="utf-8")
    write_text(target, "new")
    assert target.read_text(encoding="utf-8") == "new"


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "a.txt", tmp_path / "b.txt"
    target.write_text("old", encoding="utf-8")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"


def test_a_directory_is_refused_with_a_better_path(tmp_path):
    with pytest.raises(UsageError, match=r"it is a directory\nAllowed: the path of a file\.\nWrite .*report\.html"):
        write_text(tmp_path, "x")


def test_a_device_is_refused():
    with pytest.raises(UsageError, match="not a regular file"):
        write_text(Path(os.devnull), "x")


def test_a_path_below_a_file_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "x")
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file_and_no_remains(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    target.write_text("old", encoding="utf-8")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_text(target, "new")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert target.read_text(encoding="utf-8") == "old"
