#!/usr/bin/python3
"""The rig tested on wires that are known: a plain kernel bridge, and links of a known badness.

Needs root and the forwarder's path in SLUICE_RIG_FORWARDER; exits 77 (skipped) without root.
"""

import collections
import os
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from rig.bulk import Bulk
from rig.forwarder import Forwarder
from rig.frames import KINDS, FrameGenerator, checksum
from rig.mailer import Message, compare, from_files, generate, run_mailer
from rig.netns import RigError, Topology, exists, inside, link_counters, namespaces_of
from rig.sink import SinkProcess, unstuffed
from rig.soak import End, soak


def ends(t):
    return End(t.subscribers[0].netns, 'eth0'), End(t.far[0].netns, 'eth0')


class Namespaces(unittest.TestCase):
    def test_removed_at_the_end_and_after_an_error(self):
        t = Topology(separate=True, subscribers=2, impair='inside')
        with self.assertRaises(ZeroDivisionError), t:
            self.assertEqual(len(namespaces_of(t.prefix)), 6)
            sleeper = t.popen(t.wire_ns, ['sleep', '1000'])
            raise ZeroDivisionError
        self.assertEqual(namespaces_of(t.prefix), [])
        self.assertIsNotNone(sleeper.poll())
        self.assertFalse(exists(t.wire_ns))

    def test_a_prefix_in_use_is_refused_and_left_alone(self):
        with Topology() as t:
            with self.assertRaises(RigError):
                Topology(t.prefix).open()
            self.assertTrue(exists(t.wire_ns))

    def test_inside_returns_home(self):
        home = os.readlink('/proc/thread-self/ns/net')
        with Topology() as t:
            with inside(t.wire_ns):
                self.assertNotEqual(os.readlink('/proc/thread-self/ns/net'), home)
            self.assertEqual(os.readlink('/proc/thread-self/ns/net'), home)

    def test_hosts_reach_the_far_side_over_both_ip_versions(self):
        for separate in (False, True):
            with Topology(separate=separate) as t:
                t.bridge_wire()
                t.wait_reachable()
                for host in t.subscribers:
                    for source, target in ((host.v4, t.far[0].v4), (host.v6, t.far[0].v6)):
                        t.run(host.netns, ['ping', '-c1', '-W5', '-I', source, target])
                self.assertGreater(link_counters(t.wire_ns, 'inside')['rx_packets'], 0)


class Frames(unittest.TestCase):
    def test_a_seed_gives_the_same_frames_and_no_two_are_alike(self):
        first = list(FrameGenerator(7).take(3000))
        self.assertEqual(first, list(FrameGenerator(7).take(3000)))
        other = {f.octets for f in FrameGenerator(7, direction=1).take(3000)}
        self.assertEqual(len({f.octets for f in first} | other), 6000)
        self.assertEqual({f.kind for f in first}, set(KINDS))

    def test_sizes_reach_from_the_shortest_to_the_mtu(self):
        for mtu in (1500, 3498):
            sizes = [len(f.octets) for f in FrameGenerator(3, mtu=mtu).take(4000)]
            self.assertEqual(min(sizes), 60)
            self.assertEqual(max(sizes), mtu + 18)

    def test_no_two_segments_of_a_flow_overlap(self):
        flows = collections.defaultdict(list)
        for frame in FrameGenerator(5, kinds=['mail_tcp']).take(20_000):
            at = 14 + (20 if frame.octets[12:14] == b'\x08\x00' else 40)
            head = frame.octets[at:at + 20]
            sequence, = struct.unpack('>I', head[4:8])
            flows[frame.flow, at, head[:4]].append(
                (sequence, sequence + len(frame.octets) - at - 4 * (head[12] >> 4)))
        for segments in flows.values():
            segments.sort()
            for (_, end), (sequence, _) in zip(segments, segments[1:]):
                self.assertLessEqual(end, sequence)

    def test_checksum_of_rfc_1071(self):
        self.assertEqual(checksum(bytes.fromhex('0001f203f4f5f6f7')), 0x220d)


