"""Section C below TCP, D02, D03, and E15's answers in every encapsulation: end to end."""
import struct

import wirecraft as w
from cases_base import BODY, BYE, ENFORCE, GREETING, OK, REJECT, SIGNATURE, Segments, data, envelope, mail, talk
from wirecraft import ACK, PSH, RST


class Ip(Segments):
    def test_C21_ip_length(self):
        def build(capture, name):
            v6 = name in ('v6 zero', 'v6 pad')
            c = w.Connection(capture, **({'client': '2001:db8::1', 'server': '2001:db8:1::25'} if v6 else {}))
            c.open()
            talk(c, GREETING + envelope())
            if name in ('pad', 'v6 pad'):
                octets = b'DATA\r\n'
                c.put(0, c.datagram(0, c.segment(0, ACK | PSH, octets[:2])), pad=b'JUNK')
                c.next[0] += 2
                c.frame(1, ACK, pad=b'\1\2\3\4\5\6')
                c.frame(0, ACK, pad=b'RSET\r\n')
                c.send(0, octets[2:])
                c.s(b'354 go\r\n')
                return talk(c, data(BODY)[2:] + BYE).close()
            talk(c, data(b'')[:2])
            c.put(0, c.datagram(0, c.segment(0, ACK | PSH, BODY + b''), total=0))
            c.next[0] += len(BODY)
            c.frame(1, ACK)
            return talk(c, [('S', OK)] + BYE).close()

        def check(name, flow):
            self.whole(flow)
            if 'pad' in name:
                self.assertEqual(flow.anomalies, set())
            else:
                self.assertIn('bad-ip-length', flow.anomalies)
        self.analyze(build, check, names=('pad', 'v6 pad', 'zero', 'v6 zero'))

    def test_C22_ipv4_fragments(self):
        def build(capture, name):
            c = w.Connection(capture, encap=(('vlan', 0x8100, 7),) if name == 'some tagged' else ())
            c.open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            segment = c.segment(0, ACK | PSH, BODY)
            pieces = [(i, segment[i:i + 8]) for i in range(0, len(segment), 8)]
            last = pieces[-1][0]

            def put(piece, ident, flags=None):
                at, octets = piece
                more = at != last if flags is None else flags
                c.put(0, c.datagram(0, octets, ident=ident, frag=(0x2000 if more else 0) | at // 8))
            if name == 'reversed':
                pieces.reverse()
            if name == 'missing':
                for piece in pieces[:2] + pieces[3:]:
                    put(piece, 5)
                for piece in pieces:  # sent again, with another identification
                    put(piece, 6)
            elif name == 'reuse':
                for piece in pieces[3:6]:
                    put(piece, 9)
                capture.now += 60
                for piece in pieces:
                    put(piece, 9)
            elif name == 'twice':
                for piece in pieces:
                    put(piece, 4)
                    put(piece, 4)
            elif name == 'overlap last':
                for piece in pieces[:-1]:
                    put(piece, 3)
                put((last - 8, b'ZZZZZZZZ' + pieces[-1][1]), 3, False)
                for piece in pieces:
                    put(piece, 8)
            else:
                for i, piece in enumerate(pieces):
                    if name == 'some tagged':
                        c.encap = (('vlan', 0x8100, 7),) if i % 2 else ()
                    put(piece, 2)
                c.encap = (('vlan', 0x8100, 7),) if name == 'some tagged' else ()
            c.next[0] += len(BODY)
            c.frame(1, ACK)
            return talk(c, [('S', OK)] + BYE).close()

        def check(name, flow):
            self.whole(flow)
        self.analyze(build, check, names=('in order', 'reversed', 'missing', 'reuse', 'twice', 'overlap last', 'some tagged'))

    def test_C22_ipv6_fragments(self):
        def fragment(c, octets, at, more, ident=1):
            c.put(0, w.ip(c.client, c.server, octets, chain=struct.pack('!BBHI', 6, 0, at | more, ident), first=44))
        # One message of about 1,100 octets.
        body = b'Subject: s\r\n\r\n' + b'y' * 1000 + SIGNATURE + b'\r\n.\r\n'

        def build(capture, name):
            c = w.Connection(capture, client='2001:db8::1', server='2001:db8:1::25').open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            segment = c.segment(0, ACK | PSH, body)
            if name == 'overlap':
                fragment(c, segment[:400], 0, 1)
                fragment(c, segment[800:], 800, 0)
                fragment(c, segment[400:928], 400, 1)
                c.frame(0, ACK | PSH, body)
            elif name == 'atomic':
                fragment(c, segment, 0, 0)
            else:
                order = [(0, 400, 1), (400, 800, 1), (800, None, 0)]
                for a, b, more in (reversed(order) if name == 'reversed' else order):
                    fragment(c, segment[a:b], a, more)
            c.next[0] += len(body)
            c.frame(1, ACK)
            return talk(c, [('S', OK)] + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f, body=body), names=('in order', 'reversed', 'atomic', 'overlap'))
        capture = w.Capture()
        build(capture, 'overlap')
        result = self.run_capture(capture)
        self.assertIn('fragment-overlap', [e['anomaly']['event'] for e in result.events if e['event_type'] == 'anomaly'])

    def test_C23_extension_headers(self):
        def chain(*kinds):
            """Octets of the chain: each header names the next."""
            out = b''
            for i, kind in enumerate(kinds):
                following = kinds[i + 1] if i + 1 < len(kinds) else 6
                out += {0: struct.pack('!BB', following, 0) + b'\1\4\0\0\0\0', 60: struct.pack('!BB', following, 0) + b'\1\4\0\0\0\0',
                        44: struct.pack('!BBHI', following, 0, 0, 99), 51: struct.pack('!BBHII', following, 4, 0, 1, 2) + bytes(12),
                        43: struct.pack('!BBBB', following, 2, 4, 0) + bytes(20), 253: struct.pack('!BB', following, 0) + bytes(6),
                        135: struct.pack('!BB', following, 0) + bytes(6)}[kind]
            return out
        chains = {'hbh': (0,), 'opts': (0,) + (60,) * 8, 'atomic': (44,), 'ah': (51,), 'srh': (43,), 'all': (0, 60, 43, 44, 51, 60), 'mobility': (135,), 'unknown': (253,), 'long': (60,) * 60}

        def build(capture, name):
            c = w.Connection(capture, client='2001:db8::1', server='2001:db8:1::25', chain=chain(*chains[name]), first=chains[name][0])
            return talk(c.open(), GREETING + mail(BODY) + BYE).close()

        def check(name, flow):
            if name not in ('unknown', 'long', 'mobility'):
                self.whole(flow)
        result = self.analyze(build, check, names=tuple(chains))
        self.assertIn('extension-chain', [e['anomaly']['event'] for e in result.events if e['event_type'] == 'anomaly'])

    def test_C24_checksums(self):
        def build(capture, name):
            c = w.Connection(capture).open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            decoy = b'd' * len(BODY)
            if name == 'tcp':
                c.frame(0, ACK | PSH, decoy, bad_sum=True)
            else:
                c.put(0, c.datagram(0, c.segment(0, ACK | PSH, decoy), bad_sum=True))
            return talk(c, data(BODY)[2:] + BYE).close()
        self.analyze(build, lambda n, f: self.whole(f, {'bad-tcp-checksum' if n == 'tcp' else 'bad-ip-checksum'}), names=('tcp', 'ip'))
        only = w.Capture()
        c = w.Connection(only).open()
        talk(c, GREETING + envelope() + data(b'')[:2])
        c.frame(0, ACK | PSH, BODY, bad_sum=True)
        c.next[0] += len(BODY)
        talk(c, [('S', OK)])
        self.assertEqual(self.run_capture(only, options=['--checksums', 'off']).flow(c).hits, {1, 2, 3})

    ENCAPS = {'plain': (), 'vlan': (('vlan', 0x8100, 7),), 'priority': (('vlan', 0x8100, 0xE000),), 'qinq': (('vlan', 0x88A8, 7), ('vlan', 0x8100, 7)),
              'swapped': (('vlan', 0x88A8, 20), ('vlan', 0x8100, 10)), 'swapped back': (('vlan', 0x88A8, 10), ('vlan', 0x8100, 20)),
              '9100': (('vlan', 0x9100, 5), ('vlan', 0x8100, 6)), 'three': (('vlan', 0x88A8, 1), ('vlan', 0x8100, 2), ('vlan', 0x8100, 3)),
              'pppoe': (('pppoe',),), 'pfc': (('pppoe-pfc',),), 'vlan pppoe': (('vlan', 0x8100, 7), ('pppoe',)),
              'qinq pppoe': (('vlan', 0x88A8, 7), ('vlan', 0x8100, 8), ('pppoe',)), 'mpls': (('mpls', 16),), 'mpls 3': (('mpls', 16), ('mpls', 17), ('mpls', 18)), 'vlan mpls': (('vlan', 0x8100, 9), ('mpls', 100))}

    def test_D02_D03_encapsulations(self):
        for v6 in (False, True):
            def build(capture, name):
                ends = {'client': '2001:db8::1', 'server': '2001:db8:1::25'} if v6 else {}
                c = w.Connection(capture, encap=self.ENCAPS[name], **ends)
                return talk(c.open(), GREETING + mail(BODY) + BYE).close()

            def check(name, flow):
                self.whole(flow, set())
                tags = [layer[2] & 0xFFF for layer in self.ENCAPS[name] if layer[0] == 'vlan']
                self.assertEqual(flow.flows[0].get('vlan', []), tags)
            self.analyze(build, check, names=tuple(self.ENCAPS))

    def test_D02_same_tuple_in_two_vlans(self):
        capture = w.Capture()
        a = w.Connection(capture, encap=self.ENCAPS['swapped'])
        b = w.Connection(capture, encap=self.ENCAPS['swapped back'])
        b.port = a.port
        a.open(), b.open()
        for (who, x), (_, y) in zip(GREETING + mail(BODY) + BYE, GREETING + mail(BODY.replace(SIGNATURE, b'harmless')) + BYE):
            a.send('CS'.index(who), x), b.send('CS'.index(who), y)
        flow = self.run_capture(capture).flow(a)
        self.assertEqual(sorted(f['vlan'] for f in flow.flows), [[10, 20], [20, 10]])
        self.assertEqual(len(flow.messages), 2)
        self.assertEqual({tuple(e['vlan']) for e in flow.events if e['event_type'] == 'alert'}, {(20, 10)})

    # --- E15: answers of ours

    def check_injected(self, frame, encap, v6):
        """Lengths and checksums of a frame of ours, and its tags."""
        at, expected = 12, list(encap)
        kind = struct.unpack_from('!H', frame, at)[0]
        at += 2
        for layer in expected:
            if layer[0] == 'vlan':
                self.assertEqual((kind, struct.unpack_from('!H', frame, at)[0] & 0xFFF), (layer[1], layer[2] & 0xFFF))
                kind = struct.unpack_from('!H', frame, at + 2)[0]
                at += 4
            elif layer[0] == 'mpls':
                self.assertEqual(kind, 0x8847)
                self.assertEqual(struct.unpack_from('!I', frame, at)[0] >> 12, layer[1])
                at += 4
            else:
                size = struct.unpack_from('!H', frame, at + 4)[0]
                self.assertEqual(size, len(frame) - at - 6)
                at += 7 if layer[0] == 'pppoe-pfc' else 8
        ip = frame[at:]
        if v6:
            self.assertEqual(struct.unpack_from('!H', ip, 4)[0], len(ip) - 40)
            source, target = ip[8:24], ip[24:40]
            protocol, segment = ip[6], ip[40:]
            while protocol in (0, 60, 43):
                protocol, segment = segment[0], segment[8 + segment[1] * 8:]
            self.assertEqual(protocol, 6)
            pseudo = source + target + struct.pack('!IHBB', len(segment), 0, 0, 6)
        else:
            self.assertEqual(struct.unpack_from('!H', ip, 2)[0], len(ip))
            self.assertEqual(w.checksum(ip[:20]), 0)
            pseudo, segment = ip[12:20] + struct.pack('!HH', 6, len(ip) - 20), ip[20:]
        self.assertEqual(w.checksum(pseudo + segment), 0)
        return segment

    def test_E15_reject_on_every_encapsulation(self):
        hop = struct.pack('!BB', 6, 0) + b'\1\4\0\0\0\0'
        for name, encap in self.ENCAPS.items():
            for v6, chain in ((False, b''), (True, b''), (True, hop)):
                for action in ('reject', 'tempfail', 'drop'):
                    capture = w.Capture()
                    ends = {'client': '2001:db8::1', 'server': '2001:db8:1::25', 'chain': chain, 'first': 0} if v6 else {}
                    c = w.Connection(capture, encap=encap, **ends).open()
                    talk(c, GREETING + envelope() + data(b'')[:2])
                    before = len(capture.frames)
                    expected_ack, expected_seq = c.isn[0] + 1 + c.next[0] + len(BODY), c.isn[1] + 1 + c.next[1]
                    c.frame(0, ACK | PSH, BODY)
                    c.next[0] += len(BODY)
                    for _ in range(2):
                        c.frame(0, ACK | PSH, BODY, seq=c.next[0] - len(BODY), wait=0.3)
                    with self.subTest(name):
                        result = self.run_capture(capture, wire=False, rules=REJECT.replace('reject', action), policy=ENFORCE)
                        flow = result.flow(c)
                        self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['blocked'], (name, v6, action))
                        self.assertEqual(result.left[:before], result.sent[:before])
                        ours = [f for f in result.left if f not in result.sent]
                        for f in result.left[before:]:
                            self.assertNotIn(b'\n.\r\n', f)
                        if action == 'drop':
                            continue
                        self.assertTrue(ours)
                        answered = reset = False
                        for f in ours:
                            segment = self.check_injected(f, encap, v6)
                            seq, ack = struct.unpack_from('!II', segment, 4)
                            payload = segment[(segment[12] >> 4) * 4:]
                            if f[:6] == w.INSIDE:
                                if payload and not answered:
                                    answered = True
                                    self.assertTrue(payload.startswith(b'5' if action == 'reject' else b'4'), payload)
                                    self.assertEqual((seq, ack), (expected_seq, expected_ack), (name, action))
                            else:
                                reset |= bool(segment[13] & RST)
                        self.assertTrue(answered and reset, (name, v6, action))

    def test_C_lost_chunks(self):
        """A message of whose chunks the first was never seen is not told as whole."""
        lines = [(b'BDAT %d%s\r\n' % (len(part), last)) + part for part, last in ((BODY[:12], b''), (BODY[12:], b' LAST'))]
        for lost, whole in ((None, True), (0, False)):
            capture = w.Capture()
            c = w.Connection(capture).open()
            talk(c, GREETING + envelope())
            for number, octets in enumerate(lines):
                if number == lost:
                    c.next[0] += len(octets)
                else:
                    c.send(0, octets, answer=False)
                c.send(1, OK, answer=False)
            talk(c, BYE).close()
            flow = self.run_capture(capture).flow(c)
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['accepted'])
            self.assertEqual('sha256' in flow.messages[0]['smtp'], whole)

    def test_E15_reject_after_a_partial_line(self):
        for cut in range(len(BODY) - 6, len(BODY)):
            capture = w.Capture()
            c = w.Connection(capture).open()
            talk(c, GREETING + envelope() + data(b'')[:2])
            c.send(0, BODY[:cut])
            rest = BODY[cut:] + b'MAIL FROM:<q@q.test>\r\nRCPT TO:<r@r.test>\r\n'
            c.frame(0, ACK | PSH, rest)
            c.next[0] += len(rest)
            c.frame(0, ACK | PSH, b'DATA\r\n')
            c.next[0] += 6
            result = self.run_capture(capture, wire=False, rules=REJECT, policy=ENFORCE)
            left = w.stream(result.left, c, 0)
            self.assertFalse(left.endswith(b'.\r\n'), cut)
            self.assertNotIn(b'q@q.test', left)
            self.assertNotIn(b'\n.\r\n', left)
            replies = w.stream(result.left, c, 1)
            self.assertIn(b'\r\n550 ', replies)
            self.assertEqual([m['smtp']['outcome'] for m in result.flow(c).messages], ['blocked'])
