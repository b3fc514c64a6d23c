"""The proof of a device: complete, without personal details, and a recorded machine at once."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fleetmark_agent.fingerprint import measure
from fleetmark_agent.fingerprint.interpreters import probe
from fleetmark_agent.proof import proof_archive
from fleetmark_agent.proof.identity_words import scrubber_here
from fleetmark_agent.proof.recording import is_recorded, noted_paths, recorded_files
from fleetmark_agent.proof.runtime_runs import run_all
from fleetmark_agent.proof.scrub import Scrubber
from fleetmark_agent.runner.telemetry.device_condition import Condition
from fleetmark_core.errors import FleetmarkError
from tests.support.add_machine import EXPECTED, TREE, add_machine, differences, facts, reported
from tests.support.vendor_devices import JetsonDevice, add_vcgencmd

PLANTED = {
    "host name": "alices-orin",
    "domain": "lab.example.org",
    "user": "alice",
    "full name": "Liddell",
    "serial": "1421223015986",
    "machine id": "0123456789abcdef0123456789abcdef",
    "disk": "S4EVNX0R123456",
    "card": "3c:6d:66:12:34:56",
    "card without colons": "3c6d66123456",
    "address": "192.168.178.23",
    "address 6": "fe80::3e6d:66ff:fe12:3456",
    "uuid": "6f1c2d3e-4a5b-6c7d-8e9f-0a1b2c3d4e5f",
}


@pytest.fixture
def device(tmp_path: Path) -> JetsonDevice:
    """A Jetson with personal details wherever they may be."""
    device = JetsonDevice(tmp_path / "device")
    device.temperature(45)
    device.governor("schedutil", "performance schedutil")
    device.put("proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit")
    device.put("proc/device-tree/serial-number", PLANTED["serial"])
    device.put("proc/sys/kernel/hostname", PLANTED["host name"])
    device.put("etc/hostname", f"{PLANTED['host name']}.{PLANTED['domain']}")
    device.put("etc/machine-id", PLANTED["machine id"])
    device.put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
               "alice:x:1000:1000:Alice Liddell,,,:/home/alice:/bin/sh\n"
               "daemon:x:1:1:daemon:/usr/sbin:/bin/false")  # fmt: skip
    device.put("sys/class/net/eth0/address", PLANTED["card"])
    device.put("sys/block/nvme0n1/device/serial", PLANTED["disk"])
    device.put("proc/cpuinfo", f"processor\t: 0\nCPU part\t: 0xd42\nCPU implementer\t: 0x41\n"
               f"Hardware\t: alices-orin\nSerial\t\t: {PLANTED['serial']}")  # fmt: skip
    device.put("proc/meminfo", "MemTotal: 8000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB")
    device.put(
        "etc/os-release",
        f'NAME="Ubuntu"\nVERSION_ID="22.04"\nHOME_URL="{" ".join(PLANTED.values())}"',
    )
    group = "user.slice/user-1000.slice/alice-bench.service"
    device.put("proc/self/cgroup", f"0::/{group}")
    device.put(f"sys/fs/cgroup/{group}/cpu.max", "max 100000")
    device.put(f"sys/fs/cgroup/{group}/cpu.stat", "nr_periods 0\nnr_throttled 0")
    chip = "sys/class/hwmon/hwmon1"
    device.put(f"{chip}/name", "ina3221")
    device.put(f"{chip}/in1_label", "VDD_IN")
    device.put(f"{chip}/in1_input", 5000)
    device.put(f"{chip}/curr1_input", 1200)
    device.put("sys/class/hwmon/hwmon2/name", f"nic_{PLANTED['card without colons']}")
    device.put("sys/class/hwmon/hwmon2/temp1_input", 40000)
    add_vcgencmd(device)
    program = device.root / "usr/sbin/nvpmodel"
    program.write_text(program.read_text().replace(
        "-q) echo", "-q) echo 'warning: /home/alice/x on alices-orin'; echo"))  # fmt: skip
    return device


@pytest.fixture
def home(tmp_path: Path, device: JetsonDevice) -> Path:
    home = tmp_path / "agent-home"
    home.mkdir()
    (home / "config.toml").write_text(f'system_root = "{device.root}"\n')
    return home


@pytest.fixture
def archive(
    tmp_path: Path, home: Path, device: JetsonDevice, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The proof of the device, without the software of the machine that runs the tests."""
    monkeypatch.setattr(proof_archive, "measure", lambda **_: measure(device.root, home))
    monkeypatch.setattr(proof_archive, "detect_in_child", lambda: SimpleNamespace(findings=()))
    out = tmp_path / "proof.tar.gz"
    proof_archive.write_proof(home, out, None)
    return out


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        files = {entry.name: opened.extractfile(entry) for entry in opened}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_no_personal_detail_is_in_the_proof(archive: Path) -> None:
    files = contents(archive)
    assert len(files) > 10
    for name, data in files.items():
        text = f"{name}\n{data.decode('latin-1')}".lower()
        for what, detail in PLANTED.items():
            assert detail.lower() not in text, (what, name)
        assert "/home/alice" not in text
    with tarfile.open(archive) as opened:
        assert {(entry.uid, entry.uname, entry.mtime) for entry in opened} == {(0, "", 0)}


