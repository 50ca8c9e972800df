"""Whatever a value says, a shell gets it as data: every payload in every place that a value can be put."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from payloads import payloads
from shells import executed, node, tool, tooled

from orchestra.run.events import StageFailed, ToolExecuted, ToolStarted
from orchestra.run.outcome import Json

PAYLOADS = payloads()
NAMED: dict[str, Json] = {f"p{number}": payload for number, payload in enumerate(PAYLOADS)}
PLACES = {
    "bare": ("printf '%s\\0' {{ p }}", "@"),
    "bare beside text": ("printf '%s\\0' --x={{ p }}/y", "--x=@/y"),
    "an assignment": ("x={{ p }}; printf '%s\\0' \"$x\"", "@"),
    "double quotes": ("printf '%s\\0' \"a {{ p }}b\"", "a @b"),
    "single quotes": ("printf '%s\\0' 'a \"{{ p }}\"b'", 'a "@"b'),
    "an unquoted here-document": ("cat <<END\n'{{ p }}\"\nEND\nprintf '\\0'", "'@\"\n"),
    "an argument of another shell": ('sh -c \'printf "%s\\0" "$1"\' sh {{ p }}', "@"),
}
SHELLS = {"dash": "dash", "bash": "bash", "bash as sh": "bash"}


def shell(name: str, folder: Path) -> str:
    found = shutil.which(SHELLS[name])
    if found is None:
        pytest.skip(f"there is no {name} here")
    if name != "bash as sh":
        return found
    (folder / "sh").symlink_to(found)
    return str(folder / "sh")


def test_there_are_five_hundred_payloads_and_most_would_run_something() -> None:
    assert len(set(PAYLOADS)) == 500
    assert sum("touch PWNED" in payload for payload in PAYLOADS) > 250


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("place", PLACES)
async def test_no_payload_is_run_and_each_arrives_byte_for_byte(place: str, name: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    written, expected = PLACES[place]
    program = place == "an argument of another shell"  # a process for each: a tenth of them
    names = list(NAMED)[:: 10 if program else 1]
    lines = "\n".join(written.replace("{{ p }}", f"{{{{ {name} }}}}") for name in names)
    handler = tool(work, shell=shell(name, tmp_path))
    session = await tooled(node(f"exec > ../out\n{lines}"), work, NAMED, handler)
    event = executed(session)
    assert (event.exit_code, event.stderr) == (0, "")
    arrived = (tmp_path / "out").read_bytes().split(b"\0")[:-1]
    wanted = [expected.replace("@", str(NAMED[name])).encode() for name in names]
    assert len(arrived) == len(wanted)
    assert [(got, want) for got, want in zip(arrived, wanted, strict=True) if got != want] == []
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("name", SHELLS)
async def test_a_value_is_not_read_again_for_expressions(name: str, tmp_path: Path) -> None:
    values: dict[str, Json] = {"a": "{{ b }}", "b": "{{ a | raw }}"}
    handler = tool(tmp_path, shell=shell(name, tmp_path))
    session = await tooled(node("printf '%s ' {{ a }} {{ b }}"), tmp_path, values, handler)
    assert executed(session).output == "{{ b }} {{ a | raw }} "


@pytest.mark.parametrize(
    "command",
    [
        "x=$(cat {{ p }})",
        "x=`cat {{ p }}`",
        'echo "$(cat "{{ p }}")"',
        "eval {{ p }}",
        "sh -c '{{ p }}'",
        "cat <<'END'\n{{ p }}\nEND",
        "echo $(({{ p }}))",
    ],
)
async def test_where_a_value_would_be_run_nothing_is(command: str, tmp_path: Path) -> None:
    session = await tooled(node(command, "max_retries=2"), tmp_path, {"p": "touch PWNED"})
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    assert failed.failure_class == "terminal"
    assert session.of(ToolStarted, ToolExecuted) == []


async def test_a_raw_value_becomes_part_of_the_command(tmp_path: Path) -> None:
    session = await tooled(
        node("{{ command | raw }} && echo {{ command }}"), tmp_path, {"command": "printf x; true"}
    )
    assert executed(session).output == "xprintf x; true\n"


async def test_everyday_shell_is_left_alone(tmp_path: Path) -> None:
    command = """a='{{.State}} {{ .Names }} {{ end }} {{json .}}'; printf '%s\\n' "$a" ${#a} $((1+1))
cat <<END
{{.Id}} $a {{ if }}
END
set -- a b; echo "$#" "${1}" "$(echo '{{ .here }}')" `echo "}}{{"`
"""
    session = await tooled(node(command.replace("{{ if }}", "{{ if .x }}")), tmp_path)
    words = "{{.State}} {{ .Names }} {{ end }} {{json .}}"
    assert executed(session).output == (
        f"{words}\n{len(words)}\n2\n{{{{.Id}}}} {words} {{{{ if .x }}}}\n2 a {{{{ .here }}}} }}}}{{{{\n"
    )


# --- large and odd values ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHELLS)
async def test_values_too_large_for_the_environment_arrive_byte_for_byte(name: str, tmp_path: Path) -> None:
    values: dict[str, Json] = {"big": "é'$(x)\"\\ \n" * 30_000 + "\n\n"}
    handler = tool(tmp_path, shell=shell(name, tmp_path))
    command = 'printf %s {{ big }} > bare; cat > here <<END\n{{ big }}\nEND\nprintf %s "{{ big }}" > double'
    session = await tooled(node(command), tmp_path, values, handler)
    assert executed(session).exit_code == 0
    expected = str(values["big"]).encode()
    assert (tmp_path / "bare").read_bytes() == (tmp_path / "double").read_bytes() == expected
    assert (tmp_path / "here").read_bytes() == expected + b"\n"


async def test_many_values_that_together_are_too_large_arrive_too(tmp_path: Path) -> None:
    values: dict[str, Json] = {f"v{number}": str(number) * 60_000 for number in range(10, 40)}
    lines = "; ".join(f"printf %s {{{{ {name} }}}}" for name in values)
    session = await tooled(node(f"{{ {lines}; }} > out"), tmp_path, values)
    assert executed(session).exit_code == 0
    assert (tmp_path / "out").read_text() == "".join(str(value) for value in values.values())


async def test_a_command_too_large_for_an_argument_is_run_too(tmp_path: Path) -> None:
    command = "\n".join(f"echo {number} {'x' * 50}" for number in range(4000)) + "\necho {{ word }} > out"
    session = await tooled(node(command), tmp_path, {"word": "it's"})
    assert executed(session).exit_code == 0
    assert (tmp_path / "out").read_text() == "it's\n"


async def test_a_value_with_a_nul_character_fails_the_node(tmp_path: Path) -> None:
    session = await tooled(node("echo {{ p }}"), tmp_path, {"p": "a\0b"})
    assert not session.of(ToolStarted)
    assert session.result is not None
    assert "NUL" in session.result.text


@pytest.mark.parametrize(
    ("value", "printed"),
    [(True, "true"), (3, "3"), (2.0, "2"), (None, ""), (["a", {"b": 1}], '["a",{"b":1}]')],
)
async def test_a_value_prints_as_in_a_condition(value: Json, printed: str, tmp_path: Path) -> None:
    session = await tooled(node("printf '<%s>' {{ p }}"), tmp_path, {"p": value})
    assert executed(session).output == f"<{printed}>"


@pytest.mark.parametrize("name", ["p.list.1.name", "context.p.list.1.name"])
async def test_a_dotted_name_reaches_into_a_value(name: str, tmp_path: Path) -> None:
    values: dict[str, Json] = {"p": {"list": ["a", {"name": "it's"}]}}
    session = await tooled(node(f"printf %s {{{{ {name} }}}}"), tmp_path, values)
    assert executed(session).output == "it's"


@pytest.mark.parametrize("name", ["context.nothing", "tools.later.output", "graph.nothing", "p.deeper"])
async def test_a_name_without_a_value_fails_the_node_before_anything_is_run(name: str, tmp_path: Path) -> None:
    session = await tooled(node(f"rm -rf {{{{ {name} }}}}/x"), tmp_path, {"p": "text"})
    assert not session.of(ToolStarted)
    assert session.result is not None
    assert name in session.result.text


async def test_keys_that_a_run_sets_later_are_empty_at_first(tmp_path: Path) -> None:
    session = await tooled(node("printf '<%s%s>' {{ last_response }} {{ current_node }}"), tmp_path)
    assert executed(session).output == "<t>"
