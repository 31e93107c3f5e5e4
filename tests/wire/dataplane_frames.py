#!/usr/bin/env python3
"""Frames of all kinds cross the process byte-identical, both ways, none lost (cases D02 to D04, D07,
D11, D13). dataplane_frames.py PROGRAM..."""
import collections
import contextlib
import os
import random
import select
import struct
import subprocess
import sys
import time
import unittest

import dataplane_lab as lab

PROGRAMS = []
OURS = bytes.fromhex("025f")  # first octets of our source addresses: everything else is not ours
COUNT = 1500                  # frames each way
WINDOW = 128                  # under way at most: the receiving sockets hold that many


def checksum(octets):
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_sum(ends, segment, spoilt=0):
    sum_ = checksum(ends + struct.pack("!HH", 6, len(segment)) + segment) ^ spoilt
    return segment[:16] + struct.pack("!H", sum_) + segment[18:]


def tcp(rng, pseudo, port, size):
    source, destination = (port, rng.randrange(1024, 65536))
    if rng.random() < 0.5:
        source, destination = destination, source
    flags = rng.choice([0x02, 0x10, 0x18, 0x11, 0x04, 0x00, 0xFF])
    segment = struct.pack("!HHIIBBHHH", source, destination, rng.getrandbits(32),
                          rng.getrandbits(32), 0x50, flags, 1024, 0, 0) + rng.randbytes(size)
    return with_sum(pseudo, segment, 0x5555 if rng.random() < 0.1 else 0)


def packet4(ends, body, identification=0, field=0x4000, protocol=6):
    head = struct.pack("!BBHHHBBH8s", 0x45, 0, 20 + len(body), identification, field, 64, protocol, 0, ends)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def segment(ends, ports, sequence, acknowledgement, flags, payload=b""):
    """A frame of one TCP segment."""
    body = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledgement, 0x50, flags, 1024, 0, 0) + payload
    return bytes.fromhex("025e00000001") + OURS + bytes(4) + b"\x08\x00" + packet4(ends, with_sum(ends, body))


def ip4(rng, room):
    """An IPv4 packet of at most `room` octets: mail, other TCP, a fragment, or something else."""
    # TEST-NET addresses: no host answers.
    ends = bytes([192, 0, 2, rng.randrange(1, 20), 198, 51, 100, rng.randrange(1, 4)])
    kind = rng.random()
    size = rng.randrange(0, room - 40)
    protocol, field = 6, 0x4000
    if kind < 0.6:
        body = tcp(rng, ends, rng.choice([25, 587, 465, 2525, 80]), size)
    elif kind < 0.8:  # a fragment, of any place
        field = rng.choice([0x2000, 0x2000 | rng.randrange(1, 180), rng.randrange(1, 180)])
        body = rng.randbytes(max(size & ~7, 8))
    else:
        protocol = rng.choice([1, 17, 50, 132])
        body = rng.randbytes(size)
    return packet4(ends, body, rng.getrandbits(16), field, protocol)


def ip6(rng, room):
    ends = [bytes.fromhex("20010db8") + rng.randbytes(12) for _ in range(2)]
    size = rng.randrange(0, room - 80)
    chain, next_header = b"", 6
    if rng.random() < 0.3:
        chain, next_header = struct.pack("!BB", 6, 0) + b"\1\4\0\0\0\0", rng.choice([0, 60])
    body = chain + tcp(rng, ends[0] + ends[1], rng.choice([25, 443]), size)
    return struct.pack("!IHBB", 0x60000000, len(body), next_header, 64) + ends[0] + ends[1] + body


