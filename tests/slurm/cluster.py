"""A real Slurm of one node on the loopback address, with pretended CPUs and GPUs, for a while.

Debian's packages slurmctld, slurmd, slurm-client and munge, and root. Slurm's clients look for its
configuration in /etc/slurm alone, so two files are written there: never over those of another
Slurm, and never for longer than the context lasts.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

ETC = Path("/etc/slurm")
NODE = socket.gethostname().split(".")[0]
PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
MARK = "# A test of needlework wrote this; its folder:"
CPUS, GPUS, MEMORY_MB = 8, 2, 40_000

_SLURM_CONF = """\
ClusterName=needlework
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# Without control groups, resident memory is added up every second, and a step that has too much
# is killed.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
# More CPUs and memory than the machine has.
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=100000
# Ended jobs are still known for an hour: tests look at them.
MinJobAge=3600
KillWait=2
AccountingStorageType=accounting_storage/none
NodeName={node} NodeAddr=127.0.0.1 Sockets=1 CoresPerSocket={cpus} ThreadsPerCore=1 \
RealMemory={memory} Gres=gpu:fake:{gpus}
PartitionName=cpu Nodes={node} Default=YES MaxTime=2-00:00:00 DefMemPerCPU=200
PartitionName=gpu Nodes={node} MaxTime=2-00:00:00 DefMemPerCPU=200
"""
_GRES_CONF = "AutoDetect=off\nNodeName={node} Name=gpu Type=fake File={folder}/gpu[0-{last}]\n"


def missing() -> str:
    """Why no Slurm can be started here; empty where it can."""
    if os.geteuid() != 0:
        return "a Slurm of one's own takes root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@dataclass
class Cluster:
    """The daemons of a running Slurm, and where their files are."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def launch(self, name: str, *arguments: str) -> None:
        """Start a daemon in the foreground; it ends with this process, however that ends."""
        with (self.folder / f"{name}.out").open("ab") as output:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", name, *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, env=environment(),
            )  # fmt: skip

    def stop(self, name: str) -> None:
        """End a daemon in good order, or by force where it takes longer than ten seconds."""
        daemon = self.daemons.pop(name, None)
        if daemon is None:
            return
        daemon.terminate()
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it answers."""
        self.launch("slurmctld", "-D")
        self._until("slurmctld", "scontrol ping")

    def start(self) -> None:
        """Start everything, and wait until the node takes jobs."""
        munge = self.folder / "munge"
        self.launch(
            "munged", "--foreground", f"--key-file={munge}/key", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--seed-file={munge}/seed",
        )  # fmt: skip
        self._until("munged", f"munge --socket={munge}/socket --no-input")
        self.start_controller()
        self.launch("slurmd", "-D", "-N", NODE)
        self._until("slurmd", "sinfo --noheader --format=%T | grep -qE '^(idle|mixed)$'")

    def _until(self, name: str, check: str) -> None:
        def ready() -> bool:
            if self.daemons[name].poll() is not None:
                raise RuntimeError(f"{name} ended at once: {self._log(name)}")
            return run(check, check=False).returncode == 0

        wait_until(ready, 30, f"{name}, of which the log says: {self._log(name)}")

    def _log(self, name: str) -> str:
        files = [self.folder / f"{name}.out", self.folder / f"{name}.log"]
        return "".join(file.read_text()[-1000:] for file in files if file.exists())


def environment() -> dict[str, str]:
    """This process's, without the variables of another Slurm and with its programs on the path."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    return kept | {"PATH": _path()}


def run(command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a shell command among Slurm's clients."""
    return subprocess.run(
        command, shell=True, check=check, env=environment(), text=True, capture_output=True,
        timeout=60,
    )  # fmt: skip


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look ten times a second until something is so.

    Raises:
        TimeoutError: it is not, for so many seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{seconds:g} s are over: {what}")
        time.sleep(0.1)


@contextmanager
def slurm() -> Iterator[Cluster]:
    """A Slurm that is there while the context lasts, and of which nothing stays.

    Raises:
        RuntimeError: another Slurm is configured on this machine, or a daemon does not start.
    """
    _clear_stale()
    folder = Path(tempfile.mkdtemp(prefix="needlework-slurm-", dir="/tmp"))  # sockets: short names
    cluster = Cluster(folder)
    handler = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _configure(folder)
        cluster.start()
        yield cluster
    finally:
        signal.signal(signal.SIGTERM, handler)
        _remove(cluster)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"signal {number}")  # ends all tests, where SystemExit fails just one


def _configure(folder: Path) -> None:
    for name in ("munge", "controller", "node"):
        (folder / name).mkdir(mode=0o755)
    folder.chmod(0o755)
    key = folder / "munge/key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    for number in range(GPUS):  # further names of /dev/null
        os.mknod(folder / f"gpu{number}", 0o600 | 0o020000, os.makedev(1, 3))
    ETC.mkdir(exist_ok=True)
    filled = {"node": NODE, "folder": folder, "cpus": CPUS, "memory": MEMORY_MB, "gpus": GPUS}
    for name, text in (("slurm", _SLURM_CONF), ("gres", _GRES_CONF)):
        whole = f"{MARK} {folder} {os.getpid()}\n{text.format(last=GPUS - 1, **filled)}"
        (ETC / f"{name}.conf").write_text(whole)


def _remove(cluster: Cluster) -> None:
    if "slurmctld" in cluster.daemons:  # a job outlives the daemon of its node
        run("timeout 10 scancel --user=root", check=False)
        ended = 'test -z "$(squeue --noheader --states=PD,R,CG,S,CF --format=%i)"'
        try:
            wait_until(lambda: run(ended, check=False).returncode == 0, 15, "jobs in the queue")
        except TimeoutError as error:
            print(error, file=sys.stderr)
    for name in reversed(list(cluster.daemons)):
        cluster.stop(name)
    _remove_files(cluster.folder)


def _remove_files(folder: Path) -> None:
    for name in ("slurm", "gres"):
        file = ETC / f"{name}.conf"
        if file.exists() and file.read_text().startswith(f"{MARK} {folder} "):
            file.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _clear_stale() -> None:
    """Take away what a test left that was killed; refuse where anybody else has a Slurm."""
    for name in ("slurm", "gres"):
        file = ETC / f"{name}.conf"
        if not file.exists():
            continue
        first = file.read_text().partition("\n")[0]
        if not first.startswith(MARK):
            raise RuntimeError(f"{file} is of another Slurm: these tests take a machine without")
        folder, pid = first.removeprefix(MARK).split()
        if Path(f"/proc/{pid}").exists():
            raise RuntimeError(f"{file} is of process {pid}, which runs these tests now")
        _remove_files(Path(folder))


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
