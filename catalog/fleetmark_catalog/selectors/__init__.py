"""Selectors: a small query language over the tags, labels and facts of devices."""

from fleetmark_catalog.selectors.selector import (
    Explanation,
    Selector,
    Words,
    check_words,
    parse_selector,
    unknown_words,
)
from fleetmark_catalog.selectors.subject import FACTS, ONLINE, VOCABULARY, Subject, canonical

__all__ = [
    "FACTS",
    "ONLINE",
    "VOCABULARY",
    "Explanation",
    "Selector",
    "Subject",
    "Words",
    "canonical",
    "check_words",
    "parse_selector",
    "unknown_words",
]
