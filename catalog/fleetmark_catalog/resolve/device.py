"""Matches requirements and conditions with the facts of a device. Pure."""

from __future__ import annotations

import fnmatch
import functools

from packaging.version import InvalidVersion, Version

from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.load.model import Component
from fleetmark_catalog.selectors import Selector, Subject, parse_selector
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.versions import PYTHON


@functools.lru_cache(maxsize=4096)
def _selector(text: str) -> Selector:
    return parse_selector(text)


def applies(when: str, subject: Subject) -> bool:
    """Return whether the device meets the condition `when`; an empty condition is always met."""
    return not when or _selector(when).matches(subject)


def misfit(condition: str, subject: Subject) -> str:
    """Return the failing predicate of `condition` with the actual value; empty if it matches."""
    if not condition:
        return ""
    explanation = _selector(condition).explain(subject)
    return "" if explanation.matches else explanation.reason


def glibc_misfit(oldest: str, device: Capabilities) -> str:
    """Return why a file that needs glibc `oldest` (`2.28`) or newer cannot run; empty if it can."""
    system = device.os
    if system.family != "linux" or system.libc != "glibc" or not system.libc_version:
        return f"needs glibc: the device has {system.libc or 'another C library'}"
    if glibc_minor(system.libc_version) < glibc_minor(oldest):
        return f"needs glibc {oldest} or newer: the device has {system.libc_version}"
    return ""


def glibc_minor(version: str) -> int:
    """Return the minor version, for example 36 for `2.36`."""
    _, _, minor = version.partition(".")
    digits = minor.partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def unfit(component: Component, subject: Subject) -> str:
    """Return why the device does not meet the component's `device` condition; empty if it does."""
    reason = misfit(component.device, subject)
    return f"{component.id} needs {component.device}: {reason}" if reason else ""


def detected(component: Component, subject: Subject) -> list[str]:
    """Return the detected versions of a detection rule's software, the highest first."""
    name = component.body.get("software", component.name)
    found = dict.fromkeys(s.version for s in subject.capabilities.software if s.name == name)
    return sorted(found, key=lambda version: _key(component, version), reverse=True)


def _key(component: Component, version: str) -> tuple[int, Version, str]:
    try:
        number = Version(version) if component.scheme == PYTHON else Version("0")
    except InvalidVersion:
        number = Version("0")
        return (0, number, version)
    return (1, number, version)


def system_component(catalog: Catalog, capabilities: Capabilities) -> Component | None:
    """Return the `system` component whose patterns match this device's board model, or None."""
    subject = Subject("", {}, capabilities)
    for component in catalog.all("system"):
        if component.body.get("boards") and not platform_misfit(component, subject):
            return component
    return None


def platform_misfit(component: Component, subject: Subject) -> str:
    """Return why the device does not match an `os`, `system` or `container` component.

    The text is empty if it matches.
    """
    facts = subject.capabilities
    if component.kind == "os":
        family, names = component.body["family"], component.body.get("names", ())
        if facts.os.family != family:
            return f"{component.id} needs os={family}: os is {facts.os.family}"
        if names and facts.os.name not in names:
            return f"{component.id} needs os in ({','.join(names)}): os is {facts.os.name}"
    elif component.kind == "system":
        patterns = component.body.get("boards", ())
        model = facts.board.model or ""
        if patterns and not any(fnmatch.fnmatchcase(model, pattern) for pattern in patterns):
            return (
                f"{component.id} needs board model {' or '.join(patterns)}: board model is "
                f"{model or 'unknown'}"
            )
    elif component.kind == "container":
        return f"{component.id} cannot be used: this version does not run jobs in containers"
    return ""
