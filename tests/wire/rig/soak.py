#!/usr/bin/python3
"""Sends frames of all kinds both ways over a wire and checks each that comes out.

    report = soak(End('x-sub', 'eth0'), End('x-far', 'eth0'), frames=20000, rate=5000, seed=3)
    report['clean']                       # every frame came, unchanged, none overtaken in its flow

A report has `a_to_b` and `b_to_a`, each with counts (see Report). Frames that the end hosts send
themselves are counted as foreign and not judged. A frame that the receiving socket had no room for
is counted as receiver_drops: then the rig, not the wire, lost it, and the rate was too high.
"""

import argparse
import collections
import dataclasses
import errno
import json
import multiprocessing
import os
import select
import socket
import struct
import sys
import time

if __name__ == '__main__':  # run as a program, not as a part of the package
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from rig.frames import KINDS, SOURCE_PREFIX, FrameGenerator
from rig.netns import RigError, inside

SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_STATISTICS, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 1, 6, 8, 23
PACKET_MR_PROMISC = 1
ETH_P_ALL = 3
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6
AUXDATA = struct.Struct('IIIHHHH')
SO_RCVBUFFORCE = 33


@dataclasses.dataclass(frozen=True)
class End:
    """An interface at an end of the wire. netns None: the namespace of the caller."""
    netns: str
    interface: str


@dataclasses.dataclass
class Report:
    """One direction. Clean when sent == received and the counts of faults are zero."""
    sent: int = 0
    received: int = 0        # expected frames that came, each counted once
    missing: int = 0
    changed: int = 0         # of our source address, but like none that was sent
    duplicated: int = 0
    reordered: int = 0       # came after a later frame of its flow
    foreign: int = 0
    receiver_drops: int = 0
    send_errors: int = 0
    seconds: float = 0.0     # of sending
    octets: int = 0          # received
    longest_gap_ms: float = 0.0        # between frames received, while sending
    longest_send_gap_ms: float = 0.0   # the sender's own: what a gap can be blamed on
    missing_by_kind: dict = dataclasses.field(default_factory=dict)
    changed_example: str = ''
    reordered_example: str = ''        # kind and number, behind which that came before

    @property
    def clean(self):
        return (self.sent > 0 and self.received == self.sent
                and not (self.missing or self.changed or self.duplicated or self.reordered
                         or self.send_errors))


def packet_socket(end):
    """A raw socket bound to the interface that receives all frames that come in, with their tags."""
    with inside(end.netns):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        index = socket.if_nametoindex(end.interface)
    s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    s.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP,
                 struct.pack('iHH8s', index, PACKET_MR_PROMISC, 0, b''))
    # Names are looked up in the namespace of the thread, not of the socket.
    with inside(end.netns):
        s.bind((end.interface, ETH_P_ALL))
    return s


