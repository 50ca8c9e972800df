"""The ``providers`` section: who serves models, under which names (configuration.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NamedTuple

from orchestra.config.schema import (
    WRONG,
    MapOf,
    Section,
    SettingPlace,
    address,
    bound,
    choice,
    flag,
    key,
    kind_of,
    length,
    list_of,
    mapping,
    number,
    suggestion,
    variable,
    whole,
    word,
)


class ProviderKind(NamedTuple):
    """A kind of provider: its extra, its module, its key variables, the prefixes of its models.

    Without key variables the vendor's own configuration counts. ``hidden`` are further credential variables, which
    no command gets while a provider of this kind is configured (A36).
    """

    extra: str
    module: str
    keys: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")

KINDS: Mapping[str, ProviderKind] = {
    "anthropic": ProviderKind("anthropic", "langchain_anthropic", ("ANTHROPIC_API_KEY",), ("claude-",)),
    "openai": ProviderKind(
        "openai", "langchain_openai", ("OPENAI_API_KEY",), ("gpt-", "o1", "o3", "o4", "chatgpt-", "codex-")
    ),
    "google": ProviderKind(
        "google", "langchain_google_genai", ("GOOGLE_API_KEY", "GEMINI_API_KEY"), ("gemini-", "gemma-")
    ),
    "openrouter": ProviderKind("openai", "langchain_openai", ("OPENROUTER_API_KEY",)),
    "azure": ProviderKind(
        "openai", "langchain_openai", ("AZURE_OPENAI_API_KEY",), hidden=("AZURE_OPENAI_AD_TOKEN",)
    ),
    "bedrock": ProviderKind("bedrock", "langchain_aws", hidden=_AWS),
    "vertex": ProviderKind("google", "langchain_google_genai", hidden=("GOOGLE_APPLICATION_CREDENTIALS",)),
}
"""Every kind of provider by its name (A8)."""

ALIASES: Mapping[str, str] = {"gemini": "google"}
"""Attractor's names for kinds that are called otherwise here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider.

    ``models`` are aliases; ``timeout`` is in seconds without a byte of an answer; ``options`` go to the client
    unchanged.
    """

    name: str = ""
    kind: str = key(choice(*KINDS), "its protocol, if its name is not a known kind", default="")
    models: Mapping[str, str] = key(MapOf(word), "aliases: smart, worker, cheap or any name", factory=dict)
    max_tokens: int | None = key(whole(1), "maximum tokens of one answer", default=None)
    context_window: int | None = key(
        whole(1000), "context size of its models in tokens, if it is not known (E40)", default=None
    )
    temperature: float | None = key(number(0, 2), "sampling temperature", default=None)
    reasoning_effort: str = key(
        choice("none", "minimal", "low", "medium", "high", "xhigh"), "reasoning effort", default=""
    )
    base_url: str = key(address, "address of its API", default="", aliases=("api_base",))
    api_key_env: str = key(variable, "environment variable that holds its key", default="")
    api: str = key(choice("chat", "responses"), "which of OpenAI's protocols", default="")
    retries: int = key(whole(0, 100), "retries of a call that failed temporarily (A3)", default=5)
    timeout: float = key(bound(length), "how long a call may receive nothing before it fails", default=300.0)
    fallbacks: tuple[str, ...] = key(list_of(word), "provider:model to use when it fails (A15)", default=())
    prompt_cache: bool = key(flag, "cache prompts if the provider supports it (A14)", default=True)
    options: Mapping[str, Any] = key(mapping, "further options of its client", factory=dict)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The environment variables that may hold its key, in order; none where the vendor's own setup counts."""
        return (self.api_key_env,) if self.api_key_env else KINDS[self.kind].keys

    @property
    def keyless(self) -> bool:
        """Whether it can be asked without a key: a server of one's own, or a vendor's own configuration."""
        return not self.api_key_env and (bool(self.base_url) or not KINDS[self.kind].keys)

    @property
    def key_value(self) -> str:
        """Its key, without white space around it, as a file of secrets may have; empty where none is set."""
        return next((key for name in self.key_names if (key := os.environ.get(name, "").strip())), "")

    @property
    def lacks_key(self) -> bool:
        """Whether it needs a key and none is set."""
        return not self.keyless and not self.key_value

    @property
    def lacks_package(self) -> str:
        """The package that it needs and that is not installed; empty for none."""
        modules = (KINDS[self.kind].module, "langchain")
        return next((module.replace("_", "-") for module in modules if find_spec(module) is None), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """The providers by name, and the default one."""

    default: str = ""
    named: Mapping[str, Provider] = field(default_factory=dict)


def providers(value: Any, place: SettingPlace) -> Providers:
    """Read the section: ``default``, and every other key a provider."""
    if value is None:
        return Providers()
    if not isinstance(value, dict):
        place.fault(f"expected providers by name, not {kind_of(value)}", "write `default: anthropic` below it")
        return Providers()
    default = word(value["default"], place.at("default")) if "default" in value else ""
    named: dict[str, Provider] = {}
    for name, item in value.items():
        if name != "default":
            named[name] = _provider(name, item, place.at(name))
    return Providers(default="" if default is WRONG else default, named=named)


def _provider(name: str, value: Any, place: SettingPlace) -> Provider:
    before = len(place.faults)
    found = Section(Provider, named=True)(value, place)
    if found.kind:
        return found
    if name not in KINDS and len(place.faults) == before:
        near = suggestion(name, KINDS)
        fix = near if near.startswith("did") else f"add `kind: …`: {', '.join(KINDS)}"
        place.key_fault("kind is missing: no provider is known by this name", fix)
    kind = name if name in KINDS else "openai"
    return Provider(**{each: getattr(found, each) for each in found.__dataclass_fields__} | {"kind": kind})
