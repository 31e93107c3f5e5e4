#!/usr/bin/env python3
"""How long mail and other traffic stand still when the dataplane dies or hangs.

    failover.py PROGRAM [--rounds 20] [--rate MBIT] [--out FILE] [-- ARGUMENTS...]

Kills the process (-9) --rounds times and stops it (SIGSTOP, 0.7 s) as often, during bulk transfers
on port 25 (both directions) and on another port, and restarts it each time on the running wire.
Measured at each event, on each flow:

    tcp    the longest time in which the receiver got no octet: what a user sees, the sender's
           retransmission timer included
    wire   the longest time in which no frame crossed, of a stream of one TCP segment a millisecond
           (port 25, written by hand, no retransmission): what the appliance alone is to blame for

Pass: no connection dies, gaps on port 25 under 150 ms, on the other port none beyond the noise that
is measured before the first event. Root; network namespaces only.
"""
import argparse
import json
import os
import pathlib
import select
import signal
import socket
import statistics
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/wire"))
import dataplane_lab as lab  # noqa: E402

LIMIT = 0.150


class Flow:
    """A bulk transfer between two processes of its own; gaps are noted by the receiver."""

    def __init__(self, wire, client, server, address, port, rate):
        self.listener = wire.listen(server, port)
        sender = wire.connect(client, address, port)
        receiver, _ = self.listener.accept()
        self.pipe, out = os.pipe()
        self.stop_read, self.stop = os.pipe()
        sender.setsockopt(socket.SOL_SOCKET, 47, rate * 125000)  # SO_MAX_PACING_RATE
        self.processes = [self.fork(self.send, sender, receiver),
                          self.fork(self.receive, receiver, sender, out)]
        os.close(out)
        sender.close()
        receiver.close()

    @staticmethod
    def fork(work, *arguments):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = work(*arguments)
            finally:
                os._exit(status or 0)
        return child

    def send(self, sender, receiver):
        receiver.close()
        block = os.urandom(65536)
        sender.settimeout(None)
        while not select.select([self.stop_read], [], [], 0)[0]:
            sender.sendall(block)
        sender.shutdown(socket.SHUT_WR)
        return 0

    def receive(self, receiver, sender, out):
        sender.close()
        gaps, octets, last = [], 0, time.monotonic()
        while True:
            data = receiver.recv(1 << 20)
            now = time.monotonic()
            if now - last > 0.002:
                gaps.append((last, now))
            last = now
            if not data:
                break
            octets += len(data)
        with os.fdopen(out, "w") as report:
            json.dump({"octets": octets, "gaps": gaps}, report)
        return 0

    def finish(self):
        os.write(self.stop, b".")
        with os.fdopen(self.pipe) as report:
            text = report.read()
        self.alive = all(os.waitpid(p, 0)[1] == 0 for p in self.processes)
        return json.loads(text) if text else None


def checksum(octets):
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets[:len(octets) & ~1]))
    if len(octets) % 2:
        total += octets[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(number):
    """A TCP segment between addresses that no host has, so that nobody answers."""
    source, destination = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 1])
    tcp = struct.pack("!HHIIBBHHH", 40000, 25, 1000 + 8 * number, 1, 0x50, 0x10, 1024, 0, 0)
    tcp += struct.pack("!Q", number)
    sum_ = checksum(source + destination + struct.pack("!HH", 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", sum_) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), number & 0xFFFF, 0x4000, 64, 6, 0,
                     source, destination)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return bytes.fromhex("0200000000fe") + bytes.fromhex("0200000000fd") + b"\x08\x00" + ip + tcp


class Probe:
    """One segment a millisecond from a to b; arrival times are noted."""

    def __init__(self, wire):
        self.pipe, out = os.pipe()
        self.stop_read, self.stop = os.pipe()
        sender, receiver = wire.raw(wire.a), wire.raw(wire.b)
        # Only the probe's frames: destination port 25 from 192.0.2.1 (classic BPF).
        program = [(0x20, 0, 0, 26), (0x15, 0, 1, 0xC0000201), (0x6, 0, 0, 0xFFFF), (0x6, 0, 0, 0)]
        code = b"".join(struct.pack("HBBI", *step) for step in program)
        import ctypes
        buffer = ctypes.create_string_buffer(code)
        receiver.setsockopt(socket.SOL_SOCKET, 26,
                            struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer)))
        self.processes = [Flow.fork(self.send, sender), Flow.fork(self.receive, receiver, out)]
        os.close(out)
        sender.close()
        receiver.close()

    def send(self, sender):
        number, due = 0, time.monotonic()
        while not select.select([self.stop_read], [], [], max(due - time.monotonic(), 0))[0]:
            sender.send(segment(number))
            number += 1
            due = max(due + 0.001, time.monotonic() - 0.005)
        return 0

    def receive(self, receiver, out):
        gaps, frames, last = [], 0, time.monotonic()
        receiver.settimeout(3)
        while True:
            try:
                receiver.recv(2048)
            except TimeoutError:
                break
            now = time.monotonic()
            if now - last > 0.004:
                gaps.append((last, now))
            last = now
            frames += 1
        with os.fdopen(out, "w") as report:
            json.dump({"octets": frames, "gaps": gaps}, report)
        return 0

    finish = Flow.finish


