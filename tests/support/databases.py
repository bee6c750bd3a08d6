"""Database servers of the tests' own, each in a folder of its own, that can be restarted."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

PASSWORD = "wo:rd@1/2"
SECONDS = 120  # at most, to start or to stop


class Server:
    """A server that listens on a free port of this machine. PostgreSQL and MariaDB refuse to be root."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="autotrain-database-"))
        self.user = _unprivileged()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def own(self, *paths: Path) -> None:
        """Give files to whom the server runs as."""
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            for path in paths:
                os.chown(path, entry.pw_uid, entry.pw_gid)

    def run(self, *words: str) -> None:
        command = [str(self.programs / words[0]), *words[1:]]
        subprocess.run(command, user=self.user, cwd=self.folder, check=True, capture_output=True, timeout=SECONDS)

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def url(self, database: str) -> str:
        """The address of a new database."""
        raise NotImplementedError


class PostgreSQL(Server):
    def __init__(self, programs: Path) -> None:
        super().__init__(programs)
        (self.folder / "password").write_text(PASSWORD)
        self.own(self.folder, self.folder / "password")
        self.cluster = ["-D", str(self.folder / "cluster")]
        password = f"--pwfile={self.folder / 'password'}"
        self.run("initdb", *self.cluster, "-U", "me", "--auth=scram-sha-256", password, "-N")

    def start(self) -> None:
        settings = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        self.run("pg_ctl", *self.cluster, "-l", str(self.folder / "log"), "-o", settings, "-w", "start")

    def stop(self) -> None:
        self.run("pg_ctl", *self.cluster, "-m", "immediate", "stop")

    def url(self, database: str) -> str:
        import psycopg

        address = f"postgresql://me:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/"
        with psycopg.connect(address + "postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")  # type: ignore[call-overload]
        return address + database


class MariaDB(Server):
    def __init__(self, programs: Path) -> None:
        super().__init__(programs)
        self.own(self.folder)
        self.process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={self.folder / 'data'}", "--auth-root-authentication-method=normal", "--skip-test-db"],
            user=self.user, cwd=self.folder, check=True, capture_output=True, timeout=SECONDS,
        )  # fmt: skip

    def start(self) -> None:
        words = ["--no-defaults", f"--datadir={self.folder / 'data'}", f"--socket={self.folder / 'socket'}"]
        words += [f"--port={self.port}", "--bind-address=127.0.0.1", f"--log-error={self.folder / 'log'}"]
        words += ["--innodb-flush-log-at-trx-commit=2", f"--pid-file={self.folder / 'pid'}"]
        self.process = subprocess.Popen([str(self.programs / "mariadbd"), *words], user=self.user, cwd=self.folder)
        wait_for_port(self.port, f"MariaDB did not start: {self.folder / 'log'}")

    def stop(self) -> None:
        """As when the machine loses power."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(SECONDS)

    def url(self, database: str) -> str:
        import pymysql

        with pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection:
            connection.cursor().execute(f"CREATE DATABASE {database}")
        return f"mysql://root@127.0.0.1:{self.port}/{database}"


PROXY = """
import sys
from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""


class Proxy(Server):
    """Optuna's storage proxy, in front of an SQLite file. All its addresses are those of one storage."""

    def __init__(self) -> None:
        super().__init__(Path(sys.executable).parent)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        words = [sys.executable, "-c", PROXY, f"sqlite:///{self.folder / 'studies.db'}", str(self.port)]
        self.process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, "the storage proxy did not start")

    def stop(self) -> None:
        """As when the machine loses power."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(SECONDS)

    def url(self, database: str) -> str:
        return f"grpc://127.0.0.1:{self.port}"


def wait_for_port(port: int, otherwise: str) -> None:
    """Return once somebody listens on a port of this machine."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(otherwise)


def _unprivileged() -> str | None:
    """Whom a server runs as where the tests are root."""
    if os.getuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return next((name for name in ("postgres", "mysql", "nobody") if name in names), None)


def postgresql_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def mariadb_programs() -> Path | None:
    found = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return Path(found).parent if found and shutil.which("mariadb-install-db") else None


@contextmanager
def running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)
