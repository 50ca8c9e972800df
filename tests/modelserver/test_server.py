"""The model server by itself: scripts, rules, what it records, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from orchestra.errors import ConfigError, InvalidConfig
from orchestra.modelserver import ModelServer, parse

ASK = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}


def post(url: str, body: Any, path: str = "/v1/messages", **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(
        url + path, json.dumps(body).encode(), {"content-type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as found:
            return found.status, found.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def text(url: str, **more: Any) -> str:
    _status, data = post(url, {**ASK, **more})
    content = json.loads(data)["content"]
    return str(content[0]["text"])


def test_answers_come_in_order_and_the_last_repeats() -> None:
    with ModelServer(parse("answers: [one, two]")) as server:
        assert [text(server.url) for _ in range(3)] == ["one", "two", "two"]


def test_without_repeat_a_request_too_many_is_an_error() -> None:
    with ModelServer(parse("answers: [one]\nrepeat: false")) as server:
        assert text(server.url) == "one"
        status, data = post(server.url, ASK)
        assert status == 400
        assert "no answer for request 2" in data.decode()


def test_rules_are_tried_in_order() -> None:
    script = """
    rules:
      - {when: {model: "claude-*", contains: review}, answers: reviewed}
      - {when: {system: "You plan"}, answers: [planned], repeat: false}
      - {when: {tool: shell}, answers: [tooled]}
    answers: [other]
    """
    with ModelServer(parse(script)) as server:
        review = [{"role": "user", "content": [{"type": "text", "text": "please review it"}]}]
        assert text(server.url, model="claude-x", messages=review) == "reviewed"
        assert text(server.url, messages=review) == "other"
        assert text(server.url, system="You plan things") == "planned"
        assert text(server.url, system="You plan things") == "other"
        assert text(server.url, tools=[{"name": "shell", "input_schema": {}}]) == "tooled"
        assert [asked.rule for asked in server.requests][:2] == ["rule 1, answer 1", "answers, answer 1"]


def test_what_was_asked_is_recorded_without_keys() -> None:
    with ModelServer(parse("answers: [one]")) as server:
        post(server.url, ASK, **{"x-api-key": "sk-very-secret", "x-own": "kept"})
        with urllib.request.urlopen(server.url + "/_requests") as found:
            told = found.read().decode()
        assert "very-secret" not in told
        (asked,) = json.loads(told)["requests"]
        assert (asked["number"], asked["model"], asked["last"], asked["keyed"]) == (1, "m", "hello", True)
        assert asked["headers"]["x-own"] == "kept"


def test_a_failure_can_have_a_status_and_a_body_of_its_own() -> None:
    script = "answers: [{error: {status: 418, body: {short: stout}}, headers: {x-tea: 'yes'}}]"
    with ModelServer(parse(script)) as server:
        assert post(server.url, ASK) == (418, b'{"short": "stout"}')


def test_raw_text_is_sent_as_it_is() -> None:
    with ModelServer(parse("answers: [{raw: ''}, {raw: '<html>'}]")) as server:
        assert [post(server.url, ASK) for _ in range(2)] == [(200, b""), (200, b"<html>")]


def test_gemini_streams_an_array_without_server_sent_events() -> None:
    with ModelServer(parse("answers: [a text of several pieces]")) as server:
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
        _status, data = post(server.url, body, "/v1beta/models/g:streamGenerateContent")
        parts = [part for each in json.loads(data) for part in each["candidates"][0]["content"].get("parts", ())]
        assert "".join(part["text"] for part in parts) == "a text of several pieces"


def test_a_stream_can_fail_in_its_middle() -> None:
    script = "answers: [{text: a text of several pieces, error: {kind: overloaded, after: 4}}]"
    with ModelServer(parse(script)) as server:
        status, data = post(server.url, {**ASK, "stream": True})
        assert status == 200
        assert data.decode().count("event: ") == 5
        assert "overloaded_error" in data.decode()
        assert "message_stop" not in data.decode()


def test_a_client_that_leaves_is_noticed_and_the_server_continues() -> None:
    with ModelServer(parse("answers: [{text: hello, silent_after: 0}, {text: next}]")) as server:
        body = json.dumps({**ASK, "stream": True}).encode()
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            head = f"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        deadline = time.monotonic() + 5
        while not server.requests[0].left and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.requests[0].left
        assert text(server.url) == "next"


def test_closing_ends_silent_answers() -> None:
    before = threading.active_count()
    server = ModelServer(parse("answers: [{text: hello, silent_after: 0}]")).start()
    ended: list[object] = []

    def ask() -> None:
        try:
            ended.append(post(server.url, ASK))
        except OSError as error:
            ended.append(error)

    client = threading.Thread(target=ask)
    client.start()
    while not server.requests:
        time.sleep(0.01)
    server.close()
    client.join(5)
    assert len(ended) == 1
    assert threading.active_count() == before


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("part", [{"messages": [1], "input": [1]}, {"tools": [1]}, {"messages": "x", "input": 5}])
def test_a_body_of_another_form_is_refused_as_a_provider_does(path: str, part: dict[str, Any]) -> None:
    with ModelServer(parse("answers: [one]")) as server:
        status, data = post(server.url, {**ASK, "input": "hello", **part}, path)
        assert status == 400
        assert "error" in json.loads(data)


def test_other_hosts_are_refused() -> None:
    with ModelServer(parse("answers: [one]")) as server:
        assert post(server.url, ASK, host="example.org:80")[0] == 403
        assert server.requests == []


def test_twenty_requests_at_once_are_all_answered() -> None:
    with ModelServer(parse("answers: [{text: one, delay: 100ms}]")) as server:
        threads = [threading.Thread(target=text, args=(server.url,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(asked.number for asked in server.requests) == list(range(1, 21))
        assert {asked.answered for asked in server.requests} == {200}


@pytest.mark.parametrize(
    ("script", "line", "told"),
    [
        ("answers: []", 1, "at least one answer"),
        ("answer: [one]", 1, "unknown key"),
        ("answers:\n  - txt: one", 2, "unknown key"),
        ("answers:\n  - error: rate_limt", 2, "not one of rate_limit"),
        ("answers:\n  - {error: overloaded, stop: end}", 2, "cannot be combined"),
        ("answers:\n  - usage: {input: 10, cached: 20}", 2, "cannot be less"),
        ("answers:\n  - tool_calls: [{arguments: {}}]", 2, "name is missing"),
        ("answers:\n  - delay: soon", 2, "not a duration"),
        ("rules:\n  - when: {model: x}", 2, "answers is missing"),
        ("", 1, "needs 'answers:' or 'rules:'"),
        ('answers:\n  - headers: {x: "a\\nb"}', 2, "one line"),
    ],
)
def test_a_wrong_script_is_refused_with_its_place(script: str, line: int, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as met:
        parse(script)
    assert met.value.span is not None
    assert met.value.span.line == line


def test_every_fault_of_a_script_is_reported_at_once() -> None:
    with pytest.raises(InvalidConfig) as met:
        parse(
            "answers:\n  - tool_calls: [{nam: x}]\n  - {usage: {inputs: 3}, error: rate_limt}\n  - {delay: soon}\n"
        )
    assert [fault.span and fault.span.line for fault in met.value.faults] == [2, 3, 3, 4]


@pytest.mark.parametrize(
    ("script", "meant"),
    [
        ("answers: [{response: hello}]", "text"),
        ("answers: [{content: hello}]", "text"),
        ("answers: [{tools: []}]", "tool_calls"),
        ("answers: [{tool_calls: [{name: x, args: {}}]}]", "arguments"),
        ("answers: [{finish_reason: length}]", "stop"),
        ("answers: [{error: {type: overloaded}}]", "kind"),
        ("answers: [{usage: {prompt_tokens: 4}}]", "input"),
        ("answers: [{Break-After: 4}]", "break_after"),
        ("rules: [{if: {model: x}, answers: [y]}]", "when"),
        ("rules: [{when: {prompt: x}, answers: [y]}]", "contains"),
        ("replies: [hello]", "answers"),
    ],
)
def test_a_key_of_another_tool_is_reported_with_ours(script: str, meant: str) -> None:
    with pytest.raises(ConfigError) as met:
        parse(script)
    assert met.value.fix == f"did you mean '{meant}'?"


def command(*arguments: str, folder: Path) -> list[str]:
    (folder / "script.yaml").write_text("answers: [hello]\n")
    return [sys.executable, "-m", "orchestra", "model-server", "script.yaml", *arguments]


def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    arguments = command("--requests", "asked.json", folder=tmp_path)
    with subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None
        url = done.stdout.readline().strip()
        assert text(url) == "hello"
        done.send_signal(signal.SIGTERM)
        _out, told = done.communicate(timeout=10)
    assert done.returncode == 0
    assert told == "1  anthropic  m  1 message  whole: answers, answer 1\n"
    assert json.loads((tmp_path / "asked.json").read_text())["requests"][0]["last"] == "hello"


def test_the_command_runs_another_with_the_providers_variables_set(tmp_path: Path) -> None:
    program = (
        "import os, sys; url, key = os.environ['OPENAI_BASE_URL'], os.environ['ANTHROPIC_API_KEY']; "
        "assert url in open(os.environ['CODEX_HOME'] + '/config.toml').read(); print(url, key); sys.exit(7)"
    )
    arguments = command("--", sys.executable, "-c", program, folder=tmp_path)
    environment = {**os.environ, "ANTHROPIC_API_KEY": "sk-real"}
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 7
    assert done.stdout.startswith("http://127.0.0.1:")
    assert done.stdout.endswith("/v1 model-server\n")


def test_a_command_that_is_missing_or_a_script_that_is_wrong_is_reported(tmp_path: Path) -> None:
    done = subprocess.run(
        command("--", "no-such-command", folder=tmp_path), cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, "cannot run no-such-command" in done.stderr) == (2, True)
    arguments = command(folder=tmp_path)
    (tmp_path / "script.yaml").write_text("answers:\n  - eror: 1\n")
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "script.yaml:2:5" in done.stderr
    assert "did you mean 'error'?" in done.stderr
