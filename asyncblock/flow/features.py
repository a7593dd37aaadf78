"""What of the flow language there is, as data: each row works and names the test that holds it, or is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FEATURES", "Feature"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature."""

    name: str
    state: str
    """``works``, or ``refused`` (before the start, with a message that says why)."""
    note: str
    test: str
    """The test that holds it: file and function under ``tests/``."""


def _works(name: str, note: str, test: str) -> Feature:
    return Feature(name, "works", note, test)


def _refused(name: str, note: str, test: str) -> Feature:
    return Feature(name, "refused", note, test)


_LOAD = "flow/test_load.py::"
_NESTED = "flow/test_load_nested.py::"
_RUN = "flow/test_run.py::"
_DEEP = "flow/test_nesting.py::"
_FLOWS = "flow/test_flows.py::"
_SHELL = "executor/test_shell.py::"

FEATURES: Final = (
    # Files and lookup.
    _works("flow files", "", _LOAD + "test_a_flow_is_resolved_with_packages_defaults_and_connections"),
    _works(
        "references",
        "self::, absolute, relative, pkg::, name",
        _LOAD + "test_blocks_are_found_in_each_form_of_reference",
    ),
    _works(
        "package versions",
        "the one depended on, else the highest installed",
        _NESTED + "test_the_version_is_the_one_depended_on_else_the_highest_installed",
    ),
    _works("U+2028 and U+2029", "left out", _LOAD + "test_line_separators_of_editors_do_not_matter"),
    _works("YAML anchors", "within bounds", _LOAD + "test_aliases_that_stand_for_too_much_are_refused"),
    _refused("duplicate keys, merge keys", "", _LOAD + "test_a_flow_that_cannot_be_run_says_where_and_why"),
    _refused("files above 4 MiB or not UTF-8", "", _LOAD + "test_files_that_are_too_large_or_not_utf8_are_refused"),
    _works(
        "one block as a flow",
        "its defaults and nullable apply",
        _NESTED + "test_a_block_is_a_flow_of_one_node_with_its_own_defaults",
    ),
    # Handles.
    _works(
        "inputs_def, outputs_def, groups", "", _LOAD + "test_a_flow_is_resolved_with_packages_defaults_and_connections"
    ),
    _works("boolean json_schema", "", _NESTED + "test_b26_a_boolean_schema_is_a_schema"),
    _works(
        "additional inputs and outputs",
        "where the block allows them",
        _NESTED + "test_additional_handles_need_the_blocks_consent",
    ),
    # Node kinds.
    _works("task by reference", "", _LOAD + "test_blocks_are_found_in_each_form_of_reference"),
    _works("inline task", "", _LOAD + "test_spawn_on_a_var_edge_is_refused"),
    _works("subflow", "by reference, inline, recursive", _FLOWS + "test_a_subflow_maps_its_slot_over_a_list"),
    _works("slot with a task", "", _FLOWS + "test_a_subflow_maps_its_slot_over_a_list"),
    _works("slotflow", "further inputs are remembered", _FLOWS + "test_a_slotflow_runs_in_the_slot"),
    _works("service block", "", _NESTED + "test_a_service_block_is_a_task_with_its_service"),
    _works("condition", "every operator", "flow/test_conditions.py::test_operators_hold"),
    _refused("operator on a wrong type", "", "flow/test_cases.py::test_an_operator_on_a_wrong_type_is_refused"),
    _works("value node", "", _LOAD + "test_value_nodes_become_constants_of_those_who_take_them"),
    _works("shell executor", "", _SHELL + "test_a_command_puts_out_what_it_wrote"),
    _refused(
        "nodejs, rust, connector",
        "unless an executor has announced the language",
        _NESTED + "test_a_language_is_refused_unless_an_executor_has_announced_it",
    ),
    _refused("inject, injection", "", _NESTED + "test_inject_is_refused_with_its_line"),
    # Common fields.
    _works(
        "concurrency", "negative: any number; 0: the start-up run", _RUN + "test_concurrency_bounds_the_jobs_of_a_node"
    ),
    _works("timeout", "every kind of node", _FLOWS + "test_e7_a_subflows_time_limit_cancels_what_runs_in_it"),
    _works("ignore", "", _NESTED + "test_connections_from_ignored_nodes_are_dropped_with_a_warning"),
    _works("progress_weight", "", _DEEP + "test_the_progress_of_a_subflow_is_the_weighted_mean"),
    _works("forward_previews", "every level", _FLOWS + "test_e6_previews_are_forwarded_through_every_level"),
    _works(
        "spawn", "a process for each job", "test_spawn.py::test_each_job_has_a_process_of_its_own_that_leaves_with_it"
    ),
    _refused("spawn on a var edge", "", _LOAD + "test_spawn_on_a_var_edge_is_refused"),
    # Connections.
    _works("several sources", "", _NESTED + "test_several_sources_and_flow_inputs_merge"),
    _works("schema_overrides", "secrets", _NESTED + "test_b10_schema_overrides_say_what_is_secret"),
    _works(
        "serialize_for_cache",
        "DataFrames on var handles",
        _NESTED + "test_e3_an_input_that_wants_its_value_kept_marks_the_output_that_feeds_it",
    ),
    _refused("undeclared handles", "", _LOAD + "test_a_flow_that_cannot_be_run_says_where_and_why"),
    _refused("two providers for a slot", "", _NESTED + "test_a_slot_that_cannot_be_provided_for_is_refused"),
    _refused("a slot without provider", "", _NESTED + "test_e5_a_flow_with_slots_cannot_run_by_itself"),
    _works("directed output", "", _RUN + "test_directed_output_takes_only_the_connections_that_are_meant"),
    _works(
        "var values",
        "by reference, through conditions, subflows and slots",
        _FLOWS + "test_a_var_value_goes_by_reference_into_a_subflow_and_out_of_it",
    ),
    # Scheduling, rule by rule.
    _works("1 fulfilled", "", _RUN + "test_static_values_are_the_same_each_time"),
    _works("2 start", "", _RUN + "test_nodes_that_nothing_feeds_run_once_at_the_start"),
    _works("3 produce", "", _RUN + "test_several_sources_merge_into_one_queue"),
    _works("4 pairing", "first in, first out", _RUN + "test_inputs_are_paired_first_in_first_out_and_not_latched"),
    _works("5 job done", "", _RUN + "test_a_run_is_over_when_no_job_is_left_whatever_waits"),
    _works("6 order", "", _RUN + "test_any_order_of_events_makes_the_same_jobs"),
    _works("7 cycles", "", _RUN + "test_a_cycle_feeds_itself"),
    _refused("a cycle without a start", "", _LOAD + "test_a_flow_that_cannot_be_run_says_where_and_why"),
    _works("8 subflows", "", _DEEP + "test_each_run_of_a_subflow_is_a_flow_of_its_own_with_fresh_queues"),
    _works("9 errors", "", _FLOWS + "test_a_failure_in_a_subflow_fails_the_session_and_names_every_level"),
    _works("10 timeout", "", _FLOWS + "test_e7_a_subflows_time_limit_cancels_what_runs_in_it"),
    _works("11 progress", "", _FLOWS + "test_rule_11_a_subflow_node_tells_its_progress"),
    _works(
        "12 partial runs", "--nodes, --use-cache", "flow/test_partial.py::test_only_the_nodes_that_are_needed_are_kept"
    ),
    _works("13 cancel", "", _RUN + "test_a_cancel_ends_the_run"),
    _works(
        "14 inputs", "--inputs, --nodes-inputs", "flow/test_partial.py::test_inputs_of_nodes_stand_for_their_sources"
    ),
    # What is done otherwise than upstream, by the bug's name.
    _works(
        "E1",
        "a failed asked-for job is removed",
        _DEEP + "test_e1_an_asked_for_job_that_fails_is_removed_and_fails_no_flow",
    ),
    _works("E2", "a node without result runs again", _DEEP + "test_e2_an_empty_subflow_frees_its_node"),
    _works("E5", "the depth limit fails the session", _FLOWS + "test_e5_a_subflow_may_call_itself_but_not_for_ever"),
)
"""Every feature, in the order of the language's description."""
