"""The lock and the clock of a study behind a storage proxy, on a storage in memory: they use nothing but its trials."""

from __future__ import annotations

import threading
import time

import optuna
import pytest

from autotrain_llm.config.search_space import proxy_address
from autotrain_llm.run.sweep import proxy

pytest.importorskip("grpc")


@pytest.fixture
def storage() -> optuna.storages.BaseStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.storages.InMemoryStorage()


def test_one_at_a_time_has_the_lock(storage):
    inside, most = [], []

    def work() -> None:
        lock = proxy.ProxyLock(storage)
        for _ in range(5):
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(most) == 20 and set(most) == {1}


def test_the_ticket_of_a_killed_process_is_ended_by_the_next(storage, monkeypatch):
    proxy.ProxyLock(storage).__enter__()
    monkeypatch.setattr(proxy, "LOST", 0.2)
    began = time.monotonic()
    with proxy.ProxyLock(storage):
        assert time.monotonic() - began > 0.2


def test_a_process_that_stood_still_gets_a_new_ticket_behind_the_others(storage):
    slow, other = proxy.ProxyLock(storage), proxy.ProxyLock(storage)
    slow.__enter__()
    proxy._end(storage, slow._ticket)
    with other:
        slow.__exit__()
    with slow:
        assert slow._ticket is not None


def test_the_clock_is_that_of_the_storage(storage):
    first = proxy.seconds_of(storage)
    assert 0 <= proxy.seconds_of(storage) - first < 60


@pytest.mark.parametrize("url", ["grpc://host", "grpc://host:port", "grpc://me:secret@host:1", "grpc://host:1/studies"])
def test_a_proxy_has_a_host_and_a_port_alone(url):
    with pytest.raises(ValueError, match="a host and a port"):
        proxy_address(url)
    assert proxy_address("grpc://[::1]:13000") == ("[::1]", 13000)
