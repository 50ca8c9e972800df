"""The providers' clients: LangChain's chat models, built from a provider's settings (A8, A11)."""

from __future__ import annotations

import logging
import os
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from functools import cache, cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestra.agents.backends.failures import message_of
from orchestra.agents.backends.importing import importing
from orchestra.config.providers import Provider
from orchestra.errors import Terminal
from orchestra.ports import ModelChoice

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from pydantic import SecretStr

_OPENROUTER = "https://openrouter.ai/api/v1"

_TALKATIVE = (
    "google_genai",
    "langchain_anthropic",
    "langchain_aws",
    "langchain_core",
    "langchain_google_genai",
    "langchain_openai",
)
"""Packages whose warnings would appear between the lines of a run."""

_UNUSED = "langsmith.types", "langchain_openai", "langchain_openai.chat_models"
"""Packages of which a single module is needed: the models of a tracing service, OpenAI's other clients."""

_NOWHERE = logging.NullHandler()


def client(provider: Provider, choice: ModelChoice) -> BaseChatModel:
    """The chat model of a provider (A11); it does not repeat on its own (A3).

    Raises ``Terminal`` for settings that its class refuses.
    """
    for package in _TALKATIVE:
        logging.getLogger(package).addHandler(_NOWHERE)
        warnings.filterwarnings("ignore", module=package)
    try:
        with importing(*_UNUSED):
            return _made(provider, choice)
    except ImportError:  # a version whose modules need the package around them
        with importing():
            return _made(provider, choice)
    except (TypeError, ValueError) as error:
        raise Terminal(f"{provider.name}: its settings are refused: {message_of(error)}") from error


def _made(provider: Provider, choice: ModelChoice) -> BaseChatModel:
    """The model from the settings common to all kinds, its kind's own, and the provider's ``options``."""
    kind = provider.kind
    make, own = _BUILD[kind](provider, choice)
    temperature = choice.temperature if choice.temperature is not None else provider.temperature
    common = {
        "model": choice.model,
        "timeout": provider.timeout,
        "max_retries": 0,
        "max_tokens": choice.max_tokens or provider.max_tokens or (8192 if kind == "anthropic" else None),
        "temperature": temperature,
        _EFFORTS.get(kind, "reasoning_effort"): choice.reasoning_effort or None,
        _ADDRESSES.get(kind, "base_url"): provider.base_url or None,
    }
    given = {name: value for name, value in common.items() if value is not None}
    made: BaseChatModel = make(**{**given, **own, **provider.options})
    return made


_EFFORTS: Mapping[str, str] = {"anthropic": "effort", "google": "thinking_level", "vertex": "thinking_level"}
"""What the clients call a reasoning effort, where that is not ``reasoning_effort``."""

_ADDRESSES: Mapping[str, str] = {"azure": "azure_endpoint"}
"""What they call the address of the API, where that is not ``base_url``."""


def untraced() -> AbstractContextManager[None]:
    """Send nothing to LangSmith, whose variables may be set although no setting of ours names it."""
    from langsmith import tracing_context

    return tracing_context(enabled=False)


_RESPONSES: ContextVar[list[Any]] = ContextVar("responses")
"""The streamed responses of the call that is made, of clients that leave one open when it fails."""


async def _keep_response(response: Any) -> None:
    if (known := _RESPONSES.get(None)) is not None:
        known.append(response)


@asynccontextmanager
async def closing_responses() -> AsyncIterator[None]:
    """Close what a call that fails leaves open: asyncio would complain of it when the event loop ends."""
    made: list[Any] = []
    _RESPONSES.set(made)
    try:
        yield
    except Exception:
        for response in made:
            with suppress(Exception):  # the error of the call is the one to tell
                await response.aclose()
        raise


async def close(model: BaseChatModel) -> None:
    """Close the connections of a client that ``client`` made."""
    made: Any = model
    if hasattr(made, "http_async_client"):  # OpenAI's kinds
        await made.http_async_client.aclose()
        made.http_client.close()
    elif "_async_client" in made.__dict__:  # Anthropic's, made at its first call
        await made.__dict__["_async_client"].close()
    elif hasattr(getattr(made, "client", None), "aio"):  # Google's
        await made.client.aio.aclose()
        made.client.close()


@cache
def _certificates() -> ssl.SSLContext:
    """The certificates that clients trust; loading them takes longer than all else that a client needs."""
    import httpx2

    return httpx2.create_ssl_context()