def frame(rng, number, mtu, tags=True):
    source = OURS + struct.pack("!I", number)
    destination = bytes.fromhex("025e00000001")
    packet, kind = (ip4(rng, mtu - 24), 0x0800) if rng.random() < 0.8 else (ip6(rng, mtu - 24),
                                                                           0x86DD)
    wrap = rng.random()
    body = struct.pack("!H", kind) + packet
    if wrap < 0.3 and not tags:
        pass
    elif wrap < 0.15:
        body = struct.pack("!HH", 0x8100, rng.getrandbits(16)) + body
    elif wrap < 0.3:
        body = struct.pack("!HHHH", rng.choice([0x88A8, 0x9100, 0x9200, 0x9300, 0x8100]), rng.getrandbits(16),
                           0x8100, rng.getrandbits(16)) + body
    elif wrap < 0.4:
        session = struct.pack("!BBHHH", 0x11, 0, 7, len(packet) + 2,
                              0x21 if kind == 0x0800 else 0x57)
        body = struct.pack("!H", 0x8864) + session + packet
    elif wrap < 0.5:
        body = struct.pack("!HII", 0x8847, rng.getrandbits(32) & ~0x100,
                           rng.getrandbits(32) | 0x100) + packet
    elif wrap < 0.65:  # what keeps the link together: never ours to touch
        destination, body = rng.choice([
            (bytes.fromhex("0180c2000000"), struct.pack("!H", 38) + b"\x42\x42\x03" +
             rng.randbytes(35)),                                                 # STP (LLC)
            (bytes.fromhex("0180c2000002"), b"\x88\x09" + rng.randbytes(110)),    # LACP
            (bytes.fromhex("0180c200000e"), b"\x88\xcc" + rng.randbytes(60)),     # LLDP
            (bytes.fromhex("0180c2000003"), b"\x88\x8e" + rng.randbytes(60)),     # 802.1X
            (bytes.fromhex("01000ccccccc"), struct.pack("!H", 40) + b"\xaa\xaa\x03" +
             rng.randbytes(37)),                                                 # CDP (SNAP)
            (b"\xff" * 6, b"\x08\x06" + rng.randbytes(46)),                       # ARP
            (bytes.fromhex("025e00000001"), b"\x88\xe5" + rng.randbytes(200)),    # MACsec
            (bytes.fromhex("025e00000001"), b"\x88\x63" + rng.randbytes(60)),     # PPPoE discovery
            (bytes.fromhex("025e00000001"), rng.randbytes(rng.randrange(46, mtu))),  # anything
        ])
    octets = destination + source + body
    return octets + rng.randbytes(max(60 - len(octets), 0))


