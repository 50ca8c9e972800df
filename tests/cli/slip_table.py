"""A pipeline that uses most of the language, and slips of the pen in it.

Each slip is what the author wrote instead of a piece of the pipeline, the word that the first finding has to mark,
and what its help has to say. Rows with ``REPAIRED`` are repaired by the edits that the findings offer.
"""

from __future__ import annotations

from typing import NamedTuple

PIPELINE = """digraph ship {
    goal = "Ship the feature"
    model_stylesheet = "* { llm_model: haiku } .careful { llm_model: opus; reasoning_effort: high }"
    default_max_retries = 2
    rankdir = LR
    start [shape=Mdiamond]
    exit [shape=Msquare]
    plan [label="Plan", prompt="Plan how to reach: $goal", class="careful"]
    fan [shape=component, join_policy=first_success]
    docs [prompt="Write the documents"]
    notes [prompt="Write the notes", llm_model=sonnet]
    join [shape=tripleoctagon]
    build [prompt="Build what was planned", max_retries=3, retry_policy=linear, timeout=15m]
    test [shape=parallelogram, tool_command="make test", timeout="90s"]
    passed [shape=diamond]
    review [prompt="Review the work", fidelity="summary:high", goal_gate=true, retry_target=build]
    approve [shape=hexagon, label="Ship it?", human.default_choice="exit", human.timeout=2h]
    start -> plan -> fan
    fan -> docs -> join
    fan -> notes -> join
    join -> build -> test -> passed
    passed -> review [condition="outcome=success", weight=2]
    passed -> build [condition="outcome=fail || context.again", max_visits=3]
    review -> approve
    approve -> exit [label="[Y] Yes"]
    approve -> build [label="[N] No"]
}
"""


class Slip(NamedTuple):
    """``meant`` stands once in the pipeline and was written as ``wrote``; ``marked`` is the text under the caret of
    the first finding, ``help`` a part of its help; ``repaired`` says that its edits repair the file."""

    meant: str
    wrote: str
    marked: str
    help: str
    repaired: bool = True


REPAIRED, ASKS = True, False
"""Whether the fix is certain, or the author has to decide."""

SLIPS = [
    # conditions that pass silently
    Slip('"outcome=success"', '"success"', "success", "outcome=success"),
    Slip('"outcome=success"', '"status=success"', "status", "outcome=success"),
    Slip('"outcome=success"', '"Outcome=success"', "Outcome", "outcome=success"),
    Slip('"outcome=success"', '"result=success"', "result", "outcome=success"),
    Slip('"outcome=success"', '"outcom=success"', "outcom", "outcome=success"),
    Slip('"outcome=success"', '"outcome=succeeded"', "succeeded", "success"),
    Slip('"outcome=success"', '"outcome=Success"', "Success", "success"),
    Slip('"outcome=success"', '"outcome=succes"', "succes", "success"),
    Slip('"outcome=success"', '"outcome=SUCCESS"', "SUCCESS", "success"),
    Slip("outcome=fail ", "outcome=failed ", "failed", "fail"),
    Slip("outcome=fail ", "outcome=failure ", "failure", "fail"),
    # conditions that cannot be read
    Slip('"outcome=success"', '"outcome==success"', "==", "write ="),
    Slip('"outcome=success"', '"outcome is success"', "is", "write ="),
    Slip('"outcome=success"', '"not outcome=fail"', "not", "write !"),
    Slip('"outcome=success"', '"outcome <> fail"', "<>", "write !="),
    Slip("outcome=fail ||", "outcome=fail or", "or", "write ||"),
    Slip("outcome=fail ||", "outcome=fail |", "|", "write ||"),
    Slip("|| context.again", "|| context.log !contains done", "context.log !", "!context.log contains"),
    Slip("|| context.again", "|| context.log not contains done", "context.log not", "!context.log contains"),
    Slip("|| context.again", "|| (context.again", "(", "end it with )", ASKS),
    Slip("|| context.again", "|| context.again)", ")", "remove it"),
    Slip('"outcome=success"', "\"outcome = 'success'\"", "'success'", "success"),
    Slip("|| context.again", "|| ${again}", "${again}", "context.NAME", ASKS),
    # attributes under other names
    Slip("llm_model=sonnet", "model=sonnet", "model", "llm_model"),
    Slip("llm_model=sonnet", "llm_modle=sonnet", "llm_modle", "llm_model"),
    Slip("llm_model=sonnet", "llm_model=sonnet, provider=anthropic", "provider", "llm_provider"),
    Slip("max_retries=3", "retries=3", "retries", "max_retries"),
    Slip("max_retries=3", "max_retry=3", "max_retry", "max_retries"),
    Slip("max_retries=3", "max-retries=3", "max-retries", "max_retries"),
    Slip("max_retries=3", "maxRetries=3", "maxRetries", "max_retries"),
    Slip("max_retries=3", "max_retires=3", "max_retires", "max_retries"),
    Slip('prompt="Write the documents"', 'promt="Write the documents"', "promt", "prompt"),
    Slip('prompt="Write the documents"', 'prompts="Write the documents"', "prompts", "prompt"),
    Slip('prompt="Write the documents"', 'instructions="Write the documents"', "instructions", "prompt"),
    Slip('prompt="Write the documents"', 'Prompt="Write the documents"', "Prompt", "prompt"),
    Slip("tool_command=", "command=", "command", "tool_command"),
    Slip("tool_command=", "cmd=", "cmd", "tool_command"),
    Slip("tool_command=", "tool_comand=", "tool_comand", "tool_command"),
    Slip("tool_command=", "prompt=", "prompt", "tool_command"),
    Slip("goal_gate=true", "goalgate=true", "goalgate", "goal_gate"),
    Slip("goal_gate=true", "gaol_gate=true", "gaol_gate", "goal_gate"),
    Slip("retry_target=build", "retry_taget=build", "retry_taget", "retry_target"),
    Slip("retry_target=build", "on_failure=build", "on_failure", "retry_target"),
    Slip("timeout=15m", "time_limit=15m", "time_limit", "timeout"),
    Slip("timeout=15m", "timout=15m", "timout", "timeout"),
    Slip('condition="outcome=success"', 'when="outcome=success"', "when", "condition"),
    Slip('condition="outcome=success"', 'conditon="outcome=success"', "conditon", "condition"),
    Slip('condition="outcome=success"', 'if="outcome=success"', "if", "condition"),
    Slip("weight=2", "wieght=2", "wieght", "weight"),
    Slip("weight=2", "priority=2", "priority", "weight"),
    Slip("max_visits=3", "max_visit=3", "max_visit", "max_visits"),
    Slip("human.default_choice=", "human.default_chioce=", "human.default_chioce", "human.default_choice"),
    Slip("human.default_choice=", "default_choice=", "default_choice", "human.default_choice"),
    Slip("human.timeout=", "human_timeout=", "human_timeout", "human.timeout"),
    Slip("join_policy=", "join_polcy=", "join_polcy", "join_policy"),
    Slip("default_max_retries =", "default_max_retires =", "default_max_retires", "default_max_retries"),
    Slip("default_max_retries =", "max_retries =", "max_retries", "default_max_retries"),
    Slip("default_max_retries =", "default-max-retries =", "default-max-retries", "default_max_retries"),
    Slip("model_stylesheet =", "model_stylesheets =", "model_stylesheets", "model_stylesheet"),
    Slip('goal = "Ship', 'gaol = "Ship', "gaol", "goal"),
    # values
    Slip("llm_model=sonnet", "reasoning_effort=hgih", "hgih", "high"),
    Slip("llm_model=sonnet", "reasoning_effort=High", "High", "high"),
    Slip('fidelity="summary:high"', 'fidelity="sumary:high"', '"sumary:high"', "summary:high"),
    Slip('fidelity="summary:high"', "fidelity=compct", "compct", "compact"),
    Slip("retry_policy=linear", "retry_policy=liner", "liner", "linear"),
    Slip("join_policy=first_success", "join_policy=first_sucess", "first_sucess", "first_success"),
    Slip("goal_gate=true", "goal_gate=yes", "yes", "write true"),
    Slip("goal_gate=true", "goal_gate=ture", "ture", "write true"),
    Slip("goal_gate=true", "goal_gate=1", "1", "write true"),
    Slip("max_retries=3", "max_retries=three", "three", "max_retries=3"),
    Slip("max_retries=3", "max_retries=many", "many", "", ASKS),
    Slip("timeout=15m", "timeout=15min", "15min", "write 15m"),
    Slip('timeout="90s"', 'timeout="90 seconds"', '"90 seconds"', "write 90s"),
    Slip("timeout=15m", "timeout=1.5h", "1.5h", "write 90m"),
    Slip("timeout=15m", "timeout=120000", "120000", "write 2m"),
    Slip("timeout=15m", "timeout=900", "900", "write 900s"),
    Slip("retry_target=build", "retry_target=biuld", "biuld", "'build'"),
    Slip('class="careful"', 'class=".careful"', '".careful"', "write careful"),
    Slip('class="careful"', 'class="carefull"', "carefull", "'careful'"),
    Slip(".careful {", ".cheap {", ".cheap", "correct its selector", ASKS),
    Slip(".careful {", "careful {", "careful", ".careful", ASKS),
    Slip(".careful {", "#paln {", "#paln", "'#plan'"),
    Slip("llm_model: opus", "llm_modle: opus", "llm_modle", "llm_model"),
    Slip("llm_model: opus", "model: opus", "model", "llm_model"),
    Slip("llm_model: opus;", "llm_model: opus", " ", "write ;"),
    Slip("reasoning_effort: high", "reasoning_effort: hihg", "hihg", "'high'"),
    Slip('human.default_choice="exit"', 'human.default_choice="exti"', '"exti"', "'exit'"),
    # shapes, types and what a node never reads
    Slip("shape=hexagon", "shape=hexagom", "hexagom", "hexagon"),
    Slip("shape=hexagon", "shape=Hexagon", "Hexagon", "hexagon"),
    Slip("shape=parallelogram", "shape=paralellogram", "paralellogram", "parallelogram"),
    Slip("shape=parallelogram", 'type="tol"', '"tol"', "'tool'"),
    Slip("shape=hexagon", 'type="wait.humn"', '"wait.humn"', "'wait.human'"),
    Slip("shape=Mdiamond", "shape=MDiamond", "MDiamond", "Mdiamond"),
    Slip("shape=Msquare", "shape=Msqaure", "Msqaure", "Msquare"),
    Slip("shape=component", "shape=componet", "componet", "component"),
    Slip("shape=parallelogram, ", "", "tool_command", "shape=parallelogram"),
    Slip("passed [shape=diamond]", 'passed [shape=diamond, prompt="Decide"]', "prompt", "LLM node", ASKS),
    Slip("exit [shape=Msquare]", 'exit [shape=Msquare, prompt="Say goodbye"]', "prompt", "LLM node", ASKS),
    Slip('label="Ship it?"', 'prompt="Ship it?"', "prompt", "label"),
    # names of nodes and edges
    Slip("review -> approve", "reveiw -> approve", "reveiw", "'review'"),
    Slip("review -> approve", "review -> aprove", "aprove", "'approve'"),
    Slip("-> build -> test", "-> biuld -> test", "biuld", "'build'"),
    Slip("join -> build", "jion -> build", "jion", "'join'"),
    Slip("start -> plan", "strat -> plan", "strat", "'start'"),
    Slip("review -> approve", "review approve", "approve", "review -> approve"),
    Slip("review -> approve", "review => approve", "=>", "write ->"),
    Slip("review -> approve", "review -- approve", "--", "write ->"),
    Slip("review -> approve", "review --> approve", "-->", "write ->"),
    Slip("review -> approve", "review → approve", "→", "write ->"),
    Slip("review -> approve", "approve <- review", "<-", "review -> approve"),
    Slip("review -> approve", "review - > approve", "- >", "write ->"),
    Slip("review -> approve", "review -> -> approve", "->", "remove"),
    Slip("review -> approve", "review > approve", ">", "write ->"),
    Slip('approve -> exit [label="[Y] Yes"]', 'approve -> exit "[Y] Yes"', '"[Y] Yes"', "[label="),
    Slip('approve -> exit [label="[Y] Yes"]', 'approve -> exit label="[Y] Yes"', "label", "write [label"),
    Slip(
        'approve -> exit [label="[Y] Yes"]', 'approve -> [label="[Y] Yes"] exit', '[label="[Y] Yes"]', "exit [label"
    ),
    Slip(
        'review [condition="outcome=success", weight=2]',
        'review "outcome=success"',
        '"outcome=success"',
        'condition="outcome=success"',
    ),
    Slip("exit [shape=Msquare]", "exit [shape=Msquare]\n    done [shape=Msquare]", "Msquare", "'exit'", ASKS),
    Slip("review -> approve", "review -> approve\n    exit -> plan", "exit -> plan", "delete"),
    Slip("passed -> build", "passed -> start", "start", "'plan'"),
    Slip('    approve -> exit [label="[Y] Yes"]\n', "", "exit", "-> exit", ASKS),
    Slip("    start [shape=Mdiamond]\n    exit", "    exit", "start", "start [shape=Mdiamond]", ASKS),
    Slip("exit [shape=Msquare]", "finish [shape=box]", "finish", "", ASKS),
    # punctuation
    Slip('goal = "Ship', 'goal: "Ship', ":", "write goal ="),
    Slip('goal = "Ship', 'goal "Ship', '"Ship the feature"', "goal ="),
    Slip('goal = "Ship', 'goal == "Ship', "=", "write ="),
    Slip('label="Plan"', 'label: "Plan"', ":", "write label="),
    Slip('label="Plan"', 'label "Plan"', '"Plan"', 'label="Plan"'),
    Slip('label="Plan"', "label='Plan'", "'", 'plain "'),
    Slip('label="Plan"', "label=“Plan”", "“", 'plain "'),
    Slip('label="Plan"', "label=<<b>Plan</b>>", "<", "in quotes"),
    Slip('label="Plan"', 'label="Plan', '"', 'end the text with "'),
    Slip('label="Plan"', 'label=Plan"', 'Plan"', 'write "Plan"'),
    Slip('label="Ship it?"', "label=Ship it?", "Ship it?", 'write "Ship it?"'),
    Slip('label="Plan", prompt', 'label="Plan",, prompt', ",", "remove"),
    Slip("[shape=diamond]", "(shape=diamond)", "(", "write ["),
    Slip("[shape=diamond]", "{shape=diamond}", "{", "write ["),
    Slip("[shape=diamond]", "[shape=diamond", "[", "end it with ]"),
    Slip("[shape=diamond]", "shape=diamond]", "shape", "write ["),
    Slip("[shape=diamond]", "[shape=diamond]]", "]", "remove it"),
    Slip("[shape=diamond]", "shape=diamond", "shape", "write [shape"),
    Slip("[shape=diamond]", "[shape=diamond, shape=diamond]", "shape", "remove one"),
    Slip('prompt="Write the notes"', 'prompt="Write", prompt="Write the notes"', "prompt", "remove one"),
    Slip("digraph ship {", "graph ship {", "graph", "write digraph"),
    Slip("digraph ship {", "diagraph ship {", "diagraph", "write digraph"),
    Slip("digraph ship {", "strict digraph ship {", "strict", "remove it"),
    Slip("digraph ship {", "digraph {", "{", "digraph pipeline {"),
    Slip("digraph ship {", "digraph my-ship {", "my-ship", "my_ship"),
    Slip("digraph ship {", "digraph ship", "goal", "{"),
    Slip("digraph ship {", "```dot\ndigraph ship {", "```", "remove"),
    Slip("digraph ship {", "# Pipeline: ship it\ndigraph ship {", "", ""),
    Slip("review -> approve", "review -> approve; ;", ";", "remove it"),
    Slip("review -> approve", "review:s -> approve", ":s", "review alone"),
    Slip("review -> approve", "review -> approve # soon", "#", "write //"),
    Slip("review -> approve", "review ->\xa0approve", "\xa0", "plain space"),
    Slip("docs [prompt", "write-docs [prompt", "write-docs", "write_docs", ASKS),
    Slip("fan -> docs -> join", "fan -> docs [label=x] -> join", "->", "end of the edge"),
    Slip('tool_command="make test"', 'tool_command="echo $goal"', "$goal", "{{ graph.goal }}"),
    Slip('tool_command="make test"', 'tool_command="echo {{ responses.plna }}"', "plna", "'plan'"),
    Slip('label="[N] No"', 'label="[Y] No"', '"[Y] No"', "another key"),
]

