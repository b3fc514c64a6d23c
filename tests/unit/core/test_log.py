"""Log events: fields reach the record under any name, and bound fields come first."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from fleetmark_core.log import FieldLogger, LogEvent, get_logger

NAME = "fleetmark.test_log"


@pytest.fixture
def log() -> Iterator[FieldLogger]:
    logging.getLogger(NAME).setLevel(logging.INFO)
    yield get_logger(NAME)
    logging.getLogger(NAME).setLevel(logging.NOTSET)


def message(record: logging.LogRecord) -> LogEvent:
    assert isinstance(record.msg, LogEvent)
    return record.msg


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_each_level_writes_event_and_fields(
    level: str, log: FieldLogger, caplog: pytest.LogCaptureFixture
) -> None:
    getattr(log, level)("attempt settled", job="j", epoch=7)
    (record,) = caplog.records
    assert record.levelname == level.upper()
    assert (message(record).event, message(record).fields) == (
        "attempt settled",
        {"job": "j", "epoch": 7},
    )
    assert record.getMessage() == "attempt settled job=j epoch=7"
    assert (record.filename, record.funcName) == (
        "test_log.py",
        "test_each_level_writes_event_and_fields",
    )


def test_a_bound_logger_adds_its_fields_and_leaves_the_first_as_it_was(
    log: FieldLogger, caplog: pytest.LogCaptureFixture
) -> None:
    bound = log.bind(device="d", job="j").bind(epoch=1)
    bound.info("attempt ended", job="other")
    log.info("attempt ended")
    assert [message(r).fields for r in caplog.records] == [
        {"device": "d", "job": "other", "epoch": 1},
        {},
    ]


def test_names_of_attributes_and_parameters_are_names_of_fields(
    log: FieldLogger, caplog: pytest.LogCaptureFixture
) -> None:
    record = logging.LogRecord(NAME, logging.INFO, "", 0, "", None, None)
    names = [*vars(record), "self", "event", "error", "level", "extra", "message", "asctime"]
    fields = {name: f"value of {name}" for name in names}
    log.bind(**fields).info("names used", **fields)
    log.failure("names used", ValueError("x"), **fields)
    for written in caplog.records:
        assert message(written).fields == fields
        assert written.name == NAME


def test_a_failure_carries_the_exception_outside_of_its_handler(
    log: FieldLogger, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("broken")
    log.failure("background task failed", error, operation="x")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None and record.exc_info[1] is error


class Untouchable:
    """A value that must not be turned into text."""

    def __str__(self) -> str:
        raise AssertionError("a disabled level formats nothing")

    __repr__ = __str__


def test_a_disabled_level_formats_nothing(
    log: FieldLogger, caplog: pytest.LogCaptureFixture
) -> None:
    log.debug("message not sent", value=Untouchable())
    assert caplog.records == []


def test_a_handler_of_the_standard_library_shows_the_fields(log: FieldLogger) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger(NAME).addHandler(handler)
    try:
        log.info("certificate renewed", device="bench 1")
    finally:
        logging.getLogger(NAME).removeHandler(handler)
    assert stream.getvalue() == 'certificate renewed device="bench 1"\n'
