"""Every bound of the system: batches, queues, waits and retries, each with its unit last.

Bounds that the design fixes are here; those that an operator chooses are in `settings.py`.
"""

# --- the log --------------------------------------------------------------------------------------
LOG_PARTITIONS_MAX = 64
APPEND_BATCH_COMMANDS_MAX = 256
APPEND_BATCH_BYTES_MAX = 1_200_000  # one event of EVENT_BYTES_MAX fits
APPEND_QUEUE_MAX = 4_096  # commands that wait in one process; one more is answered 503
APPEND_STATEMENT_TIMEOUT_MS = 2_000  # less than DRIVER_TIMEOUT_S, so that the outcome is known
DRIVER_TIMEOUT_S = 4.0
# A command waits for its stream lock, its order and its append: for 14 s at most in all.
STREAM_LOCK_WAIT_S = 3.0  # for the stream lock, behind other commands on the order
LOAD_WAIT_S = 3.0  # for an order to be read, with the wait for other reads
APPEND_WAIT_S = 8.0  # in the queue and in the database; then the command is answered 503
DECIDE_ATTEMPTS_MAX = 4  # one, and three repeats after lost races
# An order of the most lines with the longest SKUs, names and names of taxes, the most metadata and
# the most tags: a character takes up to four bytes in UTF-8, the rest of a line up to 1,000. All
# further texts share what is left.
LINES_MAX = 200
TEXT_LENGTH_MAX = 255
METADATA_MAX = 50  # entries of an order
METADATA_KEY_LENGTH_MAX = 64
METADATA_VALUE_LENGTH_MAX = 500
TAGS_MAX = 20
TAG_LENGTH_MAX = 64
EVENT_BYTES_MAX = LINES_MAX * (3 * TEXT_LENGTH_MAX * 4 + 1_000) + 200_000
ORDER_EVENTS_MAX = 2_000  # since a command or projection may have to fold all of them
ORDER_EVENTS_OWNER_MAX = 1_000  # less, so that staff can still complete such an order
STREAM_BATCH_MAX = 32  # streams that one statement reads, for concurrent commands
ORDER_BATCH_MAX = 64  # rows of a read model that one statement reads, for queries
ORDERS_WAITING_MAX = 4_096  # queries that wait for such a statement; one more is answered 503
FOLDED_ORDERS_MAX = 1_000  # in the memory of one web process
FOLDED_LINES_MAX = 50_000  # of those orders; a line takes up to 4 KB, mostly far less

# --- PostgreSQL -----------------------------------------------------------------------------------
POOL_SIZE = 10
POOL_WAIT_S = 1.5
CONNECT_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 2_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
INCARNATION_WATCH_S = 1.0  # between checks of whether the database was replaced

# --- relay and messages ---------------------------------------------------------------------------
RELAY_WINDOW = 256  # unconfirmed messages in flight
RELAY_CONFIRM_TIMEOUT_S = 10.0
RELAY_POLL_BUSY_S = 0.005
RELAY_POLL_IDLE_S = 0.020
RELAY_LEASE_S = 2.0  # for which another relay waits after one was killed
RELAY_BUSY_S = 1.0  # after the last event, with polls every RELAY_POLL_BUSY_S
RABBITMQ_HEARTBEAT_S = 10
RABBITMQ_CONNECT_TIMEOUT_S = 5.0
RABBITMQ_CLOSE_TIMEOUT_S = 2.0
RECONNECT_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # the last one repeats
HINT_INTERVAL_S = 0.03  # between reads that hints cause, so that batches grow
TASK_QUEUE_LENGTH_MAX = 10_000
TASK_EXPIRES_S = 60
TASK_SEND_TIMEOUT_S = 5.0
TICK_S = 1.0
STOP_GRACE_S = 2.0  # for the window or batch in hand when a process stops
TASK_TIMEOUT_S = 20.0  # a last resort: every statement and call in a task has its own time-out
WORKER_MEMORY_KB_MAX = 400_000  # a worker process that uses more is replaced after its task
FLOWER_TASKS_MAX = 2_000

