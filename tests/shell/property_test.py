#!/usr/bin/env python3
"""Any sequence of edits, commits, rollbacks and kills ends in a configuration that was once committed,
and the dataplane runs what `show config running` says. property_test.py BUILD [SEED [ROUNDS]]"""
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent.parent / 'golden')]
import tap  # noqa: E402
from sluiced import Sluiced  # noqa: E402

BUILD = sys.argv.pop(1)
SEED = int(sys.argv.pop(1)) if len(sys.argv) > 1 else 7
ROUNDS = int(sys.argv.pop(1)) if len(sys.argv) > 1 else 40
HOSTS = [f'192.0.2.{n}' for n in range(1, 9)]
ACTIONS = ('allow', 'limit', 'tempfail', 'reject', 'tarpit', 'block')


class FakeDataplane:
    """Takes every policy; `wait` until what it runs is as it must be."""

    def __init__(self, control):
        self.process = subprocess.Popen(
            [control.build / 'tests/shell/fake_dataplane', control.folder / 'dataplane.sock', 'w1', '--',
             *HOSTS], stdout=subprocess.PIPE, text=True)
        self.last = None
        self.ended = False
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.last = json.loads(line)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait(self, wires, hosts):
        with self.changed:
            good = self.changed.wait_for(
                lambda: self.ended or self.last and self.last['wires'] == wires and self.last['hosts'] == hosts,
                60)
            return good and not self.ended, self.last

    def close(self):
        self.process.kill()
        self.process.wait()


def meaning(commands):
    """Wires and hosts of a configuration given as commands, inactive ones left out."""
    wires, hosts, inactive = {}, {}, set()
    for line in commands.splitlines():
        if m := re.match(r'deactivate (wire|host) (\S+)$', line):
            inactive.add(m.group(2))
        elif m := re.match(r'set wire (\S+)(?: mode (\S+))?', line):
            wires[m.group(1)] = m.group(2) or wires.get(m.group(1), 'monitor')
        elif m := re.match(r'set host (\S+) action (\S+)', line):
            hosts[m.group(1)] = m.group(2)
    wires = {w: mode for w, mode in wires.items() if w not in inactive} or {'w1': 'monitor'}
    return wires, {h.split('/')[0]: a for h, a in hosts.items() if h not in inactive}


class Sequences(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)
        self.control = Sluiced(BUILD)
        self.addCleanup(self.control.close)
        self.dataplane = FakeDataplane(self.control)
        self.addCleanup(self.dataplane.close)
        self.control.start()
        self.committed = {self.control.running()}  # all that ever was, or was asked for
        self.kills = 0

    def random_edit(self):
        r = self.random
        host = r.choice(HOSTS)
        words = r.choice([
            ('set', ['host', host, 'action', r.choice(ACTIONS)]),
            ('set', ['host', host, 'action', r.choice(ACTIONS), 'comment', f'c{r.random()}']),
            ('set', ['wire', 'w1', 'mode', r.choice(['monitor', 'enforce'])]),
            ('delete', ['host', host]),
            ('delete', ['host']),
            ('deactivate', ['host', host]),
            ('activate', ['host', host]),
        ])
        return [{'operation': words[0], 'words': words[1]}]

    def edit(self, connection):
        self.control.ask('config edit', connection, operations=self.random_edit())

    def candidate(self, connection):
        return self.control.ask('config get', connection, form='set')['result']['text']

    def commit(self, connection, kill, **arguments):
        # A commit from the shared candidate: what it will be is known beforehand.
        self.control.ask('config update', connection)
        self.take(connection, self.candidate(connection), kill, 'config commit', **arguments)

    def apply(self, kill):
        """An edit of what runs without a candidate; what it comes to is tried in a private one."""
        operations = self.random_edit()
        trial = self.control.connect()
        self.control.ask('config open', trial, mode='private')
        good = self.control.ask('config edit', trial, operations=operations)['ok']
        wanted = self.candidate(trial)
        trial.close()
        if good:
            self.take(None, wanted, kill, 'config apply', operations=operations)
        else:  # there is nothing to delete or deactivate
            self.assertFalse(self.control.ask('config apply', operations=operations)['ok'])

    def take(self, connection, wanted, kill, command, **arguments):
        if not wanted.startswith('set model-version'):
            wanted = 'set model-version 2\n' + wanted
        self.committed.add(wanted)
        if not kill:
            answer = self.control.ask(command, connection, **arguments)
            self.assertTrue(answer['ok'], answer)
            self.assertEqual(self.control.running(), wanted)
            return
        delay = self.random.choice([0, 0.001, 0.003, 0.01, 0.03, 0.1]) * self.random.random()
        timer = threading.Timer(delay, lambda: os.kill(self.control.process.pid, signal.SIGKILL))
        timer.start()
        answered = False
        try:
            answered = self.control.ask(command, connection, **arguments)['ok']
        except OSError:
            pass
        timer.join()
        self.control.process.wait()
        self.kills += 1
        self.control.start()
        if answered:
            # What was answered outlives the kill.
            self.assertEqual(self.control.running(), wanted)

    def check(self, what):
        running = self.control.running()
        self.assertIn(running, self.committed, what)
        wires, hosts = meaning(running)
        good, last = self.dataplane.wait(wires, hosts)
        self.assertTrue(good, f'{what}: the dataplane runs {last}, not {wires} {hosts}')
        history = self.control.ask('config history')['result']['revisions']
        newest = self.control.ask('config get', source='rollback', number=0, form='set')
        self.assertEqual(newest['result']['text'], running)
        self.assertEqual([h['number'] for h in history], list(range(len(history))))
        self.assertEqual(sorted({h['revision'] for h in history}, reverse=True),
                         [h['revision'] for h in history])

    def test_end_in_what_was_committed(self):
        connection = self.control.connect()
        for step in range(ROUNDS):
            try:
                for _ in range(self.random.randrange(1, 5)):
                    self.edit(connection)
                what = self.random.choices(['commit', 'kill', 'confirmed', 'apply', 'apply, killed', 'rollback',
                                            'nothing', 'killed idle'], [4, 4, 2, 3, 3, 2, 1, 1])[0]
                if what == 'rollback':
                    history = self.control.ask('config history')['result']['revisions']
                    number = self.random.randrange(len(history))
                    answer = self.control.ask('config rollback', connection, number=number)
                    self.assertTrue(answer['ok'], answer)
                    what = 'commit'
                if what in ('commit', 'kill'):
                    self.commit(connection, what == 'kill')
                elif what == 'confirmed':
                    self.commit(connection, False, confirmed=5)
                elif what.startswith('apply'):
                    self.apply('killed' in what)
                elif what == 'killed idle':
                    self.control.kill()
                    self.control.start()
            finally:
                if self.control.process and self.control.answers():
                    connection.close()
                    connection = self.control.connect()
            with self.subTest(step=step, seed=SEED):
                self.check(f'step {step}: {what}')
        self.assertGreater(self.kills, ROUNDS // 10)
        # A revision of any age is what it was.
        for number in range(len(self.control.ask('config history')['result']['revisions'])):
            text = self.control.ask('config get', source='rollback', number=number, form='set')
            self.assertIn(text['result']['text'], self.committed)


if __name__ == '__main__':
    sys.exit(tap.run(Sequences))
