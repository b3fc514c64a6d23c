"""JSON Schemas of the component kinds that describe devices: soft, os, container, system."""

from __future__ import annotations

from typing import Any

from fleetmark_catalog.load.schema_parts import NAME, SHA256, TEXT, WORD, table, unique

_LONG = {"type": "string", "minLength": 1, "maxLength": 4000}
_REGEX = {"type": "string", "minLength": 1, "maxLength": 400, "format": "regex"}
_ARGV = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 40}
_LIMIT = {"type": "number", "exclusiveMinimum": 0, "maximum": 60}
_RANGE = {"type": "string", "maxLength": 100}
_PATH = {"type": "string", "pattern": r"^/[^\x00-\x1f]*$", "maxLength": 300}
_NODE = {"type": "string", "pattern": r"^[^/\x00-\x1f][^\x00-\x1f]*$", "maxLength": 300}
_MODULE = {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_.]*$", "maxLength": 120}
_FAMILY = {"enum": ["linux", "macos", "android", "windows"]}

_PROVE = table(
    {"command": _ARGV, "python": _LONG, "version_pattern": _REGEX, "time_limit_s": _LIMIT},
    oneOf=[{"required": ["command"]}, {"required": ["python"]}],
)
_EVERY = ("type", "version_pattern", "match", "time_limit_s", "prove")
_OF_TYPE: dict[str, tuple[str, ...]] = {
    "command": ("command",),
    "file": ("paths", "read"),
    "python_module": ("module", "distribution"),
    "library": ("libraries",),
    "device_tree": ("path",),
    "sysfs": ("paths", "read"),
}
"""Keys of each type of detect entry, in addition to `_EVERY`. The first key is required."""

_DETECT = table(
    {
        "type": {"enum": list(_OF_TYPE)},
        "command": _ARGV,
        "paths": unique(_PATH, 1),
        "read": {"enum": ["path", "content"]},
        "module": _MODULE,
        "distribution": NAME,
        "libraries": unique(TEXT, 1),
        "path": _NODE,
        "match": _REGEX,
        "version_pattern": _REGEX,
        "time_limit_s": _LIMIT,
        "prove": _PROVE,
    },
    ("type",),
    allOf=[
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": {"required": [keys[0]], "propertyNames": {"enum": [*_EVERY, *keys]}},
        }
        for name, keys in _OF_TYPE.items()
    ],
)
SOFT = table(
    {
        "software": NAME,
        "os": unique(_FAMILY, 1),
        "versions": _RANGE,
        "version_pattern": _REGEX,
        "several": {"type": "boolean"},
        "tags": unique(WORD),
        "system_site": {"type": "boolean"},
        "adapter": WORD,
        "module": _MODULE,
        "time_limit_s": _LIMIT,
        "detect": {"type": "array", "items": _DETECT, "minItems": 1, "maxItems": 20},
        "prove": _PROVE,
    },
    ("detect",),
)
OS = table(
    {
        "family": _FAMILY,
        "names": unique(WORD, 1),
        "libc": {"enum": ["glibc", "musl", "bionic", "libsystem"]},
        "shared_library": TEXT,
        "executable_suffix": {"type": "string", "maxLength": 8},
        "library_path_variable": WORD,
        "interpreters": unique(TEXT),
        "temperature": unique(_PATH),
        "frequency": unique(_PATH),
        "power": unique(_PATH),
        "governor": unique(_PATH),
        "package_managers": unique(WORD),
        "sandbox": unique(WORD),
        "shell": TEXT,
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "notes": _LONG,
    },
    ("family",),
)
CONTAINER = table(
    {
        "image": {"type": "string", "pattern": r"^[a-z0-9][a-z0-9._/:-]*$", "maxLength": 200},
        "sha256": SHA256,
        "engines": unique({"enum": ["docker", "podman", "containerd", "apptainer"]}, 1),
        "python": {"type": "string", "pattern": r"^3\.[0-9]+$"},
        "devices": unique(_PATH),
        "mounts": unique(_PATH),
        "network": {"const": False},
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "notes": _LONG,
    },
    ("image", "sha256", "engines"),
)

_COUNT = {"type": "integer", "minimum": 0}
_FREE: dict[str, Any] = {"type": "string", "maxLength": 400}
_FIELDS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            *("submitter", "system_name", "system_type_detail"),
            *("host_processor_model_name", "host_processor_interconnect"),
            *("host_processor_frequency", "host_processor_caches"),
            *("host_memory_capacity", "host_memory_configuration"),
            *("host_storage_type", "host_storage_capacity"),
            *("host_networking", "host_networking_topology", "host_network_card_count"),
            *("accelerator_model_name", "accelerator_host_interconnect"),
            *("accelerator_frequency", "accelerator_on-chip_memories"),
            *("accelerator_memory_configuration", "accelerator_memory_capacity"),
            *("accelerator_interconnect", "accelerator_interconnect_topology"),
            *("cooling", "hw_notes", "sw_notes", "other_hardware", "other_software_stack"),
            *("framework", "operating_system", "power_supply_details", "boot_firmware_version"),
            *("management_firmware_version", "power_management", "filesystem"),
            *("number_of_type_nics_installed", "nics_enabled_firmware", "nics_enabled_os"),
            *("nics_enabled_connected", "network_speed_mbit", "other_firmware"),
            *("disk_drives", "disk_controllers"),
        ),
        _FREE,
    ),
    "division": {"enum": ["closed", "open"]},
    "status": {"enum": ["available", "preview", "rdi"]},
    "system_type": {"enum": ["edge", "datacenter", "datacenter,edge"]},
    "number_of_nodes": {"type": "integer", "minimum": 1},
    "host_processors_per_node": {"type": "integer", "minimum": 1},
    "host_processor_core_count": {"type": "integer", "minimum": 1},
    "host_processor_vcpu_count": _COUNT,
    "accelerators_per_node": _COUNT,
}
SYSTEM = table(
    {
        "boards": unique(TEXT),
        "compatible": unique(TEXT),
        "tags": unique(WORD),
        "mlperf": table(_FIELDS),
        "notes": _LONG,
    },
    ("mlperf",),
)
"""Schema of a system component.

`boards` are patterns of the board model, `compatible` of the device tree. `mlperf` contains fields
of a submission's system description that cannot be detected, under MLPerf's own names."""