RELEASE = """digraph release {
  graph [goal="Release the library", default_max_retries=1, default_fidelity="compact"]
  rankdir=LR
  node [shape=box, timeout=20m]
  edge [weight=1]

  start [shape=Mdiamond, label="Start"]
  done [shape=Msquare, label="Done"]

  read_issue [label="Read", prompt="Read the issue and list the steps for: $goal"]
  implement [prompt="Implement the change", max_retries=2,
    llm_model="claude-sonnet-4-5", llm_provider=anthropic, reasoning_effort=high]
  run_tests [shape=parallelogram, tool_command="make test", timeout=600s]
  verdict [shape=diamond, label="Pass?"]
  repair [prompt="Fix the failing tests", max_visits=4, fidelity=full, thread_id="impl"]
  checks [shape=component, join_policy=k_of_n, k=2, max_parallel=3, error_policy=continue]
  lint [shape=parallelogram, tool_command="make lint"]
  types [shape=parallelogram, tool_command="make types"]
  docs [shape=parallelogram, tool_command="make docs"]
  gather [shape=tripleoctagon]
  audit [prompt="Audit the release", goal_gate=true, retry_target=implement, allow_partial=true]
  sign_off [shape=hexagon, label="Publish now?", human.default_choice="implement", human.timeout=1h]
  publish [shape=parallelogram, tool_command="make publish", retry_policy=patient, on_interrupt=ask]

  start -> read_issue -> implement -> run_tests -> verdict
  verdict -> checks [condition="outcome=success"]
  verdict -> repair [condition="outcome=fail", label="broken"]
  repair -> run_tests
  checks -> lint -> gather
  checks -> types -> gather
  checks -> docs -> gather
  gather -> audit -> sign_off
  sign_off -> publish [label="[P] Publish"]
  sign_off -> implement [label="[R] Rework", weight=3]
  publish -> done
}
"""

