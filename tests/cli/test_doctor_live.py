"""``doctor`` says what providers need, and ``doctor --live`` asks each of them once (A8)."""

from __future__ import annotations

from pathlib import Path

from calls import call

from orchestra.modelserver import ModelServer, parse

SCRIPT = """
rules:
  - when: {model: "gpt-*"}
    answers: [{error: unauthorized}]
answers: [OK]
"""


def settings(folder: Path, text: str) -> None:
    (folder / "orchestra.yaml").write_text(f"backend: langgraph\nproviders:\n  default: anthropic\n{text}")


def test_each_provider_is_asked_once_and_failures_are_named(tmp_path: Path) -> None:
    with ModelServer(parse(SCRIPT)) as server:
        settings(
            tmp_path,
            f"  anthropic: {{base_url: '{server.url}', models: {{worker: claude-big, cheap: claude-small}}}}\n"
            f"  openai: {{base_url: '{server.url}/v1', models: {{worker: gpt-5}}}}\n"
            "  dead: {kind: openai, base_url: 'http://127.0.0.1:9/v1', models: {worker: x}}\n",
        )
        done = call(tmp_path, "doctor", "--live")
        assert sorted(one.model for one in server.requests) == ["claude-small", "gpt-5"]
    assert done.returncode == 1
    shown = " ".join(done.stdout.split())
    assert "✓ provider anthropic: claude-small answered" in shown
    assert "✗ gpt-5: openai: the key is not accepted (HTTP 401)" in shown
    assert "no connection to http://127.0.0.1:9/v1" in shown


def test_without_live_nobody_is_asked_and_a_missing_key_of_the_default_is_a_problem(tmp_path: Path) -> None:
    settings(tmp_path, "  anthropic: {models: {worker: claude-big}}\n  openai: {models: {worker: gpt-5}}\n")
    done = call(tmp_path, "doctor")
    assert done.returncode == 1
    assert "✗ provider anthropic: ANTHROPIC_API_KEY is not set" in done.stdout
    assert "· provider openai: OPENAI_API_KEY is not set" in done.stdout
    assert call(tmp_path, "doctor", ANTHROPIC_API_KEY="some-key-of-mine").returncode == 0
