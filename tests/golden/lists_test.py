#!/usr/bin/env python3
"""Lists of a configuration, from the files to the alerts: every place where they are looked up, in
every segmentation, and what a hit does.

lists_test.py SLUICECTL"""
import base64
import hashlib
import pathlib
import sys
import tempfile

import tap
import wirecraft as w
from cases_base import BYE, GREETING, Cases, envelope, data

FILE = b'MZ\x90\x00 this is the listed file\n'
LISTS = {
    'uribl': ('url', 'bad.example\n=one.example\nwhole.example/a?b\n'),
    'senders': ('address', 'spammer@evil.example\n@phish.example\n'),
    'froms': ('address', 'boss@fake.example\n'),
    'recipients': ('address', 'dropbox.example\n'),
    'hashes': ('hash', hashlib.sha256(FILE).hexdigest() + '\n'),
    'md5s': ('hash', hashlib.md5(FILE).hexdigest() + '  listed.exe\n'),
    'names': ('file-name', '*.scr\ninvoice.pdf.exe\n'),
}
WHERE = {'senders': ['sender'], 'froms': ['from'], 'recipients': ['recipient']}
SIDS = {name: number for number, name in enumerate(LISTS, 1)}


def body(text=b'hello', headers=b''):
    return b'From: a@a.test\r\n' + headers + b'Subject: s\r\n\r\n' + text + b'\r\n.\r\n'


def attached(name, octets):
    return (b'From: a@a.test\r\nSubject: s\r\nMIME-Version: 1.0\r\n'
            b'Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\nsee file\r\n--bb\r\n'
            b'Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n'
            b'Content-Disposition: attachment; filename="' + name + b'"\r\n\r\n' +
            base64.encodebytes(octets).replace(b'\n', b'\r\n') + b'--bb--\r\n.\r\n')


