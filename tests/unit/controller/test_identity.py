"""The rules about tokens, roles, renewal, refusals and the audit chain; certificates by our CA."""

from __future__ import annotations

import dataclasses
import json
import random
import sqlite3
import time

import pytest
from cryptography import x509
from hypothesis import example, given
from hypothesis import strategies as st

from fleetmark_controller.api import validation
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.audit_chain import FIRST, Row, find_break
from fleetmark_controller.identity.model import (
    ByteBudget,
    Caller,
    CallRule,
    IdentityKind,
    RateLimiter,
    Role,
    TokenFacts,
    UploadLimit,
    UploadQuota,
    renew_at_ns,
    token_refusal,
)
from fleetmark_controller.identity.permissions import RULES
from fleetmark_core.device_keys import key_fingerprint, make_key, pem_sha256, signing_request
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.token import EnrollmentToken, TokenError, parse_token

SECRET = "ab" * 32


def token(**changes: object) -> TokenFacts:
    return dataclasses.replace(TokenFacts(SECRET, 1, 0, 100, False), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "secret", "now", "words"),
    [
        (token(), SECRET, 99, ""),
        (token(), SECRET, 100, "expired"),
        (token(used=1), SECRET, 0, "used up"),
        (token(uses=3, used=2), SECRET, 0, ""),
        (token(revoked=True, used=1), SECRET, 500, "revoked"),
        (None, SECRET, 0, "unknown"),
        (token(), "cd" * 32, 0, "unknown"),
        (token(revoked=True), "cd" * 32, 0, "unknown"),
    ],
)
def test_a_token_counts_or_says_why_not(
    facts: TokenFacts | None, secret: str, now: int, words: str
) -> None:
    refusal = token_refusal(facts, secret, now)
    assert (words in refusal) if words else refusal == ""


def test_roles_include_those_before_them() -> None:
    for role in Role:
        for other in Role:
            order = list(Role)
            assert role.includes(other) == (order.index(role) >= order.index(other))


def test_no_rule_mixes_anyone_with_others() -> None:
    for rule in RULES.values():
        assert not (rule.anyone and (rule.devices or rule.operators))
        assert rule.anyone or rule.devices or rule.operators


def test_a_call_without_a_rule_is_forbidden_to_all() -> None:
    for kind in IdentityKind:
        assert not CallRule().allows(Caller(kind, "x", "x", Role.ADMIN))


@given(st.integers(0, 1 << 62), st.integers(1, 1 << 55))
def test_renewal_is_due_after_two_thirds_of_a_life(issued: int, life: int) -> None:
    due = renew_at_ns(issued, issued + life)
    assert issued <= due < issued + life
    assert abs((due - issued) * 3 - 2 * life) <= 3


@given(st.lists(st.floats(0, 300), max_size=60))
def test_a_source_is_blocked_after_its_refusals_and_only_for_a_while(times: list[float]) -> None:
    limiter = RateLimiter(most=5, window_s=60, sources=3)
    began, count = -1e9, 0
    for now in sorted(times):
        if now - began >= 60:
            began, count = now, 0
        assert limiter.blocked("a", now) == (count >= 5)
        assert not limiter.blocked("b", now)
        count += 1
        assert limiter.refused("a", now) == count


@given(st.lists(st.tuples(st.floats(0, 50), st.integers(1, 60)), max_size=40))
def test_a_budget_is_kept_in_every_window(spent: list[tuple[float, int]]) -> None:
    budget = ByteBudget(most=100, window_s=10)
    began, total = -1.0, 0
    for now, size in sorted(spent):
        if total == 0 or now - began >= 10:
            began, total = now, 0
        taken = budget.spend("a", size, now)
        total += size if taken else 0
        assert total <= 100 or not taken
    assert budget.spend("b", 100, 0) and not budget.spend("b", 1, 1)
    assert budget.spend("b", 1, 10)


ATTEMPTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=5)