RELEASE_SLIPS = [
    Slip("digraph release {", "graph release {", "graph", "digraph"),
    Slip("digraph release {", "digraph release-1.0 {", "release-1.0", "release_1_0"),
    Slip("digraph release {", 'digraph "release pipeline" {', '"release pipeline"', "release_pipeline"),
    Slip("digraph release {", "digraf release {", "digraf", "digraph"),
    Slip("digraph release {", "pipeline release {", "pipeline", "digraph", ASKS),
    Slip("digraph release {", "digraph {{", "{", ""),
    Slip("  publish -> done\n}", "  publish -> done\n", "{", "}"),
    Slip("  publish -> done\n}", "  publish -> done\n}}", "}", "remove"),
    Slip("  publish -> done", "  publish => done", "=>", "->"),
    Slip("  publish -> done", "  publish --> done", "-->", "->"),
    Slip("  publish -> done", "  publish -- done", "--", "->"),
    Slip("  publish -> done", "  publish > done", ">", "->"),
    Slip("  publish -> done", "  publish → done", "→", "->"),
    Slip("  publish -> done", "  publish ->", "}", "node", ASKS),
    Slip("  publish -> done", "  -> done", "->", "id", ASKS),
    Slip("  publish -> done", "  publish done", "done", "->"),
    Slip("  publish -> done", "  publish -> done [label=ok", "[", "]"),
    Slip("  publish -> done", '  publish -> done label="ok"]', "label", "["),
    Slip("  publish -> done", '  publish -> done (label="ok")', "(", "["),
    Slip("  publish -> done", '  publish -> done {label="ok"}', "{", "["),
    Slip("  publish -> done", "  publish:s -> done:n", ":s", "publish"),
    Slip("  publish -> done", "  publish -> done,", ",", ";", ASKS),
    Slip("  publish -> done", "  publish -> done [label='ok']", "'", '"'),
    Slip("  publish -> done", "  publish -> done [label=“ok”]", "“", '"'),
    Slip("  publish -> done", "  publish -> done [label=all good]", "all good", '"'),
    Slip("  publish -> done", '  publish -> done [label:"ok"]', ":", "="),
    Slip("  publish -> done", '  publish -> done [label "ok"]', '"ok"', "="),
    Slip("  publish -> done", '  publish -> done ["ok"]', '"ok"', "label", ASKS),
    Slip("  publish -> done", "  publish -> done [label=<b>ok</b>]", "<", '"'),
    Slip('prompt="Audit the release"', 'prompt="Audit the "final" release"', '"', '\\"', ASKS),
    Slip('prompt="Audit the release"', 'prompt="Audit the release', '"', '"'),
    Slip('prompt="Audit the release"', "prompt=Audit the release", "Audit the release", '"'),
    Slip('prompt="Audit the release"', "prompt=`Audit the release`", "`", '"'),
    Slip("  edge [weight=1]", "  edges [weight=1]", "edges", "edge", ASKS),
    Slip("  edge [weight=1]", "  /* defaults\n  edge [weight=1]", "/*", "*/", ASKS),
    Slip("  edge [weight=1]", "  edge weight=1", "edge", "[", ASKS),
    Slip("  rankdir=LR", "  rankdir LR", "rankdir", "="),
    Slip("  rankdir=LR", "  rankdir: LR", ":", "="),
    Slip(
        '  graph [goal="Release the library", ',
        '  graph [goal "Release the library", ',
        '"Release the library"',
        "=",
    ),
    Slip("  rankdir=LR", '  goal "Release the library"', '"Release the library"', "="),
    Slip("  rankdir=LR", '  label "Release"', "label", "="),
    Slip("  rankdir=LR", '  model_stylesheet "* { llm_model: x }"', '"* { llm_model: x }"', "="),
    Slip("  read_issue [", "  read-issue [", "read-issue", "read_issue"),
    Slip("  read_issue [", "  read issue [", "read", "_", ASKS),
    Slip("  read_issue [", "  1_read_issue [", "1_read_issue", "_1", ASKS),
    Slip("  read_issue [", "  read.issue [", "read.issue", "read_issue"),
    Slip("  read_issue [", "  node read_issue [", "node", "node", ASKS),
    Slip('[label="Read", prompt=', '(label="Read", prompt=', "(", "[", ASKS),
    Slip('prompt="Implement', 'promt="Implement', "promt", "prompt"),
    Slip('prompt="Implement', 'instruction="Implement', "instruction", "prompt"),
    Slip('prompt="Implement', 'instructions="Implement', "instructions", "prompt"),
    Slip('prompt="Implement', 'task="Implement', "task", "prompt"),
    Slip('prompt="Implement', 'Prompt="Implement', "Prompt", "prompt"),
    Slip("max_retries=2", "max_attempts=3", "max_attempts", "max_retries"),
    Slip("max_retries=2", "retry=2", "retry", "max_retries"),
    Slip("max_retries=2", "maxRetries=2", "maxRetries", "max_retries"),
    Slip("max_retries=2", "retry_count=2", "retry_count", "max_retries"),
    Slip('llm_model="claude', 'modl="claude', "modl", "llm_model"),
    Slip('llm_model="claude', 'modle="claude', "modle", "llm_model"),
    Slip('llm_model="claude', 'model_name="claude', "model_name", "llm_model"),
    Slip('llm_model="claude', 'llm="claude', "llm", "llm_model"),
    Slip('llm_model="claude', 'llm_modle="claude', "llm_modle", "llm_model"),
    Slip("llm_provider=", "provider=", "provider", "llm_provider"),
    Slip("llm_provider=", "model_provider=", "model_provider", "llm_provider"),
    Slip("reasoning_effort=", "effort=", "effort", "reasoning_effort"),
    Slip("reasoning_effort=", "reasoning=", "reasoning", "reasoning_effort"),
    Slip("reasoning_effort=", "thinking=", "thinking", "reasoning_effort"),
    Slip('tool_command="make test"', 'command="make test"', "command", "tool_command"),
    Slip('tool_command="make test"', 'cmd="make test"', "cmd", "tool_command"),
    Slip('tool_command="make test"', 'tool_cmd="make test"', "tool_cmd", "tool_command"),
    Slip('tool_command="make test"', 'run="make test"', "run", "tool_command"),
    Slip('tool_command="make test"', 'tool.command="make test"', "tool.command", "tool_command"),
    Slip("timeout=600s", "timeout_ms=600000", "timeout_ms", "timeout"),
    Slip("timeout=600s", "timeout_seconds=600", "timeout_seconds", "timeout"),
    Slip("timeout=600s", "time_limit=600s", "time_limit", "timeout"),
    Slip("timeout=600s", "tool.timeout=600s", "tool.timeout", "timeout"),
    Slip("timeout=600s", "tool.timeut=600s", "tool.timeut", "timeout"),
    Slip("timeout=600s", "timout=600s", "timout", "timeout"),
    Slip("max_visits=4", "max_iterations=4", "max_iterations", "max_visits"),
    Slip("max_visits=4", "max_loops=4", "max_loops", "max_visits"),
    Slip("max_visits=4", "max_visit=4", "max_visit", "max_visits"),
    Slip("fidelity=full", "context_fidelity=full", "context_fidelity", "fidelity"),
    Slip("fidelity=full", "fidelty=full", "fidelty", "fidelity"),
    Slip('thread_id="impl"', 'thread="impl"', "thread", "thread_id"),
    Slip('thread_id="impl"', 'session_id="impl"', "session_id", "thread_id"),
    Slip("join_policy=k_of_n", "join=k_of_n", "join", "join_policy"),
    Slip("error_policy=continue", "on_error=continue", "on_error", "error_policy"),
    Slip("max_parallel=3", "concurrency=3", "concurrency", "max_parallel"),
    Slip("max_parallel=3", "max_parallelism=3", "max_parallelism", "max_parallel"),
    Slip("max_parallel=3", "parallel=3", "parallel", "max_parallel"),
    Slip("goal_gate=true", "goalgate=true", "goalgate", "goal_gate"),
    Slip("goal_gate=true", "is_goal_gate=true", "is_goal_gate", "goal_gate"),
    Slip("retry_target=implement", "retry_to=implement", "retry_to", "retry_target"),
    Slip("retry_target=implement", "on_fail=implement", "on_fail", "retry_target"),
    Slip("retry_target=implement", "on_failure=implement", "on_failure", "retry_target"),
    Slip("allow_partial=true", "allow_partial_success=true", "allow_partial_success", "allow_partial"),
    Slip("human.timeout=1h", "human_timeout=1h", "human_timeout", "human.timeout"),
    Slip("human.default_choice=", "human.default=", "human.default", "human.default_choice"),
    Slip("human.default_choice=", "default_choice=", "default_choice", "human.default_choice"),
    Slip("on_interrupt=ask", "on_resume=ask", "on_resume", "on_interrupt"),
    Slip("retry_policy=patient", "backoff=patient", "backoff", "retry_policy"),
    Slip("retry_policy=patient", "retry_strategy=patient", "retry_strategy", "retry_policy"),
    Slip('condition="outcome=fail"', 'cond="outcome=fail"', "cond", "condition"),
    Slip('condition="outcome=fail"', 'when="outcome=fail"', "when", "condition"),
    Slip('condition="outcome=fail"', 'if="outcome=fail"', "if", "condition"),
    Slip('condition="outcome=fail"', 'guard="outcome=fail"', "guard", "condition"),
    Slip('condition="outcome=fail"', 'conditon="outcome=fail"', "conditon", "condition"),
    Slip("weight=3", "priority=3", "priority", "weight"),
    Slip("weight=3", "wieght=3", "wieght", "weight"),
    Slip('goal="Release', 'objective="Release', "objective", "goal"),
    Slip("default_max_retries=1", "max_retries=1", "max_retries", "default_max_retries"),
    Slip("default_max_retries=1", "default_retries=1", "default_retries", "default_max_retries"),
    Slip("default_fidelity=", "fidelity=", "fidelity", "default_fidelity"),
    Slip("rankdir=LR", 'stylesheet="* { llm_model: haiku }"', "stylesheet", "model_stylesheet"),
    Slip("rankdir=LR", 'model_styleshet="* { llm_model: haiku }"', "model_styleshet", "model_stylesheet"),
    Slip("rankdir=LR", "max_step=30", "max_step", "max_steps"),
    Slip("rankdir=LR", 'model="claude-opus-4-6"', "model", "llm_model"),
    Slip("shape=Msquare", "shape=msquare", "msquare", "Msquare"),
    Slip("shape=Mdiamond", "shape=mdiamond", "mdiamond", "Mdiamond"),
    Slip("shape=diamond", "shape=dimond", "dimond", "diamond"),
    Slip("shape=hexagon", "shape=hexagone", "hexagone", "hexagon"),
    Slip("shape=tripleoctagon", "shape=trippleoctagon", "trippleoctagon", "tripleoctagon"),
    Slip("shape=component", "shape=componant", "componant", "component"),
    Slip("shape=hexagon", "shape=octagon", "octagon", "hexagon", ASKS),
    Slip("shape=component", "shape=parallel", "parallel", "component"),
    Slip("shape=hexagon", "shape=human", "human", "hexagon"),
    Slip('shape=diamond, label="Pass?"', 'shape=decision, label="Pass?"', "decision", "diamond"),
    Slip("reasoning_effort=high", "reasoning_effort=hi", "hi", "high"),
    Slip("reasoning_effort=high", "reasoning_effort=max", "max", "xhigh"),
    Slip("reasoning_effort=high", "reasoning_effort=HIGH", "HIGH", "high"),
    Slip("llm_provider=anthropic", "llm_provider=antropic", "antropic", "anthropic", ASKS),
    Slip("llm_provider=anthropic", "llm_provider=Anthropic", "Anthropic", "anthropic", ASKS),
    Slip("llm_provider=anthropic", "llm_provider=claude", "claude", "anthropic", ASKS),
    Slip("max_retries=2", "max_retries=-1", "-1", "0", ASKS),
    Slip("goal_gate=true", "goal_gate=yes", "yes", "true"),
    Slip("goal_gate=true", "goal_gate=True", "True", "true"),
    Slip("goal_gate=true", "goal_gate=1", "1", "true"),
    Slip("timeout=600s", 'timeout="10 minutes"', '"10 minutes"', "10m"),
    Slip("timeout=600s", "timeout=10min", "10min", "10m"),
    Slip("timeout=600s", "timeout=1h30m", "1h30m", "90m"),
    Slip("join_policy=k_of_n", "join_policy=k-of-n", "k-of-n", "k_of_n"),
    Slip("join_policy=k_of_n", "join_policy=all", "all", "wait_all", ASKS),
    Slip("join_policy=k_of_n", "join_policy=any", "any", "first_success", ASKS),
    Slip("k=2", "k=9", "9", "3", ASKS),
    Slip("k=2", "k=0", "0", "1", ASKS),
    Slip("error_policy=continue", "error_policy=fail-fast", "fail-fast", "fail_fast"),
    Slip("error_policy=continue", "error_policy=stop", "stop", "fail_fast"),
    Slip("retry_policy=patient", "retry_policy=exponential", "exponential", "standard"),
    Slip("on_interrupt=ask", "on_interrupt=retry", "retry", "rerun"),
    Slip("fidelity=full", "fidelity=ful", "ful", "full"),
    Slip("fidelity=full", "fidelity=summary", "summary", "summary:", ASKS),
    Slip("fidelity=full", 'fidelity="summary-high"', '"summary-high"', "summary:high"),
    Slip("retry_target=implement", "retry_target=implment", "implment", "implement"),
    Slip("retry_target=implement", "retry_target=done", "done", "node", ASKS),
    Slip('human.default_choice="implement"', 'human.default_choice="implemnt"', '"implemnt"', "implement"),
    Slip('human.default_choice="implement"', 'human.default_choice="yes"', '"yes"', "publish", ASKS),
    Slip('default_fidelity="compact"', 'default_fidelity="compacted"', '"compacted"', "compact"),
    Slip('condition="outcome=fail"', 'condition="outcome==fail"', "==", "="),
    Slip('condition="outcome=fail"', 'condition="outcome = failed"', "failed", "fail"),
    Slip('condition="outcome=fail"', 'condition="outcome=failure"', "failure", "fail"),
    Slip('condition="outcome=fail"', 'condition="outcome=FAIL"', "FAIL", "fail"),
    Slip('condition="outcome=fail"', 'condition="fail"', "fail", "outcome=fail"),
    Slip('condition="outcome=fail"', 'condition="status=fail"', "status", "outcome"),
    Slip('condition="outcome=fail"', 'condition="outcome=fail and context.x"', "and", "&&"),
    Slip('condition="outcome=fail"', 'condition="outcome=fail & context.x"', "&", "&&"),
    Slip('condition="outcome=fail"', 'condition="not outcome=success"', "not", "!"),
    Slip('condition="outcome=fail"', 'condition="outcome <> success"', "<>", "!="),
    Slip('condition="outcome=fail"', 'condition="(outcome != success"', "(", ")", ASKS),
    Slip('condition="outcome=fail"', 'condition="outcome is fail"', "is", "="),
    Slip('condition="outcome=fail"', 'condition="outcome=error"', "error", "fail"),
    Slip('condition="outcome=fail"', 'condition="outcome eq fail"', "eq", "="),
    Slip('condition="outcome=fail"', 'condition="outcome"', "outcome", "=", ASKS),
    Slip('condition="outcome=fail"', 'condition="context.tests.failed => 3"', "=>", ">="),
    Slip('condition="outcome=fail"', 'condition="$outcome=fail"', "$outcome", "outcome", ASKS),
    Slip('condition="outcome=fail"', 'condition="outcome in [fail, retry]"', "in", "||", ASKS),
    Slip('condition="outcome=fail"', 'condition="outcome=fail || retry"', "retry", "outcome=retry"),
    Slip('condition="outcome=fail"', 'condition="preferred_lable=x"', "preferred_lable", "preferred_label"),
    Slip('condition="outcome=fail"', 'condition="outcome=fail;"', ";", ""),
    Slip('condition="outcome=fail"', 'condition="else"', "else", "condition", ASKS),
    Slip('condition="outcome=fail"', 'condition="true"', "true", "condition", ASKS),
    Slip('condition="outcome=fail"', 'condition="contxt.x=1"', "contxt.x", "context"),
    Slip("repair -> run_tests", "repair -> run_test", "run_test", "run_tests"),
    Slip("repair -> run_tests", "repiar -> run_tests", "repiar", "repair"),
    Slip("publish -> done", "publsh -> done", "publsh", "publish"),
    Slip("publish -> done", "publish -> exit", "exit", "done"),
    Slip("publish -> done", "publish -> Done", "Done", "done"),
    Slip("gather -> audit -> sign_off", "gather -> audit -> signoff", "signoff", "sign_off"),
    Slip("gather -> audit -> sign_off", "gather -> aduit -> sign_off", "aduit", "audit"),
    Slip("start -> read_issue ->", "strat -> read_issue ->", "strat", "start"),
    Slip("start -> read_issue ->", "begin -> read_issue ->", "begin", "start"),
    Slip("  checks -> lint -> gather\n", "  checks -> lint -> gahter\n", "gahter", "gather"),
    Slip("  publish -> done\n", "", "done", "publish -> done"),
    Slip("  publish -> done\n", "  publish -> done\n  done -> start\n", "done -> start", "delete"),
    Slip(
        'verdict [shape=diamond, label="Pass?"]',
        'verdict [shape=diamond, label="Pass?", prompt="Did it pass?"]',
        "prompt",
        "box",
        ASKS,
    ),
    Slip(
        'lint [shape=parallelogram, tool_command="make lint"]',
        'lint [tool_command="make lint"]',
        "tool_command",
        "parallelogram",
    ),
    Slip(
        'lint [shape=parallelogram, tool_command="make lint"]',
        'lint [shape=parallelogram, prompt="make lint"]',
        "prompt",
        "tool_command",
    ),
    Slip(
        'lint [shape=parallelogram, tool_command="make lint"]',
        "lint [shape=parallelogram]",
        "lint",
        "tool_command",
        ASKS,
    ),
    Slip('repair [prompt="Fix the failing tests"', 'repair [prompt=""', "repair", "prompt", ASKS),
    Slip('prompt="Fix the failing tests"', 'prompt="Fix: {{ tools.run_test.output }}"', "run_test", "run_tests"),
    Slip(
        'prompt="Fix the failing tests"',
        'prompt="Fix: {{ tools.run_tests.output "',
        "{{ tools.run_tests.output ",
        "}}",
    ),
    Slip(
        'tool_command="make publish"',
        'tool_command="make publish V={{ (version | default({})).y }}"',
        "{{ (version | default({})).y }}",
        "name",
        ASKS,
    ),
    Slip(
        'tool_command="make publish"',
        'tool_command="{% if x %}make publish{% endif %}"',
        "{% if x %}",
        "shell",
        ASKS,
    ),
    Slip('tool_command="make publish"', 'tool_command="echo $goal"', "$goal", "goal"),
    Slip("join_policy=k_of_n, k=2", "join_policy=k_of_n", "k_of_n", "k=", ASKS),
    Slip(
        'tool_command="make publish"',
        'tool_command="make publish TOKEN=ghp_abcdefghijklmnopqrstuvwxyzABCDEF0123"',
        "ghp_abcdefghijklmnopqrstuvwxyzABCDEF0123",
        "environment",
        ASKS,
    ),
    Slip("rankdir=LR", 'model_stylesheet="* { model: haiku }"', "model", "llm_model"),
    Slip("rankdir=LR", 'model_stylesheet="#repiar { llm_model: opus }"', "#repiar", "repair"),
    Slip("rankdir=LR", 'model_stylesheet="* { llm_model = haiku }"', "=", ":"),
    Slip("rankdir=LR", 'model_stylesheet="* { llm_model: haiku, reasoning_effort: low }"', ",", ";"),
    Slip("rankdir=LR", 'model_stylesheet="* { llm_model: haiku"', "{", "}", ASKS),
    Slip("rankdir=LR", 'model_stylesheet="hard { llm_model: opus }"', "hard", ".hard", ASKS),
    Slip("rankdir=LR", 'model_stylesheet="* { temperature: 0.2 }"', "temperature", "llm_model", ASKS),
    Slip("rankdir=LR", 'model_stylesheet="* { reasoning_effort: hgih }"', "hgih", "high"),
    Slip("rankdir=LR", 'model_stylesheet="* llm_model: haiku"', "llm_model", "{", ASKS),
    Slip("rankdir=LR", 'model_stylesheet="* { llm_provider: antropic }"', "antropic", "anthropic", ASKS),
]

