"""Values in shell commands."""

from __future__ import annotations

import pytest
from lint_cases import flow, found, marked, severities

from orchestra.errors import Severity

NODE = (
    'start [shape=Mdiamond]\nexit [shape=Msquare]\nstart -> t -> exit\nt [shape=parallelogram, tool_command="{}"]'
)


def written(command: str) -> str:
    return NODE.replace("{}", command.replace("\\", "\\\\").replace('"', '\\"'))


@pytest.mark.parametrize(
    "command",
    [
        "x=$(cat {{ last_response }})",
        'echo "today: $(echo "{{ graph.goal }}")"',
        "x=`echo {{ last_response }}`",
        "eval {{ last_response }}",
        'if true; then eval "run {{ tools.a.output }}"; fi',
        "sh -c 'echo {{ last_response }}'",
        'bash -lc "echo {{ human.gate.text }}"',
        "/bin/sh -ec 'echo {{ last_response }}'",
        "docker run image sh -c 'echo {{ last_response }}'",
        "cat <<'END'\n{{ last_response }}\nEND",
        "x=$(echo '{{ name }}')",
    ],
)
def test_a_value_where_it_would_be_run_is_an_error_at_its_place(command: str) -> None:
    diagnostics = found(written(command), "untrusted_shell")
    assert [(d.rule, d.severity) for d in diagnostics] == [("untrusted_shell", Severity.ERROR)]
    assert marked(diagnostics)[0].startswith("{{")


@pytest.mark.parametrize(
    "command",
    [
        "echo {{ last_response }}",
        'echo "{{ last_response }}"',
        "echo '{{ last_response }}'",
        "cat <<END\n{{ last_response }}\nEND",
        "sh -c 'echo \"$1\"' sh {{ last_response }}",
        "python3 -c 'import sys; print(sys.argv[1])' {{ last_response }}",
        "docker ps --format '{{.Names}}' && x=$(docker inspect -f '{{ .State }}' a)",
        "echo {{ version }} '{{ user.name }}'",
        "echo ${#list[@]} {{",
        "make test",
        "echo {{ graph.goal | raw }} {{ run.id | raw }}",
    ],
)
def test_a_value_that_stays_data_is_fine(command: str) -> None:
    assert not found(written(command))


@pytest.mark.parametrize(
    "name",
    [
        "last_response",
        "responses.plan",
        "human.gate.text",
        "parallel.results",
        "tool.output",
        "tools.a.output",
        "context.plan",
        "outcome",
        "preferred_label",
        "stack.child.status",
    ],
)
def test_a_raw_value_that_an_llm_or_a_person_may_have_written_is_a_warning(name: str) -> None:
    diagnostics = found(written(f"echo {{{{ {name} | raw }}}}"), "untrusted_shell")
    assert [(d.rule, d.severity) for d in diagnostics] == [("untrusted_shell", Severity.WARNING)]
    assert marked(diagnostics) == [f"{{{{ {name} | raw }}}}"]


@pytest.mark.parametrize(
    "command",
    [
        "python3 -c 'print(\"{{ last_response }}\")'",
        "perl -e 'print \"{{ last_response }}\"'",
        "ssh host echo {{ last_response }}",
        "sh <<END\necho {{ last_response }}\nEND",
    ],
)
def test_a_value_in_the_code_of_another_program_is_a_warning(command: str) -> None:
    assert severities(found(written(command), "untrusted_shell")) == [Severity.WARNING]


def test_variables_of_the_run_are_trusted_when_they_are_known() -> None:
    assert severities(found(written("echo {{ branch | raw }}"))) == [Severity.WARNING]
    assert not found(written("echo {{ branch | raw }}"), variables={"branch"})


@pytest.mark.parametrize("more", ['t -> a -> t\na [prompt="x"]', "t -> a -> t\na [shape=hexagon]"])
def test_a_variable_that_an_agent_or_a_person_may_have_overwritten_is_not_trusted(more: str) -> None:
    raw = written("echo {{ branch | raw }}") + "\n" + more
    diagnostics = found(raw, "untrusted_shell", variables={"branch"})
    assert severities(diagnostics) == [Severity.WARNING]
    assert "run.vars.branch" in diagnostics[0].fix
    assert not found(raw.replace("branch |", "run.vars.branch |"), "untrusted_shell", variables={"branch"})
    assert not found(raw.replace(" | raw", ""), "untrusted_shell", variables={"branch"})


@pytest.mark.parametrize(
    "name", "graph.goal run.id run.vars.branch internal.visits.t current_node last_stage".split()
)
def test_a_raw_value_that_only_the_author_or_the_engine_writes_is_fine(name: str) -> None:
    assert not found(written(f"echo {{{{ {name} | raw }}}}") + '\nt -> a -> t\na [prompt="x"]', "untrusted_shell")


