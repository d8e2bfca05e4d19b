"""Private PostgreSQL, Redis (or Valkey) and RabbitMQ.

All of them listen on loopback only, on ports of their own, with generated passwords that appear in
no argument list (those can be read by every user); PostgreSQL and RabbitMQ keep what they
confirmed, Redis keeps nothing.
"""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from order_service.stack import programs
from order_service.stack.processes import (
    BACKGROUND_NICENESS,
    MARK,
    Account,
    Command,
    as_account,
    server_account,
)
from order_service.stack.programs import Programs
from order_service.stack.state import StackError, State

LOOPBACK = "127.0.0.1"
USER = VHOST = "order_service"
DB_NAME, DB_USER = "order_db", "order_user"
PORTS = ("postgres", "redis", "rabbitmq", "rabbitmq-distribution", "epmd")
PORTS_FROM = range(
    20_000, 32_000
)  # below what Linux gives to outgoing connections, so that they keep free
PORTS_TRIED_MAX = 200
PROBE_TIMEOUT_S = 1.0

POSTGRES_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}


# What no command of the service needs, and what can write files, load code, copy the data elsewhere
# or listen to other clients.
REDIS_RIGHTS = (
    "~* &* +@all -acl -bgrewriteaof -bgsave -debug -failover -migrate -module -monitor -psync "
    "-replicaof -save -slaveof -sync"
)
# Exchanges and queues of ours; those of Celery's and Flower's remote control and events; queues
# that RabbitMQ names for one connection; and the default exchange, by which tasks are sent. One
# pattern for all: RabbitMQ was seen to take `read` here for the right to write.
_RABBITMQ_NAMES = "^(orders[.].*|celeryev.*|.*celery[.]pidbox|amq[.](gen-.*|default))$"
RABBITMQ_RIGHTS = "default_user_tags.administrator = false\n" + "".join(
    f"default_permissions.{right} = {_RABBITMQ_NAMES}\n" for right in ("configure", "write", "read")
)


@dataclass(frozen=True)
class Server:
    """A command, and whether what it started answers."""

    command: Command
    ready: Callable[[], bool]


@dataclass(frozen=True)
class Place:
    """Where one server lives: a folder that only `account` can read, and its environment."""

    folder: Path
    account: Account | None
    env: Mapping[str, str]

    def write(self, name: str, text: str) -> Path:
        """A file that only the server can read."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        self._give(path)
        return path

    def run(self, *argv: str, **options: object) -> None:
        done = subprocess.run(  # type: ignore[call-overload]  # as_account()
            argv,
            cwd=self.folder,
            check=False,
            env=dict(self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **as_account(self.account),
            **options,
        )
        if done.returncode:
            raise StackError(
                f"{Path(argv[0]).name} failed with code {done.returncode}:\n{done.stdout}"
            )

    def _give(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)

    @classmethod
    def make(cls, state: State, name: str, found: Programs) -> "Place":
        account = server_account()
        folder = state.servers(must_be_reachable=account is not None) / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        env = {
            "PATH": f"{found.folder}:{os.defpath}:/usr/local/bin:/usr/sbin:/sbin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            MARK: state.read()["instance"],
            **found.env,
        }
        place = cls(folder, account, env)
        place._give(folder)
        return place


def choose_ports(state: State) -> dict[str, int]:
    """The servers' ports: those of the last start, but for any that another program has taken
    since.
    """
    ports = dict(state.read()["ports"])
    for name in PORTS:
        if name not in ports or not is_free(ports[name]):
            ports[name] = free_port(set(ports.values()))
    state.update(ports=ports)
    return ports


def free_port(taken: Collection[int] = ()) -> int:
    """One that nobody uses, or holds for a server that is to come."""
    for port in random.sample(PORTS_FROM, min(PORTS_TRIED_MAX, len(PORTS_FROM))):
        if port not in taken and _can_bind(port, reuse=False):
            return port
    raise StackError(
        f"Of {PORTS_TRIED_MAX} ports tried from {PORTS_FROM.start} to {PORTS_FROM.stop - 1} "
        "none is free: end some of the programs that listen there."
    )


def is_free(port: int) -> bool:
    """Whether a server could listen there; what the last one's connections left does not count."""
    return _can_bind(port, reuse=True)


