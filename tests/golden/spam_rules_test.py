#!/usr/bin/env python3
"""SpamAssassin's rules, as `sluicectl rules test` and `rules check` read them: each kind of rule hits
what it should and nothing else.

spam_rules_test.py SLUICECTL"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import tap

SLUICECTL = None

RULES = r'''
header   SUBJECT_OFFER   Subject =~ /\boffer\b/i
header   SUBJECT_RAW     Subject:raw =~ /=\?utf-8\?/i
header   FROM_ADDR       From:addr =~ /^evil\@bad\.test$/
header   FROM_NAME       From:name =~ /Evil One/
header   NO_FRIEND       X-Friend !~ /yes/
header   HAS_MAILER      exists:X-Mailer
header   IN_ALL          ALL =~ /^X-Mailer: bulk/m
header   TO_OR_CC        ToCc =~ /third\@a\.test/
body     BODY_PILLS      /cheap pills/
body     BODY_BACK       /\b(\w+) \1 \1\b/
body     __SUB_WORD      /needle/
tflags   __SUB_WORD      multiple maxhits=3
rawbody  RAW_TAG         /<blink>/
full     FULL_TEXT       /\nX-Mailer: bulk/
uri      URI_HOST        /^https?:\/\/bad\.test\/pay/
mimeheader PDF_NAME      Content-Disposition =~ /\.pdf\.exe/
meta     META_BOTH       SUBJECT_OFFER && BODY_PILLS
meta     META_SUM        (SUBJECT_OFFER + BODY_PILLS + URI_HOST) > 2
meta     META_COUNT      __SUB_WORD >= 3
score    SUBJECT_OFFER   1.5 2.5 3.5 4.5
score    BODY_PILLS      2
score    META_BOTH       0.25
score    FROM_NAME       0
describe SUBJECT_OFFER   An offer
ifplugin Mail::SpamAssassin::Plugin::NotThere
body     NEVER           /./
endif
report   ignored line
'''
SPAM = b'''From: "Evil One" <evil@bad.test>
To: first@a.test
Cc: third@a.test
Subject: =?UTF-8?B?QW4gT0ZGRVIgZm9yIHlvdQ==?=
X-Mailer: bulk 1
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html

<html><body><blink>cheap
pills</blink> needle ha ha ha needle needle needle <a href="http://bad.test/pay?x">x</a></body></html>
--b
Content-Type: application/octet-stream
Content-Disposition: attachment; filename="bill.pdf.exe"

x
--b--
'''
HAM = b'''From: friend@good.test
To: first@a.test
Subject: lunch
X-Friend: yes

See you at http://good.test/pay
'''
# Twenty-two kinds of fault, one a line; the rules of the first and the last line are sound.
FAULTS = r'''header OK_RULE Subject =~ /x/
body BROKEN /(unclosed/
body EMPTY //
header NO_MATCH Subject
meta LOOSE (A &&
meta CIRCLE CIRCLE + 1
score OK_RULE many
score OK_RULE 1 2
body NOT_HERE eval:nobody_wrote_this()
nonsense line
body
body 1BAD /x/
body NOTHING
body DELIMITER x
body UNCLOSED /x
body FLAG /x/q
body CODE /(?{1})/
header NO_FIELD =~ /x/
header MODIFIER Subject:loud =~ /x/
body NETWORK eval:check_rbl('x','y')
body ARGUMENTS eval:check_for_uppercase('1')
meta TOKEN A $ B
body CAPTURED /%{NAME}/
body OK_BODY /See you/
'''
FAULTS_SAY = {2: 'parenthesis', 3: 'empty', 4: '=~', 5: 'ends too early', 6: 'itself', 7: 'number', 8: 'four',
              9: 'not built in', 10: 'not known', 11: 'name of a rule', 12: "rule's name", 13: 'says nothing',
              14: 'delimiters', 15: 'missing', 16: 'flag', 17: 'code', 18: 'header field', 19: 'modifier', 20: 'network',
              21: 'arguments', 22: 'not expected', 23: 'captured'}


class SpamRules(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        (self.path / 'local.cf').write_text(RULES)
        (self.path / 'spam.eml').write_bytes(SPAM.replace(b'\n', b'\r\n'))
        (self.path / 'ham.eml').write_bytes(HAM.replace(b'\n', b'\r\n'))

    def tearDown(self):
        self.folder.cleanup()

    def run_it(self, *words):
        run = subprocess.run([SLUICECTL, *map(str, words)], capture_output=True, text=True,
                             timeout=200)
        return run.returncode, run.stdout, run.stderr

    def hits(self, name):
        status, out, errors = self.run_it('rules', 'test', '--json', '--rules',
                                          self.path / 'local.cf', self.path / name)
        self.assertIn(status, (0, 3), errors)
        line = json.loads(out.splitlines()[0])
        return set(line['rules']), line['score']

    def test_every_kind_of_rule_hits_what_it_means(self):
        rules, score = self.hits('spam.eml')
        self.assertEqual(rules, {
            'SUBJECT_OFFER', 'SUBJECT_RAW', 'FROM_ADDR', 'NO_FRIEND', 'HAS_MAILER', 'IN_ALL',
            'TO_OR_CC', 'BODY_PILLS', 'BODY_BACK', 'RAW_TAG', 'FULL_TEXT', 'URI_HOST', 'PDF_NAME',
            'META_BOTH', 'META_SUM', 'META_COUNT'})
        # 1.5 + 2 + 0.25, and 1 for each of the others, that have no score.
        self.assertAlmostEqual(score, 3.75 + 13, places=2)

    def summary(self, *words):
        status, out, errors = self.run_it('rules', 'test', '--json', *words, '--rules', self.path / 'local.cf',
                                          *[self.path / name for name in ('spam.eml', 'ham.eml') * 20])
        self.assertIn(status, (0, 3), errors)
        return json.loads(out.splitlines()[-1])['summary']

    def test_times_by_group_are_all_of_the_time(self):
        plain = self.summary('--summary')
        self.assertNotIn('groups', plain)
        summary = self.summary('--times')
        self.assertEqual(summary['messages'], 40)
        self.assertEqual(summary['hits'], plain['hits'])
        groups = summary['groups']
        for name in ('parts', 'header values', 'metas', 'scan body', 'confirm body', 'confirm header'):
            self.assertGreater(groups.get(name, 0), 0, f'{name} of {sorted(groups)}')
        self.assertAlmostEqual(sum(groups.values()), summary['microseconds_per_message'],
                               delta=summary['microseconds_per_message'] / 100)
        # Rules of another language have no groups here.
        (self.path / 'a.rules').write_text('alert smtp any any -> any any (content:"offer"; sid:1;)\n')
        status, out, errors = self.run_it('rules', 'test', '--json', '--times', '--rules', self.path / 'a.rules',
                                          self.path / 'ham.eml')
        self.assertEqual(status, 0, errors)
        self.assertEqual(json.loads(out.splitlines()[-1])['summary']['groups'], {})

    def test_ham_hits_nothing(self):
        self.assertEqual(self.hits('ham.eml'), (set(), 0.0))

    def test_faults_are_named_by_file_and_line(self):
        (self.path / 'bad.cf').write_text(FAULTS)
        status, out, errors = self.run_it('rules', 'check', self.path / 'bad.cf')
        told = out + errors
        self.assertGreaterEqual(len(FAULTS_SAY), 20)
        for line, says in FAULTS_SAY.items():
            named = [fault for fault in told.splitlines() if f'bad.cf:{line}:' in fault]
            self.assertTrue(any(says in fault for fault in named), f'line {line} wants "{says}": {named}\n{told}')
        self.assertNotIn('bad.cf:1:', told)
        self.assertNotIn('bad.cf:24:', told)
        self.assertEqual(status, 3)
        # The rest loads.
        status, out, errors = self.run_it('rules', 'test', '--json', '--rules', self.path / 'bad.cf', self.path / 'ham.eml')
        self.assertIn(status, (0, 3), errors)
        self.assertEqual(json.loads(out.splitlines()[0])['rules'], ['OK_BODY'])


if __name__ == '__main__':
    SLUICECTL = sys.argv[1]
    sys.exit(tap.run(SpamRules))