def test_what_identifies_no_device_stays(archive: Path) -> None:
    files = contents(archive)
    document = json.loads(files["proof.json"])
    assert document["capabilities"]["board"]["model"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert document["capabilities"]["accelerators"][0]["driver_version"] == "36.4.3"
    assert document["power"][0]["name"] == "ina3221 VDD_IN"
    assert document["measuring"]["stable_settings"]["nvpmodel"].startswith(("MAXN", "the power"))
    assert {one["program"] for one in document["programs"]} == {
        "usr/sbin/nvpmodel",
        "usr/bin/jetson_clocks",
        "usr/bin/vcgencmd",
    }
    assert files["tree/sys/class/hwmon/hwmon1/curr1_input"] == b"1200\n"
    assert files["tree/proc/cpuinfo"].splitlines()[-1] == b"Serial\t\t: SERIAL"
    assert b'VERSION_ID="22.04"' in files["tree/etc/os-release"]
    # A group is called alike in the files and in their paths.
    group = files["tree/proc/self/cgroup"].decode().strip().removeprefix("0::")
    assert f"tree/sys/fs/cgroup{group}/cpu.max" in files


def test_nothing_was_changed_on_the_device(archive: Path, device: JetsonDevice) -> None:
    assert archive.is_file()
    assert device.state() == ("pmode:0000", "dynamic")
    changing = ("nvpmodel -m", "jetson_clocks --store", "jetson_clocks --restore")
    assert not [call for call in device.calls() if call.startswith(changing)]
    assert "jetson_clocks " not in device.calls(), "without an argument it sets the clocks"


def test_one_command_makes_a_recorded_machine(
    archive: Path, tmp_path: Path, device: JetsonDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = tmp_path / "machines"
    assert add_machine(archive, "alices-jetson", machines) == []
    tree = machines / "alices-jetson" / TREE
    expected = json.loads((machines / "alices-jetson" / EXPECTED).read_bytes())
    assert facts(tree) == expected
    assert expected["soc"] is None and expected["cpu"] == "Cortex-A78AE"
    assert ["ina3221 VDD_IN", "board"] in expected["power"]
    # The programs answer as they did.
    ran = subprocess.run(
        [tree / "usr/bin/vcgencmd", "get_throttled"], capture_output=True, check=True
    )
    assert ran.stdout == b"throttled=0x50005\n"
    assert Condition(tree).sample().throttled == 5
    # A change of the code or the files is seen.
    (tree / "sys/class/hwmon/hwmon1/in1_label").write_text("NC")
    assert facts(tree) != expected
    with pytest.raises(FileExistsError):
        add_machine(archive, "alices-jetson", machines)
    for name in ("../x", "", "A", "a/b"):
        with pytest.raises(ValueError, match="name"):
            add_machine(archive, name, machines)


def test_a_fact_that_no_file_gives_is_a_difference(archive: Path) -> None:
    document = json.loads(contents(archive)["proof.json"])
    device = reported(document)
    assert differences(device, {**device, "cpu": None}) == [
        "cpu: the device reported 'Cortex-A78AE', its files give None"
    ]


def test_a_folder_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(FleetmarkError, match="no-such-folder"):
        proof_archive.write_proof(tmp_path, tmp_path / "no-such-folder/x.tar.gz", None)


# The parts.


def test_words_of_the_facts_are_no_names() -> None:
    """Names that vendors' images come with identify no device."""
    scrubber = Scrubber(hosts=["jetson", "raspberrypi"], users=["pi", "nvidia", "al"])
    for text in ("NVIDIA Jetson Orin", "Raspberry Pi 5", "raspberrypi,5-model-b", "serial8250"):
        assert scrubber.text(text) == text
    named = Scrubber(hosts=["max"], users=["Zoë"])
    assert named.text("scaling_max_freq of Max") == "scaling_max_freq of HOST"
    assert named.data("by Zoë".encode()) == b"by USER"


@pytest.mark.parametrize(
    "text",
    [
        "2024/09/10 14:40:05",
        "0000:01:00.0",
        "driver 535.104.05, kernel 5.10.104-tegra",
        "std::vector",
        "0::/user.slice, ::1",
        "0,1-3",
        "Wed Jan  8 01:49:37 UTC 2025",
        "NV Power Mode: 15W",
    ],
)
def test_texts_that_only_look_like_addresses(text: str) -> None:
    assert Scrubber().text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1",
        "at 192.168.1.20:7117",
        "fe80::1%eth0",
        "2001:db8:1:2:3:4:5:6",
        "00-1A-2B-3C-4D-5E",
        "80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:12:34:56",
        "GPU-01234567-89ab-cdef-0123-456789abcdef",
        "root=PARTUUID=6f1c2d3e-4a5b-6c7d-8e9f-0a1b2c3d4e5f",
        "/home/bob/x and /Users/bob",
        "Serial Number: QX9",
        'androidboot.serialno="R58M123"',
    ],
)
def test_addresses_and_serial_numbers_are_found_by_their_form(text: str) -> None:
    clean = Scrubber().text(text)
    assert clean != text
    hidden = (
        "10.0.0.1",
        "192.168",
        "fe80",
        "2001",
        "1A",
        "f4:52",
        "89ab",
        "6f1c",
        "bob",
        "QX9",
        "R58",
    )
    assert not [word for word in hidden if word in clean]


