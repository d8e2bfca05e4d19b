"""Every bound of the system: batches, queues, waits and retries, each with its unit last.

What an operator chooses is a setting (`settings.py`); what the design fixes is here.
"""

# --- the log --------------------------------------------------------------------------------------
LOG_PARTITIONS_MAX = 64
APPEND_BATCH_COMMANDS_MAX = 256
APPEND_BATCH_BYTES_MAX = 1_000_000
APPEND_QUEUE_MAX = 4_096  # commands waiting in one process; one more is answered 503
APPEND_STATEMENT_TIMEOUT_MS = 2_000  # shorter than the driver's, so that the outcome is known
DRIVER_TIMEOUT_S = 4.0
# A command waits for its stream lock, its order and its append, each within a bound: 14 s in all.
STREAM_LOCK_WAIT_S = 3.0  # behind other commands on its order
LOAD_WAIT_S = 3.0  # until an order is read, behind other reads if need be
APPEND_WAIT_S = 8.0  # from the queue to the answer; after it a command is answered 503
DECIDE_ATTEMPTS_MAX = 4  # the first, and three more after a lost race
EVENT_BYTES_MAX = 64 * 1024
ORDER_EVENTS_MAX = 2_000  # every command and projection may have to fold them all
ORDER_EVENTS_OWNER_MAX = 1_000  # what an owner has filled staff can still bring to its end
STREAMS_TOGETHER_MAX = 32  # read in one statement, for commands on as many orders
ORDERS_TOGETHER_MAX = 64  # rows of the read model, for queries
ORDERS_WAITING_MAX = 4_096  # queries waiting for such a statement; one more is answered 503
FOLDED_ORDERS_MAX = 1_000  # kept in the memory of one web process; the largest takes 210 KB

# --- PostgreSQL -----------------------------------------------------------------------------------
POOL_SIZE = 10
POOL_WAIT_S = 1.5
CONNECT_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 2_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
INCARNATION_WATCH_S = 1.0  # until a web process knows that the database was replaced

# --- relay and messages ---------------------------------------------------------------------------
RELAY_WINDOW = 256  # messages in flight, unconfirmed
RELAY_CONFIRM_TIMEOUT_S = 10.0
RELAY_POLL_BUSY_S = 0.005
RELAY_POLL_IDLE_S = 0.020
RELAY_LEASE_S = 2.0  # so long another relay waits after one was killed
RELAY_BUSY_S = 1.0  # so long after the last event it polls at the busy pace
RABBITMQ_HEARTBEAT_S = 10
RABBITMQ_CONNECT_TIMEOUT_S = 5.0
RABBITMQ_CLOSE_TIMEOUT_S = 2.0
RECONNECT_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # the last one repeats
HINT_INTERVAL_S = 0.03  # between two looks that hints cause: the batch grows meanwhile
TASK_QUEUE_LENGTH_MAX = 10_000
TASK_EXPIRES_S = 60
TASK_SEND_TIMEOUT_S = 5.0
TICK_S = 1.0
STOP_GRACE_S = 2.0  # for the window or batch in hand, once a process was told to stop
TASK_TIMEOUT_S = 20.0  # the last resort: every statement and call inside has its own
WORKER_MEMORY_KB_MAX = 400_000  # a worker process above it is replaced after its task
FLOWER_TASKS_MAX = 2_000

# --- projections ----------------------------------------------------------------------------------
ADVANCE_BATCH_EVENTS = 500
ADVANCE_PARTITIONS = 4  # that share a transaction; the others have their turn in the next one
ADVANCE_TIME_S = 0.25
ADVANCE_BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 30.0)  # of a partition that fails; the last one repeats
PARKINGS_PER_MINUTE_MAX = 100
SUSPECT_TRIES_MAX = 3
REBUILD_RANGE_EVENTS = 20_000
REBUILD_INDEXES_AT_ONCE = 2
REPLAY_STATEMENT_TIMEOUT_MS = 3_600_000  # building an index, comparing two generations
SWAP_ATTEMPTS_MAX = 10
SWAP_DELTA_EVENTS_MAX = 1_000  # what a swap may apply while it holds the live checkpoints
COMPARE_PARTITIONS_AT_ONCE = 2
COMPARE_LAG_EVENTS_MAX = 20_000  # by which a live generation may lie behind what replaces it
DIFFERENCES_SHOWN = 10
VERIFY_RANGE_ROWS = 5_000
VERIFY_CACHE_BATCH = 200
PROGRESS_INTERVAL_S = 0.5
PROGRESS_LINE_S = 5.0  # where standard error is no terminal
DDL_LOCK_TIMEOUT_MS = 100
DDL_RETRIES_MAX = 50
AUTOVACUUM_STOP_TIMEOUT_MS = 2_000  # longer than PostgreSQL's deadlock_timeout
STATUS_WATCH_S = 2.0
STATUS_WATCH_MIN_S = 0.1