TRIAGE = """// Nightly triage, generated
digraph triage {
    label = "Nightly triage"
    goal = "Triage new issues of $repo"
    inputs = "repo, limit=20"
    default_max_visits = 5
    model_stylesheet = "box { llm_model: worker } .deep { llm_model: smart; reasoning_effort: high }
        #summary { llm_provider: openai }"
    edge [fontsize=10]

    Start [shape=Mdiamond]
    End [shape=Msquare]

    fetch [shape=parallelogram, label="Fetch issues",
        tool_command="gh issue list -R {{ repo }} -L {{ limit }} --json number", timeout="2m", max_retries=3]
    any_left [shape=diamond]
    each [shape=component, for_each="tools.fetch.output", max_items=50, join_policy=wait_all, error_policy=ignore]
    classify [label="Classify", class="deep", prompt="Classify issue {{ item }} for $goal",
        output_schema="issue.json"]
    reproduce [prompt="Reproduce it: {{ last_response }}", "agent.tools"="shell, read-file",
        retry_target=classify, auto_status=true]
    collect [shape=tripleoctagon, merge=all]
    summary [prompt="Summarize {{ parallel.results }}", fidelity="summary:medium", thread_id=report]
    escalate [shape=hexagon, label="Escalate?", "human.timeout"=30m, "human.default_choice"=End]
    nested [type=pipeline, "stack.child_dotfile"="fix.dot"]
    watch [shape=house, "stack.child_dotfile"="fix.dot", "manager.poll_interval"=10s, "manager.max_cycles"=30,
        "manager.actions"="observe,steer", prompt="Keep it on track",
        "manager.stop_condition"="context.stack.child.outcome=success"]
    gate [shape=parallelogram, goal_gate=true, retry_target=watch, tool_command="make verify",
        shell="bash -eo pipefail"]

    Start -> fetch -> any_left
    any_left -> each [condition="outcome=success && context.count > 0", weight=5]
    any_left -> End [condition="outcome!=success || !context.count"]
    each -> classify -> reproduce -> collect -> summary -> escalate
    escalate -> nested [label="[F] Fix now"]
    escalate -> watch [label="W) Watch"]
    escalate -> End [label="Nothing"]
    nested -> gate
    watch -> gate -> End [label="done"]
}
"""

