"""Variants of section A: the same kinds of fault in other clothes."""
import base64

import wirecraft as w
from cases_base import BYE, ENFORCE, GREETING, OK, REJECT, SIGNATURE, Cases, data, envelope, mail, sha
from cases_smtp import Smtp as First

BODY = b'Subject: s\r\n\r\n' + SIGNATURE + b'\r\n'
LAST = mail(BODY + b'.\r\n', b'last@a.test')


class SmtpMore(Cases):
    messages = First.messages

    def good_end(self, scripts, *first, anomalies=None, **more):
        """Every script is followed by a whole message, which must be read, scanned and accepted; before
        it the messages `first` ((sender, recipients, body or None, outcome) each) and nothing else."""
        def expect(name, flow):
            self.messages(flow, *first, ('last@a.test', ['b@b.test'], BODY, 'accepted'))
            self.assertEqual(flow.hits, {1, 2, 3})
            if anomalies is not None:
                self.assertEqual(flow.anomalies - {'bad-header'}, anomalies)
        self.check({k: GREETING + v + LAST + BYE for k, v in scripts.items()}, expect, **more)

    def test_A01_chunks_and_data_in_turn(self):
        chunk = b'Subject: x\r\n\r\n123456'
        two = GREETING + envelope() + [('C', b'BDAT 10\r\n' + chunk[:10] + b'BDAT 10 LaSt\r\n' + chunk[10:] +
                                        b'MAIL FROM:<x@x.test>\r\nRCPT TO:<y@y.test>\r\nBDAT 20 LAST\r\n' + chunk),
                                       ('S', OK * 5)]
        self.check_flow(two + LAST + BYE, lambda f: self.messages(
            f, ('a@a.test', ['b@b.test'], chunk, 'accepted'), ('x@x.test', ['y@y.test'], chunk, 'accepted'),
            ('last@a.test', ['b@b.test'], BODY, 'accepted')))
        reset = envelope() + [('C', b'BDAT 10\r\n' + chunk[:10] + b'RSET\r\n'), ('S', OK * 2)]
        self.good_end({'': reset}, ('a@a.test', ['b@b.test'], None, 'aborted'))
        # DATA in the middle of chunks is refused, and the chunks go on.
        mixed = envelope() + [('C', b'BDAT 10\r\n' + chunk[:10]), ('S', OK), ('C', b'DATA\r\n'), ('S', b'503 no\r\n'),
                              ('C', b'BDAT 10 LAST\r\n' + chunk[10:]), ('S', OK)]
        self.good_end({'': mixed}, ('a@a.test', ['b@b.test'], chunk, 'accepted'))

    def test_A02_octet_by_octet(self):
        chunk = b'Subject: x\r\n\r\n..\r\n.\r\nabc'
        ones = b''.join(b'BDAT 1\r\n' + chunk[i:i + 1] for i in range(len(chunk)))
        scripts = {'ones, zero last': envelope() + [('C', ones + b'BDAT 0 LAST\r\n'), ('S', OK * (len(chunk) + 1))],
                   'zeros between': envelope() + [('C', ones.replace(b'BDAT', b'BDAT 0\r\nBDAT') + b'BDAT 0 LAST\r\n'), ('S', OK * (2 * len(chunk) + 1))],
                   'noop between': envelope() + [('C', b'BDAT 5\r\n' + chunk[:5] + b'NOOP\r\nBDAT %d LAST\r\n' % (len(chunk) - 5) + chunk[5:]), ('S', OK * 3)]}
        self.good_end(scripts, ('a@a.test', ['b@b.test'], chunk, 'accepted'))

    def test_A02_signature_over_chunks(self):
        for cut in range(1, len(SIGNATURE)):
            a, b = b'Subject: s\r\n\r\n' + SIGNATURE[:cut], SIGNATURE[cut:] + b'\r\n'
            script = GREETING + envelope() + [('C', b'BDAT %d\r\n' % len(a) + a + b'BDAT %d LAST\r\n' % len(b) + b), ('S', OK + OK)] + BYE
            self.check_flow(script, lambda f: self.assertEqual(f.hits, {1, 2, 3}), modes=('whole', 'one', 'swap'))

    def test_A03_a_chunk_that_is_refused(self):
        # The server swallows it (RFC 3030 2), or reads it as commands.
        chunk = b'NOOP\r\n' * 5
        swallows = envelope() + [('C', b'BDAT 30 LAST\r\n' + chunk), ('S', b'552 too big\r\n')]
        self.good_end({'': swallows}, ('a@a.test', ['b@b.test'], chunk, 'refused'))
        no_chunking = [('S', b'220 mx\r\n'), ('C', b'EHLO c\r\n'), ('S', b'250-mx\r\n250 SIZE\r\n')]
        reads = no_chunking + envelope() + [('C', b'BDAT 30 LAST\r\n' + chunk), ('S', b'500 what\r\n' + OK * 5)]
        self.check_flow(reads + LAST + BYE, lambda f: (self.assertEqual(f.messages[-1]['smtp']['outcome'], 'accepted'),
                                                       self.assertEqual(f.messages[-1]['smtp']['mail_from'], '<last@a.test>'),
                                                       self.assertNotIn('unsolicited-reply', f.anomalies)))

    def test_A03_given_up_after_a_chunk_was_refused(self):
        chunk = b'Subject: x\r\n\r\nhello\r\n'
        scripts = {code: envelope() + [('C', b'BDAT %d\r\n' % len(chunk) + chunk), ('S', b'%d no\r\n' % code), ('C', b'RSET\r\n'), ('S', OK)]
                   for code in (452, 552, 554)}
        self.good_end(scripts, ('a@a.test', ['b@b.test'], chunk, 'refused'), anomalies=set())

    def test_A04_malformed_chunks_that_the_server_takes(self):
        chunk = b'Subject: x\r\n\r\nhello..\r\n'
        scripts = {line: envelope() + [('C', line + b'\r\n' + chunk), ('S', OK)]
                   for line in (b'BDAT  23 LAST', b'BDAT 23 LAST\r', b'BDAT +23 LAST', b'BDAT\t23 LAST', b'BDAT 23  last')}
        self.good_end(scripts, ('a@a.test', ['b@b.test'], chunk, 'accepted'), anomalies={'bad-bdat-arg', 'bad-command'})

    def test_A06_pipelining_of_everything(self):
        whole = b''.join(o for who, o in envelope(b'1@a.test') + envelope(b'2@a.test', b'c@c.test', b'd@d.test') if who == 'C')
        script = [('C', whole + b'DATA\r\n'), ('S', OK + OK + OK + b'550 no\r\n' + OK + b'354 go\r\n'),
                  ('C', b'x\r\n.\r\nRSET\r\nNOOP\r\n'), ('S', OK * 3)]

        def expect(flow):
            self.messages(flow, ('2@a.test', ['d@d.test'], b'x\r\n', 'accepted'), ('last@a.test', ['b@b.test'], BODY, 'accepted'))
            self.assertEqual(flow.messages[0]['smtp']['rcpt_refused'], [{'to': '<c@c.test>', 'code': 550}])
        self.check_flow(GREETING + script + LAST + BYE, expect)

    def test_A06_message_behind_message_without_waiting(self):
        # Three messages in one flight, replies in another.
        def one(i):
            return b'MAIL FROM:<%d@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nmessage %d\r\n.\r\n' % (i, i)
        script = GREETING + [('C', one(1) + one(2) + one(3)), ('S', (OK + OK + b'354 go\r\n' + OK) * 3)] + LAST + BYE
        self.check_flow(script, lambda f: self.messages(
            f, *((f'{i}@a.test', ['b@b.test'], b'message %d\r\n' % i, 'accepted') for i in (1, 2, 3)), ('last@a.test', ['b@b.test'], BODY, 'accepted')))

    def test_A07_every_recipient_refused_and_the_message_sent(self):
        for code in (b'354 go\r\n', b'554 no valid recipients\r\n', b'503 RCPT first\r\n'):
            accepted = code.startswith(b'354')
            script = [('C', b'MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nRCPT TO:<c@c.test>\r\nDATA\r\n'),
                      ('S', OK + b'550 no\r\n450 later\r\n' + code)]
            if accepted:
                script += [('C', b'x\r\n.\r\n'), ('S', b'554 nobody\r\n')]

            def expect(flow):
                self.assertEqual(flow.smtp[0]['smtp']['rcpt_refused'], [{'to': '<b@b.test>', 'code': 550}, {'to': '<c@c.test>', 'code': 450}])
                self.assertEqual(flow.smtp[0]['smtp']['outcome'], 'refused')
                self.messages(flow, *([('a@a.test', [], b'x\r\n', 'refused')] if accepted else []), ('last@a.test', ['b@b.test'], BODY, 'accepted'))
            self.check_flow(GREETING + script + LAST + BYE, expect)

    def test_A09_long_lines_of_other_commands(self):
        long = b'x' * 5000
        scripts = {'rcpt': [('C', b'MAIL FROM:<a@a.test>\r\nRCPT TO:<' + long + b'@b.test>\r\nRSET\r\n'), ('S', OK + b'500 long\r\n' + OK)],
                   'unknown': [('C', b'XLONG ' + long + b'\r\n'), ('S', b'500 long\r\n')],
                   'no blank': [('C', long + b'\r\n'), ('S', b'500 long\r\n')],
                   'reply': [('C', b'HELP\r\n'), ('S', b'214-' + long + b'\r\n214 ' + long + b'\r\n')],
                   'many replies': [('C', b'HELP\r\n'), ('S', b'214-a line of help\r\n' * 2000 + b'214 end\r\n')]}

        def expect(name, flow):
            self.assertEqual(flow.messages[-1]['smtp']['sha256'], sha(BODY))
            self.assertEqual(flow.messages[-1]['smtp']['outcome'], 'accepted')
            self.assertEqual(flow.hits, {1, 2, 3})
            self.assertNotIn('unsolicited-reply', flow.anomalies)
        self.check({k: GREETING + v + LAST + BYE for k, v in scripts.items()}, expect)

    def test_A10_greeting_again_in_every_state(self):
        ehlo = [('C', b'EHLO again\r\n'), ('S', b'250-mx\r\n250 PIPELINING\r\n')]
        scripts = {'after mail': envelope()[:2] + ehlo, 'after rcpt': envelope() + ehlo, 'twice': ehlo + ehlo, 'after chunk': envelope() + [('C', b'BDAT 3\r\nabc'), ('S', OK)] + ehlo,
                   'refused, then accepted': envelope() + [('C', b'EHLO\r\n'), ('S', b'501 name\r\n')] + ehlo}

        def expect(name, flow):
            self.messages(flow, *([('a@a.test', ['b@b.test'], None, 'aborted')] if name == 'after chunk' else []), ('last@a.test', ['b@b.test'], BODY, 'accepted'))
            self.assertEqual(flow.messages[-1]['smtp']['helo'], 'again')
        self.check({k: GREETING + v + LAST + BYE for k, v in scripts.items()}, expect)

    def test_A12_more_ends_that_some_server_takes(self):
        ends = (b'\r\n\0\0.\r\n', b'\r\n.\0\0\n', b'\n\0.\n', b'\r\n.\r\0\n', b'\0\n.\n', b'\r.\r\r\n', b'\n.\r\r\n', b'\n\n.\n', b'\r\n\n.\r\n', b'\r\r.\r', b'\r\n\r.\r')
        scripts = {end: GREETING + envelope() + data(b'x' + end + First.SMUGGLE) + BYE for end in ends}

        def expect(end, flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], b'x' + end + First.SMUGGLE[:-3], 'accepted'))
            self.assertLessEqual({'ambiguous-eod', 'smuggled-commands'}, flow.anomalies)
            self.assertIn(2, flow.hits)
        self.check(scripts, expect)

    def test_A12_lines_that_are_no_end(self):
        bodies = (b'\r\n. \r\n', b'\r\n.\t\r\n', b'\r\n .\r\n', b'\r\n.x\r\n', b'\r\n..\r\n', b'\r\n.\\r\\n', b'\r\nx.\r\n', b'\r\n...\r\n', b'x.\r\n', b'\r\n.\x0b\r\n')
        scripts = {b: envelope() + data(b'x' + b + b'MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\n.\r\n') for b in bodies}

        def expect(body, flow):
            self.messages(flow, ('a@a.test', ['b@b.test'], b'x' + body + b'MAIL FROM:<e@e.test>\r\nRCPT TO:<v@v.test>\r\n', 'accepted'),
                          ('last@a.test', ['b@b.test'], BODY, 'accepted'))
            self.assertFalse(flow.anomalies & {'ambiguous-eod', 'smuggled-commands'})
        self.check({k: GREETING + v + LAST + BYE for k, v in scripts.items()}, expect)

    def test_A12_second_message_smuggled_by_chunks(self):
        inner = b'Subject: z\r\n\r\n' + SIGNATURE + b'\r\n'
        smuggled = b'MAIL FROM:<evil@e.test>\r\nRCPT TO:<victim@v.test>\r\nBDAT %d LAST\r\n' % len(inner) + inner
        capture, played = w.Capture(), []
        for end in First.ENDS:
            for mode in ('whole', 'one', '536'):
                played.append((end, mode, w.play(w.Connection(capture), GREETING + envelope() + data(b'x' + end + smuggled + b'\r\n.\r\n'), mode)))
        result = self.run_capture(capture, rules=REJECT, policy=ENFORCE, wire=False)
        for end, mode, connection in played:
            self.assertEqual([m['smtp']['outcome'] for m in result.flow(connection).messages], ['blocked'], (end, mode))
            self.assertNotIn(inner, w.stream(result.left, connection, 0), (end, mode))

    def test_A13_dots_in_chunks_are_not_stuffed(self):
        body = b'Subject: s\r\n\r\n..\r\n.\r\n.x\r\n' + SIGNATURE + b'\r\n.'
        rules = 'alert smtp any any -> any any (msg:"u"; sluice.raw; content:"|0a 2e 2e 0d 0a 2e 0d 0a 2e|x"; sid:1;)\n'
        script = envelope() + [('C', b'BDAT %d LAST\r\n' % len(body) + body), ('S', OK)]
        self.check_flow(GREETING + script + LAST + BYE, lambda f: (self.messages(
            f, ('a@a.test', ['b@b.test'], body, 'accepted'), ('last@a.test', ['b@b.test'], BODY, 'accepted')), self.assertEqual(f.hits, {1}),
            self.assertNotIn('ambiguous-eod', f.anomalies)), rules=rules)

    def test_A14_starttls_in_every_state(self):
        tls = [('C', First.HELLO), ('S', b'\x16\x03\x03\0\x04\x02\0\0\0'), ('C', b'\x17\x03\x03\0\x20' + SIGNATURE + b'MAIL FROM:<t@t.test>\r\n')]
        scripts = {'multi-line': [('C', b'STARTTLS\r\n'), ('S', b'220-one\r\n220 go\r\n')] + tls, 'in a transaction': envelope() + [('C', b'STARTTLS\r\n'), ('S', b'220 go\r\n')] + tls,
                   'after a message': mail(b'x\r\n.\r\n') + [('C', b'STARTTLS\r\n'), ('S', b'220 go\r\n')] + tls,
                   'blank behind': [('C', b'STARTTLS \r\n'), ('S', b'220 go\r\n')] + tls, 'pipelined with noop': [('C', b'NOOP\r\nSTARTTLS\r\n'), ('S', OK + b'220 go\r\n')] + tls,
                   'other code': [('C', b'STARTTLS\r\n'), ('S', b'220 2.0.0 Ready to start TLS\r\n')] + tls}

        def expect(name, flow):
            self.assertEqual(flow.hits, set())
            self.assertEqual(flow.flows[0]['visibility'], 'tls')
            self.assertEqual(len(flow.tls), 1)
            self.assertEqual(flow.tls[0]['tls']['via'] if 'via' in flow.tls[0]['tls'] else flow.tls[0]['sluice']['via'], 'starttls')
            self.assertNotIn('<t@t.test>', str(flow.envelopes()))
            self.assertNotIn('starttls-injection', flow.anomalies)
        self.check({k: GREETING + v for k, v in scripts.items()}, expect)
        # Not begun: the client goes on in clear after 220, which some do.
        refused = {code: [('C', b'STARTTLS\r\n'), ('S', code + b' no\r\n')] for code in (b'421', b'454', b'500', b'502', b'503', b'554')}
        self.good_end(refused)

    def test_A15_other_mechanisms(self):
        def b64(text):
            return base64.b64encode(text)
        ok, more, bad = b'235 ok\r\n', b'334 \r\n', b'535 no\r\n'
        sets = {'plain, empty initial': ([('C', b'AUTH PLAIN =\r\n'), ('S', more), ('C', b64(b'\0u@a.test\0Secr3tWord') + b'\r\n'), ('S', ok)], 'PLAIN', 'u@a.test'),
                'plain with authorization': ([('C', b'AUTH PLAIN ' + b64(b'admin\0u@a.test\0Secr3tWord') + b'\r\n'), ('S', ok)], 'PLAIN', 'u@a.test'),
                'cram': ([('C', b'AUTH CRAM-MD5\r\n'), ('S', b'334 PDE+\r\n'), ('C', b64(b'u@a.test 0123456789abcdef') + b'\r\n'), ('S', bad)], 'CRAM-MD5', 'u@a.test'),
                'xoauth2': ([('C', b'AUTH XOAUTH2 ' + b64(b'user=u@a.test\1auth=Bearer Secr3tWord\1\1') + b'\r\n'), ('S', ok)], 'XOAUTH2', 'u@a.test'),
                'oauth, refused with a challenge': ([('C', b'AUTH OAUTHBEARER ' + b64(b'n,a=u@a.test,\1auth=Bearer Secr3tWord\1\1') + b'\r\n'), ('S', b'334 eyJzdGF0dXMiOiI0MDEifQ==\r\n'),
                                                     ('C', b'AQ==\r\n'), ('S', bad)], 'OAUTHBEARER', 'u@a.test'),
                'scram': ([('C', b'AUTH SCRAM-SHA-256 ' + b64(b'n,,n=u@a.test,r=nonce') + b'\r\n'), ('S', b'334 eA==\r\n'), ('C', b64(b'c=biws,r=nonce,p=Secr3tWord') + b'\r\n'),
                           ('S', b'334 eA==\r\n'), ('C', b'\r\n'), ('S', ok)], 'SCRAM-SHA-256', 'u@a.test'),
                'login, cancelled at the password': ([('C', b'AUTH LOGIN ' + b64(b'u@a.test') + b'\r\n'), ('S', more), ('C', b'*\r\n'), ('S', b'501 cancelled\r\n')], 'LOGIN', 'u@a.test'),
                'login, user and password at once': ([('C', b'AUTH LOGIN\r\n' + b64(b'u@a.test') + b'\r\n' + b64(b'Secr3tWord') + b'\r\n'), ('S', more + more + ok)], 'LOGIN', 'u@a.test'),
                'unknown mechanism': ([('C', b'AUTH XYZZY ' + b64(b'Secr3tWord') + b'\r\n'), ('S', b'504 what\r\n')], 'XYZZY', None),
                'empty initial of login': ([('C', b'AUTH LOGIN =\r\n'), ('S', more), ('C', b64(b'Secr3tWord') + b'\r\n'), ('S', bad)], 'LOGIN', None),
                'ntlm': ([('C', b'AUTH NTLM\r\n'), ('S', more), ('C', b64(b'NTLMSSP\0Secr3tWord') + b'\r\n'), ('S', more), ('C', b64(b'NTLMSSP\0\3Secr3tWord') + b'\r\n'), ('S', bad)], 'NTLM', None)}

        def expect(name, flow):
            self.messages(flow, ('last@a.test', ['b@b.test'], BODY, 'accepted'))
            auth = flow.messages[0]['smtp']['auth']
            self.assertEqual((auth['mechanism'], auth.get('user')), sets[name][1:])
            for secret in (b'Secr3tWord', b64(b'Secr3tWord').rstrip(b'=')):
                self.assertNotIn(secret.decode(), str(flow.events))
            self.assertEqual(flow.hits, {1, 2, 3})
        self.check({k: GREETING + v[0] + LAST + BYE for k, v in sets.items()}, expect)

    def test_A17_more_reply_forms(self):
        scripts = {'code alone': [('C', b'NOOP\r\n'), ('S', b'250\r\n')], 'dash and nothing': [('C', b'NOOP\r\n'), ('S', b'250-\r\n250-\r\n250\r\n')],
                   'empty line first': [('C', b'NOOP\r\n'), ('S', b'\r\n250 ok\r\n')], 'two digits': [('C', b'NOOP\r\n'), ('S', b'25 x\r\n250 ok\r\n')],
                   'four digits': [('C', b'NOOP\r\n'), ('S', b'2500 x\r\n250 ok\r\n')], 'letters': [('C', b'NOOP\r\n'), ('S', b'OK\r\n250 ok\r\n')],
                   'nul': [('C', b'NOOP\r\n'), ('S', b'250 a\0b\r\n')], '8 bit': [('C', b'NOOP\r\n'), ('S', '250 grüß\r\n'.encode())], 'blank in front': [('C', b'NOOP\r\n'), ('S', b' 250 x\r\n250 ok\r\n')],
                   'three extra': [('S', OK * 3)], '251': envelope()[:2] + [('C', b'RCPT TO:<z@z.test>\r\n'), ('S', b'251 forwards\r\n'), ('C', b'RSET\r\n'), ('S', OK)],
                   '252': [('C', b'VRFY u\r\n'), ('S', b'252 cannot say\r\n')], 'bare lf': [('C', b'NOOP\r\n'), ('S', b'250 ok\n')], 'cr only inside': [('C', b'NOOP\r\n'), ('S', b'250 a\rb\r\n')],
                   'late of two': [('C', b'NOOP\r\nNOOP\r\n'), ('S', [b'250 a\r\n2', b'50 b\r\n'])]}
        self.good_end(scripts)

    def test_A18_more_addresses(self):
        table = {b'<@[IPv6:2001:db8::1]:u@x.test>': 'u@x.test', b'<"a:b"@x.test>': '"a:b"@x.test', b'<"@r.test:a"@x.test>': '"@r.test:a"@x.test', b'<"a,b"@x.test>': '"a,b"@x.test',
                 b'<""@x.test>': '""@x.test', b'<a+tag@x.test>': 'a+tag@x.test', b'<a=b@x.test>': 'a=b@x.test', b'<"a\\ b"@x.test>': '"a\\ b"@x.test', b'<a@[192.0.2.1]>': 'a@[192.0.2.1]',
                 b'<a@x.test.>': 'a@x.test.', b'<a@X.TEST>': 'a@X.TEST', b'< a@x.test >': 'a@x.test', b'<@r1.test:"x y"@z.test>': '"x y"@z.test', b'<a%b@x.test>': 'a%b@x.test', b'<a!b@x.test>': 'a!b@x.test',
                 b'<"very.(),:;<>[]\\".VERY.\\"very@\\\\ \\"very\\".unusual"@x.test>': '"very.(),:;<>[]\\".VERY.\\"very@\\\\ \\"very\\".unusual"@x.test'}
        scripts = {k: GREETING + [('C', b'MAIL FROM:' + k + b' SIZE=1\r\n'), ('S', OK), ('C', b'RCPT TO:' + k + b' NOTIFY=NEVER\r\n'), ('S', OK)] + data(BODY + b'.\r\n') + BYE for k in table}
        for path, mailbox in table.items():
            text = ''.join(f'|{b:02x}|' for b in mailbox.encode())
            rules = ''.join(f'alert smtp any any -> any any (msg:"m"; {buffer}; content:"{text}"; startswith; endswith; sid:{sid};)\n' for sid, buffer in ((1, 'smtp.mail_from'), (2, 'smtp.rcpt_to')))
            self.check({path: scripts[path]}, lambda k, f: (self.assertEqual(f.hits, {1, 2}), self.assertEqual(f.messages[0]['smtp']['mail_from'], k.decode()),
                                                            self.assertNotIn('bad-path', f.anomalies)), rules=rules, modes=('whole', 'one'))

    def test_A19_nul_in_commands(self):
        scripts = {'in mail': [('C', b'MAIL FROM:<a\0b@a.test>\r\n'), ('S', b'501 no\r\n')], 'in a verb': [('C', b'NO\0OP\r\n'), ('S', b'500 what\r\n')], 'alone': [('C', b'\0\r\n'), ('S', b'500 what\r\n')],
                   'before a command': [('C', b'\0\0NOOP\r\n'), ('S', b'500 what\r\n')]}

        def expect(name, flow):
            self.messages(flow, ('last@a.test', ['b@b.test'], BODY, 'accepted'))
            self.assertTrue(flow.anomalies & {'nul', 'bad-command', 'not-smtp'}, name)
            self.assertEqual(flow.hits, {1, 2, 3})
        self.check({k: GREETING + v + LAST + BYE for k, v in scripts.items()}, expect)

    def test_A20_bounds_keep_their_step(self):
        # Past the bound of pending commands, with their replies all coming afterwards.
        many = [('C', b'NOOP\r\n' * 3000), ('S', OK * 3000)]
        self.check_flow(GREETING + many + LAST + BYE, lambda f: (self.messages(f, ('last@a.test', ['b@b.test'], BODY, 'accepted')), self.assertIn('too-many', f.anomalies),
                                                                 self.assertNotIn('unsolicited-reply', f.anomalies)), modes=('whole', '536', 'swap'))
        recipients = GREETING + [('C', b'MAIL FROM:<last@a.test>\r\n'), ('S', OK)] + [('C', b''.join(b'RCPT TO:<%d@b.test>\r\n' % i for i in range(2000))), ('S', OK * 2000)] + data(BODY + b'.\r\n') + BYE
        self.check_flow(recipients, lambda f: (self.assertEqual(f.messages[0]['smtp']['outcome'], 'accepted'), self.assertIn('too-many', f.anomalies), self.assertEqual(f.hits, {1, 2, 3})), modes=('whole', '536'))

    def test_A21_one_side_of_other_dialogues(self):
        chunk = b'Subject: x\r\n\r\n' + SIGNATURE + b'\r\n'
        tls = [('C', b'STARTTLS\r\n'), ('S', b'220 go\r\n'), ('C', First.HELLO), ('S', b'\x16\x03\x03\0\x04\x02\0\0\0')]
        dialogues = {'chunks': envelope() + [('C', b'BDAT 5\r\n' + chunk[:5]), ('S', OK), ('C', b'BDAT %d LAST\r\n' % (len(chunk) - 5) + chunk[5:]), ('S', OK)],
                     'auth': [('C', b'AUTH LOGIN\r\n'), ('S', b'334 \r\n'), ('C', b'dQ==\r\n'), ('S', b'334 \r\n'), ('C', b'cA==\r\n'), ('S', b'235 ok\r\n')] + mail(chunk + b'.\r\n'),
                     'tls': mail(chunk + b'.\r\n') + tls}
        capture, played = w.Capture(), []
        for name, steps in dialogues.items():
            for mode in w.MODES:
                one = w.Capture()
                one.port = capture.port
                connection = w.play(w.connection(one, mode), GREETING + steps, mode)
                for _, frame in one.frames:
                    if frame[:6] == w.OUTSIDE:
                        capture.add(frame)
                capture.port = one.port
                played.append((name, mode, connection))
        result = self.run_capture(capture)
        for name, mode, connection in played:
            flow = result.flow(connection)
            self.messages(flow, ('a@a.test', ['b@b.test'], chunk, 'unknown'))
            self.assertEqual(flow.hits, {1, 2, 3}, (name, mode))
            self.assertEqual(bool(flow.tls), name == 'tls', (name, mode))

    def test_A22_late_banner_and_leavers(self):
        def late(capture, seconds):
            c = w.Connection(capture).open()
            capture.now += seconds
            for who, octets in GREETING + LAST + BYE:
                c.send('CS'.index(who), octets)
            return c.close()

        def leaves(capture, how):
            c = w.Connection(capture).open().s(GREETING[0][1])
            c.frame(0, w.RST | (w.ACK if how == 'rst ack' else 0)) if how.startswith('rst') else c.close()
            return c
        capture = w.Capture()
        played = [(s, late(capture, s)) for s in (25, 280)] + [(h, leaves(capture, h)) for h in ('rst', 'rst ack', 'fin')]
        result = self.run_capture(capture)
        for name, connection in played:
            flow = result.flow(connection)
            if isinstance(name, int):
                self.messages(flow, ('last@a.test', ['b@b.test'], BODY, 'accepted'))
                self.assertEqual(flow.anomalies, set(), name)
            else:
                self.assertEqual(flow.anomaly_list, ['scan-probe'], name)
                self.assertEqual(flow.messages, [])

    def test_A22_other_protocols_on_a_mail_port(self):
        errors = [('S', b'220 mx\r\n' + b'500 what\r\n' * 20)]
        scripts = {'ssh': [('C', b'SSH-2.0-x\r\n' + bytes(range(256)) * 4)] + errors, 'crlf': [('C', b'\r\n\r\n')] + errors, 'post': [('C', b'POST /x HTTP/1.1\r\nHost: a\r\n\r\nMAIL FROM:<x@x.test>\r\n')] + errors,
                   'sip': [('C', b'OPTIONS sip:nm SIP/2.0\r\nVia: x\r\n\r\n')] + errors, 'ssl2': [('C', b'\x80\x2e\x01\x03\x01' + bytes(41))] + errors, 'rdp': [('C', b'\x03\x00\x00\x13\x0e\xe0' + bytes(13))] + errors,
                   'banner twice': GREETING[:1] + GREETING[:1] + BYE, 'imap server': [('S', b'* OK IMAP4\r\n'), ('C', b'a LOGOUT\r\n')], 'junk': [('C', bytes(range(255, -1, -1)) * 10)] + errors}

        def expect(name, flow):
            self.assertEqual(len(flow.anomaly_list), len(set(flow.anomaly_list)))
            self.assertTrue(flow.anomalies)
            self.assertEqual(len(flow.flows), 1)
            self.assertEqual(flow.hits, set())
        self.check(scripts, expect)

    def test_A23_endings_of_a_message_by_the_connection(self):
        half = GREETING + envelope() + [('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', BODY)]
        scripts = {'nothing': half, '421': half + [('S', b'421 timeout\r\n')], 'dot without end': half + [('C', b'.')], 'dot cr': half + [('C', b'.\r')], 'chunk': GREETING + envelope() + [('C', b'BDAT 500\r\n' + BODY)],
                   'chunk complete, no last': GREETING + envelope() + [('C', b'BDAT %d\r\n' % len(BODY) + BODY), ('S', OK)]}

        def expect(name, flow):
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['aborted'])
            self.assertIn('aborted-message', flow.anomalies)
            self.assertIn(2, flow.hits)
            if name == '421':
                self.assertEqual(flow.messages[0]['smtp']['reply'], {'code': 421, 'text': 'timeout'})
        self.check(scripts, expect)

    def test_A_relays_and_stores(self):
        proxy2 = b'\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c' + bytes([192, 0, 2, 77, 198, 51, 100, 1, 0x10, 0x92, 0, 25])
        table = {'proxy 1': ([('C', b'PROXY TCP4 192.0.2.77 198.51.100.1 4242 25\r\n')], {'via': 'proxy', 'addr': '192.0.2.77', 'port': 4242}),
                 'proxy 2': ([('C', proxy2)], {'via': 'proxy', 'addr': '192.0.2.77', 'port': 4242})}
        scripts = {k: v[0] + GREETING + LAST + BYE for k, v in table.items()}
        scripts['xclient'] = GREETING + [('C', b'XCLIENT NAME=h.test ADDR=IPV6:2001:db8::7 LOGIN=u\r\n'), ('S', b'220 mx\r\n')] + GREETING[1:] + LAST + BYE
        scripts['xforward'] = GREETING + [('C', b'XFORWARD NAME=h.test ADDR=192.0.2.77\r\nXFORWARD HELO=h\r\n'), ('S', OK + OK)] + LAST + BYE
        scripts['refused'] = GREETING + [('C', b'XCLIENT ADDR=192.0.2.77\r\n'), ('S', b'550 no\r\n')] + LAST + BYE
        wanted = {k: v[1] for k, v in table.items()} | {'xclient': {'via': 'xclient', 'addr': '2001:db8::7', 'name': 'h.test', 'login': 'u'},
                                                        'xforward': {'via': 'xforward', 'addr': '192.0.2.77', 'name': 'h.test', 'helo': 'h'}, 'refused': None}

        def expect(name, flow):
            self.messages(flow, ('last@a.test', ['b@b.test'], BODY, 'accepted'))
            self.assertEqual(flow.messages[0]['sluice'].get('client'), wanted[name])
            self.assertFalse(flow.anomalies & {'bad-proxy-preamble', 'early-talker', 'bad-command'})
        self.check(scripts, expect)
        lmtp = [('S', b'220 store LMTP\r\n'), ('C', b'LHLO c\r\n'), ('S', b'250-store\r\n250 PIPELINING\r\n')] + envelope(b'last@a.test', b'a@b.test', b'b@b.test', b'c@b.test') + [
            ('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', BODY + b'.\r\n'), ('S', b'452 full\r\n250 taken\r\n550 no\r\n')] + BYE
        self.check_flow(lmtp, lambda f: (self.messages(f, ('last@a.test', ['b@b.test'], BODY, 'accepted')), self.assertEqual(
            f.messages[0]['smtp']['rcpt_refused'], [{'to': '<a@b.test>', 'code': 452}, {'to': '<c@b.test>', 'code': 550}]), self.assertNotIn('unsolicited-reply', f.anomalies)))
