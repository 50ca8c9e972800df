"""The settings and the environment in which git is called, safe from its surroundings (W12)."""

from __future__ import annotations

import os
from collections.abc import Mapping

NETWORK = ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_SSL_CAINFO", "GIT_SSL_NO_VERIFY", "GIT_PROXY_COMMAND")
"""The only variables of the user's environment by git's name that are kept: how a remote is reached."""

KEPT = ("GIT_LFS_SKIP_SMUDGE",)
"""The only others that are kept: whether large files stay pointers."""

SETTINGS: Mapping[str, str] = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.pager": "cat",
    "core.editor": ":",
    "sequence.editor": ":",
    "core.alternateRefsCommand": "",
    "core.quotePath": "false",
    "core.fsync": "committed,pack-metadata,reference",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "push.gpgSign": "false",
    "commit.status": "false",
    "commit.template": "",
    "merge.verifySignatures": "false",
    "log.showSignature": "false",
    "rerere.enabled": "false",
    "color.ui": "false",
    "diff.external": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "worktree.guessRemote": "false",
    "advice.addEmbeddedRepo": "false",
    "protocol.ext.allow": "never",
}
"""Settings in force in every call, whatever the repository's own configuration says."""


def surroundings(
    environment: Mapping[str, str], settings: Mapping[str, str], *, network: bool = False
) -> dict[str, str]:
    """The environment of a call: the user's without git's own variables, and ours."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("GIT_") or name in KEPT or (network and name in NETWORK)
    }
    kept |= {
        "LC_ALL": "C",
        "LANGUAGE": "",
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": ":",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ADVICE": "0",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (name, value) in enumerate(settings.items()):
        kept[f"GIT_CONFIG_KEY_{number}"] = name
        kept[f"GIT_CONFIG_VALUE_{number}"] = value
    return kept
