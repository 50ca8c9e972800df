"""What a person sees of a call that waits for approval (H11)."""

from __future__ import annotations

from pathlib import Path

from orchestra.agents.tools.people import show_call


def test_a_change_of_a_file_is_shown_as_a_diff(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    folders = {"": tmp_path}
    edit = show_call("edit-file", {"path": "a.txt", "old_string": "two", "new_string": "2"}, folders)
    assert edit == "a.txt\n\n```diff\n-two\n+2\n```"
    write = show_call("write-file", {"path": "a.txt", "content": "one\n2\nthree\n"}, folders)
    assert write == "a.txt\n\n```diff\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n```"
    absolute = show_call("write-file", {"file_path": str(tmp_path / "a.txt"), "content": "one\n"}, folders)
    assert "-two" in absolute
    same = show_call("write-file", {"path": "a.txt", "content": "one\ntwo\nthree\n"}, folders)
    assert same == "a.txt\n\n```diff\n\n```"


def test_a_new_file_and_one_outside_are_shown_by_their_arguments(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    (tmp_path / "work").mkdir()
    for path in ("new.txt", "../secret", "/etc/hostname"):
        text = show_call("write-file", {"path": path, "content": "x"}, {"": tmp_path / "work"})
        assert text == f"path\n\n```\n{path}\n```\n\ncontent\n\n```\nx\n```"
