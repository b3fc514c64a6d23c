"""Leases by a monotonic clock: who is online, suspect, offline, free."""

from __future__ import annotations

from fleetmark_controller.scheduling.presence import Presence, Status

LEASE = 30


def test_a_device_is_online_while_its_stream_is_open_and_its_lease_runs() -> None:
    presence = Presence(LEASE)
    session = presence.connected("a", "boot", True, 0)
    assert presence.status("a", 29) is Status.ONLINE
    presence.heartbeat("a", session, True, 20)
    assert presence.status("a", 49) is Status.ONLINE
    assert presence.online() == 1


def test_a_cut_stream_makes_it_suspect_and_the_lease_runs_on() -> None:
    presence = Presence(LEASE)
    session = presence.connected("a", "boot", True, 0)
    presence.disconnected("a", session)
    assert presence.status("a", 10) is Status.SUSPECT
    assert presence.expire(29) == []
    assert presence.expire(30) == ["a"]
    assert presence.expire(31) == [], "each loss is named once"
    assert presence.status("a", 31) is Status.OFFLINE


def test_a_late_disconnect_of_an_older_stream_changes_nothing() -> None:
    presence = Presence(LEASE)
    old = presence.connected("a", "boot", True, 0)
    new = presence.connected("a", "boot", True, 5)
    presence.disconnected("a", old)
    assert presence.current("a", new)
    assert not presence.heartbeat("a", old, True, 10)
    assert presence.status("a", 10) is Status.ONLINE


def test_only_a_connected_device_that_reported_idle_is_free() -> None:
    presence = Presence(LEASE)
    session = presence.connected("a", "boot", False, 0)
    assert not presence.free()
    assert presence.heartbeat("a", session, True, 1), "it has become idle"
    assert not presence.heartbeat("a", session, True, 2), "it was idle before"
    assert list(presence.free()) == ["a"]
    presence.mark_busy("a")
    assert not presence.free()
    presence.heartbeat("a", session, True, 3)
    presence.disconnected("a", session)
    assert not presence.free(), "what a silent device does is unknown"


def test_losing_a_lease_does_not_free_the_device() -> None:
    presence = Presence(LEASE)
    presence.connected("a", "boot", True, 0)
    presence.expire(30)
    assert not presence.free()


def test_after_a_restart_an_expected_device_gets_a_full_lease() -> None:
    presence = Presence(LEASE)
    presence.restore_lease("a", 1000)
    assert presence.status("a", 1029) is Status.SUSPECT
    assert presence.expire(1030) == ["a"]


def test_a_device_that_refuses_one_attempt_after_another_is_counted_until_it_takes_one() -> None:
    presence = Presence(LEASE)
    presence.refused("a", 1)  # it never connected
    session = presence.connected("a", "boot", True, 0)
    presence.mark_busy("a")
    presence.refused("a", 7)
    presence.refused("a", 7)  # said twice
    presence.heartbeat("a", session, True, 10)
    seen = presence.seen(12)["a"]
    assert (seen.refusals, seen.rested_ns) == (1, 2)
    presence.mark_busy("a")
    presence.refused("a", 8)
    assert presence.seen(12)["a"].refusals == 2
    presence.reset_refusals("a")
    assert presence.seen(12)["a"].refusals == 0
    presence.refused("a", 8)
    assert presence.seen(12)["a"].refusals == 0, "it was counted before"


def test_a_refusal_after_a_controller_restart_is_followed_by_a_rest_too() -> None:
    presence = Presence(LEASE)
    presence.connected("a", "boot", True, 5)
    assert presence.seen(6)["a"].rested_ns is None
    presence.refused("a", 3)
    assert presence.seen(6)["a"].rested_ns == 1