def test_every_value_is_reported_at_its_own_place() -> None:
    diagnostics = found(written('echo "{{ last_response }}" $(x "{{ last_response }}") `{{ last_response }}`'))
    starts = [d.span.start for d in diagnostics if d.span is not None]
    assert len(set(starts)) == len(starts) == 2
    assert set(marked(diagnostics)) == {"{{ last_response }}"}


def test_a_command_of_another_node_is_none() -> None:
    body = written("x=$(cat {{ last_response }})").replace("shape=parallelogram", 'prompt="x"')
    assert not found(body, "untrusted_shell")


@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        ("echo $goal", "$goal", "graph.goal"),
        ('printf %s "for ${goal}!"', "${goal}", "graph.goal"),
        ("cat <<EOF\n$goal\nEOF", "$goal", "graph.goal"),
        ("echo {{goal}}", "{{goal}}", "graph.goal"),
        ("deploy --target=$target", "$target", "target"),
        ("echo \\$x $goal", "$goal", "graph.goal"),
    ],
)
def test_a_variable_that_only_prompts_have_is_pointed_out(command: str, name: str, value: str) -> None:
    (diagnostic,) = found(written(command), variables=["target"])
    assert (diagnostic.rule, diagnostic.severity) == ("prompt_variable", Severity.WARNING)
    assert diagnostic.fix == f"write {{{{ {value} }}}}"
    assert marked([diagnostic]) == [name]


@pytest.mark.parametrize(
    "command",
    [
        "goal=x; echo $goal",
        "for goal in a b; do echo $goal; done",
        "while read -r goal; do echo $goal; done",
        "jq --arg goal x '.g = $goal' f.json",
        "echo $HOME $goals ${goal_of} $PATH $1",
        "echo \\$goal",
        "docker inspect -f '{{.State}}' x",
        "echo {{ target }} {{ graph.goal }}",
    ],
)
def test_the_shells_own_variables_are_left_alone(command: str) -> None:
    assert not found(written(command), "prompt_variable", variables=["target", "HOME"])


@pytest.mark.parametrize(
    "braces",
    [
        "{{ (version | default({})).y }}",
        "{{ version | upper }}",
        '{{version|default("1")}}',
        "{{ version + 1 }}",
        "{% if version %}",
        "{% endfor %}",
        '{{ files["a"] }}',
        "{{ files[-1] }}",
        "{{ files.keys() }}",
        "{{ range(3) }}",
        "{{ a if b else c }}",
        "{{ not version }}",
        "{{ version }",
        "{{ version",
    ],
)
def test_braces_that_hold_more_than_a_name_are_an_error_in_a_command_and_a_warning_in_a_prompt(braces: str) -> None:
    inside = braces.replace('"', '\\"')
    for body, severity in (
        (f'a [shape=parallelogram, tool_command="echo {inside}"]', Severity.ERROR),
        (f'a [prompt="Look at {inside}"]', Severity.WARNING),
    ):
        (one,) = flow(f"{body}\nstart -> a -> exit")
        assert (one.rule, one.severity) == ("template_syntax", severity)
        assert marked([one]) == [inside]
        assert one.fix


@pytest.mark.parametrize(
    "braces",
    [
        "{{ version }}",
        "{{.State}}",
        "{{json .}}",
        "{{ .X | json }}",
        "{{range .Items}}{{.}}{{end}}",
        "{{ printf '%s' .X }}",
        "{{ (index .A 0).x }}",
        "{{with $y := .x}}",
        "{{ if and .a .b }}",
        "${{ secrets.X || 'y' }}",
        "${#a[@]}",
        "{{}}",
        "{{print $1}}",
        "{{#each x}}",
        "{{> part}}",
        "{{{ x | y }}}",
        "%{http_code}",
        "{a,{b,c}}",
        "{ { ls; }; }",
    ],
)
def test_names_and_what_belongs_to_another_program_are_fine_in_braces(braces: str) -> None:
    inside = braces.replace('"', '\\"')
    assert not flow(
        f'a [shape=parallelogram, tool_command="run \'{inside}"]\nstart -> a -> exit', "template_syntax"
    )
    assert not flow(f'a [prompt="Look at {inside}"]\nstart -> a -> exit')


def test_an_expression_in_a_label_that_a_model_or_a_person_reads_is_a_warning() -> None:
    gate = 'ask [shape=hexagon, label="Ship {{ version }}?"]\nstart -> ask\nask -> exit [label=A]\nask -> exit'
    assert marked(flow(gate)) == ["{{ version }}"]
    start, work = "start [shape=Mdiamond]\nexit [shape=Msquare]\n", "\nstart -> a -> exit"
    assert marked(found(f'{start}a [label="Do {{{{ version }}}}"]{work}')) == ["{{ version }}"]
    assert not found(f'{start}a [label="Do {{{{ version }}}}", prompt="Do it"]{work}')
