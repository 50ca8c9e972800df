from __future__ import annotations

import os
from pathlib import Path

import pytest
from toolbox import Box, repository


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_a_file_is_read_with_line_numbers(box: Box) -> None:
    (box.folder / "a.py").write_text("one\ntwo\nthree\n")
    assert box.run("read-file", path="a.py").text == "     1\tone\n     2\ttwo\n     3\tthree"


def test_a_range_of_lines_is_read_and_says_what_is_left(box: Box) -> None:
    (box.folder / "a.py").write_text("".join(f"line {n}\n" for n in range(1, 11)))
    text = box.run("read-file", path="a.py", offset=3, limit=2).text
    assert text.startswith("     3\tline 3\n     4\tline 4\n")
    assert "offset=5" in text


def test_an_absolute_path_inside_is_fine(box: Box) -> None:
    (box.folder / "a.py").write_text("one\n")
    assert not box.run("read-file", path=str(box.folder / "a.py")).is_error


def test_a_binary_file_is_refused_with_its_size(box: Box) -> None:
    (box.folder / "a.bin").write_bytes(b"\x7fELF\0\0" + b"x" * 94)
    result = box.run("read-file", path="a.bin")
    assert result.is_error
    assert "100 bytes" in result.text


def test_a_new_file_is_written_with_the_folders_on_the_way(box: Box) -> None:
    result = box.run("write-file", path="deep/er/a.txt", content="hello\n")
    assert result.files_written == ("deep/er/a.txt",)
    assert (box.folder / "deep/er/a.txt").read_text() == "hello\n"


def test_an_existing_file_is_not_overwritten_before_it_was_read(box: Box) -> None:
    (box.folder / "a.txt").write_text("precious\n")
    refused = box.run("write-file", path="a.txt", content="x")
    assert refused.is_error
    assert "read-file" in refused.text
    box.run("read-file", path="a.txt")
    assert not box.run("write-file", path="a.txt", content="x").is_error
    assert not box.run("write-file", path="a.txt", content="y").is_error


def test_a_file_that_was_changed_from_outside_has_to_be_read_again(box: Box) -> None:
    (box.folder / "a.txt").write_text("one\n")
    box.run("read-file", path="a.txt")
    (box.folder / "a.txt").write_text("another\n")
    assert "changed since" in box.run("edit-file", path="a.txt", old_string="one", new_string="x").text


def test_an_edit_replaces_exactly_one_place(box: Box) -> None:
    (box.folder / "a.py").write_text("a = 1\nb = 2\n")
    box.run("read-file", path="a.py")
    result = box.run("edit-file", path="a.py", old_string="a = 1", new_string="a = 3")
    assert not result.is_error
    assert (box.folder / "a.py").read_text() == "a = 3\nb = 2\n"


def test_an_edit_of_a_text_that_is_there_twice_names_the_lines(box: Box) -> None:
    (box.folder / "a.py").write_text("x\ny\nx\n")
    box.run("read-file", path="a.py")
    refused = box.run("edit-file", path="a.py", old_string="x", new_string="z")
    assert refused.is_error
    assert "1, 3" in refused.text
    assert not box.run("edit-file", path="a.py", old_string="x", new_string="z", replace_all=True).is_error
    assert (box.folder / "a.py").read_text() == "z\ny\nz\n"


def test_a_missing_text_is_answered_with_near_matches(box: Box) -> None:
    (box.folder / "a.py").write_text("def add(a, b):\n    return a - b\n")
    box.run("read-file", path="a.py")
    spaces = box.run("edit-file", path="a.py", old_string="def add(a, b):\n  return a - b", new_string="")
    assert "white space" in spaces.text
    near = box.run("edit-file", path="a.py", old_string="    return a + b", new_string="")
    assert "     2\t    return a - b" in near.text
    numbered = box.run("edit-file", path="a.py", old_string="     2\t    return a - b", new_string="")
    assert "line numbers" in numbered.text


