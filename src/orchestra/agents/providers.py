"""The model providers of the configuration: which kinds there are, what each needs, whether it is there (A8)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from orchestra.errors import ConfigError, CredentialsMissing

REPEATS = 5
"""How often a model call that failed for the moment is repeated, by default (A3)."""

SILENCE = 300.0
"""Seconds without a byte of an answer after which a model call has failed, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A family of providers: the extra that brings it, the module that has to be there, the variables that may hold
    its key, in order. ``keyless`` ones are configured by their vendor's own variables."""

    extra: str
    module: str
    keys: tuple[str, ...] = ()
    base_url: str = ""
    keyless: bool = False


KINDS: Mapping[str, Kind] = {
    "anthropic": Kind(extra="anthropic", module="langchain_anthropic", keys=("ANTHROPIC_API_KEY",)),
    "openai": Kind(extra="openai", module="langchain_openai", keys=("OPENAI_API_KEY",)),
    "google": Kind(extra="google", module="langchain_google_genai", keys=("GOOGLE_API_KEY", "GEMINI_API_KEY")),
    "openrouter": Kind(
        extra="openai",
        module="langchain_openai",
        keys=("OPENROUTER_API_KEY",),
        base_url="https://openrouter.ai/api/v1",
    ),
    "azure": Kind(extra="openai", module="langchain_openai", keys=("AZURE_OPENAI_API_KEY",)),
    "bedrock": Kind(extra="bedrock", module="langchain_aws", keyless=True),
    "vertex": Kind(extra="google", module="langchain_google_genai", keyless=True),
}
"""Every kind of provider by its name (A8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider of the configuration.

    ``models`` are aliases; ``timeout`` is in seconds without a byte; ``options`` go to the client as they are.
    ``api`` is ``chat`` or ``responses``, OpenAI's two protocols.
    """

    name: str
    kind: str
    models: Mapping[str, str] = field(default_factory=dict)
    base_url: str = ""
    api_key_env: str = ""
    api: str = ""
    max_tokens: int = 0
    temperature: float | None = None
    retries: int = REPEATS
    timeout: float = SILENCE
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The environment variables that may hold its key, in order."""
        return (self.api_key_env,) if self.api_key_env else KINDS[self.kind].keys

    def key(self, environment: Mapping[str, str] = os.environ) -> str:
        """Its key; empty for one that needs none. Raises ``CredentialsMissing``."""
        for name in self.key_names:
            if environment.get(name):
                return environment[name]
        if KINDS[self.kind].keyless or (self.base_url and not self.api_key_env):
            return ""
        names = " or ".join(self.key_names)
        raise CredentialsMissing(
            f"provider {self.name!r} needs a key, and {names} has no value",
            fix=f"export {self.key_names[0]}=…, or run with --simulate FILE",
        )


def ready(provider: Provider, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ``ConfigError`` where a provider's package is missing, ``CredentialsMissing`` where its key is (A8)."""
    kind = KINDS[provider.kind]
    if find_spec(kind.module) is None or find_spec("langchain") is None:
        raise ConfigError(
            f"provider {provider.name!r} needs the package {kind.module.replace('_', '-')}, which is not installed",
            fix=f"pip install 'orchestra-dot[{kind.extra}]'",
        )
    provider.key(environment)
