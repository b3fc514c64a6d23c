"""A benchmark whose program does what it should not: one attack per job, selected by a parameter.

What it found possible goes into `report.json`; where it is still alive then, it ends like the toy
of the fault tests, so that its run counts.
"""

from __future__ import annotations

from pathlib import Path

from tests.support import noop_benchmark

toy = noop_benchmark
PROGRAM = '''
import errno, json, os, shutil, signal, socket, subprocess, sys, time
from pathlib import Path

job = json.loads(Path(os.environ["FLEETMARK_JOB"]).read_text())
out, own, given = Path.cwd(), Path(__file__).parent, job["parameters"]
home, marker = Path(given["home"]), given["marker"]
report = {"environment": dict(os.environ), "user": os.getuid()}

def tried(what, do):
    """How an attempt ended: `done`, or the name of the error."""
    try:
        do()
    except OSError as error:
        report[what] = errno.errorcode.get(error.errno, str(error))
    else:
        report[what] = "done"

def write(path):
    with open(path, "w") as file:
        file.write("x")

def read_secrets():
    def others():
        # In its own root it sees its own attempt there, and no other.
        if os.listdir(home / "attempts") == [out.parent.name]:
            raise FileNotFoundError(errno.ENOENT, "others")
    tried("others", others)
    for name in ("identity", "spool", "cache/blobs"):
        tried(f"list {name}", lambda: os.listdir(home / name))
    for name in ("key.pem", "certificate.pem", "../ledger.json", "../config.toml"):
        name = f"identity/{name}"
        tried(f"read {name}", lambda: (home / name).read_bytes())
    for pid in given["pids"].split():
        tried(f"environ {pid}", lambda: Path(f"/proc/{pid}/environ").read_bytes())

def write_outside():
    places = (home / "x", home / "spool/x", home / "identity/x", own / "x", out.parent / "x",
              Path(sys.executable).parent / "x", Path("/var/tmp") / marker, Path("/etc") / marker,
              Path("/usr") / marker, Path("/dev") / marker)
    for place in places:
        tried(f"write {place}", lambda: write(place))
    tried("chmod", lambda: os.chmod(own / "main.py", 0o777))
    # Where it has a /tmp, that is its own.
    tried("write /tmp", lambda: write(f"/tmp/{marker}"))

def fork_bomb():
    # Of a number that the machine bears, should nothing stop it.
    for _ in range(300):
        try:
            if os.fork() == 0:
                time.sleep(600)
        except OSError:
            time.sleep(0.05)
    time.sleep(600)

def memory_hog():
    kept = []
    while True:
        kept.append(bytearray(b"x") * (32 << 20))

def memory_hogs():
    for _ in range(6):
        if os.fork() == 0:
            kept = bytearray(b"x") * (100 << 20)
            time.sleep(600)
    time.sleep(600)

def disk_filler():
    number = 0
    while True:
        number += 1
        (out / f"file{number}").write_bytes(bytes(1 << 20))
        time.sleep(0.005)

def large_file():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("large", "wb") as file:
        while True:
            file.write(bytes(1 << 24))

def daemonise():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, signal.NSIG):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    continue
            (out / "daemon").write_text("here")
            code = "import time; time.sleep(600)"
            os.execv(sys.executable, [sys.executable, "-S", "-c", code, marker])
        os._exit(0)
    while not (out / "daemon").exists():
        time.sleep(0.01)

def connect_out():
    host, _, port = given["address"].rpartition(":")
    tried("tcp", lambda: socket.create_connection((host, int(port)), 3).close())
    def datagram():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("192.0.2.1", 53))
    tried("udp", datagram)
    tried("look up", lambda: socket.getaddrinfo("example.org", 80))
    report["interfaces"] = [name for _, name in socket.if_nameindex()]

def endless_output():
    while True:
        sys.stdout.write("x" * 65536)

def shell_characters():
    report["arguments"] = given["words"]

def kill_others():
    for pid in given["pids"].split():
        tried(f"kill {pid}", lambda: os.kill(int(pid), signal.SIGKILL))

print("the attacker begins", flush=True)
globals()[given["attack"]]()
(out / "report.json").write_text(json.dumps(report))
for name in ("mlperf_log_summary.txt", "mlperf_log_detail.txt", "samples.i64", "result.json"):
    shutil.copyfile(own / name, out / name)
'''


def make_catalog(folder: Path) -> Path:
    """Write the no-op catalog with another program and its parameters."""
    toy.make_catalog(folder)
    program = folder / "program" / toy.NAME
    (program / "main.py").write_text(PROGRAM)
    component = program / "component.toml"
    text = component.read_text()
    text = text.replace(
        "outputs = [\n",
        'outputs = [\n  { name = "report.json", role = "report", required = false },\n',
    )
    for name in ("attack", "home", "marker", "pids", "address", "words"):
        text += f'[program.parameters.{name}]\ntype = "string"\nhelp = "See the module"\n'
    component.write_text(text)
    return folder
