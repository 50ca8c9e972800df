"""A provider's exceptions as ours: transient, out of quota, or terminal (A3).

LangChain's normalised errors decide; where a client raises one of its own, its HTTP status does. Keys, headers and
whole bodies never reach a message.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator
from typing import Any

from orchestra.agents.answers import OutOfQuota, TooLong
from orchestra.config.providers import Provider
from orchestra.errors import BackendError, Terminal, Transient

_QUOTA = (
    "insufficient_quota",
    "billing_hard_limit",
    "credit balance is too low",
    "insufficient credits",
    "servicequotaexceededexception",
)
_PLAN = "check your plan and billing"
"""What Google says of quotas of a minute too: with a time to wait it is a rate limit."""

_AGAIN = frozenset({408, 409, 425, 429})
_SHOWN = 300


def translate(error: Exception, provider: Provider) -> BackendError:
    """What an exception of a model call means."""
    from langchain_core import exceptions as known

    told, status = message_of(error), _status(error)
    where = f"{provider.name}: "
    spent = _PLAN in told.lower() and not _retry_after(error)
    if spent or status == 402 or any(word in told.lower() or word == _code(error) for word in _QUOTA):
        return OutOfQuota(f"{where}out of quota: {told}")
    if isinstance(error, known.ContextOverflowError) or _code(error) == "context_length_exceeded":
        return TooLong(f"{where}the conversation is longer than the model's window: {told}")
    if isinstance(error, known.ModelAuthenticationError | known.ModelPermissionDeniedError) or status in (401, 403):
        names = " or ".join(provider.key_names) or "its credentials"
        return Terminal(f"{where}the key is not accepted (HTTP {status or 401}); it comes from {names}")
    if isinstance(error, known.ModelRateLimitError) or status == 429:
        return Transient(f"{where}rate limit: {told}", retry_after=_retry_after(error))
    if isinstance(error, known.ModelError) and not error.is_retryable:
        return Terminal(f"{where}the request was refused{_of(status)}: {told}")
    if isinstance(error, known.ModelError) or _passing(error, status):
        at = f" to {provider.base_url}" if provider.base_url and status is None else ""
        return Transient(f"{where}{_kind(error)}{at}{_of(status)}: {told}", retry_after=_retry_after(error))
    if status is not None and 400 <= status < 500:
        return Terminal(f"{where}the request was refused{_of(status)}: {told}")
    if isinstance(error, ValueError) and told.startswith("No generation"):  # LangChain's word for an empty body
        return Transient(f"{where}the answer was empty")
    return Terminal(f"{where}{type(error).__name__}: {told}")


def _passing(error: Exception, status: int | None) -> bool:
    """Whether a failure is transient: the network, the server, a stream that broke off."""
    if status is not None and (status >= 500 or status in _AGAIN):
        return True
    if isinstance(error, OSError | TimeoutError | EOFError) or _code(error) in _CODES:
        return True
    if type(error) is ValueError and any(word in str(error).lower() for word in _IN_STREAM):
        return True
    kinds = {f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(error).__mro__}
    return bool(kinds & _PASSING)


_CODES = frozenset(
    {
        "throttlingexception",
        "serviceunavailableexception",
        "internalserverexception",
        "modelstreamerrorexception",
        "modeltimeoutexception",
        "modelnotreadyexception",
        "overloaded_error",
        "rate_limit_error",
        "rate_limit_exceeded",
        "api_error",
        "timeout_error",
        "server_error",
    }
)
"""Failures of Bedrock, Anthropic and OpenAI that pass; in the middle of a stream they have no HTTP status."""

_IN_STREAM = ("server_error", "rate_limit", "rate limit", "overloaded", "try again", "error while processing")
"""Words of a failure in OpenAI's stream of responses, of which LangChain keeps only the message."""

_PASSING = frozenset(
    {
        "httpx.TransportError",
        "httpx2.TransportError",
        "httpx.StreamError",
        "httpx2.StreamError",
        "openai.APIConnectionError",
        "anthropic.APIConnectionError",
        "langchain_openai.StreamChunkTimeoutError",
        "aiohttp.ClientError",
        "botocore.ConnectionError",
        "botocore.HTTPClientError",
        "urllib3.HTTPError",
        "json.JSONDecodeError",
        "openai.APIError",
    }
)
"""Classes whose failures pass, by package and name; a request that was refused was told apart before."""


def _of(status: int | None) -> str:
    return f" (HTTP {status})" if status else ""


def _kind(error: Exception) -> str:
    name = type(error).__name__
    return "no connection" if "Connection" in name or "Connect" in name else "the provider failed"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _status(error: BaseException) -> int | None:
    return next((status for each in _chain(error) if (status := _own_status(each)) is not None), None)


def _own_status(error: BaseException) -> int | None:
    for name in ("status_code", "code", "http_status"):
        value = getattr(error, name, None)
        if isinstance(value, int) and 100 <= value < 600:
            return value
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return found if isinstance(found, int) else None
    return getattr(response, "status_code", None)


def _body(error: BaseException) -> dict[str, Any]:
    """What the provider sent, of the exception or of the one that it was raised from."""
    for each in _chain(error):
        body: Any = getattr(each, "body", None) or getattr(each, "details", None)
        if isinstance(body, dict) and body:
            inner = body.get("error")
            return inner if isinstance(inner, dict) else body
        response: Any = getattr(each, "response", None)
        if isinstance(response, dict) and isinstance(response.get("Error"), dict):  # botocore
            return {"code": response["Error"].get("Code"), "message": response["Error"].get("Message")}
    return {}


def _code(error: BaseException) -> str:
    body = _body(error)
    return str(body.get("code") or body.get("type") or "").lower()


def message_of(error: BaseException) -> str:
    """Return the provider's message without its body; a fault of settings without their values."""
    faults = getattr(error, "errors", None)
    if isinstance(error, ValueError) and callable(faults):  # pydantic's
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".lstrip(": ") for fault in faults())
    message = _body(error).get("message") or getattr(error, "message", None) or str(error) or type(error).__name__
    return " ".join(str(message).split())[:_SHOWN]


def _retry_after(error: BaseException) -> float:
    """Seconds that the provider asks to wait, in a header or (Google) in the body; 0 where it does not."""
    for detail in _body(error).get("details") or ():
        delay = str(detail.get("retryDelay", "")) if isinstance(detail, dict) else ""
        if delay.removesuffix("s").replace(".", "", 1).isdigit():
            return float(delay.removesuffix("s"))
    response: Any = getattr(error, "response", None)
    headers: Any = getattr(response, "headers", None) or {}
    try:
        milliseconds, told = headers.get("retry-after-ms"), headers.get("retry-after")
    except AttributeError:
        return 0.0
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        return max(0.0, float(told)) if told else 0.0
    except ValueError:
        parsed = email.utils.parsedate_tz(told or "")
        return max(0.0, email.utils.mktime_tz(parsed) - time.time()) if parsed else 0.0
