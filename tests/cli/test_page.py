"""``export --html``: one page that holds everything, loads nothing, and shows every text as text."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from calls import ROOT, call
from scratch import project, repository, tool

from orchestra.cli.screen.page import PageTurn, chapter
from orchestra.errors import Source
from orchestra.graph.dot import parse
from orchestra.graph.drawing import LETTER, ROW, draw, labels_of
from orchestra.run.events import (
    Event,
    Meta,
    PipelineCompleted,
    PipelinePaused,
    PipelineResumed,
    PipelineStarted,
    PipelineTaken,
    Recorded,
    StageCompleted,
    StageStarted,
)
from orchestra.run.views import Phase, Summary

VOID = {"meta", "path", "rect", "polygon", "br"}


class Page(HTMLParser):
    """What a browser would find: elements, attributes, texts; it fails where tags do not match."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def loads_nothing(page: Page) -> None:
    assert not {"script", "link", "img", "iframe", "object", "image", "use", "form"} & set(page.elements)
    for _tag, name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "action")
        if name.endswith("href"):
            assert value.startswith("#")
            assert ("id", value[1:]) in {(n, v) for _t, n, v in page.attributes}


def written(folder: Path, *run: str, code: int = 0) -> Page:
    done = call(folder, "run", *run, "-q")
    assert done.returncode == code, done.stdout + done.stderr
    made = call(folder, "export", "last", "--html", "run.html")
    assert made.returncode == 0, made.stderr
    page = Page(folder / "run.html")
    loads_nothing(page)
    return page


def test_a_page_shows_nodes_states_questions_and_the_sessions_that_a_run_started(tmp_path: Path) -> None:
    example = ROOT / "examples" / "supervised"
    page = written(tmp_path, f"{example}.dot", "--simulate", f"{example}.yaml")
    drawings = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "role")]
    assert len(drawings) > 2
    assert "Child:" in page.words
    assert "manage" in page.words


def test_nodes_are_in_the_order_in_which_they_ran_and_choices_as_they_are_answered(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        """digraph g { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="x"]
        gate [shape=hexagon, label="Ship it?"] start -> work -> gate gate -> exit [label=Yes]
        gate -> work [label=No] }"""
    )
    (tmp_path / "a.yaml").write_text("answers: {gate: [Yes]}\n")
    page = written(tmp_path, "p.dot", "--answers", "a.yaml")
    nodes = [value for tag, name, value in page.attributes if tag == "tr" and name == "id"]
    assert nodes == ["1-start", "1-work", "1-gate", "1-exit"]
    assert "→ [Y] Yes" in page.words


def test_a_failure_and_what_never_ran_are_named_not_only_colored(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        'digraph g { start [shape=Mdiamond] exit [shape=Msquare] build [shape=parallelogram, tool_command="'
        'echo half; echo broken >&2; exit 3"] ship [prompt="Ship"] start -> build -> ship -> exit }'
    )
    page = written(tmp_path, "p.dot", code=1)
    for words in ("failed", "✗ build", "exit code 3", "half", "broken", "not run"):
        assert words in page.words


def test_time_in_which_nobody_ran_the_session_is_in_no_figure_of_the_page() -> None:
    happened: list[tuple[int, int, Event]] = [
        (1, 1_000, PipelineStarted(pipeline="g", dot="", graph_hash="", mailbox=1)),
        (1, 1_010, StageStarted(node="gate", handler="wait.human", visit=1)),
        (1, 1_020, PipelinePaused(node="gate", reason="waiting", waiting=True)),
        (2, 9_020, PipelineTaken(holder="another process")),
        (2, 9_020, PipelineResumed(node="gate")),
        (2, 9_030, StageCompleted(node="gate", handler="wait.human", visit=1, status="success", duration_ms=20)),
        (2, 9_030, PipelineCompleted(status="success", node="gate", duration_ms=30, steps=1)),
    ]
    told = [
        PageTurn("", Recorded(Meta(session="s", epoch=epoch, sequence=number, at=at), event, depth=number), {})
        for number, (epoch, at, event) in enumerate(happened, 1)
    ]
    summary = Summary(
        session="s", context_id=1, pipeline="g", title="g", phase=Phase.COMPLETED, node="", detail="",
        steps=1, turns=7, started_ms=1_000, last_ms=9_030,
    )  # fmt: skip
    made = chapter(summary, told, {})
    (talk,) = made.nodes["gate"].talks
    assert (made.took, talk.took, made.nodes["gate"].duration_ms) == (30, 20, 20)


