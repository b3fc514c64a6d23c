"""Software detection: finds installed software by the catalog's rules and runs it to verify it.

The rules are the catalog's `soft` components, see `fleetmark_catalog/load/schema.py`. Detection
runs in a short-lived process (`python -I -m fleetmark_agent.software`). It never asks for a
privilege or a password, and writes only to a private folder that it removes. `models`, `verdicts`
and `rules` (except for reading files) are pure; `search_paths` and `probes` access
the device.
"""
