#!/usr/bin/env python3
"""The material and the judgement of the benches: generated sessions are the mail that they should be (what
analyze finds in them), rule groups are a partition, comparisons tell changes and nothing else.

benches_test.py SLUICECTL"""
import collections
import copy
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import tap

PERF = pathlib.Path(__file__).resolve().parents[2] / 'perf'
sys.path.insert(0, str(PERF))
import compare  # noqa: E402
from replay import table  # noqa: E402
from scale import model  # noqa: E402

SLUICECTL = None


class Generated(unittest.TestCase):
    def setUp(self):
        self.material = table.Material().__enter__()
        self.addCleanup(self.material.__exit__)

    def found(self, **shape):
        capture, _ = self.material.capture(**shape)
        done = subprocess.run([SLUICECTL, 'analyze', capture, '--inside', '10.0.0.0/8', '--rules',
                               self.material.rules(3)], check=True, capture_output=True, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_the_peers_work_is_unchanged(self):
        # Of shared/perf's generator: 20 sessions, seed 2.
        capture, together = self.material.capture(sessions=20)
        self.assertEqual(hashlib.sha256(capture.read_bytes()).hexdigest(),
                         '3531c3c701ffee9f00bec8aa73b6fe03b02644cdfb1f85136de37fa44c5e48aa')
        self.assertLessEqual(together, 20)

    def test_every_shape_is_accepted_mail_with_its_markers(self):
        for shape, alerts in (({}, 6), ({'body': 'plain'}, 4), ({'body': 'base64'}, 2), ({'segment': 64}, 6),
                              ({'segment': 1, 'size': 2048}, 6), ({'size': 1 << 17}, 6)):
            with self.subTest(shape=shape):
                events = self.found(sessions=20, marker_every=10, **shape)
                mail = [e for e in events if e['event_type'] == 'smtp']
                self.assertEqual([e['smtp']['outcome'] for e in mail], ['accepted'] * 20)
                self.assertEqual({e['email']['status'] for e in mail}, {'PARSE_DONE'})
                self.assertEqual(sum(e['event_type'] == 'alert' for e in events), alerts)
                # The attachment has two names, as the peers' has.
                self.assertLessEqual({e['anomaly']['event'] for e in events if e['event_type'] == 'anomaly'},
                                     {'two-names'})

    def test_nine_of_ten_take_tls_and_the_marked_ones_do_not(self):
        kinds = collections.Counter(event['event_type'] for event in self.found(sessions=200, tls=90))
        self.assertEqual((kinds['smtp'], kinds['tls'], kinds['alert']), (20, 180, 6))

    def test_groups_are_a_partition_of_the_rules(self):
        whole = self.material.rules(1000).read_text().splitlines()
        parts = [self.material.rules(1000, [group]).read_text().splitlines() for group in table.GROUPS]
        self.assertEqual(sorted(whole), sorted(rule for part in parts for rule in part))
        self.assertTrue(all(parts))


def line(name, micros, samples):
    return {'bench': 'replay', 'line': name, 'microseconds_per_session': micros, 'seconds': samples}


class Compared(unittest.TestCase):
    OLD = [line('a', 50.0, [0.98, 1.0, 1.03]), line('b', 20.0, [1.0, 1.0, 1.0])]

    def verdicts(self, differences):
        return {d['line']: d['verdict'] for d in differences}

    def test_a_change_beyond_the_spread_is_told(self):
        new = [line('a', 60.0, [0.98, 1.0, 1.03]), line('b', 15.0, [1.0, 1.0, 1.0]), line('c', 1.0, [1.0])]
        self.assertEqual(self.verdicts(compare.between(self.OLD, new)), {'a': 'worse', 'b': 'better', 'c': 'new'})
        self.assertEqual(self.verdicts(compare.between(new, self.OLD)), {'a': 'better', 'b': 'worse', 'c': 'gone'})

    def test_what_is_within_the_spread_is_not(self):
        new = [line('a', 51.5, [0.98, 1.0, 1.03]), line('b', 20.3, [1.0, 1.0, 1.0])]
        self.assertEqual(self.verdicts(compare.between(self.OLD, new)), {'a': 'same', 'b': 'same'})

    def test_more_is_better_where_it_is(self):
        old = [{'bench': 'wire', 'part': 'bulk', 'line': 'x', 'mbit': 1000.0, 'mbits': [990.0, 1000.0, 1010.0]}]
        new = copy.deepcopy(old)
        new[0].update(mbit=500.0, mbits=[495.0, 500.0, 505.0])
        self.assertEqual([d['verdict'] for d in compare.between(old, new)], ['worse'])

    def test_pairs_judge_what_files_cannot(self):
        # 3 % in each of five pairs, between which the machine itself changed by half.
        pairs = []
        for speed in (1.0, 1.1, 1.5, 0.9, 1.2):
            old = [line('a', 50.0 * speed, [1.0]), line('b', 20.0 * speed, [1.0])]
            pairs.append((old, [line('a', 51.5 * speed, [1.0]), line('b', 20.0 * speed, [1.0])]))
        self.assertEqual(self.verdicts(compare.paired(pairs)), {'a': 'worse', 'b': 'same'})
        self.assertEqual(self.verdicts(compare.paired(pairs[:2])), {'a': 'same', 'b': 'same'})


class Simulated(unittest.TestCase):
    def kinds(self, worker_ns):
        return [model.Kind('other', 0.5, 900, 50, 0), model.Kind('mail', 0.5, 900, 100, worker_ns)]

    def test_the_part_with_more_to_do_saturates_first_and_the_same_each_time(self):
        light, heavy = (model.study('m', self.kinds(ns)) for ns in (100, 20_000))
        self.assertGreater(light['saturates_at_gbit_s'], 100)
        self.assertEqual(heavy['saturates_first'], 'workers')
        self.assertLess(heavy['saturates_at_gbit_s'], light['saturates_at_gbit_s'])
        self.assertEqual(model.study('m', self.kinds(100)), light)

    def test_a_full_ring_sends_frames_past(self):
        kinds = self.kinds(20_000)
        self.assertGreater(model.simulate(kinds, 100, 25, 5)['frames_past_full_rings'], 0)
        self.assertEqual(model.simulate(kinds, 1, 5, 25)['frames_past_full_rings'], 0)


if __name__ == '__main__':
    SLUICECTL = sys.argv[1]
    sys.exit(tap.run(Generated, Compared, Simulated))
