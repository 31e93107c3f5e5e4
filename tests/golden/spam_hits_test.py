#!/usr/bin/env python3
"""Our hits beside those that Debian's spamassassin gave for the same messages with the same rules
(spam-hits.jsonl, made by make_spam_messages.py). spamassassin is not needed: spamassassin-rules.tar.xz
has the rules of Debian 12's package (4.0.1, Apache-2.0; its notices are in there).

spam_hits_test.py SLUICECTL"""
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

import spamassassin_side as side
import tap

SLUICECTL = None
HERE = pathlib.Path(__file__).resolve().parent
# Of the (message, rule) hits of rules that both run, in percent; and of the messages above 5.0 or not.
LEAST_OVERLAP = 99.0
LEAST_ALIKE = 97.0


def load():
    lines = (HERE / 'spam-hits.jsonl').read_text().splitlines()
    return json.loads(lines[0])['rules'], [json.loads(line) for line in lines[1:]]


class SpamHits(unittest.TestCase):
    def setUp(self):
        digest, self.messages = load()
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        with tarfile.open(HERE / 'spamassassin-rules.tar.xz') as archive:
            archive.extractall(self.folder.name)
        self.rules = pathlib.Path(self.folder.name) / 'rules'
        self.assertEqual(side.rules_digest(self.rules), digest, 'the hits are of other rules')

    def ours(self):
        with tempfile.TemporaryDirectory() as folder:
            for one in self.messages:
                (pathlib.Path(folder) / one['name']).write_bytes(one['message'].encode('ascii'))
            run = subprocess.run(
                [SLUICECTL, 'rules', 'test', '--json', '--rules', str(self.rules),
                 *sorted(str(p) for p in pathlib.Path(folder).iterdir())], capture_output=True, text=True, timeout=280)
            self.assertIn(run.returncode, (0, 3), run.stderr)
            check = subprocess.run([SLUICECTL, 'rules', 'check', '--json', str(self.rules)], capture_output=True,
                                   text=True, timeout=280)
        found = (json.loads(line) for line in run.stdout.splitlines())
        return {pathlib.Path(one['file']).name: one for one in found if 'file' in one}, set(json.loads(check.stdout)['names'])

    def test_hits_are_those_of_spamassassin(self):
        mine, running = self.ours()
        self.assertEqual(len(mine), len(self.messages))
        theirs = {(m['name'], r) for m in self.messages for r in m['rules'] if r in running}
        ours = {(name, r) for name, one in mine.items() for r in one['rules']}
        self.assertGreater(len(theirs), 900)
        overlap = 100 * len(theirs & ours) / len(theirs | ours)
        told = '\n'.join(f'  only {who}: {name} {rule}' for who, pairs in
                         (('spamassassin', theirs - ours), ('here', ours - theirs)) for name, rule in sorted(pairs))
        self.assertGreaterEqual(overlap, LEAST_OVERLAP, told)
        alike = sum((m['score'] >= 5.0) == (mine[m['name']]['score'] >= 5.0) for m in self.messages)
        self.assertGreaterEqual(100 * alike / len(self.messages), LEAST_ALIKE)


if __name__ == '__main__':
    SLUICECTL = sys.argv[1]
    sys.exit(tap.run(SpamHits))