def hold(port: int) -> socket.socket:
    """Until this is closed, a server can have the port, but nobody who looks for a free one.

    RabbitMQ listens seconds after its port was chosen; another stack that starts meanwhile would
    else choose it as well. Linux lets both bind it, since both ask for SO_REUSEADDR and this one
    does not listen.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((LOOPBACK, port))
    return holder


def _can_bind(port: int, *, reuse: bool) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def postgres(state: State, found: Programs, port: int, password: str) -> Server:
    place = Place.make(state, "postgres", found)
    data = place.folder / "data"
    if not data.exists():
        _make_cluster(place, found, data, password)
    _check_version(data, found)
    options = {**POSTGRES_SETTINGS, "port": str(port)}
    argv = [found.path("postgres"), "-D", str(data)]
    argv += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    command = Command(
        "postgres",
        tuple(argv),
        place.env,
        place.folder,
        port,
        place.account,
        signal.SIGINT,  # fast shutdown
    )
    return Server(command, lambda: _postmaster_is_ready(data))


def _make_cluster(place: Place, found: Programs, data: Path, password: str) -> None:
    unfinished = place.folder / "data.unfinished"  # a cluster is there whole or not at all
    shutil.rmtree(unfinished, ignore_errors=True)
    file = place.write("password", password)
    try:
        place.run(
            found.path("initdb"), "-D", str(unfinished), "-U", DB_USER, "-A", "scram-sha-256",
            f"--pwfile={file}", "-E", "UTF8", "--no-locale", "--data-checksums",
        )  # fmt: skip
    finally:
        file.unlink()
    place.run(
        found.path("postgres"),
        "--single",
        "-D",
        str(unfinished),
        "postgres",
        input=f"CREATE DATABASE {DB_NAME};\n",
    )
    unfinished.rename(data)


def _check_version(data: Path, found: Programs) -> None:
    made_by, runs = (data / "PG_VERSION").read_text().strip(), programs.postgresql_major(found)
    if made_by != str(runs):
        raise StackError(
            f"Cannot open {data}: made by PostgreSQL {made_by}, found {runs} in {found.folder}. "
            f"Put version {made_by} on PATH, or drop the data with `./entrypoint.sh reset`."
        )


def _postmaster_is_ready(data: Path) -> bool:
    # Its port answers long before it takes a connection; this line is what `pg_ctl -w` waits for as
    # well.
    with contextlib.suppress(FileNotFoundError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return len(lines) > 7 and lines[7].strip() == "ready"
    return False


def redis(state: State, found: Programs, port: int, password: str) -> Server:
    place = Place.make(state, "redis", found)
    file = place.write(
        "redis.conf",
        f"bind {LOOPBACK}\nport {port}\ndaemonize no\n"
        f"user default on #{hashlib.sha256(password.encode()).hexdigest()} {REDIS_RIGHTS}\n"
        f'dir "{place.folder}"\n'
        'save ""\nappendonly no\nmaxmemory 256mb\nmaxmemory-policy allkeys-lru\n',
    )
    argv = (found.path("valkey-server", "redis-server"), str(file))
    command = Command("redis", argv, place.env, place.folder, port, place.account)
    return Server(
        command, lambda: b"+PONG" in answer(port, f"AUTH {password}\r\nPING\r\n".encode(), 12)
    )


def rabbitmq(
    state: State, found: Programs, ports: Mapping[str, int], password: str
) -> tuple[Server, Server]:
    """Erlang's port mapper, on a port of its own, and the node that is registered there."""
    place = Place.make(state, "rabbitmq", found)
    erlang = programs.erlang(found)
    configuration = place.write(
        "rabbitmq.conf",
        f"listeners.tcp.1 = {LOOPBACK}:{ports['rabbitmq']}\n"
        f"default_vhost = {VHOST}\ndefault_user = {USER}\ndefault_pass = {password}\n"
        f"{RABBITMQ_RIGHTS}",
    )
    env = {
        **place.env,
        "PATH": f"{erlang}:{place.env['PATH']}",
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "RABBITMQ_NODENAME": "order_service@localhost",
        "RABBITMQ_DIST_PORT": str(ports["rabbitmq-distribution"]),
        # The node's other port on loopback too, and no mapper but ours. Idle schedulers sleep
        # instead of spinning; and there is one, since several wake each other up for every message:
        # 34 to 37 microseconds of CPU an order (`bench post`, two cores), where two took 40 to 45.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false "
        "-kernel inet_dist_use_interface {127,0,0,1} "
        "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",  # nothing of a RabbitMQ that this machine may have
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_CONFIG_FILES": str(place.folder / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(place.write("advanced.config", "[].\n")),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(place.write("enabled_plugins", "[].\n")),
        "RABBITMQ_MNESIA_BASE": str(place.folder / "data"),
        "RABBITMQ_LOG_BASE": str(place.folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(place.folder / "pid"),
    }
    mapper = Command("epmd", (f"{erlang}/epmd",), env, place.folder, ports["epmd"], place.account)
    argv = (found.path("rabbitmq-server"),)
    node = Command(
        *("rabbitmq", argv, env, place.folder, ports["rabbitmq"], place.account),
        niceness=BACKGROUND_NICENESS,
    )
    # A broker greets with its first frame (type 1) only when it is ready to talk; a mapper just has
    # to listen.
    return (
        Server(mapper, lambda: listens(ports["epmd"])),
        Server(node, lambda: answer(ports["rabbitmq"], b"AMQP\x00\x00\x09\x01", 1) == b"\x01"),
    )


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_S):
        return True
    return False


def answer(port: int, question: bytes, length: int) -> bytes:
    """The first `length` bytes that a server answers; fewer if it does not."""
    received = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_S) as connection,
    ):
        connection.sendall(question)
        while len(received) < length and (more := connection.recv(length)):
            received += more
    return received
