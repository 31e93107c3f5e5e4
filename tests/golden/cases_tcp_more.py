"""Variants of section C: the same kinds of fault in other clothes."""
import struct

import wirecraft as w
from cases_base import BODY, BYE, ENFORCE, GREETING, OK, REJECT, SIGNATURE, Segments, data, envelope, mail, talk
from wirecraft import ACK, FIN, PSH, RST, SYN, URG

SACK_OK, WSCALE = b'\x04\x02', b'\x03\x03\x0e'


class TcpMore(Segments):
    def begin(self, capture, **more):
        c = w.Connection(capture, **more).open()
        return talk(c, GREETING + envelope() + data(b'')[:2])

    def end(self, c):
        return talk(c, [('S', OK)] + BYE).close()

    def test_C02_options_of_every_kind(self):
        def build(capture, name):
            c = w.Connection(capture)
            options = {'mss': b'\x02\x04\x05\xb4', 'many': b'\x02\x04\x05\xb4' + SACK_OK + b'\x08\x0a' + bytes(8) + b'\x01' + WSCALE, 'unknown': b'\xfd\x06abcd', 'length zero': b'\x05\x00\x01\x01', 'length too long': b'\x05\x30\x01\x01',
                       'end first': b'\x00\xff\xff\xff', 'nops': b'\x01' * 40}[name]
            c.frame(0, SYN, seq=-1, options=options)
            c.frame(1, SYN | ACK, seq=-1, options=b'\x02\x04\x05\xb4')
            c.frame(0, ACK, options=options if name in ('unknown', 'nops') else b'')
            return talk(c, GREETING + mail(BODY) + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f), names=('mss', 'many', 'unknown', 'length zero', 'length too long', 'end first', 'nops'))

    def test_C03_flags_that_mean_nothing_here(self):
        def build(capture, name):
            c = self.begin(capture)
            flags = {'ece cwr': ACK | 0xC0, 'ns': ACK, 'psh urg': ACK | PSH | URG, 'syn ack again': SYN | ACK, 'fin only': FIN, 'all': 0x3F, 'rst fin': RST | FIN}[name]
            if name in ('ece cwr', 'ns', 'psh urg'):
                c.frame(0, flags, BODY, urgent=len(BODY) + 100 if name == 'psh urg' else 0)
                c.next[0] += len(BODY)
                c.frame(1, ACK)
                return self.end(c)
            c.frame(0, flags, b'zz' if name != 'syn ack again' else b'')
            return talk(c, data(BODY)[2:] + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f), names=('ece cwr', 'ns', 'psh urg', 'syn ack again', 'fin only', 'all', 'rst fin'))

    def test_C04_C06_talk_that_goes_on_long_after_a_reset(self):
        # One end did not take it. Nothing of the session may be lost, however long it waits.
        def build(capture, name):
            side, flags, wait = name
            c = talk(w.Connection(capture).open(), GREETING + envelope())
            c.frame(side, flags)
            capture.now += wait
            return talk(c, data(BODY) + BYE).close()

        def check(name, flow):
            self.whole(flow)
            self.assertEqual(len(flow.flows), 1)
            self.assertEqual(flow.messages[0]['smtp']['mail_from'], '<a@a.test>')
            self.assertEqual(flow.messages[0]['smtp']['helo'], 'c.test')
        self.analyze(build, check, names=[(s, f, t) for s in (0, 1) for f in (RST, RST | ACK) for t in (0.5, 5, 15, 120, 280)])

    def test_C05_resets_around_the_handshake(self):
        def build(capture, name):
            c = w.Connection(capture)
            c.frame(0, SYN, seq=-1)
            if name == 'wrong ack':
                c.frame(1, RST | ACK, seq=-1, ack=5000)
            elif name == 'no ack':
                c.frame(1, RST, seq=-1)
            elif name == 'client, other number':
                c.frame(0, RST, seq=5000)
            c.frame(1, SYN | ACK, seq=-1)
            if name == 'after syn/ack':
                c.frame(1, RST, seq=0x30000000)
            c.frame(0, ACK)
            if name == 'after ack':
                c.frame(0, RST, seq=0x30000000)
            return talk(c, GREETING + mail(BODY) + BYE).close()
        self.analyze(build, lambda n, f: (self.whole(f), self.assertEqual(len(f.flows), 1)), names=('wrong ack', 'no ack', 'client, other number', 'after syn/ack', 'after ack'))

    def test_C07_acknowledgements_are_missing(self):
        def build(capture, name):
            c = w.Connection(capture).open()
            for who, octets in GREETING + mail(BODY) + BYE:
                side = 'CS'.index(who)
                c.frame(side, ACK | PSH, octets, ack=0 if name == 'never moves' else None)
                c.next[side] += len(octets)
                if name == 'every other' and side == 1:
                    c.frame(0, ACK)
            return c.close()
        self.analyze(build, lambda n, f: self.whole(f, set()), names=('only piggybacked', 'every other', 'never moves'))

    def test_C09_urgent_in_the_dialogue(self):
        def build(capture, name):
            c = w.Connection(capture).open()
            talk(c, GREETING)
            pieces = {'in mail': [b'MAIL FROM:<a@', b'X', b'a.test>\r\n'], 'in data': [b'MAIL FROM:<a@a.test>\r\n'], 'before the end': [b'MAIL FROM:<a@a.test>\r\n']}[name]
            at = c.next[0]
            for i, piece in enumerate(pieces):
                c.frame(0, ACK | PSH | (URG if i == 1 else 0), piece, seq=at, urgent=1 if i == 1 else 0)
                at += len(piece)
            c.next[0] = at
            c.s(OK).c(b'RCPT TO:<b@b.test>\r\n').s(OK)
            if name == 'in data':
                # The server reads DATA and asks for the message.
                for piece, urgent in ((b'DA', 0), (b'X', 1), (b'TA\r\n', 0)):
                    c.frame(0, ACK | PSH | (URG if urgent else 0), piece, urgent=urgent)
                    c.next[0] += len(piece)
            else:
                c.c(b'DATA\r\n')
            c.s(b'354 go\r\n')
            if name == 'before the end':
                for piece, urgent in ((BODY[:-3], 0), (b'X', 1), (b'.\r\n', 0)):
                    c.frame(0, ACK | PSH | (URG if urgent else 0), piece, urgent=urgent)
                    c.next[0] += len(piece)
                c.frame(1, ACK)
            else:
                c.c(BODY)
            return self.end(c)

        def check(name, flow):
            self.assertIn('urg', flow.anomalies)
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['accepted'])
            self.assertEqual(flow.hits, {1, 2, 3})
        self.analyze(build, check, names=('in mail', 'in data', 'before the end'))

    def test_C09_urgent_end_is_stopped(self):
        endings = [(b'\r\n', b'X', b'.\r\n'), (b'\r\n.', b'X', b'\r\n'), (b'\r\n.\r', b'X', b'\n'), (b'\r\n', b'.', b'\r\n'), (b'\r\n.', b'\r', b'\n'), (b'\r', b'\n', b'.\r\n')]
        capture, played = w.Capture(), []
        for ending in endings:
            for pointer in (0, 1):
                c = self.begin(capture)
                for i, piece in enumerate((BODY[:-5] + ending[0], *ending[1:])):
                    c.frame(0, ACK | PSH | (URG if i == 1 else 0), piece, urgent=pointer if i == 1 else 0)
                    c.next[0] += len(piece)
                played.append((ending, pointer, c))
        result = self.run_capture(capture, rules=REJECT, policy=ENFORCE, wire=False)
        for ending, pointer, c in played:
            self.assertEqual([m['smtp']['outcome'] for m in result.flow(c).messages], ['blocked'], (ending, pointer))
            self.assertFalse(w.stream(result.left, c, 0).endswith(b''.join(ending)), (ending, pointer))

    def test_C11_windows(self):
        def build(capture, name):
            c = w.Connection(capture)
            scale = name.startswith('scaled')
            c.frame(0, SYN, seq=-1, options=b'\x02\x04\x05\xb4' + (WSCALE if scale else b''))
            c.frame(1, SYN | ACK, seq=-1, options=b'\x02\x04\x05\xb4' + (WSCALE if scale else b''))
            c.frame(0, ACK)
            talk(c, GREETING + envelope() + data(b'')[:2])
            if name == 'shrinks':
                c.frame(1, ACK, window=10)
                c.frame(1, ACK, window=0)
                c.frame(1, ACK, window=5)
            if name == 'scaled ahead':  # far ahead, within the scaled window only
                text = b'Subject: s\r\n\r\n' + b'filler\r\n' * 20000 + SIGNATURE + b'\r\n.\r\n'
                pieces = [text[i:i + 1400] for i in range(0, len(text), 1400)]
                c.frame(1, ACK, window=1000)
                c.pieces(0, pieces, list(range(1, len(pieces))) + [0])
                return self.end(c)
            if name == 'zero length':
                for _ in range(5):
                    c.frame(0, ACK | PSH)
            c.c(BODY)
            return self.end(c)

        def check(name, flow):
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['accepted'])
            self.assertEqual(flow.hits, {1, 2, 3})
            self.assertEqual(flow.anomalies, set())
        self.analyze(build, check, names=('shrinks', 'scaled ahead', 'zero length'))

    def test_C13_order_of_the_two_directions(self):
        # All of the server's frames before all of the client's, and the other way round.
        def build(capture, name):
            one = w.Capture()
            one.port = capture.port
            c = w.Connection(one).open()
            handshake = len(one.frames)
            talk(c, GREETING + mail(BODY) + BYE).close()
            capture.port = one.port
            frames = [f for _, f in one.frames]
            for f in frames[:handshake]:
                capture.add(f)
            rest = frames[handshake:]
            first = w.OUTSIDE if name == 'client first' else w.INSIDE
            for f in sorted(rest, key=lambda f: f[:6] != first):
                capture.add(f, 0.0001)
            return c

        def check(name, flow):
            self.assertEqual([m['smtp']['size'] for m in flow.messages], [len(BODY) - 3])
            self.assertEqual(flow.hits, {1, 2, 3})
            self.assertEqual(len(flow.flows), 1)
        self.analyze(build, check, names=('client first', 'server first'))

    def test_C13_a_lost_segment_costs_its_own_message_only(self):
        # Any one segment never comes by, of the client or of the server: the other messages are told
        # as if it had, and of its own one what was seen.
        def chunks(body):
            return [('C', b'BDAT 20\r\n' + body[:20]), ('S', OK), ('C', b'BDAT %d LAST\r\n' % (len(body) - 20) + body[20:]), ('S', OK)]

        def pipelined(i, body, reply):
            return [('C', b'MAIL FROM:<%d@x>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n' % i), ('S', b'250 a\r\n250 b\r\n354 c\r\n'), ('C', body + b'.\r\n'), ('S', reply)]
        bodies = [b'Subject: %d\r\n\r\n' % i + b'x' * 300 + b'\r\n' for i in range(3)]
        replies = (OK, b'550 no\r\n', OK)
        said = {'data': sum((envelope(b'%d@x' % i) + data(b + b'.\r\n', r) for i, b, r in zip(range(3), bodies, replies)), []),
                'chunks': sum((envelope(b'%d@x' % i) + chunks(b) for i, b in enumerate(bodies)), []),
                'pipelined': sum((pipelined(i, b, r) for i, b, r in zip(range(3), bodies, replies)), [])}
        names = [(name, lost, wait) for name, steps in said.items() for lost in (None, *range(len(steps))) for wait in (0.001, 0.5)]
        owners = {name: [sum(o.startswith(b'MAIL') for _, o in steps[:i + 1]) - 1 for i in range(len(steps))] for name, steps in said.items()}

        def build(capture, name):
            script, lost, wait = name
            c = w.Connection(capture).open()
            talk(c, GREETING)
            for i, (who, octets) in enumerate(said[script]):
                side = 'CS'.index(who)
                if i != lost:
                    c.frame(side, ACK | PSH, octets, wait=wait)
                c.next[side] += len(octets)
            return talk(c, BYE).close()

        def told(message):
            return (message['smtp'].get('mail_from'), message['smtp'].get('rcpt_to'), message['smtp'].get('outcome'),
                    message['smtp'].get('reply'), message['smtp']['sha256'], message['email'].get('subject'))

        whole = {}

        def check(name, flow):
            script, lost, wait = name
            if lost is None:
                self.assertEqual(flow.anomalies, set())
                whole[script] = [told(m) for m in flow.messages]
                self.assertEqual(len(whole[script]), 3)
                return
            owner = owners[script][lost]
            self.assertEqual(len(flow.messages), 3)
            self.assertEqual([told(m) for i, m in enumerate(flow.messages) if i != owner], whole[script][:owner] + whole[script][owner + 1:])
            self.assertLessEqual(flow.anomalies, {'stream-gap', 'bad-header'})
            self.assertIn(flow.messages[owner]['smtp'].get('mail_from'), (f'<{owner}@x>', None))
            outcome = 'refused' if owner == 1 and script != 'chunks' else 'accepted'
            self.assertIn(flow.messages[owner]['smtp']['outcome'], (outcome, 'unknown'))
        self.analyze(build, check, names=names)

    def test_C13_what_is_not_whole_has_no_hash(self):
        # A file or message of which octets were not seen was told as closed, with the hash of the rest.
        first, second = (b'--b\r\nContent-Type: application/octet-stream; name=%s\r\n\r\n' % n + b'x' * 200 + b'\r\n' for n in (b'1.bin', b'2.bin'))
        head = b'Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n'

        def build(capture, name):
            c = w.Connection(capture).open()
            talk(c, GREETING + envelope() + data(b'')[:2] + [('C', head + first + second[:-100])])
            if name == 'aborted':
                return c.close()
            c.next[0] += 50 if name == 'gap' else 0
            return talk(c, [('C', second[-50 if name == 'gap' else -100:] + b'--b--\r\n.\r\n'), ('S', OK)] + BYE).close()

        def check(name, flow):
            files = [e['fileinfo'] for e in flow.events if e['event_type'] == 'fileinfo']
            cut = ('TRUNCATED', name == 'gap', False) if name != 'whole' else ('CLOSED', False, True)
            self.assertEqual([(f['state'], f['gaps'], 'sha256' in f) for f in files], [('CLOSED', False, True), cut])
            message, = flow.messages
            self.assertEqual(['sha256' in a for a in message['sluice']['attachments']], [True, name == 'whole'])
            self.assertEqual('sha256' in message['smtp'], name != 'gap')
            self.assertNotIn('missing-boundary', flow.anomalies)
        self.analyze(build, check, names=('whole', 'gap', 'aborted'))

    def test_C14_overlaps_of_many_pieces(self):
        def build(capture, name):
            c = self.begin(capture)
            text = b'Subject: s\r\n\r\nab' + SIGNATURE + b'cdefghijkl\r\n.\r\n'
            decoy = bytes(b ^ 0x20 if chr(b).isalpha() else b for b in text)
            order = {'decoys in holes': [(0, 10, text), (20, 30, text), (5, 25, decoy), (10, 20, text), (30, len(text), text)], 'over the edge': [(0, 22, text), (16, 30, decoy), (22, len(text), text)],
                     'whole twice': [(0, len(text) - 3, text), (0, len(text) - 3, decoy), (len(text) - 3, len(text), text)], 'octets': [(i, i + 1, t) for i in range(14, 40) for t in (text, decoy)][:52]}[name]
            if name == 'octets':
                order = [(0, 14, text), *order, (40, len(text), text)]
            for a, b, source in order:
                c.frame(0, ACK | PSH, source[a:b], seq=c.next[0] + a)
            c.next[0] += len(text)
            c.frame(1, ACK)
            return self.end(c)

        def check(name, flow):
            # One octet behind the edge is a keep-alive, which tells nothing; the first octet stays.
            self.assertEqual(flow.anomaly_list.count('overlap-diff'), 0 if name == 'octets' else 1)
            self.assertTrue(flow.hits)
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['accepted'])
        result = self.analyze(build, check, names=('decoys in holes', 'over the edge', 'whole twice', 'octets'), wire=False)
        self.assertEqual(len(result.left), len(result.sent))

    def test_C14_other_copy_after_the_acknowledgement(self):
        # The receiver has the octets: what another copy says is nothing.
        def build(capture, _):
            c = self.begin(capture)
            c.send(0, BODY[:20])
            c.frame(0, ACK | PSH, b'Z' * 20, seq=c.next[0] - 20)
            c.send(0, BODY[20:])
            return self.end(c)
        self.analyze(build, lambda n, f: self.whole(f, set()))

    def test_C15_late_copies_of_everything(self):
        def build(capture, _):
            one = w.Capture()
            one.port = capture.port
            c = w.Connection(one).open()
            talk(c, GREETING + mail(BODY) + BYE).close()
            capture.port = one.port
            frames = [f for _, f in one.frames]
            for i, f in enumerate(frames):
                capture.add(f)
                for j in (1, 3, 7):
                    if i >= j:
                        capture.add(frames[i - j], 0.0001)
            for f in frames[3:]:
                capture.add(f, 0.01)
            return c
        self.analyze(build, lambda n, f: (self.whole(f, set()), self.assertEqual(len(f.flows), 1)))

    def test_C16_large_messages_over_the_wrap(self):
        big = b'Subject: s\r\n\r\n' + b''.join(b'line %d of a large message\r\n' % i for i in range(60000)) + SIGNATURE + b'\r\n.\r\n'

        def build(capture, name):
            isn, mode = name
            c = w.Connection(capture, isn=isn, server_isn=0x7FFFFFF0).open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            c.flight(0, big, mode)
            return self.end(c)

        def check(name, flow):
            self.whole(flow, set(), body=big)
        self.analyze(build, check, names=[(i, m) for i in (0xFFFFFFFF - len(big) // 2, 0x7FFFFFFF - len(big) // 2) for m in ('whole', 'swap', 'twice')])

    def test_C16_offsets_beyond_four_gigaoctets(self):
        # Octets that nobody showed us, acknowledged a window at a time, carry the stream past 2^31 and 2^32.
        def build(capture, _):
            c = w.Connection(capture)
            c.frame(0, SYN, seq=-1, options=WSCALE)
            c.frame(1, SYN | ACK, seq=-1, options=WSCALE)
            c.frame(0, ACK)
            talk(c, GREETING + envelope())
            for step in range(5):
                size = 0x3FFF0000
                c.frame(1, ACK, window=65535, wait=0.3)
                c.c(b'BDAT %d\r\n' % size)
                c.next[0] += size
                c.frame(1, ACK, window=65535, wait=0.3)
                c.frame(1, ACK, window=65535, wait=0.3)
                c.s(OK)
            c.c(b'RSET\r\n').s(OK)
            return talk(c, mail(BODY) + BYE).close()

        def check(_, flow):
            self.assertEqual([(m['smtp']['size'], m['smtp']['outcome']) for m in flow.messages[1:]], [(len(BODY) - 3, 'accepted')])
            self.assertEqual(flow.hits, {1, 2, 3})
            self.assertIn('stream-gap', flow.anomalies)
        self.analyze(build, check)

    def test_C16_acknowledgements_out_of_reach(self):
        def build(capture, name):
            c = self.begin(capture)
            c.send(0, BODY[:20])
            for _ in range(3):
                c.frame(1, ACK, ack=c.next[0] + name)
            c.send(0, BODY[20:])
            return self.end(c)
        self.analyze(build, lambda n, f: self.whole(f), names=(0x7FFFFFFF, 0x80000000, -0x7FFFFFFF, 0x10000, -0x10000))

    def test_C17_connections_one_after_another(self):
        def build(capture, name):
            first = None
            for i in range(6):
                c = w.Connection(capture, isn=1000 + i * (0x10000000 if name != 'same numbers' else 0), server_isn=500000 + i * 0x20000000)
                if first:
                    c.port = first.port
                first = first or c
                c.open()
                talk(c, GREETING + mail(BODY) + BYE)
                if name == 'rst':
                    c.frame(0, RST | ACK)
                elif name == 'server rst':
                    c.frame(1, RST | ACK)
                else:
                    c.close()
                capture.now += 61 if name == 'same numbers' else 0.5
            return first

        def check(name, flow):
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['accepted'] * 6)
            self.assertEqual(len(flow.flows), 6)
            self.assertEqual(flow.anomalies, set())
        self.analyze(build, check, names=('fin', 'rst', 'server rst', 'same numbers'))

    def test_C17_syn_again_with_another_number(self):
        # The client gave up and began again before anything was answered; or forgot, and the server asks.
        def build(capture, name):
            c = w.Connection(capture, isn=5_000_000)
            if name == 'before the answer':
                c.frame(0, SYN, seq=-70000)
                return talk(c.open(), GREETING + mail(BODY) + BYE).close()
            old = w.Connection(capture, isn=1000)
            c.port = old.port
            talk(old.open(), GREETING)
            c.frame(0, SYN, seq=-1)
            old.frame(1, ACK)  # challenge
            c.frame(0, RST, seq=0 - c.isn[0] - 1 + old.isn[0] + 1 + old.next[0])
            capture.now += 1
            return talk(c.open(), GREETING + mail(BODY) + BYE).close()

        def check(name, flow):
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['accepted'])
            self.assertEqual(flow.hits, {1, 2, 3})
        self.analyze(build, check, names=('before the answer', 'forgotten'))

    def test_C18_picked_up_anywhere(self):
        # The appliance starts at any frame of a session: the message that begins after it is read whole.
        one = w.Capture()
        c = w.Connection(one).open()
        talk(c, GREETING + mail(b'Subject: x\r\n\r\nfirst\r\n.\r\n', b'first@a.test'))
        at = len(one.frames)
        talk(c, mail(BODY) + BYE).close()
        frames = [f for _, f in one.frames]
        for start in range(3, at):
            capture = w.Capture()
            for f in frames[start:]:
                capture.add(f)
            flow = self.run_capture(capture).flow(c)
            last = flow.messages[-1]
            self.assertEqual((last['smtp']['size'], last['smtp']['outcome'], last['smtp']['mail_from']), (len(BODY) - 3, 'accepted', '<a@a.test>'), start)
            self.assertEqual(flow.hits, {1, 2, 3}, start)
            self.assertEqual(len(flow.flows), 1)

    def test_C19_ends_of_every_kind(self):
        def build(capture, name):
            c = talk(w.Connection(capture).open(), GREETING + mail(BODY) + BYE[:1])
            if name == 'server first':
                c.frame(1, FIN | ACK | PSH, BYE[1][1])
                c.next[1] += len(BYE[1][1]) + 1
                c.frame(0, FIN | ACK)
                c.next[0] += 1
                c.frame(1, ACK)
            elif name == 'half closed':
                c.frame(0, FIN | ACK)
                c.next[0] += 1
                c.frame(1, ACK)
                capture.now += 20
                c.frame(1, ACK | PSH, BYE[1][1])
                c.next[1] += len(BYE[1][1])
                c.frame(1, FIN | ACK)
                c.next[1] += 1
                c.frame(0, ACK)
            elif name == 'fin before its data':
                c.frame(1, FIN | ACK, seq=c.next[1] + len(BYE[1][1]))
                c.frame(1, ACK | PSH, BYE[1][1])
                c.next[1] += len(BYE[1][1]) + 1
                c.frame(0, FIN | ACK)
                c.next[0] += 1
                c.frame(1, ACK)
            elif name == 'fins again':
                talk(c, BYE[1:])
                for _ in range(3):
                    c.frame(0, FIN | ACK)
                    c.frame(1, FIN | ACK)
                c.next = [c.next[0] + 1, c.next[1] + 1]
                c.frame(0, ACK)
                c.frame(1, ACK)
            return c

        def check(name, flow):
            self.whole(flow, set())
            self.assertEqual(flow.flows[0]['flow']['state'], 'closed')
            self.assertEqual(len(flow.flows), 1)
        self.analyze(build, check, names=('server first', 'half closed', 'fin before its data', 'fins again'))

    def test_C20_timestamps_that_wrap_and_stop(self):
        def build(capture, name):
            c = w.Connection(capture, stamps=True)
            c.clock = {'wrap': 0xFFFFFFFA, 'sign': 0x7FFFFFFA, 'stops': 1000}[name]
            original = c.segment

            def segment(side, flags, payload=b'', **more):
                c.clock &= 0xFFFFFFFF
                if c.clock == 0xFFFFFFFF:
                    c.clock = -1
                return original(side, flags, payload, **more)
            c.segment = segment
            c.open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            if name == 'stops':
                c.stamps = False
            c.c(BODY)
            return self.end(c)
        self.analyze(build, lambda n, f: (self.assertEqual(f.hits, {1, 2, 3}), self.assertEqual([m['smtp']['outcome'] for m in f.messages], ['accepted']), self.assertNotIn('paws', f.anomalies)), names=('wrap', 'sign', 'stops'))

    def test_C21_headers_longer_than_usual(self):
        def build(capture, name):
            c = w.Connection(capture)

            def datagram(side, segment, **more):
                a, b = (c.client, c.server) if side == 0 else (c.server, c.client)
                whole = w.ip(a, b, segment, **more)
                options = {'ip options': b'\x07\x07\x04' + bytes(5), 'all ip options': b'\x01' * 40}[name]
                head = bytearray(whole[:20])
                head[0] = 0x40 | (20 + len(options)) // 4
                struct.pack_into('!H', head, 2, len(whole) + len(options))
                struct.pack_into('!H', head, 10, 0)
                head = bytes(head) + options
                return head[:10] + struct.pack('!H', w.checksum(head)) + head[12:] + segment
            c.datagram = datagram
            c.open()
            return talk(c, GREETING + mail(BODY) + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f, set()), names=('ip options', 'all ip options'))

    def test_C22_fragments_cut_in_odd_places(self):
        def build(capture, name):
            c = self.begin(capture)
            segment = c.segment(0, ACK | PSH, BODY)
            size = {'tiny first': 8, 'twenty-four': 24, 'two': len(segment) // 2 // 8 * 8}.get(name, 16)
            pieces = [(i, segment[i:i + size]) for i in range(0, len(segment), size)]
            last = pieces[-1][0]
            order = pieces
            if name == 'last first':
                order = pieces[-1:] + pieces[:-1]
            if name == 'each twice':
                order = [p for p in pieces for _ in range(2)]
            if name == 'middle out':
                order = pieces[len(pieces) // 2:] + pieces[:len(pieces) // 2]
            if name == 'other flow between':
                other = w.Connection(capture)
                other.port = c.port
                other.client = '10.0.0.9'
            for at, octets in order:
                c.put(0, c.datagram(0, octets, ident=77, frag=(0x2000 if at != last else 0) | at // 8))
                if name == 'other flow between':  # same identification, other source
                    other.put(0, other.datagram(0, bytes(len(octets)), ident=77, frag=(0x2000 if at != last else 0) | at // 8))
            c.next[0] += len(BODY)
            c.frame(1, ACK)
            return self.end(c)
        self.analyze(build, lambda n, f: self.whole(f), names=('tiny first', 'twenty-four', 'two', 'last first', 'each twice', 'middle out', 'other flow between'))

    def test_C24_copies_with_wrong_sums_everywhere(self):
        def build(capture, _):
            c = w.Connection(capture).open()
            for who, octets in GREETING + mail(BODY) + BYE:
                side = 'CS'.index(who)
                c.frame(side, ACK | PSH, b'#' * len(octets), bad_sum=True)
                c.frame(side, RST, bad_sum=True)
                c.frame(side, FIN | ACK, bad_sum=True)
                c.frame(side, SYN, seq=70000, bad_sum=True)
                c.frame(1 - side, ACK, ack=99999, bad_sum=True)
                c.send(side, octets)
            return c.close()
        self.analyze(build, lambda n, f: (self.whole(f, {'bad-tcp-checksum'}), self.assertEqual(len(f.flows), 1)))
