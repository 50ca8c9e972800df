"""The plain work of a review: get the diff, check findings against it, write the review.

    findings.py diff --base main --head HEAD [--pr 42] [--budget 30000]   writes .review/, prints what to read
    findings.py check < results.json                                      checks and merges what reviewers found
    findings.py write [--rejected F1,F2] [--post true --pr 42] < text     writes review.md, .json and .sarif

Only the standard library is used. Nothing outside of .review/ and review.* is written.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(".review")
SEVERITIES = ("critical", "major", "minor", "note")
LEVELS = {"critical": "error", "major": "error", "minor": "warning", "note": "note"}
CHARACTERS = 4  # of a token, about
GENERATED = ("*.lock", "*lock.json", "*.min.js", "*.min.css", "*.snap", "*_pb2.py", "*.pb.go", "dist/*", "vendor/*")
HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = options.add_subparsers(dest="command", required=True)
    diff = commands.add_parser("diff")
    diff.add_argument("--base", default="main")
    diff.add_argument("--head", default="HEAD")
    diff.add_argument("--pr", default="")
    diff.add_argument("--budget", type=int, default=30_000, help="tokens of one part")
    commands.add_parser("check")
    write = commands.add_parser("write")
    write.add_argument("--rejected", default="")
    write.add_argument("--post", default="false")
    write.add_argument("--pr", default="")
    given = options.parse_args()
    return {"diff": get_diff, "check": check, "write": deliver}[given.command](given)


# --- the diff ------------------------------------------------------------------------------------


def get_diff(given: argparse.Namespace) -> int:
    text = diff_text(given)
    if not text.strip():
        print(f"no change between {given.base} and {given.head}", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    if not in_worktree():
        (FOLDER / ".gitignore").write_text("*\n")
    for old in FOLDER.glob("part-*.patch"):
        old.unlink()
    files = [described(piece) for piece in split_by_file(text)]
    parts = parted([file for file in files if file["kind"] == "text"], given.budget * CHARACTERS)
    for number, part in enumerate(parts, 1):
        (FOLDER / f"part-{number}.patch").write_text("".join(file["patch"] for file in part))
    known = {file["path"]: {"lines": file["lines"], "kind": file["kind"]} for file in files}
    (FOLDER / "files.json").write_text(json.dumps(known, indent=1))
    print(summary(files, parts))
    print(other_code(given), end="")
    return 0


def in_worktree() -> bool:
    """Whether Orchestra made this worktree: .review/ is committed in it, and so is in those of the reviewers."""
    return {".orchestra", "worktrees"} <= set(Path.cwd().parts)


def diff_text(given: argparse.Namespace) -> str:
    """The change as a unified diff: of a pull request by gh, else between two commits by git."""
    if given.pr:
        return run("gh", "pr", "diff", given.pr)
    if subprocess.run(("git", "rev-parse"), capture_output=True).returncode:
        sys.exit(f"{Path.cwd()} is not in a git repository: run this inside the one to review, or give pr=NUMBER")
    return run(
        "git",
        "-c",
        "core.quotePath=false",
        "diff",
        "--no-ext-diff",
        "--no-color",
        "--find-renames",
        f"{given.base}...{given.head}",
        "--",
    )


def other_code(given: argparse.Namespace) -> str:
    """A note where the files here are not those of the change's new version, which reviewers would read."""
    if given.pr:
        there = run("gh", "pr", "view", given.pr, "--json", "headRefOid", "--jq", ".headRefOid").strip()
        fix = f"gh pr checkout {given.pr}"
    else:
        there, fix = run("git", "rev-parse", f"{given.head}^{{commit}}").strip(), f"git checkout {given.head}"
    here = run("git", "rev-parse", "HEAD").strip()
    if here == there:
        return ""
    places = f"the files here are of {here[:10]}, the change ends at {there[:10]}"
    return f"NOTE: {places}. To review with its code: {fix}\n"


def run(*command: str, data: str | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, input=data, encoding="utf-8", errors="replace")
    except FileNotFoundError:
        sys.exit(f"{command[0]} is not installed, and this needs it: {' '.join(command[:3])} …")
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} … failed: {done.stderr.strip()}")
    return done.stdout


def split_by_file(text: str) -> list[str]:
    pieces = re.split(r"(?m)^(?=diff --git )", text)
    return [piece for piece in pieces if piece.startswith("diff --git ")]


