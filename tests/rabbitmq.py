"""Private, throw-away RabbitMQ nodes: real brokers on free ports, without root and without touching any other broker.

    with PrivateNode() as node:
        broker = RabbitMQBroker([node.url])

A node has its own data, cookie, Erlang port mapper and ports, and is gone when the program that started it ends,
however it ends. `kill` and `start` again keep the data, as a crash does. `PrivateNode(beside=node)` is a second node
that may `join(node)`: three of them make a cluster.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

START_SECONDS = 300.0  # 5 to 10 s on an idle machine
STOP_SECONDS = 30.0
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"


class PrivateNode:
    """One broker node. `start` blocks until it answers; from a coroutine call it with `asyncio.to_thread`."""

    def __init__(
        self,
        *,
        consumer_timeout_ms: int | None = None,
        beside: PrivateNode | None = None,
        password: str = "guest",
    ) -> None:
        """`password` is the user guest's."""
        self._directory = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        self._consumer_timeout_ms = consumer_timeout_ms
        self._password = password
        self._cookie = beside._cookie if beside else secrets.token_hex(16)
        self._port_mapper = beside._port_mapper if beside else _PortMapper()
        self._owns_port_mapper = beside is None
        self.name = f"scraper{secrets.token_hex(4)}@localhost"
        self.port, self._distribution_port, *control_ports = free_ports(6)
        self._control_ports = sorted(control_ports)
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._write_configuration()

    @property
    def url(self) -> str:
        return self.url_for()

    def url_for(self, *, user: str = "guest", password: str | None = None, vhost: str = "%2F") -> str:
        return f"amqp://{user}:{self._password if password is None else password}@127.0.0.1:{self.port}/{vhost}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the node, on the data it has, and wait until it speaks AMQP."""
        self._port_mapper.start()
        with (self._directory / "output.log").open("ab") as output:
            self._server = subprocess.Popen(
                [str(server_script())],
                env=self._environment(),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._guard = kill_when_we_are_gone(self._server.pid, leaving=self._directory)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the private RabbitMQ node did not start:\n{self.output()[-4000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it as an administrator does: clients are told, data are written."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the process where it stands: the sockets stay open and nothing answers."""
        assert self._server
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server
        self._server.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and delete all it has written."""
        self.kill()
        if self._owns_port_mapper:
            self._port_mapper.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def answers(self) -> bool:
        """Whether the node answers the AMQP greeting now."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(AMQP_HEADER)
                return connection.recv(1) == b"\x01"  # a method frame: Connection.Start
        except OSError:
            return False

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against this node (takes seconds: it starts an Erlang machine of its own)."""
        command = [str(server_script().with_name("rabbitmqctl")), "--node", self.name, *arguments]
        result = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {result.stdout}{result.stderr}")
        return result.stdout

    def join(self, other: PrivateNode) -> None:
        """Become a member of the other node's cluster; what this node held is forgotten."""
        self.ctl("stop_app")
        self.ctl("join_cluster", other.name)
        self.ctl("start_app")

    def output(self) -> str:
        """All that the node has written, for a message about what went wrong."""
        logs = [self._directory / "output.log", *sorted(self._directory.glob("log/*.log"))]
        return "\n".join(log.read_text(errors="replace") for log in logs if log.exists())

    def _end(self, how: signal.Signals) -> None:
        if self._server is not None:
            self._server.send_signal(how)
            if how != signal.SIGKILL:
                self._server.send_signal(signal.SIGCONT)  # a frozen process would not hear it
            try:
                self._server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        if self._guard is not None:
            dismiss(self._guard)
            self._guard = None

    def _write_configuration(self) -> None:
        home = self._directory / "home"
        home.mkdir()
        cookie = home / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        (self._directory / "environment").touch()
        lines = ["log.file.level = warning", "disk_free_limit.absolute = 1MB", f"default_pass = {self._password}"]
        advanced = "[]."
        if self._consumer_timeout_ms is not None:
            lines.append(f"consumer_timeout = {self._consumer_timeout_ms}")
            advanced = "[{rabbit, [{channel_tick_interval, 500}]}]."  # how often the timeout is looked at: 60 s
        (self._directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self._directory / "advanced.config").write_text(advanced + "\n")

    def _environment(self) -> dict[str, str]:
        at = self._directory
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(at / "home"),
            "RUNNING_UNDER_SYSTEMD": "1",  # the script then becomes the server instead of watching over it
            "RABBITMQ_CONF_ENV_FILE": str(at / "environment"),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(self._control_ports[0]),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(self._control_ports[-1]),
            "RABBITMQ_MNESIA_BASE": str(at / "data"),
            "RABBITMQ_LOG_BASE": str(at / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(at / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(at / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(at / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(at / "generated"),
            # +sbwt none: schedulers that have nothing to do sleep instead of spinning
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
            "ERL_EPMD_PORT": str(self._port_mapper.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }


class _PortMapper:
    """An `epmd` of our own: the usual one on port 4369 belongs to whoever else runs Erlang here."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is None:
            command = [_program("epmd"), "-address", "127.0.0.1", "-port", str(self.port)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self._guard = kill_when_we_are_gone(self._process.pid)

    def stop(self) -> None:
        if self._process is not None and self._guard is not None:
            self._process.kill()
            self._process.wait()
            dismiss(self._guard)
            self._process = self._guard = None


def server_script() -> Path:
    """The server's own script. The wrapper that packages put on the PATH insists on root, so it comes last."""
    named = os.environ.get("RABBITMQ_SERVER")
    packaged = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    on_path = shutil.which("rabbitmq-server")
    for candidate in (named, *reversed(packaged), on_path):
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate)
    raise RuntimeError(
        "no RabbitMQ server found: run scripts/install_rabbitmq.sh, or name its script in RABBITMQ_SERVER"
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, below the range the system itself hands out to connections."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            candidate = socket.socket()
            held.enter_context(candidate)
            port = 20_000 + secrets.randbelow(12_000)
            with contextlib.suppress(OSError):
                candidate.bind(("127.0.0.1", port))
                ports.append(port)
    return ports


def _program(name: str) -> str:
    found = shutil.which(name) or next(iter(map(str, Path("/usr/lib/erlang").glob(f"erts-*/bin/{name}"))), None)
    if found is None:
        raise RuntimeError(f"{name} not found: Erlang is not installed or not on the PATH")
    return found


def kill_when_we_are_gone(pid: int, *, leaving: Path | None = None) -> subprocess.Popen[bytes]:
    """A shell that waits for the end of its input, which comes when we end, even by SIGKILL.

    It then kills `pid` and deletes the folder `leaving`.
    """
    last_will = 'read -r _; kill -9 "$0"; sleep 1; if [ -n "$1" ]; then rm -rf "$1"; fi'
    return subprocess.Popen(
        ["/bin/sh", "-c", last_will, str(pid), str(leaving or "")], stdin=subprocess.PIPE, start_new_session=True
    )


def dismiss(guard: subprocess.Popen[bytes]) -> None:
    guard.kill()
    guard.wait()
    assert guard.stdin
    guard.stdin.close()
