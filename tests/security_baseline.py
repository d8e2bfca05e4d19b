"""The security baseline: every area of it, and the tests that hold it.

`tests/unit/test_security_baseline.py` sees to it that each of these tests exists. What is kept in
another way than one might expect is said beside it.
"""

_I, _U = "tests/integration/", "tests/unit/"
_ACCOUNTS, _EDGE = f"{_I}api/test_accounts.py", f"{_I}web/test_edge.py"
_WHO, _ROLES = f"{_I}api/test_who_may_what.py", f"{_I}infra/test_database_roles.py"
_SERVERS, _CONTAINERS = f"{_I}stack/test_stack_servers.py", f"{_U}test_containers.py"
_TOKENS, _SETTINGS, _RACES = (
    f"{_U}accounts/test_tokens.py",
    f"{_U}test_settings.py",
    f"{_I}api/test_races.py",
)
_HOSTILE, _LOGS = f"{_I}api/test_hostile_orders.py", "tests/end_to_end/test_logs.py"
_KEYS = f"{_I}api/test_api_keys"
_FLOWER, _COMMANDS = f"{_I}worker/test_flower.py", f"{_I}api/test_order_commands.py"

BASELINE: dict[str, tuple[str, ...]] = {
    "object access": (
        f"{_WHO}::test_everybody_is_answered_as_the_table_says",
        f"{_I}queries/test_read_order.py::test_what_is_not_yours_and_what_does_not_exist_look_alike",
        f"{_COMMANDS}::test_another_users_order_is_answered_like_a_missing_one",
        f"{_I}api/test_unreadable_orders.py"
        "::test_where_nothing_says_whose_it_is_nobody_but_staff_is_told_more",
    ),
    "list by user": (
        f"{_I}queries/test_list_of_user.py::test_lists_belong_to_their_user_and_to_staff",
        f"{_I}queries/test_list_of_user.py::test_a_cursor_is_of_use_for_its_own_list_only",
    ),
    "property access": (
        f"{_HOSTILE}::test_hostile_bodies_are_refused",
        f"{_HOSTILE}::test_names_of_our_own_are_attributes_like_any_other",
        f"{_COMMANDS}::test_the_refusal_of_a_wrong_total_contains_the_right_one",
    ),
    # The role is the token's: somebody who loses it keeps it until the token expires.
    "functions": (
        f"{_WHO}::test_every_route_is_in_the_table_or_public",
        f"{_WHO}::test_everybody_is_answered_as_the_table_says",
        f"{_ACCOUNTS}::test_the_web_role_changes_nobodys_role",
        f"{_I}infra/test_exposition.py::test_metrics_are_served_on_loopback_only_by_default",
        f"{_CONTAINERS}::test_only_the_api_is_published_beyond_loopback",
    ),
    "step order": (
        f"{_COMMANDS}::test_the_refusal_of_a_transition_lists_the_allowed_ones",
        f"{_RACES}::test_an_order_is_shipped_or_canceled_and_never_both",
    ),
    "resource use": (
        f"{_EDGE}::test_a_body_that_turns_out_too_large_is_413",
        f"{_I}web/test_connections.py::test_a_body_has_its_deadline",
        f"{_I}web/test_held_memory.py::test_what_does_not_end_is_not_held",
        f"{_I}web/test_trailers.py::test_a_trailer_has_the_limits_of_a_head",
        f"{_I}web/test_overload.py::test_bodies_that_arrive_have_a_bound_together",
        f"{_I}web/test_limits.py::test_an_address_is_limited_before_it_is_known_who_calls",
        f"{_I}web/test_limits.py::test_account_endpoints_allow_a_tenth",
        f"{_U}accounts/test_passwords.py::test_a_hash_beyond_the_queue_is_refused_at_once",
    ),
    "brute force": (
        f"{_ACCOUNTS}::test_many_guesses_at_once_are_no_more_than_five",
        f"{_U}web/test_limits.py::test_the_delay_doubles_with_every_failure_up_to_a_minute",
        f"{_U}web/test_limits.py::test_no_account_is_locked_for_longer_than_a_minute",
        f"{_I}web/test_limits.py::test_without_redis_each_process_counts_alone",
    ),
    # Registration tells that an address is taken, and is limited to a tenth.
    "enumeration": (f"{_ACCOUNTS}::test_unknown_user_and_wrong_password_cannot_be_told_apart",),
    "passwords": (
        f"{_U}accounts/test_passwords.py::test_a_password_that_is_too_short_common_or_long_is_refused",
        f"{_U}accounts/test_passwords.py::test_a_password_needs_no_certain_kinds_of_characters",
        f"{_U}accounts/test_passwords.py::test_a_password_is_verified_exactly_as_given",
        f"{_ACCOUNTS}::test_a_login_renews_a_hash_of_older_parameters",
    ),
    # One key and so no `kid`: a new SECRET_KEY ends all access tokens, which a refresh replaces.
    "JWT creation": (
        f"{_TOKENS}::test_an_issued_token_contains_user_and_role",
        f"{_SETTINGS}::test_a_wrong_setting_is_refused_by_name",
    ),
    "JWT checking": (
        f"{_TOKENS}::test_every_claim_is_required",
        f"{_TOKENS}::test_another_kind_of_token_is_invalid",
        f"{_TOKENS}::test_a_token_signed_with_another_key_is_invalid",
        f"{_TOKENS}::test_a_malformed_token_is_invalid_and_raises_no_other_error",
        f"{_ACCOUNTS}::test_a_refresh_token_is_no_access_token",
    ),
    # There is no change of password. A lost reply is not repeated: log in again.
    "refresh": (
        f"{_RACES}::test_a_refresh_token_is_used_by_one",
        f"{_ACCOUNTS}::test_a_later_reuse_revokes_the_family",
        f"{_ACCOUNTS}::test_rotation_never_prolongs_a_login",
        f"{_ACCOUNTS}::test_a_revoked_login_is_over",
        f"{_ACCOUNTS}::test_neither_password_nor_refresh_token_is_stored",
        f"{_I}stack/test_backups.py::test_a_dump_is_restored_into_an_empty_server_and_orders_go_on",
    ),
    "API keys": (
        f"{_WHO}::test_a_key_does_what_its_scopes_say_and_nothing_else",
        f"{_KEYS}.py::test_a_key_is_shown_once_and_stored_as_a_digest",
        f"{_KEYS}.py::test_a_key_is_narrowed_and_never_widened",
        f"{_KEYS}.py::test_a_wrong_key_does_not_tell_whether_it_is_one_and_is_limited",
        f"{_KEYS}.py::test_a_key_for_one_user_sees_and_does_as_that_user",
        f"{_KEYS}_everywhere.py::test_a_revoked_key_is_refused_in_every_process_within_two_seconds",
        f"{_KEYS}_everywhere.py"
        "::test_a_narrowed_key_loses_the_scope_in_every_process_within_two_seconds",
        f"{_KEYS}_everywhere.py::test_without_the_database_a_key_is_refused_as_unknown_yet",
        f"{_KEYS}_everywhere.py::test_a_stream_ends_with_its_key",
        f"{_U}telemetry/test_logs.py::test_no_line_shows_the_secret_of_an_api_key",
    ),
    "idempotency": (
        f"{_I}api/test_order_repeats.py::test_the_same_key_of_two_users_makes_two_orders",
        f"{_I}api/test_order_repeats.py::test_a_malformed_key_is_refused",
        f"{_I}api/test_order_repeats.py::test_visibility_is_checked_before_if_match_and_if_match_before_the_rules",
    ),
    "secrets": (
        f"{_SETTINGS}::test_secrets_have_no_default",
        f"{_SETTINGS}::test_no_secret_is_in_the_text_of_the_settings",
        f"{_CONTAINERS}::test_the_compose_file_contains_no_secret",
        f"{_SERVERS}::test_passwords_are_in_no_argument_list",
        f"{_FLOWER}::test_the_password_is_not_in_the_command_line",
    ),
    "service accounts": (
        f"{_ROLES}::test_a_role_has_these_rights_and_no_others",
        f"{_ROLES}::test_only_the_web_role_may_append_and_it_updates_only_passwords_and_logins",
        f"{_ROLES}::test_a_login_of_one_role_cannot_switch_to_another",
        "tests/end_to_end/test_one_order.py"
        "::test_each_process_enters_the_database_by_a_login_of_its_own",
        f"{_I}log/test_event_log.py::test_recorded_events_cannot_be_changed",
        f"{_SERVERS}::test_rabbitmq_knows_no_guest_and_gives_our_user_only_what_is_ours",
        f"{_SERVERS}::test_redis_asks_for_the_password_and_keeps_nothing",
        f"{_SERVERS}::test_all_of_them_listen_on_loopback_only",
        f"{_CONTAINERS}::test_redis_and_rabbitmq_grant_the_same_rights_as_in_a_private_stack",
    ),
    "CORS": (
        f"{_EDGE}::test_errors_carry_cors_headers",
        f"{_EDGE}::test_another_origin_gets_no_cors_headers",
        f"{_EDGE}::test_a_preflight_allows_what_the_contract_names",
        f"{_SETTINGS}::test_a_wrong_setting_is_refused_by_name",
    ),
    "headers": (
        f"{_EDGE}::test_security_headers_are_on_every_answer",
        f"{_I}web/test_fast_path.py::test_the_fast_path_answers_like_fastapi_s_routes",
        f"{_I}web/test_desk.py::test_every_file_is_served_with_a_strict_policy",
        f"{_I}web/test_desk.py::test_the_policy_allows_nothing_inline_and_nobody_else",
    ),
    # Hosts are not compared with a list: no answer is made of the Host header. Headers of proxies
    # are not read at all.
    "framing": (
        f"{_EDGE}::test_ambiguous_framing_is_refused",
        f"{_EDGE}::test_405_names_all_methods_of_the_path",
        f"{_I}web/test_connections.py::test_an_upgrade_is_ignored_and_the_next_request_is_answered",
    ),
    "client addresses": (
        f"{_I}web/test_proxies.py::test_the_fields_of_others_count_for_nothing",
        f"{_I}web/test_proxies.py::test_the_service_behind_a_proxy_s_program",
        f"{_U}web/test_client_address.py::test_fields_that_disagree_count_for_nothing",
    ),
    "compression": (
        f"{_I}web/test_compression.py::test_what_is_short_or_secret_or_a_stream_is_not_compressed",
    ),
    "input": (
        f"{_HOSTILE}::test_hostile_bodies_are_refused",
        f"{_HOSTILE}::test_hostile_headers_are_refused",
        f"{_U}web/test_body.py::test_control_characters_in_a_text_are_refused",
    ),
    "errors": (
        f"{_EDGE}::test_a_mistake_of_ours_is_a_500_without_internals",
        f"{_U}web/test_body.py::test_the_refusal_of_a_malformed_body_does_not_quote_it",
        "tests/contract/test_problems.py::test_each_problem_type_is_answered_as_documented",
    ),
    "dependencies down": (
        f"{_EDGE}::test_a_database_that_goes_away_is_a_503_and_comes_back",
        f"{_I}queries/test_read_order.py::test_without_redis_orders_are_read_all_the_same",
        f"{_I}streams/test_streams.py::test_without_redis_there_are_no_tickets",
    ),
    "logs": (
        f"{_LOGS}::test_logins_refusals_and_limits_are_logged_and_nothing_secret_is",
        f"{_LOGS}::test_every_line_of_every_role_is_one_json_object",
        f"{_U}telemetry/test_logs.py::test_control_characters_in_a_log_message_are_escaped",
    ),
    "deserialisation": (
        f"{_U}test_security_baseline.py::test_celery_takes_json_only",
        f"{_I}worker/test_tasks.py::test_a_message_that_is_no_task_is_discarded_and_the_worker_continues",
    ),
    "supply chain": (
        f"{_CONTAINERS}::test_the_image_installs_the_first_section_of_the_lock_by_hash",
        f"{_U}test_audit.py::test_a_vulnerability_that_is_not_allowed_is_reported",
    ),
    "docs and debug": (
        f"{_EDGE}::test_the_documentation_can_be_switched_off",
        f"{_EDGE}::test_the_documentation_loads_nothing_from_elsewhere",
        f"{_WHO}::test_every_route_is_in_the_table_or_public",
    ),
    "Flower": (
        f"{_FLOWER}::test_every_page_requires_the_password",
        f"{_FLOWER}::test_flower_is_read_only",
        f"{_FLOWER}::test_flower_does_not_start_with_an_unsafe_login",
        f"{_CONTAINERS}::test_only_the_api_is_published_beyond_loopback",
    ),
    # A replay builds beside what is live and proves it before the swap, so it asks nothing.
    "replay": (
        f"{_ROLES}::test_only_the_web_role_may_append_and_it_updates_only_passwords_and_logins",
        f"{_I}replay/test_replay.py::test_check_swaps_nothing_and_its_exit_code_shows_differences",
        f"{_ROLES}::test_web_inserts_operator_requests_and_the_projector_completes_them",
        f"{_I}monitoring/test_operators.py::test_operators_resolve_dead_letters_and_rebuild_read_models",
    ),
    "race safety": (
        f"{_RACES}::test_what_all_ask_for_happens_once",
        f"{_RACES}::test_a_refresh_token_is_used_by_one",
        f"{_RACES}::test_an_address_is_registered_by_one",
    ),
}
