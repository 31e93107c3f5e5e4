"""A wire in network namespaces for the tests of the process: two hosts and the appliance between
them. Everything it makes carries the prefix sld- and is removed again.

    host "a" (inside) -- sldXi ] wire namespace, sluice-dataplane [ sldXo -- host "b" (outside)
"""
import contextlib
import ctypes
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)

COUNTERS = None  # filled from the contract's header: names in order


def require_root():
    """Skips the whole test, as meson understands it, for who may not make namespaces."""
    if os.geteuid() != 0:
        print("needs root")
        raise SystemExit(77)


def run(*command, check=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}")
    return done.stdout


@contextlib.contextmanager
def inside_namespace(name):
    """The calling thread works in the namespace: sockets made here stay in it."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    target = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if libc.setns(target, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        libc.setns(own, CLONE_NEWNET)
        os.close(own)
        os.close(target)


class Wire:
    """Namespaces and links. `queues` is the number of queues of the appliance's ports."""

    def __init__(self, mtu=1500, queues=1):
        number = os.getpid() % 100000
        self.a, self.w, self.b = (f"sld-{number}-{end}" for end in ("a", "w", "b"))
        self.inside, self.outside = f"sld{number}i", f"sld{number}o"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sld-"))
        self.bpffs = self.folder / "bpf"
        self.bpffs.mkdir()
        self.socket = self.folder / "dataplane.sock"
        self.mtu = mtu
        self.queues = queues
        self.processes = []

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _make(self):
        run("mount", "-t", "bpf", "sld", str(self.bpffs))
        for name in (self.a, self.w, self.b):
            run("ip", "netns", "add", name)
        for host, port, address in ((self.a, self.inside, 1), (self.b, self.outside, 2)):
            queues = ("numrxqueues", str(self.queues), "numtxqueues", str(self.queues))
            run("ip", "link", "add", port, "netns", self.w, *queues,
                "mtu", str(self.mtu), "type", "veth",
                "peer", "name", "eth0", "netns", host, *queues)
            run("ip", "-n", host, "link", "set", "eth0", "mtu", str(self.mtu))
            # The kernel's redirect needs a peer that takes whole frames; checksums must be whole.
            run("ip", "netns", "exec", host, "ethtool", "-K", "eth0", "tx", "off", "txvlan", "off",
                "gro", "on")
            # Else a host takes what the process sends and what the kernel redirects from two queues,
            # and frames may change places there.
            run("ip", "netns", "exec", self.w, "ethtool", "-K", port, "tso", "off")
            run("ip", "-n", host, "address", "add", f"10.99.0.{address}/24", "dev", "eth0")
            run("ip", "-n", host, "address", "add", f"fd99::{address}/64", "dev", "eth0", "nodad")
            run("ip", "-n", host, "link", "set", "lo", "up")
            run("ip", "-n", host, "link", "set", "eth0", "up")
            run("ip", "-n", self.w, "link", "set", port, "up")

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        for name in (self.a, self.w, self.b):
            run("ip", "netns", "delete", name, check=False)
        run("umount", str(self.bpffs), check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- the process --

    def arguments(self, *more, driver="af_xdp", workers=1, wire="", memory=64):
        return ["--wire", f"name=w1,inside={self.inside},outside={self.outside},driver={driver}"
                + (f",{wire}" if wire else ""),
                "--workers", str(workers), "--socket", str(self.socket),
                "--bpffs", str(self.bpffs), "--hugepages", "off", "--memory", str(memory),
                "--max-flows", "65536", *more]

    def start(self, program, *more, wait=True, **settings):
        """Starts the process and waits until it says that it is ready."""
        command = ["nsenter", f"--net=/run/netns/{self.w}", program,
                   *self.arguments(*more, **settings)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.processes.append(process)
        process.log = b""
        if wait:
            self.await_text(process, b"ready:")
        return process

    @staticmethod
    def await_text(process, text, seconds=60):
        end = time.monotonic() + seconds
        while text not in process.log:
            left = end - time.monotonic()
            ready, _, _ = select.select([process.stdout], [], [], max(left, 0))
            octets = os.read(process.stdout.fileno(), 65536) if ready else b""
            process.log += octets
            if not octets:
                raise RuntimeError(f"no {text!r} from the process:\n{process.log.decode()}")
        return process.log

    @staticmethod
    def rest_of_log(process):
        """What was said up to the end; the process has been told to end."""
        for octets in iter(lambda: os.read(process.stdout.fileno(), 65536), b""):
            process.log += octets
        process.wait()
        return process.log

    # -- sockets in the hosts --

    def listen(self, host, port):
        with inside_namespace(host):
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        server.listen(64)
        return server

    def connect(self, host, address, port, seconds=20):
        with inside_namespace(host):
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.settimeout(seconds)
        client.connect((address, port))
        return client

    def raw(self, host):
        """A packet socket on the host's port: frames as they stand on the wire."""
        with inside_namespace(host):
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            raw.bind(("eth0", 0))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        raw.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: tags that the kernel took out
        raw.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
        return raw


def receive_frame(raw):
    """One frame with its outermost tag back in its place, or nothing."""
    try:
        octets, control, _, _ = raw.recvmsg(65536, 256, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    for level, kind, data in control:
        if (level, kind) == (263, 8):
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
            if status & 0x10:  # TP_STATUS_VLAN_VALID
                tag = struct.pack("!HH", tpid if status & 0x40 else 0x8100, tci)
                octets = octets[:12] + tag + octets[12:]
    return octets


class Controller:
    """A control process of the tests: dataplane/contract/control_channel.h in Python."""

    KINDS = {1: "hello", 3: "policy_answer", 5: "wire_state"}

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        octets, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
        fields = struct.unpack("<IIIIQQQII32s", octets)
        (_, self.version, self.workers, self.wires, self.ring_capacity, self.statistics_size,
         self.start_time, self.policy_epoch, self.process, self.ruleset_digest) = fields
        self.statistics, self.rings = descriptors
        self.states = {}
        self.answers = []

    def close(self):
        self.socket.close()
        os.close(self.statistics)
        os.close(self.rings)

    def receive(self):
        octets = self.socket.recv(4096)
        if not octets:
            raise ConnectionResetError("the dataplane closed the channel")
        kind = struct.unpack_from("<I", octets)[0]
        if kind == 5:
            _, index, name, inside, outside, driver, up_in, up_out, inspecting = struct.unpack(
                "<II32s32s32s32sBBB5x", octets)
            text = [t.split(b"\0")[0].decode() for t in (name, inside, outside, driver)]
            self.states[index] = dict(name=text[0], inside=text[1], outside=text[2],
                                      driver=text[3], inside_up=up_in, outside_up=up_out,
                                      inspecting=inspecting)
        elif kind == 3:
            _, epoch, status, _, nanoseconds, reason = struct.unpack("<IIIIQ232s", octets)
            self.answers.append(dict(epoch=epoch,
                                     status=("adopted", "refused", "needs_ruleset")[status],
                                     nanoseconds=nanoseconds,
                                     reason=reason.split(b"\0")[0].decode()))
        return kind

    def await_state(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not (self.states and condition(self.states[0])):
            if time.monotonic() > end:
                raise TimeoutError(f"wire state {self.states}")
            self.receive()
        return self.states[0]

    def send_policy(self, image, epoch, seal=True, size=None):
        descriptor = os.memfd_create("policy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(descriptor, image)
        if seal:
            import fcntl
            fcntl.fcntl(descriptor, 1033, 0x2 | 0x4 | 0x8)  # F_ADD_SEALS shrink, grow, write
        message = struct.pack("<IIQ", 2, epoch, len(image) if size is None else size)
        socket.send_fds(self.socket, [message], [descriptor])
        os.close(descriptor)
        before = len(self.answers)
        while len(self.answers) == before:
            self.receive()
        return self.answers[-1]

    def counters(self):
        """All workers' counters, gauges and drops, summed, by name."""
        names = statistics_names()
        octets = os.pread(self.statistics, self.statistics_size, 0)
        _, _, workers, size = struct.unpack_from("<IIII", octets)
        total = dict.fromkeys(names, 0)
        for worker in range(workers):
            values = struct.unpack_from(f"<{len(names)}Q", octets, 64 + worker * size)
            for name, value in zip(names, values):
                total[name] += value
        return total


def statistics_names():
    global COUNTERS
    if COUNTERS is None:
        contract = pathlib.Path(__file__).resolve().parents[2] / "dataplane/contract"
        text = (contract / "statistics.h").read_text()
        lists = []
        for macro in ("SLUICE_COUNTERS", "SLUICE_GAUGES"):
            body = text[text.index(f"#define {macro}"):]
            body = body[:re.search(r"\n(?!\s*(X\(|/\*))", body).start()]
            lists += re.findall(r"X\((\w+),", body)
        drops = (contract / "drop_reasons.h").read_text()
        body = drops[drops.index("#define SLUICE_DROP_REASONS"):drops.index("// clang-format on")]
        lists += ["drop_" + name for name in re.findall(r"X\((\w+),", body)]
        COUNTERS = lists
    return COUNTERS
