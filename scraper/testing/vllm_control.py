"""`POST /_control`: change faults and state of a running simulated server. Loopback only; the body is one JSON object.

    {"faults": "503=0.1,hang=2x"}              add faults, written as on the command line
    {"faults": [{"kind": "429", "next": 3, "retry_after": "soon"}]}
    {"clear": true} or {"clear": "503"}        take faults back
    {"do": "crash", "seconds": 10}             also: restart, freeze, thaw, kill_engine, drain, undrain, stop_listening
    {"slow": 3}                                every engine step takes three times as long
    {"set": {"api_key": "k", "model": "m", "max_num_queued_reqs": 4}}
    {"reset_stats": true}

Several keys may come together; they are done in this order: clear, faults, set, slow, reset_stats, do. The answer is
the snapshot of `GET /_stats`. Anything that is not understood is a 400, and then nothing was changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scraper.testing.http_server import Exchange
from scraper.testing.vllm_engine import NEVER
from scraper.testing.vllm_faults import KINDS, BadFault, Fault, fault_from_json, parse_faults
from scraper.testing.vllm_protocol import ApiError, dump, parse_json

if TYPE_CHECKING:
    from scraper.testing.vllm import SimulatedVLLM

_KEYS = {"faults", "clear", "do", "seconds", "slow", "set", "reset_stats"}
_ACTIONS = ("crash", "restart", "freeze", "thaw", "kill_engine", "drain", "undrain", "stop_listening")
_SETTINGS: dict[str, tuple[type, ...]] = {
    "api_key": (str, type(None)),
    "model": (str,),
    "max_num_queued_reqs": (int, type(None)),
    "max_num_queued_tokens": (int, type(None)),
    "restart_seconds": (int, float, type(None)),
    "keep_alive_on_engine_death": (bool,),
}


async def control(exchange: Exchange, server: SimulatedVLLM) -> None:
    if not _is_loopback(exchange.peer):
        raise ApiError(403, "control is for this machine only", kind="PermissionError")
    order = parse_json(exchange.body)
    faults = _checked(order)
    if order.get("clear"):
        server.faults.clear(None if order["clear"] is True else order["clear"])
    for fault in faults:
        server.faults.add(fault)
    for name, value in order.get("set", {}).items():
        setattr(server, name, value)
    if "slow" in order:
        server.slow_down(order["slow"])
    if order.get("reset_stats"):
        server.stats.reset()
    action = order.get("do")
    if action in {"crash", "stop_listening"}:  # after these no answer could be sent
        await exchange.respond(200, dump(server.snapshot()))
    await _act(server, action, order.get("seconds"))
    if not exchange.ended:
        await exchange.respond(200, dump(server.snapshot()))


def _checked(order: dict[str, Any]) -> list[Fault]:
    """The faults to add, once everything else in the order is known to make sense."""
    _demand(set(order) <= _KEYS, f"unknown key; known: {', '.join(sorted(_KEYS))}")
    _demand(order.get("do") in (None, *_ACTIONS), f"unknown action; known: {', '.join(sorted(_ACTIONS))}")
    for key, least in (("seconds", 0.0), ("slow", 0.001)):
        value = order.get(key, 1.0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _demand(number and least <= value < NEVER, f"{key} is a number of at least {least:g}")
    _demand(order.get("clear") in (None, True, False, *KINDS), "clear is true or the kind of a fault")
    settings = order.get("set", {})
    _demand(isinstance(settings, dict) and set(settings) <= set(_SETTINGS), f"can be set: {', '.join(_SETTINGS)}")
    for name, value in settings.items():
        kinds = _SETTINGS[name]
        _demand(isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)), f"{name}: wrong type")
    faults = order.get("faults", [])
    try:
        if isinstance(faults, str):
            return parse_faults(faults)
        _demand(isinstance(faults, list), "faults is a line like 503=0.1 or a list of objects")
        return [fault_from_json(fault) for fault in faults]
    except BadFault as error:
        raise ApiError(400, str(error), param="faults") from error


async def _act(server: SimulatedVLLM, action: str | None, seconds: float | None) -> None:
    if action == "crash":
        server.crash() if seconds is None else server.crash(seconds)
    elif action == "restart":
        await server.restart()
    elif action is not None:
        getattr(server, action)()


def _demand(true: object, otherwise: str) -> None:
    if not true:
        raise ApiError(400, otherwise, param="control")


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith(("127.", "::ffff:127."))
