"""Other tools' names of our attributes, and their attributes for what is set elsewhere here."""

from __future__ import annotations

_MODEL = {
    "llm_model": "model model_name model_id llm default_model",
    "llm_provider": "provider model_provider default_provider",
    "reasoning_effort": "effort reasoning thinking",
}
_GRAPH = {
    "default_max_retries": "retries max_retries max_retry default_retries max_attempts",
    "default_max_visits": "max_visits max_node_visits default_visits",
    "max_steps": "max_iterations recursion_limit step_limit max_nodes max_total_steps",
    "default_fidelity": "fidelity context_fidelity",
    "thread_id": "thread",
    "goal": "objective description purpose mission aim",
    "model_stylesheet": "styles css stylesheet model_style model_styles llm_stylesheet",
    "label": "title name display_name",
    "inputs": "variables vars params parameters args arguments",
}
_NODE = {
    "max_retries": "retries retry max_retry retry_count num_retries retry_limit attempts max_attempts num_attempts"
    " max_tries tries",
    "retry_policy": "backoff retry_strategy backoff_strategy retry_backoff retry_mode backoff_type",
    "retry_target": "on_failure on_fail on_error retry_to retry_node retry_step goto_on_fail",
    "max_visits": "max_loops max_iterations loop_max max_runs max_executions visit_limit",
    "manager.max_cycles": "max_cycles",
    "manager.poll_interval": "poll_interval",
    "manager.stop_condition": "stop_condition",
    "k": "join_k min_success min_successes required_successes",
    "tool_command": "command cmd run exec shell_command bash tool_cmd script_command shell_cmd shell_script",
    "prompt": "task instruction instructions task_prompt user_prompt message user_message query",
    "type": "handler kind handler_type node_kind",
    "class": "classes css_class",
    "timeout": "time_limit timeout_ms timeout_millis timeout_minutes timeout_mins tool_timeout"
    " node_timeout stage_timeout timeout_seconds timeout_sec timeout_s max_duration"
    " timeout_in_seconds timeout_secs time_out max_time deadline execution_timeout",
    "fidelity": "context_fidelity context context_mode",
    "thread_id": "thread thread_key session_id conversation conversation_id",
    "goal_gate": "gate is_gate is_goal_gate must_pass",
    "allow_partial": "partial_ok allow_partial_success",
    "on_interrupt": "on_resume on_restart",
    "agent.tools": "tools allowed_tools toolset tool_names",
    "cli": "agent_tool",
    "agent.mode": "agent_mode",
    "agent": "agent_name agent_id agent_type",
    "agent.role": "system system_message system_prompt role",
    "agent.persona": "persona",
    "human.default_choice": "default_choice default_option human_default default default_answer default_action",
    "human.timeout": "human_timeout",
    "label": "question title name display_name",
    "error_policy": "fail_fast failure_policy",
    "for_each": "items for each foreach map_over loop_over iterate_over",
    "max_parallel": "concurrency max_concurrency max_parallelism parallelism parallel max_workers max_concurrent",
    "join_policy": "join join_strategy join_mode",
    "stack.child_dotfile": "dotfile subgraph_file sub_pipeline child_dotfile graph_ref",
    "output_schema": "schema response_schema json_schema response_format structured_output output_format",
    "fallbacks": "fallback_model fallback_models fallback_llm",
    "attach": "attachments attached_files",
    "merge": "merge_strategy merge_context merge_policy merge_mode",
    "backend": "runner engine executor",
}
_EDGE = {
    "condition": "when if cond guard on on_outcome outcome predicate expr expression where",
    "label": "text title name",
    "weight": "priority order",
    "loop_restart": "restart",
    "max_visits": "max_loops max_iterations max_traversals max_uses max_times",
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
