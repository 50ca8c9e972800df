"""The backend ``cli``: Claude Code, Codex, Gemini CLI or any command as the agent of a node (A6)."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestra.agents.answers import OutOfQuota
from orchestra.agents.bounds import AttemptBounds, Rules, warn
from orchestra.agents.cli.asking import Approvals
from orchestra.agents.cli.events import READERS, ToolResulted
from orchestra.agents.cli.failures import end_error as ended_failure
from orchestra.agents.cli.failures import failure
from orchestra.agents.cli.presets import Cli
from orchestra.agents.cli.program import KEPT, QUIET, Launch, Listener
from orchestra.agents.cli.reports import (
    file_instructions,
    missing_report_prompt,
    read_report,
    wants_report,
)
from orchestra.agents.cli.turns import Transcript
from orchestra.agents.exchanges import answer_of_person
from orchestra.agents.tools import ToolResult
from orchestra.agents.tools.tool_socket import NAME, ToolSocket, for_cli, open_tool_socket
from orchestra.agents.tools.toolset import Toolset
from orchestra.agents.tools.tracking import WriteTracker
from orchestra.agents.verdicts import Ask, conclude, object_in
from orchestra.errors import BackendError, Terminal
from orchestra.ports import AgentTask, Suspended, Turns
from orchestra.processes.sandbox import Policy, no_sandbox
from orchestra.run.conversation import EMPTY, Conversation, ToolCall, Usage
from orchestra.run.events import ToolOutput, ToolStarted
from orchestra.run.outcome import Json, Outcome, failed_outcome
from orchestra.run.prompts import INSTRUCTED

GRACE = 10.0
"""Seconds that a program is given to exit after its final event (A6)."""

LONGEST_ARGUMENT = 120_000
"""Largest prompt that can be passed as an argument, in bytes."""

CONTINUE = "You were interrupted. Check what is done already, then finish the task."

WAITED = "A tool call that waited for a person's answer was not made: make it again where you still need it."

TOLD_TOOL = (
    f"When you are done, or cannot do it, report the outcome by the tool report_outcome of the MCP server {NAME}."
)

TRANSCRIPT = 30_000
"""Characters of an earlier conversation that are repeated to a program that does not remember it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CliAgents:
    """The backend of command-line agents.

    ``named`` says which agent a task's node uses, ``folders`` where it works, by repository; ``keys`` are the
    variables of all providers' keys, ``store`` the folder of the run's record. Raises ``ConfigError`` in ``named``.
    """

    named: Callable[[AgentTask], Cli]
    folders: Callable[[AgentTask], Mapping[str, Path]]
    environment: Mapping[str, str]
    keys: frozenset[str]
    rules: Callable[[AgentTask], Rules]
    policy: Policy = no_sandbox
    store: Path | None = None
    tools: Callable[[AgentTask], AbstractAsyncContextManager[Toolset]] | None = None
    """Opens the node's own tools, offered in addition to the program's; None if there are none."""
    grace: float = GRACE

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome:
        """What the agent reported, or its last words."""
        cli = self.named(task)
        with tempfile.TemporaryDirectory(prefix="orchestra-agent-", ignore_cleanup_errors=True) as name:
            attempt = _Attempt(self, task, turns, cli, Path(name))
            try:
                async with attempt.bounds.in_time():
                    return await self._run_with_tools(attempt, task, cli)
            except (Suspended, asyncio.CancelledError):
                await attempt.cut_off()
                raise

    async def _run_with_tools(self, attempt: _Attempt, task: AgentTask, cli: Cli) -> str | Outcome:
        """The attempt's outcome, with the node's own tools where the program can use them."""
        if self.tools is None or not (cli.mcp or cli.asks):
            return await attempt.run()
        async with self.tools(task) as toolset:
            approvals = Approvals(attempt.rules.guard, toolset.context)
            if not approvals.wanted and find_spec("mcp") is None:
                return await attempt.run()
            async with open_tool_socket(for_cli(toolset), attempt.take_result, approvals) as tool_socket:
                attempt.tool_socket, attempt.approvals = tool_socket, approvals if approvals.wanted else None
                return await tool_socket.guarding(attempt.run())


