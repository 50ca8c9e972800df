"""What the environment alone says; imports next to nothing, so that ``compile`` stays quick."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from orchestra.errors import ConfigError
from orchestra.run.secrets import SHORTEST, KnownSecrets

FILE = "orchestra.yaml"

PROVIDER_KEYS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AZURE_OPENAI_API_KEY",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CODEX_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
)
"""Environment variables that are secret without being named."""


def folders_of(pipeline: str) -> tuple[Path, ...]:
    """Return where settings are searched for: the pipeline's folder, then the working directory.

    Only the working directory for standard input (``-``). Raises ``ConfigError`` if it was deleted.
    """
    try:
        here = Path.cwd()
    except OSError as error:
        raise ConfigError("the working directory does not exist", fix="cd to a folder that exists") from error
    return (here,) if pipeline == "-" else (Path(pipeline).absolute().parent, here)


def find(folders: tuple[Path, ...]) -> Path | None:
    """The first ``orchestra.yaml`` at or above one of ``folders``, tried in order.

    Whatever it is: one that cannot be read is a mistake to tell, not to pass over.
    """
    for folder in folders:
        for place in (folder, *folder.parents):
            candidate = place / FILE
            if os.path.lexists(candidate):  # false in a folder that we may not look into
                return candidate
    return None


LIKE_SECRETS = re.compile(r"(?:^|_)(?:KEY|TOKEN|PAT|PASSPHRASE)$|(?:^|_)SECRETS?(?:$|_)|PASSWORD|PASSWD")
"""Names of variables whose values are taken for secrets, in capitals."""

LIKE_ADDRESSES = re.compile("(?:^|_)(?:URL|URI|DSN)$")
"""Names of variables whose values may hold a password."""


def known_secrets(
    environment: Mapping[str, str] = os.environ,
    named: tuple[str, ...] = (),
    allowed: tuple[str, ...] = (),
    ignored: tuple[str, ...] = (),
) -> KnownSecrets:
    """Return by name the values of provider keys, named variables and names that look like secrets.

    Of the last kind those that are ``allowed`` or have an ``ignored`` value, are shorter than ``SHORTEST``, or the
    path of something that exists are left out (S18).
    """
    found = {
        name: value
        for name in environment
        if name not in allowed and (value := _like_secret(name, environment)) and value not in ignored
    }
    named_values = {name: environment[name] for name in (*PROVIDER_KEYS, *named) if environment.get(name)}
    return KnownSecrets(found | named_values, ignored)


def _like_secret(name: str, environment: Mapping[str, str]) -> str:
    """What a variable holds that its name makes a secret; empty where it holds none."""
    upper, value = name.upper(), environment[name]
    if LIKE_ADDRESSES.search(upper) and "@" in value:
        value = _password(value)
    elif not LIKE_SECRETS.search(upper):
        return ""
    return value if len(value) >= SHORTEST and not (value.startswith("/") and os.path.lexists(value)) else ""


def _password(address: str) -> str:
    """The password in a URL."""
    before = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
    return unquote(before.partition(":")[2])


def home_of(environment: Mapping[str, str]) -> Path:
    """The user's home directory; where ``HOME`` is unset or empty, the system's. Raises ``ConfigError``."""
    try:
        return Path(environment.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:
        raise ConfigError("no home directory is known", fix="set HOME") from error


def state_directory(environment: Mapping[str, str]) -> Path:
    """Orchestra's folder in the XDG state directory."""
    home = environment.get("XDG_STATE_HOME")
    base = Path(home) if home and Path(home).is_absolute() else home_of(environment) / ".local" / "state"
    return base / "orchestra"


def ignore_own(home: Path) -> None:
    """Keep git from seeing our folder (W1)."""
    home.mkdir(parents=True, exist_ok=True)
    ignoring = home / ".gitignore"
    if not ignoring.exists():
        ignoring.write_text("*\n", encoding="utf-8")
