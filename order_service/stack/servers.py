"""Private PostgreSQL, Redis (or Valkey) and RabbitMQ.

They listen on loopback only, on private ports. Their passwords are generated and appear in no
argument list, since every user can read those. PostgreSQL and RabbitMQ keep all that they have
confirmed; Redis keeps nothing over a restart.
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
# Below the ports that Linux gives to outgoing connections, which could take one of these.
PORTS_FROM = range(20_000, 32_000)
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


# All commands but those that the service does not need and that can write files, load code, copy
# the data elsewhere or watch other clients.
REDIS_RIGHTS = (
    "~* &* +@all -acl -bgrewriteaof -bgsave -debug -failover -migrate -module -monitor -psync "
    "-replicaof -save -slaveof -sync"
)
# The service's exchanges and queues; those of Celery's and Flower's remote control and events;
# queues that RabbitMQ names for one connection; and the default exchange, through which tasks are
# sent. All rights have the same pattern: RabbitMQ was seen to use `read` here as the right to
# write.
_RABBITMQ_NAMES = "^(orders[.].*|celeryev.*|.*celery[.]pidbox|amq[.](gen-.*|default))$"
RABBITMQ_RIGHTS = "default_user_tags.administrator = false\n" + "".join(
    f"default_permissions.{right} = {_RABBITMQ_NAMES}\n" for right in ("configure", "write", "read")
)


@dataclass(frozen=True)
class Server:
    """A command; `ready` returns whether the server that it starts answers."""

    command: Command
    ready: Callable[[], bool]


@dataclass(frozen=True)
class ServerHome:
    """A server's folder, which only `account` can read, and its environment."""

    folder: Path
    account: Account | None
    env: Mapping[str, str]

    def write(self, name: str, text: str) -> Path:
        """Replaces the file by one that only the server can read."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        self._give_to_account(path)
        return path

    def run(self, *argv: str, **options: object) -> None:
        """Runs a program as the server's user, to its end. Raises StackError if it fails."""
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

    def _give_to_account(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)

    @classmethod
    def make(cls, state: State, name: str, found: Programs) -> "ServerHome":
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
        home = cls(folder, account, env)
        home._give_to_account(folder)
        return home


def choose_ports(state: State) -> dict[str, int]:
    """The servers' ports: those of the last start; for each that another program uses now, a new
    one.
    """
    ports = dict(state.read()["ports"])
    for name in PORTS:
        if name not in ports or not is_free(ports[name]):
            ports[name] = free_port(set(ports.values()))
    state.update(ports=ports)
    return ports


def free_port(taken: Collection[int] = ()) -> int:
    """A port that no process uses, and that no stack holds for a server that starts later. Raises
    StackError.
    """
    for port in random.sample(PORTS_FROM, min(PORTS_TRIED_MAX, len(PORTS_FROM))):
        if port not in taken and _can_bind(port, reuse=False):
            return port
    raise StackError(
        f"Found no free port: tried {PORTS_TRIED_MAX} from {PORTS_FROM.start} to "
        f"{PORTS_FROM.stop - 1}, none is free. End some of the programs that listen there."
    )


def is_free(port: int) -> bool:
    """Whether a server could listen on the port, whatever state closed connections left it in."""
    return _can_bind(port, reuse=True)