class Lists(Cases):
    analyzer = None

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def policy(self, mode='monitor', **more):
        entries = []
        for name, (kind, text) in LISTS.items():
            file = self.path / name
            file.write_text(text)
            entry = {'name': name, 'kind': kind, 'file': str(file), 'sid': SIDS[name], **more.get(name, {})}
            if name in WHERE:
                entry['where'] = WHERE[name]
            entries.append(entry)
        return {'sluice:sluice': {'wire': [{'name': 'w1', 'mode': mode}], 'rules': {'match-list': entries},
                                  'policy': {'group': [{'name': 'default', 'reject-score': '5.0'}]}}}

    def hits(self, scripts, expected):
        def expect(name, flow):
            alerts = {(e['alert']['gid'], e['alert']['signature_id']) for e in flow.events
                      if e['event_type'] == 'alert'}
            self.assertEqual(alerts, {(200, SIDS[n]) for n in expected[name]})
            names = [set(m['sluice'].get('rules', [])) for m in flow.messages]
            self.assertEqual(names, [set(expected[name])])
        full = {name: GREETING + steps + BYE for name, steps in scripts.items()}
        self.check(full, expect, rules='', policy=self.policy())

    def test_urls(self):
        texts = {
            'parent': (b'see http://www.bad.example/x for more', ['uribl']),
            'exact': (b'http://one.example', ['uribl']),
            'below exact': (b'http://www.one.example', []),
            'whole': (b'https://whole.example/a?b#c', ['uribl']),
            'other path': (b'https://whole.example/a?c', []),
            'near': (b'http://notbad.example/ http://bad.example.org/ bad.example', []),
            'escaped': (b'http://www.b%61d.exampl%65/', ['uribl']),
            'twice': (b'http://a.bad.example http://b.bad.example', ['uribl']),
        }
        self.hits({n: envelope() + data(body(t)) for n, (t, _) in texts.items()},
                  {n: e for n, (_, e) in texts.items()})

    def test_addresses(self):
        scripts = {
            'sender': (envelope(b'Spammer@EVIL.example') + data(body()), ['senders']),
            'sender domain': (envelope(b'x@phish.example') + data(body()), ['senders']),
            'not in the recipient': (envelope(b'a@a.test', b'spammer@evil.example') + data(body()), []),
            'recipient': (envelope(b'a@a.test', b'b@b.test', b'c@in.dropbox.example') + data(body()), ['recipients']),
            'from': (envelope() + data(body().replace(b'a@a.test', b'"The boss" <Boss@fake.example>')), ['froms']),
            'reply-to': (envelope() + data(body(headers=b'Reply-To:\r\n x@y.test, boss@fake.example\r\n')), ['froms']),
            'from in a word': (envelope() + data(body(headers=b'X-From: boss@fake.example\r\n')), []),
        }
        self.hits({n: s for n, (s, _) in scripts.items()}, {n: e for n, (_, e) in scripts.items()})

    def test_an_envelope_without_message_is_not_the_next_ones(self):
        reset = [('C', b'RSET\r\n'), ('S', b'250 ok\r\n')]
        script = GREETING + envelope(b'spammer@evil.example') + reset + envelope() + data(body()) + BYE

        def expect(flow):
            messages = [m for m in flow.messages if 'size' in m['smtp']]
            self.assertEqual([m['sluice'].get('rules', []) for m in messages], [[]])
        self.check_flow(script, expect, rules='', policy=self.policy())

    def test_attachments(self):
        scripts = {
            'hash': (attached(b'a.bin', FILE), ['hashes', 'md5s']),
            'one bit': (attached(b'a.bin', FILE[:-2] + b'f\n'), []),
            'extension': (attached(b'Photo.SCR', b'x'), ['names']),
            'name': (attached(b'invoice.PDF.exe', b'x'), ['names']),
            'inner extension': (attached(b'a.scr.txt', b'x'), []),
        }
        self.hits({n: envelope() + data(b) for n, (b, _) in scripts.items()},
                  {n: e for n, (_, e) in scripts.items()})

    def test_what_a_hit_does(self):
        lists = {'uribl': {'action': 'reject', 'message': 'a listed domain', 'severity': 1},
                 'senders': {'score': '3.0'}, 'recipients': {'score': '2.0'}, 'names': {'action': 'pass'}}
        bad = body(b'http://bad.example/')
        scripts = {
            'reject': (envelope() + data(bad), 'reject', 'rule uribl'),
            'score below': (envelope(b'spammer@evil.example') + data(body()), 'pass', None),
            'score': (envelope(b'spammer@evil.example', b'x@dropbox.example') + data(body()), 'reject', 'score'),
        }

        def expect(name, flow):
            message = flow.messages[0]
            said = message['sluice']
            self.assertEqual(said.get('would_have', said['verdict']), scripts[name][1])
            self.assertEqual(message['sluice'].get('reason'), scripts[name][2])
            if name == 'reject':
                alert = [e['alert'] for e in flow.events if e['event_type'] == 'alert'][0]
                self.assertEqual((alert['signature'], alert['severity'], alert['category']),
                                 ('a listed domain', 1, 'Listed url'))
        self.check({n: GREETING + s[0] + BYE for n, s in scripts.items()}, expect, rules='',
                   policy=self.policy(**lists))

    def test_rules_that_are_lists(self):
        (self.path / 'h.list').write_text(f'{hashlib.sha256(FILE).hexdigest()}\nnonsense\n')
        (self.path / 'm.list').write_text(f'{hashlib.md5(FILE).hexdigest()}  a.exe\n')
        (self.path / 'a.rules').write_text(
            'drop smtp any any -> any any (msg:"sha"; filesha256:h.list; sid:71; rev:3;)\n'
            'alert smtp any any -> any any (msg:"md5"; filemd5:"m.list"; sid:72; metadata: sluice_score 2;)\n'
            'alert smtp any any -> any any (msg:"no"; filemd5:none.list; sid:73;)\n'
            'alert smtp any any -> any any (msg:"no"; filemd5:!m.list; sid:74;)\n'
            'alert smtp any any -> any any (msg:"no"; filemd5:m.list; content:"x"; sid:75;)\n')
        capture = w.Capture()
        bad = w.play(w.Connection(capture), GREETING + envelope() + data(attached(b'a.bin', FILE)) + BYE)
        good = w.play(w.Connection(capture), GREETING + envelope() + data(attached(b'a.bin', FILE + b'.')) + BYE)
        policy = {'sluice:sluice': {'rules': {'file': [str(self.path / 'a.rules')]}}}
        result = self.analyzer.run(capture, rules='', policy=policy)
        self.assertEqual(result.status, 0, result.errors)
        self.assertEqual(result.flow(bad).hits, {71, 72})
        self.assertEqual(result.flow(good).hits, set())
        alert = [e['alert'] for e in result.flow(bad).events if e['event_type'] == 'alert'][0]
        self.assertEqual((alert['gid'], alert['rev'], alert['signature']), (1, 3, 'sha'))
        said = result.flow(bad).messages[0]['sluice']
        self.assertEqual((said['would_have'], said['score']), ('drop', 2.0))
        for text in ('h.list:2: ', 'a.rules:3: 73: ', 'none.list: No such file', 'a.rules:4: 74: ', 'a.rules:5: 75: '):
            self.assertIn(text, result.errors)

    def test_faults_of_files(self):
        policy = self.policy()
        (self.path / 'uribl').write_text('bad.example\ncom\n\na b\n')
        result = self.analyzer.run(w.Capture(), rules='', policy=policy)
        self.assertEqual(result.status, 0)
        self.assertIn(f'{self.path}/uribl:2: ', result.errors)
        self.assertIn(f'{self.path}/uribl:4: ', result.errors)
        (self.path / 'uribl').unlink()
        result = self.analyzer.run(w.Capture(), rules='', policy=policy)
        self.assertEqual(result.status, 2)
        self.assertIn('match list uribl: ', result.errors)


if __name__ == '__main__':
    Lists.analyzer = w.Analyzer(sys.argv[1])
    sys.exit(tap.run(Lists))
