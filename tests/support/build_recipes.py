"""Builds for tests: a small extension of our own making, and one that the index has as sources."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

from fleetmark_catalog.load import Build, Sdist, Tool
from fleetmark_core.digest import sha256_file

SETUPTOOLS = Tool(
    "setuptools==80.9.0", "062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922"
)
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

CRCMOD = Sdist(
    "crcmod-1.7.tar.gz", "dc7051a0db5f2bd48665a990d3ec1cc305a466a77358ca4492826f41f283601e", 89670
)
"""Sources alone, and older than pyproject.toml."""

SETUP = """\
import datetime, os, time
from setuptools import Extension, setup

# Names of variables, not their values: those name folders of the build.
now = (str(datetime.datetime.now()), str(datetime.date.today()), time.time())
facts = {"names": sorted(os.environ), "zone": os.environ.get("TZ"), "now": now}
with open("tiny_facts.py", "w") as file:
    file.write(f"FACTS = {facts!r}\\n")
setup(
    name="tiny",
    version="1.0",
    py_modules=["tiny_facts"],
    ext_modules=[Extension("tiny", ["tiny.c"])],
)
"""

SOURCE = """\
#include <Python.h>
#include <assert.h>
#include <math.h>

static PyObject *twice(PyObject *self, PyObject *value) {
    double number = PyFloat_AsDouble(value);
    assert(number == number);
    return PyErr_Occurred() ? NULL : PyFloat_FromDouble(sqrt(4.0) * number);
}
static PyObject *where(PyObject *self, PyObject *unused) { return PyUnicode_FromString(__FILE__); }
static PyMethodDef methods[] = {
    {"twice", twice, METH_O, ""}, {"where", where, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "tiny", "", -1, methods};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&module); }
"""


def tiny(mirror: Path, arch: str, python: str = PYTHON, **files: str) -> Build:
    """Return a build of a small extension whose sdist lies in `mirror`; `files` replace its own."""
    content = {"setup.py": SETUP, "tiny.c": SOURCE}
    content |= {name.replace("_", ".", 1): text for name, text in files.items()}
    mirror.mkdir(exist_ok=True)
    archive = mirror / "tiny-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in content.items():
            entry = tarfile.TarInfo(f"tiny-1.0/{name}")
            entry.size, entry.mtime = len(text.encode()), 1_600_000_000
            tar.addfile(entry, io.BytesIO(text.encode()))
    sha256 = sha256_file(archive)
    sdist = Sdist(archive.name, sha256, archive.stat().st_size)
    archive.rename(mirror / sha256)
    return Build("tiny", "1.0", sdist, (SETUPTOOLS,), python, arch, "2.28")


def crcmod(arch: str, python: str = PYTHON) -> Build:
    """Return a build of crcmod 1.7, whose sdist comes from the package index."""
    return Build("crcmod", "1.7", CRCMOD, (SETUPTOOLS,), python, arch, "2.28")
