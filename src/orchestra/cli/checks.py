"""The checks of ``orchestra selftest``: what each shows, and its commands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a check, and the exit code that it has to end with."""

    words: tuple[str, ...]
    code: int = 0
    folder: str = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the report: a name, what works if it passes, what it needs, its commands."""

    name: str
    shows: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()


def _orchestra(words: str, code: int = 0, folder: str = ".") -> Step:
    return Step(("orchestra", *words.split()), code, folder)


def _example(name: str, answers: bool = False) -> Step:
    answered = f" --answers {name}.answers.yaml" if answers else ""
    return _orchestra(f"run {name}.dot --simulate {name}.yaml{answered}")


def _shell(text: str, folder: str = ".") -> Step:
    return Step(("sh", "-euc", text), folder=folder)


AGENTS = ("langgraph", "langchain_anthropic")
_CHANGE = """git init -q -b main
printf 'def find(db, name):\\n    return None\\n' > app.py
git add -A
git commit -qm 'A shop that finds nobody'
git checkout -qb change
printf 'def find(db, name):\\n    return db.execute(name).fetchone()[0]\\n' > app.py
git commit -qam 'Look users up'"""

CHECKS: tuple[Check, ...] = (
    Check(
        name="checker",
        shows="pipelines are checked before they run",
        steps=(_shell('"$ORCHESTRA" -m orchestra compile --strict *.dot'),),
    ),
    Check(
        name="record",
        shows="a run is recorded, and can be read and resumed from",
        steps=(
            _example("hello"),
            *(_orchestra(f"{command} last") for command in ("status", "log", "show")),
            _orchestra("replay last --node greet"),
            _orchestra("doctor --deep"),
        ),
    ),
    Check(
        name="retries",
        shows="nodes are retried, failures take their own path",
        steps=(_example("plan-build-review"),),
    ),
    Check(
        name="commands",
        shows="shell commands run as nodes",
        steps=(_orchestra("run build-and-test.dot"),),
        needs=("python3",),
    ),
    Check(
        name="loops",
        shows="loops are bounded, goal gates send a run back",
        steps=(_example("review-loop"), _example("release-checklist")),
    ),
    Check(
        name="branches",
        shows="branches run in parallel and join",
        steps=(_example("three-reviewers"), _example("best-of-three"), _example("each-file")),
    ),
    Check(
        name="people",
        shows="people are asked, and answer later from another process",
        steps=(
            _example("release-gate", answers=True),
            _orchestra("run interview.dot --simulate interview.yaml --no-input", 5),
            _orchestra("inbox --json"),
            _orchestra("resume last --answers interview.answers.yaml"),
        ),
    ),
    Check(
        name="children",
        shows="a manager steers a child pipeline",
        steps=(_example("supervised"),),
    ),
    Check(
        name="agents",
        shows="agents, prompts and models come from orchestra.yaml",
        steps=(
            _orchestra("compile pipeline.dot --models --strict", folder="first-agent"),
            _orchestra("run pipeline.dot --simulate simulation.yaml", folder="first-agent"),
        ),
    ),
    Check(
        name="git",
        shows="agents work in worktrees of their own, which are merged; the checkout is not touched",
        steps=(
            _shell("sh two-agents/scratch.sh"),
            _orchestra("run two-agents/two-agents.dot --simulate two-agents/two-agents.yaml"),
            _shell('test -z "$(git -C calculator status --short)"'),
            _orchestra("merge last"),
            _shell("cd calculator && grep -q subtract calc.py"),
        ),
        needs=("git", "python3"),
    ),
    Check(
        name="crash",
        shows="a killed run is resumed, and nothing runs twice",
        steps=(_orchestra("demo crashed"),),
        needs=("git", "python3"),
    ),
    Check(
        name="pr-review",
        shows="a change is reviewed, the findings are checked against its diff",
        steps=(
            _shell(_CHANGE, folder="pr-review"),
            _orchestra("run pr-review.dot --simulate simulation.yaml --answers answers.yaml", folder="pr-review"),
            _shell("test -s review.md && test -s review.json && test -s review.sarif", folder="pr-review"),
        ),
        needs=("git", "python3"),
    ),
    Check(
        name="archive",
        shows="a run moves to another store, and becomes a page",
        steps=(
            _example("three-reviewers"),
            _orchestra("export last -o run.orchestra"),
            _orchestra("import run.orchestra --store another"),
            _orchestra("export last --html run.html"),
        ),
    ),
    Check(
        name="drawing",
        shows="pipelines are drawn",
        steps=(_orchestra("compile hello.dot --format svg"),),
        needs=("dot",),
    ),
    Check(
        name="sandbox",
        shows="commands run in a sandbox",
        steps=(
            Step(
                (
                    "env",
                    "ORCHESTRA_SANDBOX=bwrap",
                    "orchestra",
                    "run",
                    "each-file.dot",
                    "--simulate",
                    "each-file.yaml",
                )
            ),
        ),
        needs=("bwrap",),
    ),
    Check(
        name="models",
        shows="real agents and tools work with a provider's client, against a local server",
        steps=(
            _orchestra("model-server --quiet testing/models.yaml -- orchestra run testing/summary.dot"),
            _orchestra("model-server --quiet model.yaml -- orchestra run fix.dot", folder="fix-test"),
        ),
        needs=(*AGENTS, "python3"),
    ),
)
