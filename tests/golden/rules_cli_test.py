#!/usr/bin/env python3
"""`sluicectl rules check` and `rules test` as an operator uses them.

rules_cli_test.py SLUICECTL"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import tap

SLUICECTL = None

RULES = '''alert smtp any any -> any any (msg:"one"; email.subject; content:"offer"; nocase; sid:1; metadata: sluice_score 3.5;)
alert smtp any any -> any any (msg:"two"; file_data; content:"pills"; sid:2; metadata: sluice_score 2;)
reject smtp any any -> any any (msg:"three"; file_data; content:"malware"; sid:3;)
'''
GOOD = b'From: a@b.test\nSubject: hello\n\nnothing here\n'
SCORED = b'From: a@b.test\nSubject: An OFFER\n\nbuy pills\n'
REJECTED = b'From: a@b.test\nSubject: x\n\nmalware\n'
POLICY = {'sluice:sluice': {'policy': {'group': [{'name': 'default', 'tag-score': '3.0',
                                                  'reject-score': '5.0'}]}}}


class Words(unittest.TestCase):
    def test_errors_and_help_name_every_command(self):
        def said(*words):
            done = subprocess.run([SLUICECTL, *words], capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout + done.stderr
        status, words = said('bogus')
        self.assertEqual(status, 2)
        expected = words.partition('expected ')[2].strip().split(', ')
        self.assertIn('analyze', expected)
        listed = {line.split()[0] for line in said('help')[1].partition('\n\n')[2].splitlines() if not line.startswith(' ')}
        self.assertEqual(set(expected), listed)
        self.assertEqual(said('help', 'bogus'), (status, words))
        self.assertEqual(said('help', 'analyze'), said('analyze', '--help'))
        self.assertEqual(said('--socket', '/none', 'analyze'), said('analyze'))


class Files(unittest.TestCase):
    """What cannot be read is named with its reason, and what is read is not written over."""
    def analyze(self, *words):
        done = subprocess.run([SLUICECTL, 'analyze', *words], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr

    def test_folders_and_failing_reads(self):
        with tempfile.TemporaryDirectory() as folder:
            message = pathlib.Path(folder) / 'm.eml'
            message.write_bytes(GOOD)
            for path, reason in ((folder, 'Is a directory'), ('/proc/self/mem', 'Input/output error'), ('/nonexistent', 'No such file')):
                for words in (('--message', path), ('--message', str(message), '--policy', path)):
                    status, errors = self.analyze(*words)
                    self.assertEqual(status, 2, (words, errors))
                    self.assertRegex(errors, f'{path}: .*{reason}')

    def test_input_is_not_written_over(self):
        with tempfile.TemporaryDirectory() as folder:
            here = pathlib.Path(folder)
            octets = struct.pack('<IHHiIII', 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
            (here / 'in.pcap').write_bytes(octets)
            (here / 'm.eml').write_bytes(GOOD)
            (here / 'link').symlink_to('in.pcap')
            for option in ('--out', '--events'):
                for path in ('in.pcap', 'link'):
                    status, errors = self.analyze(str(here / 'in.pcap'), option, str(here / path))
                    self.assertEqual(status, 2)
                    self.assertIn(f'{option} {here / path}: is the file that is read', errors)
            self.assertEqual(self.analyze('--message', str(here / 'm.eml'), '--events', str(here / 'm.eml'))[0], 2)
            self.assertEqual(self.analyze(str(here / 'in.pcap'), '--out', str(here / 'o'), '--events', str(here / 'o'))[0], 2)
            self.assertEqual(((here / 'in.pcap').read_bytes(), (here / 'm.eml').read_bytes()), (octets, GOOD))


class Rules(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        (self.path / 'a.rules').write_text(RULES)
        (self.path / 'policy.json').write_text(json.dumps(POLICY))
        mail = self.path / 'mail'
        mail.mkdir()
        (mail / '1.eml').write_bytes(GOOD)
        (mail / '2.eml').write_bytes(SCORED)
        line = b'From a@b.test Thu Nov 26 00:00:00 2026\n'
        (mail / '3.mbox').write_bytes(line + SCORED + b'\n' + line + REJECTED)

    def tearDown(self):
        self.folder.cleanup()

    def run_it(self, *words):
        run = subprocess.run([SLUICECTL, *map(str, words)], capture_output=True, text=True,
                             timeout=120)
        return run.returncode, run.stdout, run.stderr

    def test_each_message_gets_a_line(self):
        status, out, errors = self.run_it('rules', 'test', '--json', '--policy',
                                          self.path / 'policy.json', '--rules',
                                          self.path / 'a.rules', self.path / 'mail')
        self.assertEqual(status, 0, errors)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([(pathlib.Path(l['file']).name, l['score'], l['verdict'], l['rules'])
                          for l in lines],
                         [('1.eml', 0.0, 'pass', []), ('2.eml', 5.5, 'reject', ['1', '2']),
                          ('3.mbox:1', 5.5, 'reject', ['1', '2']),
                          ('3.mbox:2', 0.0, 'reject', ['3'])])

    def test_without_thresholds_only_rules_act(self):
        status, out, errors = self.run_it('rules', 'test', '--json', '--summary', '--rules',
                                          self.path / 'a.rules', self.path / 'mail')
        self.assertEqual(status, 0, errors)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([l['verdict'] for l in lines[:-1]], ['pass', 'pass', 'pass', 'reject'])
        summary = lines[-1]['summary']
        self.assertEqual(summary['messages'], 4)
        self.assertEqual(summary['hits'], {'1': 2, '2': 2, '3': 1})
        self.assertEqual(summary['verdicts'], {'pass': 3, 'reject': 1})

    def test_hundreds_of_urls_do_not_push_the_verdict_out(self):
        urls = b''.join(b'http://%d.example/%s\n' % (i, b'x' * 900) for i in range(200))
        (self.path / 'long.eml').write_bytes(REJECTED + urls)
        status, out, errors = self.run_it('rules', 'test', '--json', '--rules',
                                          self.path / 'a.rules', self.path / 'long.eml')
        self.assertEqual(status, 0, errors)
        self.assertEqual(json.loads(out)['rules'], ['3'])
        self.assertEqual(json.loads(out)['verdict'], 'reject')

    def test_text_names_rules_and_totals(self):
        status, out, errors = self.run_it('rules', 'test', '--rules', self.path / 'a.rules',
                                          self.path / 'mail' / '2.eml')
        self.assertEqual(status, 0, errors)
        self.assertRegex(out, r'5\.50 +pass +\S*2\.eml 1 2\n')
        self.assertIn('1 messages, 1 pass', errors)

    def test_usage(self):
        self.assertEqual(self.run_it('rules', 'test', self.path / 'mail')[0], 2)
        status, _, errors = self.run_it('rules', 'test', '--rules', self.path / 'a.rules',
                                        self.path / 'none.eml')
        self.assertEqual(status, 1)
        self.assertIn('none.eml: No such file', errors)

    def test_check_reports_by_file(self):
        (self.path / 'b.rules').write_text('alert smtp any any -> any any (content:"x"; sid:9\n' +
                                           RULES.splitlines()[0].replace('sid:1', 'sid:4') + '\n')
        status, out, errors = self.run_it('rules', 'check', '--json', self.path)
        self.assertEqual(status, 3, errors)
        report = json.loads(out)
        self.assertEqual([(pathlib.Path(f['file']).name, f['compiled'], f['refused'])
                          for f in report['files']], [('a.rules', 3, 0), ('b.rules', 1, 1)])
        self.assertEqual({d['buffer']: d['patterns'] + d['literals'] for d in report['databases']},
                         {'decoded': 2, 'subject': 1})
        for database in report['databases']:
            self.assertEqual(database['octets'] > 0, database['patterns'] > 0)
            self.assertEqual(database['stream_octets'] > 0,
                             database['buffer'] == 'decoded' and database['patterns'] > 0)
        fault = report['faults'][0]
        self.assertEqual((pathlib.Path(fault['file']).name, fault['line'], fault['rule']),
                         ('b.rules', 1, '9'))
        status, out, errors = self.run_it('rules', 'check', self.path)
        self.assertRegex(out, r'b\.rules +1 +1')
        self.assertIn('b.rules:1: 9: ', errors)

    def test_nothing_left_is_a_failure(self):
        (self.path / 'a.rules').write_text('nonsense\n')
        self.assertEqual(self.run_it('rules', 'check', self.path / 'a.rules')[0], 1)


if __name__ == '__main__':
    SLUICECTL = sys.argv[1]
    sys.exit(tap.run(Words, Files, Rules))
