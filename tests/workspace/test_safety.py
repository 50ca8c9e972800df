"""Nothing that an agent writes into a repository is run by our git; the user's shell leads it nowhere (W12)."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls import call
from scratch import branch_of, everything, git, project, repository, row, run

WAYS = {
    "fsmonitor": "git config core.fsmonitor 'touch {evil}; false'",
    "hooks": (
        "d=$(git rev-parse --git-common-dir)/hooks; mkdir -p $d; for h in pre-commit post-commit post-checkout"
        " reference-transaction post-index-change pre-merge-commit post-merge prepare-commit-msg commit-msg;"
        " do printf '#!/bin/sh\\ntouch {evil}\\n' > $d/$h; chmod +x $d/$h; done"
    ),
    "hooks path": (
        "mkdir h; printf '#!/bin/sh\\ntouch {evil}\\n' > h/pre-commit; chmod +x h/pre-commit;"
        " git config core.hooksPath h"
    ),
    "filters": (
        "echo '* filter=x' > .gitattributes; git config filter.x.clean 'touch {evil}; cat';"
        " git config filter.x.smudge 'touch {evil}; cat'; git config filter.x.required true"
    ),
    "filter process": ("echo '* filter=x' > .gitattributes; git config filter.x.process 'touch {evil}'"),
    "lfs": "echo '* filter=lfs' > .gitattributes; git config filter.lfs.clean 'touch {evil}; cat'",
    "diff drivers": (
        "echo '* diff=x' > .gitattributes; git config diff.x.textconv 'touch {evil}; cat';"
        " git config diff.x.command 'touch {evil}'; git config diff.external 'touch {evil}'"
    ),
    "merge drivers": "echo '* merge=x' > .gitattributes; git config merge.x.driver 'touch {evil}'",
    "pager and editor": (
        "git config core.pager 'touch {evil}'; git config pager.show 'touch {evil}';"
        " git config core.editor 'touch {evil}'; git config sequence.editor 'touch {evil}'"
    ),
    "gpg": "git config commit.gpgSign true; git config gpg.program 'touch {evil}'",
    "pointer": (
        "git init -q own; git -C own config core.fsmonitor 'touch {evil}; false';"
        " printf '#!/bin/sh\\ntouch {evil}\\n' > own/.git/hooks/pre-commit; chmod +x own/.git/hooks/pre-commit;"
        ' rm .git; echo "gitdir: $PWD/own/.git" > .git'
    ),
    "pointer folder": (
        "rm .git; git init -q; git config core.fsmonitor 'touch {evil}; false';"
        " printf '#!/bin/sh\\ntouch {evil}\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit"
    ),
    "include": (
        "printf '[core]\\n\\tfsmonitor = touch {evil}; false\\n' > inc;"
        " printf '[filter \"x\"]\\n\\tclean = touch {evil}; cat\\n' >> inc;"
        " echo '* filter=x' > .gitattributes; git config include.path $PWD/inc"
    ),
    "alternate refs": "git config core.alternateRefsCommand 'touch {evil}'",
    "textconv by attribute macro": (
        "printf '[attr]bad filter=x diff=x merge=x\\n* bad\\n' > .gitattributes;"
        " git config filter.x.clean 'touch {evil}; cat'; git config merge.x.driver 'touch {evil}'"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_an_agent_writes_is_never_run(tmp_path: Path, way: str) -> None:
    evil = tmp_path / "evil"
    attack = WAYS[way].format(evil=evil)
    code = repository(
        project(tmp_path, row(("attack", attack), ("more", "echo x >> a.txt; echo y > new.txt"))) / "code"
    )
    ended = run(tmp_path)
    assert not evil.exists()
    assert ended["status"] == "success", ended
    branch = branch_of(tmp_path)
    kept = git(code, "-c", "core.fsmonitor=false", "show", f"{branch}:new.txt", "--no-textconv")
    assert kept == "y" or (way == "lfs" and kept.startswith("version https://git-lfs"))  # by the system's own
    call(tmp_path, "show", git(code, "rev-parse", branch), "--diff")
    call(tmp_path, "cleanup", "--older-than", "0")
    call(tmp_path, "merge", "last")
    call(tmp_path, "discard", "last")
    assert not evil.exists()


def test_a_filter_of_the_repository_itself_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    code = repository(project(tmp_path, row(("write", "echo x > x.txt"))) / "code")
    git(code, "config", "filter.crypt.clean", "tr a-z A-Z")
    before = everything(code)
    done = call(tmp_path, "run", str(tmp_path / "p.dot"))
    assert done.returncode == 2
    assert "filters: [crypt]" in done.stderr
    assert everything(code) == before
    assert not (tmp_path / ".orchestra").exists()


def test_a_filter_that_the_operator_allows_is_run(tmp_path: Path) -> None:
    nodes = row(("write", "echo '*.up filter=up' > .gitattributes; echo abc > x.up"))
    code = repository(project(tmp_path, nodes, "      filters: [up]\n") / "code")
    git(code, "config", "filter.up.clean", "tr a-z A-Z")
    assert run(tmp_path)["status"] == "success"
    assert git(code, "cat-file", "blob", f"{branch_of(tmp_path)}:x.up") == "ABC"


def test_git_variables_of_the_users_shell_change_nothing(tmp_path: Path) -> None:
    code = repository(project(tmp_path, row(("write", "echo x > x.txt"))) / "code")
    other = repository(tmp_path / "other")
    before, mine = everything(other), everything(code)
    variables = {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(other / ".git" / "objects"),
        "GIT_EXTERNAL_DIFF": f"touch {tmp_path}/evil",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": f"touch {tmp_path}/evil",
    }
    assert run(tmp_path, **variables)["status"] == "success"
    assert git(code, "show", f"{branch_of(tmp_path)}:x.txt") == "x"
    assert everything(other) == before
    assert everything(code) == mine
    assert not (tmp_path / "evil").exists()