def test_only_files_of_the_device_are_recorded() -> None:
    for name in ("proc/1/environ", "proc/self/environ", "proc/cmdline", "etc/hostname",
                 "sys/class/net/eth0/address", "etc/passwd", "home/alice/x", "proc/4711/status",
                 "sys/class/dmi/id/product_serial", "root/.ssh/id_ed25519"):  # fmt: skip
        assert not is_recorded(name), name
    for name in (
        "proc/self/cgroup",
        "sys/class/thermal/thermal_zone0/temp",
        "etc/nv_tegra_release",
    ):
        assert is_recorded(name), name


def test_what_is_opened_is_noted_in_the_block_alone(tmp_path: Path) -> None:
    for name in ("sys/before", "sys/inside", "sys/after", "etc/secret", "sys/link"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "sys/before").read_text()
    with noted_paths() as paths:
        (tmp_path / "sys/inside").read_text()
        (tmp_path / "etc/secret").read_text()
    (tmp_path / "sys/after").read_text()
    found = recorded_files(paths, tmp_path, scrubber_here(tmp_path))
    assert found == {"sys/inside": b"sys/inside"}


RUNTIME = """
__version__ = "1.23.2"
class SessionOptions: pass
def get_available_providers(): return ["CPUExecutionProvider"]
class InferenceSession:
    def __init__(self, model, options, providers): pass
    def run(self, names, inputs): return [Answer()]
class Answer:
    def tolist(self): return [-2.0]
"""
NUMPY = '__version__ = "2.2.6"\nfloat32 = "float32"\ndef array(values, kind): return values\n'


def make_wheel(folder: Path, name: str, tag: str, source: str) -> None:
    """Write a wheel of one module."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    rows = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": rows}.items():
            wheel.writestr(path, text)


def test_each_runtime_of_a_kit_runs_once_and_leaves_nothing(tmp_path: Path) -> None:
    kit, scratch = tmp_path / "runtimes", tmp_path / "scratch"
    scratch.mkdir()
    make_wheel(kit / "onnxruntime", "onnxruntime", "py3-none-any", RUNTIME)
    make_wheel(kit / "onnxruntime", "numpy", "py3-none-any", NUMPY)
    make_wheel(kit / "ai-edge-litert", "ai_edge_litert", "cp27-cp27m-win32", "")
    make_wheel(kit / "tflite-runtime", "tflite_runtime", "py3-none-any", "raise ImportError('lib')")
    make_wheel(kit / "unknown", "unknown", "py3-none-any", "")
    interpreter = probe()[0]
    ran = {str(one["runtime"]): one for one in run_all(kit, interpreter, scratch)}
    found = ran["onnxruntime"]
    assert found["fault"] == "", found
    assert found["details"] == {
        "version": "1.23.2",
        "providers": "CPUExecutionProvider",
        "numpy": "2.2.6",
    }
    assert isinstance(found["seconds"], float)
    assert str(ran["ai-edge-litert"]["fault"]).startswith("no wheel fits Python 3.")
    assert str(ran["tflite-runtime"]["fault"]).startswith("exit code 1")
    assert ran["unknown"]["fault"] == "no detection rule of a Python module has this name"
    assert list(scratch.iterdir()) == []
    (without,) = [one for one in run_all(kit, None, scratch) if one["runtime"] == "onnxruntime"]
    assert without["fault"] == "the device has no Python that jobs can use"


def test_the_command(tmp_path: Path) -> None:
    """On the machine that runs the tests: nothing is written but the archive."""
    kit = tmp_path / "runtimes"
    make_wheel(kit / "onnxruntime", "onnxruntime", "py3-none-any", RUNTIME)
    make_wheel(kit / "onnxruntime", "numpy", "py3-none-any", NUMPY)
    work = tmp_path / "work"
    work.mkdir()
    command = [sys.executable, "-m", "fleetmark_agent.cli", "proof", "--runtimes", str(kit)]
    ran = subprocess.run(
        [*command, "--home", str(work / "none")],
        cwd=work,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert ran.stdout.splitlines()[0] == "runtime onnxruntime: it computes"
    assert [path.name for path in work.iterdir()] == ["fleetmark-proof.tar.gz"]
    document = json.loads(contents(work / "fleetmark-proof.tar.gz")["proof.json"])
    assert document["format"] == 1 and document["detected"] and document["doctor"]["sandbox"]
    assert add_machine(work / "fleetmark-proof.tar.gz", "here", tmp_path / "machines") is not None