TRIAGE_SLIPS = [
    Slip("// Nightly triage, generated\n", "Here is the pipeline:\n\n", "Here", "digraph", ASKS),
    Slip("// Nightly triage, generated\n", "<!-- Nightly triage -->\n", "<", "digraph", ASKS),
    Slip("// Nightly triage, generated\n", "-- Nightly triage\n", "--", "digraph", ASKS),
    Slip("// Nightly triage, generated\n", "; Nightly triage\n", ";", "digraph", ASKS),
    Slip("digraph triage {", "digraph triage:", ":", "{"),
    Slip("digraph triage {", "digraph triage [", "[", "{"),
    Slip("digraph triage {", "digraph triage() {", "()", "{"),
    Slip("digraph triage {", "diGraph triage {", "diGraph", "digraph"),
    Slip("digraph triage {", "flowchart LR {", "flowchart", "digraph", ASKS),
    Slip("digraph triage {", "subgraph triage {", "subgraph", "digraph", ASKS),
    Slip("digraph triage {", "digraph triage {{", "{", "", ASKS),
    Slip("digraph triage {", 'digraph "my triage" {', '"my triage"', "my_triage"),
    Slip("digraph triage {", "digraph 2triage {", "2triage", "n_2triage"),
    Slip("digraph triage {", "digraph node {", "node", '"node"'),
    Slip('    label = "Nightly triage"', "    label = Nightly triage", "Nightly triage", '"'),
    Slip('    label = "Nightly triage"', '    label : "Nightly triage"', ":", "="),
    Slip('    label = "Nightly triage"', '    label := "Nightly triage"', ":", "="),
    Slip('    label = "Nightly triage"', '    label => "Nightly triage"', ">", "="),
    Slip('    label = "Nightly triage"', '    graph label="Nightly triage"', "graph", "[", ASKS),
    Slip('    label = "Nightly triage"', '    graph { label="Nightly triage" }', "{", "["),
    Slip('    label = "Nightly triage"', '    title = "Nightly triage"', "title", "label"),
    Slip('    label = "Nightly triage"', '    name = "Nightly triage"', "name", "label"),
    Slip('    label = "Nightly triage"', '    label = "Nightly triage', '"', '"'),
    Slip('    label = "Nightly triage"', '    set label = "Nightly triage"', "label", "", ASKS),
    Slip('    goal = "Triage', '    Goal = "Triage', "Goal", "goal"),
    Slip('    goal = "Triage', '    gaol = "Triage', "gaol", "goal"),
    Slip('    goal = "Triage', '    goals = "Triage', "goals", "goal"),
    Slip('    inputs = "repo', '    input = "repo', "input", "inputs"),
    Slip('    inputs = "repo', '    params = "repo', "params", "inputs"),
    Slip('    inputs = "repo, limit=20"', '    inputs = "rep, limit=20"', "repo", "'rep'"),
    Slip("    default_max_visits", "    default_max_visit", "default_max_visit", "default_max_visits"),
    Slip("    default_max_visits", "    default_visits", "default_visits", "default_max_visits"),
    Slip("    default_max_visits = 5", "    default_max_visits = five", "five", "5"),
    Slip("    default_max_visits = 5", "    default_max_visits", "default_max_visits", "=", ASKS),
    Slip("    model_stylesheet", "    model_style", "model_style", "model_stylesheet"),
    Slip("    model_stylesheet", "    model-stylesheet", "model-stylesheet", "model_stylesheet"),
    Slip("box { llm_model: worker }", "boxes { llm_model: worker }", "boxes", "box"),
    Slip("box { llm_model: worker }", "box { llm_model worker }", "w", ":", ASKS),
    Slip("box { llm_model: worker }", "box { llm_model: }", "}", "llm_model", ASKS),
    Slip("box { llm_model: worker }", "box: { llm_model: worker }", ":", "box {", ASKS),
    Slip("box { llm_model: worker }", "node.box { llm_model: worker }", "node", ".", ASKS),
    Slip(".deep { llm_model: smart;", ".deap { llm_model: smart;", "deep", "deap"),
    Slip(".deep { llm_model: smart;", "#deep { llm_model: smart;", "#deep", ".deep"),
    Slip("#summary {", "#sumary {", "#sumary", "#summary"),
    Slip("#summary {", ".summary {", ".summary", "#summary"),
    Slip("reasoning_effort: high", "reasoning_effort: hihg", "hihg", "high"),
    Slip("reasoning_effort: high", "reasoning-effort: high", "reasoning-effort", "reasoning_effort"),
    Slip("llm_provider: openai", "llm_provider: opnai", "opnai", "openai", ASKS),
    Slip("edge [fontsize=10]", "edge (fontsize=10)", "(", "["),
    Slip("edge [fontsize=10]", "edge: [fontsize=10]", "edge", "edge [", ASKS),
    Slip("edge [fontsize=10]", "egde [fontsize=10]", "egde", "edge", ASKS),
    Slip("    End [shape=Msquare]\n", "    End [shape=Msqare]\n", "Msqare", "Msquare"),
    Slip("    Start [shape=Mdiamond]\n", "    Start [Mdiamond]\n", "Mdiamond", "shape", ASKS),
    Slip("    Start [shape=Mdiamond]\n", "    Start shape=Mdiamond\n", "shape", "["),
    Slip("fetch [shape=parallelogram", "fetch [shap=parallelogram", "shap", "shape"),
    Slip("fetch [shape=parallelogram", "fetch [type=parallelogram", "parallelogram", "tool"),
    Slip("fetch [shape=parallelogram", "fetch [shape=parallellogram", "parallellogram", "parallelogram"),
    Slip("fetch [shape=parallelogram", "fetch [shape=paralelogram", "paralelogram", "parallelogram"),
    Slip("fetch [shape=parallelogram", "fetch [shape=tool", "tool", "parallelogram"),
    Slip("fetch [shape=parallelogram", "fetch [shape=rect", "rect", "parallelogram", ASKS),
    Slip('tool_command="gh issue', 'tool_comand="gh issue', "tool_comand", "tool_command"),
    Slip('tool_command="gh issue', 'script_command="gh issue', "script_command", "tool_command"),
    Slip("-R {{ repo }}", "-R {{ rpeo }}", "rpeo", "repo"),
    Slip("-R {{ repo }}", "-R {{ inputs.repo }}", "inputs.repo", "repo"),
    Slip("-R {{ repo }}", "-R ${repo}", "${repo}", "{{ repo }}"),
    Slip("-R {{ repo }}", "-R $repo", "$repo", "{{ repo }}"),
    Slip("-R {{ repo }}", "-R {repo}", "{repo}", "{{ repo }}"),
    Slip("-R {{ repo }}", "-R {{repo}", "{{repo}", "{{ repo }}"),
    Slip("-R {{ repo }}", "-R {{ repo|lower }}", "{{ repo|lower }}", "{{ repo }}", ASKS),
    Slip("-R {{ repo }}", "-R $({{ repo }})", "{{ repo }}", "", ASKS),
    Slip('timeout="2m"', 'timeout="2 m"', '"2 m"', "2m"),
    Slip('timeout="2m"', "timeout=2min", "2min", "2m"),
    Slip('timeout="2m"', 'timeout="2:00"', '"2:00"', "900s", ASKS),
    Slip('timeout="2m"', "timeout=-5s", "-5s", "duration", ASKS),
    Slip('timeout="2m"', 'timout="2m"', "timout", "timeout"),
    Slip('timeout="2m"', "timeout_seconds=120", "timeout_seconds", "timeout"),
    Slip("max_retries=3]", 'max_retries="three"]', '"three"', "3"),
    Slip("max_retries=3]", "max_retries=3.5]", "3.5", "4"),
    Slip("max_retries=3]", "max_retries=true]", "true", "3", ASKS),
    Slip("max_retries=3]", "max_retries=]", "]", "max_retries=", ASKS),
    Slip("max_retries=3]", "max_retries]", "max_retries", "=", ASKS),
    Slip("max_retries=3]", "max_retries=3}", "}", "]"),
    Slip("max_retries=3]", "max_retries=3", "[", "]"),
    Slip("max_retries=3]", "max_retries=3]]", "]", "remove"),
    Slip("max_retries=3]", "max_retries=3, max_retries=4]", "max_retries", "remove"),
    Slip("any_left [shape=diamond]", "any_left [shape=diamnd]", "diamnd", "diamond"),
    Slip(
        "any_left [shape=diamond]",
        'any_left [shape=diamond, tool_command="test -s x"]',
        "tool_command",
        "parallelogram",
        ASKS,
    ),
    Slip("any_left [shape=diamond]", "any-left [shape=diamond]", "any-left", "any_left"),
    Slip("any_left [shape=diamond]", "any_left(shape=diamond)", "(", "["),
    Slip('for_each="tools.fetch.output"', 'for_each="tools.ftech.output"', '"tools.ftech.output"', "fetch", ASKS),
    Slip("for_each=", "foreach=", "foreach", "for_each"),
    Slip("for_each=", "items=", "items", "for_each"),
    Slip("max_items=50", "max_item=50", "max_item", "max_items"),
    Slip("join_policy=wait_all", "join_policy=wait-all", "wait-all", "wait_all"),
    Slip("join_policy=wait_all", "join_policy=waitall", "waitall", "wait_all"),
    Slip("join_policy=wait_all", "join_policy=first", "first", "first_success"),
    Slip("join_policy=wait_all", "join_policy=quorum", "quorum", "quorum=", ASKS),
    Slip("error_policy=ignore", "error_policy=ignored", "ignored", "ignore"),
    Slip("error_policy=ignore", "fail_fast=true", "fail_fast", "error_policy", ASKS),
    Slip('class="deep"', 'class="deepp"', "deepp", "deep"),
    Slip('class="deep"', 'class=".deep"', '".deep"', "deep"),
    Slip('class="deep"', 'clas="deep"', "clas", "class"),
    Slip('prompt="Classify issue', 'promtp="Classify issue', "promtp", "prompt"),
    Slip('prompt="Classify issue', 'prompt: "Classify issue', ":", "prompt="),
    Slip('prompt="Classify issue', 'prompt "Classify issue', '"Classify issue {{ item }} for $goal"', "prompt="),
    Slip('for $goal"', 'for $gola"', "gola", "goal"),
    Slip('for $goal"', 'for "$goal""', '"', '\\"', ASKS),
    Slip("output_schema=", "schema=", "schema", "output_schema"),
    Slip("output_schema=", "output_shema=", "output_shema", "output_schema"),
    Slip('"agent.tools"=', '"agent.tool"=', '"agent.tool"', "agent.tools"),
    Slip('"agent.tools"=', "allowed_tools=", "allowed_tools", "agent.tools"),
    Slip('"agent.tools"=', "agent-tools=", "agent-tools", "agent.tools"),
    Slip("retry_target=classify", "retry_target=clasify", "clasify", "classify"),
    Slip("retry_target=classify", "retry_target=End", "End", "node", ASKS),
    Slip("retry_target=classify", "on_failure=classify", "on_failure", "retry_target"),
    Slip("auto_status=true", "auto_status=TRUE", "TRUE", "true"),
    Slip("auto_status=true", 'auto_status="yes"', '"yes"', "true"),
    Slip("auto_status=true", "autostatus=true", "autostatus", "auto_status"),
    Slip("collect [shape=tripleoctagon", "collect [shape=tripleoctogon", "tripleoctogon", "tripleoctagon"),
    Slip("collect [shape=tripleoctagon", "collect [shape=fan_in", "fan_in", "tripleoctagon"),
    Slip("collect [shape=tripleoctagon", "collect [shape=join", "join", "tripleoctagon"),
    Slip("merge=all", "merge=every", "every", "all"),
    Slip("merge=all", "merge=al", "al", "all"),
    Slip("{{ last_response }}", "{{ responses.clasify }}", "clasify", "classify"),
    Slip("{{ last_response }}", "{{ tools.fetch.outpt }}", "outpt", "output"),
    Slip("{{ last_response }}", "{{ tools.classify.output }}", "tools.classify.output", "responses.classify"),
    Slip("{{ last_response }}", "{{ classify.output }}", "classify.output", "responses.classify"),
    Slip("{{ last_response }}", "{{ fetch.output }}", "fetch.output", "tools.fetch.output"),
    Slip("{{ last_response }}", "{{last_response", "{{last_response", "}}"),
    Slip("{{ last_response }}", "{{ lastresponse }}", "lastresponse", "last_response"),
    Slip(
        "{{ last_response }}",
        "{{ last_response | trim }}",
        "{{ last_response | trim }}",
        "{{ last_response }}",
        ASKS,
    ),
    Slip('fidelity="summary:medium"', 'fidelity="summary:med"', '"summary:med"', "summary:medium", ASKS),
    Slip('fidelity="summary:medium"', "fidelity=medium", "medium", "summary:medium", ASKS),
    Slip('fidelity="summary:medium"', "fidelity=summary_medium", "summary_medium", "summary:medium"),
    Slip('fidelity="summary:medium"', 'fidelity="Full"', '"Full"', "full"),
    Slip("thread_id=report", "thread=report", "thread", "thread_id"),
    Slip("escalate [shape=hexagon", "escalate [shape=hexagn", "hexagn", "hexagon"),
    Slip("escalate [shape=hexagon", 'escalate [type="human"', '"human"', "wait.human"),
    Slip("escalate [shape=hexagon", "escalate [type=wait_human", "wait_human", "wait.human"),
    Slip('label="Escalate?"', 'question="Escalate?"', "question", "label"),
    Slip('label="Escalate?"', 'prompt="Escalate?"', "prompt", "label"),
    Slip('"human.timeout"=30m', '"human.timout"=30m', '"human.timout"', "human.timeout"),
    Slip('"human.timeout"=30m', 'human.timeout="30 minutes"', '"30 minutes"', "30m"),
    Slip('"human.default_choice"=End', '"human.default_choice"=Ende', "Ende", "End", ASKS),
    Slip('"human.default_choice"=End', "default=End", "default", "human.default_choice"),
    Slip("type=pipeline", "type=pipelin", "pipelin", "pipeline"),
    Slip("type=pipeline", "type=subpipeline", "subpipeline", "pipeline"),
    Slip(
        '"stack.child_dotfile"="fix.dot"]',
        '"stack.child_dotfil"="fix.dot"]',
        '"stack.child_dotfil"',
        "stack.child_dotfile",
    ),
    Slip('"stack.child_dotfile"="fix.dot"]', 'dotfile="fix.dot"]', "dotfile", "stack.child_dotfile"),
    Slip('"stack.child_dotfile"="fix.dot"]', '"stack.child_dotfile"="fixx.dot"]', '"fixx.dot"', "fix.dot", ASKS),
    Slip("shape=house", "shape=hause", "hause", "house"),
    Slip(
        '"manager.poll_interval"=10s',
        '"manager.poll_intervall"=10s',
        '"manager.poll_intervall"',
        "manager.poll_interval",
    ),
    Slip('"manager.poll_interval"=10s', "poll_interval=10s", "poll_interval", "manager.poll_interval"),
    Slip('"manager.max_cycles"=30', "max_cycles=30", "max_cycles", "manager.max_cycles"),
    Slip('"observe,steer"', '"observe,steering"', '"observe,steering"', "steer", ASKS),
    Slip('"context.stack.child.outcome=success"', '"context.stack.child.outcome==success"', "==", "="),
    Slip("goal_gate=true", "goal_gate=ture", "ture", "true"),
    Slip("goal_gate=true", "gaol_gate=true", "gaol_gate", "goal_gate"),
    Slip("goal_gate=true", "goal-gate=true", "goal-gate", "goal_gate"),
    Slip("retry_target=watch", 'retry_target="wacth"', '"wacth"', "watch"),
    Slip("retry_target=watch", "retry_targets=watch", "retry_targets", "retry_target"),
    Slip('shell="bash -eo pipefail"', 'shel="bash -eo pipefail"', "shel", "shell"),
    Slip("Start -> fetch -> any_left", "start -> fetch -> any_left", "start", "Start"),
    Slip("Start -> fetch -> any_left", "Start -> fetch -> any_lefft", "any_lefft", "any_left"),
    Slip("Start -> fetch -> any_left", "Start -> fetch; -> any_left", "->", "", ASKS),
    Slip("Start -> fetch -> any_left", "Start, fetch -> any_left", ",", "{", ASKS),
    Slip("Start -> fetch -> any_left", "Start -> fetch any_left", "any_left", "->"),
    Slip("Start -> fetch -> any_left", "Start -> fetch --> any_left", "-->", "->"),
    Slip("Start -> fetch -> any_left", "Start ->> fetch -> any_left", "->>", "->"),
    Slip("Start -> fetch -> any_left", "Start - > fetch -> any_left", "- >", "->"),
    Slip("Start -> fetch -> any_left", "Start —> fetch -> any_left", "—>", "->"),
    Slip("Start -> fetch -> any_left", "Start -> fetch -> any_left ->", "->", "remove"),
    Slip("Start -> fetch -> any_left", "fetch <- Start\n    fetch -> any_left", "<-", "Start -> fetch"),
    Slip("Start -> fetch -> any_left", 'Start -> [label="x"] fetch -> any_left', '[label="x"]', "fetch ["),
    Slip("Start -> fetch -> any_left", "Start -[go]-> fetch -> any_left", "-", "->", ASKS),
    Slip("Start -> fetch -> any_left", "Start -> {fetch, x} -> any_left", ",", "{", ASKS),
    Slip('condition="outcome=success &&', 'conditions="outcome=success &&', "conditions", "condition"),
    Slip("outcome=success &&", "outcome=sucess &&", "sucess", "success"),
    Slip("outcome=success &&", "outcome=successful &&", "successful", "success"),
    Slip("outcome=success &&", "outcome=passed &&", "passed", "success"),
    Slip("outcome=success &&", "outcome=ok &&", "ok", "success"),
    Slip("outcome=success &&", "outcome equals success &&", "equals", "="),
    Slip("outcome=success &&", "outcome=success AND", "AND", "&&"),
    Slip("outcome=success &&", "outcome=success &", "&", "&&"),
    Slip("outcome=success &&", "outcome=success,", ",", "&&"),
    Slip("outcome=success &&", "result=success &&", "result", "outcome"),
    Slip("context.count > 0", "context.count > 0 &&", "&&", "remove it, or add a clause"),
    Slip("context.count > 0", "context.count gt 0", "gt", ">"),
    Slip("context.count > 0", "len(context.count) > 0", "(", "", ASKS),
    Slip("context.count > 0", "context[count] > 0", "[count]", ".", ASKS),
    Slip("context.count > 0", "context.count > 0;", ";", "remove"),
    Slip("context.count > 0", "$count > 0", "$count", "count", ASKS),
    Slip("context.count > 0", "contex.count > 0", "contex.count", "context"),
    Slip("|| !context.count", "|| not context.count", "not", "!"),
    Slip("|| !context.count", "or !context.count", "or", "||"),
    Slip("|| !context.count", "|| outcome=skiped", "skiped", "skipped"),
    Slip("weight=5", "wight=5", "wight", "weight"),
    Slip("weight=5", "weight=five", "five", "5"),
    Slip("weight=5", 'wieght="5"', "wieght", "weight"),
    Slip('label="[F] Fix now"', 'lable="[F] Fix now"', "lable", "label"),
    Slip('label="[F] Fix now"', 'text="[F] Fix now"', "text", "label"),
    Slip('label="[F] Fix now"', 'label="[W] Fix now"', '"W) Watch"', "key"),
    Slip('label="[F] Fix now"', "label='[F] Fix now'", "'", '"'),
    Slip("nested -> gate\n", "", "nested", "-> "),
    Slip("watch -> gate -> End", "watch -> gate -> Ende", "Ende", "End"),
    Slip("watch -> gate -> End", "watch -> gaet -> End", "gaet", "gate"),
    Slip("watch -> gate -> End", "wacth -> gate -> End", "wacth", "watch"),
    Slip("escalate -> watch [", "escallate -> watch [", "escallate", "escalate"),
    Slip("classify -> reproduce -> collect", "classify -> reproduce -> colect", "colect", "collect"),
    Slip("classify -> reproduce -> collect", "clasify -> reproduce -> collect", "clasify", "classify"),
]

