"""What of the flow language there is, as data: each row works and names the test that runs it, or is refused."""

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
    """The test that holds it: file and function under ``tests/``. What works, it runs from end to end."""


def _works(name: str, note: str, test: str) -> Feature:
    return Feature(name, "works", note, test)


def _refused(name: str, note: str, test: str) -> Feature:
    return Feature(name, "refused", note, test)


_LOAD = "flow/test_load.py::"
_NESTED = "flow/test_load_nested.py::"
_LANGUAGE = "flow/test_language.py::"
_FLOWS = "flow/test_flows.py::"
_UNFED = "flow/test_unfed.py::"
_BAD = "flow/test_bad_files.py::"
_CLI = "cli/test_flows.py::"
_TABLE = "oocana_flows/test_table.py::test_each_flow_has_its_jobs_inputs_and_outputs"

FEATURES: Final = (
    # Files and lookup.
    _works(
        "flow files", "flow.oo.yaml, .yml", _LANGUAGE + "test_a_task_file_and_yml_and_a_flow_without_a_package_file"
    ),
    _works(
        "references",
        "self::, absolute, relative, pkg::, name",
        _LANGUAGE + "test_a_block_runs_by_each_form_of_reference",
    ),
    _works(
        "package versions",
        "the one depended on, else the highest installed",
        _LANGUAGE + "test_the_version_that_runs_is_the_one_depended_on_else_the_highest",
    ),
    _works(
        "U+2028 and U+2029",
        "left out",
        _LANGUAGE + "test_anchors_line_separators_and_what_editors_write_make_no_difference",
    ),
    _works(
        "unknown keys",
        "ignored",
        _LANGUAGE + "test_anchors_line_separators_and_what_editors_write_make_no_difference",
    ),
    _works(
        "YAML anchors",
        "within bounds",
        _LANGUAGE + "test_anchors_line_separators_and_what_editors_write_make_no_difference",
    ),
    _refused("duplicate keys, merge keys", "", _LOAD + "test_a_flow_that_cannot_be_run_says_where_and_why"),
    _refused("files above 4 MiB", "", _BAD + "test_a_file_of_50_mb_is_refused_at_once"),
    _refused("files that aren't UTF-8", "", _BAD + "test_a_block_s_files_that_are_not_utf_8_are_refused_with_the_node"),
    _works("one block as a flow", "its defaults and nullable apply", _CLI + "test_one_block_runs_by_its_path"),
    # Handles.
    _works("inputs_def, outputs_def, groups", "", _LANGUAGE + "test_handles_have_groups_defaults_and_may_be_null"),
    _works("boolean json_schema", "", _LANGUAGE + "test_handles_have_groups_defaults_and_may_be_null"),
    _works(
        "additional inputs and outputs",
        "where the block allows them",
        _LANGUAGE + "test_additional_handles_are_given_and_put_out",
    ),
    # Node kinds.
    _works("task by reference", "", _LANGUAGE + "test_a_block_runs_by_each_form_of_reference"),
    _works("inline task", "", _LANGUAGE + "test_an_inline_task_runs_a_scriptlet_by_its_function"),
    _works("subflow", "by reference, inline, recursive", _FLOWS + "test_a_subflow_maps_its_slot_over_a_list"),
    _works("slot with a task", "", _FLOWS + "test_a_subflow_maps_its_slot_over_a_list"),
    _works("slotflow", "further inputs are remembered", _FLOWS + "test_a_slotflow_runs_in_the_slot"),
    _works(
        "service block",
        "start_at",
        _LANGUAGE + "test_a_services_blocks_are_called_in_a_flow_and_it_starts_when_it_says",
    ),
    _works("stop_at", "of services", _LANGUAGE + "test_a_service_lives_for_its_session_or_its_executor"),
    _works(
        "keep_alive",
        "of services that stop at block_end",
        _LANGUAGE + "test_a_service_that_stops_after_its_block_waits_for_its_keep_alive",
    ),
    _works("condition", "every operator", _LANGUAGE + "test_every_operator_decides_in_a_flow"),
    _refused("operator on a wrong type", "", "flow/test_cases.py::test_an_operator_on_a_wrong_type_is_refused"),
    _works("value node", "", _LANGUAGE + "test_a_value_node_stands_above_a_handles_own_value"),
    _works("shell executor", "", "executor/test_shell.py::test_a_command_puts_out_what_it_wrote"),
    _refused(
        "nodejs, rust, connector",
        "unless an executor has announced the language",
        _NESTED + "test_a_language_is_refused_unless_an_executor_has_announced_it",
    ),
    _refused("inject, injection", "", _NESTED + "test_inject_is_refused_with_its_line"),
    # Common fields.
    _works(
        "concurrency",
        "negative: any number; 0: none, but the first of a node that nothing feeds",
        _LANGUAGE + "test_as_many_jobs_of_a_node_run_at_once_as_its_concurrency_says",
    ),
    _works("timeout", "every kind of node", _LANGUAGE + "test_a_task_that_takes_longer_than_its_timeout_fails_with_it"),
    _works("ignore", "", _LANGUAGE + "test_an_ignored_node_and_its_connections_are_left_out"),
    _works("progress_weight", "", _LANGUAGE + "test_what_a_node_weighs_shows_in_its_subflows_progress"),
    _works("forward_previews", "every level", _FLOWS + "test_e6_previews_are_forwarded_through_every_level"),
    _works(
        "spawn", "a process for each job", "test_spawn.py::test_each_job_has_a_process_of_its_own_that_leaves_with_it"
    ),
    _refused("spawn on a var edge", "", _LOAD + "test_var_values_come_to_a_process_of_a_blocks_own_and_none_of_it"),
    _works(
        "needs",
        "what an executor must offer: memory, gpu, labels; of a node above its block's",
        "test_needs.py::test_a_job_runs_where_what_it_needs_is_offered",
    ),
    # Connections.
    _works("several sources", "", _LANGUAGE + "test_several_sources_and_the_flows_input_merge_into_one_queue"),
    _works("the same source twice", "feeds twice", _TABLE),
    _works("a handle twice in inputs_from", "the first value, and all sources", _TABLE),
    _works("inputs that the block doesn't declare", "delivered where they are connected, and not waited for", _TABLE),
    _works(
        "leftovers of deleted nodes",
        "with --compat oocana, or 'compat: oocana' in the flow's file; else refused",
        _TABLE,
    ),
    _works("schema_overrides", "secrets", "engine/test_packages.py::test_b10_a_nodes_schema_overrides_make_a_secret"),
    _works(
        "serialize_for_cache",
        "DataFrames on var handles",
        _CLI + "test_a_var_value_comes_from_the_cache",
    ),
    _refused(
        "undeclared handles",
        "of outputs and of the flow; of inputs where a declared one is left without a value",
        _UNFED + "test_a_mistyped_handle_is_refused_when_a_declared_one_is_left_without_a_value",
    ),
    _works(
        "nodes that nothing feeds",
        "never run, with a warning",
        _UNFED + "test_a_node_that_nothing_feeds_is_warned_of_and_never_runs",
    ),
    _refused("two providers for a slot", "", _NESTED + "test_a_slot_that_cannot_be_provided_for_is_refused"),
    _refused("a slot without provider", "", _NESTED + "test_e5_a_flow_with_slots_cannot_run_by_itself"),
    _works("directed output", "", _LANGUAGE + "test_a_directed_output_reaches_the_connections_that_are_meant"),
    # Values.
    _works(
        "var values",
        "by reference, through conditions, subflows and slots",
        _FLOWS + "test_a_var_value_goes_by_reference_into_a_subflow_and_out_of_it",
    ),
    _works("binary values", "", _LANGUAGE + "test_var_binary_and_plain_values_arrive_as_what_they_were"),
    _works(
        "secrets",
        "in no journal and no line",
        _LANGUAGE + "test_a_secret_is_known_to_the_block_and_to_nothing_that_is_kept",
    ),
    # Scheduling, rule by rule.
    _works(
        "1 fulfilled",
        "",
        _LANGUAGE + "test_inputs_are_paired_in_order_static_ones_stay_and_leftovers_are_discarded",
    ),
    _works("2 start", "", _LANGUAGE + "test_every_node_that_can_starts_once_and_the_flows_inputs_follow"),
    _works("3 produce", "", _LANGUAGE + "test_several_sources_and_the_flows_input_merge_into_one_queue"),
    _works(
        "4 pairing",
        "first in, first out",
        _LANGUAGE + "test_inputs_are_paired_in_order_static_ones_stay_and_leftovers_are_discarded",
    ),
    _works(
        "5 job done",
        "",
        _LANGUAGE + "test_the_flow_is_over_when_no_job_runs_and_one_that_is_kept_alive_keeps_it_open",
    ),
    _works("6 order", "", _LANGUAGE + "test_outputs_of_a_job_go_on_in_their_order_and_its_result_after_them"),
    _works("7 cycles", "", _LANGUAGE + "test_a_node_that_feeds_itself_reduces_a_list"),
    _refused("a cycle without a start", "", _LOAD + "test_a_flow_that_cannot_be_run_says_where_and_why"),
    _works("8 subflows", "", _LANGUAGE + "test_each_run_of_a_subflow_has_queues_of_its_own_and_puts_out_as_it_goes"),
    _works("9 errors", "", _FLOWS + "test_a_failure_in_a_subflow_fails_the_session_and_names_every_level"),
    _works("10 timeout", "", _LANGUAGE + "test_a_task_that_takes_longer_than_its_timeout_fails_with_it"),
    _works("11 progress", "", _FLOWS + "test_rule_11_a_subflow_node_tells_its_progress"),
    _works("12 partial runs", "--nodes", _CLI + "test_only_some_nodes_and_what_they_need_run"),
    _works("12 cache", "--use-cache", _CLI + "test_with_the_cache_nothing_runs_again_that_has_not_changed"),
    _works(
        "recompute",
        "true: var values that were lost with their process are made again; in a block's manifest, or of its node",
        "server/test_recomputing.py::test_only_what_was_lost_is_made_again_and_delivered",
    ),
    _works("13 cancel", "", _LANGUAGE + "test_a_cancelled_session_says_so"),
    _works("14 inputs", "--inputs", _CLI + "test_inputs_come_as_json_or_from_a_file_and_single_ones_go_above"),
    _works("14 inputs of nodes", "--nodes-inputs", _CLI + "test_inputs_of_nodes_stand_for_what_feeds_them"),
    # What is done otherwise than upstream, by the bug's name.
    _works(
        "E1",
        "a failed asked-for job is removed",
        "server/test_requests.py::test_e1_a_block_that_fails_fails_its_caller_at_most",
    ),
    _works(
        "E2",
        "a node without result runs again",
        _LANGUAGE + "test_e2_a_condition_without_a_case_that_holds_runs_again",
    ),
    _works(
        "E3",
        "a wish to keep a value reaches the block that makes it",
        "engine/test_packages.py::test_e3_a_dataframe_is_kept_where_an_input_asks_for_it",
    ),
    _works(
        "E4",
        "an executor that leaves in the middle of a job, with whatever code, fails it",
        "test_executor_process.py::test_e4_a_process_that_leaves_with_0_fails_its_jobs_with_that_reason",
    ),
    _works("E5", "the depth limit fails the session", _FLOWS + "test_e5_a_subflow_may_call_itself_but_not_for_ever"),
    _works("E6", "previews are forwarded further", _FLOWS + "test_e6_previews_are_forwarded_through_every_level"),
    _works("E7", "every node has its timeout", _FLOWS + "test_e7_a_subflows_time_limit_cancels_what_runs_in_it"),
)
"""Every feature, in the order of the language's description."""
