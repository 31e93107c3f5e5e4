#!/usr/bin/env python3
"""The process dies, hangs, stops and comes back; connections and accepted frames live on (cases D12,
D14). Gaps are printed, not judged: perf/wire/failover.py measures them. dataplane_failover.py
PROGRAM"""
import hashlib
import os
import pathlib
import select
import signal
import struct
import sys
import threading
import time
import unittest

import dataplane_lab as lab

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "perf/wire"))
from failover import segment  # noqa: E402

PROGRAM = None


class Transfer:
    """A connection over which `size` octets go from a to b, at a bounded rate."""

    def __init__(self, wire, port, size):
        listener = wire.listen(wire.b, port)
        self.client = wire.connect(wire.a, "10.99.0.2", port)
        self.client.setsockopt(1, 47, 12_000_000)  # SO_MAX_PACING_RATE, octets a second
        self.server, _ = listener.accept()
        listener.close()
        self.server.settimeout(60)
        self.client.settimeout(60)
        self.octets = os.urandom(size)
        self.received = hashlib.sha256()
        self.count = 0
        self.longest_gap = 0.0
        self.sender = threading.Thread(target=self.send, daemon=True)
        self.receiver = threading.Thread(target=self.receive, daemon=True)
        self.sender.start()
        self.receiver.start()

    def send(self):
        self.client.sendall(self.octets)
        self.client.shutdown(1)

    def receive(self):
        last = time.monotonic()
        while data := self.server.recv(1 << 16):
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - last)
            last = now
            self.received.update(data)
            self.count += len(data)

    def await_octets(self, count):
        end = time.monotonic() + 60
        while self.count < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.count} of {count} octets")
            time.sleep(0.005)

    def finish(self, test):
        self.receiver.join(90)
        test.assertFalse(self.receiver.is_alive(), f"{self.count} of {len(self.octets)} octets")
        test.assertEqual(self.received.digest(), hashlib.sha256(self.octets).digest())
        self.client.close()
        self.server.close()


