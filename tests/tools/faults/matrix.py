"""The tests of each fault F01 to F57.

Rows of the bench inject it under load; rows.py finds them by their names. TESTS are additional
tests: they inject the fault at one exact point, or they replace a row where load adds nothing.
DEVIATIONS explain where a fault is injected differently from the matrix.
"""

from collections.abc import Mapping

FAULTS = tuple(f"F{number:02}" for number in range(1, 58))
MOUNTED = ("F14", "F15")  # only where the bench may mount a tmpfs
INTEGRATION = "tests/integration"
CACHE = f"{INTEGRATION}/cache"

TESTS: Mapping[str, tuple[str, ...]] = {
    "F05": (
        f"{INTEGRATION}/api/test_races.py::test_those_who_hang_up_find_their_command_carried_out_once",
    ),
    "F06": (
        f"{INTEGRATION}/api/test_order_machine.py::test_the_service_does_once_what_the_model_says",
    ),
    "F07": (
        f"{INTEGRATION}/web/test_edge.py::test_a_database_that_goes_away_is_a_503_and_comes_back",
    ),
    "F09": (f"{INTEGRATION}/web/test_edge.py::test_a_hung_database_leaves_the_process_healthy",),
    "F10": (
        f"{INTEGRATION}/log/test_event_log.py"
        "::test_a_lost_commit_reply_is_resolved_by_sending_the_same_batch_again",
    ),
    "F12": (
        f"{INTEGRATION}/relay/test_relay.py"
        "::test_a_lost_connection_to_postgresql_causes_at_most_duplicates",
    ),
    "F18": (
        f"{INTEGRATION}/log/test_event_log.py::test_a_blocked_append_blocks_its_partition_and_no_other",
        f"{INTEGRATION}/log/test_event_log.py"
        "::test_the_wait_for_a_writer_that_holds_the_partition_is_bounded",
    ),
    "F20": (
        f"{INTEGRATION}/relay/test_relay.py"
        "::test_a_relay_that_is_killed_before_its_checkpoint_moves_loses_no_event",
    ),
    "F21": (
        f"{INTEGRATION}/relay/test_relay.py::test_two_relays_together_lose_no_event_and_keep_the_order",
    ),
    "F22": (
        f"{INTEGRATION}/relay/test_relay.py"
        "::test_a_slow_relay_does_not_move_a_checkpoint_that_another_has_moved",
    ),
    "F24": (
        f"{CACHE}/test_cache_outages.py"
        "::test_a_dead_redis_is_bypassed_and_used_again_after_a_restart",
    ),
    "F25": (
        f"{CACHE}/test_cache_outages.py::test_a_hung_redis_costs_one_timeout_and_then_nothing",
        f"{INTEGRATION}/web/test_limits.py::test_a_hung_redis_holds_nobody_up",
    ),
    "F26": (f"{CACHE}/test_cache_histories.py::test_no_order_of_steps_makes_the_cache_go_back",),
    "F27": (
        f"{CACHE}/test_cache_refusals.py"
        "::test_a_full_redis_still_serves_hits_and_deletes_old_contents",
    ),
    "F28": (f"{CACHE}/test_cache_garbage.py::test_garbage_is_a_miss_and_is_overwritten",),
    "F29": (
        f"{CACHE}/test_cache_garbage.py::test_every_script_is_loaded_again_after_a_script_flush",
    ),
    "F30": (
        f"{CACHE}/test_cache_bad_lines.py"
        "::test_a_connection_cut_in_mid_reply_never_returns_the_value_of_another_key",
        f"{CACHE}/test_cache_cancellation.py"
        "::test_a_cancelled_look_up_never_causes_a_reply_for_another_key",
    ),
    "F31": (f"{CACHE}/test_cache_refusals.py::test_a_server_without_free_connections_is_bypassed",),
    "F33": (
        f"{INTEGRATION}/relay/test_relay.py::test_the_checkpoint_does_not_move_without_confirms",
        f"{INTEGRATION}/worker/test_task_sender.py::test_a_silent_rabbitmq_ends_a_send_in_time",
    ),
    "F34": (
        f"{INTEGRATION}/relay/test_relay.py::test_a_lost_connection_to_rabbitmq_causes_at_most_duplicates",
        "tests/faults/test_worker_dies.py::test_a_worker_comes_back_after_its_connection_was_cut",
    ),
    "F35": (
        f"{INTEGRATION}/worker/test_consumer.py"
        "::test_a_deleted_queue_of_hints_is_declared_and_consumed_again",
        f"{INTEGRATION}/worker/test_tasks.py::test_a_worker_consumes_again_after_its_queue_was_deleted",
    ),
    "F36": (
        f"{INTEGRATION}/worker/test_consumer.py::test_the_tick_finds_events_without_a_message",
    ),
    "F37": (
        f"{INTEGRATION}/relay/test_relay.py::test_deleted_topology_is_declared_again_and_no_event_is_lost",
    ),
    "F39": (
        f"{INTEGRATION}/relay/test_relay.py::test_the_checkpoint_does_not_move_without_confirms",
    ),
    "F44": (
        f"{INTEGRATION}/worker/test_tasks.py::test_the_task_of_a_killed_process_is_redelivered_to_another",
    ),
    "F45": (
        "tests/faults/test_worker_dies.py"
        "::test_the_tasks_of_a_killed_worker_wait_for_the_next_and_nothing_is_left_of_it",
    ),
    "F46": (
        f"{INTEGRATION}/loop/test_dead_letters.py"
        "::test_an_event_that_kills_its_worker_is_parked_after_three_tries",
    ),
    "F47": (
        f"{INTEGRATION}/worker/test_tasks.py::test_a_message_that_is_no_task_is_discarded_and_the_worker_continues",
        f"{INTEGRATION}/loop/test_dead_letters.py::test_an_unknown_event_parks_its_stream_and_no_other",
    ),
    "F48": (f"{INTEGRATION}/loop/test_advance.py::test_a_doubled_hint_has_one_effect",),
    "F49": (
        "tests/faults/test_clocks.py::test_orders_go_all_the_way_whatever_the_clocks_say",
        "tests/faults/test_clocks.py::test_a_token_is_good_within_the_leeway_of_two_clocks_only",
    ),
    "F50": (
        "tests/faults/test_pressure.py"
        "::test_a_crowd_that_takes_every_descriptor_is_answered_or_sent_away",
        "tests/faults/test_pressure.py::test_a_role_that_can_open_nothing_waits_until_it_can",
    ),
    "F52": (
        "tests/faults/test_start.py::test_everything_starts_at_once_on_an_empty_machine",
        f"{INTEGRATION}/infra/test_migrations.py::test_replicas_that_start_together_migrate_once",
    ),
    "F53": (
        "tests/faults/test_pressure.py"
        "::test_neither_flower_nor_a_flood_of_control_messages_holds_tasks_up",
        f"{INTEGRATION}/worker/test_flower.py::test_flower_is_read_only",
    ),
    "F54": (
        f"{INTEGRATION}/replay/test_replay.py"
        "::test_a_replay_under_traffic_is_exact_and_no_read_goes_back",
    ),
    "F55": (
        "tests/unit/accounts/test_passwords.py::test_a_hash_beyond_the_queue_is_refused_at_once",
    ),
    "F56": (
        f"{INTEGRATION}/web/test_connections.py::test_a_head_has_its_deadline",
        f"{INTEGRATION}/web/test_overload.py::test_a_slow_body_takes_no_place",
    ),
}

DEVIATIONS: Mapping[str, str] = {
    "F13": "Idle sessions take every connection: max_connections changes only at a restart.",
    "F14": "The tables are on a full tmpfs: the server's whole data cannot move while it runs.",
    "F19": "It checks the rows that every append rewrites. With autovacuum off, each update of any "
    "other row leaves a dead version.",
    "F25": "SIGSTOP and CLIENT PAUSE: the rights of the service's Redis refuse DEBUG SLEEP.",
    "F33": "It lasts as long as the bench holds; heartbeats need 34 s or more to notice it.",
    "F42": "The limit is lowered to a second: otherwise a task would have to take half an hour.",
    "F47": "Hints have no dead-letter queue: the consumer discards other messages, or reads them "
    "as hints. Events that cannot be applied are dead letters: see the tests.",
    "F55": "The test shows that hashing is bounded, in threads and in waiting requests; `bench` "
    "measures how much slower orders are meanwhile.",
}
