#!/usr/bin/python3
"""A wire between network namespaces, and its end: what is made is always removed.

    subscribers (PREFIX-sub, or PREFIX-s1.. on a bridge)         far side (PREFIX-far)
        eth0 ----- inside [ PREFIX-wire ] outside ---------------- eth0

With impair='inside' or 'outside' a namespace PREFIX-imp with the ports `left` and `right` stands
between that side and the wire, for the forwarder (forwarder.py) to lose and delay frames in.

    with Topology(subscribers=5) as t:
        t.bridge_wire()                       # or start the appliance in t.wire_ns
        t.run(t.subscribers[0].netns, ['ping', '-c1', t.far[0].v4])

All interfaces are veth pairs. The end hosts have checksum offload off (else frames cross the wire
with half a checksum) and receive through NAPI (`gro`), without which a frame that XDP redirects to
their peer is silently lost. The ports of the wire speak neither ARP nor IPv6.
"""

import argparse
import atexit
import contextlib
import ctypes
import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time

NETNS_DIR = '/run/netns'
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class RigError(RuntimeError):
    """A command of the rig failed; the text says which and what it printed."""


def command(arguments, **options):
    """Runs a command to its end; its standard output. RigError when it fails."""
    options.setdefault('timeout', 60)
    done = subprocess.run(arguments, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RigError(f'{" ".join(arguments)}: {done.stderr.strip() or done.stdout.strip()}')
    return done.stdout


def in_netns(netns, arguments):
    """The command line that runs `arguments` in a namespace (not `ip netns exec`: it hides bpffs)."""
    return ['nsenter', f'--net={NETNS_DIR}/{netns}', '--', *arguments]


@contextlib.contextmanager
def inside(netns):
    """The calling thread is in the namespace; sockets opened here stay in it. None: no change."""
    if netns is None:
        yield
        return

    def enter(fd):
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f'setns({netns}): {os.strerror(error)}')

    home = os.open('/proc/thread-self/ns/net', os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f'{NETNS_DIR}/{netns}', os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)


def exists(netns):
    return os.path.exists(f'{NETNS_DIR}/{netns}')


def namespaces_of(prefix):
    """The namespaces that a topology of this prefix has made."""
    pattern = re.compile(re.escape(prefix) + r'-(sub|s\d+|br|wire|imp|far|f\d+)$')
    try:
        return sorted(n for n in os.listdir(NETNS_DIR) if pattern.match(n))
    except FileNotFoundError:
        return []


def remove(prefix):
    """Ends what still runs in the namespaces of `prefix` and removes them. Returns their names."""
    names = namespaces_of(prefix)
    for name in names:
        for pid in command(['ip', 'netns', 'pids', name]).split():
            # Started in a namespace of ours: ours. Never the rig itself.
            if int(pid) != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
    for name in names:
        command(['ip', 'netns', 'del', name])
    return names


def link_counters(netns, interface):
    """Counters of an interface: rx_packets, tx_packets, rx_dropped, tx_dropped, rx_errors, ..."""
    import json
    text = command(in_netns(netns, ['ip', '-j', '-s', 'link', 'show', 'dev', interface]))
    stats = json.loads(text)[0]['stats64']
    return {f'{d}_{k}': v for d in ('rx', 'tx') for k, v in stats[d].items()}


@dataclasses.dataclass(frozen=True)
class Host:
    """An end host: where it is and its addresses (without prefix length)."""
    netns: str
    interface: str
    v4: str
    v6: str


