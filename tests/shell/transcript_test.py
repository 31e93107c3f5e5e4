#!/usr/bin/env python3
"""The shell as people use it, through a pseudo-terminal, against a real sluiced: what stands on the
screen is what is compared. transcript_test.py BUILD"""
import json
import pathlib
import sys
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent.parent / 'golden')]
import tap  # noqa: E402
from sluiced import Sluiced  # noqa: E402

BUILD = sys.argv.pop(1)


class ShellCase(unittest.TestCase):
    configuration = {}

    def setUp(self):
        self.control = Sluiced(BUILD, self.configuration).start()
        self.addCleanup(self.control.close)
        self.terminals = []

    def shell(self, **options):
        terminal = self.control.shell(**options)
        self.addCleanup(terminal.close)
        return terminal


class Transcripts(ShellCase):
    def test_completion(self):
        t = self.shell()
        # As far as it is clear, then to the end.
        t.keys('conf\t')
        t.expect(r' config$')
        t.keys('u\t')
        t.expect(r'ure $|ure$')
        t.keys('\n')
        t.prompt()
        # Unique: completed. A choice of the model: completed to its common beginning, then listed.
        t.keys('set wi\tw1 mo\t')
        t.expect(r'set wire w1 mode')
        t.keys('\t')
        text = t.expect(r'# set wire w1 mode')
        self.assertIn('monitor', text)
        self.assertIn('(default)', text)
        self.assertIn('Verdicts and actions are carried out.', text)
        t.keys('en\t')
        t.expect(r'enforce')
        t.keys('\n')
        t.prompt()
        # Keys that exist are offered.
        t.keys('delete wire \t')
        text = t.expect(r'# delete wire')
        self.assertIn('w1', text)
        self.assertIn('<name>', text)
        t.keys('w1\n')
        t.prompt()
        self.assertNotIn('w1', t.line('compare'))

    def test_help_at_every_word(self):
        t = self.shell()
        t.keys('?')
        text = t.expect(r'> $|>$')
        for word in ('configure', 'show', 'explain', 'request', 'monitor'):
            self.assertRegex(text, rf'(?m)^  {word} ')
        t.keys('show ?')
        text = t.expect(r'> show')
        self.assertIn('messages', text)
        t.keys('hosts ?')
        text = t.expect(r'> show hosts')
        self.assertIn('<Enter>', text)
        self.assertIn('limit', text)
        t.keys('| ?')
        text = t.expect(r'> show hosts \|')
        for word in ('match', 'except', 'count', 'json', 'no-more'):
            self.assertIn(word, text)
        t.keys('\x15')
        t.line('configure')
        t.keys('set detection window ?')
        text = t.expect(r'# set detection window')
        self.assertIn('<10..86400 seconds>', text)
        self.assertIn('Default: 600', text)
        # Within quotes it is a sign.
        t.keys('\x15set wire w1 description "really?"\n')
        t.prompt()
        self.assertIn('description really?;', t.line('show wire w1').replace('"', ''))

    def test_errors_point_at_the_word(self):
        t = self.shell()
        t.keys('show hsots\n')
        t.expect('show hsots')
        lines = t.prompt().split('\n')
        self.assertEqual(lines[1].index('^'), len('operator@') + self.host(t) + len('> show '))
        self.assertIn("'hsots'", lines[2])
        t.line('configure')
        for line, column, reason in (
                ('set wire w1 mode on', 17, 'expected monitor, enforce'),
                ('set detection window 3', 21, 'expected 10..86400 seconds'),
                ('set inside prefix 203.0.113.0/33', 18, 'ip-prefix'),
                ('set wirr', 4, 'not known here'),
                ('frobnicate', 0, 'no such command'),
                ('set wire w1 mode', 17, 'needs a value'),
                ('show | mtach x', 7, 'no such command behind |')):
            with self.subTest(line):
                out = t.line(line).split('\n')
                self.assertEqual(out[0].index('^'), len('operator@') + self.host(t) + len('# ') + column)
                self.assertIn(reason, out[1])
        self.assertEqual(t.line('compare'), '[edit]')

    def host(self, t):
        return len(t.screen.text().split('@')[1].split('>')[0])

    def test_the_session_of_a_network_engineer(self):
        t = self.shell()
        t.line('configure')
        self.assertEqual(
            t.line('set wire w1 inside ens1f0 outside ens1f1 mode monitor failure open'), '[edit]')
        self.assertEqual(t.line('set inside prefix 203.0.113.0/24 role shared-web'), '[edit]')
        self.assertIn('configuration check succeeds', t.line('commit check'))
        out = t.line('commit confirmed 10 comment CHG-4711')
        self.assertIn('goes back to revision 1 in 10m0s unless', out.replace('\n', ' '))
        self.assertIn('dataplane', t.line('run request wire w1 self-test'))  # there is none here
        self.assertNotIn('error', t.line('run show wire w1 visibility last 15m'))
        self.assertIn('it stays', t.line('commit'))
        self.assertIn('203.0.113.77', t.line('run explain host 203.0.113.77'))
        out = t.line('run request host 203.0.113.77 limit messages 20/h for 2h ticket AB-99')
        self.assertNotIn('error', out)
        self.assertNotIn('error', t.line('run show messages from *@cust.example to *@gmail.com last 2h'))
        self.assertIn('AB-99', t.line('run show hosts | json'))
        self.assertIn('set inside prefix 203.0.113.0/24 role shared-web', self.control.running())
        history = self.control.ask('config history')['result']['revisions']
        self.assertEqual(history[0]['comment'], 'CHG-4711')
        self.assertTrue(history[0]['confirmed'])

    def test_edit_up_top_and_ways_to_show(self):
        t = self.shell()
        t.line('configure')
        t.line('edit wire w1')
        t.line('set mode enforce')
        self.assertIn('[edit wire w1]', t.screen.text())
        self.assertIn('mode enforce;', t.line('show'))
        self.assertIn('set wire w1 mode enforce', t.line('show | display set'))
        self.assertIn('"mode": "enforce"', t.line('show | display json'))
        self.assertIn('+  wire w1 {', t.line('top show | compare'))
        t.line('up')
        self.assertIn('wire w1 {', t.line('show'))
        t.line('deactivate wire w1')
        self.assertIn('inactive: wire w1 {', t.line('show'))
        self.assertIn('deactivate wire w1', t.line('show | display set | match deact'))
        self.assertIn('Count: 1 lines', t.line('show | display set | match deact | count'))
        self.assertIn('commit complete', t.line('commit'))
        self.assertIn('deactivate wire w1', self.control.running())
        self.assertIn('inactive: wire w1 {', t.line('run show config running'))
        self.assertIn('deactivate wire w1', t.line('run show config running wire | display set'))
        code, text, _ = self.control.ctl('show', 'config', 'running', 'wire', '--json')
        self.assertEqual(code, 0)
        self.assertEqual([w['name'] for w in json.loads(text)['wire']], ['w1'])
        self.assertEqual(json.loads(self.control.ctl('show', 'config', 'running', 'wire', 'w1', 'mode', '--json')[1]),
                         {'mode': 'enforce'})
        t.line('activate wire w1')
        self.assertIn('!  activated: wire w1', t.line('compare'))
        t.line('rollback 0')
        self.assertEqual(t.line('compare'), '[edit]')
        self.assertIn('Exiting', t.line('quit'))

    def test_two_users_are_told_of_each_other(self):
        alice = self.shell()
        bob = self.shell()
        alice.line('configure')
        alice.line('set host 192.0.2.1 action block')
        out = bob.line('configure')
        self.assertIn('Also editing:', out)
        self.assertIn('changes that are not committed', out)
        # One candidate: bob sees what alice has set.
        self.assertIn('192.0.2.1/32', bob.line('compare'))
        self.assertIn('edits the configuration too', alice.line('status'))
        self.assertIn('commit complete', bob.line('commit comment both'))
        out = alice.line('compare')
        self.assertIn('commit (both)', out)
        self.assertNotIn('192.0.2.1', out)
        alice.line('quit')
        bob.line('quit')
        # Each with a candidate of his own; then both change the same.
        alice.line('configure private')
        bob.line('configure private')
        alice.line('set wire w1 mode enforce')
        bob.line('set wire w1 mode monitor failure closed')
        bob.line('set host 192.0.2.2 action block')
        self.assertNotIn('192.0.2.2', alice.line('compare'))
        self.assertIn('commit complete', alice.line('commit'))
        out = bob.line('commit')
        self.assertIn('commit failed', out)
        self.assertIn('wire w1 mode monitor', out)
        self.assertIn('kept as it is here: wire w1 mode monitor', bob.line('update'))
        self.assertIn('commit complete', bob.line('commit'))
        running = self.control.running()
        self.assertIn('set wire w1 mode monitor\n', running)
        self.assertIn('set host 192.0.2.2/32 action block', running)
        # Exclusive: the other may look, but change nothing.
        alice.line('quit')
        bob.line('quit')
        alice.line('configure exclusive')
        self.assertIn('exclusively', bob.line('configure'))
        self.assertIn('exclusively', self.control.ctl('config', 'set', 'wire', 'w1', 'mode', 'enforce')[2])
        alice.close()
        bob.line('configure')
        self.assertEqual(bob.line('set wire w1 mode enforce'), '[edit]')

    def test_a_broken_connection(self):
        t = self.shell()
        t.line('configure private')
        t.line('set host 192.0.2.1 action block')
        self.control.kill()
        out = t.line('show')
        self.assertIn('connection to sluiced is lost', out)
        self.assertIn('private candidate with it', out)
        for line in ('show hosts', 'configure'):
            self.assertIn('isitrunning', ''.join(t.line(line).split()), line)  # wherever it is wrapped
        self.control.start()
        self.assertIn('Entering configuration mode', t.line('configure'))
        self.assertEqual(t.line('compare'), '[edit]')

    def test_pager_and_history(self):
        t = self.shell(rows=10)
        t.keys('show stats\n')
        t.expect(r'---\(more \d+%\)---')
        t.keys(' ')
        t.expect(r'---\(more \d+%\)---')
        t.keys('q')
        t.prompt()
        t.keys('show stats | no-more\n')
        self.assertNotIn('(more', t.prompt())
        t.keys('\x10')  # the line before
        t.expect(r'show stats \| no-more')
        t.keys('\x15')
        t.keys('exit\n')
        self.assertEqual(t.ended(), 0)
        again = self.shell()
        self.assertIn('show stats | no-more', again.line('history'))

    def test_live_screens_end_with_q(self):
        t = self.shell()
        t.keys('monitor traffic\n')
        t.expect('DATAPLANE')
        t.keys('q')
        t.prompt()
        self.assertIn('it has no end', t.line('monitor hosts | count'))
        self.assertIn('Count:', t.line('monitor hosts count 1 | count'))

    def test_a_new_user_needs_few_lines(self):
        """The session that the README shows."""
        readme = (pathlib.Path(__file__).parents[2] / 'README.md').read_text()
        session = readme.split('<!-- session -->')[1].split('```')[1].strip('\n').split('\n')
        lines = [line.split('# ', 1)[-1].split('> ', 1)[-1] for line in session if line]
        self.assertLess(len(lines), 10)
        t = self.shell()
        for line in lines[1:-1]:
            self.assertNotIn('error', t.line(line), line)
        running = self.control.running()
        self.assertIn('set host 203.0.113.77/32 action block', running)
        self.assertIn('set host 198.51.100.0/24 action limit', running)
        self.assertIn('set host 198.51.100.0/24 rate 50', running)


