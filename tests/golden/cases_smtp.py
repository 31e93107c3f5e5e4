"""Section A of the wire cases, and F12: SMTP, end to end."""
import base64
import itertools

import wirecraft as w
from cases_base import (BYE, ENFORCE, GREETING, OK, REJECT, SIGNATURE, Cases, data, envelope, mail, sha)


MOST = tuple(m for m in w.MODES if m != 'one')  # for large messages


class Smtp(Cases):
    def messages(self, flow, *expected):
        """Each: (sender, recipients, body or None, outcome)."""
        found = [(m['smtp'].get('mail_from', '').strip('<>'),
                  [r.strip('<>') for r in m['smtp'].get('rcpt_to', [])], m['smtp']['outcome'])
                 for m in flow.messages]
        self.assertEqual(found, [(a, b, o) for a, b, _, o in expected])
        for message, (_, _, body, _) in zip(flow.messages, expected):
            if body is not None:
                self.assertEqual(message['smtp']['size'], len(body))
                self.assertEqual(message['smtp']['sha256'], sha(body))

    def test_A01_final_chunk_ends_the_transaction(self):
        chunk = b'Subject: x\r\n\r\n123456'
        scripts = {}
        for name, last in (('LAST', b'BDAT 20 LAST\r\n' + chunk), ('last', b'bdat 20 last\r\n' + chunk),
                           ('blanks', b'BDAT 20 LAST  \r\n' + chunk)):
            scripts[name] = (GREETING + envelope(b'a@a.test', b'b@b.test') + [('C', last), ('S', OK)] +
                             envelope(b'c@c.test', b'd@d.test') + data(b'S: y\r\n\r\nbody\r\n.\r\n') + BYE)
        self.check(scripts, lambda _, f: self.messages(
            f, ('a@a.test', ['b@b.test'], chunk, 'accepted'),
            ('c@c.test', ['d@d.test'], b'S: y\r\n\r\nbody\r\n', 'accepted')))

    def test_A02_zero_last_and_coalesced_chunks(self):
        one = b'BDAT 4\r\nwxyzBDAT 3 LAST\r\ntuvMAIL FROM:<x@a.test>\r\n'
        tail = [('S', OK + OK + OK), ('C', b'RCPT TO:<y@a.test>\r\n'), ('S', OK)] + data(b'q\r\n.\r\n')
        scripts = {'zero': GREETING + envelope() + [('C', b'BDAT 0 LAST\r\n'), ('S', OK)] + mail(b'q\r\n.\r\n', b'x@a.test', b'y@a.test')}
        scripts['zero pipelined'] = GREETING + envelope() + [
            ('C', b'BDAT 0 LAST\r\nMAIL FROM:<x@a.test>\r\n'), ('S', OK + OK),
            ('C', b'RCPT TO:<y@a.test>\r\n'), ('S', OK)] + data(b'q\r\n.\r\n')
        scripts['chunk, zero'] = GREETING + envelope() + [
            ('C', b'BDAT 7\r\nwxyztuvBDAT 0 LAST\r\nMAIL FROM:<x@a.test>\r\n'), ('S', OK * 3),
            ('C', b'RCPT TO:<y@a.test>\r\n'), ('S', OK)] + data(b'q\r\n.\r\n')
        scripts['zero in the middle'] = GREETING + envelope() + [
            ('C', b'BDAT 7\r\nwxyztuvBDAT 0\r\nBDAT 0 LAST\r\nMAIL FROM:<x@a.test>\r\n'), ('S', OK * 4),
            ('C', b'RCPT TO:<y@a.test>\r\n'), ('S', OK)] + data(b'q\r\n.\r\n')
        for cut in range(len(one)):
            scripts[f'cut {cut}'] = GREETING + envelope() + [('C', [one[:cut], one[cut:]] if cut else one)] + tail

        def expect(name, flow):
            body = b'' if name in ('zero', 'zero pipelined') else b'wxyztuv'
            self.messages(flow, ('a@a.test', ['b@b.test'], body, 'accepted'),
                          ('x@a.test', ['y@a.test'], b'q\r\n', 'accepted'))
            self.assertEqual(flow.anomalies - {'bad-header'}, set())
        self.check({k: v for k, v in scripts.items() if not k.startswith('cut')}, expect)
        self.check(scripts, expect, modes=('whole',))

    def test_A03_bad_argument_keeps_its_reply_slot(self):
        scripts = {}
        for argument in (b'5 X', b'X', b'', b'5 LAST X', b'5LAST', b'-1', b'LAST 5', b'5;LAST'):
            scripts[argument] = GREETING + [
                ('C', b'BDAT ' + argument + b'\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n'),
                ('S', [b'501 no\r\n', OK, OK, b'354 go\r\n']),
                ('C', b'x ' + SIGNATURE + b'\r\n.\r\n'), ('S', OK)] + BYE

        def expect(_, flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], b'x ' + SIGNATURE + b'\r\n', 'accepted'))
            self.assertIn('bad-bdat-arg', flow.anomalies)
            self.assertEqual(flow.anomaly_list.count('bad-bdat-arg'), 1)
            self.assertEqual(flow.hits, {1, 2, 3})
            self.assertNotIn('unsolicited-reply', flow.anomalies)
        self.check(scripts, expect)

    def test_A03_a_refused_chunk_counts_for_nothing(self):
        steps = GREETING + [
            ('C', b'MAIL FROM:<a@a.test>\r\nBDAT 30\r\nSubject: no\r\n\r\n' + b'x' * 15), ('S', [OK, b'503 no recipient\r\n']),
            ('C', b'RCPT TO:<b@b.test>\r\n'), ('S', OK)] + data(b'a..b\r\n\r\n.\r\n') + BYE

        def expect(flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], b'a..b\r\n\r\n', 'accepted'))
            self.assertEqual(flow.smtp[-1]['smtp']['size'], 8)
            self.assertNotIn('subject', flow.smtp[-1].get('email', {}))
        self.check_flow(steps, expect)

    def test_A04_sizes_at_the_limits(self):
        bad = (b'9223372036854775808', b'18446744073709551615', b'18446744073709551616 LAST', b'-1', b'+5', b' 5',
               b'5LAST', b'0x10', b'', b'99999999999999999999999999 LAST', b'5 5', b'\xb2')
        scripts = {a: GREETING + envelope() + [('C', b'BDAT ' + a + b'\r\n'), ('S', b'501 bad\r\n'), ('C', b'RSET\r\n'), ('S', OK)] +
                   mail(SIGNATURE + b'\r\n.\r\n', b'x@a.test') + BYE for a in bad}

        def expect(name, flow):
            self.messages(flow, ('x@a.test', ['b@b.test'], SIGNATURE + b'\r\n', 'accepted'))
            self.assertEqual('bad-bdat-arg' in flow.anomalies, True)
            self.assertEqual(flow.hits, {1, 2, 3})
        self.check(scripts, expect)
        # Huge but legal: streamed, scanned, ended by the connection.
        huge = {n: GREETING + envelope() + [('C', b'BDAT ' + n + b'\r\n' + b'A' * 5000 + SIGNATURE + b'B' * 5000)]
                for n in (b'9999999999', b'1099511627776')}

        def expect_huge(_, flow):
            self.assertIn(1, flow.hits)
            self.assertEqual(flow.messages[0]['smtp']['outcome'], 'aborted')
            self.assertEqual(flow.messages[0]['smtp']['size'], 10000 + len(SIGNATURE))
        self.check(huge, expect_huge, modes=MOST)
        most = GREETING + envelope() + [('C', b'BDAT 9223372036854775807\r\n' + b'A' * 5000 + SIGNATURE)]
        self.check_flow(most, lambda f: self.assertIn(1, f.hits), modes=MOST)

    def test_A06_pipelined_rset_data_dot(self):
        self.check_flow(GREETING + envelope() + [('C', b'RSET\r\nDATA\r\n.\r\n'), ('S', [OK, b'354 go\r\n', OK])] + BYE,
                        lambda f: self.assertEqual(f.smtp[0]['smtp']['mail_from'], '<a@a.test>'))
        second = GREETING + envelope() + [
            ('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', b'one\r\n.\r\n'),
            ('C', b'RSET\r\nMAIL FROM:<x@x.test>\r\nRCPT TO:<y@y.test>\r\nDATA\r\n'),
            ('S', [OK, OK, OK, OK, b'354 go\r\n']), ('C', b'two\r\n.\r\n'), ('S', OK)] + BYE
        self.check_flow(second, lambda f: self.messages(
            f, ('a@a.test', ['b@b.test'], b'one\r\n', 'accepted'), ('x@x.test', ['y@y.test'], b'two\r\n', 'accepted')))

    def test_A07_data_refused_with_pipelining(self):
        scripts = {}
        for code in (b'554 no\r\n', b'503-no\r\n503 valid recipients\r\n', b'451 later\r\n'):
            scripts[code] = GREETING + [
                ('C', b'MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n'), ('S', [OK, b'550 no\r\n', code]),
                ('C', b'RSET\r\n'), ('S', OK)] + mail(SIGNATURE + b'\r\n.\r\n', b'x@x.test') + BYE
            scripts[code + b'no rset'] = GREETING + [
                ('C', b'MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n'), ('S', OK + b'550 no\r\n' + code)] + mail(
                    SIGNATURE + b'\r\n.\r\n', b'x@x.test') + BYE
            scripts[code + b'quit'] = GREETING + mail(SIGNATURE + b'\r\n.\r\n', b'x@x.test') + [
                ('C', b'MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n'), ('S', OK + b'550 no\r\n' + code)] + BYE

        def expect(_, flow):
            self.messages(flow, ('x@x.test', ['b@b.test'], SIGNATURE + b'\r\n', 'accepted'))
            self.assertEqual(flow.hits, {1, 2, 3})
            refused = [e for e in flow.smtp if e['smtp'].get('mail_from') == '<a@a.test>']
            self.assertEqual(len(refused), 1)
            self.assertEqual(refused[0]['smtp']['outcome'], 'refused')
            self.assertEqual(refused[0]['smtp']['rcpt_refused'], [{'to': '<b@b.test>', 'code': 550}])
            self.assertNotIn('via', refused[0]['smtp'])
        self.check(scripts, expect)
        lone = {r: GREETING + [('C', b'MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n'),
                               ('S', OK + b'550 no\r\n354 go\r\n'), ('C', b'.\r\n'), ('S', r)] + BYE
                for r in (b'554 no valid recipients\r\n', OK)}

        def expect_lone(_, flow):
            self.assertEqual(len(flow.messages), 1)
            self.assertEqual(flow.messages[0]['smtp']['size'], 0)
            self.assertEqual(flow.messages[0]['smtp'].get('rcpt_to', []), [])
            self.assertNotEqual(flow.messages[0]['smtp']['outcome'], 'accepted')
        self.check(lone, expect_lone)

    def test_A07_content_sent_before_the_refusal(self):
        # The client does not wait: message and next message stand behind a DATA that is refused.
        script = GREETING + [('C', b'MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nRSET\r\nMAIL FROM:<x@x.test>\r\n'
                              b'RCPT TO:<y@y.test>\r\nDATA\r\n'),
                             ('S', OK + b'550 no\r\n554 no\r\n' + OK + OK + OK + b'354 go\r\n'),
                             ('C', SIGNATURE + b'\r\n.\r\n'), ('S', OK)] + BYE
        self.check_flow(script, lambda f: (self.assertEqual(
            f.envelopes()[-1], ('<x@x.test>', ['<y@y.test>'])), self.assertIn(3, f.hits),
            self.assertEqual([(m['smtp']['outcome'], m['smtp']['size']) for m in f.messages], [('accepted', len(SIGNATURE) + 2)]),
            self.assertEqual(f.smtp[0]['smtp']['outcome'], 'refused'), self.assertNotIn('aborted-message', f.anomalies)))
        leaves = GREETING + envelope() + [('C', b'DATA\r\nQUIT\r\n'), ('S', b'451 later\r\n221 bye\r\n')]
        self.check_flow(leaves, lambda f: (self.assertEqual(f.messages, []), self.assertEqual(f.smtp[0]['smtp']['outcome'], 'refused'),
                                           self.assertEqual(f.smtp[0]['smtp']['reply']['code'], 451)))

    def test_A09_long_lines(self):
        noop = GREETING + [('C', b'NOOP ' + b'A' * 5000 + b'\r\nMAIL FROM:<a@a.test>\r\n'), ('S', b'500 long\r\n' + OK),
                           ('C', b'RCPT TO:<b@b.test>\r\n'), ('S', OK)] + data(b'x\r\n.\r\n') + BYE

        def expect(flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], b'x\r\n', 'accepted'))
            self.assertIn('long-command', flow.anomalies)
        self.check_flow(noop, expect)
        many = GREETING + [('C', b'A' * (1 << 20) + b'\r\n'), ('S', b'500 long\r\n')] + mail(SIGNATURE + b'\r\n.\r\n') + BYE

        def expect_many(flow):
            self.assertIn('long-command', flow.anomalies)
            self.messages(flow, ('a@a.test', ['b@b.test'], SIGNATURE + b'\r\n', 'accepted'))
        self.check_flow(many, expect_many, modes=MOST)
        line = b'D' * 6400 + SIGNATURE + b'E' * 101 + b'\r\n.\r\n'
        content = GREETING + envelope() + [('C', b'DATA\r\n' + line), ('S', b'354 go\r\n' + OK)] + BYE

        def expect_content(flow):
            self.assertEqual(flow.hits, {1, 2, 3})
            self.assertNotIn('long-command', flow.anomalies)
            self.messages(flow, ('a@a.test', ['b@b.test'], line[:-3], 'accepted'))
        self.check_flow(content, expect_content)

    def test_A10_second_greeting_resets(self):
        scripts = {}
        for verb in (b'EHLO', b'HELO', b'ehlo'):
            scripts[verb] = [('S', b'220 mx\r\n'), ('C', b'HELO c\r\n'), ('S', OK)] + envelope(b'alice@a.test', b'bob@b.test') + [
                ('C', verb + b' c\r\n'), ('S', [b'250-mx\r\n', b'250-SIZE 1\r\n', b'250 HELP\r\n'])] + mail(
                    b'x\r\n.\r\n', b'bob@b.test', b'alice@a.test') + BYE
        self.check(scripts, lambda _, f: self.messages(f, ('bob@b.test', ['alice@a.test'], b'x\r\n', 'accepted')))
        refused = [('S', b'220 mx\r\n'), ('C', b'HELO c\r\n'), ('S', OK)] + envelope(b'alice@a.test', b'bob@b.test') + [
            ('C', b'EHLO c\r\n'), ('S', b'502 no\r\n')] + data(b'x\r\n.\r\n') + BYE
        self.check_flow(refused, lambda f: self.messages(f, ('alice@a.test', ['bob@b.test'], b'x\r\n', 'accepted')))

    SMUGGLE = b'MAIL FROM:<evil@e.test>\r\nRCPT TO:<victim@v.test>\r\nDATA\r\nSubject: z\r\n\r\n' + SIGNATURE + b'\r\n.\r\n'
    ENDS = (b'\n.\n', b'\n.\r\n', b'\r\n.\n', b'\n.\r', b'\r.\r', b'\r\n.\r', b'\r\r\n.\r\r\n', b'\r\n\0.\r\n', b'\r.\r\n', b'\r.\n',
            b'\r\n.\0\r\n', b'\r\n.\r\r\n', b'\n\r.\r\n', b'\r\n\r.\r\n')

    def test_A12_smuggling(self):
        scripts = {end: GREETING + envelope() + data(b'x' + end + self.SMUGGLE) + BYE for end in self.ENDS}

        def expect(end, flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], b'x' + end + self.SMUGGLE[:-3], 'accepted'))
            self.assertIn('ambiguous-eod', flow.anomalies)
            self.assertIn('smuggled-commands', flow.anomalies)
            self.assertEqual(flow.anomaly_list.count('ambiguous-eod'), 1)
            self.assertIn(2, flow.hits)
        self.check(scripts, expect)
        by_sender = ('alert smtp any any -> any any (msg:"s"; smtp.mail_from; content:"evil@e.test"; sid:1;)\n'
                     'alert smtp any any -> any any (msg:"r"; smtp.rcpt_to; content:"victim@v.test"; sid:2;)\n')
        self.check(scripts, lambda _, f: self.assertEqual(f.hits, {1, 2}), rules=by_sender)

    def test_A12_every_cut(self):
        scripts = {}
        for end in self.ENDS:
            body = b'x' + end + self.SMUGGLE
            for cut in range(1, 24):
                scripts[end, cut] = GREETING + envelope() + [('C', b'DATA\r\n'), ('S', b'354 go\r\n'),
                                                             ('C', [body[:cut], body[cut:]]), ('S', OK)] + BYE

        def expect(key, flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], b'x' + key[0] + self.SMUGGLE[:-3], 'accepted'))
            self.assertLessEqual({'ambiguous-eod', 'smuggled-commands'}, flow.anomalies)
        self.check(scripts, expect, modes=('whole',))

    def test_A12_smuggled_message_is_stopped(self):
        capture, played = w.Capture(), []
        for end in self.ENDS:
            for mode in w.CUTS:
                played.append((end, mode, w.play(w.Connection(capture),
                                                 GREETING + envelope() + data(b'x' + end + self.SMUGGLE), mode)))
        result = self.run_capture(capture, rules=REJECT, policy=ENFORCE, wire=False)
        for end, mode, connection in played:
            flow = result.flow(connection)
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['blocked'], (end, mode))
            # Nothing that some server takes for the end of the smuggled message has left.
            self.assertNotIn(SIGNATURE + b'\r\n.\r\n', w.stream(result.left, connection, 0), (end, mode))

    def test_A12_plain_message_of_a_good_sender_is_no_alarm(self):
        for_all = {'dots': b'Subject: s\r\n\r\n. \r\n..\r\n.a\r\n', 'lone LF': b'a\nb\r\n', 'LF LF': b'a\n\nb\r\n', 'dot in line': b'a.\r\n\r\n'}
        self.check({k: GREETING + envelope() + data(v + b'.\r\n') + BYE for k, v in for_all.items() if k != 'dots'},
                   lambda k, f: (self.assertNotIn('ambiguous-eod', f.anomalies), self.assertNotIn('smuggled-commands', f.anomalies)))

    def test_A13_end_of_data_over_borders(self):
        end = b'\r\n.\r\n'
        scripts, bodies = {}, {}
        for bits in itertools.product((0, 1), repeat=4):
            pieces, piece = [], b'body'
            for i, octet in enumerate(end):
                piece += bytes([octet])
                if i < 4 and bits[i]:
                    pieces.append(piece)
                    piece = b''
            pieces.append(piece)
            scripts[bits] = GREETING + envelope() + [('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', pieces), ('S', OK)] + BYE
            bodies[bits] = b'body\r\n'
        variants = {'dotdot': [b'a\r\n..\r', b'\nb\r\n.\r\n'], 'line dot': [b'a\r\n..\r\nb\r\n.\r\n'], 'cut dot': [b'a\r\n.', b'.x\r\n.\r\n'],
                    'first dot': [b'.\r\n'], 'first hello': [b'..hello\r\n.\r\n'], 'first cut': [b'.', b'.', b'hello\r\n.\r\n'],
                    'first dot cut': [b'.', b'\r', b'\n'], 'dot text': [b'a\r\n.b\r\n.\r\n'], 'dots': [b'...\r\n....\r\n.\r\n'],
                    'empty line': [b'\r\n.\r\n'], 'two empty': [b'\r\n\r\n.\r\n']}
        for name, pieces in variants.items():
            scripts[name] = GREETING + envelope() + [('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', pieces), ('S', OK)] + mail(
                b'next\r\n.\r\n', b'n@n.test') + BYE
            bodies[name] = b''.join(pieces)[:-3]

        def expect(name, flow):
            expected = [('a@a.test', ['b@b.test'], bodies[name], 'accepted')]
            if isinstance(name, str):
                expected.append(('n@n.test', ['b@b.test'], b'next\r\n', 'accepted'))
            self.messages(flow, *expected)
            self.assertNotIn('ambiguous-eod', flow.anomalies)
        self.check(scripts, expect)

    def test_A13_unstuffed_text_is_scanned(self):
        rules = 'alert smtp any any -> any any (msg:"u"; sluice.raw; content:"|0a 2e|KEEP|0d 0a 2e 0d 0a|end"; sid:1;)\n'
        script = GREETING + envelope() + data(b'a\r\n..KEEP\r\n..\r\nend\r\n.\r\n') + BYE
        self.check_flow(script, lambda f: self.assertEqual(f.hits, {1}), rules=rules)

    HELLO = bytes.fromhex('16030100320100002e0303' + '11' * 32 + '00' + '000213010100' + '0003' + '002b00')[:60]

    def test_A14_starttls(self):
        tls = [('C', self.HELLO), ('S', b'\x16\x03\x03\0\x04\x02\0\0\0'), ('C', b'\x17\x03\x03\0\x20' + SIGNATURE + b'MAIL FROM:<t@t.test>\r\n')]
        both = b'STARTTLS\r\nMAIL FROM:<e@e.test>\r\n'
        for verb in (b'STARTTLS', b'starttls', b'X-ANONYMOUSTLS'):
            def expect_plain(flow):
                self.assertEqual(flow.messages, [])
                self.assertTrue(flow.tls)
                self.assertEqual(flow.flows[0]['visibility'], 'tls')
                self.assertNotIn('starttls-injection', flow.anomalies)
                self.assertEqual(flow.hits, set())
            self.check_flow(GREETING + [('C', verb + b'\r\n'), ('S', b'220 go\r\n')] + tls, expect_plain)

        def expect_injected(flow):
            self.assertIn('starttls-injection', flow.anomalies)
            self.assertEqual(flow.messages, [])
            self.assertEqual(flow.flows[0]['visibility'], 'tls')
            self.assertNotIn(('<e@e.test>', []), flow.envelopes())
        self.check_flow(GREETING + [('C', both), ('S', b'220 go\r\n')] + tls, expect_injected)
        for code in (b'454 not now\r\n', b'502 no\r\n'):
            script = GREETING + [('C', both), ('S', code + OK), ('C', b'RCPT TO:<b@b.test>\r\n'), ('S', OK)] + data(SIGNATURE + b'\r\n.\r\n') + BYE
            self.check_flow(script, lambda f: (self.messages(f, ('e@e.test', ['b@b.test'], SIGNATURE + b'\r\n', 'accepted')),
                                               self.assertEqual(f.hits, {1, 2, 3})))
        script = GREETING + [('C', b'STARTTLS x\r\n'), ('S', b'501 no\r\n')] + mail(SIGNATURE + b'\r\n.\r\n') + BYE
        self.check_flow(script, lambda f: (self.messages(f, ('a@a.test', ['b@b.test'], SIGNATURE + b'\r\n', 'accepted')), self.assertEqual(f.tls, [])))
        reply = GREETING + [('C', b'STARTTLS\r\n'), ('S', b'220 go\r\n250-AUTH PLAIN\r\n')] + tls[:1]
        self.check_flow(reply, lambda f: self.assertIn('starttls-reply-injection', f.anomalies), modes=('whole', '536', 'twice', 'swap'))

    def test_A15_auth(self):
        def b64(text):
            return base64.b64encode(text)
        plain = b64(b'\0user@a.test\0Secr3tWord')
        ok, more, bad = b'235 ok\r\n', b'334 \r\n', b'535 5.7.8 bad\r\n'
        sets = {
            'login': ([('C', b'AUTH LOGIN\r\n'), ('S', b'334 VXNlcm5hbWU6\r\n'), ('C', b64(b'user@a.test') + b'\r\n'), ('S', b'334 UGFzc3dvcmQ6\r\n'),
                       ('C', b64(b'Secr3tWord') + b'\r\n'), ('S', ok)], 'LOGIN', 'user@a.test', 235),
            'login bad': ([('C', b'AUTH LOGIN\r\n'), ('S', more), ('C', b64(b'user@a.test') + b'\r\n'), ('S', more),
                           ('C', b64(b'Secr3tWord') + b'\r\n'), ('S', bad)], 'LOGIN', 'user@a.test', 535),
            'login initial': ([('C', b'AUTH LOGIN ' + b64(b'user@a.test') + b'\r\n'), ('S', more), ('C', b64(b'Secr3tWord') + b'\r\n'), ('S', ok)],
                              'LOGIN', 'user@a.test', 235),
            'plain': ([('C', b'AUTH PLAIN ' + plain + b'\r\n'), ('S', ok)], 'PLAIN', 'user@a.test', 235),
            'plain later': ([('C', b'AUTH PLAIN\r\n'), ('S', more), ('C', plain + b'\r\n'), ('S', ok)], 'PLAIN', 'user@a.test', 235),
            'lower': ([('C', b'auth plain ' + plain + b'\r\n'), ('S', bad)], 'PLAIN', 'user@a.test', 535),
            'cancel': ([('C', b'AUTH LOGIN\r\n'), ('S', more), ('C', b'*\r\n'), ('S', b'501 cancelled\r\n')], 'LOGIN', None, 501),
            'star command': ([('C', b'AUTH LOGIN\r\n'), ('S', b'454 later\r\n'), ('C', b'*\r\n'), ('S', b'500 what\r\n')], 'LOGIN', None, 454),
            'empty': ([('C', b'AUTH LOGIN\r\n'), ('S', more), ('C', b'\r\n'), ('S', bad)], 'LOGIN', None, 535),
            'no base64': ([('C', b'AUTH LOGIN\r\n'), ('S', more), ('C', b'!!!!\r\n'), ('S', bad)], 'LOGIN', None, 535),
            'DATA': ([('C', b'AUTH LOGIN\r\n'), ('S', more), ('C', b'DATA\r\n'), ('S', more), ('C', b'RSET\r\n'), ('S', bad)], 'LOGIN', None, 535),
            'QUIT': ([('C', b'AUTH LOGIN\r\n'), ('S', more), ('C', b'QUIT\r\n'), ('S', more), ('C', b'DATA\r\n'), ('S', bad)], 'LOGIN', None, 535),
            'again': ([('C', b'AUTH PLAIN ' + plain + b'\r\n'), ('S', ok), ('C', b'AUTH PLAIN ' + plain + b'\r\n'), ('S', b'503 already\r\n')],
                      'PLAIN', 'user@a.test', None),
            'two': ([('C', b'AUTH PLAIN ' + plain + b'\r\nAUTH PLAIN ' + plain + b'\r\n'), ('S', bad + bad)], 'PLAIN', 'user@a.test', 535),
        }
        scripts = {k: GREETING + v[0] + mail(SIGNATURE + b'\r\n.\r\n') + BYE for k, v in sets.items()}

        def expect(name, flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], SIGNATURE + b'\r\n', 'accepted'))
            auth = flow.messages[0]['smtp']['auth']
            self.assertEqual(auth['mechanism'], sets[name][1])
            if sets[name][2]:
                self.assertEqual(auth.get('user'), sets[name][2])
            text = str(flow.events)
            for secret in ('Secr3tWord', b64(b'Secr3tWord').decode(), plain.decode()):
                self.assertNotIn(secret, text)
            self.assertEqual(flow.hits, {1, 2, 3})
            self.assertLessEqual(flow.anomalies, {'bad-auth', 'bad-command', 'command-sequence', 'bad-header'})
        self.check(scripts, expect)

    def test_A17_reply_forms(self):
        sets = {
            'greeting': [('S', b'220-a\r\n220-b\r\n220\r\n')] + GREETING[1:] + mail(SIGNATURE + b'\r\n.\r\n'),
            'tab': GREETING[:2] + [('S', b'250\tmx\r\n')] + mail(SIGNATURE + b'\r\n.\r\n'),
            '354 alone': GREETING + envelope() + [('C', b'DATA\r\n'), ('S', b'354\r\n'), ('C', SIGNATURE + b'\r\n.\r\n'), ('S', OK)],
            'codes differ': GREETING[:2] + [('S', b'250-a\r\n251 b\r\n')] + mail(SIGNATURE + b'\r\n.\r\n'),
            'no code': GREETING + [('C', b'NOOP\r\n'), ('S', b'4.7.0 TLS\r\n' + OK)] + mail(SIGNATURE + b'\r\n.\r\n'),
            'cut code': GREETING[:2] + [('S', [b'250-a\r\n2', b'50-b\r\n25', b'0 c\r\n'])] + mail(SIGNATURE + b'\r\n.\r\n'),
            'extra': GREETING + [('S', OK)] + mail(SIGNATURE + b'\r\n.\r\n'),
            'extra in mail': GREETING + [('C', b'MAIL FROM:<a@a.test>\r\n'), ('S', OK + OK), ('C', b'RCPT TO:<b@b.test>\r\n'), ('S', OK)] + data(SIGNATURE + b'\r\n.\r\n'),
            'idle 421': GREETING + mail(SIGNATURE + b'\r\n.\r\n') + [('S', b'421 bye\r\n')],
            'lf only': [('S', b'220 mx\n')] + [('C', b'EHLO c\r\n'), ('S', b'250-a\n250 b\n')] + mail(SIGNATURE + b'\r\n.\r\n'),
        }
        for code in (400, 472, 530, 535, 556):
            sets[code] = GREETING + [('C', b'MAIL FROM:<q@q.test>\r\n'), ('S', b'%d 5.1 #no\r\n' % code)] + mail(SIGNATURE + b'\r\n.\r\n')
        sets['550 #'] = GREETING + [('C', b'MAIL FROM:<q@q.test>\r\n'), ('S', b'550 #5.1.1\r\n')] + mail(SIGNATURE + b'\r\n.\r\n')

        def expect(name, flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], SIGNATURE + b'\r\n', 'accepted'))
            self.assertEqual(flow.hits, {1, 2, 3})
            if name in ('extra', 'extra in mail'):
                self.assertIn('unsolicited-reply', flow.anomalies)
            if name == 'no code':
                self.assertIn('bad-reply', flow.anomalies)
        self.check({k: v + (BYE if k != 'idle 421' else []) for k, v in sets.items()}, expect)
        middle = GREETING + envelope() + [('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', b'one\r\n'), ('S', b'552 too big\r\n'),
                                          ('C', SIGNATURE + b'\r\n.\r\n')] + BYE
        goes_on = middle[:-2] + mail(b'next\r\n.\r\n', b'n@n.test') + BYE
        self.check_flow(goes_on, lambda f: self.assertEqual(
            [(m['smtp']['mail_from'], m['smtp']['outcome']) for m in f.messages], [('<a@a.test>', 'refused'), ('<n@n.test>', 'accepted')]))
        self.check_flow(middle, lambda f: (self.assertEqual(f.hits, {1, 2, 3}), self.assertEqual(
            [m['smtp']['outcome'] for m in f.messages], ['refused'])))

    def test_A18_addresses(self):
        table = {
            b'MAIL FROM:<"a b"@x.test>': '<"a b"@x.test>', b'MAIL FROM:<"a@b"@x.test>': '<"a@b"@x.test>',
            b'MAIL FROM:<"a>b"@x.test>': '<"a>b"@x.test>', b'MAIL FROM: <a@x.test>': '<a@x.test>', b'MAIL FROM:a@x.test': '<a@x.test>',
            b'MAIL FROM:<>': '<>', b'MAIL FROM:<@r1.test,@r2.test:u@x.test>': '<@r1.test,@r2.test:u@x.test>',
            b'MAIL FROM:<a@[IPv6:2001:db8::1]>': '<a@[IPv6:2001:db8::1]>', b'MAIL FROM:<postmaster>': '<postmaster>',
            b'MAIL FROM:<SRS0=AB=cd=y.test=u@x.test> BODY=8BITMIME SIZE=10': '<SRS0=AB=cd=y.test=u@x.test>',
            b'mAiL fRoM:<a@x.test>': '<a@x.test>', 'MAIL FROM:<ü@x.test> SMTPUTF8'.encode(): '<ü@x.test>',
            b'MAIL FROM:<"a\\"b"@x.test> SIZE=1': '<"a\\"b"@x.test>', b'MAIL FROM:<a@x.test> AUTH=<>': '<a@x.test>',
            b'MAIL FROM:<"a <b> c"@x.test> SIZE=3': '<"a <b> c"@x.test>', b'MAIL  FROM:<a@x.test>': '<a@x.test>',
            b'MAIL FROM :<a@x.test>': '<a@x.test>', b'MAIL FROM:\t<a@x.test>': '<a@x.test>'}
        scripts = {k: GREETING + [('C', k + b'\r\n'), ('S', OK), ('C', b'RCPT TO' + k.split(b':', 1)[1].join([b':', b'']).split(b' SIZE')[0].split(b' BODY')[0]
                                                                  .replace(b' AUTH=<>', b'').replace(b' SMTPUTF8', b'') + b'\r\n'), ('S', OK)] +
                   data(b'x\r\n.\r\n') + BYE for k in table}

        def expect(name, flow):
            self.assertEqual(flow.messages[0]['smtp']['mail_from'], table[name])
            if name != b'MAIL FROM:<>':
                self.assertEqual(flow.messages[0]['smtp']['rcpt_to'], [table[name]])
                self.assertNotIn('bad-path', flow.anomalies)
            self.assertEqual(len(flow.messages), 1)
        self.check(scripts, expect)
        bad = {p: GREETING + [('C', b'MAIL FROM:' + p + b'\r\n'), ('S', b'501 bad\r\n')] + mail(SIGNATURE + b'\r\n.\r\n') + BYE
               for p in (b'<a@x.test', b'<"a@x.test>', b'<', b'<a@x.test>>', b'', b'<@r1.test>', b'<a@[x>')}
        self.check(bad, lambda _, f: (self.assertIn('bad-path', f.anomalies), self.messages(
            f, ('a@a.test', ['b@b.test'], SIGNATURE + b'\r\n', 'accepted'))))
        slot = {v: GREETING + [('C', v + b'\r\nMAIL FROM:<a@a.test>\r\n'), ('S', b'502 no\r\n' + OK), ('C', b'RCPT TO:<b@b.test>\r\n'), ('S', OK)] +
                data(b'x\r\n.\r\n') + BYE for v in (b'ETRN x.test', b'VRFY u', b'HELP', b'EXPN l', b'XFOO a b', b'TURN', b'SEND FROM:<a@b>', b'')}
        self.check(slot, lambda _, f: (self.messages(f, ('a@a.test', ['b@b.test'], b'x\r\n', 'accepted')),
                                       self.assertNotIn('unsolicited-reply', f.anomalies)))

    def test_A19_nul(self):
        head = b'Subject: s\r\n'
        bodies = {'raw': head + b'\r\nsafe\0' + SIGNATURE + b'\r\n',
                  'qp': head + b'Content-Transfer-Encoding: quoted-printable\r\n\r\nsafe=00' + SIGNATURE + b'\r\n',
                  'b64': head + b'Content-Transfer-Encoding: base64\r\n\r\n' + base64.b64encode(b'safe\0' + SIGNATURE) + b'\r\n',
                  'subject': b'Subject: a\0b\r\n\r\n' + SIGNATURE + b'\r\n'}

        def expect(name, flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], bodies[name], 'accepted'))
            self.assertIn(2, flow.hits)
            self.assertIn('nul', flow.anomalies)
        self.check({k: GREETING + mail(v + b'.\r\n') + BYE for k, v in bodies.items()}, expect)
        zeros = (b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/octet-stream\r\n'
                 b'Content-Disposition: attachment; filename=z\r\nContent-Transfer-Encoding: 8bit\r\n\r\n' + bytes(1 << 20) + b'\r\n--b\r\n\r\n' +
                 SIGNATURE + b'\r\n--b--\r\n')

        def expect_zeros(flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], zeros, 'accepted'))
            self.assertIn('nul', flow.anomalies)
            self.assertIn(2, flow.hits)
            self.assertEqual(flow.messages[0]['sluice']['attachments'][0]['size'], 1 << 20)
        self.check_flow(GREETING + mail(zeros + b'.\r\n') + BYE, expect_zeros, modes=MOST)

    def test_A20_unbounded_commands(self):
        def expect(flow):
            self.assertIn('too-many', flow.anomalies)
            self.assertEqual(flow.anomaly_list.count('too-many'), 1)
            self.assertIn(1, flow.hits)
        last = b'MAIL FROM:<z@z.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n' + SIGNATURE + b'\r\n.\r\n'
        self.check_flow(GREETING + [('C', b'RSET\r\n' * 200000 + last)], expect, modes=('whole',))
        self.check_flow(GREETING + [('C', b'MAIL FROM:<a@a.test>\r\n' + b'RCPT TO:<b@b.test>\r\n' * 20000 + b'DATA\r\n' + SIGNATURE + b'\r\n.\r\n')],
                        expect, modes=('whole',))
        self.check_flow(GREETING + [('C', b'MAIL FROM:<a@a.test>\r\nRSET\r\n' * 50000 + last)], expect, modes=('whole',))

    def test_A21_one_sided(self):
        capture, played = w.Capture(), []
        for side in (0, 1):
            for mode in w.MODES:
                one = w.Capture()
                one.port = capture.port
                steps = GREETING + mail(b'1\r\n.\r\n', b'1@a.test') + mail(SIGNATURE + b'\r\n.\r\n', b'2@a.test') + mail(b'3\r\n.\r\n', b'3@a.test') + BYE
                connection = w.play(w.connection(one, mode), steps, mode)
                for _, frame in one.frames:
                    if (frame[:6] == w.OUTSIDE) == (side == 0):
                        capture.add(frame)
                capture.port = one.port
                played.append((side, mode, connection))
        result = self.run_capture(capture)
        for side, mode, connection in played:
            flow = result.flow(connection)
            self.assertIn('one-sided', flow.anomalies, (side, mode))
            if side == 0:
                self.messages(flow, *((f'{i}@a.test', ['b@b.test'], b, 'unknown')
                                      for i, b in ((1, b'1\r\n'), (2, SIGNATURE + b'\r\n'), (3, b'3\r\n'))))
                self.assertEqual(flow.hits, {1, 2, 3}, (side, mode))
            self.assertEqual(len(flow.flows), 1)

    def test_A22_not_plain_smtp(self):
        errors = [('S', b'220 mx\r\n' + b'500 what\r\n' * 60)]
        scripts = {'tls': [('C', self.HELLO)] + errors, 'early': [('C', b'EHLO c\r\n'), ('S', b'220 mx\r\n250 ok\r\n')] + mail(SIGNATURE + b'\r\n.\r\n') + BYE,
                   'http': [('C', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')] + errors,
                   'quit': GREETING[:1] + BYE, 'banner': GREETING[:1]}

        def expect(name, flow):
            self.assertEqual(len(flow.anomaly_list), len(set(flow.anomaly_list)))
            wanted = {'tls': 'tls-on-smtp-port', 'early': 'early-talker', 'http': 'not-smtp', 'banner': 'scan-probe', 'quit': 'scan-probe'}[name]
            self.assertIn(wanted, flow.anomalies)
            self.assertLessEqual(len(flow.anomalies), 4)
            if name == 'early':
                self.assertEqual(flow.hits, {1, 2, 3})
        self.check(scripts, expect)

    def test_A23_rset_after_data(self):
        scripts = {'content': GREETING + envelope() + [('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', b'RSET\r\n')],
                   'quit': GREETING + envelope() + [('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', b'QUIT\r\n')],
                   'pipelined': GREETING + envelope() + [('C', b'DATA\r\nRSET\r\n'), ('S', b'354 go\r\n')],
                   'quit quit': GREETING + envelope() + [('C', b'QUIT\r\nQUIT\r\n'), ('S', b'221 bye\r\n')]}

        def expect(name, flow):
            self.assertEqual([e['smtp']['outcome'] for e in flow.smtp], ['aborted'])
            if name != 'quit quit':
                self.assertEqual(flow.messages[0]['smtp']['size'], 6)
                self.assertIn('aborted-message', flow.anomalies)
        self.check(scripts, expect)

    def test_F12_bare_line_feeds(self):
        def lf(steps):
            return [(who, octets.replace(b'\r\n', b'\n') if who == 'C' else octets) for who, octets in steps]
        whole = lf(GREETING + envelope()) + [('C', b'DATA\n'), ('S', b'354 go\r\n'), ('C', b'alarm\nline\n\nzone 4\r\n.\r\n'), ('S', OK)] + lf(BYE)
        waits = lf(GREETING + envelope()) + [('C', b'DATA\n'), ('S', b'354 go\r\n'), ('C', b'alarm\nzone 4\n.\n'), ('S', OK)] + lf(BYE)

        def expect(name, flow):
            self.assertIn('bare-lf', flow.anomalies)
            self.assertNotIn('smuggled-commands', flow.anomalies)
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['accepted'])
            self.assertLessEqual(flow.anomalies - {'bad-header'}, {'bare-lf', 'ambiguous-eod'} if name == 'waits' else {'bare-lf'})
        self.check({'whole': whole, 'waits': waits}, expect)