# --- projections ----------------------------------------------------------------------------------
ADVANCE_BATCH_EVENTS = 500
ADVANCE_PARTITIONS = 4  # in one transaction; the next one takes the others
ADVANCE_TIME_S = 0.25
ADVANCE_BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 30.0)  # for a partition that failed; the last one repeats
PARKINGS_PER_MINUTE_MAX = 100
SUSPECT_TRIES_MAX = 3
REBUILD_RANGE_EVENTS = 20_000
REBUILD_INDEXES_AT_ONCE = 2
REPLAY_STATEMENT_TIMEOUT_MS = 3_600_000  # building an index, comparing two generations
SWAP_ATTEMPTS_MAX = 10
SWAP_DELTA_EVENTS_MAX = 1_000  # that a swap may apply while it locks the live checkpoints
COMPARE_PARTITIONS_AT_ONCE = 2
COMPARE_LAG_EVENTS_MAX = 20_000  # by which the live generation may be behind its replacement
DIFFERENCES_SHOWN = 10
VERIFY_RANGE_ROWS = 5_000
VERIFY_CACHE_BATCH = 200
PROGRESS_INTERVAL_S = 0.5
CENSUS_BLOCKS = 4_096  # of the log in a statement: 32 MiB
CENSUS_KINDS_SHOWN = 3  # in a refusal
PROGRESS_LINE_S = 5.0  # if standard error is no terminal
DDL_LOCK_TIMEOUT_MS = 100
DDL_RETRIES_MAX = 50
AUTOVACUUM_STOP_TIMEOUT_MS = 2_000  # longer than PostgreSQL's deadlock_timeout
STATUS_WATCH_S = 2.0
STATUS_WATCH_MIN_S = 0.1

# --- operators' requests, history, health ---------------------------------------------------------
OPERATOR_CLAIM_TIMEOUT_S = 3  # a request that no worker takes within this time expires
OPERATOR_WAIT_S = 10.0  # for the request's result
OPERATOR_POLL_S = 0.1
REPLAY_MESSAGE_LENGTH_MAX = 500
HISTORY_STEP_S = 10
HISTORY_MINUTES_MAX = 60
HISTORY_TTL_S = 3_700  # of a step: somewhat more than HISTORY_MINUTES_MAX
HEALTH_CHECK_TIMEOUT_S = 2.0
HEALTH_REMEMBERED_S = 1.0
LAG_MAX_S = 10.0  # more than any batch takes
CLOCK_DIFFERENCE_MAX_S = 1.0  # a fifth of TOKEN_LEEWAY_S
HEARTBEAT_INTERVAL_S = 5.0
HEARTBEAT_TTL_S = 15
HEARTBEAT_FORGOTTEN_S = 600  # more than the clocks of two machines may differ
HEARTBEAT_SHOWN_MAX = 500  # processes
REPLAY_START_S = 60  # for a process that was started for a replay to report
DEAD_LETTERS_LISTED_MAX = 1_000
RATE_SAMPLES = 2  # samples of checkpoints, HISTORY_STEP_S apart, that a rate is computed from

# --- Redis ----------------------------------------------------------------------------------------
REDIS_TIMEOUT_S = 0.1
REDIS_LATE_S = 0.01  # a deadline that fires later than this (the process is busy) starts again,
REDIS_LATE_MAX = 10  # at most so many times
REDIS_SOCKET_TIMEOUT_S = 2.0  # of redis-py itself, for calls outside of the version gate
REDIS_POOL_SIZE = 32
REDIS_BATCH_MAX = 64  # keys in one round trip
REDIS_WAITING_MAX = 4_096  # requests that wait for one; one more does without the cache
REDIS_QUEUE_S = 1.0  # for a connection, while Redis answers
REDIS_BREAKER_S = 1.0  # without calls after Redis failed
CACHE_LEASE_MS = 2_000
LIST_CACHE_TTL_S = 10
STALE_KEYS_MAX = 10_000  # whose refresh failed and is retried
STALE_RETRY_S = 0.2
STALE_RETRY_BATCH = 500
CACHE_CLOSE_TIMEOUT_S = 1.0  # for a last retry of the stale keys when a process ends
CACHE_SCAN_PAGE = 500