def described(patch: str) -> dict:
    """A file's piece of the diff: its path in the new version, its kind, the lines that the diff shows."""
    path = new_path(patch)
    lines = [[int(m[1]), int(m[1]) + int(m[2] or 1) - 1] for line in patch.splitlines() if (m := HUNK.match(line))]
    lines = [span for span in lines if span[1] >= span[0]]
    kind = "text"
    if "\nBinary files " in patch or "\nGIT binary patch" in patch:
        kind = "binary"
    elif any(fnmatch.fnmatch(path, pattern) for pattern in GENERATED):
        kind = "generated"
    elif "\n+++ /dev/null" in patch:
        kind = "deleted"
    elif not lines:
        kind = "renamed" if "\nrename to " in patch else "mode"
    return {"path": path, "patch": patch, "kind": kind, "lines": lines}


def new_path(patch: str) -> str:
    for mark in ("\n+++ b/", "\nrename to ", "\n--- a/"):
        _before, found, rest = patch.partition(mark)
        if found:
            return rest.split("\n", 1)[0].split("\t", 1)[0]
    return patch.split("\n", 1)[0].rpartition(" b/")[2]


def parted(files: list[dict], most: int) -> list[list[dict]]:
    """The files in parts of at most so many characters; a larger file is a part of its own, whole."""
    parts: list[list[dict]] = []
    room = 0
    for file in files:
        size = len(file["patch"])
        if not parts or size > room:
            parts.append([])
            room = most
        parts[-1].append(file)
        room -= size
    return parts


def summary(files: list[dict], parts: list[list[dict]]) -> str:
    text = [file for file in files if file["kind"] == "text"]
    added = sum(
        line.startswith("+") and not line.startswith("+++") for f in text for line in f["patch"].splitlines()
    )
    lines = [f"files changed: {len(files)}; lines added: {added}, in {len(text)} of them."]
    for number, part in enumerate(parts, 1):
        size = sum(len(file["patch"]) for file in part) // CHARACTERS
        names = ", ".join(file["path"] for file in part)
        lines.append(f".review/part-{number}.patch (about {size} tokens): {names}")
    for kind in ("binary", "generated", "deleted", "renamed", "mode"):
        names = [file["path"] for file in files if file["kind"] == kind]
        if names:
            lines.append(f"not in the parts, {kind}: {', '.join(names)}")
    return "\n".join(lines)


# --- the findings ----------------------------------------------------------------------------------


def check(_given: argparse.Namespace) -> int:
    files = json.loads((FOLDER / "files.json").read_text())
    dropped: list[str] = []
    found: dict[tuple, dict] = {}
    missing: list[str] = []
    for result in json.loads(sys.stdin.read() or "[]"):
        if result.get("status") not in (None, "success", "partial_success"):
            missing.append(f"{result['id']} did not finish: {result.get('failure_reason') or result['status']}")
            continue
        for finding in findings_of(result, dropped):
            problem = wrong(finding, files)
            if problem:
                dropped.append(f"{result['id']}: {problem}")
                continue
            key = (finding["file"], finding["line"], re.sub(r"\W+", " ", finding["title"].lower()).strip())
            same = found.setdefault(key, {**finding, "found_by": []})
            same["severity"] = min(same["severity"], finding["severity"], key=SEVERITIES.index)
            if result["id"] not in same["found_by"]:
                same["found_by"].append(result["id"])
    ordered = sorted(found.values(), key=lambda f: (SEVERITIES.index(f["severity"]), f["file"], f["line"]))
    findings = [{"id": f"F{number}", **finding} for number, finding in enumerate(ordered, 1)]
    (FOLDER / "findings.json").write_text(
        json.dumps({"findings": findings, "dropped": dropped, "missing": missing}, indent=1)
    )
    for line in missing:
        print(f"NOT REVIEWED: {line}")
    print(f"{len(findings)} findings, {len(dropped)} dropped.")
    for one in findings:
        who = ", ".join(one["found_by"])
        print(f"{one['id']} {one['severity']} {one['file']}:{one['line']} {one['title']} ({who})\n   {one['why']}")
    for line in dropped:
        print(f"dropped, {line}")
    return 0


def findings_of(result: dict, dropped: list[str]) -> list[dict]:
    """What a reviewer found, from the JSON in its answer."""
    answer = str(result.get("response") or "")
    begin, end = answer.find("{"), answer.rfind("}")
    try:
        plain = json.loads(answer[begin : end + 1]) if 0 <= begin < end else None
        found = plain["findings"]
        return [finding for finding in found if isinstance(finding, dict)]
    except (ValueError, TypeError, KeyError):
        dropped.append(f"{result['id']}: its answer is not the JSON that was asked for")
        return []


