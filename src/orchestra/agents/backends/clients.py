"""The providers' clients: LangChain's chat models, built from a provider's settings (A8, A11)."""

from __future__ import annotations

import logging
import os
import ssl
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from orchestra.agents.backends.failures import message_of
from orchestra.agents.backends.importing import importing
from orchestra.config.providers import Provider
from orchestra.errors import Terminal
from orchestra.ports import ModelChoice

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from pydantic import SecretStr

SILENCE = 300.0
"""Seconds without a byte of an answer after which a call has failed, by default."""

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
    build = _BUILD[provider.kind]
    common: dict[str, Any] = {"max_retries": 0, **_options(provider, choice)}
    given = {**common, **provider.options}
    for package in _TALKATIVE:
        logging.getLogger(package).addHandler(_NOWHERE)
        warnings.filterwarnings("ignore", module=package)
    made: BaseChatModel
    try:
        with importing(*_UNUSED):
            made = build(provider, choice, dict(given))
    except ImportError:  # a version whose modules need the package around them
        with importing():
            made = build(provider, choice, dict(given))
    except (TypeError, ValueError) as error:
        raise Terminal(f"{provider.name}: its settings are refused: {message_of(error)}") from error
    return made


def untraced() -> AbstractContextManager[None]:
    """Send nothing to LangSmith, whose variables may be set although no setting of ours names it."""
    from langsmith import tracing_context

    return tracing_context(enabled=False)


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


def _options(provider: Provider, choice: ModelChoice) -> dict[str, Any]:
    temperature = choice.temperature if choice.temperature is not None else provider.temperature
    wanted = {
        "max_tokens": choice.max_tokens or provider.max_tokens or None,
        "temperature": temperature,
        "reasoning_effort": choice.reasoning_effort or None,
    }
    return {key: value for key, value in wanted.items() if value is not None}


def _key(provider: Provider) -> str:
    """The provider's key; empty where none is set."""
    return next((os.environ[name] for name in provider.key_names if os.environ.get(name)), "")


def _secret(key: str) -> SecretStr:
    from pydantic import SecretStr

    return SecretStr(key)


def _anthropic(provider: Provider, choice: ModelChoice, given: dict[str, Any]) -> Any:
    import anthropic
    from langchain_anthropic.chat_models import ChatAnthropic

    effort = given.pop("reasoning_effort", None)
    if effort:
        given["effort"] = effort
    given.setdefault("max_tokens", 8192)
    if provider.base_url:
        given["base_url"] = provider.base_url

    class OwnConnections(ChatAnthropic):
        """Shares no connections with other clients: LangChain's shared ones end with the first event loop."""

        @cached_property
        def _async_client(self) -> anthropic.AsyncClient:
            http = anthropic.DefaultAsyncHttpxClient(verify=_certificates())
            return anthropic.AsyncClient(**self._client_params, http_client=http)

    common = {
        "model": choice.model,
        "api_key": _secret(_key(provider) or "none"),
        "timeout": provider.timeout or SILENCE,
        "stream_usage": True,
    }
    return OwnConnections(**{**common, **given})


def _openai(provider: Provider, choice: ModelChoice, given: dict[str, Any]) -> Any:
    from langchain_openai.chat_models.base import ChatOpenAI

    base = provider.base_url
    if provider.kind == "openrouter":
        base = base or os.environ.get("OPENROUTER_BASE_URL") or _OPENROUTER
    if base:
        given["base_url"] = base
    if provider.api:
        given["use_responses_api"] = provider.api == "responses"
    elif base:
        given["use_responses_api"] = False

    common = {
        "model": choice.model,
        **_own_connections(),
        "api_key": _secret(_key(provider) or "none"),
        "timeout": provider.timeout or SILENCE,
        "stream_usage": True,
        "stream_chunk_timeout": None,
    }
    return _with_refusals(ChatOpenAI)(**{**common, **given})


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


def _azure(provider: Provider, choice: ModelChoice, given: dict[str, Any]) -> Any:
    from langchain_openai.chat_models.azure import AzureChatOpenAI

    if provider.base_url:
        given["azure_endpoint"] = provider.base_url
    common = {
        "azure_deployment": choice.model,
        "model": choice.model,
        **_own_connections(),
        "api_key": _secret(_key(provider)),
        "timeout": provider.timeout or SILENCE,
        "stream_usage": True,
    }
    return _with_refusals(AzureChatOpenAI)(**{**common, **given})


def _google(provider: Provider, choice: ModelChoice, given: dict[str, Any]) -> Any:
    from langchain_google_genai.chat_models import ChatGoogleGenerativeAI

    effort = given.pop("reasoning_effort", None)
    if effort:
        given["thinking_level"] = effort
    if provider.base_url:
        given["base_url"] = provider.base_url
    given["client_args"] = {"verify": _certificates(), **given.get("client_args", {})}
    if provider.kind == "vertex":
        given["vertexai"] = True
    else:
        given["api_key"] = _key(provider) or "none"
    common = {"model": choice.model, "timeout": provider.timeout or SILENCE}
    return ChatGoogleGenerativeAI(**{**common, **given})


def _bedrock(provider: Provider, choice: ModelChoice, given: dict[str, Any]) -> Any:
    from langchain_aws.chat_models.bedrock_converse import ChatBedrockConverse

    given.pop("max_retries", None)
    given.pop("reasoning_effort", None)
    if provider.base_url:
        given["base_url"] = provider.base_url
    from botocore.config import Config  # type: ignore[import-untyped]

    once = Config(retries={"total_max_attempts": 1}, read_timeout=provider.timeout or SILENCE)
    return ChatBedrockConverse(model=choice.model, config=once, **given)


_BUILD: Mapping[str, Any] = {
    "anthropic": _anthropic,
    "openai": _openai,
    "openrouter": _openai,
    "azure": _azure,
    "google": _google,
    "vertex": _google,
    "bedrock": _bedrock,
}