@given(ATTEMPTS, st.randoms(use_true_random=False))
def test_who_hands_in_what_its_attempts_may_have_is_never_refused(
    attempts: list[tuple[int, int]], chance: random.Random
) -> None:
    """Attempts with so many files, and so many fewer than they may have, in any order."""
    allowance = UploadQuota()
    left = {number: files for number, (files, _) in enumerate(attempts)}
    most = {
        number: UploadLimit(files + spare, 10 * (files + spare))
        for number, (files, spare) in enumerate(attempts)
    }
    begun = [0]
    while left:
        moves = ["begin"] * (len(begun) < len(attempts))
        moves += ["file"] * any(left.get(number) for number in begun)
        moves += ["cut"] * any(left.get(number) for number in begun)
        moves += ["evaluate"] * any(left.get(number) == 0 for number in begun)
        move = chance.choice(moves)
        awaited = {number: most[number] for number in begun if number in left}
        if move == "begin":
            begun.append(len(begun))
        elif move == "evaluate":
            del left[chance.choice([n for n in begun if left.get(n) == 0])]
        else:
            assert allowance.take("board", awaited, 10)
            if move == "cut":
                allowance.refund("board", 10)
            else:
                left[chance.choice([n for n in begun if left.get(n)])] -= 1


@given(st.integers(1, 5), st.integers(1, 50), st.integers(1, 20))
def test_more_than_the_awaited_attempts_may_have_is_refused(
    attempts: int, files: int, size: int
) -> None:
    allowance = UploadQuota()
    awaited = {number: UploadLimit(files, 100) for number in range(attempts)}
    room = min(attempts * files, attempts * 100 // size)
    taken = [allowance.take("board", awaited, size) for _ in range(room + 3)]
    assert taken == [True] * room + [False] * 3
    assert not allowance.take("another", {}, 0)


def test_a_flood_of_sources_does_not_fill_the_memory() -> None:
    limiter = RateLimiter(sources=10)
    for number in range(1000):
        limiter.refused(str(number), 0)
    assert len(limiter._seen) == 10


def chain(length: int) -> list[Row]:
    rows, before = [], FIRST
    for seq in range(1, length + 1):
        row = Row(seq, f"t{seq}", "who", "act", f"subject {seq}", "done", "{}")
        before = row.sealed(before)
        rows.append(dataclasses.replace(row, hash=before))
    return rows


@given(st.integers(0, 12))
def test_an_untouched_chain_is_sound(length: int) -> None:
    rows = chain(length)
    assert find_break(rows, length, rows[-1].hash if rows else FIRST) == ""


@given(st.data())
def test_every_change_of_a_chain_is_found(data: st.DataObject) -> None:
    rows = chain(8)
    head = rows[-1].hash
    which = data.draw(st.integers(0, 7))
    how = data.draw(st.sampled_from(["change", "delete", "repeat", "swap", "forge"]))
    touched = list(rows)
    if how == "change":
        field = data.draw(
            st.sampled_from(["at", "actor", "action", "subject", "outcome", "detail"])
        )
        touched[which] = dataclasses.replace(rows[which], **{field: "other"})
    elif how == "delete":
        del touched[which]
    elif how == "repeat":
        touched.insert(which, rows[which])
    elif how == "swap":
        other = data.draw(st.integers(0, 7).filter(lambda n: n != which))
        touched[which], touched[other] = touched[other], touched[which]
    else:
        # A row that fits to what is before it, but not to what follows, nor to the head.
        before = rows[which - 1].hash if which else FIRST
        row = dataclasses.replace(rows[which], actor="other")
        touched[which] = dataclasses.replace(row, hash=row.sealed(before))
    assert find_break(touched, 8, head)


tokens = st.builds(
    EnrollmentToken,
    st.binary(min_size=8, max_size=8).map(bytes.hex),
    st.binary(min_size=20, max_size=20),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.just("") | st.binary(min_size=32, max_size=32).filter(any).map(bytes.hex),
    st.integers(0, 65535),
)


@given(tokens)
def test_tokens_survive_being_written_down(made: EnrollmentToken) -> None:
    text = made.text()
    assert parse_token(f" {text}\n") == made
    assert made.secret.hex() not in repr(made)


@given(tokens, st.data())
def test_a_mistyped_token_is_noticed_before_anything_is_sent(
    made: EnrollmentToken, data: st.DataObject
) -> None:
    text = made.text()
    place = data.draw(st.integers(len("fleetmark1."), len(text) - 2))
    letter = data.draw(st.sampled_from("ABCabc019-_").filter(lambda c: c != text[place]))
    with pytest.raises(TokenError):
        parse_token(text[:place] + letter + text[place + 1 :])
    with pytest.raises(TokenError):
        parse_token(text[:place])


@pytest.mark.fuzz("join token")
@given(st.text(max_size=300) | st.text(max_size=300).map(lambda t: "fleetmark1." + t))
def test_any_text_is_a_token_or_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(TokenError) as caught:
        parse_token(text)
    assert len(text) < 30 or text[11:] not in str(caught.value)


@pytest.mark.fuzz("signing request")
@given(st.binary(max_size=6000))
def test_any_bytes_are_a_signing_request_or_are_refused(data: bytes) -> None:
    with pytest.raises(FleetmarkError) as caught:
        certificates.read_request(data)
    assert caught.value.kind is ErrorKind.BAD_MESSAGE


GOOD = signing_request(make_key())


@pytest.mark.fuzz("signing request")
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@example(7, 1)  # a version that does not exist
def test_a_signing_request_with_a_changed_byte_is_refused(place: int, flip: int) -> None:
    changed = bytearray(GOOD)
    changed[place] ^= flip
    with pytest.raises(FleetmarkError):
        certificates.read_request(bytes(changed))


@pytest.mark.fuzz("certificate of a caller")
@given(st.binary(max_size=3000))
def test_any_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    with pytest.raises(FleetmarkError) as caught:
        certificates.read_peer(data)
    assert caught.value.kind is ErrorKind.UNAUTHENTICATED


def test_certificates_are_what_tls_and_devices_need() -> None:
    now = time.time_ns()
    ca = certificates.make_ca(now)
    server = x509.load_pem_x509_certificate(certificates.make_server(ca, now).certificate)
    authority = x509.load_pem_x509_certificate(ca.certificate)
    for found in (server, authority):
        assert found.not_valid_before_utc.year == 1970, "devices without a clock begin there"
    server.verify_directly_issued_by(authority)
    key = make_key()
    request = certificates.read_request(signing_request(key))
    assert request.key_sha256 == key_fingerprint(key)
    life = 30 * 86_400 * 10**9
    pem, expires = certificates.sign(ca, request, IdentityKind.DEVICE, "d1", now, life)
    peer = certificates.read_peer(pem)
    assert (peer.kind, peer.identity_id) == (IdentityKind.DEVICE, "d1")
    assert peer.key_sha256 == request.key_sha256
    assert abs(expires - now - life) < 2 * 10**9 and peer.expires_ns == expires
    device = x509.load_pem_x509_certificate(pem)
    assert device.not_valid_before_utc.timestamp() < now / 1e9 - 86_400, "backdated"
    assert pem_sha256(ca.certificate) != pem_sha256(pem)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.fuzz("hello, heartbeat and report")
@given(plain)
def test_any_facts_come_out_clean_or_are_refused(value: object) -> None:
    try:
        found = validation.facts(value)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.BAD_MESSAGE
        return
    assert clean(found)
    assert validation.facts(found) == found


def clean(value: object) -> bool:
    if isinstance(value, str):
        return value.isprintable() and len(value) <= validation.MAX_TEXT
    if isinstance(value, dict):
        return all(clean(k) and clean(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(clean, value))
    return value is None or isinstance(value, bool) or 0 <= value <= validation.MAX_NUMBER  # type: ignore[operator]


@pytest.mark.fuzz("records")
@given(st.binary(max_size=200) | st.from_regex(r"[\[\]{}:,\"0-9eE.+-]{0,60}").map(str.encode))
def test_any_payload_is_a_document_for_every_reader_or_is_refused(payload: bytes) -> None:
    try:
        validation.document(payload, "record 1")
    except FleetmarkError as error:
        assert error.kind is ErrorKind.BAD_MESSAGE
        return
    readable(payload)


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), documents, max_size=5))
def test_every_sensible_document_passes(value: dict[str, object]) -> None:
    payload = json.dumps(value).encode()
    validation.document(payload, "record 1")
    readable(payload)


def readable(payload: bytes) -> None:
    with sqlite3.connect(":memory:") as store:
        sql = "SELECT json_valid(CAST(? AS TEXT))"
        assert store.execute(sql, (payload,)).fetchone() == (1,)


@given(st.floats() | st.none())
def test_a_temperature_is_one_or_none(value: float | None) -> None:
    found = validation.temperature(value)
    assert found is None or -100 <= found <= 250