class Topology:
    """The namespaces of one test. A context manager; close() may be called at any time, twice too.

    prefix: first part of all names, at most 20 characters. Default: one of its own per process.
    subscribers, far: number of hosts, each with an IPv4 and an IPv6 address.
    separate: each subscriber has a namespace of its own, on a bridge; else all are addresses of one.
    mtu: of all interfaces (with XDP on a port, its peer may have 3,506 at the most).
    impair: None, 'inside' or 'outside'.
    silent: the end hosts have no address and never send a frame of their own (for counting frames).
    """

    def __init__(self, prefix=None, *, subscribers=3, far=1, separate=False, mtu=1500, gro=True,
                 impair=None, silent=False):
        Topology._count = getattr(Topology, '_count', 0) + 1
        self.prefix = prefix or f'rig{os.getpid()}x{Topology._count}'
        if len(self.prefix) > 20 or not re.fullmatch(r'[A-Za-z0-9_]+', self.prefix):
            raise RigError(f'bad prefix {self.prefix!r}')
        if impair not in (None, 'inside', 'outside'):
            raise RigError('impair is None, "inside" or "outside"')
        self.mtu = mtu
        self.gro = gro
        self.impair = impair
        self.silent = silent
        self.wire_ns = f'{self.prefix}-wire'
        self.inside_port = 'inside'
        self.outside_port = 'outside'
        self.impair_ns = f'{self.prefix}-imp' if impair else None
        self.subscribers = []
        self.far = []
        self._separate = separate
        self._counts = (subscribers, far)
        self._processes = []
        self._owner = os.getpid()
        self._closed = True
        self._lock = threading.Lock()

    # Building -------------------------------------------------------------------------------

    def open(self):
        if namespaces_of(self.prefix):
            raise RigError(f'namespaces of {self.prefix} are there already: '
                           f'{__file__} down {self.prefix}')
        self._closed = False
        atexit.register(self.close)
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def _build(self):
        subscribers, far = self._counts
        self._add_netns(self.wire_ns, quiet=True)
        if self.impair:
            self._add_netns(self.impair_ns, quiet=True)
        sub_ns = f'{self.prefix}-{"br" if self._separate else "sub"}'
        far_ns = f'{self.prefix}-far'
        self._add_netns(sub_ns, quiet=self._separate or self.silent)
        self._add_netns(far_ns, quiet=self.silent)
        uplink = 'uplink' if self._separate else 'eth0'
        self._connect(sub_ns, uplink, far=False)
        self._connect(far_ns, 'eth0', far=True)
        if self._separate:
            self._ip(sub_ns, 'link add br0 type bridge forward_delay 0', 'link set br0 up',
                     f'link set {uplink} master br0')
        for i in range(1, subscribers + 1):
            netns = sub_ns
            if self._separate:
                netns = f'{self.prefix}-s{i}'
                self._add_netns(netns, quiet=self.silent)
                self._veth(netns, 'eth0', sub_ns, f'port{i}')
                self._ip(sub_ns, f'link set port{i} master br0')
                self._set_end(netns, 'eth0')
            self.subscribers.append(self._address(netns, 1, i))
        for i in range(1, far + 1):
            self.far.append(self._address(far_ns, 2, i))

    def _add_netns(self, name, quiet=False):
        command(['ip', 'netns', 'add', name])
        sysctl = ['net.ipv6.conf.all.accept_ra=0', 'net.ipv6.conf.default.accept_ra=0']
        if quiet:
            sysctl += ['net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1']
        for setting in sysctl:
            key, value = setting.split('=')
            with inside(name), open('/proc/sys/' + key.replace('.', '/'), 'w') as f:
                f.write(value)
        self._ip(name, 'link set lo up')

    def _ip(self, netns, *lines):
        command(['ip', '-n', netns, '-batch', '-'], input='\n'.join(lines) + '\n')

    def _veth(self, a_ns, a, b_ns, b):
        self._ip(a_ns, f'link add {a} mtu {self.mtu} type veth peer name {b} mtu {self.mtu} netns {b_ns}',
                 f'link set {a} up')
        self._ip(b_ns, f'link set {b} up')

    def _connect(self, netns, interface, far):
        """An end, a port of the wire, and the impairment between them where it belongs."""
        side = 'outside' if far else 'inside'
        port = self.outside_port if far else self.inside_port
        if self.impair == side:
            near, off = ('right', 'left') if far else ('left', 'right')
            self._veth(netns, interface, self.impair_ns, near)
            self._veth(self.impair_ns, off, self.wire_ns, port)
            for name in (near, off):
                # Its far end may be written to by XDP: receive through NAPI.
                self.ethtool(self.impair_ns, name, tx='off', gro='on' if self.gro else 'off')
                self.never_merge(self.impair_ns, name)
            self._set_port(self.impair_ns, near)
            self._set_port(self.impair_ns, off)
        else:
            self._veth(netns, interface, self.wire_ns, port)
        self._set_end(netns, interface)
        self._set_port(self.wire_ns, port)

    def _set_end(self, netns, interface):
        if self.silent:
            self._set_port(netns, interface)
        self.ethtool(netns, interface, tx='off', gro='on' if self.gro else 'off')

    def _set_port(self, netns, interface):
        self._ip(netns, f'link set {interface} arp off multicast off promisc on')

    def _address(self, netns, net, number):
        if self.silent:
            return Host(netns, 'eth0', '', '')
        host = Host(netns, 'eth0', f'10.77.{net}.{number}', f'fd77::{net}:{number:x}')
        self._ip(netns, f'addr add {host.v4}/16 dev eth0', f'addr add {host.v6}/64 dev eth0 nodad')
        return host

    # Using ----------------------------------------------------------------------------------

    def ethtool(self, netns, interface, **features):
        """Sets offloads, as ethtool -K names them: t.ethtool(ns, 'eth0', tx='off')."""
        words = [w for pair in features.items() for w in pair]
        command(in_netns(netns, ['ethtool', '-K', interface, *words]))

    def never_merge(self, netns, interface):
        """The interface hands up each frame as it came, also with GRO (and so NAPI) on."""
        self._ip(netns, f'link set {interface} gro_max_size 1')

    def run(self, netns, arguments, **options):
        """Runs a command in a namespace to its end; its standard output."""
        return command(in_netns(netns, arguments), **options)

    def popen(self, netns, arguments, **options):
        """Starts a process in a namespace; close() ends it."""
        process = subprocess.Popen(in_netns(netns, arguments), **options)
        with self._lock:
            self._processes.append(process)
        return process

    def bridge_wire(self):
        """A plain kernel bridge in the appliance's place (it keeps back link-local control frames)."""
        # br_netfilter, where it is loaded, drops IP that it finds malformed and cuts padding off.
        with inside(self.wire_ns):
            for family in ('ip', 'ip6', 'arp'):
                with contextlib.suppress(FileNotFoundError):
                    with open(f'/proc/sys/net/bridge/bridge-nf-call-{family}tables', 'w') as f:
                        f.write('0')
        self._ip(self.wire_ns, 'link add br0 type bridge forward_delay 0 mcast_snooping 0 '
                 'group_fwd_mask 0xfff8', f'link set br0 mtu {self.mtu} arp off up',
                 f'link set {self.inside_port} master br0',
                 f'link set {self.outside_port} master br0')

    def unbridge_wire(self):
        self._ip(self.wire_ns, 'link del br0')

    def wait_reachable(self, timeout=10.0):
        """Waits until the far side answers the first subscriber (IPv4)."""
        end = time.monotonic() + timeout
        while True:
            try:
                self.run(self.subscribers[0].netns, ['ping', '-c1', '-W1', self.far[0].v4])
                return
            except RigError:
                if time.monotonic() >= end:
                    raise

    # Removing -------------------------------------------------------------------------------

    def close(self):
        if self._closed or os.getpid() != self._owner:
            return
        self._closed = True
        atexit.unregister(self.close)
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + 3
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            if process.poll() is None:
                process.kill()
                process.wait()
        remove(self.prefix)

    def __enter__(self):
        return self.open()

    def __exit__(self, *_):
        self.close()


