"""Selectors: a small language over devices' tags, labels and facts."""

from fleetmark_catalog.selectors.selector import (
    Explanation,
    Selector,
    check_words,
    parse_selector,
    unknown_words,
)
from fleetmark_catalog.selectors.subject import FACTS, VOCABULARY, Subject

__all__ = [
    "FACTS",
    "VOCABULARY",
    "Explanation",
    "Selector",
    "Subject",
    "check_words",
    "parse_selector",
    "unknown_words",
]
