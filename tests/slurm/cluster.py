# SPDX-License-Identifier: Apache-2.0
"""A Slurm of one node in a scratch folder: munged, slurmctld and slurmd on loopback, with ports, key and folders of
their own. Everything ends with the object. Slurm 22.05 (Debian 12)."""
import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "sinfo"]


class Unavailable(Exception):
    """Slurm cannot be started here; says why."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    # Also when the test is killed: the daemons must not outlive it.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Cluster:
    CPUS = 8  # what Slurm hands out; the machine may have fewer

    def __init__(self):
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        missing = [p for p in PROGRAMS if not shutil.which(p, path=path)]
        if missing:
            raise Unavailable(f"not installed: {' '.join(missing)} (Debian: slurm-wlm munge)")
        self.folder = Path(tempfile.mkdtemp(prefix="hadal-slurm-"))
        self.folder.chmod(0o711)  # munged wants its socket to be within reach
        self.conf = self.folder / "slurm.conf"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "OMPI_", "PMI"))}
        self.environment.update(PATH=path, SLURM_CONF=str(self.conf), TMPDIR=str(self.folder / "tmp"))
        self.daemons = []
        self._guard()
        self.began = 0.0  # of slurmctld; it looks at time limits every 30 s from then on
        try:
            self._configure()
            self._start_all()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _configure(self):
        for name in ("state", "spool", "munge", "cgroup", "tmp"):
            (self.folder / name).mkdir(mode=0o711)
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        host = socket.gethostname().split(".")[0]
        user = getpass.getuser()
        f = self.folder
        # No process is put into a cgroup (linuxproc, task/none), but slurmd 22.05 loads a plugin for them all the same:
        # the one of version 1, on a folder that holds nothing, starts everywhere.
        (f / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={f}/cgroup\n")
        # Files in the place of devices: for the options of the GPU templates.
        for i in range(8):
            (f / f"gpu{i}").touch()
        (f / "gres.conf").write_text(f"Name=gpu File={f}/gpu[0-7]\n")
        # What a killed step leaves in /tmp would stop a later one of the same number.
        (f / "mpi.conf").write_text(f"PMIxCliTmpDirBase={f}/tmp\n")
        self.conf.write_text(f"""ClusterName=hadal
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={f}/munge/socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={f}/state
SlurmdSpoolDir={f}/spool
SlurmctldPidFile={f}/slurmctld.pid
SlurmdPidFile={f}/slurmd.pid
SlurmctldLogFile={f}/slurmctld.log
SlurmdLogFile={f}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=5
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={self.CPUS} RealMemory=500 Gres=gpu:8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES OverSubscribe=NO State=UP
""")

    def _start(self, *command):
        log = open(self.folder / (command[0] + ".out"), "wb")
        self.daemons.append(subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=subprocess.STDOUT, preexec_fn=die_with_parent, cwd=self.folder))
        log.close()

    def _start_all(self):
        m = self.folder / "munge"
        self._start("munged", "--force", "--foreground", f"--key-file={m}/key", f"--socket={m}/socket",
                    f"--pid-file={m}/pid", f"--log-file={m}/log", f"--seed-file={m}/seed")
        self._until(lambda: (m / "socket").exists(), "munged")
        self.began = time.time()
        self._start("slurmctld", "-D", "-i")
        self._start("slurmd", "-D")
        self._until(lambda: self.call("sinfo", "-h", "-o", "%T").stdout.strip() == "idle", "slurmctld and slurmd")

    def _until(self, ready, what, seconds=25):
        end = time.time() + seconds
        while not ready():
            dead = [d.args[0] for d in self.daemons if d.poll() is not None]
            if dead or time.time() > end:
                raise Unavailable(f"{what} did not start" + (f": {dead[0]} ended" if dead else "") + "\n" + self.logs())
            time.sleep(0.2)

    def logs(self, lines=12):
        text = ""
        for file in sorted(self.folder.glob("*.log")) or sorted(self.folder.glob("*.out")):
            tail = file.read_text(errors="replace").splitlines()[-lines:]
            text += f"--- {file.name}\n" + "\n".join(tail) + "\n"
        return text

    def call(self, *command):
        return subprocess.run(command, env=self.environment, cwd=self.folder, text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def must(self, *command):
        done = self.call(*command)
        assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def job(self, number):
        """The fields of scontrol show job."""
        words = self.must("scontrol", "--oneliner", "show", "job", str(number)).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def _own_processes(self):
        """All that carry our configuration in their environment: jobs, and their keepers (slurmstepd)."""
        mark = f"SLURM_CONF={self.conf}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        yield int(entry.name)
                except OSError:
                    pass

    def _guard(self):
        """A process that clears up when this one ends, also when it is killed: its end of the pipe closes then."""
        read, self.lifeline = os.pipe()
        self.guardian = os.fork()
        if self.guardian == 0:
            os.setsid()
            os.close(self.lifeline)
            os.read(read, 1)
            self._clear()
            os._exit(0)
        os.close(read)

    def _clear(self):
        for _ in range(3):
            for pid in self._own_processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            time.sleep(0.1)
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self):
        for daemon in reversed(self.daemons):
            daemon.terminate()
        end = time.time() + 5
        while any(d.poll() is None for d in self.daemons) and time.time() < end:
            time.sleep(0.1)
        os.close(self.lifeline)
        os.waitpid(self.guardian, 0)
        for daemon in self.daemons:
            daemon.wait()
        self.daemons = []
