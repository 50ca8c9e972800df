"""Prompts: four layers, templates over the context, and text that is data whatever is in it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestra.agents.layers import LayerFolders, places_for, read_layer
from orchestra.agents.prompts import ComposedPrompt, compose, doc_folders, layers_of, needed_names, project_docs
from orchestra.agents.rendering import render, roots_of
from orchestra.app.briefs import Brief
from orchestra.app.checking import agent_diagnostics
from orchestra.config.model import Config
from orchestra.config.reading import read_config
from orchestra.config.settings import Settings, settle
from orchestra.config.yaml import load
from orchestra.errors import ConfigError, Source
from orchestra.graph.dot import parse
from orchestra.graph.model import Graph
from orchestra.graph.transforms import transform


def write(folder: Path, files: dict[str, str]) -> LayerFolders:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return LayerFolders((folder,))


def config_of(text: str) -> Config:
    config, faults = read_config(load(Source("orchestra.yaml", text)))
    assert not faults
    return config


def graph_of(node: str, variables: dict[str, str] | None = None) -> Graph:
    text = (
        f'digraph p {{ goal="ship it" start [shape=Mdiamond] a [{node}] exit [shape=Msquare] start -> a -> exit }}'
    )
    found, diagnostics = parse(Source("p.dot", text))
    assert found is not None, diagnostics
    return transform(found, variables or {})


def composed(
    node: str,
    context: dict[str, Any] | None = None,
    *,
    config: str = "",
    places: LayerFolders | None = None,
    variables: dict[str, str] | None = None,
    **more: Any,
) -> ComposedPrompt:
    graph = graph_of(node, variables)
    layers = layers_of(graph.nodes["a"], config_of(config), places or LayerFolders(()))
    return compose(graph.nodes["a"], graph, context or {}, layers, **more)


# --- layers ---------------------------------------------------------------------------------------


def test_role_persona_and_personality_are_the_system_message_and_the_task_the_users(tmp_path: Path) -> None:
    places = write(
        tmp_path,
        {
            "roles/reviewer.yaml": "role:\n  name: Reviewer\n  system: You review code.\n",
            "personas/senior.yaml": "persona:\n  name: senior\n  modifiers: [You are senior., You are patient.]\n",
            "personalities/kind.yaml": "content: Be kind.\ndescription: polite\nversion: 1\n",
            "tasks/review.yaml": "task:\n  name: review\n  template: |\n    Review {{ graph.goal }}.\n",
        },
    )
    config = "agents: {r: {role: reviewer, persona: senior, personality: kind, task: review}}"
    context = {"graph.goal": "the parser"}
    found = composed('agent=r, prompt="Be quick."', context, config=config, places=places, preamble="Before: none.")
    assert found.system == "You review code.\n\nYou are senior.\nYou are patient.\n\nBe kind."
    assert found.user == "Before: none.\n\nReview the parser.\n\nBe quick."
    assert composed("agent=r", context, config=config, places=places).user == "Review the parser."


def test_a_node_names_layers_of_its_own_before_its_agents(tmp_path: Path) -> None:
    places = write(tmp_path, {"a.yaml": "content: A", "b.yaml": "content: B"})
    config = "agents: {r: {role: a, persona: b}}"
    assert composed('agent=r, "agent.role"="b.yaml"', config=config, places=places).system == "B\n\nB"


def test_without_layers_the_prompt_is_the_nodes_or_its_label() -> None:
    assert composed('prompt="Do $goal"') == ComposedPrompt(system="", user="Do ship it")
    assert composed('label="Plan {{ x }}"').user == "Plan {{ x }}"


def test_a_layer_can_be_a_text_in_the_settings(tmp_path: Path) -> None:
    config = "agents: {r: {role: You review code.}}"
    assert composed("agent=r", config=config, places=LayerFolders((tmp_path,))).system == "You review code."


@pytest.mark.parametrize("text", ["You are careful. " * 40, "Two\nlines", "ä " * 300])
def test_a_layers_text_in_the_settings_may_be_longer_than_a_name_of_a_file(tmp_path: Path, text: str) -> None:
    assert read_layer("role", text, LayerFolders((tmp_path,))).content == text.strip()
    with pytest.raises(ConfigError, match="no role file"):
        read_layer("role", "x" * 300, LayerFolders((tmp_path,)))


def test_extends_puts_the_other_files_content_first_and_refuses_cycles(tmp_path: Path) -> None:
    places = write(
        tmp_path,
        {
            "roles/base.yaml": "content: Base.",
            "roles/middle.yaml": "extends: base\ncontent: Middle.",
            "roles/top.yaml": "extends: middle.yaml\nrole: Top.",
            "roles/x.yaml": "extends: y\ncontent: X",
            "roles/y.yaml": "extends: x\ncontent: Y",
            "roles/self.yaml": "extends: self\ncontent: S",
            "roles/lost.yaml": "extends: nowhere\ncontent: L",
        },
    )
    assert read_layer("role", "top", places).content == "Base.\n\nMiddle.\n\nTop."
    with pytest.raises(ConfigError, match=r"x\.yaml -> y\.yaml -> x\.yaml") as caught:
        read_layer("role", "x", places)
    assert caught.value.span is not None
    with pytest.raises(ConfigError, match="extend one another"):
        read_layer("role", "self", places)
    with pytest.raises(ConfigError, match="no role file 'nowhere'"):
        read_layer("role", "lost", places)


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("contnt: A", (1, 1), "content"),
        ("role: {nam: x, system: y}", (1, 8), "name"),
        ("role: {name: x}", (1, 1), "system is missing"),
        ("content: A\nrole: B", (2, 1), "content is given too"),
        ("description: only", (1, 1), "no text"),
        ("- a", (1, 1), "expected `content"),
        ("persona: {name: x, modifiers: y}", (1, 1), "unknown key"),
        ("content: [a]", (1, 10), "expected text"),
    ],
)
def test_a_mistake_in_a_layer_file_has_its_place(
    tmp_path: Path, text: str, place: tuple[int, int], word: str
) -> None:
    places = write(tmp_path, {"x.yaml": text})
    with pytest.raises(ConfigError) as caught:
        read_layer("role", "x", places)
    span = caught.value.span
    assert span is not None
    assert (span.source.name, span.line, span.column) == (str(tmp_path / "x.yaml"), *place)
    assert word in f"{caught.value.message} {caught.value.fix}"


def test_a_file_that_is_nowhere_lists_every_place_looked_at(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    write(project, {"prompts/roles/reviewer.yaml": "content: R"})
    places = places_for(
        project / "pipelines",
        config_file=project / "orchestra.yaml",
        paths=("prompts", "/shared"),
        environment={"HOME": str(home), "XDG_CONFIG_HOME": str(tmp_path / "xdg")},
    )
    assert read_layer("role", "reviewer", places).content == "R"
    assert read_layer("role", "prompts/roles/reviewer.yaml", places).content == "R"
    with pytest.raises(ConfigError) as caught:
        read_layer("role", "reviewr", places)
    message = caught.value.message
    for folder in (
        project / "pipelines",
        project / "prompts",
        Path("/shared"),
        home / ".orchestra",
        tmp_path / "xdg",
    ):
        assert str(folder) in message
    assert f"{project}/prompts/roles/reviewr(.yaml|.yml)" in message
    assert caught.value.fix == "did you mean 'reviewer'?"


def test_the_place_beside_the_pipeline_wins(tmp_path: Path) -> None:
    write(tmp_path, {"p/roles/r.yaml": "content: near", "c/prompts/roles/r.yaml": "content: far"})
    places = places_for(tmp_path / "p", config_file=tmp_path / "c/orchestra.yaml", paths=(), environment={})
    assert read_layer("role", "r", places).content == "near"


# --- values are data ------------------------------------------------------------------------------

EVIL = "{{ secret }} {% for x in [1] %}loop{% endfor %} {# c #} $goal $name ${x} {{ goal }}"


@pytest.mark.parametrize("key", ["last_response", "tools.get.output", "human.gate.text", "responses.plan", "mine"])
def test_text_of_models_tools_and_people_is_never_rendered_again(tmp_path: Path, key: str) -> None:
    context = {key: EVIL, "secret": "LEAKED", "graph.goal": "ship it"}
    places = write(tmp_path, {"t.yaml": f"content: 'Say {{{{ {key} }}}} and {{{{ context.{key} }}}}.'"})
    config = "agents: {r: {task: t}}"
    found = composed(f'agent=r, prompt="Also {{{{ {key} }}}}."', context, config=config, places=places)
    assert found.user == f"Say {EVIL} and {EVIL}.\n\nAlso {EVIL}."


def test_a_variable_from_the_command_line_is_data_too() -> None:
    found = composed('prompt="Use $name, for {{ secret }}."', {"secret": "S"}, variables={"name": EVIL})
    assert found.user == f"Use {EVIL}, for S."
    split = composed('prompt="Use {{ $name }}."', {"secret": "S"}, variables={"name": "secret"})
    assert split.user == "Use {{ secret }}."


def test_layers_in_the_system_message_are_no_templates(tmp_path: Path) -> None:
    places = write(tmp_path, {"r.yaml": "content: 'Keep {{ braces }} and $goal.'"})
    assert (
        composed("agent=r", config="agents: {r: {role: r}}", places=places).system == "Keep {{ braces }} and $goal."
    )


# --- templates ------------------------------------------------------------------------------------

CONTEXT = {
    "tools.get_diff.output": "diff",
    "tools.get_diff.exit_code": 0,
    "parallel.results": [{"id": "a", "response": "good", "score": 0.5}],
    "parallel.fan_in.results": [{"response": "best"}],
    "flag": True,
    "empty": None,
    "a": "own",
    "nodes.get": 1,
    "nodes.items": 2,
    "nodes.path": 3,
    "a.b": "below",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ tools.get_diff.output }}", "diff"),
        ("{{ parallel.fan_in.results[0].response }}", "best"),
        ("{{ context.tools.get_diff.exit_code }}", "0"),
        ("{% for r in parallel.results %}{{ r.id }}: {{ r.score }}{% endfor %}", "a: 0.5"),
        ("{{ flag }} [{{ empty }}]", "true []"),
        ("{{ parallel.fan_in.results }}", '[{"response":"best"}]'),
        ("{{ a }} {{ a.b }}", "own below"),
        ("{{ nodes.get }} {{ nodes.items }} {{ nodes.path }}", "1 2 3"),
        ("{{ missing | default('none') }}", "none"),
        ("{{ tools.later.output | default('none') }}", "none"),
        ("{{ missing.deep[0].deeper | default('none') }}", "none"),
        ("{% if tools.later.output is defined %}yes{% else %}no{% endif %}", "no"),
        ("{% if missing is defined %}x{% else %}y{% endif %}", "y"),
    ],
)
def test_a_task_reads_the_context_by_dotted_keys(template: str, text: str) -> None:
    assert render(template, CONTEXT) == text


@pytest.mark.parametrize(
    ("template", "name", "known"),
    [
        ("{{ tols.get_diff.output }}", "tols", "tools"),
        ("{{ tools.get_dif.output }}", "tools.get_dif", "tools.get_diff"),
        ("{{ tools.get_diff.outputs }}", "tools.get_diff.outputs", "tools.get_diff.output"),
    ],
)
def test_an_undefined_name_is_an_error_that_lists_the_known_ones(template: str, name: str, known: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render(template, CONTEXT)
    assert f"'{name}' is not defined" in caught.value.message
    assert known in caught.value.message
    assert repr(known) in caught.value.fix


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ range(999999999) | list }}",
        "{{ 'x' * 999999999 }}",
        "{{ 9 ** 9999999 }}",
        "{{ '{0.__class__}'.format(a) }}",
        "{{ parallel.results.append(1) }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{{ 1 / 0 }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    with pytest.raises(ConfigError):
        render(template, CONTEXT)


def test_a_template_that_is_none_is_shown_at_its_line(tmp_path: Path) -> None:
    places = write(tmp_path, {"t.yaml": "task:\n  template: |\n    Fine.\n    {% if x %}\n    Never closed.\n"})
    with pytest.raises(ConfigError, match="not a Jinja2 template") as caught:
        composed("agent=r", config="agents: {r: {task: t}}", places=places)
    assert caught.value.span is not None
    assert caught.value.span.source.name == str(tmp_path / "t.yaml")


def test_the_names_that_a_prompt_needs_are_known_before_it_is_composed(tmp_path: Path) -> None:
    places = write(
        tmp_path, {"t.yaml": "content: '{{ tools.x.output }} {% for r in parallel.results %}{% endfor %}'"}
    )
    graph = graph_of('agent=r, prompt="{{ last_response }} {{ responses[0] }}"')
    layers = layers_of(graph.nodes["a"], config_of("agents: {r: {task: t}}"), places)
    found = needed_names(graph.nodes["a"], layers)
    assert found == {"tools", "parallel", "last_response", "responses"}
    assert roots_of("{% if %}") == frozenset()


# --- a node's own prompt --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("{{ tools.get_diff.output }}", "diff"),
        ("{{context.parallel.results[0].response}}", "good"),
        ("{{ parallel.results.0.response }}", "good"),
        ("{{ parallel.results[0] }}", '{"id":"a","response":"good","score":0.5}'),
        ("{{ last_response }}", ""),
        (
            "{{ .Values.x }} {{ end }} {{ else }} {{ a | upper }} {% if %}",
            "{{ .Values.x }} {{ end }} {{ else }} {{ a | upper }} {% if %}",
        ),
    ],
)
def test_an_expression_in_a_prompt_is_looked_up_as_in_commands(prompt: str, text: str) -> None:
    assert composed(f'prompt="{prompt}"', CONTEXT).user.strip() == text


def test_an_undefined_name_in_a_prompt_is_named() -> None:
    with pytest.raises(ConfigError, match=r"the prompt of 'a': 'tools\.get_dif\.output' is not defined") as caught:
        composed('prompt="See {{ tools.get_dif.output }}"', CONTEXT)
    assert caught.value.fix == "did you mean 'tools.get_diff.output'?"
    assert caught.value.span is not None


def test_placeholders_replace_values_that_are_known_only_at_run_time(tmp_path: Path) -> None:
    places = write(
        tmp_path,
        {
            "t.yaml": "content: |\n  {{ goal }}: {{ tools.x.output }}\n"
            "  {%- for r in parallel.results %} {{ r.id }}{% endfor %}"
        },
    )
    found = composed(
        'agent=r, prompt="Then {{ last_response }}, {{ responses.plan }}"',
        config="agents: {r: {task: t}}",
        places=places,
        placeholders=True,
    )
    assert (
        found.user == "ship it: <tools.x.output> <parallel.results[0].id>\n\nThen <last_response>, <responses.plan>"
    )


# --- project documents ----------------------------------------------------------------------------


def test_project_documents_are_read_from_the_folder_up_to_the_repositorys_root(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    write(
        root,
        {"AGENTS.md": "root rules", "CLAUDE.md": "not read", "web/CLAUDE.md": "web rules {{ x }}", "web/src/x": ""},
    )
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (tmp_path / "AGENTS.md").write_text("outside")
    folders = doc_folders(root / "web" / "src")
    files, texts = project_docs(folders)
    assert files == (root / "web" / "CLAUDE.md", root / "AGENTS.md")
    assert texts[0].endswith("web rules {{ x }}")
    found = composed('prompt="p"', docs=folders)
    assert "web rules {{ x }}" in found.system


def test_an_agent_with_project_docs_false_gets_no_project_documents(tmp_path: Path) -> None:
    write(tmp_path, {"AGENTS.md": "the rules"})
    graph = graph_of('backend=langgraph, agent=r, prompt="p"')
    for wanted in ("true", "false"):
        settings = Settings(store="memory", config=config_of(f"agents: {{r: {{project_docs: {wanted}}}}}"))
        brief = Brief(graph=graph, settings=settings, file=str(tmp_path / "p.dot"))
        assert ("the rules" in brief.compose(graph.nodes["a"], {}).system) == (wanted == "true")


def test_project_documents_are_cut_at_32_kib_and_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    write(root, {"AGENTS.md": "é" * 40_000, "sub/x": ""})
    (root / "sub" / "AGENTS.md").symlink_to("/etc/hostname")
    files, texts = project_docs((root / "sub", root))
    assert files == (root / "AGENTS.md",)
    assert len(texts[0].encode()) < 33 * 1024
    assert texts[0].endswith("longer than 32 KiB]")


def test_every_fault_of_a_nodes_layer_files_is_reported_at_once(tmp_path: Path) -> None:
    files = {
        "roles/r.yaml": "content: a\ncontent: b\nfoo: 1\n",
        "personas/p.yaml": "content: [a\n",
        "personalities/e.md": "",
        "tasks/empty.yaml": "",
    }
    write(tmp_path, files)
    (tmp_path / "orchestra.yaml").write_text("agents: {a: {role: r, persona: p, personality: e.md, task: empty}}")
    settings = settle(folders=(tmp_path,), environment={})
    graph = graph_of('agent=a, prompt="{{ unknown.thing"')
    found = agent_diagnostics(Brief(graph=graph, settings=settings, file=str(tmp_path / "p.dot"), simulated=True))
    messages = [each.message for each in found]
    assert [message.rpartition("/")[2] for message in messages] == [
        "'content' is set twice",
        "foo: unknown key",
        "this [ is never closed",
        "e.md has no text",
        "empty.yaml has no text",
    ]


def diagnosed(folder: Path, settings: str, node: str, files: dict[str, str]) -> dict[str, tuple[str, int]]:
    """The findings of one node: each message with its rule and line in the file that it is about."""
    write(folder, files)
    (folder / "orchestra.yaml").write_text(settings)
    graph = graph_of(node)
    found = settle(folders=(folder,), environment={})
    told = agent_diagnostics(Brief(graph=graph, settings=found, file=str(folder / "p.dot"), simulated=True))
    return {each.message.partition(";")[0]: (each.rule, each.span.line if each.span else 0) for each in told}


def test_values_that_a_task_names_and_no_node_leaves_are_warnings_at_their_line(tmp_path: Path) -> None:
    files = {"tasks/t.yaml": "content: |\n  Do {{ tools.tst.output }}\n  and {{ responses.a }}\n"}
    found = diagnosed(tmp_path, "agents: {x: {task: t}}", "agent=x", files)
    assert found == {"tools.tst names no node of this pipeline: it will have no value": ("value_of_node", 2)}


def test_a_file_that_cannot_be_attached_is_known_before_a_run(tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_bytes(b"\xff\x00\xfe")
    found = diagnosed(tmp_path, "backend: simulation", 'attach="b.bin"', {})
    assert found == {"attach: b.bin is neither text nor an image or a PDF": ("attach_missing", 1)}


def test_the_fix_for_a_task_that_includes_another_file_is_to_extend_it(tmp_path: Path) -> None:
    files = {"tasks/t.yaml": "content: \"{% include 'x' %}\"\n"}
    (message,) = diagnosed(tmp_path, "agents: {x: {task: t}}", "agent=x", files)
    assert message.endswith("a task cannot include or import other templates")


def test_what_the_settings_name_and_does_not_exist_is_shown_at_its_line_there(tmp_path: Path) -> None:
    settings = """agents:
  x:
    role: nowhere
prompts: {paths: [gone]}
skills: [lost]
tools_module: none.py
pipelines: {pp.dot: {backend: direct}}
"""
    assert diagnosed(tmp_path, settings, "agent.task=x, prompt=y, agent=x", {"tasks/x.yaml": "content: y"}) == {
        "no role file 'nowhere'": ("prompt_file", 3),
        f"prompts.paths[0]: gone does not exist in {tmp_path}": ("prompt_file", 4),
        f"skills[0]: lost does not exist in {tmp_path}": ("tool_known", 5),
        "pipelines has a section for 'pp.dot', which is not this pipeline": ("agent_known", 7),
    }