# --- what operators ask for -----------------------------------------------------------------------
OPERATOR_PATIENCE_S = 3  # within which a worker takes what somebody waits for, or nobody does
OPERATOR_WAIT_S = 10.0  # for what became of it
OPERATOR_POLL_S = 0.1
REPLAY_MESSAGE_LENGTH_MAX = 500
HISTORY_STEP_S = 10
HISTORY_MINUTES_MAX = 60
HISTORY_TTL_S = 3_700  # of a step: somewhat more than it can be asked for
HEALTH_LOOK_TIMEOUT_S = 2.0
HEALTH_REMEMBERED_S = 1.0
LAG_MAX_S = 10.0  # more than any batch takes
CLOCK_DIFFERENCE_MAX_S = 1.0  # a fifth of TOKEN_LEEWAY_S
HEARTBEAT_INTERVAL_S = 5.0
HEARTBEAT_TTL_S = 15
HEARTBEAT_FORGOTTEN_S = 600  # more than clocks of two machines may differ
HEARTBEAT_SHOWN_MAX = 500  # processes
REPLAY_START_S = 60  # of a process that was started for a replay, until it says so
DEAD_LETTERS_LISTED_MAX = 1_000
RATE_LOOKS = 2  # at checkpoints, HISTORY_STEP_S apart, over which a rate is taken

# --- Redis ----------------------------------------------------------------------------------------
REDIS_TIMEOUT_S = 0.1
REDIS_LATE_S = 0.01  # later than this, a deadline says that the process is busy: it begins again,
REDIS_LATE_MAX = 10  # so many times
REDIS_SOCKET_TIMEOUT_S = 2.0  # of redis-py itself, for what goes round the gate
REDIS_POOL_SIZE = 32
REDIS_TOGETHER_MAX = 64  # keys in one round trip
REDIS_WAITING_MAX = 4_096  # requests waiting for one; one more goes on without the cache
REDIS_QUEUE_S = 1.0  # how long a look-up waits for a connection while Redis answers
REDIS_BREAKER_S = 1.0  # how long Redis is left alone after it failed
CACHE_LEASE_MS = 2_000
LIST_CACHE_TTL_S = 10
STALE_KEYS_MAX = 10_000  # keys whose refresh failed and is retried
STALE_RETRY_S = 0.2
STALE_RETRY_BATCH = 500
CACHE_CLOSE_TIMEOUT_S = 1.0  # for a last retry of the stale keys when a process ends
CACHE_SCAN_PAGE = 500

# --- HTTP -----------------------------------------------------------------------------------------
CONNECTIONS_MAX = 4_096  # of clients to one web process; one more is answered 503
ACCEPTED_TOGETHER_MAX = 64  # in one turn of the event loop
DESCRIPTORS_KEPT = 128  # of those that the process may open: never for clients
CONNECTION_WATCH_S = 1.0  # how often a connection's deadlines are looked at
HEAD_BYTES_MAX = 16 * 1024  # address and headers; trailer fields behind a body as many again
HEADERS_MAX = 100
PIPELINED_MAX = 64  # requests that wait behind the one at work on their connection
HEAD_RECEIVE_TIMEOUT_S = 10.0
ANSWER_TAKE_TIMEOUT_S = 30.0  # a client that takes nothing of its answer for so long is cut off
REQUESTS_IN_WORK_MAX = 256  # of one group, bodies complete; one more is answered 503
SHED_PAUSE_S = 0.5  # so long a connection is not listened to after that: less than Retry-After
BODIES_BYTES_MAX = 64 * 1024 * 1024  # of all requests together; what brings more is answered 503
BODY_BYTES_MAX = 256 * 1024
# Sizes and extensions of its chunks. A chunk's size takes five bytes or more: 1.3 MB for the
# largest body in chunks of one byte, 1.6 MB for the largest bulk request in chunks of 32.
BODY_OVERHEAD_BYTES_MAX = 2 * 1024 * 1024
BODY_RECEIVE_TIMEOUT_S = 15.0  # with the trailer fields behind it
BODY_DISCARD_BYTES_MAX = 8 * 1024 * 1024  # read of a body that is too large, before the answer
BODY_DISCARD_TIMEOUT_S = 2.0
BULK_ORDERS_MAX = 200
BULK_BODY_BYTES_MAX = 8 * 1024 * 1024
EVENTS_SINCE_MAX = 50  # told to a client whose version is stale; the newest are kept
TOKEN_LENGTH_MAX = 2_048
CONSISTENCY_TOKENS_MAX = LOG_PARTITIONS_MAX  # in one request: one a partition says it all
LIST_LIMIT_DEFAULT = 50
LIST_LIMIT_MAX = 200
ORDERS_SHOWN_MAX = 10_000  # by one command at a terminal
TIMELINE_LIMIT_DEFAULT = 200
TIMELINE_LIMIT_MAX = 500
LIST_TOTAL_MAX = 10_000  # counted no further
LIST_SEARCH_LENGTH_MAX = 255  # of the longest text that can be searched for
LIST_SEARCH_DIGITS_MIN = 4  # of the beginning of a number; fewer begin too many
EXPORT_PAGE_ORDERS = 100  # in memory at a time
EXPORT_SEND_TIMEOUT_S = 60.0  # a client that takes nothing of a page for so long is cut off
READ_WAIT_S = 2  # for the writes that a reader has seen, unless it prefers otherwise
READ_WAIT_MAX_S = 10
READ_WAIT_POLL_S = 0.05
WAITED_READS_MAX = 5  # connections of the pool that those who have waited take together
REPORT_DAYS_MAX = 366
SALES_POINTS_MAX = 800  # hours or days: a month, or two years
BOARD_CARDS_MAX = 10_000
BOARD_CHANGED_H = 24  # so long every order that changed is on the board, done or not
BOARD_CARDS_TOGETHER = (
    500  # put into words in one turn of the event loop; changed ones in a message
)
SHUTDOWN_GRACE_S = 10
GC_THRESHOLDS = (10_000, 20, 20)
VALIDATION_ERRORS_MAX = 20  # listed in one problem document
READINESS_CHECK_TIMEOUT_S = 0.5
READINESS_LAG_S = 30.0  # so old may be what relay or read models have not reached
READINESS_REMEMBERED_S = 1.0  # so that probes cannot become a load

