"""Every rule: what it means, why it matters, and a wrong and a right example."""

from __future__ import annotations

from typing import NamedTuple

from orchestra.errors import Severity


class RuleEntry(NamedTuple):
    """One rule.

    ``wrong`` and ``right`` are what stands between the braces: the first fires it, the other does not. Both are
    empty for a rule about another file.

    ``needs`` says what else the rule must be given to fire; empty for rules that look at the file alone.
    """

    rule: str
    severities: tuple[Severity, ...]
    meaning: str
    why: str
    wrong: str
    right: str
    needs: str = ""


_AWS = "AKIA" + "IOSFODNN7EXAMPLE"  # the example of AWS's own manual, in two so that no scanner stumbles over it
_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

_ENDS = "start [shape=Mdiamond]\nexit [shape=Msquare]"
_WORK = f'{_ENDS}\nwork [prompt="Do it"]'
_PLAIN = f"{_WORK}\nstart -> work -> exit"

_EACH = (
    'join [shape=tripleoctagon]\nwork [prompt="Look at {{ item }}"]\nstart -> list -> each -> work -> join -> exit'
)

ENTRIES: dict[str, RuleEntry] = {
    entry.rule: entry
    for entry in (
        RuleEntry(
            "syntax",
            (_E,),
            "The file is not a valid pipeline.",
            "Pipelines are written in a strict subset of DOT: one `digraph`, ids of letters, digits and `_`, edges"
            " with `->`, text in double quotes. All errors of a file are reported at once.",
            f"{_WORK}\nstart -> work -- exit",
            _PLAIN,
        ),
        RuleEntry(
            "attribute_type",
            (_E,),
            "A value has the wrong type for its attribute.",
            "`max_retries` is a whole number, `goal_gate` is true or false, `timeout` is a duration such as `15m`."
            " A run does not guess.",
            f'{_ENDS}\nwork [prompt="Do it", timeout="15 min"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", timeout=15m]\nstart -> work -> exit',
        ),
        RuleEntry(
            "condition_syntax",
            (_E,),
            "An edge's condition is invalid.",
            "A condition compares `outcome`, `preferred_label` or a context key with a literal, joined by `&&`,"
            " `||`, `!` and parentheses. Equality is one `=`.",
            f'{_WORK}\nstart -> work\nwork -> exit [condition="outcome == success"]',
            f'{_WORK}\nstart -> work\nwork -> exit [condition="outcome=success"]',
        ),
        RuleEntry(
            "stylesheet_syntax",
            (_E,),
            "The model stylesheet is invalid.",
            "A rule is a selector (`*`, a shape, `.class`, `#id`) and declarations of `llm_model`, `llm_provider`"
            " or `reasoning_effort` in braces.",
            f'model_stylesheet = "* {{ llm_model: smart"\n{_PLAIN}',
            f'model_stylesheet = "* {{ llm_model: smart; }}"\n{_PLAIN}',
        ),
        RuleEntry(
            "old_attribute",
            (_I,),
            "A deprecated attribute name is used.",
            "`llm_prompt`, `node_type`, `script`, `context_fidelity_default` and `context_thread_default` are still"
            " accepted; the current names are `prompt`, `type`, `tool_command`, `default_fidelity` and"
            " `thread_id`.",
            f'{_ENDS}\nwork [llm_prompt="Do it"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it"]\nstart -> work -> exit',
        ),
        RuleEntry(
            "duration_unit",
            (_I,),
            "A duration has no unit.",
            "A bare number is read as seconds. Write the unit, so that people and other programs know"
            " what it means.",
            f'{_ENDS}\nwork [prompt="Do it", timeout=900]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", timeout=900s]\nstart -> work -> exit',
        ),
        RuleEntry(
            "duplicate_attribute",
            (_W,),
            "A list gives the same attribute twice.",
            "The last value counts, and the first is ignored without a trace. Aliases count as one attribute:"
            " `retry_policy` and `backoff_policy`.",
            f'{_ENDS}\nwork [prompt="Plan it", max_retries=2, prompt="Do it"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", max_retries=2]\nstart -> work -> exit',
        ),
        RuleEntry(
            "start_node",
            (_E,),
            "The pipeline does not have exactly one start node.",
            "A run starts at the one node with `shape=Mdiamond` (or `type=start`); without one, at the node"
            " called `start`.",
            'exit [shape=Msquare]\nwork [prompt="Do it"]\nwork -> exit',
            _PLAIN,
        ),
        RuleEntry(
            "terminal_node",
            (_E,),
            "The pipeline does not have exactly one exit node.",
            "A run succeeds at the one node with `shape=Msquare` (or `type=exit`), where goal gates are checked."
            " To end at several points, add several edges to it.",
            f'{_WORK}\nother [shape=Msquare]\nstart -> work -> exit\nwork -> other [condition="outcome=fail"]',
            f'{_WORK}\nstart -> work -> exit\nwork -> exit [condition="outcome=fail"]',
        ),
        RuleEntry(
            "start_no_incoming",
            (_E,),
            "An edge goes to the start node.",
            "The start node is entered only once. Let a loop go to the first node after it.",
            f'{_WORK}\nstart -> work\nwork -> exit [condition="outcome=success"]\nwork -> start',
            f'{_WORK}\nstart -> work\nwork -> exit [condition="outcome=success"]\nwork -> work',
        ),
        RuleEntry(
            "exit_no_outgoing",
            (_E,),
            "The exit node has an outgoing edge.",
            "The run ends at the exit, so the edge would never be taken. To send a run back after an unmet"
            " goal gate, use `retry_target`.",
            f'{_ENDS}\nwork [prompt="Do it", max_visits=3]\nstart -> work -> exit -> work',
            f'{_ENDS}\nwork [prompt="Do it", goal_gate=true, retry_target=work]\nstart -> work -> exit',
        ),
        RuleEntry(
            "reachability",
            (_E,),
            "A node cannot be reached from the start.",
            "No run would ever execute it; usually an edge is missing. Retry targets count as"
            " edges. Of several connected nodes the first is reported, with those after it.",
            f'{_PLAIN}\nreview [prompt="Review it"]\nreview -> exit',
            f'{_WORK}\nreview [prompt="Review it"]\nstart -> work -> review -> exit',
        ),
        RuleEntry(
            "exit_reachable",
            (_E,),
            "The exit cannot be reached from the start.",
            "Every run would end at a node without edges, or loop until a limit stops it; no goal gate would"
            " be checked.",
            f'{_ENDS}\nwork [prompt="Do it", max_visits=3]\nstart -> work -> work',
            f'{_ENDS}\nwork [prompt="Do it"]\nstart -> work\nwork -> exit [condition="outcome=success"]\n'
            "work -> work",
        ),
        RuleEntry(
            "edge_target_exists",
            (_W, _E),
            "An edge uses a node that is never declared.",
            "Such a node exists anyway, as an LLM node whose prompt is its id. Often it is a misspelling. It is"
            " an error if it has no outgoing edge and a declared id is similar, and always with `--strict`.",
            f"{_WORK}\nstart -> work -> polish -> exit",
            f'{_WORK}\npolish [prompt="Polish it"]\nstart -> work -> polish -> exit',
        ),
        RuleEntry(
            "dead_end",
            (_W,),
            "A node other than the exit has no outgoing edge.",
            "A run that gets there ends as `completed (no exit)`.",
            f'{_WORK}\nreport [prompt="Say why"]\nstart -> work -> exit\nwork -> report [condition="outcome=fail"]',
            f'{_WORK}\nreport [prompt="Say why"]\nstart -> work -> exit\n'
            'work -> report [condition="outcome=fail"]\nreport -> exit',
        ),
        RuleEntry(
            "type_known",
            (_W,),
            "A `type` or a `shape` has no handler.",
            "An unknown type falls back to the node's shape, and an unknown shape to an LLM"
            " node: the node would not run as it says.",
            f'{_ENDS}\nask [type="wait.humans", label="Go on?"]\nstart -> ask -> exit',
            f'{_ENDS}\nask [type="wait.human", label="Go on?"]\nstart -> ask -> exit',
        ),
        RuleEntry(
            "fidelity_valid",
            (_W,),
            "A fidelity is not a known mode.",
            "The modes are `full`, `truncate`, `compact`, `summary:low`, `summary:medium` and `summary:high`. They"
            " decide how much earlier work an LLM sees.",
            f'{_ENDS}\nwork [prompt="Do it", fidelity=brief]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", fidelity="summary:low"]\nstart -> work -> exit',
        ),
        RuleEntry(
            "retry_target_exists",
            (_E, _W),
            "A retry target does not exist, or is the exit.",
            "If the node fails, or a goal gate is not met, the run fails because the target does not exist. The"
            " exit as a target is an error: the failure would end the run as a success.",
            f'{_ENDS}\nwork [prompt="Do it", retry_target=plan]\nstart -> work -> exit',
            f'{_ENDS}\nplan [prompt="Plan it", max_visits=3]\nwork [prompt="Do it", retry_target=plan]\n'
            "start -> plan -> work -> exit",
        ),
        RuleEntry(
            "goal_gate_has_retry",
            (_W,),
            "A goal gate has no retry target.",
            "A gate that is not met at the exit sends the run to `retry_target` or `fallback_retry_target` of the"
            " node, or of the graph. Without one the run fails.",
            f'{_ENDS}\nwork [prompt="Do it", goal_gate=true]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", goal_gate=true, retry_target=work]\nstart -> work -> exit',
        ),
        RuleEntry(
            "prompt_on_llm_nodes",
            (_W,),
            "An LLM node has no prompt.",
            "Without `prompt`, `label` or an agent, the whole prompt is the node's id.",
            f"{_ENDS}\nwork [max_retries=1]\nstart -> work -> exit",
            _PLAIN,
        ),
        RuleEntry(
            "tool_command_on_tool_nodes",
            (_W,),
            "A tool node has no command.",
            "A tool node runs `tool_command` in a shell. Without one it fails whenever it is reached.",
            f"{_ENDS}\ntest [shape=parallelogram]\nstart -> test -> exit",
            f'{_ENDS}\ntest [shape=parallelogram, tool_command="make test"]\nstart -> test -> exit',
        ),
        RuleEntry(
            "prompt_variable",
            (_W,),
            "A command uses a variable that exists only in prompts.",
            "`$goal` and the run's variables are replaced in prompts. In a command `$goal` is the shell's own"
            " variable, which is empty; write a value of the pipeline in double braces, and it reaches the shell"
            " as data.",
            f'{_ENDS}\ntest [shape=parallelogram, tool_command="echo $goal"]\nstart -> test -> exit',
            f'{_ENDS}\ntest [shape=parallelogram, tool_command="echo {{{{ graph.goal }}}}"]\nstart -> test -> exit',
        ),
        RuleEntry(
            "template_syntax",
            (_E, _W),
            "Braces in a command or a prompt hold more than a name.",
            "Only a dotted name in double braces is replaced, and in a command `{{ name | raw }}`. Filters, calls,"
            " operators and `{% %}` would reach the shell (an error) or the model (a warning) as they are. They"
            " work in the task files of agents. Templates of other programs, such as `{{.State}}`, are left alone.",
            f'{_ENDS}\nship [shape=parallelogram, tool_command="./ship {{{{ version | upper }}}}"]\n'
            "start -> ship -> exit",
            f'{_ENDS}\nship [shape=parallelogram, tool_command="./ship {{{{ version }}}}"]\nstart -> ship -> exit',
        ),
        RuleEntry(
            "unknown_attribute",
            (_W,),
            "An attribute is probably misspelled or misplaced.",
            "Unknown attributes are kept for your own handlers, so a misspelled one silently has no"
            " effect. This warns about names similar to known ones, and about misplaced attributes.",
            f'{_ENDS}\nwork [prompt="Do it", max_retrys=2]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", max_retries=2]\nstart -> work -> exit',
        ),
        RuleEntry(
            "unused_attribute",
            (_W,),
            "A node has an attribute that nodes of its type never read.",
            "The start, the exit and diamonds ask nobody, so a prompt there is never seen; only tool nodes run a"
            " `tool_command`; the question of a human gate is its label.",
            f'{_WORK}\ncheck [tool_command="make test", label="Check"]\nstart -> work -> check -> exit',
            f'{_WORK}\ncheck [shape=parallelogram, tool_command="make test"]\nstart -> work -> check -> exit',
        ),
        RuleEntry(
            "selector_matches",
            (_W,),
            "A selector of the stylesheet matches no node, or a class is written so that no selector matches it.",
            '`.fast` is the selector of `class="fast"`: the dot belongs in the stylesheet only. A selector that'
            " matches nothing leaves its nodes with another model than intended.",
            f'model_stylesheet = ".fast {{ llm_model: haiku }}"\n{_ENDS}\nwork [prompt="Do it", class=".fast"]\n'
            "start -> work -> exit",
            f'model_stylesheet = ".fast {{ llm_model: haiku }}"\n{_ENDS}\nwork [prompt="Do it", class="fast"]\n'
            "start -> work -> exit",
        ),
        RuleEntry(
            "value_known",
            (_W,),
            "A value is nearly one of those that are known.",
            "`reasoning_effort` is `low`, `medium` or `high`, for some models also `none`, `minimal` or `xhigh`."
            " Other words are passed on, and the provider may refuse them in mid-run.",
            f'{_ENDS}\nwork [prompt="Do it", reasoning_effort=hgih]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", reasoning_effort=high]\nstart -> work -> exit',
        ),
        RuleEntry(
            "unbounded_loop",
            (_W, _I),
            "Nothing ends a loop.",
            "It has no condition, `max_visits`, human gate or goal gate, so a run repeats it until"
            " `max_steps`, at a cost for every round. Retry targets count as edges: a node that always fails goes"
            " back to its target 50 times (E15). A goal gate of a command that sends back so often is an"
            " INFO, and so is a loop over a command that only a condition ends: the run ends when a node of it has"
            " failed 50 times in a row. `max_visits` says how often instead, 0 without a limit.",
            f'{_WORK}\nreview [prompt="Review it"]\nstart -> work -> review\n'
            "review -> work [weight=1]\nreview -> exit",
            f'{_WORK}\nreview [prompt="Review it"]\nstart -> work -> review\n'
            'review -> work [condition="outcome=fail", max_visits=3]\nreview -> exit',
        ),
        RuleEntry(
            "ambiguous_edges",
            (_I,),
            "Two edges have no condition and the same weight.",
            "A run takes exactly one edge. Among equal edges it is the one whose target comes first in alphabetical"
            " order, unless the node prefers a label. To run both, use a parallel node (`shape=component`).",
            f'{_WORK}\nskip [prompt="Say why not"]\nstart -> work -> exit\nstart -> skip -> exit',
            f'{_WORK}\nskip [prompt="Say why not"]\nstart -> work -> exit\n'
            'work -> skip [condition="outcome=fail"]\nskip -> exit',
        ),
        RuleEntry(
            "dead_edge",
            (_W,),
            "An edge can never be taken, or its condition repeats itself.",
            "Its clauses may exclude each other, or the node may never have the outcome:"
            " a diamond has no outcome of its own; it passes on the previous one. `success` and `status=success`"
            " read context keys of these names, where `outcome=success` is meant.",
            f'{_WORK}\nstart -> work -> exit\nwork -> work [condition="outcome=fail && outcome=retry"]',
            f'{_WORK}\nstart -> work -> exit\nwork -> work [condition="outcome=fail || outcome=retry"]',
        ),
        RuleEntry(
            "outcome_known",
            (_W,),
            "A condition compares with a misspelled status.",
            "Outcomes are `success`, `partial_success`, `retry`, `fail` and `skipped`, in lower case. Any other"
            " word must be reported by an agent, so a misspelled status never matches.",
            f'{_WORK}\nreport [prompt="Say why"]\nstart -> work -> exit\n'
            'work -> report [condition="outcome=failed"]\nreport -> exit',
            f'{_WORK}\nreport [prompt="Say why"]\nstart -> work -> exit\n'
            'work -> report [condition="outcome=fail"]\nreport -> exit',
        ),
        RuleEntry(
            "parallel_join",
            (_W, _E),
            "The branches of a parallel node do not meet in one fan-in, or its join policy can never be met.",
            "Every path of every branch must lead to one `parallel.fan_in` (`shape=tripleoctagon`), where the"
            " results are combined. Otherwise each branch continues to its own end, and the run fails"
            " unless all of them end at the exit. A fan-in needs a parallel node before it; `k_of_n` needs `k`, at"
            " most the number of branches, and `quorum` needs `quorum`.",
            f'{_ENDS}\nfan [shape=component]\na [prompt="A"]\nb [prompt="B"]\nstart -> fan -> {{a b}} -> exit',
            f'{_ENDS}\nfan [shape=component]\njoin [shape=tripleoctagon]\na [prompt="A"]\nb [prompt="B"]\n'
            "start -> fan -> {a b} -> join -> exit",
        ),
        RuleEntry(
            "branch_escape",
            (_W,),
            "A branch goes back to its parallel node, or before it, or restarts the session.",
            "A branch is the part between the parallel node and its fan-in. If it leaves that part, it"
            " fails (`left its branch`). Go back after the fan-in instead.",
            f'{_ENDS}\nplan [prompt="Plan"]\nfan [shape=component]\njoin [shape=tripleoctagon]\n'
            'a [prompt="A"]\nb [prompt="B"]\nstart -> plan -> fan -> {a b} -> join -> exit\n'
            'b -> plan [condition="outcome=fail"]',
            f'{_ENDS}\nplan [prompt="Plan"]\nfan [shape=component]\njoin [shape=tripleoctagon]\n'
            'a [prompt="A"]\nb [prompt="B"]\nstart -> plan -> fan -> {a b} -> join -> exit\n'
            'join -> plan [condition="outcome=fail"]',
        ),
        RuleEntry(
            "for_each",
            (_E,),
            "A parallel node with `for_each` has several outgoing edges, or names a node that does not exist.",
            "Such a node starts its one outgoing edge once for every item of a list. The list is a key of the"
            " context, such as `tools.NODE.output`, the lines that a command wrote.",
            f'{_ENDS}\nlist [shape=parallelogram, tool_command="ls"]\n'
            f'each [shape=component, for_each="tools.lst.output"]\n{_EACH}',
            f'{_ENDS}\nlist [shape=parallelogram, tool_command="ls"]\n'
            f'each [shape=component, for_each="tools.list.output"]\n{_EACH}',
        ),
        RuleEntry(
            "human_choices",
            (_W,),
            "A human gate has no choices, two choices with the same key, or an unknown default.",
            "The choices of a gate are its outgoing edges. Their keys come from labels such as `[A] Approve`, or"
            " from the first letter; if two are the same, the later one gets another letter.",
            f'{_ENDS}\nask [shape=hexagon, label="Ship it?"]\nwork [prompt="Do it"]\nstart -> ask\n'
            'ask -> exit [label="Approve"]\nask -> work [label="Amend"]\nwork -> ask',
            f'{_ENDS}\nask [shape=hexagon, label="Ship it?"]\nwork [prompt="Do it"]\nstart -> ask\n'
            'ask -> exit [label="[A] Approve"]\nask -> work [label="[M] Amend"]\nwork -> ask',
        ),
        RuleEntry(
            "untrusted_shell",
            (_E, _W),
            "A command inserts a value where a shell or another program would run it as code.",
            "Values are passed to a command as data, whatever they contain. That cannot work inside `$( )`, back"
            " quotes, `eval`, `sh -c` and here-documents with a quoted delimiter (errors). `| raw` opts out, which"
            " is a warning when an LLM, a tool or a person may have written the value.",
            f'{_ENDS}\nsay [shape=parallelogram, tool_command="echo {{{{ last_response | raw }}}}"]\n'
            "start -> say -> exit",
            f'{_ENDS}\nsay [shape=parallelogram, tool_command="echo {{{{ last_response }}}}"]\n'
            "start -> say -> exit",
        ),
        RuleEntry(
            "masked_failure",
            (_W,),
            "A failing command in a tool node would go unnoticed.",
            "A shell reports the last command of a pipe and of several lines. With `shell` set to"
            " `bash -eo pipefail` it stops at the first failure; a goal gate has it where bash is installed."
            " Commands whose failure says nothing (`echo`, `grep`, `rm`) and those before `||` are not meant, but"
            " `|| true` or its like at the end of a goal gate, or of a node whose outcome an edge asks for, is.",
            f'{_ENDS}\ntest [shape=parallelogram, tool_command="pytest | tee report.txt"]\nstart -> test -> exit',
            f'{_ENDS}\nshell="bash -eo pipefail"\ntest [shape=parallelogram, tool_command="pytest | tee log"]\n'
            "start -> test -> exit",
        ),
        RuleEntry(
            "child_dotfile",
            (_E,),
            "The child pipeline of a node does not exist.",
            "`type=pipeline` and `stack.manager_loop` run the file that `stack.child_dotfile` names, relative to"
            " this one. It is checked with its parent, and its errors are errors of the parent. A manager with"
            " `stack.child_autostart=false` names a session instead.",
            f"{_ENDS}\nship [type=pipeline]\nstart -> ship -> exit",
            f'{_ENDS}\nship [type=pipeline, stack.child_dotfile="ship.dot"]\nstart -> ship -> exit',
        ),
        RuleEntry(
            "child_cycle",
            (_E,),
            "A pipeline runs itself, or children are nested too deep.",
            "Children may have children, up to five levels deep, but none may be a file that is already above"
            " it: such a run would never end.",
            f'{_ENDS}\nship [type=pipeline, stack.child_dotfile="this.dot"]\nstart -> ship -> exit',
            f'{_ENDS}\nship [type=pipeline, stack.child_dotfile="ship.dot"]\nstart -> ship -> exit',
            "the file to be `this.dot` itself",
        ),
        RuleEntry(
            "manager_actions",
            (_E,),
            "A manager has an unknown action.",
            "`manager.actions` is a list of `observe`, `steer` and `wait`, separated by commas.",
            f'{_ENDS}\nlead [shape=house, stack.child_dotfile="ship.dot", manager.actions="observe,shout"]\n'
            "start -> lead -> exit",
            f'{_ENDS}\nlead [shape=house, stack.child_dotfile="ship.dot", manager.actions="observe,steer"]\n'
            "start -> lead -> exit",
        ),
        RuleEntry(
            "agent_known",
            (_E, _W, _I),
            "A node names an agent that is not in the configuration.",
            "Where there is no `orchestra.yaml` that is a note, because all agents are simulated then."
            " A section under `pipelines:` with a name like this pipeline's is a warning."
            " Agents are defined under `agents:` in `orchestra.yaml`. Without a definition the node has no role,"
            " tools or model of its own.",
            f"{_ENDS}\nwork [agent=reviwer]\nstart -> work -> exit",
            f"{_ENDS}\nwork [agent=reviewer]\nstart -> work -> exit",
            "a configuration with `reviewer` under `agents:`",
        ),
        RuleEntry(
            "model_known",
            (_W, _E),
            "A model or its provider is unknown.",
            "A model is an alias under a provider's `models:`, or a model name of the provider.",
            f'{_ENDS}\nwork [prompt="Do it", llm_provider=anthropc]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", llm_provider=anthropic]\nstart -> work -> exit',
            "a configuration with a provider `anthropic`",
        ),
        RuleEntry(
            "value_of_node",
            (_W,),
            "A prompt, a command or a condition names the output of a node that does not exist.",
            "`{{ tools.NODE.output }}` is what the tool node NODE wrote, and `{{ responses.NODE }}` what the agent"
            " of NODE answered. Without such a node the name has no value, and the node that reads it fails.",
            f'{_ENDS}\nwork [prompt="Do it"]\ncheck [prompt="Check {{{{ responses.wrok }}}}"]\n'
            "start -> work -> check -> exit",
            f'{_ENDS}\nwork [prompt="Do it"]\ncheck [prompt="Check {{{{ responses.work }}}}"]\n'
            "start -> work -> check -> exit",
        ),
        RuleEntry(
            "input_declared",
            (_W,),
            "A prompt or a command names a variable that the pipeline does not declare.",
            "With `inputs` on the graph a run takes those variables only (L40). Another name in braces has a value"
            " if an agent or a person sets it; where no node could, or where it nearly is an input, it is a slip.",
            f'{_ENDS}\ninputs="version"\nship [shape=parallelogram, tool_command="./ship {{{{ versoin }}}}"]\n'
            "start -> ship -> exit",
            f'{_ENDS}\ninputs="version"\nship [shape=parallelogram, tool_command="./ship {{{{ version }}}}"]\n'
            "start -> ship -> exit",
        ),
        RuleEntry(
            "backend_known",
            (_E,),
            "A node's backend does not exist.",
            "Backends are `simulation`, `direct`, `langgraph`, `cli`, and those that installed packages add.",
            f'{_ENDS}\nwork [prompt="Do it", backend=simulaton]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", backend=simulation]\nstart -> work -> exit',
            "the command line",
        ),
        RuleEntry(
            "cli_agent",
            (_E,),
            "A node's command-line agent cannot run.",
            "With `backend=cli` a node names a command-line agent: `claude`, `codex`, `gemini`, or one that is"
            " defined under `cli:` in `orchestra.yaml`. Its program has to be installed. In a sandbox it needs"
            " `network: full`.",
            f'{_ENDS}\nwork [prompt="Do it", backend=cli, cli=claud]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", backend=cli, cli=claude]\nstart -> work -> exit',
            "the command line, and the program `claude`",
        ),
        RuleEntry(
            "prompt_file",
            (_E,),
            "A role, persona, personality or task cannot be used.",
            "The file does not exist in any of the places where it is looked for, or it cannot be read as a layer"
            " or a template.",
            f'{_ENDS}\nwork [prompt="Do it", "agent.role"="reviwer"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", "agent.role"="You review code."]\nstart -> work -> exit',
            "the command line",
        ),
        RuleEntry(
            "extra_missing",
            (_E,),
            "A provider's package is not installed.",
            "A plain install runs simulations, commands and command-line agents. Each provider of models has an"
            " extra that brings its package.",
            f'{_ENDS}\nwork [prompt="Do it", llm_provider=google]\nstart -> work -> exit',
            _PLAIN,
            "the backend `langgraph` or `direct`",
        ),
        RuleEntry(
            "credentials_missing",
            (_I,),
            "A provider's key is not set.",
            "The pipeline is valid, and a run on this machine would stop with exit code 4. Set the variable, or"
            " name a file that does with `--env-file`.",
            f'{_ENDS}\nwork [prompt="Do it", llm_provider=openai]\nstart -> work -> exit',
            _PLAIN,
            "the backend `langgraph` or `direct`",
        ),
        RuleEntry(
            "tool_known",
            (_E,),
            "A node, or the agent that it names, has a tool in its list that does not exist.",
            "Without a list an agent has the built-in tools. A list restricts it to what it names; `+name` adds to"
            " the built-in ones instead. Known are the built-in tools, those of `tools`, `tools_module` and of"
            " installed packages, and `server:name` for the MCP servers of the settings. `orchestra tools PIPELINE`"
            " lists what each node has.",
            f'{_ENDS}\nwork [prompt="Do it", agent.tools="read-file, serch-code"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Do it", agent.tools="read-file, search-code"]\nstart -> work -> exit',
            "the settings, which say what tools there are",
        ),
        RuleEntry(
            "attach_missing",
            (_E,),
            "A file that a node attaches does not exist.",
            "`attach` names files and patterns relative to the repository, or to the pipeline's folder. The agent"
            " would work without what it was meant to see.",
            f'{_ENDS}\nwork [prompt="Review it", attach="desing.md"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="Review it", attach="design.md"]\nstart -> work -> exit',
            "the command line, and a file `design.md`",
        ),
        RuleEntry(
            "output_schema",
            (_E,),
            "The schema of a node's answer cannot be read.",
            "`output_schema` is a JSON Schema: the JSON itself, or the name of a file that holds it.",
            f'{_ENDS}\nwork [prompt="List them", output_schema="findings.jsn"]\nstart -> work -> exit',
            f'{_ENDS}\nwork [prompt="List them", output_schema="findings.json"]\nstart -> work -> exit',
            "the command line, and a file `findings.json`",
        ),
        RuleEntry(
            "secret_in_pipeline",
            (_E,),
            "The file contains a secret, or what looks like one.",
            "Every run records the pipeline's text. Values of declared secrets and texts in the usual formats of"
            " keys are refused. Let the command or the agent read the secret from an environment variable that is"
            " listed under `secrets:` in `orchestra.yaml`.",
            f'{_ENDS}\ncall [shape=parallelogram, tool_command="curl -u {_AWS}: example.org"]\n'
            "start -> call -> exit",
            f'{_ENDS}\ncall [shape=parallelogram, tool_command="curl -u $MY_KEY: example.org"]\n'
            "start -> call -> exit",
            "the command line, which knows the values of declared secrets",
        ),
        RuleEntry(
            "handler_missing",
            (_E,),
            "A node has a type that this installation cannot run.",
            "Handlers come with the program, or with packages that offer them under the entry point"
            " `orchestra.handlers`. A pipeline whose nodes cannot all run is not started.",
            f'{_ENDS}\nship [type="my.deploy"]\nstart -> ship -> exit',
            f'{_ENDS}\nship [prompt="Deploy it"]\nstart -> ship -> exit',
            "a run, and no package that runs `my.deploy`",
        ),
        RuleEntry(
            "settings",
            (_E,),
            "A settings file cannot be used as it is.",
            "`orchestra.yaml` is read strictly: every section, key and value is checked, and all faults are"
            " reported at once. `orchestra config show --origin` prints what is in force and where it comes from.",
            "",
            "",
            "an `orchestra.yaml` with a mistake",
        ),
    )
}
"""Every rule by name, in the order of the language's own list."""
