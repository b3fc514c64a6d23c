"""A device has no word in the command that cuts power."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.lifecycle.power_command import PowerCommandError, fill_power_command
from fleetmark_controller.operations import sessions
from fleetmark_controller.store.devices import device_admin
from fleetmark_core.capabilities import Capabilities
from tests.support.stores import TestStore

WORDS = ("pdu", "--outlet={label:outlet}", "{name}", "{device_id}", "a{b}c")
VALUES = {"label:outlet": "7", "name": "bench", "device_id": "01a2"}


def test_placeholders_are_filled_and_other_braces_stay() -> None:
    assert fill_power_command(WORDS, VALUES) == ["pdu", "--outlet=7", "bench", "01a2", "a{b}c"]


@pytest.mark.parametrize("key", ["label:outlet", "name"])
def test_what_no_operator_set_is_not_guessed(key: str) -> None:
    values = {name: value for name, value in VALUES.items() if name != key}
    with pytest.raises(PowerCommandError, match="no operator has set"):
        fill_power_command(WORDS, values)


@pytest.mark.parametrize("value", ["-rf", "--all", "", "a\nb", "\x1b[2J"])
def test_a_value_is_one_plain_word(value: str) -> None:
    with pytest.raises(PowerCommandError):
        fill_power_command(("pdu", "{label:outlet}"), {"label:outlet": value})


@given(st.dictionaries(st.sampled_from(sorted(VALUES)), st.text(max_size=5)))
def test_the_program_and_the_number_of_words_are_the_operators(values: dict[str, str]) -> None:
    try:
        filled = fill_power_command(("{name}", "{label:outlet}", "x"), values)
    except PowerCommandError:
        return
    assert (len(filled), filled[0], filled[2]) == (3, "{name}", "x")


def test_values_are_those_that_operators_set(tmp_path: Path, x86_device: Capabilities) -> None:
    store = TestStore(tmp_path / "results.db", x86_device)
    output = sessions.DeviceHello(
        "d1", "bench", {"outlet": "8", "site": "lab"}, x86_device, "0.1.0", "boot", 0, True, ()
    )
    store.run(lambda c, fx, now: sessions.hello(c, fx, now, output))

    def set_values() -> dict[str, str]:
        return store.run(lambda c, _fx, _now: device_admin.operator_values(c, "d1"))

    assert set_values() == {}
    store.run(lambda c, _fx, now: device_admin.label(c, now, "d1", {"outlet": "7"}))
    assert set_values() == {"label:outlet": "7"}
    store.run(lambda c, _fx, now: device_admin.rename(c, now, "d1", "rack-3"))
    assert set_values() == {"label:outlet": "7", "name": "rack-3"}