class Failover(unittest.TestCase):
    def test_killed_while_mail_flows_and_started_again(self):
        with lab.Wire() as wire:
            process = wire.start(PROGRAM)
            mail, other = Transfer(wire, 25, 20 << 20), Transfer(wire, 8080, 20 << 20)
            mail.await_octets(2 << 20)
            process.kill()
            wire.rest_of_log(process)
            mail.await_octets(mail.count + (4 << 20))  # by the kernel alone
            again = wire.start(PROGRAM)  # the stale control socket is in the way, and is replaced
            self.assertIn(b"took over", again.log)
            mail.finish(self)
            other.finish(self)
            controller = lab.Controller(wire.socket)
            self.assertEqual(controller.process, int(pathlib.Path(
                f"/proc/{again.pid}/stat").read_text().split()[0]))
            self.assertGreater(controller.counters()["frames_received"], 0)
            print(f"\nlongest gap: port 25 {1000 * mail.longest_gap:.0f} ms, "
                  f"other port {1000 * other.longest_gap:.0f} ms")

    def test_stopped_and_continued(self):
        with lab.Wire() as wire:
            process = wire.start(PROGRAM)
            controller = lab.Controller(wire.socket)
            controller.await_state(lambda s: s["inspecting"])
            mail = Transfer(wire, 25, 16 << 20)
            mail.await_octets(2 << 20)
            process.send_signal(signal.SIGSTOP)
            mail.await_octets(mail.count + (4 << 20))
            before = controller.counters()["frames_received"]
            process.send_signal(signal.SIGCONT)
            mail.finish(self)
            # It inspects again: a new connection is received, and the loop beats.
            again = Transfer(wire, 25, 1 << 20)
            again.finish(self)
            self.assertGreater(controller.counters()["frames_received"], before)
            self.assertIn(b"heartbeat-resumed", os.pread(controller.rings, 1 << 16, 0))
            print(f"\nlongest gap: {1000 * mail.longest_gap:.0f} ms")

    def numbered(self, wire, act, count=3000):
        """Sends numbered mail segments, one each 0.3 ms, and acts in the middle. What arrived."""
        sender, receiver = wire.raw(wire.a), wire.raw(wire.b)
        arrived = []

        def collect():
            while (octets := lab.receive_frame(receiver)) is not None:
                if octets[26:30] == bytes([192, 0, 2, 1]):
                    arrived.append(struct.unpack("!Q", octets[54:62])[0])

        due = time.monotonic()
        for number in range(count):
            sender.send(segment(number))
            if number == count // 3:
                act()
            collect()
            due += 0.0003
            time.sleep(max(due - time.monotonic(), 0))
        end = time.monotonic() + 10
        while len(arrived) < count and time.monotonic() < end:
            select.select([receiver], [], [], 0.1)
            collect()
        return arrived

    def test_an_orderly_stop_loses_no_accepted_frame(self):
        with lab.Wire() as wire:
            process = wire.start(PROGRAM)
            arrived = self.numbered(wire, lambda: process.send_signal(signal.SIGTERM))
            wire.rest_of_log(process)
            self.assertEqual(process.returncode, 0)
            self.assertEqual(sorted(arrived), list(range(3000)))
            self.assertFalse(wire.socket.exists())
            # The program stays: mail goes on by the kernel alone.
            self.assertEqual(sorted(self.numbered(wire, lambda: None, 100)), list(range(100)))
            self.assertIn("xdp", lab.run("ip", "-n", wire.w, "link", "show", wire.inside))

    def test_detach_gives_the_ports_back(self):
        with lab.Wire() as wire:
            process = wire.start(PROGRAM)
            process.send_signal(signal.SIGTERM)
            wire.rest_of_log(process)
            gone = wire.start(PROGRAM, "--detach", wait=False)
            wire.rest_of_log(gone)
            self.assertEqual(gone.returncode, 0, gone.log)
            self.assertNotIn("xdp", lab.run("ip", "-n", wire.w, "link", "show", wire.inside))

    def test_links_that_come_and_go(self):
        with lab.Wire() as wire:
            lab.run("ip", "-n", wire.b, "link", "set", "eth0", "down")
            process = wire.start(PROGRAM, wait=False)
            wire.await_text(process, b"not ready until " + wire.outside.encode())
            controller = lab.Controller(wire.socket)
            controller.await_state(lambda s: s["inside_up"] and not s["outside_up"])
            sender = wire.raw(wire.a)
            before = controller.counters()
            end = time.monotonic() + 20
            while True:  # counted as the peer's, not as ours
                sender.send(segment(1))
                now = controller.counters()
                if now["drop_peer_down"] > before["drop_peer_down"]:
                    break
                self.assertLess(time.monotonic(), end, now)
                time.sleep(0.01)
            self.assertNotIn(b" ready:", process.log)
            lab.run("ip", "-n", wire.b, "link", "set", "eth0", "up")
            wire.await_text(process, b"ready:")
            controller.await_state(lambda s: s["outside_up"])
            for _ in range(30):
                for state in ("down", "up"):
                    lab.run("ip", "-n", wire.b, "link", "set", "eth0", state)
            controller.await_state(lambda s: s["inside_up"] and s["outside_up"])
            Transfer(wire, 25, 1 << 20).finish(self)
            self.assertIsNone(process.poll())

    def test_a_second_process_and_wrong_starts(self):
        with lab.Wire() as wire:
            process = wire.start(PROGRAM)
            second = wire.start(PROGRAM, wait=False)
            self.assertIn(b"another sluice-dataplane", wire.rest_of_log(second))
            self.assertEqual(second.returncode, 1)
            self.assertIsNone(process.poll())
            Transfer(wire, 25, 1 << 20).finish(self)
        with lab.Wire() as wire:
            wire.outside = "nowhere"
            lost = wire.start(PROGRAM, wait=False)
            self.assertIn(b'no network interface "nowhere"', wire.rest_of_log(lost))
            self.assertEqual(lost.returncode, 1)
            wrong = wire.start(PROGRAM, "--workers", "many", wait=False)
            wire.rest_of_log(wrong)
            self.assertEqual(wrong.returncode, 2)


if __name__ == "__main__":
    lab.require_root()
    PROGRAM = sys.argv[1]
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
