"""Per-operator profiles: what adapters report, and the Chrome trace that is made from it.

The profile is measured in a pass of its own after the measured run, with a model that is opened
again. So profiling costs nothing in the figures of the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TRACE_FILE = "operator_profile.json"
MAX_TRACE_BYTES = 4 << 20
"""Maximum size of the trace; the trace of a call of 20,000 operators is smaller."""
MAX_EVENTS = 200_000
"""Maximum number of operator executions that an adapter reports."""
_MAX_NAME = 120


class ProfileUnavailable(Exception):
    """Raised if there is no profile of the operators; the message is the reason, for users."""


@dataclass(frozen=True)
class OperatorEvent:
    """One execution of an operator. Times are in microseconds.

    `operator` is the type, like `Conv`; `name` is that of the node in the graph. `provider` is the
    execution provider or kernel that computed it; empty if the runtime does not report it.
    """

    name: str
    operator: str
    start_us: float
    duration_us: float
    provider: str = ""


def operator_calls(adapter: Any) -> list[list[OperatorEvent]]:
    """Return the operators of each call of an adapter that was opened for profiling.

    Raises:
        ProfileUnavailable: the adapter has no profiler, or its profile cannot be read.
        OSError: the runtime's own profile cannot be read.
    """
    read = getattr(adapter, "operator_calls", None)
    if read is None:
        raise ProfileUnavailable("this runtime's adapter has no profiler")
    calls: list[list[OperatorEvent]] = read()
    return calls


def in_sequence(
    parts: Iterable[tuple[str, str, float, str]], before: Sequence[OperatorEvent] = ()
) -> list[OperatorEvent]:
    """Return the operators of a call whose runtime reports durations without start times.

    Args:
        parts: name, operator, duration in microseconds and provider of each.
        before: operators of the previous call; the new ones begin after them.
    """
    start_us = before[-1].start_us + before[-1].duration_us if before else 0.0
    events: list[OperatorEvent] = []
    for name, operator, duration_us, provider in parts:
        events.append(OperatorEvent(name, operator, start_us, duration_us, provider))
        start_us += duration_us
    return events


def read_ort_profile(lines: Iterable[bytes]) -> list[list[OperatorEvent]]:
    """Return the operators of each call from the lines of ONNX Runtime's profile.

    ONNX Runtime writes one event per line, and `model_run` after the events of a call.

    Raises:
        ProfileUnavailable: a line is not an event, or there are too many events.
    """
    calls: list[list[OperatorEvent]] = []
    current: list[OperatorEvent] = []
    count = 0
    for line in lines:
        text = line.strip().strip(b",")
        if text in (b"", b"[", b"]"):
            continue
        try:
            event = json.loads(text)
            category, name = event["cat"], str(event["name"])
            if category == "Session" and name == "model_run":
                calls.append(current)
                current = []
            elif category == "Node" and name.endswith("_kernel_time"):
                details = event["args"]
                current.append(
                    OperatorEvent(
                        name.removesuffix("_kernel_time"),
                        str(details["op_name"]),
                        float(event["ts"]),
                        float(event["dur"]),
                        str(details.get("provider", "")),
                    )
                )
                count += 1
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProfileUnavailable(
                f"ONNX Runtime wrote an unexpected line into its profile: {text[:80]!r}"
            ) from error
        if count > MAX_EVENTS:
            raise ProfileUnavailable(f"the profile has more than {MAX_EVENTS} events")
    return calls


def chrome_trace(
    calls: Sequence[Sequence[OperatorEvent]],
    about: Mapping[str, str],
    max_bytes: int = MAX_TRACE_BYTES,
) -> bytes:
    """Return a Chrome trace of as many of the first calls as fit into `max_bytes`.

    Args:
        calls: the operators of each call.
        about: entries of the trace's `otherData`.
        max_bytes: maximum size of the trace.

    Raises:
        ProfileUnavailable: there are no operators, or one call does not fit.
    """
    calls = [call for call in calls if call]
    if not calls:
        raise ProfileUnavailable("the runtime reported no operators")
    head = json.dumps({**about, "calls": len(calls)}, sort_keys=True)
    left = max_bytes - len(head) - 100
    kept: list[str] = []
    whole_calls = 0
    for number, call in enumerate(calls):
        texts = [json.dumps(event, separators=(",", ":")) for event in _events(call, number)]
        left -= sum(len(text) + 2 for text in texts)
        if left < 0:
            break
        kept += texts
        whole_calls += 1
    if not whole_calls:
        raise ProfileUnavailable(
            f"the trace of one call, with {len(calls[0])} operators, is larger than the limit of"
            f" {max_bytes} bytes"
        )
    head = json.dumps({**about, "calls": whole_calls}, sort_keys=True)
    events = ",\n".join(kept)
    text = f'{{"displayTimeUnit":"ms","otherData":{head},"traceEvents":[\n{events}\n]}}\n'
    return text.encode()


def _events(call: Sequence[OperatorEvent], number: int) -> Iterator[dict[str, Any]]:
    for event in call:
        args = {"op_name": _short(event.operator), "call": number}
        if event.provider:
            args["provider"] = _short(event.provider)
        yield {
            "name": _short(event.name),
            "cat": "Node",
            "ph": "X",
            "pid": 1,
            "tid": 1,
            "ts": round(event.start_us, 3),
            "dur": round(event.duration_us, 3),
            "args": args,
        }


def _short(text: str) -> str:
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"
