"""Shared by all tests: a real RabbitMQ, and `@pytest.mark.virtual_time` for tests on the virtual-time event loop."""

import asyncio
import signal

import pytest
from hypothesis import HealthCheck, settings

from scraper.testing.clock import VirtualTimeLoop
from tests.rabbitmq import PrivateNode

# the same examples each time, however slow the machine is; others: --hypothesis-profile=default
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a script's "&": whatever a test starts would ignore ctrl-c
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "virtual_time: time jumps to the next timer when nothing is ready")


def pytest_asyncio_loop_factories(config, item):
    if item.get_closest_marker("virtual_time"):
        return {"virtual_time": VirtualTimeLoop}
    return {"real_time": asyncio.SelectorEventLoop}


@pytest.fixture(scope="session")
def rabbitmq_node():
    """One private broker node, shared by all tests. Those that kill, freeze or restart one start their own."""
    with PrivateNode() as node:
        yield node


@pytest.fixture(scope="session")
def rabbitmq_url(rabbitmq_node):
    """Where a real RabbitMQ listens. Shared: give each test a namespace of its own."""
    return rabbitmq_node.url
