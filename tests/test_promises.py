"""Nothing acknowledged is ever lost: each promise, item by item, and the tests that hold it. A name must exist."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent

PROMISES: dict[str, dict[str, list[str]]] = {
    "1 resume": {
        "a fault of the line is invisible to blocks; once, in order, no lease ends, bodies too": [
            "link/test_connections.py::test_numbered_outputs_arrive_once_and_in_order_and_no_lease_ends",
            "link/test_connections.py::test_a_handshake_that_hangs_for_ever_is_given_up_and_tried_again",
            "link/test_connections.py::test_a_mainframe_that_accepts_and_says_nothing_is_left_and_tried_again",
            "wire/test_sending.py::test_whatever_happens_each_record_arrives_once_and_in_order",
            "wire/test_outbox.py::test_after_a_loss_with_something_under_way_new_messages_begin_small_and_double",
            "server/reception/test_gateway.py::test_a_body_resumes_at_the_offset_that_is_stored",
        ],
        "a newer connection fences an older one": [
            "server/reception/test_gateway.py::test_a_connection_with_an_older_generation_is_turned_away",
            "server/reception/test_gateway.py::"
            "test_a_batch_that_waits_for_its_body_while_a_newer_connection_sends_it_again_is_applied_once",
        ],
        "two kinds of wrong": [
            "fuzz/test_decoder.py::test_any_message_is_good_or_gets_the_documented_error",
            "security/test_hostile_peers.py::test_refusals_and_their_row_stay_small_whatever_was_refused",
        ],
        "a promise that can't be kept is said by both sides": [
            "server/test_greeting.py::test_a_restored_copy_is_said_to_block_client_log_and_journal",
            "server/test_greeting.py::test_an_empty_data_directory_is_said_and_the_link_lives_on",
            "server/test_greeting.py::test_a_mainframe_that_forgot_a_link_ends_its_jobs_with_a_typed_error",
            "server/journal/test_epochfile.py::test_when_the_epoch_changes",
        ],
        "who is asked to come back later does so": [
            "server/test_greeting.py::test_a_link_stays_away_for_as_long_as_it_was_asked_to_and_says_so_once",
        ],
        "a submit whose reply was lost doesn't start twice": [
            "server/test_greeting.py::test_a_start_whose_reply_was_cut_off_does_not_start_twice",
            "server/reception/test_gateway.py::test_a_start_whose_reply_was_lost_does_not_start_twice_across_a_restart",
        ],
    },
    "2 the mainframe dies": {
        "everything goes on, once": [
            "runtime/test_crashpoints.py::test_a_mainframe_that_dies_at_a_named_point_loses_and_repeats_nothing",
            "server/sessionstate/test_recovery.py::test_a_killed_mainframe_comes_back_and_everything_goes_on",
            "server/journal/test_kill.py::test_what_was_reported_is_there_once_after_each_kill",
            "server/test_nested_recovery.py::test_a_mainframe_that_is_killed_twice_in_nested_flows_goes_on_and_runs_no_job_twice",
        ],
    },
    "3 the executor dies": {
        "the policy decides, and each input comes from one attempt": [
            "runtime/test_crashpoints.py::test_an_executor_that_dies_at_a_named_point_leaves_its_job_to_the_policy",
            "server/sessionstate/test_recovery.py::test_with_retries_a_second_attempt_runs_and_each_value_goes_downstream_once",
            "server/jobstate/test_jobs.py::test_each_downstream_input_comes_from_the_attempt_that_finished",
            "server/jobstate/test_jobs.py::test_errors_that_are_not_retried_end_the_job_at_once",
            "server/jobstate/test_jobs.py::test_a_block_in_code_has_the_policy_of_its_decorator",
        ],
        "late records change nothing and can be inspected": [
            "server/dispatching/test_dispatch.py::test_late_records_of_an_old_attempt_change_nothing_and_are_shown_by_watch",
        ],
        "absence is never success": [
            "executor/test_executor.py::test_e4_a_process_that_leaves_with_0_fails_its_jobs_with_that_reason",
        ],
        "a job goes only where the hash is the same": [
            "server/dispatching/test_dispatch.py::test_a_job_waits_for_its_package_s_hash_and_fails_naming_both",
            "server/dispatching/test_dispatch.py::test_a_job_that_waits_for_its_package_goes_to_who_comes_with_it",
        ],
    },
    "4 liveness": {
        "a blocked loop is told while it lasts, and warned about": [
            "executor/diagnosis/test_lifeline.py::test_a_block_that_blocks_its_loop_is_told_while_it_lasts_and_keeps_its_lease",
        ],
        "a held lock is told by the parent, and work is life": [
            "executor/diagnosis/test_lifeline.py::test_code_in_c_that_holds_the_lock_is_told_with_file_and_line_while_it_lasts",
            "executor/diagnosis/test_lifeline.py::test_a_process_that_works_with_the_lock_held_keeps_its_lease",
            "cli/test_executor.py::test_a_child_that_holds_its_interpreter_s_lock_is_spoken_for_while_it_lasts",
            "executor/test_spawner.py::test_a_process_whose_interpreter_s_lock_is_held_is_spoken_for_and_keeps_its_lease",
        ],
        "a frozen process is fenced": [
            "executor/diagnosis/test_lifeline.py::test_a_frozen_process_loses_its_lease_and_is_fenced_when_it_wakes",
        ],
    },
    "5 cancellation": {
        "a job is cancelled, whatever its block does, and no other is harmed": [
            "executor/attempts/test_blockcall.py::test_a_sync_block_gets_an_exception_in_its_thread_and_its_job_is_cancelled",
            "executor/attempts/test_blockcall.py::test_an_async_block_that_does_not_end_is_left_behind_and_said",
            "executor/attempts/test_blockcall.py::test_a_thread_that_cannot_be_stopped_retires_its_process_and_harms_no_other_job",
            "executor/attempts/test_blockcall.py::test_one_job_can_be_cancelled_and_fails_its_flow_with_that_reason",
            "executor/test_spawner.py::test_a_process_that_ignores_its_cancel_is_ended",
        ],
        "time limits": [
            "executor/attempts/test_blockcall.py::test_a_timeout_ends_the_job_with_that_word",
            "server/jobstate/test_jobs.py::test_the_clock_of_a_timeout_runs_on_while_the_mainframe_is_away",
        ],
        "it never waits behind data": [
            "server/test_overload.py::test_batches_wait_above_the_high_water_mark_and_a_cancel_passes",
            "server/test_overload.py::test_a_cancel_is_committed_before_batches_that_came_before_it",
        ],
    },
    "6 drain": {
        "signals, grace, flush, report, force": [
            "cli/test_executor.py::test_a_drain_lets_running_jobs_finish_flushes_and_reports",
            "cli/test_executor.py::test_jobs_that_outlast_the_grace_are_cancelled_may_clean_up_and_are_reported",
            "cli/test_executor.py::test_no_new_jobs_come_while_it_drains",
            "cli/test_executor.py::test_a_second_signal_ends_it_and_its_child_at_once",
            "executor/test_leaving.py::"
            "test_an_executor_whose_mainframe_is_away_leaves_and_counts_what_was_not_acknowledged",
        ],
        "as process 1": ["cli/test_executor.py::test_it_drains_as_the_first_process_of_a_container"],
        "never when embedded": ["inprocess/test_embedding.py::test_an_embedded_executor_never_touches_signals"],
    },
    "7 overload": {
        "memory is bounded, awaits wait, everything arrives": [
            "server/test_overload.py::"
            "test_blocks_wait_while_the_mainframe_is_away_and_everything_arrives_when_it_is_back",
            "server/test_overload.py::test_a_fast_node_before_a_slow_one_grows_the_journal_and_not_the_memory",
            "flow/test_references.py::test_a_fast_node_before_a_slow_one_costs_a_run_no_memory",
            "link/test_sender.py::test_a_job_that_ends_early_gives_its_share_of_the_link_s_window_back",
        ],
        "a full disk": [
            "server/test_overload.py::test_a_full_disk_stops_intake_loudly_and_everything_goes_on_when_there_is_room",
            "server/test_overload.py::"
            "test_a_mainframe_killed_while_its_disk_is_full_has_lost_nothing_that_it_acknowledged",
        ],
        "a slow subscriber": ["server/test_overload.py::test_a_slow_subscriber_slows_nobody_and_loses_nothing"],
        "limits are typed errors": [
            "server/test_overload.py::test_a_session_over_its_disk_limit_fails_and_others_go_on",
            "server/test_limits.py::test_sessions_and_links_have_limits_that_say_so",
            "server/test_limits.py::test_a_request_over_the_limit_raises_at_the_call",
        ],
    },
    "8 security": {
        "roles, rotation, the own token": [
            "security/test_hostile_peers.py::test_a_token_does_what_its_roles_allow_and_no_more",
            "server/peers/test_access.py::"
            "test_tokens_change_without_a_restart_and_end_the_connections_that_were_made_with_them",
            "server/peers/test_access.py::test_the_own_token_is_random_and_readable_for_its_owner_only",
            "server/peers/test_access.py::test_every_token_is_compared_in_constant_time",
            "server/peers/test_access.py::test_no_token_stands_in_logs_errors_metrics_or_tracebacks",
        ],
        "the line": [
            "cli/test_doctor.py::test_tls_with_an_authority_of_ones_own",
            "server/peers/test_access.py::test_web_pages_connect_from_allowed_origins_only",
            "server/peers/test_access.py::test_an_address_beyond_this_machine_needs_tls_or_the_word_of_the_operator",
            "server/peers/test_access.py::test_a_connection_that_sends_a_byte_at_a_time_is_let_go",
        ],
        "entries stay in their package": [
            "security/test_hostile_peers.py::test_a_plan_whose_entry_leads_out_of_its_package_is_refused",
            "security/test_hostile_mainframe.py::test_an_entry_that_leads_out_of_the_served_package_does_not_run",
        ],
    },
    "9 the test kit": {
        "virtual time, faults, suites, a block under test": [
            "testing/test_clock.py::test_hours_take_no_time_and_keep_their_order",
            "testing/test_proxy.py::test_a_half_open_connection_has_ended_for_one_side_only",
            "testing/test_conformance.py::test_our_transports_pass",
            "testing/test_conformance.py::test_the_whole_journal_suite_passes_in_one_call",
            "testing/test_blockruns.py::test_outputs_previews_logs_and_progress_are_in_the_result",
        ],
    },
    "10 the proof": {
        "simulation, chaos, power loss, fuzzing": [
            "simulation/test_simulation.py::test_a_storm_in_virtual_time_keeps_every_promise",
            "testing/chaos/test_audit.py::test_a_short_storm_leaves_every_promise_kept",
            "server/journal/test_power_loss.py::test_power_loss",
            "fuzz/test_decoder.py::test_the_gateway_survives_any_messages_and_serves_the_next_link",
        ],
    },
    "11 housekeeping": {
        "sessions, prune, resume, doctor, healthz": [
            "cli/test_serve.py::test_prune_deletes_what_has_ended_and_keeps_the_newest",
            "cli/test_serve.py::test_healthz_answers_without_a_token_and_metrics_with_one",
            "cli/test_resume.py::test_finished_jobs_do_not_run_again_and_the_running_one_is_tried_again",
            "cli/test_doctor.py::test_all_is_well",
        ],
    },
}


@cache
def functions_of(path: str) -> frozenset[str]:
    """Return the names of the tests that a file defines."""
    tree = ast.parse((HERE / path).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@pytest.mark.parametrize("item", PROMISES)
def test_each_promise_is_held_by_tests_that_exist(item: str) -> None:
    named = [name for tests in PROMISES[item].values() for name in tests]
    assert named
    missing = [name for name in named if name.partition("::")[2] not in functions_of(name.partition("::")[0])]
    assert missing == []