def test_the_way_to_a_retry_target_is_drawn_and_counted(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        'digraph g { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="Work", max_visits=3]'
        ' check [prompt="Check", goal_gate=true, retry_target=work] start -> work -> check -> exit }'
    )
    (tmp_path / "s.yaml").write_text("nodes: {check: [{status: fail, reason: no}, {text: yes}]}")
    page = written(tmp_path, "p.dot", "--simulate", "s.yaml")
    assert "check → work (retry target), taken 1×" in page.words


def test_the_changes_of_a_run_are_on_the_page_and_what_cannot_be_shown_is_named(tmp_path: Path) -> None:
    folder = project(tmp_path, tool("write", "printf '<b>new</b>\\n' > new.txt") + "start -> write -> exit")
    code = repository(folder / "code")
    page = written(folder, "p.dot")
    assert "code " in page.words
    assert "+<b>new</b>" in page.words
    code.rename(folder / "moved")
    assert call(folder, "export", "last", "--html", "later.html").returncode == 0
    assert "not shown:" in Page(folder / "later.html").words


HOSTILE = '</pre><script>alert(1)</script><img src=x onerror=alert(1)> & "quoted" \x1b[31m \x00 {{ 7 * 7 }}'


def test_every_text_is_shown_as_text(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        'digraph g { graph [goal="<b>goal</b>"] start [shape=Mdiamond] exit [shape=Msquare]\n'
        'work [prompt="<i>do</i>", label="<u>label</u>"] start -> work\n'
        'work -> exit [label="<script>x</script>"] work -> exit [label="\'><svg onload=x>"] }'
    )
    script = {"nodes": {"work": [{"text": HOSTILE}]}}
    (tmp_path / "s.yaml").write_text(json.dumps(script))
    page = written(tmp_path, "p.dot", "--simulate", "s.yaml")
    assert '</pre><script>alert(1)</script><img src=x onerror=alert(1)> & "quoted"' in page.words
    assert "{{ 7 * 7 }}" in page.words
    assert "\x1b" not in page.words
    assert "\x00" not in page.words
    assert "<u>label</u>" in page.words


def test_a_long_text_is_cut_and_the_page_says_how_to_read_it_all(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        'digraph g { start [shape=Mdiamond] exit [shape=Msquare] many [shape=parallelogram, tool_command="'
        'seq 20000"] start -> many -> exit }'
    )
    page = written(tmp_path, "p.dot")
    assert "more characters: orchestra show" in page.words
    assert "--whole output" in page.words


def test_a_page_overwrites_nothing_excludes_other_formats_and_goes_to_a_pipe(tmp_path: Path) -> None:
    call(tmp_path, "run", str(ROOT / "examples" / "hello.dot"), "-q")
    (tmp_path / "mine.html").write_text("mine")
    done = call(tmp_path, "export", "last", "--html", "mine.html")
    assert done.returncode == 2
    assert "another file with --html FILE" in done.stderr
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert call(tmp_path, "export", "last", "--html", "x.html", "--to", "y").returncode == 2
    shown = call(tmp_path, "export", "last", "--html", "-")
    assert shown.returncode == 0
    assert shown.stdout.startswith("<!doctype html>")
    assert call(tmp_path, "export", "last", "--html", "-", "--json").returncode == 2


@pytest.mark.long
def test_a_browser_shows_the_page_and_runs_nothing_in_it(tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no browser")
    test_every_text_is_shown_as_text(tmp_path)
    shown = subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", (tmp_path / "run.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "<script" not in shown
    assert "<img" not in shown
    assert shown.count("<svg") == 1


def test_no_label_of_an_edge_covers_another(tmp_path: Path) -> None:
    text = "digraph g { start [shape=Mdiamond] exit [shape=Msquare] j [shape=diamond] start -> j\n"
    text += "".join(
        f'j -> n{i} [condition="context.somewhat_long={i}"] n{i} [prompt=x] n{i} -> exit\n' for i in range(4)
    )
    graph, _ = parse(Source("p.dot", text + "}"))
    assert graph is not None
    found = list(labels_of(draw(graph).lines))
    assert len(found) == 4
    for number, (words, x, y) in enumerate(found):
        for other, there, at in found[:number]:
            assert abs(y - at) >= ROW or abs(x - there) >= (min(len(words), 26) + min(len(other), 26)) * LETTER / 2