class ConfirmedCommits(ShellCase):
    def confirmed(self):
        t = self.shell()
        t.line('configure')
        t.line('set wire w1 mode enforce')
        self.assertIn('goes back', t.line('commit confirmed 1'))
        self.assertIn('mode enforce', self.control.running())
        return t

    def shorten(self, seconds):
        """A minute is the shortest; what is left of it after a crash may be less."""
        path = self.control.folder / 'state/configuration/revision-2'
        head, text = path.read_text().split('\n', 1)
        head = json.loads(head)
        head['unconfirmed']['until_monotonic'] = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(seconds * 1e9)
        path.write_text(json.dumps(head) + '\n' + text)

    def test_returns_by_itself_after_a_kill(self):
        t = self.confirmed()
        self.control.kill()
        self.shorten(3)
        self.control.start()
        deadline = time.monotonic() + 120
        while 'mode enforce' in self.control.running():
            self.assertLess(time.monotonic(), deadline, 'it does not go back')
            time.sleep(0.1)
        self.assertIn('connection to sluiced is lost', t.line('status'))
        t.line('configure')
        self.assertIn('no changes', t.line('commit'))
        history = self.control.ask('config history')['result']['revisions']
        self.assertEqual(history[0]['user'], 'sluiced')
        self.assertEqual(history[0]['what'], 'return to revision 1')
        self.assertNotIn('enforce', (self.control.folder / 'sluice.json').read_text())

    def test_is_told_to_who_edits_when_it_returns(self):
        t = self.confirmed()
        self.control.kill()
        self.shorten(10)
        self.control.start()
        t.line('status')
        out = t.line('configure')
        if 'Waiting' in out:  # the machine was fast enough
            deadline = time.monotonic() + 120
            while 'mode enforce' in self.control.running():
                self.assertLess(time.monotonic(), deadline, 'it does not go back')
                time.sleep(0.1)
            self.assertIn('sluiced: return to revision 1', t.line('status'))

    def test_a_confirmed_one_stays_after_a_kill(self):
        t = self.confirmed()
        self.assertIn('it stays', t.line('commit'))
        self.control.kill()
        self.control.start()
        self.assertIn('mode enforce', self.control.running())
        self.assertIsNone(self.control.ask('config history')['result'].get('confirm'))

    def test_returns_when_the_time_runs_out_while_nobody_is_here(self):
        self.confirmed()
        self.control.kill()
        self.shorten(-1)
        self.control.start()
        self.assertNotIn('mode enforce', self.control.running())


if __name__ == '__main__':
    sys.exit(tap.run(Transcripts, ConfirmedCommits))
