"""One detection: applies all rules, several in parallel, and returns their findings."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from fleetmark_agent.software import detection_cache, probes, verdicts
from fleetmark_agent.software.models import (
    DetectedSoftware,
    DetectionStatus,
    Finding,
    details_of,
    first_line,
    last_line,
    line,
)
from fleetmark_agent.software.rules import DetectionRule, RuleEntry, by_family
from fleetmark_agent.software.search_paths import SearchPaths
from fleetmark_core.log import get_logger

log = get_logger(__name__)

TOTAL_LIMIT_S = 120.0
"""After this time no further program is started."""
MAX_FINDINGS = 32
"""Maximum number of findings of one rule."""
REAL = "real"
"""Key of the detail in which a proof reports the real path, behind links and wrappers."""
_RULES_AT_ONCE = 8


def detect(
    place: SearchPaths,
    rules: Sequence[DetectionRule],
    bad: Mapping[str, str] | None = None,
    digest: str = "",
    time_limit_s: float = TOTAL_LIMIT_S,
) -> DetectedSoftware:
    """Apply every rule for the device's operating system family. A failing rule never raises.

    Args:
        place: the device's files and search paths.
        rules: the rules.
        bad: reasons by name for rules that cannot be used; they are reported as absent.
        digest: the digest of the rules.
        time_limit_s: the limit of the whole detection.
    """
    started = time.monotonic()
    fitting = by_family(rules, place.family)
    bench = probes.ProbeRunner(place, max(2, min(4, os.cpu_count() or 2)), time_limit_s)
    try:
        with ThreadPoolExecutor(max_workers=_RULES_AT_ONCE) as pool:
            groups = pool.map(lambda rule: _safely(bench, rule), fitting)
            found = [finding for group in groups for finding in group]
    finally:
        bench.close()
    for name, reason in (bad or {}).items():
        found.append(Finding(name, name, DetectionStatus.ABSENT, reason=line(reason)))
    return DetectedSoftware(
        findings=tuple(found),
        rules_digest=digest,
        boot=detection_cache.boot_mark(place.root),
        finished_unix_s=time.time(),
        duration_s=round(time.monotonic() - started, 3),
    )


def _safely(bench: probes.ProbeRunner, rule: DetectionRule) -> list[Finding]:
    try:
        return apply(bench, rule)
    except Exception as error:  # a failing rule must not hide the findings of the others
        log.failure("detection rule failed", error, rule=rule.name)
        reason = f"the detection failed: {type(error).__name__}: {error}"
        return [Finding(rule.name, rule.software, DetectionStatus.ABSENT, reason=line(reason))]


def apply(bench: probes.ProbeRunner, rule: DetectionRule) -> list[Finding]:
    """Return the findings of one rule, or one finding `absent` if it found nothing."""
    met = list(_all(bench, rule))[:MAX_FINDINGS]
    found = verdicts.chosen(met, rule.several)
    if found:
        return found
    reason = line(f"not found: {'; '.join(dict.fromkeys(map(_sought, rule.entries)))}")
    return [Finding(rule.name, rule.software, DetectionStatus.ABSENT, reason=reason)]


def _all(bench: probes.ProbeRunner, rule: DetectionRule) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for entry in rule.entries:
        for met in probes.detect_step(bench, entry):
            version = verdicts.version_in(entry.version, met.output)
            if entry.version is None and entry.type == "python_module":
                version = line(met.output, 60)
            if (met.identity, version or "") in seen:
                continue
            seen.add((met.identity, version or ""))
            finding = _evaluate_match(bench, rule, entry, met, version)
            real = finding.details.get(REAL, met.identity)
            if real != met.identity and (real, finding.version) in seen:
                continue
            seen.add((real, finding.version))
            yield finding
            if finding.verdict is DetectionStatus.FOUND and not rule.several:
                return


def _evaluate_match(
    bench: probes.ProbeRunner,
    rule: DetectionRule,
    entry: RuleEntry,
    met: probes.Candidate,
    version: str | None,
) -> Finding:
    def finding(verdict: DetectionStatus, reason: str = "") -> Finding:
        shown, why = line(met.shown), line(reason)
        return Finding(rule.name, rule.software, verdict, version or "", shown, why)

    if met.fault:
        return finding(DetectionStatus.BROKEN, met.fault)
    proof = entry.proof
    proof_reason = proof is not None and proof.version is not None
    if not proof_reason:
        if version is None:
            explanation = last_line(met.output)
            return finding(DetectionStatus.BROKEN, f"its output has no version: {explanation!r}")
        fault = verdicts.version_fault(version, rule.versions)
        if fault:
            return finding(DetectionStatus.WRONG_VERSION, fault)
    ran = probes.prove(bench, entry, met, proof)
    if proof_reason and proof is not None:
        version = verdicts.version_in(proof.version, ran.output) or version
    if ran.fault:
        by_command = proof is not None and proof.command
        explanation = (first_line if by_command else last_line)(ran.errors, ran.output)
        return finding(DetectionStatus.BROKEN, ": ".join(filter(None, (ran.fault, explanation))))
    if proof_reason:
        if not version:
            explanation = last_line(ran.output, ran.errors)
            return finding(DetectionStatus.BROKEN, f"its output has no version: {explanation!r}")
        fault = verdicts.version_fault(version, rule.versions)
        if fault:
            return finding(DetectionStatus.WRONG_VERSION, fault)
    details = details_of(ran.output)
    if proof_reason:
        details.pop("version", None)
    return dataclasses.replace(finding(DetectionStatus.FOUND), details=details, tags=rule.tags)


def _sought(entry: RuleEntry) -> str:
    """Describe what an entry searches for."""
    words: Iterable[str] = {
        "command": (f"program {entry.command[0] if entry.command else ''}",),
        "file": entry.paths,
        "sysfs": entry.paths,
        "python_module": (f"Python module {entry.module}",),
        "library": (f"library {' '.join(entry.libraries)}",),
        "device_tree": (f"device-tree node {entry.node}",),
    }[entry.type]
    return ", ".join(words)