class _Attempt:
    """One attempt of a node: one run of the program, or more where it is asked again in the same session."""

    def __init__(self, backend: CliAgents, task: AgentTask, turns: Turns, cli: Cli, private: Path) -> None:
        self._backend = backend
        self._task = task
        self._turns = turns
        self._cli = cli
        self._folders = backend.folders(task)
        self._launch = Launch(
            task=task,
            cli=cli,
            folders=self._folders,
            private=private.resolve(),
            around=backend.environment,
            keys=backend.keys,
            policy=backend.policy,
        )
        self._status_file = self._launch.status_file
        self.rules = backend.rules(task)
        self.bounds = AttemptBounds(task, turns, self.rules)
        self.tool_socket: ToolSocket | None = None
        self.approvals: Approvals | None = None
        """Decides about calls of the program's own tools; None if no call needs approval."""
        self._exchange = 0
        """How often the program was asked, which numbers its exchanges with a person."""
        self._told: list[str] = []
        """What it was told beyond its prompt."""
        self._report: Mapping[str, Any] | None = None
        self._unanswered = ""
        """Its last text, if that is recorded and a person has not answered it yet."""
        self._tracker = WriteTracker(self._folders, backend.store)
        self._transcript = Transcript(
            cli=cli.name,
            provider=cli.provider,
            model=task.model.model,
            thread=task.thread,
            turns=turns,
            prices=self.rules.prices,
            folders=self._folders,
            shown=self._show,
            after=self._between,
            now_ms=task.scope.now_ms,
            keep=task.scope.keep,
            check=self.check,
        )

    async def take_result(self, _name: str, _arguments: Mapping[str, Json], result: ToolResult) -> None:
        """Take a call of one of the node's own tools that has ended: a reported outcome is the node's."""
        if result.outcome is not None:
            self._status_file.write_text(json.dumps(result.outcome), encoding="utf-8")

    async def cut_off(self) -> None:
        """Record what was read of a canceled turn, so that the program's session continues."""
        await self._transcript.cut_off()

    async def run(self) -> str | Outcome:
        """Ask until there is an outcome."""
        await self._between()
        prompt, anew = await self._first_prompts()
        await self._announce()
        if self.approvals is not None:
            await self._launch.check_asking(self.tool_socket)
        self._transcript.changed = (await self._tracker.watch()).changed_files
        if self._task.interactive:
            return await self._converse(prompt, anew)
        while True:
            found = self._verdict(await self._ask(prompt, anew))
            if not isinstance(found, Ask):
                return found
            if not self._resumable:
                return found.otherwise
            self._told.append(found.text)
            prompt, anew = found.text, ""
            self._status_file.unlink(missing_ok=True)

    async def _converse(self, prompt: str, anew: str) -> Outcome:
        """A conversation with a person: the program's words, then theirs, until they end it (H9)."""
        text = self._unanswered
        while True:
            if not text:
                text = await self._ask(prompt, anew)
                self._exchange += 1
            said = await answer_of_person(self._task, text, self._exchange)
            if isinstance(said, Outcome):
                return said
            if not self._resumable:
                return failed_outcome(f"{self._cli.name} cannot continue its session")
            text, prompt, anew = "", said, ""

    async def _first_prompts(self) -> tuple[str, str]:
        """Return the first prompt, and the prompt to use if the session to continue does not exist any more."""
        task, transcript = self._task, self._transcript
        known = EMPTY
        if task.begun or task.shared:
            known = await self._turns.conversation(task.thread)
        transcript.number, transcript.fresh = known.turns, known.turns == 0
        state = known.agent_state
        if state.get("cli") == self._cli.name and self._cli.resume:
            transcript.session = str(state.get("session") or "")
            transcript.counted = _usage(state.get("counted"))
        self._exchange = sum(message.role == "user" for message in known.messages) if task.begun else 0
        last = known.messages[-1] if known.messages and task.begun and not known.open else None
        if last is not None and last.role == "assistant" and not last.tool_calls:
            self._unanswered = last.text
        steered = "".join(f"\n\n{INSTRUCTED}{text}" for text in self._turns.steering())
        whole = self._whole(known) + steered
        if not transcript.session:
            return whole, ""
        waited = f" {WAITED}" if self.approvals is not None else ""
        prompt = f"{CONTINUE}{waited}" if task.begun else task.prompt
        return f"{prompt}{steered}{self._reporting()}", whole

    def _whole(self, known: Conversation) -> str:
        """Return the prompt for a program without memory of the conversation."""
        task = self._task
        before = _transcript(known) if task.shared else ""
        system = "" if self._cli.system_arg else task.system
        return "\n\n".join(part for part in (system, before, task.prompt) if part) + self._reporting()

    def _reporting(self) -> str:
        task = self._task
        if not wants_report(task.graph, task.node):
            return ""
        if self.tool_socket is not None and find_spec("mcp") is not None:
            return f"\n\n{TOLD_TOOL}"
        return f"\n\n{file_instructions(task.graph, task.node, self._status_file)}"

    @property
    def _resumable(self) -> bool:
        return bool(self._cli.resume and self._transcript.session)

    def check(self, call: ToolCall, result: ToolResulted) -> None:
        """Raise ``Terminal`` where a call was made that had to be asked for, and was not."""
        approvals = self.approvals
        if approvals is None or self._cli.asks != "claude" or result.is_error or call.id in approvals.asked:
            return
        if call.name.startswith(f"mcp__{NAME}__"):
            return
        raise Terminal(f"{self._cli.name} called {call.name} without asking: it does not run its hooks")

    async def _ask(self, prompt: str, anew: str) -> str:
        """Return the program's answer. If its session does not exist any more, start one with ``anew``."""
        try:
            return await self._run_program(prompt)
        except _SessionGone:
            if not anew:
                raise
            self._warn(f"{self._cli.name} has no session {self._transcript.session} any more; it starts a new one")
            self._transcript.session, self._transcript.counted = "", Usage()
            self._transcript.unsent.clear()
            return await self._run_program(anew)

    async def _run_program(self, prompt: str) -> str:
        cli, transcript = self._cli, self._transcript
        if cli.input == "arg" and len(prompt.encode()) > LONGEST_ARGUMENT:
            raise Terminal(f"{cli.name}: the prompt is too long for an argument; set `input: stdin`")
        resumed = transcript.session
        transcript.ask(prompt, self._task.scope.talk.name)
        listener = Listener(self._task, cli, transcript, self._show)
        command = await self._launch.command(prompt, resumed, self.tool_socket, asking=self.approvals is not None)
        code = await listener.follow(command, self._backend.grace, self.silent)
        stderr = listener.last_words
        final = transcript.final
        if final is None:
            await transcript.cut_off()
            if resumed and code and not listener.heard and _names_session(stderr):
                raise _SessionGone(f"{cli.name} does not know its session {resumed}")
            raise self._of_quota(ended_failure(cli, code, stderr))
        if final.error:
            gone = resumed and not transcript.said and "no conversation found" in final.error.lower()
            raise _SessionGone(final.error) if gone else self._of_quota(failure(cli, final.error, final.status))
        if code:
            raise self._of_quota(ended_failure(cli, code, stderr or (final.text or "")[-KEPT:]))
        text = transcript.said if final.text is None else final.text
        if not text.strip() and cli.events in READERS and not self._status_file.exists():
            raise BackendError(f"{cli.name} ended without an answer")
        return text

    def _verdict(self, text: str) -> str | Outcome | Ask:
        """Return the outcome, or what the agent is told first. A report holds while its answer is corrected."""
        task = self._task
        report, problem = read_report(self._status_file)
        self._report = report or object_in(text) or self._report
        task.scope.response(text or str((report or {}).get("notes") or ""))
        if problem:
            return failed_outcome(problem)
        again = missing_report_prompt(task.graph, task.node, self._status_file)
        return conclude(task, self._report, text, self._told, again)

    async def _between(self) -> None:
        """Stop at a pause or a limit, before the program runs and after each turn (A5, A12)."""
        self._turns.proceed()
        self.bounds.check()

    def _of_quota(self, error: BackendError) -> BackendError:
        """Return the failure; pause the run instead if the quota is used up (A3)."""
        if isinstance(error, OutOfQuota):
            self._turns.halt(str(error))
        return error

    def _warn(self, message: str, rule: str = "cli_agent") -> None:
        warn(self._task, message, rule)

    def _show(self, text: str) -> None:
        self._turns.show(ToolOutput(node=self._task.node.id, stream="stdout", text=text))

    async def silent(self) -> None:
        """Report that the program has been silent for long."""
        if self.approvals is not None and self.approvals.waiting:
            return
        self._warn(
            f"{self._cli.name} has written nothing for {QUIET / 60:g} minutes; it is running", "silent_agent"
        )
        await self._task.scope.settle()

    async def _announce(self) -> None:
        """Record the marker of all that this attempt starts, before it is started (E4)."""
        scope = self._task.scope
        scope.record(
            ToolStarted(
                node=self._task.node.id,
                marker=self._launch.marker,
                host=socket.gethostname(),
                command=self._cli.command,
            )
        )
        await scope.settle()


def _names_session(stderr: str) -> bool:
    """Whether a program failed for the session that it was to continue."""
    return any(word in stderr.lower() for word in ("session", "no rollout found", "no conversation found"))


class _SessionGone(BackendError):
    """The program does not know the session that it was to continue."""


def _usage(value: object) -> Usage:
    found = value if isinstance(value, Mapping) else {}
    return Usage(**{name: int(found.get(name) or 0) for name in Usage.__struct_fields__})


def _transcript(known: Conversation) -> str:
    """An earlier conversation as text, its end where it is long."""
    said = [f"{m.role}: {m.text}" for m in known.messages if m.role in ("user", "assistant") and m.text.strip()]
    if not said:
        return ""
    text = "\n\n".join(said)
    return f"The conversation so far:\n\n{text[-TRANSCRIPT:]}\n\nYour task now:"
