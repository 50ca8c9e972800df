"""The hook that Claude Code and Codex run before each tool call: it asks the runner.

It is run by its path, with Python's own modules only, so that a call is not delayed. Whatever goes wrong denies the
call: these programs take exit code 2 for a no, and any other failure for a yes (A35, H11).
"""

import json
import os
import socket
import sys


def _ask_runner(call: dict[str, object]) -> str:
    """Why the runner denies a call, empty where it may be made."""
    with socket.socket(socket.AF_UNIX) as runner:
        runner.connect(os.environ["ORCHESTRA_MCP_SOCKET"])
        request = {"id": 1, "do": "allow", **{key: call[key] for key in ("tool_name", "tool_input")}}
        request["call"] = call.get("tool_use_id", "")
        first = {"token": os.environ["ORCHESTRA_MCP_TOKEN"]}
        runner.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in (first, request)))
        with runner.makefile("rb") as answers:
            answer = json.loads(answers.readline())
    return str(answer["denied"])


def main() -> None:
    """Read a call from standard input, and write what the program has to do with it."""
    denied = _ask_runner(json.load(sys.stdin))
    decision = {"permissionDecision": "deny", "permissionDecisionReason": denied}
    if not denied:
        decision = {"permissionDecision": "allow"}
    json.dump({"hookSpecificOutput": {"hookEventName": "PreToolUse", **decision}}, sys.stdout)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001  a call that could not be asked for is not made
        sys.stderr.write(f"the run could not be asked about this call: {error!r}\n")
        sys.exit(2)
