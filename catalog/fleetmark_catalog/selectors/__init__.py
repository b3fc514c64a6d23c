"""Selectors: a small language over devices' tags, labels and facts."""

from fleetmark_catalog.selectors.selector import (
    Explanation,
    Selector,
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
    "parse_selector",
    "unknown_words",
]