def longest(gaps, begin, end):
    """The longest gap that touches the span."""
    return max((b - a for a, b in gaps if b > begin and a < end), default=0.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=100, help="Mbit/s of each flow")
    parser.add_argument("--memory", type=int, default=1024, help="MiB, as in production")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", help="write the report as JSON")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    settings = {"memory": options.memory, "workers": options.workers}
    events = []
    with lab.Wire() as wire:
        process = wire.start(options.program, *options.arguments, **settings)
        flows = {"smtp up": Flow(wire, wire.a, wire.b, "10.99.0.2", 25, options.rate),
                 "smtp down": Flow(wire, wire.b, wire.a, "10.99.0.1", 25, options.rate),
                 "other port": Flow(wire, wire.a, wire.b, "10.99.0.2", 9999, options.rate),
                 "wire": Probe(wire)}
        begin = time.monotonic()
        time.sleep(10)
        events.append(("quiet", begin + 0.5, time.monotonic()))
        for number in range(options.rounds):
            at = time.monotonic()
            process.kill()
            process.wait()
            time.sleep(0.8)
            events.append(("kill", at - 0.02, time.monotonic()))
            at = time.monotonic()
            process = wire.start(options.program, *options.arguments, **settings)
            time.sleep(0.7)
            events.append(("start", at, time.monotonic()))
            print(f"\rkills {number + 1}", end="", file=sys.stderr, flush=True)
        for number in range(options.rounds):
            at = time.monotonic()
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.7)
            events.append(("stop", at - 0.02, time.monotonic()))
            at = time.monotonic()
            process.send_signal(signal.SIGCONT)
            time.sleep(0.7)
            events.append(("continue", at, time.monotonic()))
            print(f"\rstops {number + 1} ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        results = {name: flow.finish() for name, flow in flows.items()}
        alive = all(flow.alive for flow in flows.values())
        controller = lab.Controller(wire.socket)
        counters = {k: v for k, v in controller.counters().items() if v}
        process.send_signal(signal.SIGTERM)
        log = wire.rest_of_log(process).decode()

    report = {"connections alive": alive, "gaps ms": {}, "mbit": {}, "counters": counters}
    print(f"{'':12}" + "".join(f"{n:>26}" for n in results))
    for kind in ("quiet", "kill", "start", "stop", "continue"):
        spans = [(a, b) for k, a, b in events if k == kind]
        row = f"{kind:12}"
        for name, result in results.items():
            values = [1000 * longest(result["gaps"], a, b) for a, b in spans] if result else []
            report["gaps ms"].setdefault(kind, {})[name] = [round(v, 1) for v in values]
            row += (f"{max(values):9.1f} max {statistics.median(values):7.1f} med"
                    if values else "dead").rjust(26)
        print(row)
    gaps = report["gaps ms"]
    # A machine that does other work beside stalls everybody, the kernel's own path too.
    noise = max([v for values in gaps["quiet"].values() for v in values] + [20.0])
    failures = ["a connection died"] if not alive else []
    for kind in ("kill", "start", "stop", "continue"):
        for name in ("smtp up", "smtp down", "wire"):
            over = [v for v in gaps[kind][name] if v >= 1000 * LIMIT]
            if over:
                failures.append(f"{kind}: {name}: {len(over)} of {len(gaps[kind][name])} gaps of "
                                f"150 ms or more, the longest {max(over)} ms")
        over = [v for v in gaps[kind]["other port"] if v > noise]
        if over:
            failures.append(f"{kind}: other port: {len(over)} gaps over {noise} ms: {over}")
    report["failures"] = failures
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(report, indent=1))
    if "rror" in log:
        print(log[-2000:])
    print("PASS" if not failures else "FAIL\n  " + "\n  ".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