def exit_on_signals():
    """Makes SIGTERM and SIGHUP end the program through its `finally` and `with` blocks."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: sys.exit(128 + n))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    commands = parser.add_subparsers(dest='command', required=True)
    up = commands.add_parser('up', help='make a topology and leave it')
    up.add_argument('prefix')
    up.add_argument('--subscribers', type=int, default=3)
    up.add_argument('--far', type=int, default=1)
    up.add_argument('--separate', action='store_true', help='a namespace for each subscriber')
    up.add_argument('--mtu', type=int, default=1500)
    up.add_argument('--no-gro', action='store_true')
    up.add_argument('--silent', action='store_true', help='hosts without addresses')
    up.add_argument('--impair', choices=('inside', 'outside'))
    up.add_argument('--bridge', action='store_true', help='a kernel bridge in the wire')
    down = commands.add_parser('down', help='remove a topology')
    down.add_argument('prefix')
    commands.add_parser('show', help='namespaces of topologies').add_argument('prefix')
    arguments = parser.parse_args()
    try:
        if arguments.command == 'up':
            t = Topology(arguments.prefix, subscribers=arguments.subscribers, far=arguments.far,
                         separate=arguments.separate, mtu=arguments.mtu,
                         gro=not arguments.no_gro, impair=arguments.impair,
                         silent=arguments.silent).open()
            if arguments.bridge:
                t.bridge_wire()
            atexit.unregister(t.close)
            for host in t.subscribers + t.far:
                print(host.netns, host.interface, host.v4, host.v6)
        elif arguments.command == 'down':
            print('\n'.join(remove(arguments.prefix)))
        else:
            print('\n'.join(namespaces_of(arguments.prefix)))
    except RigError as error:
        sys.exit(str(error))


if __name__ == '__main__':
    main()
