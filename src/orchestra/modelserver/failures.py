"""Failures as each provider words them: status, type, code and message by kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestra.modelserver.answers import Failure

_NO_CREDIT = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
    "purchase credits."
)
_TOO_LONG = (
    "This model's maximum context length is 128000 tokens. However, your messages resulted in 130012 tokens. "
    "Please reduce the length of the messages."
)

_ANTHROPIC: Mapping[str, tuple[int, str, str]] = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    "insufficient_quota": (
        400,
        "invalid_request_error",
        _NO_CREDIT,
    ),
    "unauthorized": (401, "authentication_error", "invalid x-api-key"),
    "forbidden": (403, "permission_error", "Your API key does not have permission to use the specified resource."),
    "model_not_found": (404, "not_found_error", "model: {model}"),
    "context_too_long": (400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
    "content_refused": (400, "invalid_request_error", "Output blocked by content filtering policy"),
    "invalid_request": (400, "invalid_request_error", "messages: at least one message is required"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "server_error": (500, "api_error", "Internal server error"),
}

_OPENAI: Mapping[str, tuple[int, str, str | None, str]] = {
    "rate_limit": (
        429,
        "tokens",
        "rate_limit_exceeded",
        "Rate limit reached for {model} on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.",
    ),
    "insufficient_quota": (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "unauthorized": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "forbidden": (403, "invalid_request_error", "unsupported_country_region_territory", "Not allowed."),
    "model_not_found": (
        404,
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    "context_too_long": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        _TOO_LONG,
    ),
    "content_refused": (
        400,
        "invalid_request_error",
        "content_policy_violation",
        "Your request was rejected as a result of our safety system.",
    ),
    "invalid_request": (400, "invalid_request_error", None, "Invalid value for 'messages'."),
    "overloaded": (503, "server_error", None, "The engine is currently overloaded, please try again later"),
    "server_error": (500, "server_error", None, "The server had an error while processing your request."),
}

_GEMINI: Mapping[str, tuple[int, str, str]] = {
    "rate_limit": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "insufficient_quota": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "unauthorized": (401, "UNAUTHENTICATED", "API key not valid. Please pass a valid API key."),
    "forbidden": (403, "PERMISSION_DENIED", "Your API key doesn't have the required permissions."),
    "model_not_found": (404, "NOT_FOUND", "models/{model} is not found for API version v1beta."),
    "context_too_long": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "content_refused": (400, "INVALID_ARGUMENT", "The request was blocked by the safety filters."),
    "invalid_request": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "server_error": (500, "INTERNAL", "An internal error has occurred."),
}


def anthropic(failure: Failure, model: str) -> tuple[int, Any]:
    """Status and body of a failure at Anthropic's API."""
    status, kind, message = _ANTHROPIC[failure.kind]
    body = {
        "type": "error",
        "error": {"type": kind, "message": failure.message or message.format(model=model)},
        "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
    }
    return failure.status or status, body if failure.body is None else failure.body


def openai(failure: Failure, model: str) -> tuple[int, Any]:
    """Status and body of a failure at OpenAI's API."""
    status, kind, code, message = _OPENAI[failure.kind]
    error = {
        "message": failure.message or message.format(model=model),
        "type": kind,
        "param": None,
        "code": code,
    }
    return failure.status or status, {"error": error} if failure.body is None else failure.body


def gemini(failure: Failure, model: str) -> tuple[int, Any]:
    """Status and body of a failure at Gemini's API, which names in the body when to try again."""
    status, word, message = _GEMINI[failure.kind]
    error: dict[str, Any] = {
        "code": failure.status or status,
        "message": failure.message or message.format(model=model),
        "status": word,
    }
    if failure.retry_after:
        error["details"] = [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{failure.retry_after:g}s"}
        ]
    return failure.status or status, {"error": error} if failure.body is None else failure.body