def wrong(finding: dict, files: dict) -> str:
    """What is wrong with a finding; empty where it stands on a line that the diff shows."""
    shown = f"{finding.get('file')}:{finding.get('line')} {str(finding.get('title'))[:60]}"
    if finding.get("severity") not in SEVERITIES or not isinstance(finding.get("line"), int):
        return f"{shown}: no severity or no line"
    if not all(isinstance(finding.get(key), str) and finding[key].strip() for key in ("file", "title", "why")):
        return f"{shown}: no file, title or reason"
    known = files.get(finding["file"])
    if known is None:
        return f"{shown}: the change does not touch that file"
    if not any(first <= finding["line"] <= last for first, last in known["lines"]):
        return f"{shown}: the diff does not show that line"
    return ""


# --- the review ------------------------------------------------------------------------------------


def deliver(given: argparse.Namespace) -> int:
    opening = sys.stdin.read().strip()
    checked = json.loads((FOLDER / "findings.json").read_text())
    rejected = {word.strip() for word in given.rejected.split(",") if word.strip()}
    findings = [{**finding, "upheld": finding["id"] not in rejected} for finding in checked["findings"]]
    upheld = [finding for finding in findings if finding["upheld"]]
    Path("review.md").write_text(markdown(opening, findings, checked))
    Path("review.json").write_text(
        json.dumps({**checked, "summary": opening, "findings": findings}, indent=2) + "\n"
    )
    Path("review.sarif").write_text(json.dumps(sarif(upheld), indent=2) + "\n")
    print(f"review.md, review.json, review.sarif: {len(upheld)} findings, {len(findings) - len(upheld)} rejected")
    if in_worktree():
        shutil.rmtree(FOLDER)
    if given.post == "true":
        post(given.pr, opening, upheld)
        print(f"posted to pull request {given.pr}")
    return 0


def markdown(opening: str, findings: list[dict], checked: dict) -> str:
    lines = [f"**Not reviewed:** {line}\n" for line in checked["missing"]]
    lines += [opening or "# Review", ""]
    for title, upheld in (("## Findings", True), ("## Rejected by the critic", False)):
        some = [finding for finding in findings if finding["upheld"] is upheld]
        if not some and not upheld:
            continue
        lines += [title, ""]
        for one in some:
            lines.append(
                f"- **{one['severity']}** `{one['file']}:{one['line']}` {one['title']}"
                f" ({', '.join(one['found_by'])})"
            )
            lines.append(f"  {one['why']}")
            if one.get("suggestion"):
                lines.append(f"  Suggestion: {one['suggestion']}")
        lines += [""] if some else ["None.", ""]
    if dropped := checked["dropped"]:
        lines += [
            f"Dropped because they do not fit the diff: {len(dropped)}; review.json names them.",
            "",
        ]
    return "\n".join(lines)


def sarif(findings: list[dict]) -> dict:
    """SARIF 2.1.0, as code hosts show it."""
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "orchestra pr-review", "rules": []}},
                "results": [
                    {
                        "ruleId": finding["severity"],
                        "level": LEVELS[finding["severity"]],
                        "message": {"text": f"{finding['title']}\n\n{finding['why']}"},
                        "locations": [
                            {
                                "physicalLocation": {
                                    "artifactLocation": {"uri": finding["file"]},
                                    "region": {"startLine": finding["line"]},
                                }
                            }
                        ],
                    }
                    for finding in findings
                ],
            }
        ],
    }


def post(pr: str, opening: str, findings: list[dict]) -> None:
    """Post the findings as one review of a pull request."""
    if not pr:
        sys.exit("post=true needs the number of the pull request: pr=42")
    comments = [
        {
            "path": f["file"],
            "line": f["line"],
            "side": "RIGHT",
            "body": f"**{f['severity']}** {f['title']}\n\n{f['why']}",
        }
        for f in findings
    ]
    body = json.dumps({"event": "COMMENT", "body": opening, "comments": comments})
    run("gh", "api", "--method", "POST", f"repos/{{owner}}/{{repo}}/pulls/{pr}/reviews", "--input", "-", data=body)


if __name__ == "__main__":
    sys.exit(main())
