"""E15 and the promise behind it: a condemned message never completes at the far side, whatever way it
is sent, and its client is told so once, in the server's voice."""
import struct

import wirecraft as w
from cases_base import BODY, BYE, ENFORCE, GREETING, OK, REJECT, Cases, data, envelope, mail, talk
from wirecraft import ACK, FIN, PSH, RST


class Stop(Cases):
    def stop(self, build, names, *, rules=REJECT, code=b'550', complete=(b'\n.\r\n',), replies=1):
        capture = w.Capture()
        played = [(name, build(capture, name)) for name in names]
        result = self.run_capture(capture, wire=False, rules=rules, policy=ENFORCE)
        faults = []
        for name, c in played:
            flow = result.flow(c)
            left, back = w.stream(result.left, c, 0), w.stream(result.left, c, 1)
            try:
                self.assertIn('blocked', [m['smtp']['outcome'] for m in flow.messages])
                for end in complete:
                    self.assertNotIn(end, left[left.rfind(b'DATA\r\n'):], 'completed')
                self.assertEqual(back.count(b'\r\n' + code + b' '), replies, back)
                resets = [f for f in result.left if f not in result.sent and f[:6] == w.OUTSIDE and f[47] & RST]
                self.assertTrue(resets, 'no reset to the server')
            except AssertionError as fault:
                faults.append(f'{name}: {fault} {sorted(flow.anomalies)} left {left[-60:]} back {back[-90:]}')
        if faults:
            self.fail('\n'.join(faults))
        return result

    def test_E15_every_mode(self):
        def build(capture, mode):
            c = talk(w.Connection(capture).open(), GREETING + envelope() + data(b'')[:2])
            c.flight(0, BODY, mode)
            return c
        self.stop(build, w.CUTS)

    def test_E15_pipelined_with_data(self):
        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING)
            octets = b'MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n' + BODY
            pieces = {'one': [octets], 'two': [octets[:60], octets[60:]], 'dot': [octets[:-3], octets[-3:]]}[name]
            for p in pieces:
                c.frame(0, ACK | PSH, p)
                c.next[0] += len(p)
            c.s(OK + OK)
            return c.s(b'354 go\r\n')
        self.stop(build, ('one', 'two', 'dot'))

    def test_E15_retransmitted_differently(self):
        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING + envelope() + data(b'')[:2])
            c.send(0, BODY[:-6])
            rest = BODY[-6:]
            for cut in range(1, 6):
                c.frame(0, ACK | PSH, rest[:cut], wait=0.01)
            c.frame(0, ACK | PSH, rest)
            c.frame(0, ACK | PSH, BODY[-20:], seq=c.next[0] - 14)
            c.frame(0, ACK | PSH, rest + b'QUIT\r\n')
            c.frame(0, ACK | PSH, rest[-1:] + b'QUIT\r\n', seq=c.next[0] + 5)
            c.frame(0, FIN | ACK, seq=c.next[0] + 6 + 6)
            return c
        self.stop(build, ('',))

    def test_E15_fin_with_the_end(self):
        def build(capture, _):
            c = talk(w.Connection(capture).open(), GREETING + envelope() + data(b'')[:2])
            c.frame(0, FIN | ACK | PSH, BODY)
            return c
        self.stop(build, ('',))

    def test_E15_hole_before_the_end(self):
        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING + envelope() + data(b'')[:2])
            cut = len(BODY) - name
            c.frame(0, ACK | PSH, BODY[cut:] + b'NOOP\r\n', seq=c.next[0] + cut)
            c.frame(0, ACK | PSH, BODY[:cut])
            for _ in range(3):
                c.frame(0, ACK | PSH, BODY[:cut], wait=0.2)
            return c
        capture_names = (1, 2, 3, 5, 20)
        capture = w.Capture()
        played = [(n, build(capture, n)) for n in capture_names]
        result = self.run_capture(capture, wire=False, rules=REJECT, policy=ENFORCE)
        for name, c in played:
            self.assertNotIn(b'\n.\r\n', w.stream(result.left, c, 0), name)
            self.assertEqual([m['smtp']['outcome'] for m in result.flow(c).messages], ['blocked'], name)
            self.assertEqual(w.stream(result.left, c, 1).count(b'\r\n550 '), 1, name)

    def test_E15_bdat(self):
        chunk = BODY[:-3]

        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING + envelope())
            if name == 'last':
                c.frame(0, ACK | PSH, b'BDAT %d LAST\r\n' % len(chunk) + chunk)
            elif name == 'two':
                c.send(0, b'BDAT 20\r\n' + chunk[:20])
                c.s(OK)
                c.frame(0, ACK | PSH, b'BDAT %d LAST\r\n' % (len(chunk) - 20) + chunk[20:])
            elif name == 'pipelined':
                c.frame(0, ACK | PSH, b'BDAT 20\r\n' + chunk[:20] + b'BDAT %d LAST\r\n' % (len(chunk) - 20) + chunk[20:] + b'QUIT\r\n')
                c.s(OK)
            else:
                c.send(0, b'BDAT %d\r\n' % len(chunk) + chunk)
                c.s(OK)
                c.frame(0, ACK | PSH, b'BDAT 0 LAST\r\n')
            return c
        result = self.stop(build, ('last', 'two', 'pipelined', 'zero'), complete=(chunk[-8:] + b'QUIT', b'BDAT 0 LAST\r\n'))
        del result

    def test_E15_what_only_the_server_takes_for_a_message(self):
        body = BODY[:-3]
        opened = b'MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n'
        over = b'S: s\r\n\r\n.\r\n' + body
        flights = {line: opened + line % len(body) + body for line in (b'BDAT  %d LAST\r\n', b'BDAT +%d LAST\r\n', b'BDAT %d LAST\r\r\n', b'BDAT +3\r\nabcBDAT +%d LAST\r\n')}
        flights['not last'] = opened + b'BDAT %d\r\n' % len(body) + body + b'BDAT +0 LAST\r\n'
        flights['unknown verb'] = opened + b'D\x01ATA\r\n' + BODY
        flights['over the end'] = b'MAIL FROM:<a@a.test>\r\nDATA\r\nRCPT TO:<b@b.test>\r\nBDAT %d LAST\r\n' % len(over) + over
        capture, played = w.Capture(), []
        for name, octets in flights.items():
            for mode in w.CUTS:
                c = talk(w.Connection(capture).open(), GREETING)
                c.flight(0, octets, mode)
                played.append((name, mode, octets, c))
        result = self.run_capture(capture, wire=False, rules=REJECT, policy=ENFORCE)
        for name, mode, octets, c in played:
            with self.subTest(name, mode=mode):
                flow = result.flow(c)
                self.assertNotIn(octets, w.stream(result.left, c, 0))
                self.assertEqual([e['smtp']['outcome'] for e in flow.smtp if e['smtp'].get('mail_from') == '<a@a.test>'][:1], ['blocked'])
                self.assertEqual([e['alert']['action'] for e in flow.events if e['event_type'] == 'alert'], ['blocked'])

    def test_E15_second_message_of_a_session(self):
        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING + mail(b'Subject: x\r\n\r\nfine\r\n.\r\n') + envelope() + data(b'')[:2])
            c.frame(0, ACK | PSH, BODY)
            return c
        self.stop(build, ('',))

    def test_E15_after_injected_resets(self):
        # What the server ignores must not take the eyes from the message.
        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING + envelope() + data(b'')[:2])
            if name == 'md5':
                c.frame(0, RST, options=bytes([19, 18]) + bytes(16))
            elif name == 'far':
                c.frame(0, RST, seq=c.next[0] + 0x10000000)
            elif name == 'in window':
                c.frame(0, RST, seq=c.next[0] + 1000)
            elif name == 'bad sum':
                c.frame(0, RST, bad_sum=True)
            elif name == 'valid':
                c.frame(0, RST)
            elif name == 'fin':
                c.frame(0, FIN | ACK)
            elif name == 'syn':
                c.frame(0, w.SYN, seq=c.next[0] + 5000)
            elif name == 'decoy':
                c.frame(0, ACK | PSH, b'z' * 10, bad_sum=True)
            elif name == 'no ack flag':
                c.frame(0, PSH, b'z' * 10)
            capture.now += 1.5
            c.frame(0, ACK | PSH, BODY)
            return c
        self.stop(build, ('md5', 'far', 'in window', 'bad sum', 'valid', 'fin', 'syn', 'decoy', 'no ack flag'))

    def test_E15_fragmented(self):
        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING + envelope() + data(b'')[:2])
            segment = c.segment(0, ACK | PSH, BODY)
            pieces = [(i, segment[i:i + 16], i + 16 < len(segment)) for i in range(0, len(segment), 16)]
            for at, octets, more in (reversed(pieces) if name == 'reversed' else pieces):
                c.put(0, c.datagram(0, octets, ident=7, frag=(0x2000 if more else 0) | at // 8))
            return c
        capture = w.Capture()
        played = [(n, build(capture, n)) for n in ('in order', 'reversed')]
        result = self.run_capture(capture, wire=False, rules=REJECT, policy=ENFORCE)
        for name, c in played:
            self.assertEqual([m['smtp']['outcome'] for m in result.flow(c).messages], ['blocked'], name)
        # One fragment of each datagram is missing on the other side.
        sent, left = [f for f in result.sent if struct.unpack_from('!H', f, 20)[0] & 0x3FFF], [f for f in result.left if struct.unpack_from('!H', f, 20)[0] & 0x3FFF]
        self.assertEqual(len(sent) - len(left), 2)

    def test_E15_window_zero(self):
        # A client that can take nothing gets its answer when it opens its window, or the bound ends it.
        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING + envelope() + data(b'')[:2])
            c.frame(0, ACK | PSH, BODY, window=0)
            for _ in range(3):
                c.frame(0, ACK | PSH, BODY, window=0, wait=0.5)
            c.frame(0, ACK, seq=c.next[0] + len(BODY), window=65000)
            return c
        self.stop(build, ('',))

    def test_E15_server_octets_unacknowledged(self):
        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING + envelope())
            c.c(b'DATA\r\n')
            c.frame(1, ACK | PSH, b'354 go\r\n')  # lost behind us; the client had it from a first copy
            c.next[1] += 8
            c.frame(0, ACK | PSH, BODY)
            for _ in range(2):
                c.frame(1, ACK | PSH, b'354 go\r\n', seq=c.next[1] - 8, wait=0.3)
            return c
        self.stop(build, ('',))

    def test_E15_tempfail_and_drop(self):
        def build(capture, _):
            c = talk(w.Connection(capture).open(), GREETING + envelope() + data(b'')[:2])
            c.frame(0, ACK | PSH, BODY)
            return c
        self.stop(build, ('',), rules=REJECT.replace('reject', 'tempfail'), code=b'451')

    def test_E15_pass_mode_is_untouched(self):
        capture = w.Capture()
        c = talk(w.Connection(capture).open(), GREETING + mail(BODY) + BYE).close()
        result = self.run_capture(capture, rules=REJECT, policy={'sluice:sluice': {'wire': [{'name': 'w1', 'mode': 'monitor'}]}})
        message = result.flow(c).messages[0]
        self.assertEqual((message['smtp']['outcome'], message['sluice'].get('would_have')), ('accepted', 'reject'))
        del capture