class Wires(unittest.TestCase):
    def test_a_kernel_bridge_loses_and_changes_nothing(self):
        with Topology(silent=True) as t:
            t.bridge_wire()
            report = soak(*ends(t), frames=6000, rate=3000, seed=5, bridged=True)
            self.assertTrue(report['clean'], report)
            self.assertEqual(report['b_to_a']['received'], 6000)

    def test_the_plain_forwarder_loses_and_changes_nothing_of_any_kind(self):
        with Topology(silent=True) as t, Forwarder(t) as f:
            report = soak(*ends(t), frames=6000, rate=3000, seed=6)
            self.assertTrue(report['clean'], report)
        self.assertGreaterEqual(f.counts['right']['sent'], 6000)

    def test_a_wire_that_is_cut_is_seen(self):
        with Topology(silent=True) as t:
            report = soak(*ends(t), frames=100, rate=1000, settle=0.2)
            self.assertFalse(report['clean'])
            self.assertEqual(report['a_to_b']['missing'], 100)

    def test_loss_is_what_the_forwarder_says(self):
        with Topology(silent=True) as t, Forwarder(t, loss=0.05, direction='right', seed=9) as f:
            report = soak(*ends(t), frames=6000, rate=3000, settle=0.5)
        lost = f.counts['right']['lost']
        self.assertEqual(report['a_to_b']['missing'], lost)
        self.assertTrue(report['b_to_a']['clean'], report['b_to_a'])
        # Five standard deviations of 6,000 draws.
        self.assertLess(abs(lost - 300), 5 * (6000 * 0.05 * 0.95) ** 0.5)

    def test_the_same_seed_loses_the_same_frames(self):
        lost = []
        for _ in range(2):
            with Topology(silent=True) as t, Forwarder(t, loss=0.1, burst=3, seed=4) as f:
                report = soak(*ends(t), frames=500, rate=2000, both=False, settle=0.3)
            self.assertEqual(report['a_to_b']['missing'], f.counts['right']['lost'])
            lost.append(report['a_to_b']['missing_by_kind'])
        self.assertGreater(sum(lost[0].values()), 50)
        self.assertEqual(lost[0], lost[1])

    def test_duplicates_reordering_and_corruption_are_seen(self):
        with Topology(silent=True) as t:
            with Forwarder(t, duplicate=0.1, direction='left') as f:
                report = soak(*ends(t), frames=2000, rate=2000, settle=0.5)
            self.assertTrue(report['a_to_b']['clean'])
            self.assertGreater(report['b_to_a']['duplicated'], 100)
            self.assertEqual(report['b_to_a']['duplicated'], f.counts['left']['duplicated'])
            with Forwarder(t, reorder=0.1, reorder_delay=20) as f:
                report = soak(*ends(t), frames=2000, rate=4000, kinds=['mail_tcp'], settle=0.5)
            self.assertEqual(report['a_to_b']['missing'], 0)
            self.assertGreater(report['a_to_b']['reordered'], 50)
            with Forwarder(t, corrupt=0.1) as f:
                report = soak(*ends(t), frames=2000, rate=2000, settle=0.5)
            self.assertGreater(report['a_to_b']['changed'], 100)
            self.assertEqual(report['a_to_b']['missing'], report['a_to_b']['changed'])
            self.assertEqual(report['a_to_b']['changed'], f.counts['right']['corrupted'])

    def test_delay_keeps_the_order(self):
        with Topology(impair='outside', silent=True) as t:
            t.bridge_wire()
            with Forwarder(t, delay=10, jitter=20):
                report = soak(*ends(t), frames=2000, rate=2000, bridged=True)
                self.assertTrue(report['clean'], report)