def _secret(key: str) -> SecretStr:
    from pydantic import SecretStr

    return SecretStr(key)


def _anthropic(provider: Provider, _choice: ModelChoice) -> tuple[Any, dict[str, Any]]:
    import anthropic
    from langchain_anthropic.chat_models import ChatAnthropic

    class OwnConnections(ChatAnthropic):
        """Shares no connections with other clients: LangChain's shared ones end with the first event loop."""

        @cached_property
        def _async_client(self) -> anthropic.AsyncClient:
            http = anthropic.DefaultAsyncHttpxClient(verify=_certificates())
            return anthropic.AsyncClient(**self._client_params, http_client=http)

    return OwnConnections, {"api_key": _secret(provider.key_value or "none"), "stream_usage": True}


def _openai(provider: Provider, _choice: ModelChoice) -> tuple[Any, dict[str, Any]]:
    from langchain_openai.chat_models.base import ChatOpenAI

    base = provider.base_url
    if provider.kind == "openrouter":
        base = base or os.environ.get("OPENROUTER_BASE_URL") or _OPENROUTER
    own: dict[str, Any] = {"base_url": base} if base else {}
    if base or provider.api:
        own["use_responses_api"] = provider.api == "responses"
    return _with_refusals(ChatOpenAI), {
        **own,
        **_own_connections(),
        "api_key": _secret(provider.key_value or "none"),
        "stream_usage": True,
        "stream_chunk_timeout": None,
    }


@cache
def _with_refusals(base: Any) -> Any:
    """A client that keeps the refusal of a streamed answer, which LangChain drops."""

    class WithRefusals(base):  # type: ignore[misc]
        def _convert_chunk_to_generation_chunk(self, chunk: dict[str, Any], *others: Any) -> Any:
            made = super()._convert_chunk_to_generation_chunk(chunk, *others)
            said = next(
                (each["delta"].get("refusal") for each in chunk.get("choices") or () if each["delta"]), None
            )
            if made is not None and said:
                made.message.additional_kwargs["refusal"] = said
            return made

    return WithRefusals


def _own_connections() -> dict[str, Any]:
    """HTTP clients that no other model shares: LangChain's shared ones end with the first event loop."""
    import openai

    return {
        "http_client": openai.DefaultHttpxClient(verify=_certificates()),
        "http_async_client": openai.DefaultAsyncHttpxClient(verify=_certificates()),
    }


def _azure(provider: Provider, choice: ModelChoice) -> tuple[Any, dict[str, Any]]:
    from langchain_openai.chat_models.azure import AzureChatOpenAI

    return _with_refusals(AzureChatOpenAI), {
        **_own_connections(),
        "azure_deployment": choice.model,
        "api_key": _secret(provider.key_value),
        "stream_usage": True,
    }


def _google(provider: Provider, _choice: ModelChoice) -> tuple[Any, dict[str, Any]]:
    from langchain_google_genai.chat_models import ChatGoogleGenerativeAI

    def make(client_args: Mapping[str, Any] = MappingProxyType({}), **given: Any) -> Any:
        own = {"verify": _certificates(), "event_hooks": {"response": [_keep_response]}}
        return ChatGoogleGenerativeAI(client_args={**own, **client_args}, **given)

    return make, {"vertexai": True} if provider.kind == "vertex" else {"api_key": provider.key_value or "none"}


def _bedrock(provider: Provider, _choice: ModelChoice) -> tuple[Any, dict[str, Any]]:
    from botocore.config import Config  # type: ignore[import-untyped]
    from langchain_aws.chat_models.bedrock_converse import ChatBedrockConverse

    once = Config(retries={"total_max_attempts": 1}, read_timeout=provider.timeout)

    def make(*, timeout: float, max_retries: int, reasoning_effort: str = "", **given: Any) -> Any:
        return ChatBedrockConverse(config=once, **given)  # the others are in it, or not taken

    return make, {}


_BUILD: Mapping[str, Callable[[Provider, ModelChoice], tuple[Any, dict[str, Any]]]] = {
    "anthropic": _anthropic,
    "openai": _openai,
    "openrouter": _openai,
    "azure": _azure,
    "google": _google,
    "vertex": _google,
    "bedrock": _bedrock,
}
"""By kind, what makes a model, and the settings that only this kind has."""
