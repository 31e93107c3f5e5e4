"""Section C of the wire cases as far as it is TCP: end to end."""
import struct

import wirecraft as w
from cases_base import BODY, BYE, ENFORCE, GREETING, OK, REJECT, SIGNATURE, Segments, data, envelope, mail, talk
from wirecraft import ACK, FIN, PSH, RST, SYN, URG

HALF = len(SIGNATURE) // 2


class Tcp(Segments):
    def test_C02_timestamps_in_the_handshake(self):
        def build(capture, name):
            c = w.Connection(capture, stamps=True)
            if name == 'one-sided option':
                c.frame(0, SYN, seq=-1, options=b'\x02\x04\x05\xb4')
                c.frame(1, SYN | ACK, seq=-1)
                c.stamps = False
                c.frame(0, ACK)
            else:
                c.frame(0, SYN, seq=-1, stamp=10)
                c.frame(0, SYN, seq=-1, stamp=20)
                c.echo[0] = name
                c.frame(1, SYN | ACK, seq=-1)
                c.echo[0] = 20
                c.frame(0, ACK)
            return talk(c, GREETING + mail(BODY) + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f), names=(10, 20, 'one-sided option'))

    def test_C03_illegal_flags(self):
        def build(capture, name):
            c = w.Connection(capture)
            if name == 'syn with ack field':
                # The acknowledgement field of a segment without the flag.
                raw = bytearray(c.segment(0, SYN, seq=-1))
                raw = w.tcp(c.client, c.server, c.port, 25, c.isn[0], 0x1234, SYN)
                c.put(0, c.datagram(0, bytes(raw)))
                c.frame(1, SYN | ACK, seq=-1)
                c.frame(0, ACK)
            else:
                c.open()
            talk(c, GREETING)
            if name == 'ack zero':
                octets = b'MAIL FROM:<a@a.test>\r\n'
                c.put(0, c.datagram(0, w.tcp(c.client, c.server, c.port, 25, c.isn[0] + 1 + c.next[0], 0, ACK | PSH, octets)))
                c.frame(0, ACK | PSH, octets)
                c.next[0] += len(octets)
                c.frame(1, ACK)
                c.s(OK)
                return talk(c, envelope()[2:] + data(BODY) + BYE).close()
            if name == 'syn fin':
                c.frame(0, SYN | FIN)
                c.put(0, c.datagram(0, w.tcp(c.client, c.server, c.port, 25, c.isn[0] + 777777, 0, SYN)))
            if name in ('null', 'xmas', 'syn rst'):
                c.frame(0, {'null': 0, 'xmas': FIN | PSH | URG, 'syn rst': SYN | RST}[name])
            return talk(c, mail(BODY) + BYE).close()

        def check(name, flow):
            self.whole(flow)
            self.assertEqual(len(flow.flows), 1)
            wanted = {'syn with ack field': {'ack-without-flag'}, 'ack zero': set(), 'syn fin': {'bad-flags', 'syn-in-connection'},
                      'null': {'bad-flags'}, 'xmas': set(), 'syn rst': {'bad-flags'}}[name]
            self.assertLessEqual(wanted, flow.anomalies)
            self.assertTrue(flow.anomalies)
        self.analyze(build, check, names=('syn with ack field', 'ack zero', 'syn fin', 'null', 'xmas', 'syn rst'))

    def test_C04_rst_with_signature_option(self):
        def build(capture, name):
            kind, side, flags = name
            c = w.Connection(capture).open()
            talk(c, GREETING)
            c.frame(side, flags, options=bytes([kind, 18]) + bytes(range(16)))
            return talk(c, mail(BODY) + BYE).close()

        def check(_, flow):
            self.whole(flow)
            self.assertIn('suspected-rst-inject', flow.anomalies)
        self.analyze(build, check, names=[(k, s, f) for k in (19, 29) for s in (0, 1) for f in (RST, RST | ACK)])

    def test_C05_injected_rst_fin(self):
        def build(capture, name):
            stamps = name != 'ts none'
            c = w.Connection(capture, stamps=stamps)
            if name in ('wrong echo', 'ts none'):
                c.frame(0, SYN, seq=-1)
                c.frame(1, RST | ACK, seq=-1, options=struct.pack('!BBBBII', 1, 1, 8, 10, 5, 424242))
                c.frame(1, SYN | ACK, seq=-1)
                c.frame(0, ACK)
            else:
                c.open()
            talk(c, GREETING)
            if name == 'fin no ack':
                c.put(0, c.datagram(0, w.tcp(c.client, c.server, c.port, 25, c.isn[0] + 1 + c.next[0], 0x7777, FIN)))
            if name == 'fin':
                c.frame(0, FIN | ACK)
            return talk(c, mail(BODY) + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f), names=('wrong echo', 'ts none', 'fin no ack', 'fin'))

    def test_C06_rst(self):
        def build(capture, name):
            c = w.Connection(capture).open()
            talk(c, GREETING + envelope())
            if name == 'far':
                c.frame(0, RST, seq=c.next[0] + 0x20000000)
            elif name == 'far back':
                c.frame(0, RST, seq=c.next[0] - 0x20000000)
            elif name == 'ignored':
                c.frame(0, RST)
            elif name == 'server ignored':
                c.frame(1, RST)
            elif name == 'payload':
                c.frame(0, RST | ACK, b'BYE')
            elif name == 'in window':
                c.frame(0, RST, seq=c.next[0] + 100)
            elif name == 'holes':
                talk(c, data(b'')[:2])
                c.frame(0, ACK | PSH, BODY[20:], seq=c.next[0] + 20)
                c.frame(0, ACK | PSH, BODY[:10])
                c.frame(0, RST | ACK, seq=c.next[0] + 10)
                return c
            capture.now += 2
            return talk(c, data(BODY) + BYE).close()

        def check(name, flow):
            if name == 'holes':
                self.assertNotIn('stream-gap', flow.anomalies)
                self.assertEqual([m['smtp']['size'] for m in flow.messages], [10])
                return
            self.whole(flow)
            if name == 'payload':
                self.assertIn('rst-with-payload', flow.anomalies)
        self.analyze(build, check, names=('far', 'far back', 'ignored', 'server ignored', 'payload', 'in window', 'holes'))

    def test_C07_handshake_ack_and_early_server(self):
        def build(capture, name):
            c = w.Connection(capture)
            c.frame(0, SYN, seq=-1)
            c.frame(1, SYN | ACK, seq=-1)
            if name == 'no ack':
                c.s(GREETING[0][1])
                return talk(c, GREETING[1:] + mail(BODY) + BYE).close()
            if name == 'ack with data':
                c.frame(0, ACK | PSH, b'EHLO c.test\r\n')
                c.next[0] += 13
                return talk(c, GREETING[:1] + GREETING[2:] + mail(BODY) + BYE).close()
            c.frame(1, ACK | PSH, GREETING[0][1])
            c.next[1] += len(GREETING[0][1])
            if name == 'ack of syn only':
                c.frame(0, ACK, ack=0)
            c.frame(0, ACK)
            return talk(c, GREETING[1:] + mail(BODY) + BYE).close()

        def check(name, flow):
            self.whole(flow)
            self.assertLessEqual(flow.anomalies, {'early-talker'} if name == 'ack with data' else set())
            self.assertEqual(flow.messages[0]['smtp']['helo'], 'c.test')
        self.analyze(build, check, names=('no ack', 'ack with data', 'server early', 'ack of syn only'))

    def test_C08_data_on_syn(self):
        def build(capture, name):
            c = w.Connection(capture)
            c.frame(0, SYN, b'EHLO a.tes', seq=-1, options=b'\x22\x0a' + b'cookie12')
            if name == 'accepted':
                c.next[0] = 10
                c.frame(1, SYN | ACK, seq=-1)
                c.frame(0, ACK)
                return talk(c, [('C', b't\r\n'), ('S', b'220 mx\r\n250 ok\r\n')] + mail(BODY) + BYE).close()
            c.frame(1, SYN | ACK, seq=-1)
            c.frame(0, ACK)
            return talk(c, [('C', b'EHLO other.test\r\n'), ('S', b'220 mx\r\n250 ok\r\n')] + mail(BODY) + BYE).close()

        def check(name, flow):
            self.whole(flow)
            self.assertEqual(flow.messages[0]['smtp']['helo'], 'a.test' if name == 'accepted' else 'other.test')
        self.analyze(build, check, names=('accepted', 'rejected'))
        # Both copies are scanned.
        def signed(capture, _):
            c = w.Connection(capture)
            c.frame(0, SYN, SIGNATURE, seq=-1)
            c.frame(1, SYN | ACK, seq=-1)
            c.frame(0, ACK)
            return talk(c, GREETING + mail(b'x\r\n.\r\n') + BYE).close()
        self.analyze(signed, lambda _, f: self.assertTrue(f.hits))

    def test_C09_urgent(self):
        def build(capture, name):
            c = w.Connection(capture).open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            head = b'Subject: s\r\n\r\n'
            if name in ('one', 'separate'):
                pieces = [head + SIGNATURE[:HALF], b'Q', SIGNATURE[HALF:] + b'\r\n.\r\n']
            elif name == 'two':
                pieces = [head + SIGNATURE[:HALF], b'QR', SIGNATURE[HALF:] + b'\r\n.\r\n']
            elif name == 'inside':
                pieces = [head, SIGNATURE[:HALF] + b'Q' + SIGNATURE[HALF:], b'\r\n.\r\n']
            elif name == 'past':
                pieces = [head, SIGNATURE, b'\r\n.\r\n']
            else:
                pieces = [head + SIGNATURE + b'\r\n', b'.', b'\r\n']
            at = c.next[0]
            for i, piece in enumerate(pieces):
                pointer = {'past': 500, 'two': 2, 'inside': HALF + 1}.get(name, 1)
                urgent = i == 1
                c.frame(0, ACK | PSH | (URG if urgent else 0), piece, seq=at, urgent=pointer if urgent else 0)
                at += len(piece)
            c.next[0] = at
            c.frame(1, ACK)
            return talk(c, [('S', OK)] + BYE).close()

        def check(name, flow):
            self.assertIn('urg', flow.anomalies)
            self.assertTrue(flow.hits, 'not found')
            self.assertEqual(flow.anomaly_list.count('urg'), 1)
        self.analyze(build, check, names=('one', 'two', 'inside', 'past', 'dot'))

    def test_C11_keep_alive_and_probes(self):
        def build(capture, name):
            c = w.Connection(capture).open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            first, rest = BODY[:20], BODY[20:]
            c.send(0, first)
            if name == 'keep-alive':
                for _ in range(3):
                    c.frame(0, ACK, b'#', seq=c.next[0] - 1, wait=60)
                    c.frame(1, ACK)
                c.send(0, rest)
            elif name == 'probe':
                c.frame(1, ACK, window=0)
                for _ in range(3):
                    c.frame(0, ACK, rest[:1], wait=1)
                    c.frame(1, ACK, window=0)
                c.send(0, rest)
            else:
                c.frame(1, ACK, ack=c.next[0] + 50, window=1)
                c.send(0, rest)
            return talk(c, [('S', OK)] + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f), names=('keep-alive', 'probe', 'odd window'))

    def test_C13_acknowledgement_before_the_data(self):
        def build(capture, name):
            c = w.Connection(capture).open()
            talk(c, GREETING)
            for who, octets in mail(BODY):
                if who == 'C':
                    if name == 'ack first':
                        c.frame(1, ACK, ack=c.next[0] + len(octets))
                        capture.now += 0.005
                    c.send(0, octets, answer=name != 'ack first')
                else:
                    c.send(1, octets)
            return talk(c, BYE).close()

        def gap(capture, _):
            c = w.Connection(capture).open()
            talk(c, GREETING)
            c.next[0] += 40  # never seen, but acknowledged
            c.frame(1, ACK)
            c.s(OK)
            capture.now += 1
            return talk(c, mail(BODY) + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f, set()), names=('ack first',))
        self.analyze(gap, lambda n, f: (self.whole(f), self.assertIn('stream-gap', f.anomalies)))

    def test_C13_reply_seen_before_its_command(self):
        def build(capture, _):
            c = w.Connection(capture).open()
            talk(c, GREETING)
            octets = b'MAIL FROM:<a@a.test>\r\n'
            c.frame(1, ACK | PSH, OK, ack=c.next[0] + len(octets))
            c.frame(0, ACK | PSH, octets)
            c.next[0] += len(octets)
            c.next[1] += len(OK)
            c.frame(0, ACK)
            return talk(c, envelope()[2:] + data(BODY) + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f))

    OVERLAPS = [(shift, size, order) for shift in (-2, 0, 2) for size in (2, 11, 15, 20) for order in ('in', 'out')]

    def overlap(self, capture, name, twin=b'Y'):
        shift, size, order, signed = name
        c = w.Connection(capture).open()
        talk(c, GREETING + envelope() + data(b'')[:2])
        text = b'Subject: s\r\n\r\nab' + SIGNATURE + b'cdefghijkl\r\n.\r\n'
        decoy = text.replace(SIGNATURE, twin * len(SIGNATURE))
        first, second = (text, decoy) if signed == 0 else (decoy, text)
        at = text.index(SIGNATURE)
        begin = at + shift
        pieces = [(0, first[:at]), (at, first[at:at + len(SIGNATURE)]), (begin, second[begin:begin + size]), (at + len(SIGNATURE), first[at + len(SIGNATURE):])]
        if order == 'out':
            pieces = pieces[1:3] + pieces[:1] + pieces[3:]
        for offset, octets in pieces:
            c.frame(0, ACK | PSH, octets, seq=c.next[0] + offset)
        c.next[0] += len(text)
        c.frame(1, ACK)
        return talk(c, [('S', OK)] + BYE).close()

    def test_C14_overlaps(self):
        def check(name, flow):
            shift, size, order, signed = name
            full = shift <= 0 and size + shift >= len(SIGNATURE) or signed == 0
            if full:
                self.assertTrue(flow.hits, 'not found')
            self.assertIn('overlap-diff', flow.anomalies)
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['accepted'])
        names = [(*o, s) for o in self.OVERLAPS for s in (0, 1)]
        names = [n for n in names if not (n[0] == -2 and n[1] == 2)]  # only the two octets that do not differ
        result = self.analyze(self.overlap, check, names=names, wire=False)
        self.assertEqual(len(result.left), len(result.sent))

    def test_C14_identical_overlap_is_no_event(self):
        def build(capture, name):
            c = w.Connection(capture).open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            for offset, size in ((0, 20), (10, 20), (0, len(BODY)), (0, len(BODY)), (len(BODY) - 3, 3)):
                c.frame(0, ACK | PSH, BODY[offset:offset + size], seq=c.next[0] + offset)
            c.next[0] += len(BODY)
            c.frame(1, ACK)
            return talk(c, [('S', OK)] + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f, set()))

    def test_C14_what_leaves_was_inspected(self):
        capture = w.Capture()
        played = [(n, self.overlap(capture, (*n, 1))) for n in self.OVERLAPS]
        result = self.run_capture(capture, wire=False, rules=REJECT, policy=ENFORCE)
        for name, c in played:
            left = w.stream(result.left, c, 0)
            flow = result.flow(c)
            blocked = [m['smtp']['outcome'] for m in flow.messages] == ['blocked']
            self.assertTrue(blocked or SIGNATURE not in left, name)
            if blocked:
                self.assertFalse(left.endswith(b'.\r\n'), name)

    def test_C15_spurious_retransmissions(self):
        def build(capture, _):
            c = w.Connection(capture).open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            c.send(0, BODY)
            for _ in range(3):
                c.frame(0, ACK | PSH, BODY, seq=c.next[0] - len(BODY), wait=0.3)
            talk(c, [('S', OK)] + BYE)
            c.close()
            for _ in range(3):
                c.frame(0, ACK | PSH, BYE[0][1], seq=c.next[0] - 1 - len(BYE[0][1]), wait=0.3)
                c.frame(0, FIN | ACK, seq=c.next[0] - 1)
            return c

        def check(_, flow):
            self.whole(flow, set())
            self.assertEqual(len(flow.flows), 1)
        self.analyze(build, check)

    def test_C16_sequence_wrap(self):
        big = b'Subject: s\r\n\r\n' + b'0123456789abcdef' * 400 + SIGNATURE + b'\r\n.\r\n'

        def build(capture, name):
            c = w.Connection(capture, isn=name, server_isn=0xFFFFFFF0).open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            c.flight(0, big, 'swap')
            if name == 0x7FFFFF00:
                c.frame(1, ACK, ack=c.next[0] + 0x7FFFFFFF)
            return talk(c, [('S', OK)] + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f, body=big), names=(0xFFFFFFF0, 0xFFFFFFFF, 0x7FFFFF00, 0xFFFFF800))

    def test_C17_tuple_reuse(self):
        def again(capture, c, isn):
            d = w.Connection(capture, isn=isn, server_isn=900000)
            d.port = c.port
            return d

        def build(capture, name):
            c = w.Connection(capture)
            if name == 'leftovers':
                c.next = [5000, 7000]
                c.frame(0, FIN | ACK)
                c.frame(1, RST | ACK)
                d = again(capture, c, 77777)
            elif name == 'time-wait':
                talk(c.open(), GREETING + BYE).close()
                d = again(capture, c, 1000 + 100000)
                capture.now += 1
            elif name == 'after rst':
                talk(c.open(), GREETING)
                c.frame(0, RST | ACK)
                d = again(capture, c, 5)
            else:
                c.frame(0, SYN, seq=-1)
                if name == 'resent':
                    c.frame(0, SYN, seq=-1, wait=1)
                    c.frame(0, SYN, seq=-1, wait=2)
                c.frame(1, SYN | ACK, seq=-1)
                c.frame(0, ACK)
                talk(c, GREETING)
                if name == 'late':
                    c.frame(0, SYN, seq=-1)
                return talk(c, mail(BODY) + BYE).close()
            d.open()
            return talk(d, GREETING + mail(BODY) + BYE).close()

        def check(name, flow):
            self.whole(flow)
            self.assertEqual(len(flow.flows), 2 if name in ('time-wait', 'after rst', 'leftovers') else 1)
            self.assertNotIn('one-sided', flow.anomalies)
        self.analyze(build, check, names=('leftovers', 'time-wait', 'after rst', 'resent', 'late'))

    def test_C18_midstream(self):
        def build(capture, name):
            c = w.Connection(capture)
            if name == 'syn/ack':
                c.frame(1, SYN | ACK, seq=-1)
                c.frame(0, ACK)
                return talk(c, GREETING + mail(BODY) + BYE).close()
            c.next = [40000, 30000]
            if name == 'reply':
                return talk(c, [('S', OK)] + mail(BODY) + BYE).close()
            if name == 'command':
                return talk(c, mail(BODY) + BYE).close()
            if name == 'body':
                return talk(c, [('C', b'the middle of a line\r\nand more ' + SIGNATURE + b'\r\n.\r\n'), ('S', OK)] + BYE).close()
            c.frame(0, FIN | ACK | PSH, b'last line ' + SIGNATURE + b'\r\n.\r\nQUIT\r\n')
            c.next[0] += 34
            c.frame(1, ACK)
            return c

        def check(name, flow):
            self.assertIn(1, flow.hits)
            if name not in ('syn/ack',):
                self.assertIn('midstream', flow.anomalies)
            self.assertEqual(flow.flows[0]['dest_port'], 25)
            self.assertEqual(len(flow.flows), 1)
            if name in ('syn/ack', 'reply', 'command'):
                self.whole(flow)
            else:
                self.assertIn(2, flow.hits)
        self.analyze(build, check, names=('syn/ack', 'reply', 'command', 'body', 'fin data'))

    def test_C18_midstream_on_odd_ports(self):
        # Orientation by the form of the reply where neither port says it.
        def build(capture, name):
            c = w.Connection(capture, dport=2525)
            c.next = [40000, 30000]
            if name == 'server first':
                c.s(b'250 ok\r\n')
            return talk(c, mail(BODY) + BYE).close()
        self.analyze(build, lambda n, f: (self.whole(f), self.assertEqual(f.flows[0]['dest_port'], 2525)), names=('server first', 'client first'))

    def test_C19_split_handshake(self):
        def build(capture, name):
            c = w.Connection(capture)
            c.frame(0, SYN, seq=-1)
            if name == '5-way':
                c.frame(1, ACK)
            c.frame(1, SYN, seq=-1)
            if name == 'crossing':
                c.frame(0, SYN | ACK, seq=-1)
                c.frame(1, SYN | ACK, seq=-1)
            else:
                c.frame(0, SYN | ACK, seq=-1)
                c.frame(1, ACK)
            talk(c, GREETING + mail(BODY) + BYE)
            if name == 'fins cross':
                c.frame(0, FIN | ACK)
                c.frame(1, FIN | ACK)
                c.next = [c.next[0] + 1, c.next[1] + 1]
                c.frame(0, ACK)
                c.frame(1, ACK)
                return c
            if name == 'old ack':
                c.frame(0, FIN | ACK)
                c.frame(1, ACK, ack=c.next[0] - 3)
                c.next[0] += 1
                c.frame(1, ACK)
                c.frame(1, FIN | ACK)
                c.next[1] += 1
                c.frame(0, ACK)
                return c
            return c.close()

        def check(name, flow):
            self.whole(flow)
            self.assertIn('split-handshake', flow.anomalies)
            self.assertEqual((flow.flows[0]['dest_port'], flow.flows[0]['flow']['state']), (25, 'closed'))
            self.assertEqual(len(flow.flows), 1)
        self.analyze(build, check, names=('4-way', '5-way', 'crossing', 'fins cross', 'old ack'))

    def test_C20_paws(self):
        def build(capture, name):
            c = w.Connection(capture, stamps=True)
            c.clock = 2_000_000
            c.open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            if name == 'old duplicate':
                c.frame(0, ACK | PSH, b'decoy decoy', stamp=100)
                c.echo[0] = c.clock
            elif name == 'idle':
                capture.now += 25 * 86400
                c.clock = 100
            elif name == 'old signed':
                c.frame(0, ACK | PSH, SIGNATURE, stamp=100)
                c.echo[0] = c.clock
                return talk(c, data(b'Subject: s\r\n\r\nharmless\r\n.\r\n')[2:] + BYE).close()
            return talk(c, data(BODY)[2:] + BYE).close()

        def check(name, flow):
            if name == 'old signed':
                self.assertTrue(flow.hits)
                self.assertEqual([m['smtp']['size'] for m in flow.messages], [24])
                return
            if name == 'old duplicate':
                self.whole(flow)
                self.assertIn('paws', flow.anomalies)
            else:
                self.assertEqual(flow.hits, {1, 2, 3})
                self.assertNotIn('paws', flow.anomalies)
        self.analyze(build, check, names=('old duplicate', 'idle', 'old signed'))