# --- HTTP -----------------------------------------------------------------------------------------
CONNECTIONS_MAX = 4_096  # to one web process; one more is answered 503
CONNECTIONS_SHARE_MAX = 0.5  # of those, from one address that is no trusted proxy's
PROXY_HOPS_MAX = 32  # addresses that are read of Forwarded or X-Forwarded-For
ACCEPT_BATCH_MAX = 64  # in one iteration of the event loop
DESCRIPTORS_KEPT = 128  # of the process's limit, which clients cannot use
CONNECTION_WATCH_S = 1.0  # between checks of a connection's deadlines
HEAD_BYTES_MAX = 16 * 1024  # request line and headers; as many again for trailer fields
HEADERS_MAX = 100
PIPELINED_MAX = 64  # requests that wait for the previous one of their connection
HEAD_RECEIVE_TIMEOUT_S = 10.0
ANSWER_TAKE_TIMEOUT_S = 30.0  # then a client that reads nothing of its answer is disconnected
REQUESTS_IN_WORK_MAX = 256  # of one group, with complete bodies; one more is answered 503
SHED_PAUSE_S = 0.5  # without reading its connection after such a 503: less than Retry-After
BODIES_BYTES_MAX = (
    64 * 1024 * 1024
)  # of all requests in sum; a request that exceeds it is answered 503
BODY_BYTES_MAX = 256 * 1024
# An order of EVENT_BYTES_MAX, sent with \u escapes: twelve bytes for a character of four.
ORDER_BODY_BYTES_MAX = 3 * EVENT_BYTES_MAX
# Sizes and extensions of a body's chunks. A chunk's size takes five bytes or more: 1.3 MB for
# BODY_BYTES_MAX in chunks of one byte, 1.6 MB for the largest bulk request in chunks of 32.
BODY_OVERHEAD_BYTES_MAX = 2 * 1024 * 1024
BODY_RECEIVE_TIMEOUT_S = 15.0  # trailer fields included
BODY_DISCARD_BYTES_MAX = 8 * 1024 * 1024  # of a body that is too large, read before the answer
BODY_DISCARD_TIMEOUT_S = 2.0
BODY_MEMBERS_MAX = 200  # of one object of a body
BULK_ORDERS_MAX = 200
BULK_BODY_BYTES_MAX = 8 * 1024 * 1024
COMPRESSED_BYTES_MIN = 1_024  # of a response; a shorter one is sent as it is
COMPRESSED_INLINE_BYTES_MAX = 128 * 1024  # larger bodies are compressed in a thread
ACCEPT_ENCODING_LENGTH_MAX = 256  # of the header; a longer one is ignored
ACCEPTED_CODINGS_REMEMBERED_MAX = 256  # values of the header
EVENTS_SINCE_MAX = 50  # listed for a client with a stale version: the newest ones
TOKEN_LENGTH_MAX = 2_048
CONSISTENCY_TOKENS_MAX = LOG_PARTITIONS_MAX  # in one request: one for each partition
LIST_LIMIT_DEFAULT = 50
LIST_LIMIT_MAX = 200
ORDERS_SHOWN_MAX = 10_000  # by one command at a terminal
TIMELINE_LIMIT_DEFAULT = 200
TIMELINE_LIMIT_MAX = 500
LIST_TOTAL_MAX = 10_000  # a list's total is counted up to this
CONTACT_ORDERS_MAX = 500  # that a search finds by a contact: the newest ones
LIST_SEARCH_LENGTH_MAX = 255  # characters of a search text
LIST_SEARCH_DIGITS_MIN = 4  # of a number's beginning: fewer match too many orders
EXPORT_PAGE_ORDERS = 100  # in memory at a time
EXPORT_SEND_TIMEOUT_S = 60.0  # then a client that reads nothing of a page is disconnected
READ_WAIT_S = 2  # for the writes in a consistency token; `Prefer: wait` changes it
READ_WAIT_MAX_S = 10
READ_WAIT_POLL_S = 0.05
WAITED_READS_MAX = 5  # connections of the pool for all reads that have waited
REPORT_DAYS_MAX = 366
SALES_PART_ORDERS_MAX = 2_000  # of the rest of an hour, folded for a report that ends within it
SALES_PART_BATCH = 100  # of them between two turns of the event loop
SALES_POINTS_MAX = 800  # hours or days: a month, or two years
BOARD_CARDS_MAX = 10_000
BOARD_CHANGED_H = 24  # every order that changed in this time is on the board, done or not
# Cards that one iteration of the event loop formats; changed cards in one message.
BOARD_BATCH_CARDS = 500
SHUTDOWN_GRACE_S = 10
GC_THRESHOLDS = (10_000, 20, 20)
VALIDATION_ERRORS_MAX = 20  # listed in one problem document
READINESS_CHECK_TIMEOUT_S = 0.5
READINESS_LAG_S = 30.0  # the largest age of an event that relay or read models have not reached
READINESS_REMEMBERED_S = 1.0  # a result, so that probes cannot become a load

# --- streams --------------------------------------------------------------------------------------
STREAMS_MAX = 500  # open at once in one web process; one more is answered 503
STREAMS_PER_USER_MAX = 10  # of those; one more is answered 429
STREAM_PAGE_EVENTS = 100
STREAM_READS_MAX = 2  # connections of the pool that all streams use at a time
STREAM_WATCH_S = 0.1
BOARD_WATCH_S = 0.25  # changes in this time are one message of the board's stream
STREAM_WATCH_EVENTS_MAX = 5_000  # with more new events at once, all streams are woken unfiltered
STREAM_RETRY_S = 1.0  # after the database failed
STREAM_RECONNECT_MS = 3_000
STREAM_HEARTBEAT_S = 15.0
STREAM_LIFETIME_S = 900.0
STREAM_SEND_TIMEOUT_S = 10.0  # then a client that reads nothing is disconnected
STREAM_END_TIMEOUT_S = 1.0
STREAM_TICKET_S = 30

