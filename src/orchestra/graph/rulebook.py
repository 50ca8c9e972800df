"""Every rule: what it means, why it matters, a pipeline that breaks it and one that keeps it."""

from __future__ import annotations

from typing import NamedTuple

from orchestra.errors import Severity


class Entry(NamedTuple):
    """One rule. ``wrong`` and ``right`` are what stands between the braces: the first fires it, the other does not.

    ``needs`` says what else the rule must be given to fire; empty for rules that look at the file alone.
    """

    rule: str
    severities: tuple[Severity, ...]
    meaning: str
    why: str
    wrong: str
    right: str
    needs: str = ""


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

_ENDS = "start [shape=Mdiamond]\nexit [shape=Msquare]"
_WORK = f'{_ENDS}\nwork [prompt="Do it"]'
_PLAIN = f"{_WORK}\nstart -> work -> exit"

ENTRIES: dict[str, Entry] = {
    entry.rule: entry
    for entry in (
        Entry(
            "syntax",
            (_E,),
            "The text is not in the pipeline language.",
            "Pipelines are written in a strict part of DOT: one `digraph`, ids of letters, digits and `_`, edges"
            " with `->`, text in double quotes. The parser goes on after an error, so one report shows them all.",
            f"{_WORK}\nstart -> work -- exit",
            _PLAIN,
        ),
        Entry(
            "attribute_type",
            (_E,),
            "A value does not fit its attribute.",
            "`max_retries` is a whole number, `goal_gate` is true or false, `timeout` is a duration such as `15m`."
            " A run must not guess what was meant.",
            f'{_ENDS}\nwork [prompt="Do it", timeout="15 min"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", timeout=15m]\nstart -> work -> exit',
        ),
        Entry(
            "condition_syntax",
            (_E,),
            "An edge's condition cannot be read.",
            "A condition compares `outcome`, `preferred_label` or a context key with a literal, joined by `&&`,"
            " `||`, `!` and parentheses. Equality is one `=`.",
            f'{_WORK}\nstart -> work\nwork -> exit [condition="outcome == success"]',
            f'{_WORK}\nstart -> work\nwork -> exit [condition="outcome=success"]',
        ),
        Entry(
            "stylesheet_syntax",
            (_E,),
            "The model stylesheet cannot be read.",
            "A rule is a selector (`*`, a shape, `.class`, `#id`) and declarations of `llm_model`, `llm_provider`"
            " or `reasoning_effort` in braces.",
            f'model_stylesheet = "* {{ llm_model: smart"\n{_PLAIN}',
            f'model_stylesheet = "* {{ llm_model: smart; }}"\n{_PLAIN}',
        ),
        Entry(
            "old_attribute",
            (_I,),
            "An attribute is written with an old word.",
            "`llm_prompt`, `node_type`, `script`, `context_fidelity_default` and `context_thread_default` are still"
            " understood; the present words are `prompt`, `type`, `tool_command`, `default_fidelity` and"
            " `thread_id`.",
            f'{_ENDS}\nwork [llm_prompt="Do it"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it"]\nstart -> work -> exit',
        ),
        Entry(
            "duration_unit",
            (_I,),
            "A duration is written without its unit.",
            "A bare number is read as seconds. Writing the unit tells the reader, and the next program, what"
            " it is.",
            f'{_ENDS}\nwork [prompt="Do it", timeout=900]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", timeout=900s]\nstart -> work -> exit',
        ),
        Entry(
            "start_node",
            (_E,),
            "The pipeline does not have exactly one start.",
            "A run begins at the one node with `shape=Mdiamond` (or `type=start`); without one, at the node"
            " called `start`.",
            'exit [shape=Msquare]\nwork [prompt="Do it"]\nwork -> exit',
            _PLAIN,
        ),
        Entry(
            "terminal_node",
            (_E,),
            "The pipeline does not have exactly one exit.",
            "A run ends well at the one node with `shape=Msquare` (or `type=exit`), where goal gates are checked."
            " Several ways of ending are several edges to it.",
            f'{_WORK}\nother [shape=Msquare]\nstart -> work -> exit\nwork -> other [condition="outcome=fail"]',
            f'{_WORK}\nstart -> work -> exit\nwork -> exit [condition="outcome=fail"]',
        ),
        Entry(
            "start_no_incoming",
            (_E,),
            "An edge leads to the start.",
            "The start begins the run and does nothing else. A loop leads to the first node that works.",
            f'{_WORK}\nstart -> work\nwork -> exit [condition="outcome=success"]\nwork -> start',
            f'{_WORK}\nstart -> work\nwork -> exit [condition="outcome=success"]\nwork -> work',
        ),
        Entry(
            "exit_no_outgoing",
            (_E,),
            "An edge leads on from the exit.",
            "The run is over at the exit, so the edge would never be taken. What sends a run back after an unmet"
            " goal gate is `retry_target`.",
            f'{_ENDS}\nwork [prompt="Do it", max_visits=3]\nstart -> work -> exit -> work',
            f'{_ENDS}\nwork [prompt="Do it", goal_gate=true, retry_target=work]\nstart -> work -> exit',
        ),
        Entry(
            "reachability",
            (_E,),
            "The start does not lead to a node.",
            "No run would ever execute it, which is nearly always a forgotten edge. Retry targets count as"
            " edges. Of a part of several nodes the first is reported, with what lies behind it.",
            f'{_PLAIN}\nreview [prompt="Review it"]\nreview -> exit',
            f'{_WORK}\nreview [prompt="Review it"]\nstart -> work -> review -> exit',
        ),
        Entry(
            "exit_reachable",
            (_E,),
            "The start does not lead to the exit.",
            "Every run would end at a node without edges, or go round until a limit stops it; no goal gate would"
            " be checked.",
            f'{_ENDS}\nwork [prompt="Do it", max_visits=3]\nstart -> work -> work',
            f'{_ENDS}\nwork [prompt="Do it"]\nstart -> work\nwork -> exit [condition="outcome=success"]\n'
            "work -> work",
        ),
        Entry(
            "edge_target_exists",
            (_W, _E),
            "An edge mentions a node that is never declared.",
            "Such a node exists all the same: an LLM node whose prompt is its id. Often it is a misspelling. It is"
            " an error when nothing follows it and a declared id is near, and always with `--strict`.",
            f"{_WORK}\nstart -> work -> polish -> exit",
            f'{_WORK}\npolish [prompt="Polish it"]\nstart -> work -> polish -> exit',
        ),
        Entry(
            "dead_end",
            (_W,),
            "Nothing leads on from a node that is not the exit.",
            "A run that gets there ends as `completed (no exit)`.",
            f'{_WORK}\nreport [prompt="Say why"]\nstart -> work -> exit\nwork -> report [condition="outcome=fail"]',
            f'{_WORK}\nreport [prompt="Say why"]\nstart -> work -> exit\n'
            'work -> report [condition="outcome=fail"]\nreport -> exit',
        ),
        Entry(
            "type_known",
            (_W,),
            "A `type` or a `shape` has no handler.",
            "A type that nobody registered falls back to the node's shape, and a shape without meaning to an LLM"
            " node: the node would run as something else than it says.",
            f'{_ENDS}\nask [type="wait.humans", label="Go on?"]\nstart -> ask -> exit',
            f'{_ENDS}\nask [type="wait.human", label="Go on?"]\nstart -> ask -> exit',
        ),
        Entry(
            "fidelity_valid",
            (_W,),
            "A fidelity is not one of the modes.",
            "The modes are `full`, `truncate`, `compact`, `summary:low`, `summary:medium` and `summary:high`. They"
            " decide what an LLM sees of earlier work.",
            f'{_ENDS}\nwork [prompt="Do it", fidelity=brief]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", fidelity="summary:low"]\nstart -> work -> exit',
        ),
        Entry(
            "retry_target_exists",
            (_W,),
            "A retry target names no node.",
            "When the node fails, or a goal gate is not met, the run looks for the named node, and fails because"
            " there is none.",
            f'{_ENDS}\nwork [prompt="Do it", retry_target=plan]\nstart -> work -> exit',
            f'{_ENDS}\nplan [prompt="Plan it"]\nwork [prompt="Do it", retry_target=plan]\n'
            "start -> plan -> work -> exit",
        ),
        Entry(
            "goal_gate_has_retry",
            (_W,),
            "A goal gate has nowhere to send the run.",
            "A gate that is not met at the exit sends the run to `retry_target` or `fallback_retry_target` of the"
            " node, else of the graph. Without one the run fails there.",
            f'{_ENDS}\nwork [prompt="Do it", goal_gate=true]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", goal_gate=true, retry_target=work]\nstart -> work -> exit',
        ),
        Entry(
            "prompt_on_llm_nodes",
            (_W,),
            "An LLM node has nothing to tell the LLM.",
            "Without `prompt`, `label` or an agent, the whole prompt is the node's id.",
            f"{_ENDS}\nwork [max_retries=1]\nstart -> work -> exit",
            _PLAIN,
        ),
        Entry(
            "tool_command_on_tool_nodes",
            (_W,),
            "A tool node has no command.",
            "A tool node runs `tool_command` with the shell. Without one it fails whenever it is reached.",
            f"{_ENDS}\ntest [shape=parallelogram]\nstart -> test -> exit",
            f'{_ENDS}\ntest [shape=parallelogram, tool_command="make test"]\nstart -> test -> exit',
        ),
        Entry(
            "prompt_variable",
            (_W,),
            "A command reads a variable that only prompts have.",
            "`$goal` and the run's variables are replaced in prompts. In a command `$goal` is the shell's own"
            " variable, which is empty; a value of the pipeline is written in double braces, and reaches the shell"
            " as data.",
            f'{_ENDS}\ntest [shape=parallelogram, tool_command="echo $goal"]\nstart -> test -> exit',
            f'{_ENDS}\ntest [shape=parallelogram, tool_command="echo {{{{ graph.goal }}}}"]\nstart -> test -> exit',
        ),
        Entry(
            "unknown_attribute",
            (_W,),
            "An attribute is nearly a known one, or stands in the wrong place.",
            "Attributes that nobody knows are kept for handlers of your own, so a misspelt one is silently without"
            " effect. One that is near a known word is pointed out, and so is an edge's on a node and the like.",
            f'{_ENDS}\nwork [prompt="Do it", max_retrys=2]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", max_retries=2]\nstart -> work -> exit',
        ),
        Entry(
            "unbounded_loop",
            (_W,),
            "Nothing ends a loop.",
            "There is no condition, `max_visits`, human gate or goal gate on it, so a run goes round until"
            " `max_steps`, and pays for every round.",
            f'{_WORK}\nreview [prompt="Review it"]\nstart -> work -> review\n'
            "review -> work [weight=1]\nreview -> exit",
            f'{_WORK}\nreview [prompt="Review it"]\nstart -> work -> review\n'
            'review -> work [condition="outcome=fail"]\nreview -> exit',
        ),
        Entry(
            "ambiguous_edges",
            (_I,),
            "Two edges are equal: neither has a condition, and their weights are the same.",
            "A run takes exactly one edge. Among equals it is the one whose target comes first in alphabetical"
            " order, unless the node names a label. To run both, use a parallel node (`shape=component`).",
            f'{_WORK}\nskip [prompt="Say why not"]\nstart -> work -> exit\nstart -> skip -> exit',
            f'{_WORK}\nskip [prompt="Say why not"]\nstart -> work -> exit\n'
            'work -> skip [condition="outcome=fail"]\nskip -> exit',
        ),
        Entry(
            "dead_edge",
            (_W,),
            "A condition can never hold, says something twice, or always loses to its twin.",
            "Clauses may exclude each other, an outcome may be one that the node never has, or that never arrives:"
            " a diamond has no outcome of its own, it passes on what came before it.",
            f'{_WORK}\nstart -> work -> exit\nwork -> work [condition="outcome=fail && outcome=retry"]',
            f'{_WORK}\nstart -> work -> exit\nwork -> work [condition="outcome=fail || outcome=retry"]',
        ),
        Entry(
            "outcome_known",
            (_W,),
            "A condition asks for an outcome that is nearly a status.",
            "Outcomes are `success`, `partial_success`, `retry`, `fail` and `skipped`, in lower case. Any other"
            " word is one that an agent reports of its own, so a misspelt status is waited for in vain.",
            f'{_WORK}\nreport [prompt="Say why"]\nstart -> work -> exit\n'
            'work -> report [condition="outcome=failed"]\nreport -> exit',
            f'{_WORK}\nreport [prompt="Say why"]\nstart -> work -> exit\n'
            'work -> report [condition="outcome=fail"]\nreport -> exit',
        ),
        Entry(
            "parallel_join",
            (_W,),
            "The branches of a parallel node meet in no common fan-in, or a fan-in has no parallel node.",
            "Every way out of every branch has to come to one `parallel.fan_in` (`shape=tripleoctagon`), where the"
            " results are brought together. Otherwise each branch goes on to its own end, and the run fails"
            " unless all of them ended at the exit.",
            f'{_ENDS}\nfan [shape=component]\na [prompt="A"]\nb [prompt="B"]\nstart -> fan -> {{a b}} -> exit',
            f'{_ENDS}\nfan [shape=component]\njoin [shape=tripleoctagon]\na [prompt="A"]\nb [prompt="B"]\n'
            "start -> fan -> {a b} -> join -> exit",
        ),
        Entry(
            "branch_escape",
            (_W,),
            "A branch leads back to its own parallel node, or before it, or restarts the session.",
            "A branch is a piece of work between the parallel node and its fan-in. Where it leaves that piece it"
            " ends as failed (`left its branch`). Going back is done after the fan-in.",
            f'{_ENDS}\nplan [prompt="Plan"]\nfan [shape=component]\njoin [shape=tripleoctagon]\n'
            'a [prompt="A"]\nb [prompt="B"]\nstart -> plan -> fan -> {a b} -> join -> exit\n'
            'b -> plan [condition="outcome=fail"]',
            f'{_ENDS}\nplan [prompt="Plan"]\nfan [shape=component]\njoin [shape=tripleoctagon]\n'
            'a [prompt="A"]\nb [prompt="B"]\nstart -> plan -> fan -> {a b} -> join -> exit\n'
            'join -> plan [condition="outcome=fail"]',
        ),
        Entry(
            "human_choices",
            (_E, _W),
            "A human gate has nothing to choose, or two choices share a key, or its default is none of them.",
            "The choices of a gate are its outgoing edges. Their keys come from labels such as `[A] Approve`, else"
            " from the first letter; on a clash the later one gets another letter than its reader expects.",
            f'{_ENDS}\nask [shape=hexagon, label="Ship it?"]\nwork [prompt="Do it"]\nstart -> ask\n'
            'ask -> exit [label="Approve"]\nask -> work [label="Amend"]\nwork -> ask',
            f'{_ENDS}\nask [shape=hexagon, label="Ship it?"]\nwork [prompt="Do it"]\nstart -> ask\n'
            'ask -> exit [label="[A] Approve"]\nask -> work [label="[M] Amend"]\nwork -> ask',
        ),
        Entry(
            "untrusted_shell",
            (_E, _W),
            "A command puts a value where the shell, or another program, would run it.",
            "Values are passed to a command as data, whatever they hold. That cannot be done inside `$( )`, back"
            " quotes, `eval`, `sh -c` and here-documents with a quoted delimiter (errors). `| raw` opts out, which"
            " is a warning when an LLM, a tool or a person may have written the value.",
            f'{_ENDS}\nsay [shape=parallelogram, tool_command="echo {{{{ last_response | raw }}}}"]\n'
            "start -> say -> exit",
            f'{_ENDS}\nsay [shape=parallelogram, tool_command="echo {{{{ last_response }}}}"]\n'
            "start -> say -> exit",
        ),
        Entry(
            "child_dotfile",
            (_E,),
            "A node runs a child pipeline that is not there.",
            "`type=pipeline` and `stack.manager_loop` run the file that `stack.child_dotfile` names, relative to"
            " this one. It is read and checked with its parent, whose errors its own errors are. A manager with"
            " `stack.child_autostart=false` names a session instead.",
            f"{_ENDS}\nship [type=pipeline]\nstart -> ship -> exit",
            f'{_ENDS}\nship [type=pipeline, stack.child_dotfile="ship.dot"]\nstart -> ship -> exit',
        ),
        Entry(
            "child_cycle",
            (_E,),
            "A pipeline runs itself, or children nest too deep.",
            "A child may have children, at most five below one another, and none of them a file that stands above"
            " it: such a run would never end.",
            f'{_ENDS}\nship [type=pipeline, stack.child_dotfile="this.dot"]\nstart -> ship -> exit',
            f'{_ENDS}\nship [type=pipeline, stack.child_dotfile="ship.dot"]\nstart -> ship -> exit',
            "the file to be `this.dot` itself",
        ),
        Entry(
            "manager_actions",
            (_E,),
            "A manager is to do what no manager can.",
            "`manager.actions` is a list of `observe`, `steer` and `wait`, separated by commas.",
            f'{_ENDS}\nlead [shape=house, stack.child_dotfile="ship.dot", manager.actions="observe,shout"]\n'
            "start -> lead -> exit",
            f'{_ENDS}\nlead [shape=house, stack.child_dotfile="ship.dot", manager.actions="observe,steer"]\n'
            "start -> lead -> exit",
        ),
        Entry(
            "agent_known",
            (_E,),
            "A node names an agent that the configuration does not have.",
            "Agents are defined under `agents:` in `orchestra.yaml`. Without the definition the node has no role,"
            " no tools and no model of its own.",
            f"{_ENDS}\nwork [agent=reviwer]\nstart -> work -> exit",
            f"{_ENDS}\nwork [agent=reviewer]\nstart -> work -> exit",
            "a configuration whose `agents:` has `reviewer`",
        ),
        Entry(
            "tool_known",
            (_E,),
            "A node or an agent names a tool that does not exist.",
            "Tools are built in, defined under `tools:` in `orchestra.yaml`, or loaded from Python.",
            f'{_ENDS}\nwork [prompt="Do it", "agent.tools"="read-fiel"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", "agent.tools"="read-file"]\nstart -> work -> exit',
            "a configuration",
        ),
        Entry(
            "model_known",
            (_W, _E),
            "A model or its provider resolves to nothing.",
            "A model is an alias under a provider's `models:`, or a name that the provider itself knows.",
            f'{_ENDS}\nwork [prompt="Do it", llm_provider=anthropc]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", llm_provider=anthropic]\nstart -> work -> exit',
            "a configuration with a provider `anthropic`",
        ),
    )
}
"""Every rule by name, in the order of the language's own list."""
