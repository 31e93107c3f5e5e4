#!/usr/bin/env python3
"""Policies are published under load: adopted one after the other, not one frame lost or out of
order. dataplane_policy.py PROGRAM MAKE_POLICIES"""
import pathlib
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import dataplane_frames
import dataplane_lab as lab

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "perf/wire"))
from failover import segment  # noqa: E402

PROGRAM = MAKE = None
POLICIES = 100


class Policies(unittest.TestCase):
    def test_published_under_load(self):
        with lab.Wire() as wire, tempfile.TemporaryDirectory(prefix="sld-") as folder:
            # Every tenth with databases of its own; the others without, as control sends them.
            subprocess.run([MAKE, folder, str(POLICIES)], check=True)
            images = [pathlib.Path(folder, f"{n}.image").read_bytes()
                      for n in range(1, POLICIES + 1)]
            wire.start(PROGRAM)
            controller = lab.Controller(wire.socket)
            sender, receiver = wire.raw(wire.a), wire.raw(wire.b)
            answers = []

            def publish():
                for epoch, image in enumerate(images, 1):
                    answers.append(controller.send_policy(image, epoch))
                    time.sleep(0.01)

            publisher = threading.Thread(target=publish)
            publisher.start()
            arrived, number = [], 0

            def collect():
                while (octets := lab.receive_frame(receiver)) is not None:
                    if octets[26:30] == bytes([192, 0, 2, 1]):
                        arrived.append(struct.unpack("!Q", octets[54:62])[0])

            while publisher.is_alive() or number < 2000:
                sender.send(segment(number))
                number += 1
                collect()
                time.sleep(0.0005)
            publisher.join()
            end = time.monotonic() + 10
            while len(arrived) < number and time.monotonic() < end:
                collect()
                time.sleep(0.01)
            self.assertEqual([a["status"] for a in answers], ["adopted"] * POLICIES,
                             [a for a in answers if a["status"] != "adopted"])
            counters = controller.counters()
            if arrived != list(range(number)):
                lost = sorted(set(range(number)) - set(arrived))
                self.fail(f"{len(lost)} of {number} frames lost, in order: "
                          f"{arrived == sorted(arrived)}; {lost[:20]} {counters}")
            self.assertEqual(counters["policy_epoch"], POLICIES)
            took = sorted(a["nanoseconds"] / 1e6 for a in answers)
            print(f"\nadoption: median {took[len(took) // 2]:.2f} ms, longest {took[-1]:.2f} ms; "
                  f"{number} frames, none lost or out of order")
            # A new controller is told what is in force.
            again = lab.Controller(wire.socket)
            self.assertEqual(again.policy_epoch, POLICIES)
            self.assertNotEqual(again.ruleset_digest, bytes(32))

    def test_frames_of_a_message_that_wait_are_not_overtaken(self):
        """A message past its scan budget is left to the kernel, whose way is shorter than that through a ring
        in which earlier frames of it still wait."""
        near, far = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 1])
        line = b"#%08d" + b"x" * 69 + b"\r\n"
        dialogue = ((b"", b"220 x\r\n"), (b"EHLO a\r\n", b"250 x\r\n"), (b"MAIL FROM:<a@a.test>\r\n", b"250 x\r\n"),
                    (b"RCPT TO:<b@b.test>\r\n", b"250 x\r\n"), (b"DATA\r\n", b"354 x\r\n"), (b"A: b\r\n\r\n", b""))
        with lab.Wire() as wire, tempfile.TemporaryDirectory(prefix="sld-") as folder:
            subprocess.run([MAKE, folder, "1"], check=True)
            process = wire.start(PROGRAM, "--heartbeat-timeout", "5000")
            controller = lab.Controller(wire.socket)
            answer = controller.send_policy(pathlib.Path(folder, "1.image").read_bytes(), 1)
            self.assertEqual(answer["status"], "adopted")
            client, server = wire.raw(wire.a), wire.raw(wire.b)
            for port in range(2000, 2030):
                said = [0, 0]  # by client and server

                def say(side, octets, flags=0x18):
                    ends, ports = (near + far, (port, 25)) if side == 0 else (far + near, (25, port))
                    (client, server)[side].send(dataplane_frames.segment(
                        ends, ports, said[side], said[1 - side], flags, octets))
                    said[side] += len(octets) + (flags == 0x02 or flags == 0x12)

                say(0, b"", 0x02)
                say(1, b"", 0x12)
                say(0, b"", 0x10)
                for command, reply in dialogue:
                    if command:
                        say(0, command)
                    if reply:
                        say(1, reply)
                    time.sleep(0.01)  # the two sides have a way each
                numbers = dataplane_frames.order_while_some_wait(
                    process, lambda number: say(0, line % number), server,
                    lambda octets: int(octets[55:63]) if octets[54:55] == b"#" else None)
                self.assertEqual(numbers, list(range(dataplane_frames.NUMBERS)))
            # Some went by the kernel, else this shows nothing.
            self.assertLess(controller.counters()["frames_received"], 30 * dataplane_frames.NUMBERS - 200)

    def test_what_is_refused(self):
        with lab.Wire() as wire, tempfile.TemporaryDirectory(prefix="sld-") as folder:
            subprocess.run([MAKE, folder, "12"], check=True)
            image = [pathlib.Path(folder, f"{n}.image").read_bytes() for n in range(1, 13)]
            wire.start(PROGRAM)
            controller = lab.Controller(wire.socket)
            self.assertEqual(controller.send_policy(image[0], 1)["status"], "adopted")
            for octets, epoch, arguments in ((image[0], 1, {}), (image[1], 3, {}),
                                             (image[1][:-1], 2, {}), (b"x" * 5000, 2, {}),
                                             (image[1], 2, {"seal": False}),
                                             (image[1], 2, {"size": 10})):
                answer = controller.send_policy(octets, epoch, **arguments)
                self.assertEqual(answer["status"], "refused", answer)
                self.assertTrue(answer["reason"])
            # Its databases were left out, and this process has never had them.
            self.assertEqual(controller.send_policy(image[11], 12)["status"], "needs_ruleset")
            self.assertEqual(controller.send_policy(image[1], 2)["status"], "adopted")


if __name__ == "__main__":
    lab.require_root()
    PROGRAM, MAKE = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1], verbosity=2)