def receive_frame(s):
    """The next frame as it was on the wire: the kernel takes the outer tag off, it is put back."""
    octets, control, _, _ = s.recvmsg(65600, 128)
    for level, kind, data in control:
        if level == SOL_PACKET and kind == PACKET_AUXDATA and len(octets) >= 12:
            status, _, _, _, _, tci, tpid = AUXDATA.unpack(data[:AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:
                if not status & TP_STATUS_VLAN_TPID_VALID:
                    tpid = 0x8100
                return octets[:12] + struct.pack('>HH', tpid, tci) + octets[12:]
    return octets


def _send(s, frames, rate, finished):
    """Sends at `rate` frames a second, evenly. Errors, seconds, longest pause in milliseconds."""
    errors = 0
    longest = 0.0
    start = last = time.monotonic()
    count = 0
    while count < len(frames):
        due = min(len(frames), int((time.monotonic() - start) * rate) + 1)
        if due <= count:
            time.sleep(min(0.0005, 1 / rate))
            continue
        for frame in frames[count:min(due, count + 16)]:
            for attempt in range(100):
                try:
                    s.send(frame.octets)
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS or attempt == 99:
                        errors += 1
                        break
                    time.sleep(0.0002)
            count += 1
        now = time.monotonic()
        longest = max(longest, now - last)
        last = now
    finished.value = time.monotonic()
    return errors, last - start, longest * 1000


def _receive(s, frames, finished, settle, ready):
    report = Report(sent=len(frames))
    index = {}
    for number, frame in enumerate(frames):
        if index.setdefault(frame.octets, number) != number:
            raise RigError('two frames of the generator are alike')
    seen = bytearray(len(frames))
    newest = collections.defaultdict(lambda: -1)
    s.setblocking(False)
    poller = select.poll()
    poller.register(s, select.POLLIN)
    ready.set()
    last = 0.0
    quiet_since = time.monotonic()
    while report.received < len(frames) or report.duplicated:
        if not poller.poll(50):
            now = time.monotonic()
            if finished.value and now - max(finished.value, quiet_since) > settle:
                break
            continue
        while True:
            try:
                octets = receive_frame(s)
            except BlockingIOError:
                break
            except OSError as error:  # the link went down and will come back
                if error.errno == errno.ENETDOWN:
                    break
                raise
            number = index.get(octets)
            if number is None:
                if octets[6:9] == SOURCE_PREFIX:
                    report.changed += 1
                    report.changed_example = report.changed_example or octets[:128].hex()
                else:
                    report.foreign += 1
                continue
            now = quiet_since = time.monotonic()
            if last and not finished.value:
                report.longest_gap_ms = max(report.longest_gap_ms, (now - last) * 1000)
            last = now
            if seen[number]:
                report.duplicated += 1
                continue
            seen[number] = 1
            report.received += 1
            report.octets += len(octets)
            flow = frames[number].flow
            if number < newest[flow]:
                report.reordered += 1
                report.reordered_example = (f'{frames[number].kind} {number} behind '
                                            f'{frames[newest[flow]].kind} {newest[flow]}')
            else:
                newest[flow] = number
    report.missing = len(frames) - report.received
    report.missing_by_kind = dict(collections.Counter(
        frames[n].kind for n in range(len(frames)) if not seen[n]))
    statistics = s.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
    report.receiver_drops = struct.unpack('II', statistics)[1]
    return report


def _child(role, end, frames, pipe, go, finished, ready, rate, settle):
    try:
        with packet_socket(end) as s:
            if role == 'send':
                # Sockets that only send keep nothing.
                s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4096)
                go.wait()
                pipe.send(_send(s, frames, rate, finished))
            else:
                pipe.send(_receive(s, frames, finished, settle, ready))
    except BaseException as error:  # noqa: the parent tells
        pipe.send(error if isinstance(error, (OSError, RigError)) else RigError(repr(error)))


def soak(a, b, *, frames=20_000, rate=4_000, seed=1, mtu=1500, kinds=None, bridged=False,
         both=True, settle=2.0):
    """Sends `frames` frames each way, `rate` a second each, and waits for them.

    a, b: the Ends. kinds: names of rig.frames.KINDS. bridged: none that a bridge keeps back.
    both: False sends from a to b alone. settle: how long the last frames may take, in seconds.
    Returns {'a_to_b': {...}, 'b_to_a': {...}, 'clean': bool, 'seed': int}. RigError when the rig itself fails.
    """
    context = multiprocessing.get_context('fork')
    ways = [('a_to_b', a, b, 0)] + ([('b_to_a', b, a, 1)] if both else [])
    go = context.Event()
    children = []
    for name, source, target, direction in ways:
        made = list(FrameGenerator(seed, direction=direction, mtu=mtu, kinds=kinds,
                                   bridged=bridged).take(frames))
        finished = context.Value('d', 0.0)
        for role, end in (('receive', target), ('send', source)):
            ready = context.Event()
            here, there = context.Pipe()
            process = context.Process(target=_child, daemon=True, args=(
                role, end, made, there, go, finished, ready, rate, settle))
            process.start()
            there.close()
            children.append((name, role, process, here, ready))
    try:
        for name, role, process, _, ready in children:
            while role == 'receive' and not ready.wait(0.1):
                if not process.is_alive():
                    break
        go.set()
        result = {}
        reports = {}
        for name, role, process, pipe, _ in children:
            value = pipe.recv()
            if isinstance(value, BaseException):
                raise value
            if role == 'receive':
                reports[name] = value
            else:
                reports[name].send_errors, reports[name].seconds, pause = value
                reports[name].longest_send_gap_ms = pause
    except EOFError:
        raise RigError('a sender or receiver ended early') from None
    finally:
        for _, _, process, _, _ in children:
            if process.is_alive() and not go.is_set():
                process.terminate()
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
    for name, report in reports.items():
        result[name] = dataclasses.asdict(report) | {'clean': report.clean}
    result['clean'] = all(r.clean for r in reports.values())
    result['seed'] = seed
    return result


def main():
    parser = argparse.ArgumentParser(
        description='Sends frames of all kinds over a wire and checks each that comes out.')
    parser.add_argument('a', help='NETNS/INTERFACE, or INTERFACE')
    parser.add_argument('b', help='NETNS/INTERFACE, or INTERFACE')
    parser.add_argument('--frames', type=int, default=20_000, help='each way')
    parser.add_argument('--rate', type=float, default=4_000, help='frames a second, each way')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--mtu', type=int, default=1500)
    parser.add_argument('--kind', action='append', choices=sorted(KINDS))
    parser.add_argument('--bridged', action='store_true',
                        help='no frames that a bridge keeps back')
    parser.add_argument('--one-way', action='store_true')
    parser.add_argument('--rounds', type=int, default=1, help='with seeds that follow each other')
    arguments = parser.parse_args()
    ends = []
    for text in (arguments.a, arguments.b):
        netns, _, interface = text.rpartition('/')
        ends.append(End(netns or None, interface))
    clean = True
    for number in range(arguments.rounds):
        report = soak(*ends, frames=arguments.frames, rate=arguments.rate,
                      seed=arguments.seed + number, mtu=arguments.mtu, kinds=arguments.kind,
                      bridged=arguments.bridged, both=not arguments.one_way)
        print(json.dumps(report))
        clean = clean and report['clean']
    sys.exit(0 if clean else 1)


if __name__ == '__main__':
    main()