class Mail(unittest.TestCase):
    def test_messages_arrive_as_they_were_sent_in_all_forms(self):
        with Topology() as t:
            t.bridge_wire()
            t.wait_reachable()
            host, far = t.subscribers[0], t.far[0]
            forms = ({}, {'chunking': True}, {'starttls': True}, {'pipelining': False},
                     {'chunking': True, 'chunk_size': 700, 'pipelining': False},
                     {'chunking': True, 'chunk_size': 700}, {'local': t.subscribers[1].v4})
            with SinkProcess(t, far.netns, ports=(25, 587), tls=True) as sink:
                outcomes = []
                for seed, form in enumerate(forms):
                    report = run_mailer(far.v4, 25, generate(20, seed=seed), netns=host.netns,
                                        **form)
                    self.assertEqual(report.counts['accepted'], 20, (form, report.summary()))
                    outcomes += report.outcomes
                report = run_mailer(far.v6, 587, generate(20, seed=99), netns=host.netns)
                outcomes += report.outcomes
            report.outcomes = outcomes
            self.assertEqual(len(sink.messages), 20 * (len(forms) + 1))
            self.assertFalse(any(compare(report, sink.messages).values()))
            by_id = {m.id: m for m in sink.messages}
            for outcome in outcomes:
                self.assertEqual(by_id[outcome.id].sha256, outcome.sha256)
            self.assertEqual({m.via for m in sink.messages}, {'data', 'bdat'})
            self.assertEqual(sum(m.tls for m in sink.messages), 20)
            self.assertEqual({m.peer for m in sink.messages if m.id.startswith('6-')},
                             {t.subscribers[1].v4})

    def test_dots_empty_messages_and_files(self):
        contents = [b'.\r\n', b'..\r\n.\r\n', b'a\r\n.b\r\n..c\r\n.\r\n', b'\r\n']
        messages = [Message(f'x{i}', 'a@rig.test', ('b@sink.test',),
                            f'X-Rig-Id: x{i}\r\n\r\n'.encode() + c)
                    for i, c in enumerate(contents)]
        messages += from_files([__file__])
        with Topology() as t:
            t.bridge_wire()
            t.wait_reachable()
            with SinkProcess(t, t.far[0].netns) as sink:
                report = run_mailer(t.far[0].v4, 25, messages, netns=t.subscribers[0].netns)
        self.assertEqual(report.counts['accepted'], 5, report.outcomes)
        self.assertFalse(any(compare(report, sink.messages).values()))
        self.assertEqual(unstuffed(b'..a\r\n..\r\nb.\r\n'), b'.a\r\n.\r\nb.\r\n')

    def test_refusals_and_a_dead_server_have_their_own_outcomes(self):
        with Topology() as t:
            t.bridge_wire()
            t.wait_reachable()
            host, far = t.subscribers[0], t.far[0]
            with SinkProcess(t, far.netns, refuse='nobody') as sink:
                report = run_mailer(far.v4, 25, generate(5, recipient='nobody@sink.test'),
                                    netns=host.netns)
                self.assertEqual(report.counts['refused'], 5)
                self.assertEqual(report.outcomes[0].stage, 'rcpt')
                self.assertEqual(report.outcomes[0].code, 550)
            self.assertEqual(sink.messages, [])
            report = run_mailer(far.v4, 25, generate(3), netns=host.netns, concurrency=1)
            self.assertEqual(report.counts['broken'], 3)
            self.assertEqual(report.outcomes[0].stage, 'connect')

    def test_mail_over_a_bad_link_arrives(self):
        with Topology(impair='outside') as t:
            t.bridge_wire()
            with Forwarder(t, loss=0.02, reorder=0.05, duplicate=0.05, delay=1, seed=3) as f:
                with SinkProcess(t, t.far[0].netns) as sink:
                    report = run_mailer(t.far[0].v4, 25, generate(60, size=(400, 8000)),
                                        netns=t.subscribers[0].netns, per_connection=3)
            self.assertEqual(report.counts['accepted'], 60, report.summary())
            self.assertFalse(any(compare(report, sink.messages).values()))
            self.assertGreater(f.counts['right']['lost'] + f.counts['left']['lost'], 0)

    def test_a_stall_is_measured(self):
        with Topology() as t, Forwarder(t) as f:
            t.wait_reachable()
            host, far = t.subscribers[0], t.far[0]
            with Bulk(host.netns, far.netns, far.v4, port=8080, rate=20) as bulk, \
                    Bulk(host.netns, far.netns, far.v6, port=25, rate=20, reverse=True) as back:
                time.sleep(0.3)
                f.pause()
                time.sleep(0.5)
                f.resume()
                time.sleep(0.3)
            for report in (bulk.report, back.report):
                self.assertTrue(report.intact, report)
                self.assertGreater(report.octets_received, 500_000)
                self.assertGreaterEqual(report.longest_gap_ms, 300)


class Programs(unittest.TestCase):
    def test_each_tells_how_it_is_used(self):
        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'rig')
        for name in ('netns', 'frames', 'soak', 'bulk', 'sink', 'mailer'):
            text = subprocess.run([sys.executable, os.path.join(folder, name + '.py'), '--help'],
                                  check=True, capture_output=True, text=True).stdout
            self.assertIn('usage:', text)


if __name__ == '__main__':
    if os.geteuid() != 0:
        print('needs root')
        sys.exit(77)
    unittest.main(verbosity=2)