BUGFIX = """digraph bugfix {
    graph [goal="Fix bug $ticket", inputs="ticket, branch=main", max_steps=200]
    start [shape=Mdiamond]
    exit [shape=Msquare]
    triage [prompt="Read ticket $ticket and name the cause", fidelity=compact, max_visits=2]
    write_test [prompt="Write a failing test for it", output_schema="t.json", fallbacks="openai:gpt-5.2"]
    run_test [shape=parallelogram, tool_command="pytest -q tests && echo {{ branch }}", timeout=5m]
    red [shape=diamond]
    patch [prompt="Patch it. Test says: {{ tools.run_test.output }}",
        max_retries=2, retry_policy=aggressive, allow_partial=true, max_visits=6]
    reviewers [shape=component, join_policy=quorum, quorum=0.5, max_parallel=2]
    sec [prompt="Review security", llm_model="gpt-5.2", llm_provider=openai,
        reasoning_effort=medium]
    perf [prompt="Review speed", attach="README.md"]
    merge_reviews [shape=tripleoctagon, prompt="Pick the review to follow", merge=best]
    ok [shape=hexagon, label="Merge?"]
    ship [shape=parallelogram, tool_command="git push origin HEAD",
        goal_gate=true, retry_target=patch, on_interrupt=fail]

    start -> triage -> write_test -> run_test -> red
    red -> patch [condition="outcome=fail && preferred_label!=skip"]
    red -> reviewers [condition="outcome=success", weight=10, fidelity=truncate]
    patch -> run_test [max_visits=5]
    reviewers -> sec -> merge_reviews
    reviewers -> perf -> merge_reviews
    merge_reviews -> ok
    ok -> ship [label="[M] Merge"]
    ok -> patch [label="[C] Change", loop_restart=false]
    ship -> exit
}
"""

