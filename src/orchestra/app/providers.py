"""The configured providers: what each needs here, and one cheap call to test it (A8)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from orchestra.agents.models import CHEAP
from orchestra.config.providers import KINDS, Provider
from orchestra.config.settings import Settings
from orchestra.errors import BackendError
from orchestra.graph.report import plural
from orchestra.ports import ModelChoice
from orchestra.run.conversation import Message

ASKED = "Reply with the word OK."
TEST_CALL_TOKENS = 64
"""Tokens that the answer to the cheap call may have."""

TEST_CALL_SECONDS = 60.0
"""Seconds that it is waited for."""


class ProviderCheck(NamedTuple):
    """Whether a provider works (None: unknown), what was found, and one command that fixes it."""

    well: bool | None
    what: str
    fix: str = ""


def providers_of(settings: Settings) -> list[Provider]:
    """The providers that the settings configure."""
    names = dict.fromkeys((*settings.config.providers.named, settings.config.providers.default))
    return [provider for name in names if name and (provider := settings.config.provider(name)) is not None]


def needs(provider: Provider) -> Iterator[ProviderCheck]:
    """What a provider needs and is missing here: its package, its key."""
    kind = KINDS[provider.kind]
    if package := provider.lacks_package:
        yield ProviderCheck(
            False,
            f"provider {provider.name}: the package {package} is not installed",
            f"pip install 'orchestra-dot[{kind.extra}]'",
        )
    if provider.lacks_key:
        yield ProviderCheck(
            False,
            f"provider {provider.name}: {' or '.join(provider.key_names)} is not set",
            f"export {provider.key_names[0]}=…",
        )


def standing(provider: Provider) -> Iterator[ProviderCheck]:
    """What is missing for a provider; where nothing is, a line that says so."""
    missing = list(needs(provider))
    yield from missing
    if not missing:
        key = next((name for name in provider.key_names if os.environ.get(name)), "")
        yield ProviderCheck(
            True, f"provider {provider.name}: {f'key in {key}' if key else 'needs no key'}, package installed"
        )


async def check_providers(settings: Settings) -> AsyncIterator[ProviderCheck]:
    """One cheap call for each provider that has what it needs."""
    for provider in providers_of(settings):
        if not any(needs(provider)):
            yield await _check_provider(provider)


async def _check_provider(provider: Provider) -> ProviderCheck:
    models = provider.models
    model = models.get(CHEAP) or models.get("worker") or next(iter(models.values()), "")
    if not model:
        fix = f"add `models: {{cheap: …}}` below providers.{provider.name}"
        return ProviderCheck(None, f"provider {provider.name}: no model is configured, so none was asked", fix)
    from orchestra.agents.backends.models import ChatModel  # only a call needs it

    choice = ModelChoice(model=model, provider=provider.name, max_tokens=TEST_CALL_TOKENS)
    patient = replace(provider, timeout=min(provider.timeout or TEST_CALL_SECONDS, TEST_CALL_SECONDS))
    try:
        async with aclosing(await asyncio.to_thread(ChatModel, patient, choice, {})) as client:
            answer = await client.ask("", [Message(role="user", text=ASKED)], lambda _text: None)
    except BackendError as failure:
        return ProviderCheck(False, f"{model}: {failure}", _fix(provider, str(failure)))
    except Exception as failure:  # noqa: BLE001  whatever a client refuses before it asks
        return ProviderCheck(False, f"provider {provider.name}, {model}: {type(failure).__name__}: {failure}"[:500])
    used = f"{plural(answer.usage.input, 'token')} in, {answer.usage.output} out"
    return ProviderCheck(
        True, f"provider {provider.name}: {model} answered in {answer.duration_ms / 1000:.1f} s, {used}"
    )


def _fix(provider: Provider, failure: str) -> str:
    """What to do about a call that failed."""
    if "key is not accepted" in failure and provider.key_names:
        return f"export {provider.key_names[0]}=…, with a key that is valid"
    if "out of quota" in failure:
        return "add credit to the account of this key"
    if "no connection" in failure:
        return f"curl -sv {provider.base_url}" if provider.base_url else "check the network, and HTTPS_PROXY"
    return ""