# --- telemetry ------------------------------------------------------------------------------------
METRICS_PORTS_MAX = 160  # that a process tries: more than processes on one machine
METRICS_CONNECTIONS_MAX = 8  # at once; one more is closed
METRICS_HEAD_BYTES_MAX = 8 * 1024
METRICS_TIMEOUT_S = 2.0
LOGGED_REASON_LENGTH_MAX = 300  # of a server's message in a log line
TRACES_FLUSH_S = 2.0  # for the last traces when a process ends

# --- expiry of unpaid orders ----------------------------------------------------------------------
EXPIRY_INTERVAL_S = 10.0
EXPIRY_BATCH = 100
EXPIRY_CONCURRENCY = 16

# --- rate limits ----------------------------------------------------------------------------------
RATE_KEYS_MAX = 50_000  # counters in the memory of one web process; the oldest is dropped
RATE_KEYS_REMEMBERED_MAX = 4_096  # names of counters that are cached for one limit
RATE_SHARE_INTERVAL_S = 0.1
RATE_SHARE_KEYS_MAX = 500  # counters sent to Redis in one interval
STRICT_RATE_DIVISOR = (
    10  # RATE_LIMIT is divided by this for register, token, refresh and lookup, per address
)
DESK_FILES_MAX = 64  # of one load of the page; an address may load it RATE_LIMIT times
FAILED_LOGINS_PER_MINUTE = 5
FAILED_LOGINS_REMEMBERED_MINUTES = 15  # count for the delay
FAILED_LOGIN_DELAY_MAX_S = 60
FAILED_LOGINS_KNOWN_S = 30 * 86_400  # an address from which the account's owner has logged in

# --- accounts -------------------------------------------------------------------------------------
PASSWORD_LENGTH_MIN = 8
PASSWORD_BYTES_MAX = 1_024
EMAIL_LENGTH_MAX = 254  # RFC 5321: a path of 256 octets less its brackets
ARGON2_MEMORY_KIB = 19_456  # with two passes: the OWASP minimum, about 40 ms
ARGON2_PASSES = 2
HASH_THREADS = 2
HASH_QUEUE_MAX = 64
REFRESH_REUSE_GRACE_S = 10
TOKEN_LEEWAY_S = 5  # between the clocks of two web processes
TOKENS_REMEMBERED_MAX = 4_096  # verified access tokens in the memory of one web process
LOOK_UP_ANSWER_S = 0.25  # every answer to a guest takes as long, so that no miss shows by its time
LOOK_UP_TOKEN_S = 1_800
API_KEYS_MAX = 1_000  # that are not revoked
API_KEYS_REMEMBERED_MAX = 1_000  # verified keys in the memory of one web process
API_KEY_REFRESH_S = 0.5  # between reads of the keys in use
API_KEY_TRUSTED_S = 1.8  # after the last such read: revocation holds within 2 s everywhere
API_KEY_IDLE_S = 60.0  # without use, then a key is forgotten
API_KEY_OVERLAP_MAX_S = 7 * 86_400  # in which a rotated key's previous secret still holds
API_KEY_OVERLAP_DEFAULT_S = 86_400
API_KEY_NAME_LENGTH_MAX = 100

# --- doctor ---------------------------------------------------------------------------------------
DOCTOR_TIMEOUT_S = 10.0  # for one server's answers
DOCTOR_FULL = 0.8  # of the connections that PostgreSQL allows
DOCTOR_DISK_SHARE = 0.1
DOCTOR_DISK_BYTES = 1024**3

# --- demo -----------------------------------------------------------------------------------------
# The environment variable by which entrypoint.sh passes the address of its stack's web role to
# clients; the service itself does not read it.
WEB_URL = "ORDER_SERVICE_URL"
DEMO_TIMEOUT_S = 20.0  # longer than a command may take, so that the outcome arrives
DEMO_WAIT_MAX_S = 60.0  # for one Retry-After, however long it is
DEMO_PATIENCE_S = 120.0  # sum of the pauses before the repeats of one request
DEMO_SHARE_OF_LIMIT = 0.8  # of the rate limit; the rest is for other clients at this address
DEMO_LIVING_MAX = 1_000  # orders with steps left; no more are placed until some are done
DEMO_TOGETHER = 50  # orders in one request: few enough for a busy machine
DEMO_NEW_SHARE = 0.2  # of the commands place an order, while more are wanted
DEMO_ORDERS_MAX = 1_000_000
DEMO_CUSTOMERS_MAX = 1_000