BUGFIX_SLIPS = [
    Slip("digraph bugfix {", "digraph bug fix {", "fix", "{", ASKS),
    Slip("digraph bugfix {", "digraph bug.fix {", "bug.fix", "bug_fix"),
    Slip("digraph bugfix {", "workflow bugfix {", "workflow", "digraph", ASKS),
    Slip("digraph bugfix {", "graph bugfix {", "graph", "digraph"),
    Slip("graph [goal=", "graph: [goal=", "graph", "graph [", ASKS),
    Slip("graph [goal=", "graph = [goal=", "graph", "graph [", ASKS),
    Slip("graph [goal=", "graph {goal=", "{", "["),
    Slip("graph [goal=", "grpah [goal=", "grpah", "graph"),
    Slip("graph [goal=", "graph [purpose=", "purpose", "goal"),
    Slip("graph [goal=", "graph [objective=", "objective", "goal"),
    Slip("max_steps=200", "max_step=200", "max_step", "max_steps"),
    Slip("max_steps=200", "step_limit=200", "step_limit", "max_steps"),
    Slip("max_steps=200", "max_steps=2OO", "2OO", "200"),
    Slip("max_steps=200", 'max_steps="a lot"', '"a lot"', "max_steps=", ASKS),
    Slip('inputs="ticket, branch=main"', "inputs=[ticket, branch]", "[", '"', ASKS),
    Slip('inputs="ticket, branch=main"', 'variables="ticket, branch=main"', "variables", "inputs"),
    Slip('inputs="ticket, branch=main"', 'inputs="tickets, branch=main"', "ticket", "tickets"),
    Slip("$ticket and name", "$tiket and name", "tiket", "ticket"),
    Slip("$ticket and name", "{{ tikcet }} and name", "tikcet", "ticket"),
    Slip("$ticket and name", "{ticket} and name", "{ticket}", "ticket"),
    Slip("$ticket and name", "{{$ticket}} and name", "{{$ticket}}", "ticket"),
    Slip("$ticket and name", "{{ ticket | upper }} and name", "{{ ticket | upper }}", "ticket", ASKS),
    Slip("fidelity=compact", "fidelity=compacted", "compacted", "compact"),
    Slip("fidelity=compact", "fidelity=summary", "summary", "summary:", ASKS),
    Slip("fidelity=compact", "context=compact", "context", "fidelity"),
    Slip("max_visits=2", "max_visit=2", "max_visit", "max_visits"),
    Slip("max_visits=2", "max_loops=2", "max_loops", "max_visits"),
    Slip('output_schema="t.json"', 'output_schma="t.json"', "output_schma", "output_schema"),
    Slip('output_schema="t.json"', 'response_format="t.json"', "response_format", "output_schema"),
    Slip('fallbacks="openai:gpt-5.2"', 'fallback="openai:gpt-5.2"', "fallback", "fallbacks"),
    Slip('fallbacks="openai:gpt-5.2"', 'fallback_model="openai:gpt-5.2"', "fallback_model", "fallbacks"),
    Slip("run_test [shape=parallelogram", "run_test [shape=parallelogramm", "parallelogramm", "parallelogram"),
    Slip("run_test [shape=parallelogram", "run_test [shape=trapezium", "trapezium", "parallelogram", ASKS),
    Slip("run_test [shape=parallelogram", "run_test [shape=paralellogram", "paralellogram", "parallelogram"),
    Slip("run_test [shape=parallelogram", "run_test [type=bash", "bash", "tool"),
    Slip('tool_command="pytest', 'tool_comand="pytest', "tool_comand", "tool_command"),
    Slip('tool_command="pytest', 'toolcommand="pytest', "toolcommand", "tool_command"),
    Slip('tool_command="pytest', 'shell_cmd="pytest', "shell_cmd", "tool_command"),
    Slip("pytest -q tests &&", "pytest -q tests | tail -3;", "pytest -q tests", "pipefail", ASKS),
    Slip("{{ branch }}", "{{ brnach }}", "brnach", "branch"),
    Slip("{{ branch }}", "{{ branch }", "{{ branch }", "{{ branch }}"),
    Slip("{{ branch }}", "{{branch.upper()}}", "{{branch.upper()}}", "branch", ASKS),
    Slip("{{ branch }}", "$branch", "$branch", "{{ branch }}"),
    Slip("timeout=5m", "timeout=5min", "5min", "5m"),
    Slip("timeout=5m", 'timeout="5 minutes"', '"5 minutes"', "5m"),
    Slip("timeout=5m", "timeout=300000", "300000", "5m"),
    Slip("timeout=5m", "tiemout=5m", "tiemout", "timeout"),
    Slip("timeout=5m", "timeout_in_seconds=300", "timeout_in_seconds", "timeout"),
    Slip("red [shape=diamond]", "red [shape=Diamond]", "Diamond", "diamond"),
    Slip("red [shape=diamond]", "red [shape=rhombus]", "rhombus", "diamond", ASKS),
    Slip("red [shape=diamond]", 'red [shape="diamond]', '"', '"'),
    Slip("red [shape=diamond]", "red [shape diamond]", "shape", "=", ASKS),
    Slip("red [shape=diamond]", "red [shape=diamond, label=Is it red?]", "Is it red?", '"'),
    Slip("red [shape=diamond]", "red: [shape=diamond]", ":", "red", ASKS),
    Slip("tools.run_test.output", "tools.run_tests.output", "run_tests", "run_test"),
    Slip("tools.run_test.output", "tools.run_test.stdout", "stdout", "output"),
    Slip("tools.run_test.output", "tool.run_test.output", "tool.run_test.output", "tools.run_test"),
    Slip("tools.run_test.output", "run_test.output", "run_test.output", "tools.run_test.output"),
    Slip("tools.run_test.output", "responses.run_test", "responses.run_test", "tools.run_test.output"),
    Slip("max_retries=2", "max_retrys=2", "max_retrys", "max_retries"),
    Slip("max_retries=2", "max_retries=2x", "2x", "2"),
    Slip("max_retries=2", "retries=2", "retries", "max_retries"),
    Slip("retry_policy=aggressive", "retry_policy=agressive", "agressive", "aggressive"),
    Slip("retry_policy=aggressive", "retry_polciy=aggressive", "retry_polciy", "retry_policy"),
    Slip("retry_policy=aggressive", "retry_policy=fast", "fast", "aggressive", ASKS),
    Slip("allow_partial=true", "allow_partial=Yes", "Yes", "true"),
    Slip("allow_partial=true", "allow_partail=true", "allow_partail", "allow_partial"),
    Slip("join_policy=quorum", "join_policy=majority", "majority", "quorum"),
    Slip("join_policy=quorum", "join_policy=qourum", "qourum", "quorum"),
    Slip("quorum=0.5", "quorum=50%", "50%", "0.5", ASKS),
    Slip("quorum=0.5", 'quorum="half"', '"half"', "0.5", ASKS),
    Slip("max_parallel=2", "max_paralel=2", "max_paralel", "max_parallel"),
    Slip("max_parallel=2", "parallelism=2", "parallelism", "max_parallel"),
    Slip("max_parallel=2", "max_parallel=0", "0", "1", ASKS),
    Slip('llm_model="gpt-5.2"', 'llm-model="gpt-5.2"', "llm-model", "llm_model"),
    Slip('llm_model="gpt-5.2"', 'llmmodel="gpt-5.2"', "llmmodel", "llm_model"),
    Slip("llm_provider=openai", "llm_provider=open-ai", "open-ai", "openai", ASKS),
    Slip("llm_provider=openai", "llm_provider=OpenAI", "OpenAI", "openai", ASKS),
    Slip("llm_provider=openai", "llm_provder=openai", "llm_provder", "llm_provider"),
    Slip("reasoning_effort=medium", "reasoning_effort=med", "med", "medium"),
    Slip("reasoning_effort=medium", "reasoning_efort=medium", "reasoning_efort", "reasoning_effort"),
    Slip('attach="README.md"', 'attachment="README.md"', "attachment", "attach"),
    Slip("merge=best", "merge=bets", "bets", "best"),
    Slip(
        "merge_reviews [shape=tripleoctagon",
        "merge_reviews [shape=triple_octagon",
        "triple_octagon",
        "tripleoctagon",
    ),
    Slip("on_interrupt=fail", "on_interupt=fail", "on_interupt", "on_interrupt"),
    Slip("on_interrupt=fail", "on_interrupt=abort", "abort", "fail", ASKS),
    Slip("retry_target=patch", "retry_target=ptach", "ptach", "patch"),
    Slip("retry_target=patch", 'retry_target="start"', '"start"', "", ASKS),
    Slip("goal_gate=true", "goal_gate=treu", "treu", "true"),
    Slip("write_test -> run_test -> red", "write_test -> run_test -> rde", "rde", "red"),
    Slip("write_test -> run_test -> red", "write_tets -> run_test -> red", "write_tets", "write_test"),
    Slip("write_test -> run_test -> red", "write_test -> run_test -> Red", "Red", "red"),
    Slip("write_test -> run_test -> red", "write_test -> run_test - red", "-", "->"),
    Slip("write_test -> run_test -> red", "write_test -> run_test >> red", ">", "->"),
    Slip("write_test -> run_test -> red", "write_test, run_test -> red", ",", "{", ASKS),
    Slip("write_test -> run_test -> red", "write-test -> run_test -> red", "write-test", "write_test"),
    Slip('condition="outcome=fail &&', 'condition="outcome=failed &&', "failed", "fail"),
    Slip('condition="outcome=fail &&', 'condition="outcome==fail &&', "==", "="),
    Slip('condition="outcome=fail &&', 'condition="outcome=fail and', "and", "&&"),
    Slip('condition="outcome=fail &&', 'condition="!outcome=success &', "&", "&&"),
    Slip('condition="outcome=fail &&', 'condition="outcome != sucess &&', "sucess", "success"),
    Slip('condition="outcome=fail &&', 'condition="fail &&', "fail", "outcome=fail"),
    Slip('condition="outcome=fail &&', 'condition="exit_code != 0 &&', "exit_code", "tool", ASKS),
    Slip('condition="outcome=fail &&', 'condition="tools.run_tst.exit_code != 0 &&', "run_tst", "run_test"),
    Slip('condition="outcome=fail &&', 'condtion="outcome=fail &&', "condtion", "condition"),
    Slip("preferred_label!=skip", "prefered_label!=skip", "prefered_label", "preferred_label"),
    Slip("weight=10", "weigth=10", "weigth", "weight"),
    Slip("weight=10", "weight=ten", "ten", "10"),
    Slip("fidelity=truncate", "fidelity=truncated", "truncated", "truncate"),
    Slip("patch -> run_test [max_visits=5]", "patch -> run_test [max_visits=5", "[", "]"),
    Slip("patch -> run_test [max_visits=5]", "patch -> run_test [max-visits=5]", "max-visits", "max_visits"),
    Slip("patch -> run_test [max_visits=5]", "patch -> run_test max_visits=5", "max_visits", "["),
    Slip(
        "patch -> run_test [max_visits=5]", "patch -> run_test [max_traversals=5]", "max_traversals", "max_visits"
    ),
    Slip(
        "reviewers -> perf -> merge_reviews", "reviewers -> perf -> merge_review", "merge_review", "merge_reviews"
    ),
    Slip("reviewers -> perf -> merge_reviews", "reviewer -> perf -> merge_reviews", "reviewer", "reviewers"),
    Slip('label="[M] Merge"', 'label="[C] Merge"', '"[C] Change"', "key"),
    Slip('label="[M] Merge"', 'lable="[M] Merge"', "lable", "label"),
    Slip("loop_restart=false", "loop_restart=no", "no", "false"),
    Slip("loop_restart=false", "restart=false", "restart", "loop_restart"),
    Slip("ship -> exit", "ship -> end", "end", "exit"),
    Slip("ship -> exit", "ship -> Exit", "Exit", "exit"),
    Slip("ship -> exit\n}", "ship -> exit\n", "{", "}"),
    Slip("ship -> exit", "ship -> exit; exit -> start", "exit -> start", "delete"),
]

MIGRATE = """digraph migrate {
    goal = "Move the service to Postgres"
    inputs = "service, window=02:00, dry_run=false"
    goal_gates = all
    default_max_visits = 5
    retry_target = plan
    model_stylesheet = "* { llm_model: worker } #judge { llm_model: smart; reasoning_effort: high }
        .cheap { llm_model: haiku }"
    node [timeout=20m]
    edge [weight=1]
    start [shape=Mdiamond]
    done [shape=Msquare]
    plan [prompt="Plan the move of {{ service }} at {{ window }}", output_schema="t.json", attach="README.md"]
    tables [shape=parallelogram, tool_command="psql -Atc 'select name from tables'", timeout=30s]
    each [shape=component, for_each="tools.tables.output", max_parallel=3, error_policy=continue]
    subgraph cluster_move {
        label = "Move"
        copy [prompt="Copy the table {{ item }}", class="cheap", max_retries=2, retry_policy=patient]
        verify [shape=parallelogram, tool_command="./verify {{ item }} {{ dry_run }}"]
    }
    meet [shape=tripleoctagon, merge=all]
    judge [prompt="Are all tables moved? {{ parallel.results }}", goal_gate=true,
        fidelity="summary:medium", auto_status=true]
    cutover [shape=hexagon, label="Cut over?", human.timeout=1h, human.default_choice=wait]
    wait [shape=parallelogram, tool_command="sleep 60", max_visits=10]
    switch [type=pipeline, stack.child_dotfile="fix.dot"]
    start -> plan -> tables -> each
    each -> copy -> verify -> meet -> judge
    judge -> cutover [condition="outcome=success"]
    judge -> plan [condition="outcome=fail || context.missing > 0", max_visits=3]
    cutover -> switch [label="[Y] Yes"]
    cutover -> wait [label="[W] Wait"]
    wait -> cutover
    switch -> done
}
"""

