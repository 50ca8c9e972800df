"""What other tools call our attributes, and what they have attributes for that stands elsewhere here."""

from __future__ import annotations

_MODEL = {
    "llm_model": "model model_name model_id llm",
    "llm_provider": "provider model_provider",
    "reasoning_effort": "effort reasoning thinking",
}
_GRAPH = {
    "default_max_retries": "retries max_retries max_retry default_retries max_attempts",
    "default_max_visits": "max_visits max_node_visits default_visits",
    "max_steps": "max_iterations recursion_limit",
    "default_fidelity": "fidelity context_fidelity",
    "thread_id": "thread",
    "goal": "objective description",
    "model_stylesheet": "styles css stylesheet model_style model_styles llm_stylesheet",
    "label": "title name",
    "inputs": "variables vars params parameters",
}
_NODE = {
    "max_retries": "retries retry max_retry retry_count num_retries retry_limit attempts max_attempts num_attempts",
    "retry_policy": "backoff retry_strategy backoff_strategy retry_backoff",
    "retry_target": "on_failure on_fail on_error retry_to retry_node",
    "max_visits": "max_loops max_iterations loop_max",
    "manager.max_cycles": "max_cycles",
    "manager.poll_interval": "poll_interval",
    "manager.stop_condition": "stop_condition",
    "k": "join_k min_success",
    "tool_command": "command cmd run exec shell_command bash tool_cmd script_command",
    "prompt": "task instruction instructions task_prompt user_prompt message",
    "type": "handler kind handler_type",
    "class": "classes css_class",
    "timeout": "time_limit timeout_ms timeout_millis timeout_minutes timeout_mins tool_timeout"
    " node_timeout stage_timeout timeout_seconds timeout_sec timeout_s max_duration",
    "fidelity": "context_fidelity",
    "thread_id": "thread thread_key session_id conversation",
    "goal_gate": "gate is_gate is_goal_gate",
    "allow_partial": "partial_ok allow_partial_success",
    "on_interrupt": "on_resume on_restart",
    "agent.tools": "tools allowed_tools",
    "cli": "agent_tool",
    "agent.mode": "agent_mode",
    "agent": "agent_name agent_id agent_type",
    "agent.role": "system system_message system_prompt role",
    "agent.persona": "persona",
    "human.default_choice": "default_choice default_option human_default default",
    "human.timeout": "human_timeout",
    "label": "question title name display_name",
    "error_policy": "fail_fast",
    "for_each": "items for each foreach map_over",
    "max_parallel": "concurrency max_concurrency max_parallelism parallelism parallel max_workers",
    "join_policy": "join join_strategy",
    "stack.child_dotfile": "dotfile subgraph_file sub_pipeline child_dotfile graph_ref",
    "output_schema": "schema response_schema json_schema",
    "attach": "attachments",
}
_EDGE = {
    "condition": "when if cond guard on on_outcome outcome predicate expr",
    "label": "text title name",
    "weight": "priority",
    "loop_restart": "restart",
    "max_visits": "max_loops max_iterations",
    "human.freeform": "freeform",
}


def _by_word(*tables: dict[str, str]) -> dict[str, str]:
    return {word: key for table in tables for key, words in table.items() for word in words.split()}


OUR_KEYS = {"graph": _by_word(_MODEL, _GRAPH), "node": _by_word(_MODEL, _NODE), "edge": _by_word(_EDGE)}
"""Our attribute by the word of another tool, for a graph, a node and an edge."""

ADVICE = _by_word(
    {
        "set it under `agents:` in orchestra.yaml": "temperature top_p max_tokens max_turns"
        " max_agent_turns tool_choice",
        "set it under `limits:` in orchestra.yaml": "max_cost cost_limit budget max_budget"
        " token_limit max_tool_calls",
        "write `cd FOLDER && ...` in the tool_command": "cwd workdir working_dir working_directory",
        "write `NAME=value` before the command in the tool_command": "env environment",
    }
)
"""What to do about an attribute of other tools where we have none."""
