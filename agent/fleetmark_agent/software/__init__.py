"""Soft detection: what software the board has, by the catalog's rules, proved by running it.

Rules are the catalog's `soft` components, see `fleetmark_catalog/load/schema.py`. Detection runs in
a short-lived process (`python -I -m fleetmark_agent.software`): it never asks for a right or a
password, and writes nothing outside of a private folder that it removes. `models`, `rules` (but
for reading files) and `verdicts` are pure; `subprocesses`, `search_paths` and `probes` look at the
device.
"""