def hold(port: int) -> socket.socket:
    """Until the returned socket is closed, a server can listen on the port, but `free_port` does
    not choose it.

    RabbitMQ listens seconds after its port was chosen: without this, another stack that starts
    meanwhile could choose the same port. Linux lets the server bind it too, since both sockets set
    SO_REUSEADDR and this one does not listen.
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
    home = ServerHome.make(state, "postgres", found)
    data = home.folder / "data"
    if not data.exists():
        _make_cluster(home, found, data, password)
    _check_version(data, found)
    options = {**POSTGRES_SETTINGS, "port": str(port)}
    argv = [found.path("postgres"), "-D", str(data)]
    argv += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    command = Command(
        "postgres",
        tuple(argv),
        home.env,
        home.folder,
        port,
        home.account,
        signal.SIGINT,  # fast shutdown
    )
    return Server(command, lambda: _postmaster_is_ready(data))


def _make_cluster(home: ServerHome, found: Programs, data: Path, password: str) -> None:
    unfinished = home.folder / "data.unfinished"  # renamed once it is complete
    shutil.rmtree(unfinished, ignore_errors=True)
    file = home.write("password", password)
    try:
        home.run(
            found.path("initdb"), "-D", str(unfinished), "-U", DB_USER, "-A", "scram-sha-256",
            f"--pwfile={file}", "-E", "UTF8", "--no-locale", "--data-checksums",
        )  # fmt: skip
    finally:
        file.unlink()
    home.run(
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
            f"Cannot open {data}: PostgreSQL {made_by} made it, found {runs} in {found.folder}. "
            f"Put version {made_by} on PATH, or remove the data with `./entrypoint.sh reset`."
        )


def _postmaster_is_ready(data: Path) -> bool:
    # The port answers long before the server accepts a session. `pg_ctl -w` waits for this line,
    # too.
    with contextlib.suppress(FileNotFoundError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return len(lines) > 7 and lines[7].strip() == "ready"
    return False


def redis(state: State, found: Programs, port: int, password: str) -> Server:
    home = ServerHome.make(state, "redis", found)
    file = home.write(
        "redis.conf",
        f"bind {LOOPBACK}\nport {port}\ndaemonize no\n"
        f"user default on #{hashlib.sha256(password.encode()).hexdigest()} {REDIS_RIGHTS}\n"
        f'dir "{home.folder}"\n'
        'save ""\nappendonly no\nmaxmemory 256mb\nmaxmemory-policy allkeys-lru\n',
    )
    argv = (found.path("valkey-server", "redis-server"), str(file))
    command = Command("redis", argv, home.env, home.folder, port, home.account)
    return Server(
        command, lambda: b"+PONG" in answer(port, f"AUTH {password}\r\nPING\r\n".encode(), 12)
    )


def rabbitmq(
    state: State, found: Programs, ports: Mapping[str, int], password: str
) -> tuple[Server, Server]:
    """Erlang's port mapper, on a private port, and the node, which registers there."""
    home = ServerHome.make(state, "rabbitmq", found)
    erlang = programs.erlang(found)
    configuration = home.write(
        "rabbitmq.conf",
        f"listeners.tcp.1 = {LOOPBACK}:{ports['rabbitmq']}\n"
        f"default_vhost = {VHOST}\ndefault_user = {USER}\ndefault_pass = {password}\n"
        f"{RABBITMQ_RIGHTS}",
    )
    env = {
        **home.env,
        "PATH": f"{erlang}:{home.env['PATH']}",
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "RABBITMQ_NODENAME": "order_service@localhost",
        "RABBITMQ_DIST_PORT": str(ports["rabbitmq-distribution"]),
        # The node's second port is on loopback too, and it starts no mapper. Idle schedulers sleep
        # instead of spinning. There is one scheduler, since several wake each other up for every
        # message: an order costs 34 to 37 microseconds of CPU (`bench post`, two cores), with two
        # schedulers 40 to 45.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false "
        "-kernel inet_dist_use_interface {127,0,0,1} "
        "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",  # not the configuration of an installed RabbitMQ
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_CONFIG_FILES": str(home.folder / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home.write("advanced.config", "[].\n")),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home.write("enabled_plugins", "[].\n")),
        "RABBITMQ_MNESIA_BASE": str(home.folder / "data"),
        "RABBITMQ_LOG_BASE": str(home.folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(home.folder / "pid"),
    }
    mapper = Command("epmd", (f"{erlang}/epmd",), env, home.folder, ports["epmd"], home.account)
    argv = (found.path("rabbitmq-server"),)
    node = Command(
        *("rabbitmq", argv, env, home.folder, ports["rabbitmq"], home.account),
        niceness=BACKGROUND_NICENESS,
    )
    # RabbitMQ sends its first frame (type 1) only when it is ready; the mapper is ready once it
    # listens.
    return (
        Server(mapper, lambda: listens(ports["epmd"])),
        Server(node, lambda: answer(ports["rabbitmq"], b"AMQP\x00\x00\x09\x01", 1) == b"\x01"),
    )


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_S):
        return True
    return False


def answer(port: int, question: bytes, length: int) -> bytes:
    """The first `length` bytes that the server on `port` answers; fewer if it does not."""
    received = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_S) as connection,
    ):
        connection.sendall(question)
        while len(received) < length and (more := connection.recv(length)):
            received += more
    return received
