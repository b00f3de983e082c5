"""A real, throw-away SLURM cluster in one folder of this machine, for tests.

It takes root and Debian's packages, but neither systemd nor cgroups: limits of CPUs are only
bookkeeping, and memory is polled. `python tests/cluster.py FOLDER` starts one by hand.
"""

import contextlib
import itertools
import os
import random
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

ACCOUNT = "noctact"
NODES = ("n1", "n2", "g1")
# By a program of each.
PACKAGES = {"munged": "munge", "sbatch": "slurm-client", "mariadbd": "mariadb-server-core"}
PACKAGES |= {name: name for name in ("slurmctld", "slurmd", "slurmdbd")}
CLIENTS = "sbatch srun salloc scancel squeue sinfo scontrol sacct sacctmgr"

# cred_expire is also how long a requeued job waits: 2 minutes without it. Only a higher tier
# preempts, and only where the mode is not OFF: high does it to low.
SLURM_CONF = """\
ClusterName=noctact
SlurmctldHost={self.host}({self.address})
SlurmctldPort={self.ports[0]}
SlurmUser=root
AuthInfo=socket={self.run}/munge.sock,cred_expire=10
{bind}
SlurmctldPidFile={self.run}/slurmctld.pid
SlurmctldLogFile={self.folder}/log/slurmctld.log
StateSaveLocation={self.folder}/state
SlurmdPidFile={self.run}/%n.pid
SlurmdLogFile={self.folder}/log/%n.log
SlurmdSpoolDir={self.run}/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=5,sched_min_interval=0,bf_interval=5
DefMemPerCPU=100
ReturnToService=2
SlurmdTimeout=10
KillWait=2
OverTimeLimit=0
MinJobAge=600
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={self.address}
AccountingStoragePort={self.ports[1]}
AccountingStoragePass={self.run}/munge.sock
AccountingStorageEnforce=associations
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
GresTypes=gpu
{nodes}
EnforcePartLimits=ALL
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=DEFAULT MaxTime=1-00:00:00 DefaultTime=10 PriorityTier=1 PreemptMode=OFF
PartitionName=cpu Nodes=n1,n2 Default=YES
PartitionName=gpu Nodes=g1
PartitionName=low Nodes=n1,n2 PreemptMode=REQUEUE GraceTime=0
PartitionName=high Nodes=n1,n2 PriorityTier=2
"""

SLURMDBD_CONF = """\
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={self.run}/munge.sock
{bind}
DbdHost=localhost
DbdAddr={self.address}
DbdPort={self.ports[1]}
PidFile={self.run}/slurmdbd.pid
LogFile={self.folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self.ports[2]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""

INIT_SQL = """\
CREATE DATABASE slurm;
CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm.* TO 'slurm'@'127.0.0.1';
"""

# The policy keeps the packages' services from starting. The shell, in a session of its own, takes
# it away even if the test is ended meanwhile. The lock is against another test's installation.
INSTALL = """\
exec 9</usr/sbin && flock 9
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
apt-get update -q &&
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
"""


def program(name: str) -> str | None:
    """Where a program is, also one for root alone."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def packages() -> list[str]:
    """The Debian packages that are not there."""
    return [package for name, package in PACKAGES.items() if program(name) is None]


def missing() -> str | None:
    """Why no cluster can be started here, if so."""
    if os.geteuid() != 0:
        return "a SLURM cluster takes root"
    if packages() and program("apt-get") is None:
        return f"a SLURM cluster takes Debian's {', '.join(packages())}, and there is no apt-get"
    return None


def install() -> None:
    """Install what a cluster takes and is not there."""
    if not (wanted := packages()):
        return
    with tempfile.TemporaryFile("w+") as log:
        words = ["sh", "-c", INSTALL, "sh", *wanted]
        code = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True).wait()
        log.seek(0)
        lines = log.read().splitlines()
    if code:
        raise RuntimeError("apt-get failed:\n" + "\n".join(lines[-20:]))


def run(words: Sequence[str], environment: dict[str, str], text: str = "") -> str:
    """Run a program on a text and return what it prints; what it complains of is in the error."""
    done = subprocess.run(
        words, check=False, env=environment, input=text, capture_output=True, text=True
    )
    if done.returncode:
        complaint = f"{done.stdout}{done.stderr}"[-4000:]
        raise RuntimeError(f"{shlex.join(words)} ended with {done.returncode}:\n{complaint}")
    return done.stdout


