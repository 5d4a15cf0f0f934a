"""The plain data that crosses between the supervisor, the zygote and a jailed process."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["ChildReport", "Endpoint", "JailLimits", "JailPlan", "Readiness", "Usage"]

MEBIBYTE: Final = 1 << 20


class JailLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance may use. 0 means: no limit."""

    #: Bytes of memory, all processes of the instance together, its private `/tmp` included.
    memory: int = 256 * MEBIBYTE
    #: Share of a processor: 0.2 is a fifth of one core, 2.0 is two cores.
    cpu: float = 0.5
    #: Processes and threads together.
    processes: int = 64
    open_files: int = 256
    #: Bytes of the largest single file that it may write.
    file_size: int = 64 * MEBIBYTE
    #: Bytes of everything in its data folder together.
    disk: int = 1024 * MEBIBYTE
    #: Bytes that it may send per second over all its connections.
    egress_rate: int = 0
    #: Connections that it may open per second.
    connects: float = 50.0


class Endpoint(msgspec.Struct, frozen=True):
    """A host and port that an instance may connect to.

    `grpc` endpoints get a relay as well, since gRPC cannot take a connected socket. `kafka` endpoints let the brokers that
    the cluster advertises be added, within the host patterns that the operator gave (`Broker.allow_advertised`).
    `networks` are networks (CIDR) that the name may resolve to although they are refused otherwise: loopback, say.
    """

    host: str
    port: int
    kind: Literal["tcp", "grpc", "kafka"] = "tcp"
    networks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class JailPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a forked child needs to lock itself down. Goes to the zygote with the request to fork.

    A caller fills in the first part; `Cell` fills in the second and gives the whole plan as `cell.plan`.
    """

    #: The instance, for people: `voltha_integration@tenant_1`.
    label: str
    #: The security level, by its value.
    level: str = "standard"
    limits: JailLimits = JailLimits()
    #: Files and folders that it may read, besides the interpreter, its libraries and what is on `sys.path`.
    readable: tuple[str, ...] = ()
    #: The folder that it may write to; none for an instance that may write nothing but its private `/tmp`.
    data_dir: str | None = None
    #: Connections through the broker. Without it there is no network at all.
    network: bool = True
    endpoints: tuple[Endpoint, ...] = ()

    #: The state folder of the host, which is hidden from the instance.
    home: str = ""
    cell_id: str = ""
    #: The cell's own folder below the state folder.
    cell_dir: str = ""
    #: The user and group that the child becomes; `None` where the host cannot give it one of its own.
    uid: int | None = None
    gid: int | None = None
    #: What a control group limits from outside: of "memory", "cpu", "processes".
    cgroup: tuple[str, ...] = ()
    #: Control groups (version 1) that the child enters itself, before all else: the kernel lets a single thread in at once,
    #: but makes whoever moves another process wait for all processors, ten milliseconds on two of them.
    joins: tuple[str, ...] = ()


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """What the zygote prepared once for all its children."""

    #: Of "net", "ipc", "uts", "mount", "user".
    namespaces: tuple[str, ...] = ()
    #: A read-only view of the files is ready, which children only have to enter.
    view: bool = False
    #: Children get a process namespace of their own.
    pid_namespace: bool = False
    problems: dict[str, str] = {}


class ChildReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `lock_down` achieved, step by step. Facts only; `Cell.report` says what they are worth."""

    pid: int = 0
    uid: int = 0
    own_uid: bool = False
    namespaces: tuple[str, ...] = ()
    #: It sees a small root of its own and nothing else of the machine's files.
    view: bool = False
    #: Limits of the process itself (`RLIMIT_…`) that were set, by name.
    rlimits: tuple[str, ...] = ()
    no_capabilities: bool = False
    no_new_privileges: bool = False
    not_dumpable: bool = False
    dies_with_parent: bool = False
    #: The version of Landlock's interface; 0: there is none, or it could not be used.
    landlock: int = 0
    #: The architecture whose system calls are filtered; empty: none are.
    seccomp: str = ""
    #: It may start threads, but no processes.
    threads_only: bool = False
    #: `connect` works (only Unix sockets that it can see, and only where these are its own).
    connect: bool = False
    #: A handed-over TCP socket cannot be connected anew to somewhere else.
    sockets_pinned: bool = False
    #: The folder with the relay sockets, as the child sees it.
    relay_dir: str = ""
    #: The folder for temporary files, as the child sees it.
    tmp_dir: str = ""
    #: Step → why it could not be done.
    problems: dict[str, str] = {}
    #: Step → microseconds that it took.
    took: dict[str, int] = {}


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance uses now. `None`: not known here."""

    memory: int | None = None
    memory_peak: int | None = None
    cpu_seconds: float | None = None
    throttled_seconds: float | None = None
    processes: int | None = None
    disk: int | None = None
