#!/usr/bin/python3
"""The wire in the kernel, between two hosts in network namespaces: no dataplane runs, so everything
here is what the XDP program and its loader do by themselves.

    namespace_test.py WIRE_TOOL STEER_OBJECT

Needs root. All namespaces carry the prefix slx- and this process's id, and are removed at the end.
"""
import ctypes
import fcntl
import hashlib
import json
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TOOL = STEER_OBJECT = ""
PID = os.getpid()
A, B, W = (f"slx-{role}{PID}" for role in "abw")
# Seconds until something that must happen is given up; emulated machines are slow.
WAIT = float(os.environ.get("SLUICE_TEST_WAIT", "10"))
LIBC = ctypes.CDLL(None, use_errno=True)
ETH_P_ALL = 3
PACKET_AUXDATA = 8
SOL_PACKET = 263
MAC_A, MAC_B = bytes.fromhex("02aaaaaaaa01"), bytes.fromhex("02bbbbbbbb02")


def sh(command, check=True):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")
    return done


def within(namespace, command, check=True):
    # Not `ip netns exec`: it hides bpffs.
    return sh(f"nsenter --net=/run/netns/{namespace} {command}", check)


class Inside:
    """Sockets made in the body belong to the namespace, wherever they are used."""

    def __init__(self, namespace):
        self.namespace = namespace

    def __enter__(self):
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        if LIBC.setns(there, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(there)

    def __exit__(self, *_):
        LIBC.setns(self.home, 0)
        os.close(self.home)


class Link:
    """A raw socket on the outer end of a port: sends frames and gets them back whole."""

    def __init__(self, namespace, interface):
        with Inside(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
        self.socket.bind((interface, ETH_P_ALL))

    def send(self, frame):
        self.socket.send(frame)

    def receive(self, source, timeout):
        """The next frame from that MAC, or None. The kernel takes the outer tag out: it is put back."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            if left < 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            frame, ancillary, _, address = self.socket.recvmsg(65536, 256)
            if address[2] == socket.PACKET_OUTGOING or frame[6:12] != source:
                continue
            for level, kind, data in ancillary:
                if level == SOL_PACKET and kind == PACKET_AUXDATA:
                    status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
                    if status & 0x10:
                        tpid = tpid if status & 0x40 else 0x8100
                        frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
            return frame

    def close(self):
        self.socket.close()


def checksum(octets):
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(protocol, payload, fragment=0x4000):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0,
                         bytes([192, 0, 2, 1]), bytes([198, 51, 100, 2]))
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(protocol, payload):
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + bytes(
        [0x20, 1, 0xD, 0xB8] + [0] * 11 + [1] + [0x20, 1, 0xD, 0xB8] + [0] * 11 + [2]) + payload


def tcp(port, size):
    return struct.pack("!HHIIBBHHH", 40000, port, 1, 1, 0x50, 0x10, 1000, 0, 0) + os.urandom(size)


def frames_of_section_d(rng, from_mac, to_mac):
    """One frame of a random kind and size, as cases D02, D03, D07 and D11 name them."""
    def ethernet(ether_type, payload, destination=to_mac):
        return destination + from_mac + struct.pack("!H", ether_type) + payload

    def tagged(frame, *tags):
        for tpid, vid in reversed(tags):
            frame = frame[:12] + struct.pack("!HH", tpid, vid) + frame[12:]
        return frame

    size = rng.choice([0, 6, 100, 700, 1420, rng.randrange(1420)])
    port = rng.choice([25, 80, 443, 587])
    segment = rng.choice([ipv4(6, tcp(port, size)), ipv4(17, os.urandom(8 + size))])
    six = ipv6(6, tcp(port, size))
    session = struct.pack("!BBHH", 0x11, 0, 9, len(segment) + 2) + b"\0\x21" + segment
    compressed = struct.pack("!BBHH", 0x11, 0, 9, len(six) + 1) + b"\x57" + six
    gre = ipv4(47, b"\0\0\x08\0" + segment)
    control = rng.choice([0x88CC, 0x8809, 0x888E, 0x8902, 0x88E5, 0x0806, 0x8863])
    reserved = bytes.fromhex("0180c20000") + bytes([rng.choice([0, 2, 3, 0xE])])
    kinds = [
        lambda: ethernet(0x0800, segment),
        lambda: ethernet(0x86DD, six),
        lambda: tagged(ethernet(0x0800, segment), (0x8100, 7)),
        lambda: tagged(ethernet(0x0800, segment), (0x8100, 0xA000)),  # priority tag
        lambda: tagged(ethernet(0x0800, segment), (0x88A8, 10), (0x8100, 20)),
        lambda: tagged(ethernet(0x86DD, six), (0x9100, 10), (0x8100, 20)),
        lambda: tagged(ethernet(0x0800, segment), (0x88A8, 1), (0x8100, 2), (0x8100, 3)),
        lambda: tagged(ethernet(0x0800, segment), *[(0x8100, n) for n in range(1, 5)]),
        lambda: ethernet(0x8864, session),
        lambda: tagged(ethernet(0x8864, compressed), (0x8100, 7)),
        lambda: tagged(ethernet(0x8864, session), (0x88A8, 10), (0x8100, 20)),
        lambda: ethernet(0x8864, b"\x11\0\0\x09\0\x0a\xc0\x21" + os.urandom(20)),
        lambda: ethernet(0x8847, struct.pack("!II", 100 << 12 | 64, 200 << 12 | 0x140) + segment),
        lambda: ethernet(0x0800, gre),
        lambda: ethernet(0x0800, ipv4(41, six)),
        lambda: ethernet(0x0800, ipv4(6, os.urandom(24), 0x2000)),
        lambda: ethernet(0x0800, ipv4(6, os.urandom(24), 0x0003)),
        lambda: ethernet(control, os.urandom(46), reserved),
        lambda: ethernet(0x0026, b"\x42\x42\x03" + os.urandom(43), reserved),  # STP in LLC
        lambda: ethernet(0x0800, segment[:rng.randrange(1, 20)]),  # cut short
        lambda: ethernet(0x0800, os.urandom(46)),
        lambda: ethernet(rng.randrange(65536), os.urandom(46 + size)),
    ]
    frame = rng.choice(kinds)()
    return frame if len(frame) >= 60 else frame + os.urandom(60 - len(frame))


def in_order_of_protocol(frames):
    """Stably sorted by tags and EtherType. Where two frames come in one poll of NAPI, the receiving
    kernel gives that of a protocol which it does not handle to a packet socket last
    (__netif_receive_skb_list_core): frames of two protocols may change places there, behind the
    wire, and those of one do not."""
    def protocol(frame):
        end = 12
        while frame[end:end + 2] in (b"\x81\0", b"\x88\xa8", b"\x91\0"):
            end += 4
        return frame[12:end + 2]
    return sorted((frame for frame in frames if frame), key=protocol)


class WireTest(unittest.TestCase):
    mode = None  # native, as the loader chooses it

    def setUp(self):
        self.base = tempfile.mkdtemp(prefix="slx-bpffs-")
        self.addCleanup(self.remove_all)  # also when what follows fails, unlike tearDown()
        sh(f"mount -t bpf bpf {self.base}")
        os.environ["SLUICE_BPFFS"] = self.base
        for name in (A, B, W):
            sh(f"ip netns add {name}")
        self.make_pair("win", "a0", A)
        self.make_pair("wout", "b0", B)
        within(A, "ip addr add 10.77.0.1/24 dev a0")
        within(B, "ip addr add 10.77.0.2/24 dev b0")
        within(A, "ip addr add fd77::1/64 dev a0 nodad")
        within(B, "ip addr add fd77::2/64 dev b0 nodad")

    def remove_all(self):
        for wire in ("t", "u"):
            within(W, f"{TOOL} detach {wire}", check=False)
        for name in (A, B, W):
            sh(f"ip netns del {name}", check=False)
        sh(f"umount {self.base}", check=False)
        shutil.rmtree(self.base, ignore_errors=True)

    def make_pair(self, port, end, namespace):
        sh(f"ip link add {port} netns {W} type veth peer name {end} netns {namespace}")
        # The far end of a devmap redirect: NAPI by gro; whole checksums; tags in the frame.
        within(namespace, f"ethtool -K {end} gro on tx off txvlan off rxvlan off")
        within(namespace, f"ip link set {end} up")
        within(namespace, "ip link set lo up")

    def widen_ends(self):
        """Ends that take tagged frames of full size, as those of a real line do."""
        within(A, "ip link set a0 mtu 1540")
        within(B, "ip link set b0 mtu 1540")

    def tool(self, *words, check=True):
        return within(W, f"{TOOL} {' '.join(words)}", check)

    def attach(self, *options, check=True):
        if self.mode and not any(option.startswith("mode=") for option in options):
            options = (f"mode={self.mode}", *options)
        return self.tool("attach", "t", "win", "wout", *options, check=check)

    def counter(self, side, name, field=2):
        for line in self.tool("counters", "t").stdout.splitlines():
            if line.startswith(f"{side} {name} "):
                return int(line.split()[field])
        raise KeyError(name)

    def octets(self, side, name):
        return self.counter(side, name, 3)

    def ping(self, namespace, address, count=3):
        return within(namespace, f"ping -n -q -c {count} -i 0.05 -W 2 {address}",
                      check=False).returncode == 0

    def connect(self, namespace, address, port, timeout=WAIT):
        with Inside(namespace):
            client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        client.settimeout(timeout)
        try:
            client.connect((address, port))
        except OSError:
            client.close()
            raise
        return client

    def listen(self, namespace, address, port):
        with Inside(namespace):
            server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.settimeout(WAIT)
        server.bind((address, port))
        server.listen()
        self.addCleanup(server.close)
        return server

    def transfer(self, namespace, far, address, port, size=3_000_000):
        """`size` octets each way over one connection, compared by hash."""
        server = self.listen(far, address, port)
        data = os.urandom(size)

        def echo():
            peer = server.accept()[0]
            peer.settimeout(WAIT)
            received = bytearray()
            while len(received) < size:
                received += peer.recv(65536)
            peer.sendall(received)
            peer.close()

        thread = threading.Thread(target=echo)
        thread.start()
        client = self.connect(namespace, address, port)
        client.sendall(data)
        back = hashlib.sha256()
        while chunk := client.recv(65536):
            back.update(chunk)
        client.close()
        thread.join()
        server.close()
        self.assertEqual(back.hexdigest(), hashlib.sha256(data).hexdigest())

    # ---- traffic ----

    def check_traffic(self):
        for near, far, v4, v6 in ((A, B, "10.77.0.2", "fd77::2"), (B, A, "10.77.0.1", "fd77::1")):
            self.assertTrue(self.ping(near, v4))
            self.assertTrue(self.ping(near, v6))
            self.transfer(near, far, v4, 80)
            self.transfer(near, far, v6, 80)
            self.transfer(near, far, v4, 25)
        self.assertGreater(self.counter("inside", "not-mail"), 0)
        self.assertGreater(self.counter("inside", "open-heartbeat"), 0)
        self.assertGreater(self.counter("outside", "open-heartbeat"), 0)
        for side in ("inside", "outside"):
            for name in ("no-peer", "listed-drop", "closed-heartbeat"):
                self.assertEqual(self.counter(side, name), 0)

    def test_native_traffic_passes_without_a_dataplane(self):
        self.attach("mode=native")
        self.check_traffic()

    def test_generic_traffic_passes_without_a_dataplane(self):
        self.attach("mode=generic")
        self.assertIn("generic=1", self.tool("state", "t").stdout)
        self.check_traffic()

    def test_fail_closed_drops_mail_alone(self):
        self.attach("failure=closed")
        self.listen(B, "10.77.0.2", 25)
        with self.assertRaises(OSError):
            self.connect(A, "10.77.0.2", 25, timeout=1.5)
        self.assertGreater(self.counter("inside", "closed-heartbeat"), 0)
        self.transfer(A, B, "10.77.0.2", 80)
        self.attach("failure=open")
        self.transfer(A, B, "10.77.0.2", 26)

    def test_blocked_hosts_mail_stops_and_its_other_traffic_goes_on(self):
        self.attach()
        self.tool("put", "t", "10.77.0.1", "drop")
        server = self.listen(B, "10.77.0.2", 25)
        with self.assertRaises(OSError):
            self.connect(A, "10.77.0.2", 25, timeout=1.5)
        self.assertGreater(self.counter("inside", "listed-drop"), 0)
        self.assertTrue(self.ping(A, "10.77.0.2"))
        self.transfer(A, B, "10.77.0.2", 80)
        self.tool("remove", "t", "10.77.0.1")
        self.connect(A, "10.77.0.2", 25).close()
        server.close()
        self.tool("put", "t", "10.77.0.1", "drop", "all")
        self.assertFalse(self.ping(A, "10.77.0.2", count=1))

    def test_reset_ends_connections_at_both_ends(self):
        self.attach()
        for address, client_address in (("10.77.0.2", "10.77.0.1"), ("fd77::2", "fd77::1")):
            server = self.listen(B, address, 25)
            client = self.connect(A, address, 25)
            peer = server.accept()[0]
            self.addCleanup(client.close)
            self.addCleanup(peer.close)
            peer.settimeout(WAIT)
            self.tool("put", "t", client_address, "reset")
            client.sendall(b"EHLO a.test\r\n")
            with self.assertRaises(ConnectionResetError):
                client.recv(1)
            peer.sendall(b"220 b.test\r\n")
            with self.assertRaises(ConnectionResetError):
                peer.recv(1)
            with self.assertRaises(ConnectionRefusedError):
                self.connect(A, address, 25)
            self.assertTrue(self.ping(A, address))
            server.close()

    def test_reset_arrives_without_other_traffic(self):
        """XDP_TX into a veth wakes nobody at a far end that has NAPI but no program."""
        self.attach()
        self.tool("put", "t", "192.0.2.1", "reset")
        client = Link(A, "a0")
        self.addCleanup(client.close)
        for number in range(20):
            client.send(MAC_B + MAC_A + b"\x08\0" + ipv4(6, tcp(25, 6 + number)))
            answer = client.receive(MAC_B, WAIT)
            self.assertIsNotNone(answer, f"answer {number}")
            self.assertEqual((answer[:6], len(answer), answer[47]), (MAC_A, 60, 4))

    # ---- frames ----

    def soak(self, count):
        self.widen_ends()
        rng = random.Random(4711)
        ends = {"a": Link(A, "a0"), "b": Link(B, "b0")}
        for end in ends.values():
            self.addCleanup(end.close)
        for sender, receiver, source, target in (("a", "b", MAC_A, MAC_B), ("b", "a", MAC_B, MAC_A)):
            sent = 0
            while sent < count:
                batch = [frames_of_section_d(rng, source, target) for _ in range(64)]
                for frame in batch:
                    ends[sender].send(frame)
                came = [ends[receiver].receive(source, WAIT) for _ in batch]
                self.assertEqual(in_order_of_protocol(came), in_order_of_protocol(batch),
                                 f"frames {sent} to {sent + len(batch) - 1}")
                sent += len(batch)
            self.assertIsNone(ends[receiver].receive(source, 0.05), "nothing is doubled")

    def test_frames_cross_byte_identical_native(self):
        self.attach("mode=native")
        self.soak(4096)

    def test_frames_cross_byte_identical_generic(self):
        self.attach("mode=generic")
        self.soak(1024)

    def test_d07_tags_do_not_count_against_the_mtu(self):
        self.attach()
        self.widen_ends()
        self.assertIn("mtu=1524", self.tool("state", "t").stdout)
        sender, receiver = Link(A, "a0"), Link(B, "b0")
        self.addCleanup(sender.close)
        self.addCleanup(receiver.close)
        full = MAC_B + MAC_A + b"\x08\0" + ipv4(6, tcp(80, 1460))
        self.assertEqual(len(full), 1514)
        for tags in range(4):
            frame = full[:12] + b"\x81\0\0\x07" * tags + full[12:]
            sender.send(frame)
            self.assertEqual(receiver.receive(MAC_A, WAIT), frame, f"{tags} tags")
        self.assertEqual(self.counter("inside", "oversize"), 0)

    # ---- ownership ----

    def test_foreign_program_is_left_alone(self):
        within(W, f"ip link set dev wout xdp obj {STEER_OBJECT} program steer_outside")
        before = within(W, "ip -j link show wout").stdout
        refused = self.attach(check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("steer_outside", refused.stderr)
        self.assertIn("wout", refused.stderr)
        after = within(W, "ip -j link show wout").stdout
        self.assertEqual(before, after, "untouched")
        self.assertNotIn("xdp", within(W, "ip link show win").stdout)
        self.assertEqual(self.pins(), [], "nothing left behind")
        self.tool("detach", "t")
        self.assertEqual(before, within(W, "ip -j link show wout").stdout)
        within(W, "ip link set dev wout xdp off")
        self.attach()

    def test_another_wires_program_is_left_alone(self):
        self.attach()
        refused = self.tool("attach", "u", "win", "wout", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertTrue(self.ping(A, "10.77.0.2"))
        self.tool("detach", "u")
        self.assertTrue(self.ping(A, "10.77.0.2"))

    def pins(self):
        found = []
        for folder, _, files in os.walk(self.base):
            found += [name for name in files if not name.endswith(".debug")]  # the kernel's own
        return found

    def test_adopts_what_runs_and_loses_nothing(self):
        self.assertIn("attached", self.attach().stdout)
        self.tool("put", "t", "10.77.0.9", "drop")
        self.adopt_under(MAC_B + MAC_A + b"\x88\xb5")
        self.assertEqual(self.tool("entries", "t").stdout.strip(), "1", "lists are kept")

    def adopt_under(self, head):
        before = self.counter("inside", "received")
        sender, receiver = Link(A, "a0"), Link(B, "b0")
        self.addCleanup(sender.close)
        self.addCleanup(receiver.close)
        count, stop = 0, threading.Event()

        def send():
            nonlocal count
            while not stop.is_set():
                sender.send(head + struct.pack("!I", count) + bytes(46))
                count += 1
                if count % 50 == 0:  # bounded also where an attach takes long
                    time.sleep(0.002 if count < 10_000 else 0.1)

        thread = threading.Thread(target=send)
        thread.start()
        for _ in range(5):
            self.assertIn("adopted", self.attach().stdout)
        stop.set()
        thread.join()
        for number in range(count):
            frame = receiver.receive(MAC_A, WAIT)
            self.assertIsNotNone(frame, f"frame {number} of {count} lost")
            self.assertEqual(struct.unpack("!I", frame[len(head):len(head) + 4])[0], number)
        self.assertGreaterEqual(self.counter("inside", "received") - before, count)

    def test_processes_that_start_at_once_take_turns(self):
        command = ["nsenter", f"--net=/run/netns/{W}", TOOL, "attach", "t", "win", "wout"]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                   for _ in range(4)]
        outputs = [process.communicate() for process in started]
        self.assertEqual([p.returncode for p in started], [0] * 4, outputs)
        self.assertEqual(sum(b"attached\n" in out for out, _ in outputs), 1)
        self.assertTrue(self.ping(A, "10.77.0.2"))

    def test_removed_and_recreated_port_is_taken_up_again(self):
        self.attach()
        self.tool("put", "t", "10.77.0.9", "drop")
        within(W, "ip link del win")
        self.assertIn("attached=0", self.tool("state", "t").stdout)
        self.make_pair("win", "a0", A)
        within(A, "ip addr add 10.77.0.1/24 dev a0")
        self.assertIn("adopted", self.attach().stdout)
        self.assertTrue(self.ping(A, "10.77.0.2"))
        self.assertEqual(self.tool("entries", "t").stdout.strip(), "1")

    def test_mode_change_reattaches(self):
        self.attach("mode=native")
        self.attach("mode=generic")
        self.assertIn("generic=1", self.tool("state", "t").stdout)
        self.assertTrue(self.ping(A, "10.77.0.2"))
        self.attach("mode=native")
        self.assertNotIn("generic=1", self.tool("state", "t").stdout)
        self.assertTrue(self.ping(A, "10.77.0.2"))

    def test_where_one_port_takes_no_native_program_both_are_generic(self):
        # Frames redirected from a port in native mode to one without were lost, all of them.
        sh(f"ip -n {W} link add link wout name mout type macvlan mode passthru")
        for inside, outside in (("win", "mout"), ("mout", "win")):
            warnings = self.tool("attach", "t", inside, outside).stdout
            within(W, "ip link set wout up")
            self.assertTrue(self.ping(A, "10.77.0.2"), warnings)
            self.assertIn("win: generic mode", warnings)
            self.assertEqual(self.tool("state", "t").stdout.count("generic=1"), 2)
            self.assertIn("adopted", self.tool("attach", "t", inside, outside).stdout)
            self.assertEqual(self.tool("state", "t").stdout.count("generic=1"), 2)
            self.tool("detach", "t")

    def test_detach_gives_the_ports_back(self):
        def show(port):
            text = within(W, f"ip -o link show {port}").stdout.split(" qdisc")[0]
            return text + within(W, f"cat /proc/sys/net/ipv6/conf/{port}/disable_ipv6").stdout
        def all_of():
            links = [line.split()[0] for line in within(W, "ip -br link").stdout.splitlines()]
            return show("win"), show("wout"), links, within(W, "tc qdisc show").stdout.count("clsact")
        before = all_of()
        self.attach()
        during = within(W, "ip -d -o link show win").stdout
        self.assertIn("NOARP", during)
        self.assertIn("promiscuity 1", during)
        self.assertIn("xdp", within(W, "ip -d -o link").stdout)
        self.assertEqual(within(W, "ip -6 addr show dev win").stdout, "")
        self.tool("detach", "t")
        self.assertEqual(before, all_of())
        self.assertEqual(self.pins(), [])
        self.tool("detach", "t")  # nothing there: success

    def test_silent_ports(self):
        """The appliance itself says nothing on its ports (ARP, IPv6)."""
        listener = Link(A, "a0")
        self.addCleanup(listener.close)
        self.attach()
        mac = bytes.fromhex(within(W, "ip -o link show win").stdout.split("link/ether ")[1]
                            .split()[0].replace(":", ""))
        self.assertIsNone(listener.receive(mac, 1.5))

    # ---- settings of the ports ----

    def test_d07_unequal_mtu(self):
        within(W, "ip link set win mtu 1400")
        refused = self.attach(check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("1400", refused.stderr)
        self.assertEqual(self.pins(), [])
        self.assertIn("warning: win has MTU 1400", self.attach("unequal=warn").stdout)

    def test_d07_mtu_over_a_page(self):
        for port in ("win", "wout"):
            within(W, f"ip link set {port} mtu 9000")
        for end, namespace in (("a0", A), ("b0", B)):
            within(namespace, f"ip link set {end} mtu 9000")
        refused = self.attach(check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("3506", refused.stderr)
        self.assertIn("multi-buffer", refused.stderr)
        kernel = tuple(int(part) for part in os.uname().release.split(".")[:2])
        for option in ("multi=1", "mode=generic"):
            if option == "multi=1" and kernel < (6, 3):
                refused = self.attach(option, check=False)
                self.assertEqual(refused.returncode, 1)
                self.assertIn("6.3", refused.stderr)
                continue
            self.attach(option)
            sender, receiver = Link(A, "a0"), Link(B, "b0")
            frame = MAC_B + MAC_A + b"\x08\0" + ipv4(6, tcp(25, 8900))
            sender.send(frame)
            self.assertEqual(receiver.receive(MAC_A, WAIT), frame, option)
            sender.close()
            receiver.close()
            self.tool("detach", "t")

    def test_d04_d06_offloads_are_off(self):
        within(W, "ethtool -K win gro on rxvlan on", check=False)
        self.attach("mode=generic")
        features = within(W, "ethtool -k win").stdout
        for name in ("generic-receive-offload", "large-receive-offload", "rx-vlan-offload",
                     "tx-vlan-offload", "rx-vlan-stag-hw-parse", "rx-gro-hw"):
            for line in features.splitlines():
                if line.strip().startswith(name + ":"):
                    self.assertIn(": off", line)

    def test_d14_link_state_is_mirrored(self):
        self.attach("mirror=1")
        self.assertEqual(self.tool("mirror", "t").stdout.strip(), "same")
        for end, near, far_end, far in (("a0", A, "b0", B), ("b0", B, "a0", A)):
            within(near, f"ip link set {end} down")
            self.await_mirror("changed")
            self.await_no_carrier(far, far_end)
            self.assertEqual(self.tool("mirror", "t").stdout.strip(), "same")
            self.assertIn("adopted", self.attach("mirror=1").stdout)
            self.assertIn("NO-CARRIER", within(far, f"ip link show {far_end}").stdout,
                          "a restart remembers")
            within(near, f"ip link set {end} up")
            self.await_mirror("changed")
            self.assertEqual(self.tool("mirror", "t").stdout.strip(), "same", "no flapping")
            # The far hosts take up to a second to believe in their carrier.
            limit = time.monotonic() + WAIT
            while not self.ping(A, "10.77.0.2"):
                self.assertLess(time.monotonic(), limit)

    def await_no_carrier(self, namespace, interface):
        end = time.monotonic() + WAIT
        while "NO-CARRIER" not in within(namespace, f"ip link show {interface}").stdout:
            self.assertLess(time.monotonic(), end)

    def await_mirror(self, wanted):
        end = time.monotonic() + WAIT
        while self.tool("mirror", "t").stdout.strip() != wanted:
            self.assertLess(time.monotonic(), end)

    def test_lists_swap_under_traffic(self):
        self.attach()
        self.tool("put", "t", "10.77.0.1", "allow")
        for size in ("20000", "0", "50000"):
            self.tool("fill", "t", size)
            self.assertEqual(self.tool("entries", "t").stdout.strip(), size)
            self.transfer(A, B, "10.77.0.2", 25, size=200_000)


class FrontTest(WireTest):
    """The same in front mode, and what is its own."""
    mode = "front"
    test_native_traffic_passes_without_a_dataplane = None
    test_generic_traffic_passes_without_a_dataplane = None
    test_frames_cross_byte_identical_native = None
    test_frames_cross_byte_identical_generic = None
    test_where_one_port_takes_no_native_program_both_are_generic = None

    def mac(self, namespace, interface):
        return bytes.fromhex(within(namespace, f"ip -br link show {interface}").stdout.split()[2].replace(":", ""))

    def came_in(self, interface):
        return json.loads(within(W, f"ip -j -s link show {interface}").stdout)[0]["stats64"]["rx"]["packets"]

    def inner(self):
        """The veths behind the ports."""
        return [line.split("@")[0] for line in within(W, "ip -br link").stdout.splitlines() if line.startswith("sl")]

    def xdp_end(self):
        return next(name for name in self.inner() if name.startswith("slx"))

    def test_traffic_passes_without_a_dataplane(self):
        self.attach()
        self.assertEqual(self.tool("state", "t").stdout.count("attached=1 generic=0 front=1"), 2)
        self.check_traffic()

    def test_frames_cross_byte_identical(self):
        self.attach()
        self.soak(2048)

    def test_ends_may_leave_checksums_and_cutting_to_the_port(self):
        for end, namespace in (("a0", A), ("b0", B)):
            within(namespace, f"ethtool -K {end} tx on tso on gso on")
        self.attach()
        for address in ("10.77.0.2", "fd77::2"):
            for port, name in ((80, "not-mail"), (25, "open-heartbeat")):
                before = self.counter("inside", name)
                self.transfer(A, B, address, port)
                # As many as on a line, though few of them came.
                self.assertGreaterEqual(self.counter("inside", name) - before, 3_000_000 // 1460)
        self.assertEqual(self.counter("inside", "oversize"), 0)
        self.assertLess(self.came_in("win"), self.counter("inside", "received"), "they were cut before they came")

    def test_a_virtual_machines_port_takes_large_sends(self):
        within(W, "ip link del win")
        with Inside(W):
            tap = os.open("/dev/net/tun", os.O_RDWR)
            self.addCleanup(os.close, tap)
            # TUNSETIFF: TAP, NO_PI, VNET_HDR
            fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"win", 0x0002 | 0x1000 | 0x4000))
        receiver = Link(B, "b0")
        self.addCleanup(receiver.close)
        self.attach()
        size, part = 2900, 1000

        def pseudo(length):
            return bytes([192, 0, 2, 1, 198, 51, 100, 2, 0, 6]) + struct.pack("!H", length)

        for port, name in ((80, "not-mail"), (25, "open-heartbeat")):
            before = self.counter("inside", name), self.octets("inside", name), self.came_in(self.xdp_end())
            segment = bytearray(tcp(port, size))
            segment[16:18] = struct.pack("!H", ~checksum(pseudo(20 + size)) & 0xFFFF)
            frame = MAC_B + MAC_A + b"\x08\0" + ipv4(6, bytes(segment))
            # virtio_net_hdr: NEEDS_CSUM, TCPV4, headers, size of a part, where the checksum is
            os.write(tap, struct.pack("<BBHHHH", 1, 1, 54, part, 34, 16) + frame)
            came = []
            while sum(len(one) - 54 for one in came) < size:
                came.append(receiver.receive(MAC_A, WAIT))
                self.assertIsNotNone(came[-1], name)
            self.assertEqual(b"".join(one[54:] for one in came), frame[54:])
            # As on the line, also where the sender did not say how many they are.
            self.assertEqual(self.counter("inside", name) - before[0], 3)
            self.assertEqual(self.octets("inside", name) - before[1], size + 3 * 54)
            if port == 80:
                self.assertEqual((len(came), self.came_in(self.xdp_end())), (1, before[2]), "straight, as it came")
            elif len(came) > 1:  # else GRO, which looks at checksums, has merged them again
                for one in came:
                    self.assertEqual(checksum(pseudo(len(one) - 34) + one[34:]), 0, "a whole checksum")

    def test_a_tag_that_the_kernel_took_out_counts(self):
        # It does so before any TC program, whatever the offloads.
        within(A, "sh -c 'echo 1 > /proc/sys/net/ipv6/conf/a0/disable_ipv6'")
        self.attach()
        self.tool("steer", "t", "192.0.2.1", "40000", "198.51.100.2", "8025", "7")
        sender, receiver = Link(A, "a0"), Link(B, "b0")
        self.addCleanup(sender.close)
        self.addCleanup(receiver.close)
        before = self.octets("inside", "not-mail")
        for vlan in (7, 8):
            frame = MAC_B + MAC_A + b"\x81\0" + struct.pack("!H", vlan) + b"\x08\0" + ipv4(6, tcp(8025, 100))
            sender.send(frame)
            self.assertEqual(receiver.receive(MAC_A, WAIT), frame)
        self.assertEqual(self.counter("inside", "open-heartbeat"), 1, "as a steered flow")
        self.assertEqual(self.octets("inside", "not-mail") - before, len(frame))

    def test_mail_loses_nothing_when_it_is_taken_over(self):
        self.attach()
        self.adopt_under(MAC_B + MAC_A + b"\x08\0" + ipv4(6, tcp(25, 50))[:40])

    def test_nobody_but_the_ends_says_anything(self):
        ends = {self.mac(A, "a0"), self.mac(B, "b0")}
        listeners = [Link(A, "a0"), Link(B, "b0")]
        for listener in listeners:
            self.addCleanup(listener.close)
        self.attach()
        self.attach("queues=2")  # the inner veths are made anew
        time.sleep(1.5)
        for listener in listeners:
            while select.select([listener.socket], [], [], 0)[0]:
                self.assertIn(listener.socket.recv(65536)[6:12], ends)

    def test_modes_change_and_leave_nothing_behind(self):
        for mode, count in (("native", 0), ("front", 4), ("generic", 0), ("front", 4), ("native", 0)):
            self.attach(f"mode={mode}")
            self.assertEqual(len(self.inner()), count)
            self.assertEqual("clsact" in within(W, "tc qdisc show").stdout, mode == "front")
            self.assertTrue(self.ping(A, "10.77.0.2"), mode)
            self.transfer(A, B, "10.77.0.2", 25, size=200_000)

    def test_queues_change(self):
        for queues in (1, 2, 1):
            self.attach(f"queues={queues}")
            self.assertEqual(len(self.inner()), 4)
            for name in self.inner():
                self.assertIn(f"numrxqueues {queues} ", within(W, f"ip -d -o link show {name.split('@')[0]}").stdout)
            self.transfer(A, B, "10.77.0.2", 25, size=200_000)
            self.transfer(A, B, "10.77.0.2", 80, size=200_000)

    def test_a_port_that_came_back_has_one_pair(self):
        self.attach()
        old = self.inner()
        within(W, "ip link del win")
        self.assertIn("attached=0", self.tool("state", "t").stdout)
        self.make_pair("win", "a0", A)
        within(A, "ip addr add 10.77.0.1/24 dev a0")
        self.assertIn("adopted", self.attach().stdout)
        self.assertEqual(len(self.inner()), 4)
        self.assertNotEqual(self.inner(), old)
        self.transfer(A, B, "10.77.0.2", 25, size=200_000)

    def test_a_front_is_left_alone_by_other_wires(self):
        self.attach()
        for mode in ("front", "native"):
            refused = self.tool("attach", "u", "win", "wout", f"mode={mode}", check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("another wire", refused.stderr)
        self.tool("detach", "u")
        self.assertEqual(len(self.inner()), 4)
        self.assertTrue(self.ping(A, "10.77.0.2"))

    def test_filters_of_others_stay(self):
        within(W, "tc qdisc add dev win clsact")
        within(W, "tc filter add dev win ingress prio 300 protocol all u32 match u32 0 0 classid 1:1")
        before = within(W, "tc filter show dev win ingress").stdout
        self.attach()
        self.attach()
        self.assertNotEqual(within(W, "tc filter show dev win ingress").stdout, before)
        self.tool("detach", "t")
        self.assertEqual(within(W, "tc filter show dev win ingress").stdout, before)


if __name__ == "__main__":
    TOOL, STEER_OBJECT = (os.path.abspath(path) for path in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
