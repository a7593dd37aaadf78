"""What of the flow language there is, as data: each row works and names the test that runs it, or is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FEATURES", "GROUPS", "Feature"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature."""

    name: str
    state: str
    """``works``, or ``refused`` (before the start, with a message that says why)."""
    note: str
    test: str
    """The test that holds it: file and function under ``tests/``. What works, it runs from end to end."""
    yaml: str = ""
    """How it is written."""


def _works(name: str, note: str, test: str, yaml: str = "") -> Feature:
    return Feature(name, "works", note, test, yaml)


def _refused(name: str, note: str, test: str, yaml: str = "") -> Feature:
    return Feature(name, "refused", note, test, yaml)


_LOAD = "flow/test_load.py::"
_NESTED = "flow/test_load_nested.py::"
_LANGUAGE = "flow/test_language.py::"
_FLOWS = "flow/test_flows.py::"
_MISSING = "flow/test_missinginputs.py::"
_BAD = "flow/test_bad_files.py::"
_CLI = "cli/test_flows.py::"
_TABLE = "oocana_flows/test_table.py::test_each_flow_has_its_jobs_inputs_and_outputs"

GROUPS: Final = (
    (
        "Files, and how they are found",
        (
            _works(
                "flow files",
                "flow.oo.yaml, .yml",
                _LANGUAGE + "test_a_task_file_and_yml_and_a_flow_without_a_package_file",
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
            _refused(
                "duplicate keys, merge keys",
                "a file that has them says two things",
                _LOAD + "test_a_flow_that_cannot_be_run_says_where_and_why",
            ),
            _refused("files above 4 MiB", "no flow is so long", _BAD + "test_a_file_of_50_mb_is_refused_at_once"),
            _refused(
                "files that aren't UTF-8",
                "nobody can know what they say",
                _BAD + "test_a_block_s_files_that_are_not_utf_8_are_refused_with_the_node",
            ),
            _works("one block as a flow", "its defaults and nullable apply", _CLI + "test_one_block_runs_by_its_path"),
        ),
    ),
    (
        "Handles",
        (
            _works(
                "inputs_def, outputs_def, groups",
                "a group only has a name, for editors",
                _LANGUAGE + "test_handles_have_groups_defaults_and_may_be_null",
                "inputs_def: [{handle: a, json_schema: {type: integer}, value: 1, nullable: true}, {group: more}]",
            ),
            _works(
                "boolean json_schema",
                "true is any value, false is none",
                _LANGUAGE + "test_handles_have_groups_defaults_and_may_be_null",
            ),
            _works(
                "additional inputs and outputs",
                "where the block allows them",
                _LANGUAGE + "test_additional_handles_are_given_and_put_out",
                "additional_inputs: true",
            ),
        ),
    ),
    (
        "Kinds of nodes",
        (
            _works(
                "task by reference", "", _LANGUAGE + "test_a_block_runs_by_each_form_of_reference", "task: self::load"
            ),
            _works(
                "inline task",
                "its file is found from the flow's directory",
                _LANGUAGE + "test_an_inline_task_runs_a_scriptlet_by_its_function",
                "task: {executor: {name: python, options: {entry: scriptlets/a.py}}, outputs_def: [{handle: a}]}",
            ),
            _works(
                "subflow",
                "by reference, inline, recursive",
                _FLOWS + "test_a_subflow_maps_its_slot_over_a_list",
                "subflow: self::region",
            ),
            _works(
                "slot with a task",
                "the subflow has a slot, the node that runs the subflow says what is in it",
                _FLOWS + "test_a_subflow_maps_its_slot_over_a_list",
                "slots: [{slot_node_id: each, task: self::total}]",
            ),
            _works(
                "slotflow",
                "further inputs are remembered",
                _FLOWS + "test_a_slotflow_runs_in_the_slot",
                "slots: [{slot_node_id: each, slotflow: self::steps}]",
            ),
            _works(
                "service block",
                "start_at",
                _LANGUAGE + "test_a_services_blocks_are_called_in_a_flow_and_it_starts_when_it_says",
                "service: self::store::put",
            ),
            _works(
                "stop_at",
                "of services",
                _LANGUAGE + "test_a_service_lives_for_its_session_or_its_executor",
                "executor: {stop_at: session_end}",
            ),
            _works(
                "keep_alive",
                "of services that stop at block_end",
                _LANGUAGE + "test_a_service_that_stops_after_its_block_waits_for_its_keep_alive",
                "executor: {stop_at: block_end, keep_alive: 60}",
            ),
            _works(
                "condition",
                "every operator; the first case that holds passes the first input on",
                _LANGUAGE + "test_every_operator_decides_in_a_flow",
                'conditions: {cases: [{handle: big, expressions: [{input_handle: a, operator: ">=", value: 10}]}]}',
            ),
            _refused(
                "operator on a wrong type",
                "a comparison of a text with a number, say",
                "flow/test_cases.py::test_an_operator_on_a_wrong_type_is_refused",
            ),
            _works(
                "value node",
                "constants for others; it never runs",
                _LANGUAGE + "test_a_value_node_stands_above_a_handles_own_value",
                "values: [{handle: a, value: 1}]",
            ),
            _works(
                "shell executor",
                "inputs command, cwd, envs; outputs stdout, stderr",
                "executor/test_shell.py::test_a_command_puts_out_what_it_wrote",
                "task: {executor: {name: shell}}",
            ),
            _refused(
                "nodejs, rust, connector",
                "unless an executor has announced the language",
                _NESTED + "test_a_language_is_refused_unless_an_executor_has_announced_it",
            ),
            _refused(
                "inject, injection",
                "code goes into no package from a flow",
                _NESTED + "test_inject_is_refused_with_its_line",
            ),
        ),
    ),
    (
        "Fields of every node",
        (
            _works(
                "concurrency",
                "negative: any number; 0: none, but the first of a node that nothing feeds",
                _LANGUAGE + "test_as_many_jobs_of_a_node_run_at_once_as_its_concurrency_says",
                "concurrency: 4",
            ),
            _works(
                "timeout",
                "every kind of node",
                _LANGUAGE + "test_a_task_that_takes_longer_than_its_timeout_fails_with_it",
                "timeout: 60",
            ),
            _works(
                "ignore",
                "the node and its connections are left out",
                _LANGUAGE + "test_an_ignored_node_and_its_connections_are_left_out",
                "ignore: true",
            ),
            _works(
                "progress_weight",
                "how much a node counts in its flow's progress",
                _LANGUAGE + "test_what_a_node_weighs_shows_in_its_subflows_progress",
                "progress_weight: 3",
            ),
            _works(
                "forward_previews",
                "every level",
                _FLOWS + "test_e6_previews_are_forwarded_through_every_level",
                "forward_previews: [chart]",
            ),
            _works(
                "spawn",
                "a process for each job",
                "executor/test_spawner.py::test_each_job_has_a_process_of_its_own_that_leaves_with_it",
                "executor: {name: python, options: {entry: main.py, spawn: true}}",
            ),
            _refused(
                "spawn on a var edge",
                "such values come to a process of a block's own, and it puts out none",
                _LOAD + "test_var_values_come_to_a_process_of_a_blocks_own_and_none_of_it",
            ),
            _works(
                "needs",
                "what an executor must offer: memory, gpu, labels; of a node above its block's",
                "test_resources.py::test_a_job_runs_where_what_it_needs_is_offered",
                "needs: {memory: 4GiB, gpu: 1, labels: [fast-disk]}",
            ),
        ),
    ),
    (
        "Connections",
        (
            _works(
                "several sources",
                "they merge into one queue",
                _LANGUAGE + "test_several_sources_and_the_flows_input_merge_into_one_queue",
                "from_node: [{node_id: a, output_handle: x}, {node_id: b, output_handle: y}]",
            ),
            _works("the same source twice", "feeds twice", _TABLE),
            _works("a handle twice in inputs_from", "the first value, and all sources", _TABLE),
            _works(
                "inputs that the block doesn't declare",
                "delivered where they are connected, and not waited for",
                _TABLE,
            ),
            _works(
                "leftovers of deleted nodes",
                "with --compat oocana, or 'compat: oocana' in the flow's file; else refused",
                _TABLE,
                "compat: oocana",
            ),
            _works(
                "schema_overrides",
                "secrets",
                "engine/test_packages.py::test_b10_a_nodes_schema_overrides_make_a_secret",
                "schema_overrides: [{path: [key], schema: {contentMediaType: oomol/secret}}]",
            ),
            _works(
                "serialize_for_cache",
                "DataFrames on var handles",
                _CLI + "test_a_var_value_comes_from_the_cache",
                "serialize_for_cache: true",
            ),
            _refused(
                "undeclared handles",
                "of outputs and of the flow; of inputs where a declared one is left without a value",
                _MISSING + "test_a_mistyped_handle_is_refused_when_a_declared_one_is_left_without_a_value",
            ),
            _works(
                "nodes that nothing feeds",
                "never run, with a warning",
                _MISSING + "test_a_node_that_nothing_feeds_is_warned_of_and_never_runs",
            ),
            _refused(
                "two providers for a slot",
                "which one runs?",
                _NESTED + "test_a_slot_that_cannot_be_provided_for_is_refused",
            ),
            _refused(
                "a slot without provider",
                "nobody says what runs",
                _NESTED + "test_e5_a_flow_with_slots_cannot_run_by_itself",
            ),
            _works(
                "directed output",
                "ctx.output(..., to_node=..., to_flow=...)",
                _LANGUAGE + "test_a_directed_output_reaches_the_connections_that_are_meant",
            ),
        ),
    ),
    (
        "Values",
        (
            _works(
                "var values",
                "by reference, through conditions, subflows and slots",
                _FLOWS + "test_a_var_value_goes_by_reference_into_a_subflow_and_out_of_it",
                "json_schema: {contentMediaType: oomol/var}",
            ),
            _works(
                "binary values",
                "contentMediaType oomol/bin",
                _LANGUAGE + "test_var_binary_and_plain_values_arrive_as_what_they_were",
                "json_schema: {contentMediaType: oomol/bin}",
            ),
            _works(
                "secrets",
                "in no journal and no line",
                _LANGUAGE + "test_a_secret_is_known_to_the_block_and_to_nothing_that_is_kept",
                "json_schema: {contentMediaType: oomol/secret}",
            ),
        ),
    ),
    (
        "When a node runs",
        (
            _works(
                "1 fulfilled",
                "a node can run when every input has a value that waits, or a constant",
                _LANGUAGE + "test_inputs_are_paired_in_order_static_ones_stay_and_leftovers_are_discarded",
            ),
            _works(
                "2 start",
                "every node that can run starts once; then the flow's inputs come",
                _LANGUAGE + "test_every_node_that_can_starts_once_and_the_flows_inputs_follow",
            ),
            _works(
                "3 produce",
                "a value goes to every connection of its handle",
                _LANGUAGE + "test_several_sources_and_the_flows_input_merge_into_one_queue",
            ),
            _works(
                "4 pairing",
                "first in, first out: a job takes one value of each input; what is left over is discarded",
                _LANGUAGE + "test_inputs_are_paired_in_order_static_ones_stay_and_leftovers_are_discarded",
            ),
            _works(
                "5 job done",
                "the flow is over when no job runs",
                _LANGUAGE + "test_the_flow_is_over_when_no_job_runs_and_one_that_is_kept_alive_keeps_it_open",
            ),
            _works(
                "6 order",
                "outputs of a job go on in their order, its result after them",
                _LANGUAGE + "test_outputs_of_a_job_go_on_in_their_order_and_its_result_after_them",
            ),
            _works("7 cycles", "a node may feed itself", _LANGUAGE + "test_a_node_that_feeds_itself_reduces_a_list"),
            _refused(
                "a cycle without a start",
                "none of its nodes could ever run",
                _LOAD + "test_a_flow_that_cannot_be_run_says_where_and_why",
            ),
            _works(
                "8 subflows",
                "each run of one has queues of its own, and puts out as it goes",
                _LANGUAGE + "test_each_run_of_a_subflow_has_queues_of_its_own_and_puts_out_as_it_goes",
            ),
            _works(
                "9 errors",
                "the first error of a node ends the flow, and cancels what runs beside it",
                _FLOWS + "test_a_failure_in_a_subflow_fails_the_session_and_names_every_level",
            ),
            _works(
                "10 timeout",
                "seconds from when the job is created; it fails with that",
                _LANGUAGE + "test_a_task_that_takes_longer_than_its_timeout_fails_with_it",
            ),
            _works(
                "11 progress",
                "of a subflow: its nodes' progress by their weights",
                _FLOWS + "test_rule_11_a_subflow_node_tells_its_progress",
            ),
            _works(
                "12 partial runs",
                "--nodes A,B: these, and what they need",
                _CLI + "test_only_some_nodes_and_what_they_need_run",
            ),
            _works(
                "12 cache",
                "--use-cache: what has not changed isn't run again",
                _CLI + "test_with_the_cache_nothing_runs_again_that_has_not_changed",
                "cache: {ttl: 12h}",
            ),
            _works(
                "recompute",
                "var values that were lost with their process are made again; in a block's manifest, or of its node",
                "server/sessionstate/test_recomputing.py::test_only_what_was_lost_is_made_again_and_delivered",
                "recompute: true",
            ),
            _works(
                "13 cancel",
                "blocks may clean up, and the session says so",
                _LANGUAGE + "test_a_cancelled_session_says_so",
            ),
            _works(
                "14 inputs",
                "--input NAME=VALUE, --inputs FILE",
                _CLI + "test_inputs_come_as_json_or_from_a_file_and_single_ones_go_above",
            ),
            _works(
                "14 inputs of nodes",
                "--nodes-inputs: in the place of what feeds them",
                _CLI + "test_inputs_of_nodes_stand_for_what_feeds_them",
            ),
        ),
    ),
    (
        "Otherwise than oocana",
        (
            _works(
                "E1",
                "a failed asked-for job is removed",
                "server/sessionstate/test_requests.py::test_e1_a_block_that_fails_fails_its_caller_at_most",
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
                "executor/test_executor.py::test_e4_a_process_that_leaves_with_0_fails_its_jobs_with_that_reason",
            ),
            _works(
                "E5", "the depth limit fails the session", _FLOWS + "test_e5_a_subflow_may_call_itself_but_not_for_ever"
            ),
            _works(
                "E6", "previews are forwarded further", _FLOWS + "test_e6_previews_are_forwarded_through_every_level"
            ),
            _works(
                "E7", "every node has its timeout", _FLOWS + "test_e7_a_subflows_time_limit_cancels_what_runs_in_it"
            ),
        ),
    ),
)
"""Every feature by what it belongs to, in the order of the language's description."""

FEATURES: Final = tuple(each for _, rows in GROUPS for each in rows)
