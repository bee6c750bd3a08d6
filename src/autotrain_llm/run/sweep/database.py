"""A study in a database, or behind a proxy: its address, its clock, and the lock by which one process at a time changes the study."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from autotrain_llm.config.search_space import is_proxy, without_password
from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.run.sweep.silence import quietly

LOCK = "autotrain-llm sweeps"
LOCK_POLL = 0.05  # seconds between two attempts to get the lock of a server
FAULTS = (optuna.exceptions.OptunaError, SQLAlchemyError)
SILENT_PEER = 30  # seconds after which a server asks whether a connection's other end is still there
# Seconds since 1970 by the clock of the database: those of the machines may be wrong.
CLOCKS = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
    "mysql": "SELECT UNIX_TIMESTAMP()",
    "sqlite": "SELECT strftime('%s', 'now')",
}


class Lock(Protocol):
    """Held by one process at a time, released when the process ends, however it ends."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *details: object) -> None: ...


class Database(NamedTuple):
    """Where a study is stored, the lock of whoever changes it, its time in seconds, what is raised where it can't be reached, and what connects again."""

    storage: BaseStorage
    lock: Lock
    now: Callable[[], float]
    faults: tuple[type[Exception], ...] = FAULTS
    reconnect: Callable[[], None] = lambda: None


class ServerLock:
    """A lock that a database server keeps for a connection: it ends with the connection, so a killed process leaves none behind."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.engine = engine
        self._connection: sqlalchemy.Connection | None = None
        self._begin: list[str]
        name = f"{LOCK} {crc32(str(engine.url.database).encode()):08x}"  # MySQL's locks are those of the whole server
        if engine.name == "mysql":
            self._begin, key = [], f"'{name}'"
            self._acquire, self._release = f"SELECT GET_LOCK({key}, 0)", f"SELECT RELEASE_LOCK({key})"
        else:
            key = str(crc32(LOCK.encode()))
            self._begin = [f"SET tcp_keepalives_{name} = {SILENT_PEER}" for name in ("idle", "interval")]
            self._acquire, self._release = f"SELECT pg_try_advisory_lock({key})", f"SELECT pg_advisory_unlock({key})"

    def __enter__(self) -> None:
        connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            for statement in self._begin:
                connection.execute(sqlalchemy.text(statement))
            while not connection.execute(sqlalchemy.text(self._acquire)).scalar():
                time.sleep(LOCK_POLL)
        except BaseException:
            _discard(connection)
            raise
        self._connection = connection

    def __exit__(self, *details: object) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        try:
            connection.execute(sqlalchemy.text(self._release))
            connection.close()
        except SQLAlchemyError:  # the connection is lost, and the lock with it
            _discard(connection)


def _discard(connection: sqlalchemy.Connection) -> None:
    """End a connection, and do not give it back to the pool: it may still hold the lock."""
    try:
        connection.invalidate()
    finally:
        connection.close()


def connect(url: str) -> Database:
    """The study in a database. Raises Refused if it can't be used; no message has the password in it."""
    try:
        if is_proxy(url):
            return _behind_proxy(url)
        with quietly():
            address = with_driver(url)
            engine = sqlalchemy.create_engine(address)
            lock = _lock_of(engine)
            with lock:  # two processes must not create the tables at once
                storage = RDBStorage(address, engine_kwargs={"pool_pre_ping": True})
            engine.dispose()
            return Database(storage, _lock_of(storage.engine), partial(_seconds_of, storage.engine))
    except Exception as fault:  # whatever the database's driver raises
        reason = (str(fault.__cause__ or fault).strip() or type(fault).__name__).splitlines()[0]
        message = f"--sweep-storage {without_password(url)} can't be used: {without_secret(reason, url)}"
        what = (
            "a storage proxy that is running" if is_proxy(url) else "a database that is running and may be written to"
        )
        fix = f"the address of {what}"
        raise Refused([Finding(message, fix, ("sweep_storage",), code="E409")]) from None


def _behind_proxy(url: str) -> Database:
    from autotrain_llm.run.sweep import proxy

    storage = proxy.connected(url)
    faults, reconnect = (*FAULTS, *proxy.faults()), partial(proxy.reconnect, storage)
    return Database(storage, proxy.ProxyLock(storage), partial(proxy.seconds_of, storage), faults, reconnect)


def _seconds_of(engine: sqlalchemy.Engine) -> float:
    with engine.connect() as connection:
        return float(connection.execute(sqlalchemy.text(CLOCKS[engine.name])).scalar_one())


def _lock_of(engine: sqlalchemy.Engine) -> Lock:
    """SQLite has no locks of its own that outlast a transaction: a file beside the database is locked."""
    if engine.name != "sqlite":
        return ServerLock(engine)
    path = Path(f"{engine.url.database}.lock")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    return FileLock(path)


def without_secret(text: str, url: str) -> str:
    """A driver's message without the password of the address, in whichever spelling."""
    from urllib.parse import unquote

    shown = without_password(url)
    before, _, after = shown.partition("***")
    secret = url[len(before) : len(url) - len(after)] if after or shown != url else ""
    for word in (url, secret, unquote(secret)):
        text = text.replace(word, "***") if word else text
    return text


def with_driver(url: str) -> str:
    """The address with a driver that is installed: SQLAlchemy's default driver differs between its versions."""
    from importlib.util import find_spec

    scheme, _, rest = url.partition("://")
    kind, _, driver = scheme.partition("+")
    kind = {"postgres": "postgresql"}.get(kind, kind)
    drivers = {"postgresql": ("psycopg", "psycopg2"), "mysql": ("pymysql", "mysqldb")}.get(kind, ())
    installed = [name for name in drivers if find_spec(name if name != "mysqldb" else "MySQLdb")]
    chosen = driver or (installed[0] if installed else "")
    return f"{kind}+{chosen}://{rest}" if chosen else f"{kind}://{rest}"
