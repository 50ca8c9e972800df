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
