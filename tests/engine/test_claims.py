"""Claims in a mailbox: which runner lives (S16, S25)."""

from __future__ import annotations

import os
import subprocess
import sys

from orchestra.engine.holding import Claim, died_here, machine


def claim_of(pid: int, system: str) -> Claim:
    token = f"process {pid} on here in {system}"
    return Claim(1, token, token, 1, 0, 60_000, local=False, released=False)


def test_a_runner_that_ended_is_dead_also_while_its_parent_has_not_reaped_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as runner:
        claim = claim_of(runner.pid, machine())
        assert not died_here(claim)
        runner.kill()
        os.waitid(os.P_PID, runner.pid, os.WEXITED | os.WNOWAIT)
        assert died_here(claim)
        assert not died_here(claim_of(runner.pid, "another machine"))
    assert died_here(claim)