# --- streams --------------------------------------------------------------------------------------
STREAMS_MAX = 500  # open at once in one web process; one more is answered 503
STREAMS_PER_USER_MAX = 10  # of them; one more is answered 429
STREAM_PAGE_EVENTS = 100
STREAM_READS_MAX = 2  # connections of the pool that all streams together take at a time
STREAM_WATCH_S = 0.1
BOARD_WATCH_S = 0.25  # what changes in this time is one message of the board's stream
STREAM_WATCH_EVENTS_MAX = 5_000  # more at once are not looked at: everybody is woken
STREAM_RETRY_S = 1.0  # after the database failed
STREAM_RECONNECT_MS = 3_000
STREAM_HEARTBEAT_S = 15.0
STREAM_LIFETIME_S = 900.0
STREAM_SEND_TIMEOUT_S = 10.0  # a client that takes nothing for so long is cut off
STREAM_END_TIMEOUT_S = 1.0
STREAM_TICKET_S = 30

# --- telemetry ------------------------------------------------------------------------------------
METRICS_PORTS_MAX = 160  # tried by a process: as many as there may be on one machine, and some
METRICS_CONNECTIONS_MAX = 8  # at once; one more is closed
METRICS_HEAD_BYTES_MAX = 8 * 1024
METRICS_TIMEOUT_S = 2.0
LOGGED_REASON_LENGTH_MAX = 300  # of what a server says of its refusal
TRACES_FLUSH_S = 2.0  # for the last of them when a process ends

# --- expiry of unpaid orders ----------------------------------------------------------------------
EXPIRY_INTERVAL_S = 10.0
EXPIRY_BATCH = 100
EXPIRY_CONCURRENCY = 16

# --- rate limits ----------------------------------------------------------------------------------
RATE_KEYS_MAX = 50_000  # counters in the memory of one web process; the oldest goes first
RATE_KEYS_REMEMBERED_MAX = 4_096  # their names, of one limit
RATE_SHARE_INTERVAL_S = 0.1
RATE_SHARE_KEYS_MAX = 500  # counters told to Redis in one interval
STRICT_RATE_DIVISOR = 10  # register, token and refresh get this part of RATE_LIMIT per address
DESK_FILES_MAX = 64  # of one load of the page; so many times RATE_LIMIT an address may ask for them
FAILED_LOGINS_PER_MINUTE = 5
FAILED_LOGINS_REMEMBERED_MINUTES = 15  # over which the delay grows
FAILED_LOGIN_DELAY_MAX_S = 60

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

# --- doctor ---------------------------------------------------------------------------------------
DOCTOR_TIMEOUT_S = 10.0  # for one server's answers
DOCTOR_FULL = 0.8  # of the connections that PostgreSQL allows
DOCTOR_DISK_SHARE = 0.1
DOCTOR_DISK_BYTES = 1024**3

# --- demo -----------------------------------------------------------------------------------------
# Where the web of the stack that is meant listens, if entrypoint.sh knows: not of the service.
WEB_URL = "ORDER_SERVICE_URL"
DEMO_TIMEOUT_S = 20.0  # longer than a command may take, so that its outcome is told
DEMO_WAIT_MAX_S = 60.0  # at a time, whatever the service says
DEMO_PATIENCE_S = 120.0  # pauses before all repeats of one request
DEMO_SHARE_OF_LIMIT = 0.8  # of the rate limit: the rest is for others at its address
DEMO_LIVING_MAX = 1_000  # orders that live at once; more are not placed before some have ended
DEMO_TOGETHER = 50  # orders placed by one request: also a busy machine has read them in time
DEMO_NEW_SHARE = 0.2  # of the commands that place an order, while there are to be more
DEMO_ORDERS_MAX = 1_000_000
DEMO_CUSTOMERS_MAX = 1_000
