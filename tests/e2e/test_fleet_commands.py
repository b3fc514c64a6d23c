"""Commands for fleets and campaigns: real controller, real agents, the no-op benchmark."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetmark_controller.client.connection import Client
from fleetmark_core.ids import uuid7
from fleetmark_protos.v1 import fleet_pb2, jobs_pb2
from tests.support import noop_benchmark as toy
from tests.support.processes import Fleet, fleet_in, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("fleet commands")]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_in(folder, quarantine_after=2) as fleet:
        with (fleet.home / "config.toml").open("a") as config:
            config.write(
                'health_check = "toy-check"\nhealth_check_retry_s = 1\n'
                f'power_cycle = ["touch", "{folder}/cycled.{{label:outlet}}"]\n'
            )
        catalog = toy.make_catalog(folder / "catalog")
        _health_check(catalog, folder / "marks")
        fleet.start_controller("--catalog", str(catalog))
        fleet.start_agent("one", "--label", "site=lab1")
        # A device names an outlet, too: only what an operator sets is used.
        fleet.start_agent("two", "--label", "site=lab2", "--label", "outlet=8")
        assert fleet.run("fleet", "label", "two", "outlet=7").returncode == 0
        yield fleet


def _health_check(catalog: Path, marks: Path) -> None:
    """A benchmark like `toy` whose program needs no parameter, and fails while a file is there."""
    program = catalog / "program" / "toy-check"
    program.mkdir()
    for file in (catalog / "program" / "toy").iterdir():
        text = file.read_bytes()
        if file.suffix == ".toml":
            text = text.replace(b'name = "toy"', b'name = "toy-check"')
        if file.name == "main.py":
            fail = f'import sys\nfrom pathlib import Path\nif Path("{marks}/sick").exists():\n'
            text = (fail + '    sys.exit("sick")\n').encode() + text.replace(
                b'Path(said["marks"])', f'Path("{marks}")'.encode()
            )
        (program / file.name).write_bytes(text)
    benchmark = catalog / "benchmark" / "toy-check"
    benchmark.mkdir()
    text = (catalog / "benchmark" / "toy" / "component.toml").read_text()
    text = text.replace('name = "toy"', 'name = "toy-check"')
    (benchmark / "component.toml").write_text(text.replace("program/toy", "program/toy-check"))


def ok(fleet: Fleet, *arguments: str) -> str:
    done = fleet.run(*arguments)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def credentials(fleet: Fleet, name: str) -> tuple[str, str]:
    path = fleet.folder / f"{name}.json"
    ok(fleet, "operator", "create", name, "--role", "operator", "--out", str(path))
    return ("--credentials", str(path))


def submit(fleet: Fleet, *arguments: str) -> str:
    marks = fleet.folder / "marks"
    out = ok(fleet, "schedule", "toy", "--param", f"marks={marks}", "--json", *arguments)
    return str(json.loads(out)["campaign_id"])


def jobs(fleet: Fleet, campaign: str) -> list[dict[str, Any]]:
    found = json.loads(ok(fleet, "jobs", "list", "--campaign", campaign, "--json"))
    assert isinstance(found, list)
    return found


def states(fleet: Fleet, campaign: str) -> set[str]:
    return {job["state"] for job in jobs(fleet, campaign)}


def until_ended(fleet: Fleet, campaign: str) -> None:
    until(
        lambda: states(fleet, campaign) <= {"SUCCEEDED", "FAILED", "INVALID", "CANCELLED"},
        "the end of the campaign",
    )


def device(fleet: Fleet, name: str) -> dict[str, Any]:
    found = json.loads(ok(fleet, "fleet", "show", name, "--json"))
    assert isinstance(found, dict)
    return found


def refused(fleet: Fleet, code: int, *arguments: str) -> str:
    done = fleet.run(*arguments)
    assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr


def test_labels_of_operators_win_and_last(fleet: Fleet) -> None:
    ok(fleet, "fleet", "label", "one", "rack=r7", "site=lab9")
    assert device(fleet, "one")["device"]["labels"] == {"rack": "r7", "site": "lab9"}
    fleet.kill("one", 15)  # type: ignore[arg-type]
    fleet.start_agent("one", "--label", "site=lab1")
    assert device(fleet, "one")["device"]["labels"] == {"rack": "r7", "site": "lab9"}
    assert "one" in ok(fleet, "fleet", "list", "--fleet", "rack=r7")
    assert "two" not in ok(fleet, "fleet", "list", "--fleet", "rack=r7")
    ok(fleet, "fleet", "label", "one", "site=lab1", "--unset", "rack")
    assert "is not a valid label" in refused(fleet, 2, "fleet", "label", "one", "memory=4")
    assert "'two'" in refused(fleet, 3, "fleet", "label", "twoo", "a=b")


def test_saved_fleets_stand_wherever_a_selector_does(fleet: Fleet) -> None:
    ok(fleet, "fleet", "selector", "set", "first", "site=lab1")
    ok(fleet, "fleet", "selector", "set", "nightly", "@first,linux")
    assert json.loads(ok(fleet, "fleet", "selector", "list", "--json")) == [
        {"name": "first", "selector": "site=lab1"},
        {"name": "nightly", "selector": "@first,linux"},
    ]
    listed = json.loads(ok(fleet, "fleet", "list", "--fleet", "@nightly", "--json"))
    assert [d["name"] for d in listed] == ["one"]
    plan = json.loads(ok(fleet, "schedule", "toy", "--dry-run", "--json", "--fleet", "@nightly"))
    assert [x["device"] for x in plan["matched"]] == ["one"]
    assert plan["excluded"] == [
        {"device": "two", "reason": "@nightly: @first: site=lab1: site is lab2"}
    ]
    assert set(plan["estimate"]) == {
        *("jobs", "devices", "makespan_ns", "total_ns"),
        *("critical_device", "estimated_from_history", "offline_devices"),
    }
    assert plan["estimate"]["critical_device"] == "one"
    ok(fleet, "jobs", "list", "--fleet", "@nightly")
    ok(fleet, "results", "list", "--fleet", "@nightly")
    out = str(fleet.folder / "some.csv")
    ok(fleet, "export", "--format", "csv", "--out", out, "--fleet", "@nightly")
    assert "in use by @nightly" in refused(fleet, 2, "fleet", "selector", "delete", "first")
    assert "refers to itself" in refused(fleet, 2, "fleet", "selector", "set", "first", "@nightly")
    assert "'nightly'" in refused(fleet, 3, "fleet", "selector", "delete", "nightlyy")
    ok(fleet, "fleet", "selector", "delete", "nightly")
    assert "no fleet is saved as @nightly" in refused(
        fleet, 2, "fleet", "list", "--fleet", "@nightly"
    )


def test_an_unknown_word_gets_a_caret_everywhere(fleet: Fleet) -> None:
    for command in (
        ["schedule", "toy"],
        ["fleet", "list"],
        ["jobs", "list"],
        ["results", "list"],
        ["export", "--format", "csv", "--out", "x.csv"],
    ):
        output = refused(fleet, 2, *command, "--fleet", "linux,sit=lab1")
        assert "did you mean 'site'?" in output
        assert "\n  linux,sit=lab1\n        ^^^" in output


def test_a_dry_run_explains_every_device_even_if_none_matches(fleet: Fleet) -> None:
    done = fleet.run("schedule", "toy", "--dry-run", "--json", "--fleet", "memory>=4000GiB")
    assert done.returncode == 3
    plan = json.loads(done.stdout)
    assert plan["jobs"] == plan["matched"] == []
    assert {x["device"] for x in plan["excluded"]} == {"one", "two"}
    assert all("memory is" in x["reason"] for x in plan["excluded"])
    shown = ok(fleet, "schedule", "toy", "--dry-run", "--fleet", "site=lab1")
    assert "site=lab1: site is lab1" in shown


def test_devices_with_a_weaker_sandbox_are_left_out(fleet: Fleet) -> None:
    fleet.start_agent("weak", "--sandbox", "limits", "--label", "site=lab3")
    words = ["schedule", "toy", "--dry-run", "--json", "--min-sandbox", "landlock"]
    try:
        plan = json.loads(fleet.run(*words).stdout)
        reasons = {x["device"]: x["reason"] for x in plan["excluded"]}
        assert (
            "has sandbox level limits, but the job requires landlock or a stronger one"
            in reasons["weak"]
        )
        assert "does not allow it" in reasons["weak"]
        assert "weak" not in {job["device"] for job in plan["jobs"]}
        alone = fleet.run(*words[:2], *words[4:], "--fleet", "site=lab3")
        assert alone.returncode == 3 and "the job requires landlock" in alone.stderr
        wrong = fleet.run("schedule", "toy", "--min-sandbox", "landlok")
        assert wrong.returncode == 2 and "Did you mean 'landlock'?" in wrong.stderr
    finally:
        fleet.kill("weak", signal.SIGTERM)
        ok(fleet, "fleet", "remove", "weak")


def test_size_and_time_come_first_and_large_ones_are_refused(fleet: Fleet) -> None:
    done = fleet.run("schedule", "toy", "--repeat", "30", "--max-jobs", "50")
    assert done.returncode == 2
    assert "60 jobs (1 configuration × 30 repetitions × 2 devices), more than 50" in done.stderr
    assert "--max-jobs 60" in done.stderr
    done = fleet.run("schedule", "toy", "--dry-run", "--repeat", "3")
    assert "6 jobs on 2 devices, about" in done.stdout
    assert "estimated from the profile" in done.stdout


def test_a_drained_device_waits_says_so_and_is_resumed(fleet: Fleet) -> None:
    ok(fleet, "fleet", "drain", "one", "--reason", "new fan")
    campaign = submit(fleet, "--fleet", "name=one")
    (job,) = jobs(fleet, campaign)
    assert (job["state"], job["wait_reason"]) == ("QUEUED", "one is drained (new fan)")
    assert "one is drained (new fan)" in ok(fleet, "jobs", "show", job["job_id"])
    shown = json.loads(ok(fleet, "jobs", "show", job["job_id"], "--json"))
    assert re.fullmatch("[0-9a-f]{64}", shown["lockfile_sha256"])
    assert "drained (new fan)" in ok(fleet, "fleet", "list")
    ok(fleet, "fleet", "undrain", "one")
    until_ended(fleet, campaign)
    assert states(fleet, campaign) == {"SUCCEEDED"}
    done = fleet.run("schedule", "toy", "--dry-run", "--param", f"marks={fleet.folder / 'marks'}")
    assert "from earlier runs" in done.stdout


def test_each_hold_of_a_device_ends_alone(fleet: Fleet) -> None:
    ok(fleet, "fleet", "drain", "one", "--reason", "new fan")
    ok(fleet, "fleet", "reserve", "one", "--for", "1h")
    output = ok(fleet, "fleet", "undrain", "one")
    assert output.startswith("one: still reserved for local until ")
    ok(fleet, "fleet", "drain", "one")
    assert ok(fleet, "fleet", "unreserve", "one") == "one: still drained\n"
    assert ok(fleet, "fleet", "unquarantine", "one") == "one: still drained\n"
    assert ok(fleet, "fleet", "undrain", "one") == "one accepts jobs\n"
    assert "no device is called 'three'" in refused(fleet, 3, "fleet", "undrain", "three")


def test_old_names_of_commands_work_and_name_the_new_ones(fleet: Fleet) -> None:
    campaign = json.loads(
        ok(fleet, "schedule", "toy", "--any", "--set", f"marks={fleet.folder / 'marks'}", "--json")
    )["campaign_id"]
    pack = str(fleet.folder / "p.zip")
    for words, now in (
        (("jobs", "watch", campaign), "controller campaign watch"),
        (("jobs", "show", campaign), "controller campaign show"),
        (("jobs", "pause", campaign), "controller campaign pause"),
        (("jobs", "resume", campaign), "controller campaign resume"),
        (("jobs", "cancel", campaign), "controller campaign cancel"),
        (("jobs", "retry", campaign), "controller campaign retry"),
        (("fleet", "resume", "one"), "controller fleet undrain"),
        (("fleet", "save", "x86", "x86_64"), "controller fleet selector set"),
        (("fleet", "saved"), "controller fleet selector list"),
        (("fleet", "forget", "x86"), "controller fleet selector delete"),
        (("fleet", "describe", "one"), "controller fleet set-system-info"),
        (("catalog", "pack", campaign, "--out", pack), "campaign pack"),
        (
            ("catalog", "unpack", str(fleet.folder / "p.zip"), str(fleet.folder / "p")),
            "pack verify",
        ),
        (("catalog", "release", "--propose", str(fleet.folder / "draft")), "release propose"),
    ):
        done = fleet.run(*words)
        assert done.returncode == 0, done.stderr
        assert f"`controller {' '.join(words[:2])}` is now `" in done.stderr, words
        assert now in done.stderr
        listed = fleet.run(words[0], "-h").stdout
        assert not re.search(rf"^  {words[1]} ", listed, re.MULTILINE) or words[1] in (
            *("show", "cancel", "retry"),
            "release",
        )
    assert campaign[-8:] in ok(fleet, "campaign", "list")


def test_a_reserved_device_takes_its_holders_jobs_only(fleet: Fleet) -> None:
    anna, ben = (credentials(fleet, name) for name in ("anna", "ben"))
    output = ok(fleet, "fleet", "reserve", "one", "--for", "1h", *anna)
    assert "one is reserved for anna until" in output
    assert "reserved for anna" in refused(fleet, 4, "fleet", "reserve", "one", "--for", "1h", *ben)
    other = submit(fleet, "--fleet", "name=one", *ben)
    hers = submit(fleet, "--fleet", "name=one", *anna)
    until_ended(fleet, hers)
    (job,) = jobs(fleet, other)
    assert job["wait_reason"].startswith("one is reserved for anna until")
    ok(fleet, "fleet", "reserve", "one", "--for", "1s", *anna)
    until_ended(fleet, other)  # by itself, when the reservation is over


def test_no_operator_acts_in_the_name_of_another(fleet: Fleet) -> None:
    with Client(fleet.address, fleet.credentials) as client:
        reserve = fleet_pb2.ReserveRequest(names=["one"], operator="anna", duration_ns=3600 * 10**9)
        (reserved,) = client.call(client.fleet.Reserve, reserve).devices
        assert reserved.admin.reserved_for == "local"
        values = {"marks": jobs_pb2.Values(values=[str(fleet.folder / "marks")])}
        request = jobs_pb2.SubmitRequest(
            campaign_id=uuid7(),
            benchmark="toy",
            selector="name=one",
            parameters=values,
            submitted_by="anna",
        )
        list(client.stream(client.jobs.Submit, request))
    assert "local" in ok(fleet, "campaign", "show", request.campaign_id)
    until_ended(fleet, request.campaign_id)
    ok(fleet, "fleet", "unreserve", "one")
    assert "No such option '--as'" in refused(
        fleet, 2, "fleet", "reserve", "one", "--for", "1h", "--as", "anna"
    )


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("fleet", "reserve", "one", "--for", "soon"), "'soon' is not a duration, such as 90s"),
        (("fleet", "reserve", "one", "--for", "0"), "'0' is too short: the minimum is 1s"),
        (("token", "create", "--ttl", "1w"), "'1w' is not a duration, such as 90s"),
        (("token", "create", "--ttl", "99999d"), "'99999d' is too long"),
        (("operator", "create", "cleo", "--ttl", "0.5s"), "'0.5s' is too short"),
        (("schedule", "toy", "--deadline", "-1"), "'-1' is not a duration"),
    ],
)
def test_times_are_read_alike_everywhere(fleet: Fleet, words: tuple[str, ...], output: str) -> None:
    assert output in refused(fleet, 2, *words)


def test_a_paused_campaign_waits(fleet: Fleet) -> None:
    ok(fleet, "fleet", "drain", "one", "two")
    campaign = submit(fleet, "--repeat", "2")
    assert "4 jobs wait" in ok(fleet, "campaign", "pause", campaign)
    ok(fleet, "fleet", "undrain", "one", "two")
    assert {job["wait_reason"] for job in jobs(fleet, campaign)} == {"its campaign is paused"}
    assert "paused" in ok(fleet, "campaign", "show", campaign)
    ok(fleet, "campaign", "resume", campaign)
    until_ended(fleet, campaign)
    assert states(fleet, campaign) == {"SUCCEEDED"}


def test_a_deadline_ends_what_waits_and_says_for_what(fleet: Fleet) -> None:
    ok(fleet, "fleet", "drain", "one", "--reason", "new fan")
    late = submit(fleet, "--fleet", "name=one", "--deadline", "1s")
    until_ended(fleet, late)
    (job,) = jobs(fleet, late)
    assert job["state"] == "FAILED"
    output = ok(fleet, "jobs", "show", job["job_id"])
    assert "its deadline passed: one is drained (new fan)" in output
    ok(fleet, "fleet", "undrain", "one")


def test_a_job_is_tried_as_often_as_was_asked_for(fleet: Fleet) -> None:
    bad = ("--param", f"marks={fleet.folder / 'nowhere'}", "--fleet", "name=one")
    done = fleet.run("schedule", "toy", *bad, "--max-attempts", "2", "--wait")
    assert done.returncode == 1
    assert "(attempt 2 of 2)" in done.stdout
    ok(fleet, "fleet", "unquarantine", "one")  # its failures are forgotten


def test_cancelling_is_confirmed_by_the_devices_and_cancelled_jobs_can_be_retried(
    fleet: Fleet,
) -> None:
    campaign = submit(fleet, "--param", "duration_s=60", "--repeat", "2")
    until(
        lambda: (
            fleet.query(
                f"SELECT count(*) FROM attempts WHERE campaign_id = '{campaign}'"
                " AND state = 'RUNNING'"
            )
            == [(2,)]
        ),
        "two running jobs",
    )
    output = ok(fleet, "campaign", "cancel", campaign)
    assert "Cancelling 4 jobs" in output
    assert "one confirmed" in output
    assert "two confirmed" in output
    assert states(fleet, campaign) == {"CANCELLED"}
    assert "Nothing to cancel" in ok(fleet, "campaign", "cancel", campaign)
    assert "Nothing to retry" in ok(fleet, "campaign", "retry", campaign)
    old = jobs(fleet, campaign)[0]["job_id"]
    assert "1 job again" in ok(fleet, "jobs", "retry", old, "--cancelled")
    assert "Nothing to retry" in ok(fleet, "jobs", "retry", old, "--cancelled")
    assert len(jobs(fleet, campaign)) == 5
    ok(fleet, "campaign", "cancel", campaign)


def test_what_a_job_writes_is_read_along_by_any_number_and_stays(fleet: Fleet) -> None:
    campaign = submit(fleet, "--fleet", "name=one", "--param", "duration_s=6")
    (job,) = jobs(fleet, campaign)
    arguments = ("jobs", "logs", job["job_id"])
    until(lambda: "begins" in fleet.run(*arguments).stdout, "its first line")
    assert states(fleet, campaign) == {"ACTIVE"}, "it is shown while the job runs"
    began = time.monotonic()
    readers = [fleet.start("jobs", "logs", "-f", job["job_id"]) for _ in range(3)]
    first = [reader.stdout.readline() for reader in readers if reader.stdout]
    assert first == [b"the toy begins\n"] * 3
    rest = [reader.communicate(timeout=60) for reader in readers]
    assert all(b"the toy ends\n" in out for out, _ in rest), "and what it writes later"
    assert all(b"a word of warning\n" in err for _, err in rest)
    assert time.monotonic() - began < 60
    until_ended(fleet, campaign)
    done = fleet.run(*arguments)
    assert done.stdout == "the toy begins\nthe toy ends\n"
    assert done.stderr == "a word of warning\n"
    ok(fleet, "fleet", "drain", "one")
    (waiting,) = jobs(fleet, submit(fleet, "--fleet", "name=one"))
    assert "has not started" in refused(fleet, 3, "jobs", "logs", waiting["job_id"])
    ok(fleet, "jobs", "cancel", waiting["job_id"])
    ok(fleet, "fleet", "undrain", "one")


def test_watching_shows_phase_and_time_left(fleet: Fleet) -> None:
    before = submit(fleet, "--fleet", "name=one", "--param", "duration_s=3")
    until_ended(fleet, before)
    campaign = submit(fleet, "--fleet", "name=one", "--param", "duration_s=15")
    until(
        lambda: device(fleet, "one")["device"].get("progress", {}).get("phase") == "run",
        "its progress",
    )
    assert "toy" in ok(fleet, "fleet", "list")
    out = ok(fleet, "campaign", "watch", campaign)
    assert re.search(r"\[0/1\] one toy .* run.*, [0-9]+ s left", out)
    assert "succeeded" in out


def test_two_configurations_alternate_on_one_device(fleet: Fleet) -> None:
    other = submit(fleet, "--fleet", "name=one", "--priority", "0", "--param", "duration_s=0.1")
    until_ended(fleet, other)
    campaign = submit(
        fleet, "--interleave", "--any-device", "--repeat", "3", "--param", "duration_s=0.2,0.3"
    )
    until(lambda: "ACTIVE" in states(fleet, campaign), "its first job")
    between = submit(fleet, "--priority", "9", "--param", "duration_s=0.1")
    until_ended(fleet, campaign)
    until_ended(fleet, between)
    rows = fleet.query(
        "SELECT campaign_id, device, configuration FROM attempts JOIN jobs USING (job_id,"
        " campaign_id, device) ORDER BY epoch"
    )
    mine = [(device, text) for found, device, text in rows if found == campaign]
    assert len({device for device, _ in mine}) == 1, "a series stays on one device"
    kinds = [str(text).split("duration_s=")[1].split(" ")[0] for _, text in mine]
    assert kinds == ["0.2", "0.3"] * 3
    on_device = [str(found) for found, device, _ in rows if device == mine[0][0]]
    first = on_device.index(campaign)
    assert on_device[first : first + 6] == [campaign] * 6, "nothing came between"
    assert "at least two configurations to alternate" in refused(
        fleet, 2, "schedule", "toy", "--interleave"
    )


def test_a_device_on_which_jobs_fail_must_prove_itself(fleet: Fleet) -> None:
    """Quarantine after two failures of what worked before, a power cycle, two health checks."""
    sick = fleet.folder / "marks" / "sick"
    sick.touch()
    bad = fleet.marks / "nowhere"  # the program cannot leave its marks there: it fails
    arguments = ("--fleet", "name=two", "--max-attempts", "1", "--json")

    def run(number: int) -> str:
        repeat = ("--param", f"duration_s=0.{number}")
        out = ok(fleet, "schedule", "toy", "--param", f"marks={bad}", *repeat, *arguments)
        campaign = str(json.loads(out)["campaign_id"])
        until_ended(fleet, campaign)
        return campaign

    for number in (1, 2, 3):
        assert states(fleet, run(number)) == {"FAILED"}
    assert device(fleet, "two")["device"]["admin"]["failures"] == 0, "the job may be wrong"
    bad.mkdir()
    bad.chmod(0o777)
    for number in (1, 2):
        assert states(fleet, run(number)) == {"SUCCEEDED"}
    shutil.rmtree(bad)
    for number in (1, 2):
        failed = run(number)
        assert states(fleet, failed) == {"FAILED"}
    assert device(fleet, "two")["device"]["admin"]["quarantined"]
    campaign = submit(fleet, "--fleet", "name=two")
    (job,) = jobs(fleet, campaign)
    assert "two is quarantined" in job["wait_reason"]
    until((fleet.folder / "cycled.7").exists, "the power cycle")
    until(
        lambda: device(fleet, "two")["device"]["admin"]["failures"] > 2, "a health check that fails"
    )
    assert states(fleet, campaign) == {"QUEUED"}
    sick.unlink()
    until_ended(fleet, campaign)
    assert states(fleet, campaign) == {"SUCCEEDED"}
    assert not device(fleet, "two")["device"]["admin"]["quarantined"]
    # Only what failed is done again.
    assert "1 job again" in ok(fleet, "campaign", "retry", failed)
    until_ended(fleet, failed)
    assert [bool(job["retried_as"]) for job in jobs(fleet, failed)] == [True, False]
    ok(fleet, "fleet", "unquarantine", "two")


def test_a_device_is_renamed_with_its_results_and_removed_without_them(fleet: Fleet) -> None:
    runs = len(json.loads(ok(fleet, "results", "list", "--runs", "--fleet", "name=two", "--json")))
    assert runs
    ok(fleet, "fleet", "rename", "two", "zwei")
    assert "another device" in refused(fleet, 2, "fleet", "rename", "zwei", "one")
    found = ok(fleet, "results", "list", "--runs", "--fleet", "name=zwei", "--json")
    assert len(json.loads(found)) == runs
    fleet.kill("two", 15)  # type: ignore[arg-type]
    fleet.start_agent("two", shown_as="zwei")  # it reports `two`; the operator's name stays
    ok(fleet, "fleet", "drain", "zwei")
    waiting = submit(fleet, "--fleet", "name=zwei")
    both = submit(fleet, "--any-device")
    assert "1 job that only it could run is cancelled." in ok(fleet, "fleet", "remove", "zwei")
    assert states(fleet, waiting) == {"CANCELLED"}
    until_ended(fleet, both)
    assert states(fleet, both) == {"SUCCEEDED"}, "another device could run it"
    assert fleet.presence("zwei") == ""
    assert fleet.query("SELECT count(*) FROM devices") == [(1,)]
    rows = json.loads(ok(fleet, "results", "list", "--runs", "--json"))
    assert sum(row["device"] == "zwei" for row in rows) == runs
    assert "no device" in refused(fleet, 3, "fleet", "show", "zwei")
    assert "Nothing to retry" in ok(fleet, "campaign", "retry", waiting, "--cancelled")
    # Its key is no longer valid; with a new home it is a new device, and the name is free.
    until(lambda: fleet.children["two"].poll() is not None, "the end of its agent")
    fleet.start_agent("zwei")


def test_what_operators_decide_is_in_the_audit_log(fleet: Fleet) -> None:
    ok(fleet, "fleet", "drain", "one", "--reason", "for the log")
    ok(fleet, "fleet", "undrain", "one")
    rows = json.loads(ok(fleet, "audit", "show", "--all", "--json"))
    done = [(row["action"], row["subject"]) for row in rows if row["outcome"] == "done"]
    assert done[-2:] == [("device.drain", "one"), ("device.resume", "one")]
    acts = {act for act, _ in done}
    assert acts >= {"device.label", "device.reserve", "device.rename", "device.remove"}
    assert acts >= {"fleet.save", "fleet.forget", "campaign.submit", "campaign.pause"}
    assert acts >= {"campaign.resume", "jobs.cancel", "jobs.retry"}
    own = {row["action"] for row in rows if row["actor"] == "controller"}
    assert "campaign.submit" in own, "health checks"
    ok(fleet, "audit", "verify")


def test_capabilities_have_a_history(fleet: Fleet) -> None:
    history = device(fleet, "one")["history"]
    assert history[0]["what"] == "first seen"
    before = device(fleet, "one")["device"]["capabilities"]["sandbox"]["level"]
    fleet.kill("one", signal.SIGTERM)
    fleet.start_agent("one", "--sandbox", "none")
    assert f"sandbox.level: {before} → none" in device(fleet, "one")["history"][-1]["what"]
    shown = ok(fleet, "fleet", "show", "one")
    assert "first seen" in shown and f"{before} → none" in " ".join(shown.split())