MIGRATE_SLIPS = [
    Slip("{{ service }}", "<%= service %>", "<%= service %>", "{{ service }}", REPAIRED),
    Slip("{{ service }}", "${{ service }}", "${{ service }}", "{{ service }}", REPAIRED),
    Slip("{{ service }}", "{{service:string}}", "{{service:string}}", "service", ASKS),
    Slip("{{ service }}", "{{ service! }}", "{{ service! }}", "service", ASKS),
    Slip("{{ service }}", "{{ service ?? none }}", "{{ service ?? none }}", "{{ service }}", ASKS),
    Slip("{{ service }}", "[[ service ]]", "[[ service ]]", "{{ service }}", REPAIRED),
    Slip("{{ service }}", "<service>", "<service>", "{{ service }}", REPAIRED),
    Slip("{{ service }}", "%(service)s", "%(service)s", "{{ service }}", REPAIRED),
    Slip("{{ parallel.results }}", "{{ parallel.result }}", "parallel.result", "parallel.results", REPAIRED),
    Slip("./verify {{ item }}", "./verify {{ items }}", "items", "item", REPAIRED),
    Slip('for_each="tools.tables.output"', 'for_each="tables"', '"tables"', "tools.tables.output", REPAIRED),
    Slip(
        'for_each="tools.tables.output"',
        'for_each="tools.tables.stdout"',
        '"tools.tables.stdout"',
        "tools.tables.output",
        REPAIRED,
    ),
    Slip(
        'for_each="tools.tables.output"',
        'for_each="{{ tools.tables.output }}"',
        '"{{ tools.tables.output }}"',
        "tools.tables.output",
        REPAIRED,
    ),
    Slip(
        'for_each="tools.tables.output"',
        'for_each="tools.tables"',
        '"tools.tables"',
        "tools.tables.output",
        REPAIRED,
    ),
    Slip(
        '"service, window=02:00, dry_run=false"',
        "service, window=02:00, dry_run=false",
        "service, window=02:00, dry_run=false",
        '"service',
        REPAIRED,
    ),
    Slip('"service, window=02:00, dry_run=false"', '["service", "window=02:00"]', "[", "inputs", ASKS),
    Slip('"service, window=02:00, dry_run=false"', "{service, window}", "{", "inputs", ASKS),
    Slip(
        '"service, window=02:00, dry_run=false"',
        '"service; window=02:00; dry_run=false"',
        "service; window=02:00; dry_run=false",
        "service, window=02:00, dry_run=false",
        REPAIRED,
    ),
    Slip(
        '"service, window=02:00, dry_run=false"',
        '"service window=02:00 dry_run=false"',
        "service window=02:00 dry_run=false",
        "service, window=02:00, dry_run=false",
        REPAIRED,
    ),
    Slip(
        '"service, window=02:00, dry_run=false"',
        '"$service, window=02:00, dry_run=false"',
        "$service",
        "service",
        REPAIRED,
    ),
    Slip(
        '"service, window=02:00, dry_run=false"',
        '"service: string, window=02:00, dry_run=false"',
        "service: string",
        "service",
        REPAIRED,
    ),
    Slip(
        '"service, window=02:00, dry_run=false"',
        '"service, window: 02:00, dry_run=false"',
        "window: 02:00",
        "window=02:00",
        REPAIRED,
    ),
    Slip('"outcome=success"', '"outcome = "success""', '"', '\\"', REPAIRED),
    Slip('"outcome=success"', '"if outcome=success"', "if", "remove it", REPAIRED),
    Slip('"outcome=success"', '"outcome in (success, partial_success)"', "in", "||", ASKS),
    Slip('"outcome=success"', '"outcome=success|partial_success"', "|", "||", REPAIRED),
    Slip('"outcome=success"', '"outcome~=success"', "~=", "write =", ASKS),
    Slip('"outcome=success"', '"success=outcome"', "success", "outcome=success", ASKS),
    Slip('"outcome=success"', '"${outcome}=success"', "${outcome}", "outcome", ASKS),
    Slip('"outcome=success"', '"{{ outcome }}=success"', "{{ outcome }}", "write outcome", REPAIRED),
    Slip('"outcome=success"', '"outcome.equals(success)"', "(", "compare a key with a value", ASKS),
    Slip('"outcome=success"', '"outcome=success /* ok */"', "/* ok */", "remove it", REPAIRED),
    Slip('"outcome=success"', '"outcome=success && "', "&&", "remove it", REPAIRED),
    Slip('"outcome=success"', '"(outcome=success"', "(", ")", ASKS),
    Slip('"outcome=success"', '"outcome!success"', "!", "!=", REPAIRED),
    Slip('"outcome=success"', '"status == outcome.success"', "==", "=", REPAIRED),
    Slip("context.missing > 0", "context[missing] > 0", "[missing]", "context.missing", REPAIRED),
    Slip("context.missing > 0", "context.missing >> 0", ">", ">", ASKS),
    Slip("context.missing > 0", "context.missing greater than 0", "greater than", "write >", REPAIRED),
    Slip("context.missing > 0", "len(context.missing) > 0", "(", "compare a key with a value", ASKS),
    Slip("human.default_choice=wait", "human.default_choice=Wiat", "Wiat", "wait", REPAIRED),
    Slip("human.default_choice=wait", 'human.default_choice="[W]"', '"[W]"', "'wait'", ASKS),
    Slip("human.timeout=1h", "human.timeout=1hour", "1hour", "1h", REPAIRED),
    Slip("human.timeout=1h", "human.timeout=1:00", "1:00", "duration", ASKS),
    Slip("human.timeout=1h", "human.timeout.minutes=60", "human.timeout.minutes", "human.timeout", ASKS),
    Slip("timeout=30s", 'timeout="PT30S"', '"PT30S"', "30s", REPAIRED),
    Slip("timeout=30s", "timeout=30S", "30S", "30s", REPAIRED),
    Slip("timeout=30s", "timeout=30 s", "30 s", "30s", REPAIRED),
    Slip("timeout=20m", "timeout=none", "none", "remove", ASKS),
    Slip("max_retries=2", "max_retries=2x", "2x", "max_retries=2", REPAIRED),
    Slip("max_retries=2", "max_retries=unlimited", "unlimited", "write max_retries=3", ASKS),
    Slip("max_parallel=3", "max_parallel=all", "all", "max_parallel", ASKS),
    Slip("error_policy=continue", "error_policy=ignore_errors", "ignore_errors", "ignore", ASKS),
    Slip("merge=all", "merge=true", "true", "best, all, none", ASKS),
    Slip("merge=all", "merge_policy=all", "merge_policy", "merge", REPAIRED),
    Slip("goal_gates = all", "goal_gate = true", "goal_gate", "node", ASKS),
    Slip("goal_gates = all", "goal_gates = true", "true", "visited, all", ASKS),
    Slip("retry_target = plan", "retry_target -> plan", "->", "=", REPAIRED),
    Slip("retry_target = plan", "retry_target = Plan", "Plan", "plan", REPAIRED),
    Slip("* { llm_model: worker }", "* : { llm_model: worker }", ":", "* {", ASKS),
    Slip("#judge {", "# judge {", "#", "#judge", ASKS),
    Slip("#judge {", "judge {", "judge", "#judge", ASKS),
    Slip("reasoning_effort: high", "temperature: 0.2", "temperature", "properties", ASKS),
    Slip(".cheap { llm_model: haiku }", ".cheap llm_model: haiku", "llm_model", ".cheap {", ASKS),
    Slip(".cheap { llm_model: haiku }", ".cheap { llm_model: haiku } .", ".", "class", ASKS),
    Slip('class="cheap"', "class=[cheap]", "[", 'class="', ASKS),
    Slip("subgraph cluster_move {", 'subgraph "Move tables" {', '"Move tables"', "Move_tables", REPAIRED),
    Slip("subgraph cluster_move {", "cluster cluster_move {", "cluster", "subgraph", REPAIRED),
    Slip("subgraph cluster_move {", 'subgraph cluster_move [label="Move"] {', "[", "{", ASKS),
    Slip("subgraph cluster_move {", "subgraph cluster-move {", "cluster-move", "cluster_move", REPAIRED),
    Slip("switch -> done", "switch\n    done", "done", "switch -> done", REPAIRED),
    Slip("tables -> each\n    each -> copy", "tables\n    each -> copy", "each", "tables -> each", REPAIRED),
    Slip("wait -> cutover\n    switch", 'wait -> "Cut over?"\n    switch', '"Cut over?"', "cutover", REPAIRED),
    Slip("switch -> done", "switch -> Done", "Done", "done", REPAIRED),
    Slip("switch -> done", "switch -> END", "END", "done", REPAIRED),
    Slip("switch -> done", "switch -> done_", "done_", "done", REPAIRED),
    Slip("done [shape=Msquare]", "done [shape=square]", "square", "Msquare", REPAIRED),
    Slip('stack.child_dotfile="fix.dot"', 'stack.child_dotfile="fix"', '"fix"', "fix.dot", ASKS),
    Slip(
        'stack.child_dotfile="fix.dot"',
        'stack.child-dotfile="fix.dot"',
        "stack.child-dotfile",
        "stack.child_dotfile",
        REPAIRED,
    ),
    Slip('tool_command="sleep 60"', 'tool_command=["sleep", "60"]', "[", 'tool_command="', ASKS),
    Slip('tool_command="sleep 60"', 'tool_command="""sleep 60"""', '"', 'use a single "', ASKS),
    Slip("auto_status=true", "auto_status", "auto_status", "auto_status=true", ASKS),
    Slip("auto_status=true", "auto_status=$true", "$true", "true", REPAIRED),
    Slip('fidelity="summary:medium"', 'fidelity="summary-medium"', '"summary-medium"', "summary:medium", REPAIRED),
    Slip('fidelity="summary:medium"', "fidelity=medium", "medium", "summary:medium", ASKS),
    Slip('output_schema="t.json"', 'output_schema={"type": "object"}', "{", 'output_schema="', ASKS),
    Slip('attach="README.md"', 'attach=["README.md"]', "[", 'attach="', ASKS),
    Slip("edge [weight=1]", "edge: [weight=1]", "edge", "write edge [ … ]", ASKS),
    Slip('goal = "Move', 'Goal = "Move', "Goal", "goal", REPAIRED),
    Slip("digraph migrate {", "flowchart migrate {", "flowchart", "digraph", ASKS),
    Slip("    wait -> cutover\n", "    -- wait a while\n    wait -> cutover\n", "--", "//", REPAIRED),
    Slip(
        "    wait -> cutover\n",
        "    <!-- wait a while -->\n    wait -> cutover\n",
        "<!--",
        "write /* … */",
        REPAIRED,
    ),
]

MIGRATE_SLIPS += [
    Slip('"outcome=success"', '"not (outcome=success)"', "not", "write !", ASKS),
    Slip('"outcome=success"', '"outcome is not fail"', "is not", "write !="),
    Slip("dry_run=false", "dry_run:bool=false", "dry_run:bool=false", "dry_run=false"),
    Slip("{{ service }}", "#{service}", "{service}", "{{ service }}", ASKS),
    Slip("{{ parallel.results }}", "{{ human.cutover.text }}", "human.cutover.text", "human.gate.text", ASKS),
    Slip("context.missing > 0", "context.missing > 0 ||", "||", "remove it, or add a clause"),
    Slip("max_retries=2", "max_retries=-1", "-1", "max_retries=0", ASKS),
    Slip("wait -> cutover\n    switch", "wait - > cutover\n    switch", "- >", "write ->"),
]

TABLES = (
    (PIPELINE, SLIPS),
    (RELEASE, RELEASE_SLIPS),
    (TRIAGE, TRIAGE_SLIPS),
    (BUGFIX, BUGFIX_SLIPS),
    (MIGRATE, MIGRATE_SLIPS),
)
"""Pipelines with the slips in them. All tables but the first were written without knowledge of the linter."""

BESIDE = {
    "fix.dot": "digraph fix { start [shape=Mdiamond] exit [shape=Msquare] do [prompt=x] start -> do -> exit }",
    "issue.json": "{}",
    "t.json": "{}",
    "README.md": "",
}
"""Files that the pipelines name."""
