r"""JSON Schemas of `component.toml`, from code, one per kind.

Detection rules (kind `soft`)
-----------------------------
Agents read these files with a bare TOML reader, so the structure is flat:

    kind = "soft"                  # name, version (of the rule), title, license as everywhere
    name = "gcc"

    [soft]
    software = "gcc"               # reported under this name; default: the component's name
    os = ["linux"]                 # only on these OS families; default: all
    version_pattern = '(\d+\.\d+\.\d+)'   # Python regex; its first group is the version
    versions = ">=9"               # PEP 440; software outside of this range has a wrong version
    several = true                 # report all versions found side by side; default: the first
    tags = ["gcc"]                 # tags of the device if the software is found and proved to run
    time_limit_s = 5               # of each child process; default 5

    [[soft.detect]]                # entries are tried in this order
    type = "command"
    command = ["gcc-[0-9]*", "--version"]   # argv; the program is a name or glob, found in PATH
    [[soft.detect]]
    type = "file"
    paths = ["/opt/gcc-*/bin/gcc"] # globs; absolute
    read = "content"               # version_pattern reads the content, or "path" (default)
    [[soft.detect]]
    type = "python_module"         # searched in each Python that jobs may use
    module = "onnxruntime"         # imported by the proof
    distribution = "onnxruntime"   # its metadata has the version; default: module.__version__
    [[soft.detect]]
    type = "library"
    libraries = ["libnvidia-ml.so.1", "libnvinfer.so.*"]   # names or globs, as for the loader
    [[soft.detect]]
    type = "device_tree"
    path = "compatible"            # below /proc/device-tree
    [[soft.detect]]
    type = "sysfs"
    paths = ["/sys/class/thermal/thermal_zone*/temp"]
    read = "content"

    [soft.prove]                   # must end with exit code 0, else broken: found, does not run
    command = ["{path}", "-fsyntax-only", "-x", "c", "/dev/null"]
    # or: python = "import onnxruntime; print('providers=' + ...)"
    version_pattern = '...'        # reads the proof's output instead
    time_limit_s = 20

Every detect entry may have its own `version_pattern`, `time_limit_s` and `prove`, and a `match`: a
regex that the text that is read (the output of a command, the content of a file, node or sysfs
entry) must contain for the entry to count. Without any version_pattern the version is an empty
text. In a proof, `{path}` in `command` is the path that was found, and `python` runs in a child
process (the Python in which a module was found, else the agent's base interpreter) with the path as
`sys.argv[1]`. Lines `key=value` in the output of a proof become the software's details. No rule is
run by a shell.
"""

from __future__ import annotations

from typing import Any

from fleetmark_catalog.load.kind_schemas import BODIES
from fleetmark_catalog.load.schema_parts import (
    ARTIFACT,
    NAME,
    REQUIREMENT,
    TEXT,
    VARIATION,
    VARIATION_NAME,
    WORD,
    table,
    unique,
)
from fleetmark_core.versions import SCHEMES

REQUIRED = ("kind", "name", "version", "title", "license")


def schema(kind: str) -> dict[str, Any]:
    """Return the complete JSON Schema of a `component.toml` of this kind.

    A component that extends another one may omit what the other one defines.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"component.toml of a {kind}",
        "if": {"required": ["extends"]},
        "then": partial_schema(kind),
        "else": whole_schema(kind),
    }


def whole_schema(kind: str) -> dict[str, Any]:
    """Return the schema of a complete component, before or after merging with its parents."""
    return table(_properties(kind, BODIES[kind]), (*REQUIRED, kind))


def partial_schema(kind: str) -> dict[str, Any]:
    """Return the schema of a document that extends another component."""
    properties = {key: _relaxed(part) for key, part in _properties(kind, BODIES[kind]).items()}
    return table(properties, ("kind", "name", "extends"))


def _relaxed(part: dict[str, Any]) -> dict[str, Any]:
    """Return a table schema without required keys, for tables that are merged with a parent's.

    Conditions are left out too: what they require may be the parent's. Lists are not merged, so
    their schemas are unchanged.
    """
    if part.get("type") != "object":
        return part
    relaxed = {
        key: value
        for key, value in part.items()
        if key not in ("required", "minProperties", "if", "then", "else")
    }
    if "properties" in part:
        relaxed["properties"] = {key: _relaxed(one) for key, one in part["properties"].items()}
    if isinstance(part.get("additionalProperties"), dict):
        relaxed["additionalProperties"] = _relaxed(part["additionalProperties"])
    return relaxed


def _properties(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": {"const": kind},
        "name": NAME,
        "version": {
            "type": "string",
            "pattern": r"^[0-9A-Za-z][0-9A-Za-z.+!_~-]*$",
            "maxLength": 60,
        },
        "version_scheme": {"enum": list(SCHEMES)},
        "extends": NAME,
        "title": TEXT,
        "tags": unique(WORD),
        "license": TEXT,
        "source": TEXT,
        "device": TEXT,
        "requires": {"type": "array", "items": REQUIREMENT},
        "variations": {
            "type": "object",
            "propertyNames": VARIATION_NAME,
            "additionalProperties": VARIATION,
        },
        "artifacts": {"type": "array", "items": ARTIFACT},
        kind: body,
    }