def test_line_ends_encoding_mark_and_permissions_are_kept(box: Box) -> None:
    windows, latin, wide = box.folder / "w.txt", box.folder / "l.txt", box.folder / "u.txt"
    windows.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    latin.write_bytes("caf\u00e9 one\n".encode("latin-1"))
    wide.write_bytes(b"\xff\xfe" + "one\r\n".encode("utf-16-le"))
    windows.chmod(0o755)
    for name in ("w.txt", "l.txt", "u.txt"):
        assert not box.run("read-file", path=name).is_error
    assert not box.run("edit-file", path="w.txt", old_string="one\ntwo", new_string="1\n2").is_error
    assert not box.run("edit-file", path="l.txt", old_string="one", new_string="\u00e8").is_error
    assert not box.run("write-file", path="u.txt", content="two\n").is_error
    assert windows.read_bytes() == b"\xef\xbb\xbf1\r\n2\r\n"
    assert windows.stat().st_mode & 0o777 == 0o755
    assert latin.read_bytes() == "caf\u00e9 \u00e8\n".encode("latin-1")
    assert wide.read_bytes() == b"\xff\xfe" + "two\r\n".encode("utf-16-le")
    assert "latin-1" in box.run("edit-file", path="l.txt", old_string="caf", new_string="\u20ac").text