def free_ports(count: int) -> range:
    """Some free ports in a row, below those that the system hands out itself."""
    for first in random.sample(range(20000, 32000, 10), 100):
        ports = range(first, first + count)
        with contextlib.suppress(OSError):
            for port in ports:
                with socket.socket() as probe:
                    probe.bind(("", port))
            return ports
    raise RuntimeError("no free ports")


def listens(address: str, port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


class Cluster:
    """A cluster in `folder`, which it makes, as long as its `with` block takes.

    The nodes n1 and n2 are in the partitions cpu (the default), low and high, g1 with two GPUs,
    which are not there, in gpu. Each claims 4 CPUs and 16000 MB. Jobs in high preempt those in low.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.resolve()
        if not re.fullmatch(r"[\w./+-]+", str(self.folder)):
            raise ValueError(f"SLURM cannot do with such a path: {self.folder}")
        count = 3 + len(NODES)  # slurmctld, slurmdbd, MariaDB and each slurmd
        self.ports = range(port, port + count) if port else free_ports(count)
        self.run = self.folder / "run"
        self.conf = self.client_conf = self.folder / "etc/slurm.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        try:
            self._configure()
            self._start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.daemons["slurmctld"].poll() is None:
                with contextlib.suppress(RuntimeError, TimeoutError):  # a test broke something
                    self.call("scancel", "--user=root")
                    self._wait("end of the jobs", lambda: not self.queue(), seconds=10)
        finally:
            self._kill()

    @property
    def environment(self) -> dict[str, str]:
        """What to run a client of the cluster in, a workflow too."""
        path = f"{self.folder}/bin:{os.environ.get('PATH', os.defpath)}"
        return {**os.environ, "PATH": path, "SLURM_CONF": str(self.client_conf)}

    def call(self, *words: str) -> str:
        """Run a SLURM command and return what it prints."""
        return run(words, self.environment)

    def jobs(self) -> list[dict[str, str]]:
        """What accounting knows of each job; each run of a requeued one is a record of its own."""
        return self._sacct(
            "JobIDRaw JobName State ExitCode Partition Account NodeList Comment WorkDir ReqMem "
            "ReqTRES AllocTRES Timelimit Submit Start End ElapsedRaw",
            "--allocations",
        )

    def steps(self) -> list[dict[str, str]]:
        """What accounting knows of each job and each of its steps, as the memory that it used."""
        return self._sacct("JobID JobName State ExitCode NodeList MaxRSS AveCPU TotalCPU")

    def queue(self) -> list[dict[str, str]]:
        """The jobs that wait or run."""
        keys = ("JobID", "State", "Comment", "NodeList", "Reason")
        lines = self.call("squeue", "--noheader", "--format=%i\x1f%T\x1f%k\x1f%N\x1f%r")
        return [dict(zip(keys, line.split("\x1f"), strict=True)) for line in lines.splitlines()]

    def kill_node(self, name: str) -> None:
        """End all of a node as if its power went, and let its jobs start elsewhere at once."""
        words = ("squeue", "--noheader", "--states=R,CF", f"--nodelist={name}", "--format=%A")
        jobs = self.call(*words).split()
        self._kill(name)
        self.call("scontrol", "update", f"nodename={name}", "state=DOWN", "reason=killed")
        for job in jobs:
            self._release(job)

    def start_node(self, name: str) -> None:
        """Start a node again after kill_node."""
        self._daemon(name, "slurmd", "-D", "-N", name)
        self._wait(f"node {name}", lambda: self._states(name) <= {"idle", "mix", "alloc", "comp"})

    def _sacct(self, keys: str, *options: str) -> list[dict[str, str]]:
        """A table of accounting, of today and yesterday."""
        words = ("sacct", "--duplicates", "--allusers", "--noheader", "--starttime=now-1days")
        form = ("--parsable2", "--delimiter=\x1f", f"--format={keys.replace(' ', ',')}")
        lines = self.call(*words, *form, *options).splitlines()
        return [dict(zip(keys.split(), line.split("\x1f"), strict=True)) for line in lines]

    def _release(self, job: str) -> None:
        """Let a requeued job start now."""
        words = ("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")
        self._wait(f"end of job {job}", lambda: "COMPLETING" not in self.call(*words))
        if "PENDING" in self.call(*words):
            self.call("scontrol", "update", f"jobid={job}", "StartTime=now")

    def _states(self, *nodes: str) -> set[str]:
        """The states of nodes."""
        words = ("sinfo", "--noheader", "--Node", f"--nodes={','.join(nodes)}", "--format=%t")
        return set(self.call(*words).split())

    def _wait(self, what: str, done: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for something, as long as no daemon ends."""
        end = time.monotonic() + seconds
        while not done():
            for name, daemon in self.daemons.items():
                if daemon.poll() is not None:
                    lines = (self.folder / f"log/{name}.err").read_text().splitlines()
                    raise RuntimeError(f"{name} ended:\n" + "\n".join(lines[-10:]))
            if time.monotonic() > end:
                raise TimeoutError(f"no {what} after {seconds} s, see {self.folder}/log")
            time.sleep(0.05)

    def _daemon(self, name: str, *words: str) -> None:
        """Start a daemon."""
        # These two variables are also in each job: they are what _processes goes by.
        marks = {"SLURM_CONF": str(self.conf), "SLURMD_NODENAME": name}
        with (self.folder / f"log/{name}.err").open("a") as log:
            self.daemons[name] = subprocess.Popen(
                [str(program(words[0])), *words[1:]],
                env={**self.environment, **marks},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # out of the reach of Ctrl-C
                umask=0o022,
            )

    def _processes(self, name: str | None) -> set[psutil.Process]:
        """All processes of a node, what its jobs left behind included, or of the whole cluster."""
        found = set()
        logs = {f"{self.folder}/log/{node}.log" for node in ([name] if name else NODES)}
        for process in psutil.process_iter(["environ", "name", "open_files"]):
            variables = process.info["environ"] or {}
            node = variables.get("SLURMD_NODENAME")
            ours = variables.get("SLURM_CONF", "").startswith(f"{self.folder}/etc/")
            files = {file.path for file in process.info["open_files"] or ()}
            # A slurmstepd writes its title over its environment.
            step = process.info["name"] == "slurmstepd" and files & logs
            if step or (ours and node and name in (None, node)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found |= {process, *process.children(recursive=True)}
        return found

    def _kill(self, name: str | None = None) -> None:
        """End the processes of a node, or of the whole cluster: none has anything to keep."""
        for _ in range(10):  # those just about to start others
            if not (found := self._processes(name)):
                break
            # At one moment: a slurmstepd that outlives its job reports that to slurmctld.
            for action, process in itertools.product((signal.SIGSTOP, signal.SIGKILL), found):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(action)
            psutil.wait_procs(found, timeout=5)
        for each in [name] if name else list(self.daemons):
            self.daemons.pop(each).wait(5)
        if not name and self.run.parent != self.folder:
            shutil.rmtree(self.run, ignore_errors=True)

    def _configure(self) -> None:
        """Write what the daemons and the clients read."""
        for folder in ("bin", "db", "etc", "log", "run", "state", "tmp"):
            (self.folder / folder).mkdir(parents=True)
        if len(str(self.folder)) > 60:  # too long for Unix sockets in it
            self.run = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        etc = self.folder / "etc"
        name = socket.gethostname()
        self.host = name.split(".")[0]
        try:  # SLURM listens at the address of the machine's own name alone, or at all
            self.address = socket.gethostbyname(name)
            bind = "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
        except OSError:
            self.address, bind = "127.0.0.1", ""
        local = self.address.startswith("127.")
        if not (bind and local):
            warnings.warn(
                f"not on loopback alone: add 127.0.0.1 {name} to /etc/hosts", stacklevel=3
            )
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={self.host} NodeAddr={self.address} Port={port} CPUs=4 "
            f"RealMemory=16000{' Gres=gpu:fake:2' if node == 'g1' else ''}"
            for port, node in zip(self.ports[3:], NODES, strict=True)
        )
        files = {
            "slurm.conf": SLURM_CONF.format(self=self, bind=bind, nodes=nodes),
            "slurmdbd.conf": SLURMDBD_CONF.format(self=self, bind=bind.split(",")[0]),
            "munge.key": secrets.token_hex(64),
            "init.sql": INIT_SQL,
            # Not used, but where it is not named it is looked for, which fails without cgroups.
            "cgroup.conf": "CgroupPlugin=cgroup/v1\n",
            "gres.conf": f"NodeName=g1 Name=gpu Type=fake File={etc}/gpu[0-1]\n",
        }
        if local and self.address != "127.0.0.1":
            # A slurmd calls srun back at 127.0.0.1: srun has to listen at all addresses.
            self.client_conf = etc / "client.conf"
            files["client.conf"] = SLURM_CONF.format(self=self, bind="", nodes=nodes)
        for file, text in files.items():
            (etc / file).touch(0o600)  # some have to be secret
            (etc / file).write_text(text)
        for gpu in ("gpu0", "gpu1"):  # any device will do, but without one they do not count
            (etc / gpu).symlink_to("/dev/null")
        for client in CLIENTS.split():  # jobs of Snakemake drop SLURM_CONF, but keep PATH
            script = self.folder / "bin" / client
            command = f'SLURM_CONF={self.client_conf} exec {program(client)} "$@"'
            script.write_text(f"#!/bin/sh\n{command}\n")
            script.chmod(0o755)

    def _start(self) -> None:
        """Start the daemons, one after the other."""
        sock = self.run / "munge.sock"
        words = ["munged", "--foreground", "--origin=127.0.0.1", f"--socket={sock}"]
        words += [f"--key-file={self.folder}/etc/munge.key", f"--pid-file={self.run}/munged.pid"]
        words += [f"--seed-file={self.folder}/state/munge.seed"]
        self._daemon("munged", *words, "--force")  # in folders closed to others too
        self._wait("munged", sock.is_socket)
        self._start_database()
        self._daemon("slurmctld", "slurmctld", "-D")
        self._wait("slurmctld", lambda: listens(self.address, self.ports[0]))
        for node in NODES:
            (self.run / node).mkdir()
            self._daemon(node, "slurmd", "-D", "-N", node)
        self._wait("idle nodes", lambda: self._states(*NODES) == {"idle"})

    def _start_database(self) -> None:
        """Make a MariaDB, start it and slurmdbd, and give root an account."""
        words = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={self.folder}/db"]
        # A folder of its own, as a MariaDB that starts removes the others' files from a shared one.
        words += [f"--tmpdir={self.folder}/tmp", "--innodb-buffer-pool-size=32M"]
        words += ["--innodb-log-file-size=16M"]
        sql = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket='root';\n"
        for part in ("system_tables", "performance_tables", "system_tables_data"):
            sql += Path(f"/usr/share/mysql/mysql_{part}.sql").read_text()
        run([str(program(words[0])), *words[1:], "--bootstrap"], self.environment, sql)
        words += [f"--init-file={self.folder}/etc/init.sql", f"--socket={self.run}/mysql.sock"]
        words += ["--bind-address=127.0.0.1", f"--port={self.ports[2]}", "--skip-name-resolve"]
        self._daemon("mariadbd", *words, "--innodb-flush-log-at-trx-commit=0")
        self._wait("MariaDB", lambda: listens("127.0.0.1", self.ports[2]))
        self._daemon("slurmdbd", "slurmdbd", "-D")
        self._wait("slurmdbd", lambda: listens(self.address, self.ports[1]))
        user = ("user", "root", f"account={ACCOUNT}", f"defaultaccount={ACCOUNT}")
        for new in (("cluster", "noctact"), ("account", ACCOUNT), user):
            self.call("sacctmgr", "--immediate", "add", *new)


def main(folder: Path) -> None:
    """Run a cluster until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if reason := missing():
        sys.exit(reason)
    install()
    with contextlib.suppress(KeyboardInterrupt), Cluster(folder) as cluster:
        print(f"export PATH={cluster.folder}/bin:$PATH SLURM_CONF={cluster.client_conf}")
        print("The cluster is up until Ctrl-C.", flush=True)
        signal.pause()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/cluster.py FOLDER")
    main(Path(sys.argv[1]))
