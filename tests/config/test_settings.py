"""Which settings are in force: a flag before the environment, the environment before the file, then defaults."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from orchestra.config.environment import find, known_secrets, state_directory
from orchestra.config.model import SandboxSetting
from orchestra.config.server import Server
from orchestra.config.settings import Settings, settle
from orchestra.errors import ConfigError, InvalidConfig
from orchestra.run.secrets import KnownSecrets


def settled(
    folder: Path, text: str | None = None, *, environment: dict[str, str] | None = None, store: str | None = None
) -> Settings:
    if text is not None:
        (folder / "orchestra.yaml").write_text(text, encoding="utf-8")
    return settle(folders=(folder,), environment={"HOME": "/home/me", **(environment or {})}, store=store)


def test_without_any_setting_the_store_is_in_the_state_directory(tmp_path: Path) -> None:
    found = settled(tmp_path)
    assert found.store == Path("/home/me/.local/state/orchestra/cxdb")
    assert (found.backend, found.secrets, found.file) == ("simulation", {}, None)


def test_the_state_directory_follows_xdg_where_that_is_a_whole_path() -> None:
    assert state_directory({"XDG_STATE_HOME": "/var/me"}) == Path("/var/me/orchestra")
    assert state_directory({"XDG_STATE_HOME": "here", "HOME": "/h"}) == Path("/h/.local/state/orchestra")


def test_a_file_puts_the_store_beside_itself(tmp_path: Path) -> None:
    assert settled(tmp_path, "").store == tmp_path / ".orchestra" / "cxdb"


@pytest.mark.parametrize(("text", "store"), [("", ".orchestra/cxdb"), ("cxdb: {path: of-file}", "of-file")])
def test_a_file_in_a_worktree_of_a_session_means_the_store_of_its_project(
    tmp_path: Path, text: str, store: str
) -> None:
    folder = tmp_path / ".orchestra" / "worktrees" / "abc123" / "app" / "sub"
    folder.mkdir(parents=True)
    found = settled(folder, text)
    assert found.store == tmp_path / store
    assert found.workspace.home == tmp_path / ".orchestra"


def test_a_token_is_taken_without_its_line_break_and_only_if_a_header_can_hold_it(tmp_path: Path) -> None:
    def token(text: str) -> str | None:
        given = {"ORCHESTRA_CXDB_URL": "http://a:1", "ORCHESTRA_CXDB_TOKEN": text}
        found = settled(tmp_path, environment=given)
        assert found.server is not None
        return found.server.token

    assert token(" 0123abcd\n") == "0123abcd"
    assert token("\n") is None
    for wrong in ("gr\u00fcn", "a\nb"):
        with pytest.raises(ConfigError, match="ORCHESTRA_CXDB_TOKEN"):
            token(wrong)


def test_flag_environment_file_and_default_follow_one_another(tmp_path: Path) -> None:
    text, environment = "cxdb: {path: of-file}", {"ORCHESTRA_CXDB_PATH": "/of/environment"}
    assert settled(tmp_path, text).store == tmp_path / "of-file"
    assert settled(tmp_path, text, environment=environment).store == Path("/of/environment")
    found = settled(tmp_path, text, environment=environment, store="/of/flag")
    assert found.store == Path("/of/flag")
    assert found.origins["cxdb.path"] == "--store"


def test_memory_is_no_folder(tmp_path: Path) -> None:
    assert settled(tmp_path, "cxdb: {path: memory}").store is None
    assert settled(tmp_path, store="memory").store is None


def test_the_file_is_looked_for_upward_from_each_folder_in_turn(tmp_path: Path) -> None:
    near, far = tmp_path / "a" / "b", tmp_path / "c"
    near.mkdir(parents=True)
    far.mkdir()
    assert find((near, far)) is None
    (far / "orchestra.yaml").touch()
    assert find((near, far)) == far / "orchestra.yaml"
    (tmp_path / "a" / "orchestra.yaml").touch()
    assert find((near, far)) == tmp_path / "a" / "orchestra.yaml"


def test_secrets_are_the_providers_keys_and_the_variables_named(tmp_path: Path) -> None:
    environment = {"OPENAI_API_KEY": "key-of-openai", "MINE": "my-secret", "OTHER": "plain", "GOOGLE_API_KEY": ""}
    found = settled(tmp_path, "secrets: [MINE, ABSENT]", environment=environment)
    assert found.secrets == {"OPENAI_API_KEY": "key-of-openai", "MINE": "my-secret"}
    assert known_secrets(environment) == {"OPENAI_API_KEY": "key-of-openai"}


LIKE_SECRETS = {
    "DEPLOY_KEY": "deploy-it-all",
    "deploy_key": "deploy-in-small",
    "NPM_TOKEN": "npm-token-1",
    "GH_PAT": "a-pat-of-mine",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
    "CLIENT_SECRET": "client-secret",
    "SECRET_SAUCE": "tomato-and-oil",
    "PGPASSWORD": "horse-battery",
    "DB_PASSWORD_OLD": "horse-battery-1",
}
ORDINARY = {
    "HOME": "/home/somebody",
    "MONKEY": "a-monkey-in-a-tree",
    "KEYBOARD_LAYOUT": "qwertz-german",
    "TOKENS_PER_MINUTE": "100000000",
    "COMPAT": "all-of-the-old-ways",
    "SECRETARY": "Mrs-Miller-of-Ohio",
    "SHORT_KEY": "1234567",
    "SSH_KEY": "/etc/passwd",
    "HOMEPAGE_URL": "https://example.org/@somebody/page",
    "PIP_INDEX_URL": "https://user@example.org/simple",
}


def test_variables_whose_names_look_like_secrets_count_as_secrets_but_need_not_be_set_again(tmp_path: Path) -> None:
    found = settled(tmp_path, "", environment={**LIKE_SECRETS, **ORDINARY})
    assert found.secrets == LIKE_SECRETS
    assert found.declared == ()


def test_the_password_in_an_address_is_a_secret() -> None:
    address = "postgres://app:p%40ssw0rd%2Fx@db.example.org:5432/app"
    assert known_secrets({"DATABASE_URL": address}) == {"DATABASE_URL": "p@ssw0rd/x"}
    assert known_secrets({"DATABASE": address, "A_URL": "redis://:short@h/0"}) == {}


def test_a_name_that_is_allowed_is_no_secret_unless_it_is_listed(tmp_path: Path) -> None:
    environment = {"SORT_KEY": "created_at", "NPM_TOKEN": "npm-token-1"}
    found = settled(
        tmp_path, "secrets: {allow: [SORT_KEY, NPM_TOKEN], names: [NPM_TOKEN]}", environment=environment
    )
    assert found.secrets == {"NPM_TOKEN": "npm-token-1"}


def test_a_value_that_is_ignored_is_no_secret_unless_its_variable_is_listed(tmp_path: Path) -> None:
    environment = {"SORT_KEY": "created_at", "A_TOKEN": "created_at"}
    found = settled(tmp_path, "secrets: {ignore: [created_at, aws-key], names: [A_TOKEN]}", environment=environment)
    assert found.secrets == {"A_TOKEN": "created_at"}
    assert isinstance(found.secrets, KnownSecrets)
    assert found.secrets.ignored == {"created_at", "aws-key"}


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("bakend: simulation", (1, 1), "backend"),
        ("cxdb:\n  pth: x", (2, 3), "path"),
        ("cxdb: here", (1, 7), ""),
        ("backend: [a]", (1, 10), ""),
        ("secrets: KEY", (1, 10), ""),
        ("secrets:\n  - A\n  - 3", (3, 5), ""),
        ("secrets:\n  - A: b", (2, 5), ""),
        ("- backend", (1, 1), ""),
        ("just words", (1, 1), ""),
    ],
)
def test_a_mistake_is_shown_at_its_place_with_the_word_that_was_meant(
    tmp_path: Path, text: str, place: tuple[int, int], word: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(tmp_path, text)
    error = caught.value
    assert error.span is not None
    assert (error.span.line, error.span.column) == place
    assert word in f"{error.message} {error.fix}"


@pytest.mark.parametrize(
    "text", ["cxdb: {path: ''}", 'cxdb: {path: "a\\0b"}', "cxdb: {path: ~nobody-of-that-name/x}"]
)
def test_a_store_that_is_no_place_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        settled(tmp_path, text)


URL = {"ORCHESTRA_CXDB_URL": "http://cxdb.example:9010"}


def test_a_server_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    text = "cxdb: {url: 'http://10.0.0.7:8010', address: '10.0.0.8:8009', patience: 5m}"
    server = settled(tmp_path, text).server
    assert server == Server(
        http_host="10.0.0.7", http_port=8010, host="10.0.0.8", port=8009, patience=300.0, token=None
    )
    assert settled(tmp_path, text).store is None
    assert settled(tmp_path, text).place == "http://10.0.0.7:8010"


def test_a_servers_ports_and_patience_are_cxdbs_unless_given(tmp_path: Path) -> None:
    server = settled(tmp_path, environment={"ORCHESTRA_CXDB_URL": "http://[::1]"}).server
    assert server == Server(http_host="::1", http_port=9010, host="::1", port=9009, patience=60.0, token=None)
    assert (str(server), server.address) == ("http://[::1]:9010", "[::1]:9009")


@pytest.mark.parametrize(
    ("environment", "flag", "address"),
    [
        ({}, None, "10.0.0.8:8009"),
        ({"ORCHESTRA_CXDB_ADDRESS": "other:7"}, None, "other:7"),
        ({**URL, "ORCHESTRA_CXDB_ADDRESS": "other:7"}, None, "other:7"),
        ({**URL, "ORCHESTRA_CXDB_ADDRESS": "other:7"}, "http://flag:9010", "flag:9009"),
        ({"ORCHESTRA_CXDB_ADDRESS": "other"}, "http://flag:9010", "other:9009"),
    ],
)
def test_the_address_of_the_binary_protocol_comes_from_the_environment_too(
    environment: dict[str, str], flag: str | None, address: str, tmp_path: Path
) -> None:
    text = "cxdb: {url: 'http://10.0.0.7:8010', address: '10.0.0.8:8009'}"
    server = settled(tmp_path, text, environment=environment, store=flag).server
    assert server is not None
    assert server.address == address


def test_a_malformed_address_in_the_environment_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="binary protocol"):
        settled(tmp_path, environment={**URL, "ORCHESTRA_CXDB_ADDRESS": "http://x/y"})


def test_of_a_folder_and_a_server_the_nearer_word_counts(tmp_path: Path) -> None:
    text = "cxdb: {url: 'http://of-file:9010', address: 'of-file:1'}"
    assert settled(tmp_path, text, environment={"ORCHESTRA_CXDB_PATH": "/here"}).store == Path("/here")
    named = settled(tmp_path, text, environment=URL)
    assert named.place == "http://cxdb.example:9010"
    assert named.server is not None
    assert named.server.address == "cxdb.example:9009"  # the file's address is that of the file's server
    assert settled(tmp_path, text, environment=URL, store="/flag").server is None
    assert settled(tmp_path, text, store="http://flag").place == "http://flag:9010"


def test_a_folder_and_a_server_named_side_by_side_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two stores"):
        settled(tmp_path, "cxdb: {path: here, url: 'http://there'}")
    with pytest.raises(ConfigError, match="both set"):
        settled(tmp_path, environment={**URL, "ORCHESTRA_CXDB_PATH": "/here"})


@pytest.mark.parametrize(
    "text",
    [
        "cxdb: {url: 'https://there'}",
        "cxdb: {url: 'there:9010'}",
        "cxdb: {url: 'http://'}",
        "cxdb: {url: 'http://there:port'}",
        "cxdb: {url: 'http://there/v1'}",
        "cxdb: {url: 'http://there', address: 'no port:x'}",
        "cxdb: {url: 'http://there', patience: soon}",
        "cxdb: {url: 'http://there', token_file: nowhere}",
    ],
)
def test_an_address_that_is_none_is_refused_at_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(tmp_path, text)
    assert caught.value.span is not None


def test_a_servers_token_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of file\n")
    text = "cxdb: {url: 'http://there', token_file: token}"
    tokens = [
        found.token
        for environment in ({}, {"ORCHESTRA_CXDB_TOKEN": "of environment"})
        if (found := settled(tmp_path, text, environment=environment).server) is not None
    ]
    assert tokens == ["of file", "of environment"]


def test_a_file_that_cannot_be_read_says_which_and_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        settle(folders=(), environment={}, config=tmp_path / "nowhere.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"backend: caf\xe9")
    with pytest.raises(ConfigError, match="UTF-8"):
        settle(folders=(), environment={}, config=latin)


# --- a mirror ----------------------------------------------------------------------------------------

MIRROR = {"ORCHESTRA_CXDB_MIRROR": "http://m.example:9010"}


def test_a_folder_may_have_a_mirror(tmp_path: Path) -> None:
    found = settled(tmp_path, "cxdb: {mirror: 'http://10.0.0.7', address: '10.0.0.8:8009', patience: 5m}")
    assert found.server is None
    assert found.store == tmp_path / ".orchestra" / "cxdb"
    assert found.mirror == Server(
        http_host="10.0.0.7", http_port=9010, host="10.0.0.8", port=8009, patience=300.0, token=None
    )
    assert found.origins["cxdb.mirror"] == str(tmp_path / "orchestra.yaml")
    assert str(settled(tmp_path, environment=MIRROR).mirror) == "http://m.example:9010"
    assert settled(tmp_path, "").mirror is None


def test_another_store_named_for_one_command_has_no_mirror_unless_it_is_a_folder(tmp_path: Path) -> None:
    text = "cxdb: {mirror: 'http://m:9010', address: 'm:8009'}"
    looked_at = settled(tmp_path, text, store="http://m:9010")
    assert looked_at.mirror is None
    assert looked_at.server is not None
    assert looked_at.server.address == "m:8009"  # the file says where the mirror's binary protocol is
    assert settled(tmp_path, text, store="memory").mirror is None
    assert settled(tmp_path, text, environment=URL).mirror is None
    assert settled(tmp_path, text, store="/folder").mirror is not None


@pytest.mark.parametrize(
    ("text", "environment", "place"),
    [
        ("cxdb:\n  url: http://there\n  mirror: http://m", {}, (3, 11)),
        ("cxdb:\n  mirror: http://m\n  path: memory", {}, (2, 11)),
        ("cxdb:\n  url: http://there", MIRROR, (2, 8)),
        ("cxdb:\n  mirror: ftp://m", {}, (2, 11)),
        ("cxdb:\n  mirror: 9010", {}, (2, 11)),
    ],
)
def test_a_mirror_that_cannot_be_one_is_refused_at_its_place(
    tmp_path: Path, text: str, environment: dict[str, str], place: tuple[int, int]
) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(tmp_path, text, environment=environment)
    assert caught.value.span is not None
    assert (caught.value.span.line, caught.value.span.column) == place


def test_a_server_and_a_mirror_in_the_environment_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both set"):
        settled(tmp_path, environment={**URL, **MIRROR})


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("ORCHESTRA_LIMITS_RUN_COSTS", "ORCHESTRA_LIMITS_RUN_COST?"),
        ("ORCHESTRA_LIMIT_RUN_COST", "ORCHESTRA_LIMITS_RUN_COST?"),
        ("ORCHESTRA_HUMANS_X", "variables of humans: ORCHESTRA_HUMANS_INTERVIEWER"),
        ("ORCHESTRA_BACKND", "ORCHESTRA_BACKEND?"),
        ("ORCHESTRA_CXDB_PTH", "ORCHESTRA_CXDB_PATH?"),
        ("ORCHESTRA_PROVIDERS_DEFAULT", "ORCHESTRA_PROVIDER"),
        ("ORCHESTRA_AGENTS_REVIEWER_MODEL", "under `agents:` in orchestra.yaml"),
    ],
)
def test_a_variable_that_is_written_like_a_setting_and_is_none_is_an_error_with_what_was_meant(
    tmp_path: Path, name: str, fix: str
) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        settled(tmp_path, environment={name: "1"})
    assert fix in caught.value.fix
    settled(tmp_path, environment={name: ""})


def test_variables_that_commands_of_a_run_get_are_no_mistake(tmp_path: Path) -> None:
    names = "NODE SESSION BRANCH BRANCH_INDEX TOOL TOOL_NAME HOOK EVENT TEXT QUESTION MCP_TOKEN V1 HOME TEST_CXDB"
    settled(tmp_path, environment={f"ORCHESTRA_{name}": "x" for name in names.split()})


def test_faults_of_yaml_of_the_settings_and_of_variables_are_reported_together(tmp_path: Path) -> None:
    text = "limits: {run: {cst: 3}}\nlimits: {run: {cost: x}}\nbackend: *b\nagents: {a: {modle: x}}\n"
    text += "tools: [a\nmcp: {}\n"
    with pytest.raises(InvalidConfig) as caught:
        settled(tmp_path, text, environment={"ORCHESTRA_LIMITS_NODE_TURNS": "many"})
    told = [(fault.span.line if fault.span else 0, fault.message) for fault in caught.value.faults]
    assert [line for line, _message in told] == [0, 2, 2, 3, 4, 6]
    assert "'limits' is set twice" in told[1][1]
    assert caught.value.faults[-1].fix == "close the [ of line 5"


def test_commands_get_no_credentials_of_the_vendors_whose_models_are_configured(tmp_path: Path) -> None:
    environment = {"AWS_SECRET_ACCESS_KEY": "a", "AWS_BEARER_TOKEN_BEDROCK": "b", "MINE": "c", "PATH": "/bin"}
    plain = settled(tmp_path, "").tool_environment(environment)
    assert plain == {"AWS_SECRET_ACCESS_KEY": "a", "MINE": "c", "PATH": "/bin"}
    text = "providers: {claude: {kind: bedrock}, o: {kind: openai, api_key_env: MINE}}"
    assert settled(tmp_path, text).tool_environment(environment) == {"PATH": "/bin"}
    default = settled(tmp_path, "providers: {default: bedrock}")
    assert default.tool_environment(environment).keys() == {"MINE", "PATH"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("backend: langraph", [("backend: no backend 'langraph'", "did you mean 'langgraph'?")]),
        ("agents: {a: {backend: clii}}", [("agents.a.backend: no backend 'clii'", "did you mean 'cli'?")]),
        ("sandbox: on", [("sandbox: expected none, bwrap or auto, not 'on'", "`sandbox: auto` to use")]),
        ("limits: {run: {cost: $5}}", [("expected a number, not the text '$5'", "write it as 5 or 0.5")]),
        ("limits: {run: {cost: 0}}", [("limits.run.cost: 0 would allow nothing", "remove it")]),
        ("limits: {node: {time: 0s}}", [("limits.node.time: 0s would allow nothing", "remove it")]),
        ("limits: {node: {cost: -1}}", [("-1 is less than 0", "")]),
        ("limits: {run: {turns: 2, soft: {turns: 3}}}", [("limits.run.soft.turns: is above limits.run.turns", "")]),
        ("tools: {rt: {comand: x}}", [("tools.rt.comand: unknown key", "did you mean 'command'?")]),
        ("cli: {x: {preset: cladue}}", [("cli.x.preset: 'cladue' is not one of", "did you mean 'claude'?")]),
    ],
)
def test_a_mistake_is_reported_by_its_cause_with_what_would_fix_it(
    tmp_path: Path, text: str, told: list[tuple[str, str]]
) -> None:
    with pytest.raises(InvalidConfig) as caught:
        settled(tmp_path, text)
    faults = caught.value.faults
    assert len(faults) == len(told)
    for fault, (message, fix) in zip(faults, told, strict=True):
        assert message in fault.message
        assert fix in fault.fix
        assert fault.span is not None


def test_the_sandbox_has_a_variable_for_its_mode_and_one_for_its_network(tmp_path: Path) -> None:
    environment = {"ORCHESTRA_SANDBOX_NETWORK": "full"}
    assert settled(tmp_path, "sandbox: bwrap", environment=environment).config.sandbox == SandboxSetting(
        mode="bwrap", network="full"
    )
    environment = {"ORCHESTRA_SANDBOX_MODE": "auto"}
    found = settled(tmp_path, "sandbox: {mode: none, network: full}", environment=environment)
    assert found.config.sandbox == SandboxSetting(mode="auto", network="full")


def test_a_variable_is_blamed_for_its_value_and_not_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"ORCHESTRA_BACKEND \(backend\)") as caught:
        settled(tmp_path, "backend: simulation", environment={"ORCHESTRA_BACKEND": "langraph"})
    assert caught.value.faults[0].span is None


@pytest.mark.parametrize("environment", [{}, {"HOME": ""}])
def test_where_home_is_unset_or_empty_the_system_knows_it(environment: dict[str, str]) -> None:
    assert state_directory(environment) == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local/state/orchestra"


def test_faults_of_the_store_and_of_repositories_are_reported_with_the_others(tmp_path: Path) -> None:
    text = "bakend: x\ncxdb: {url: 'http://h:1', path: here}\nworkspace: {repos: {a: {path: nowhere}}}\n"
    with pytest.raises(InvalidConfig) as caught:
        settled(tmp_path, text)
    told = " ".join(fault.message for fault in caught.value.faults)
    assert "bakend: unknown key" in told
    assert "cxdb.path and cxdb.url name two stores" in told
