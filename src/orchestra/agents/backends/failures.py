"""A provider's exceptions as ours: worth a repeat, out of quota, or for good (A3).

LangChain's normalised errors decide; where a client raises one of its own, its HTTP status does. Keys, headers and
whole bodies never reach a message.
"""

from __future__ import annotations

import email.utils
import time
from typing import Any

from orchestra.agents.answers import OutOfQuota, TooLong
from orchestra.config.providers import Provider
from orchestra.errors import BackendError, Terminal, Transient

_QUOTA = ("insufficient_quota", "billing_hard_limit", "credit balance is too low", "insufficient credits")
_AGAIN = frozenset({408, 409, 425, 429})
_SHOWN = 300


def translated(error: Exception, provider: Provider) -> BackendError:
    """What an exception of a model call means."""
    from langchain_core import exceptions as known

    told, status = _told(error), _status(error)
    where = f"{provider.name}: "
    if any(word in told.lower() or word == _code(error) for word in _QUOTA) or status == 402:
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
    return Terminal(f"{where}{type(error).__name__}: {told}")


def _passing(error: Exception, status: int | None) -> bool:
    """Whether it is of the kind that passes: the network, the server, a stream that broke off."""
    if status is not None and (status >= 500 or status in _AGAIN):
        return True
    if isinstance(error, OSError | TimeoutError | EOFError):
        return True
    kinds = {f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(error).__mro__}
    return bool(kinds & _PASSING)


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


def _status(error: BaseException) -> int | None:
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
    body: Any = getattr(error, "body", None) or getattr(error, "details", None)
    if isinstance(body, dict):
        inner = body.get("error")
        return inner if isinstance(inner, dict) else body
    return {}


def _code(error: BaseException) -> str:
    body = _body(error)
    return str(body.get("code") or body.get("type") or "")


def _told(error: BaseException) -> str:
    """What the provider said, without the rest of its body."""
    message = _body(error).get("message") or getattr(error, "message", None) or str(error) or type(error).__name__
    return " ".join(str(message).split())[:_SHOWN]


def _retry_after(error: BaseException) -> float:
    """Seconds that the provider asks to wait; 0 where it does not."""
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
