"""The providers' own clients, as agents use them, are answered by the model server as by the providers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from orchestra.modelserver import ModelServer, parse

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langchain_anthropic import ChatAnthropic
    from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
    from langchain_google_genai import ChatGoogleGenerativeAI
    from langchain_openai import ChatOpenAI

pytestmark = pytest.mark.filterwarnings("ignore")
TOOL = {
    "name": "write_file",
    "description": "Write a file.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}},
}


def anthropic(url: str, **more: Any) -> Any:
    return ChatAnthropic(model_name="claude-x", base_url=url, api_key="k", max_retries=0, timeout=5, **more)


def chat(url: str, **more: Any) -> Any:
    more = {"stream_usage": True, **more}
    return ChatOpenAI(
        model="gpt-x", base_url=url + "/v1", api_key="k", max_retries=0, timeout=5, use_responses_api=False, **more
    )


def responses(url: str, **more: Any) -> Any:
    return ChatOpenAI(
        model="gpt-x", base_url=url + "/v1", api_key="k", max_retries=0, timeout=5, use_responses_api=True, **more
    )


def gemini(url: str, **more: Any) -> Any:
    return ChatGoogleGenerativeAI(
        model="gemini-x", base_url=url, google_api_key="k", max_retries=0, timeout=5, **more
    )


Client = Callable[[str], Any]
CLIENTS = {"anthropic": anthropic, "chat": chat, "responses": responses, "gemini": gemini}


def whole(model: Any, messages: Any) -> AIMessage:
    found = model.invoke(messages)
    assert isinstance(found, AIMessage)
    return found


def streamed(model: Any, messages: Any) -> AIMessage:
    found: AIMessageChunk | None = None
    for chunk in model.stream(messages):
        found = chunk if found is None else found + chunk
    assert found is not None
    return found


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]


@pytest.fixture(params=[whole, streamed], ids=lambda how: how.__name__)
def ask(request: pytest.FixtureRequest) -> Callable[[Any, Any], AIMessage]:
    return request.param


def failure(call: Callable[[], object]) -> Any:
    """The exception that a client raises; each has its own kinds."""
    try:
        found = call()
    except Exception as error:
        return error
    raise AssertionError(f"no failure but {found}")


def test_a_text_and_its_usage_arrive(client: Client, ask: Any) -> None:
    usage = "{input: 100, output: 20, cached: 40}"
    script = f"answers: [{{text: 'A longer text, which is streamed in several pieces.', usage: {usage}}}]"
    with ModelServer(parse(script)) as server:
        found = ask(client(server.url), "hello")
        assert found.text == "A longer text, which is streamed in several pieces."
        assert found.usage_metadata["input_tokens"] == 100
        assert found.usage_metadata["output_tokens"] == 20
        assert found.usage_metadata["input_token_details"]["cache_read"] == 40
        assert [asked.last for asked in server.requests] == ["hello"]
        assert server.requests[0].keyed
        assert server.requests[0].stream is (ask is streamed)


def test_tool_calls_and_their_results_go_round(client: Client, ask: Any) -> None:
    script = """
    answers:
      - tool_calls:
          - {name: write_file, arguments: {path: a.txt, content: "one, two"}}
          - {name: write_file, arguments: {path: b.txt, content: ""}}
      - text: done
    """
    with ModelServer(parse(script)) as server:
        model = client(server.url).bind_tools([TOOL])
        first = ask(model, [HumanMessage("go")])
        assert [call["args"] for call in first.tool_calls] == [
            {"path": "a.txt", "content": "one, two"},
            {"path": "b.txt", "content": ""},
        ]
        results = [ToolMessage("ok", tool_call_id=call["id"], name=call["name"]) for call in first.tool_calls]
        assert ask(model, [HumanMessage("go"), first, *results]).text == "done"
        assert [asked.answered for asked in server.requests] == [200, 200]
        assert server.requests[0].tool_names == ("write_file",)


def test_an_answer_that_is_cut_at_the_limit_says_so(client: Client, ask: Any) -> None:
    with ModelServer(parse("answers: [{text: 'half of', stop: length}]")) as server:
        found = ask(client(server.url), "hello")
        told = str(found.response_metadata).lower()
        assert "max_tokens" in told or "length" in told or "max_output_tokens" in told


def test_a_refusal_says_so(client: Client, ask: Any) -> None:
    if client is chat and ask is streamed:
        pytest.skip("LangChain drops the refusal of a streamed chat completion")
    with ModelServer(parse("answers: [{text: 'I will not.', stop: refusal}]")) as server:
        found = ask(client(server.url), "hello")
        told = (str(found.response_metadata) + str(found.additional_kwargs) + str(found.content)).lower()
        assert "refusal" in told or "safety" in told


ERRORS = {
    "rate_limit": "ModelRateLimitError",
    "unauthorized": "ModelAuthenticationError",
    "model_not_found": "ModelNotFoundError",
    "overloaded": "",
    "server_error": "",
    "context_too_long": "ContextOverflowError",
    "insufficient_quota": "",
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_met_as_the_client_knows_it(client: Client, kind: str) -> None:
    with ModelServer(parse(f"answers: [{{error: {kind}}}]")) as server:
        met = failure(lambda: client(server.url).invoke("hello"))
        kinds = [each.__name__ for each in type(met).__mro__]
        assert server.requests[0].answered >= 400
        assert len(server.requests) == 1
        if client is not gemini and not (client in (chat, responses) and kind == "context_too_long"):
            assert not ERRORS[kind] or ERRORS[kind] in kinds, kinds
        elif client in (chat, responses):  # LangChain looks for the code in the message, where it does not stand
            assert met.code == "context_length_exceeded"


def test_retry_after_arrives() -> None:
    with ModelServer(parse("answers: [{error: {kind: rate_limit, retry_after: 7s}}]")) as server:
        for client in (anthropic, chat, responses):
            met = failure(lambda: client(server.url).invoke("hello"))  # noqa: B023  called at once
            assert met.response.headers["retry-after"] == "7"


def test_a_stream_that_breaks_off_is_an_error(client: Client) -> None:
    script = "answers: [{text: 'A text in several pieces, cut off in its middle, or near it.', break_after: 3}]"
    with ModelServer(parse(script)) as server:
        failure(lambda: streamed(client(server.url), "hello"))


def test_an_answer_that_is_not_streamed_and_breaks_off_is_an_error(client: Client) -> None:
    with ModelServer(parse("answers: [{text: hello, break_after: 0}]")) as server:
        failure(lambda: whole(client(server.url), "hello"))


def test_dangling_tool_calls_are_refused(client: Client) -> None:
    call = {"name": "write_file", "args": {"path": "a"}, "id": "call_1", "type": "tool_call"}
    with ModelServer(parse("answers: [{text: done}]")) as server:
        model = client(server.url).bind_tools([TOOL])
        failure(
            lambda: model.invoke([HumanMessage("go"), AIMessage("", tool_calls=[call]), HumanMessage("and now?")])
        )
        assert server.requests[0].answered == 400
        assert server.requests[0].rule == "strict"


def test_an_empty_answer_has_no_content(client: Client, ask: Any) -> None:
    with ModelServer(parse("answers: [{empty: true}]")) as server:
        found = ask(client(server.url), "hello")
        assert found.text == ""
        assert not found.tool_calls


@pytest.mark.parametrize("client", [anthropic, responses])
def test_thinking_is_reported_separately(client: Client, ask: Any) -> None:
    with ModelServer(parse("answers: [{thinking: 'let me see, what was asked', text: hello}]")) as server:
        found = ask(client(server.url), "hello")
        assert found.text == "hello"
        assert any(block["type"] == "reasoning" for block in found.content_blocks)
