#!/usr/bin/env python3
"""The same process over files: what goes in on one side comes out on the other, byte-identical and
in order. dataplane_pcap.py PROGRAM..."""
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import dataplane_lab as lab

PROGRAMS = []
CAPTURES = pathlib.Path(__file__).resolve().parents[1] / "captures"


def frames_of(path):
    """The frames of a classic pcap file, of either byte order."""
    octets = path.read_bytes()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<",
             b"\xa1\xb2\x3c\x4d": ">"}.get(octets[:4])
    if order is None:
        return None
    at, frames = 24, []
    while at + 16 <= len(octets):
        size, = struct.unpack_from(order + "I", octets, at + 8)
        frames.append(octets[at + 16:at + 16 + size])
        at += 16 + size
    return frames


class Pcap(unittest.TestCase):
    def replay(self, program, capture):
        with tempfile.TemporaryDirectory(prefix="sld-") as folder:
            out = pathlib.Path(folder, "out.pcap")
            command = [program, "--wire",
                       f"name=w1,driver=pcap,rx_pcap={capture},tx_pcap={out}",
                       "--socket", f"{folder}/s", "--hugepages", "off", "--memory", "64",
                       "--max-flows", "4096", "--no-checksums"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            process.log = b""
            try:
                lab.Wire.await_text(process, b"ready:")
                expected = frames_of(capture)
                controller = lab.Controller(f"{folder}/s")
                end = time.monotonic() + 30
                while (counters := controller.counters())["frames_received"] < len(expected):
                    self.assertLess(time.monotonic(), end, counters)
                    time.sleep(0.02)
                process.send_signal(signal.SIGTERM)
                log = lab.Wire.rest_of_log(process)
                self.assertEqual(process.returncode, 0, log)
                self.assertEqual(frames_of(out), expected)
                controller.close()
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def test_captures(self):
        for program in PROGRAMS:
            for capture in sorted(CAPTURES.glob("*.pcap")):
                octets = capture.read_bytes()
                if frames_of(capture) is None or octets[20:24] not in (b"\1\0\0\0", b"\0\0\0\1"):
                    continue  # not Ethernet
                with self.subTest(program=os.path.basename(program), capture=capture.name):
                    self.replay(program, capture)


if __name__ == "__main__":
    lab.require_root()
    PROGRAMS = sys.argv[1:]
    unittest.main(argv=sys.argv[:1], verbosity=2)