@contextlib.contextmanager
def kept_from_its_cpu(process):
    """Something with a higher priority runs where all of the process's threads have to. (One that is
    stopped is passed by.)"""
    ours = os.sched_getaffinity(0)
    first, *_, last = sorted(ours)
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        os.sched_setaffinity(int(thread), {last})
    os.sched_setaffinity(0, {first})
    hog = subprocess.Popen(["taskset", "-c", str(last), "chrt", "-f", "50", sys.executable, "-c",
                            "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        if not hog.stdout.readline():
            raise RuntimeError("no real-time priority to keep the process from its CPU with (chrt -f)")
        yield
    finally:
        hog.kill()
        hog.wait()
        hog.stdout.close()
        os.sched_setaffinity(0, ours)


NUMBERS = 600


def order_while_some_wait(process, send, receiver, number_of):
    """The numbers in the order in which they arrive: 200 are sent while the process has no CPU, 200 behind
    them, and 200 when nothing waits any more. number_of: that of a frame, or None."""
    numbers = []

    def collect(count):
        end = time.monotonic() + 20
        while len(numbers) < count and time.monotonic() < end:
            select.select([receiver], [], [], 0.1)
            while (octets := lab.receive_frame(receiver)) is not None:
                if (number := number_of(octets)) is not None:
                    numbers.append(number)

    with kept_from_its_cpu(process):
        for number in range(200):
            send(number)
    for number in range(200, 400):
        send(number)
    collect(400)
    for number in range(400, NUMBERS):
        send(number)
    collect(NUMBERS)
    return numbers


class Frames(unittest.TestCase):
    def cross(self, program, wire, tags=True, **settings):
        process = wire.start(program, **settings)
        controller = lab.Controller(wire.socket)
        # What the hosts say of themselves while the links come up is not ours to count.
        before = controller.counters()
        rng = random.Random(7)
        ends = wire.raw(wire.a), wire.raw(wire.b)
        sent, received = [[], []], [[], []]
        number = 0

        def collect(side):
            while (octets := lab.receive_frame(ends[side])) is not None:
                if octets[6:8] == OURS:
                    received[side].append(octets)

        end = time.monotonic() + 120
        while min(len(s) for s in sent) < COUNT or any(
                len(sent[1 - s]) > len(received[s]) for s in (0, 1)):
            self.assertLess(time.monotonic(), end, "frames are missing: " + self.missing(
                sent, received) + process.log.decode())
            for side in (0, 1):
                collect(side)
                while (len(sent[side]) < COUNT and
                       len(sent[side]) - len(received[1 - side]) < WINDOW):
                    octets = frame(rng, number, wire.mtu, tags)
                    number += 1
                    sent[side].append(octets)
                    ends[side].send(octets)
        time.sleep(0.1)  # nothing may come twice
        for side in (0, 1):
            collect(side)
            self.assertEqual(collections.Counter(sent[1 - side]),
                             collections.Counter(received[side]))
            self.order_is_kept(sent[1 - side], received[side])
        counters = {k: v - before.get(k, 0) for k, v in controller.counters().items()}
        self.assertGreater(counters["frames_received"], COUNT / 2)
        self.assertEqual({k: v for k, v in counters.items() if k.startswith("drop_") and v}, {})
        controller.close()
        for end_ in ends:
            end_.close()

    @staticmethod
    def missing(sent, received):
        lines = []
        for side in (0, 1):
            lost = collections.Counter(sent[1 - side]) - collections.Counter(received[side])
            lines += [f"{len(o)} octets {o[:64].hex()}" for o in lost]
        return "\n".join(lines[:5]) + f"\n({len(lines)} in all)\n"

    def order_is_kept(self, sent, received):
        """Within one pair of addresses and ports; XDP's path and ours are different ones."""
        def flows(frames):
            by_flow = collections.defaultdict(list)
            for octets in frames:
                if octets[12:14] == b"\x08\x00" and octets[23] == 6 and octets[20] & 0x3F == 0 \
                        and octets[21] == 0:
                    by_flow[octets[26:38]].append(octets)
            return by_flow
        self.assertEqual(flows(sent), flows(received))

    def test_one_worker(self):
        for program in PROGRAMS:
            with self.subTest(program=program), lab.Wire() as wire:
                self.cross(program, wire)

    def test_frames_that_wait_are_not_overtaken(self):
        """A session in TLS is left to the kernel, whose way is shorter than that through a ring in which
        earlier frames of it still wait."""
        with lab.Wire() as wire:
            process = wire.start(PROGRAMS[-1], "--heartbeat-timeout", "5000")
            controller = lab.Controller(wire.socket)
            client, server = wire.raw(wire.a), wire.raw(wire.b)
            near, far = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 1])
            record = b"\x17\x03\x03\0\x08"
            for port in range(2000, 2030):
                client.send(segment(near + far, (port, 25), 0, 0, 0x02))
                server.send(segment(far + near, (25, port), 0, 1, 0x12))
                client.send(segment(near + far, (port, 25), 1, 1, 0x10))
                frames = [segment(far + near, (25, port), 1 + 13 * number, 1, 0x18,
                                  record + struct.pack("!Q", number)) for number in range(NUMBERS)]
                numbers = order_while_some_wait(
                    process, lambda number: server.send(frames[number]), client,
                    lambda octets: struct.unpack_from("!Q", octets, 59)[0]
                    if octets[6:8] == OURS and octets[54:59] == record else None)
                self.assertEqual(numbers, list(range(NUMBERS)))
            # Some went by the kernel, else this shows nothing.
            self.assertLess(controller.counters()["frames_received"], 30 * NUMBERS - 200)
            controller.close()
            client.close()
            server.close()

    def test_long_frames(self):
        with lab.Wire(mtu=3498) as wire:
            self.cross(PROGRAMS[-1], wire)

    # A veth with two receive queues has no pairs that AF_XDP can serve: said at the start, with the
    # command that helps, instead of letting half of the mail pass.
    def test_queues_that_cannot_be_served(self):
        with lab.Wire(queues=2) as wire:
            process = wire.start(PROGRAMS[-1], wait=False)
            log = wire.rest_of_log(process)
            self.assertEqual(process.returncode, 1)
            self.assertIn(f"ethtool -L {wire.inside} rx 1 tx 1".encode(), log)

    def test_more_workers_than_queues(self):
        with lab.Wire() as wire:
            self.cross(PROGRAMS[0], wire, workers=3)

    # Without tags: the kernel takes them off for packet sockets, and DPDK's driver puts back 8100
    # for every kind. The process warns of it; this driver is for trying things out.
    def test_af_packet(self):
        with lab.Wire() as wire:
            self.cross(PROGRAMS[0], wire, tags=False, driver="af_packet")


if __name__ == "__main__":
    lab.require_root()
    PROGRAMS = sys.argv[1:]
    unittest.main(argv=sys.argv[:1], verbosity=2)