def test_files_are_listed_by_glob(box: Box) -> None:
    for name in ("a.py", "src/b.py", "src/deep/c.py", "src/d.txt", ".git/config", ".hidden"):
        (box.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (box.folder / name).write_text("")
    assert box.run("list-files", pattern="**/*.py").text.split() == ["a.py", "src/b.py", "src/deep/c.py"]
    assert box.run("list-files", pattern="*.py", path="src").text.split() == ["src/b.py", "src/deep/c.py"]
    assert box.run("list-files", pattern="src/*.{py,txt}").text.split() == ["src/b.py", "src/d.txt"]
    assert ".git/config" not in box.run("list-files").text


@pytest.mark.parametrize("present", [True, False])
def test_code_is_searched_with_and_without_ripgrep(
    box: Box, present: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestra.agents.tools import search

    if present and search.ripgrep() is None:
        pytest.skip("no ripgrep")
    if not present:
        monkeypatch.setattr(search, "ripgrep", lambda: None)
    for name, text in (("a.py", "x = 1\nfoo(2)\n"), ("b/c.txt", "foo(3)\n"), (".git/x", "foo(4)\n")):
        (box.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (box.folder / name).write_text(text)
    assert box.run("search-code", pattern=r"foo\(\d").text.split("\n") == ["a.py:2:foo(2)", "b/c.txt:1:foo(3)"]
    assert box.run("search-code", pattern="foo", glob="*.py").text == "a.py:2:foo(2)"
    assert box.run("search-code", pattern="foo", path="b").text == "b/c.txt:1:foo(3)"
    assert box.run("search-code", pattern="foo", path="b/c.txt").text == "b/c.txt:1:foo(3)"
    assert "no match" in box.run("search-code", pattern="nothing").text
    assert box.run("search-code", pattern="(").is_error


def test_a_command_returns_its_output_and_exit_code(box: Box) -> None:
    assert box.run("shell", command="echo hello").text == "hello"
    failed = box.run("shell", command="echo bad >&2; exit 3")
    assert failed.is_error
    assert failed.text == "bad\n[exit code 3]"
    assert box.run("shell", command="true").text == "[no output, exit code 0]"


def test_a_command_is_ended_when_its_time_is_up(box: Box) -> None:
    result = box.run("shell", command="echo begun; sleep 60", timeout=1)
    assert result.is_error
    assert result.text.startswith("begun")
    assert "timed out after 1 seconds" in result.text


def test_the_marker_is_durable_before_the_first_process_starts(box: Box) -> None:
    box.run("shell", command="true")
    assert box.scope.settled == 1
    assert box.scope.events[0].marker == box.context.marker


def test_wrong_arguments_are_reported_and_nothing_is_done(box: Box) -> None:
    assert "path" in box.run("read-file").text
    assert box.run("read-file", path="a", nonsense=1).is_error
    assert box.run("read-file", path=7).is_error
    assert "unknown tool" in box.run("teleport").text


def test_a_long_output_is_cut_at_both_ends_and_kept_whole(box: Box) -> None:
    result = box.run("shell", command="seq 1 100000")
    assert len(result.text) < 31_000
    assert result.text.startswith("1\n2\n")
    assert result.text.endswith("99999\n100000")
    assert "characters left out; all 588894 bytes are recorded" in result.text
    whole = b"".join(box.scope.blobs[part.hash] for part in result.parts)
    assert whole.startswith(b"1\n2\n")
    assert whole.endswith(b"\n100000")


def test_what_was_cut_is_read_by_range_and_by_text(box: Box) -> None:
    cut = box.run("shell", command="seq 1 100000; echo oops >&2")
    name = cut.text.partition("read-output(output='")[2][:8]
    whole = "".join(f"{n}\n" for n in range(1, 100001))
    read = box.run("read-output", output=name, offset=300_000, limit=1000)
    heading, _, text = read.text.partition("\n")
    assert heading == "[characters 300000 to 301000 of 588908; the next begin at offset 301000]"
    assert text == whole[300_000:301_000]
    everything, offset = "", 0
    while offset < 588_908:
        page = box.run("read-output", output=name, offset=offset)
        assert "left out" not in page.text
        everything += page.text.partition("\n")[2]
        offset = len(everything)
    assert everything == f"{whole}[stderr]\noops"
    assert box.run("read-output", output=name, contains="oops").text == "588904: oops"
    many = box.run("read-output", output=name, contains="7", limit=200).text.splitlines()
    assert many[1:3] == ["12: 7", "39: 17"]
    assert many[0].startswith("[there are more of them from offset ")
    assert box.run("read-output", output="deadbeef").is_error
    assert name in box.run("read-output", output="deadbeef").text


def test_both_streams_are_kept_whole_when_one_is_long(box: Box) -> None:
    result = box.run("shell", command="echo first; yes | head -c 2000000 >&2")
    assert sum(part.size for part in result.parts) == result.size == 2_000_006
    result = box.run("shell", command="yes | head -c 2000000; echo last >&2")
    assert box.scope.blobs[result.parts[-1].hash] == b"last\n"


def test_shell_reports_the_files_that_changed_in_a_repository(box: Box) -> None:
    for name in ("same", "changed", "gone", "dirty", "b c"):
        (box.folder / name).write_text(name)
    (box.folder / ".gitignore").write_text("ignored\n")
    repository(box.folder)
    (box.folder / "dirty").write_text("already changed")
    tracked = Box(box.folder)
    command = "echo x > changed; rm gone; mkdir d; echo y > d/new; echo z > ignored; echo w > 'b c'; cat same dirty"
    assert tracked.run("shell", command=command).files_written == ("b c", "changed", "d/new", "gone")
    assert tracked.run("shell", command="echo more >> dirty").files_written == ("dirty",)
    assert tracked.run("shell", command="git add -A; git commit -qm x").files_written == (
        "b c",
        "changed",
        "d/new",
        "dirty",
        "gone",
    )
    assert tracked.run("shell", command="cat same").files_written == ()


def test_shell_reports_the_files_that_changed_without_a_repository(box: Box) -> None:
    (box.folder / "same").write_text("same")
    (box.folder / "old").write_text("old")
    assert box.run("shell", command="echo x > new; echo y >> old; cat same; mkdir e").files_written == (
        "new",
        "old",
    )
    assert box.run("shell", command="echo z > n2; touch -d '2001-01-01' n2").files_written == ("n2",)


def test_with_several_repositories_tools_and_files_carry_the_repository(tmp_path: Path) -> None:
    repos = {name: tmp_path / name for name in ("front", "back")}
    for folder in repos.values():
        folder.mkdir()
    box = Box(tmp_path, repos=repos)
    assert "back:shell" in box.tools
    assert box.run("back:write-file", path="x", content="1").files_written == ("back:x",)
    assert box.run("front:shell", command="echo 1 > y; echo 2 > ../back/x").files_written == ("back:x", "front:y")


def test_pipes_and_devices_are_refused_and_do_not_block(box: Box) -> None:
    os.mkfifo(box.folder / "pipe")
    assert "not a regular file" in box.run("read-file", path="pipe").text


def test_the_settings_say_how_long_a_command_may_take(box: Box) -> None:
    box.context.seconds = {"shell": 1.0}
    assert "timed out after 1 seconds" in box.run("shell", command="sleep 30").text
