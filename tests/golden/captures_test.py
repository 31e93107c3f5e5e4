#!/usr/bin/env python3
"""`sluicectl analyze` on every capture of tests/captures: messages, their octets and SHA-256, and
what others found in them (expected.tsv; its sentences are spelled out in SENTENCES below).

captures_test.py SLUICECTL CAPTURES"""
import csv
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import tap
import wirecraft

SLUICECTL = CAPTURES = None


def analyze(capture, *options):
    """(exit status, events, stderr)"""
    run = subprocess.run([SLUICECTL, 'analyze', str(capture), *options], capture_output=True,
                         timeout=60)
    events = [json.loads(line) for line in run.stdout.splitlines()]
    return run.returncode, events, run.stderr.decode()


def of_type(events, kind):
    return [e for e in events if e['event_type'] == kind]


def anomalies(events):
    return {e['anomaly']['event'] for e in of_type(events, 'anomaly')}


def frames_of(pcap):
    """(time in ns, frame) of a little-endian capture with microseconds."""
    frames, at = [], 24
    while at < len(pcap):
        seconds, micros, size, _ = struct.unpack_from('<IIII', pcap, at)
        frames.append(((seconds * 1_000_000 + micros) * 1000, pcap[at + 16:at + 16 + size]))
        at += 16 + size
    return frames


class Blocks:
    """A pcapng file, block by block."""

    def __init__(self, order='<'):
        self.octets, self.order = b'', order

    def block(self, kind, body):
        body += b'\0' * (-len(body) % 4)
        size = struct.pack(self.order + 'I', len(body) + 12)
        self.octets += struct.pack(self.order + 'I', kind) + size + body + size
        return self

    def section(self, order=None):
        self.order = order or self.order
        return self.block(0x0a0d0d0a, struct.pack(self.order + 'IHHq', 0x1a2b3c4d, 1, 0, -1))

    def interface(self, link=1, snap=0, **options):
        body = struct.pack(self.order + 'HHI', link, 0, snap)
        for name, value in options.items():
            code, form = {'resolution': (9, 'B'), 'offset': (14, 'q'), 'name': (2, '4s')}[name]
            value = struct.pack(self.order + form, value)
            body += struct.pack(self.order + 'HH', code, len(value)) + value + b'\0' * (-len(value) % 4)
        return self.block(1, body + (b'\0' * 4 if options else b''))

    def packet(self, interface, units, frame):
        return self.block(6, struct.pack(self.order + 'IIIII', interface, units >> 32, units & 0xffffffff, len(frame), len(frame)) + frame)


class Captures(unittest.TestCase):
    def events(self, row):
        options = ['--checksums', 'off'] if 'badtcpsum' in row['oddities'] else []
        status, events, errors = analyze(CAPTURES / row['capture'], *options)
        self.assertEqual(status, 0, errors)
        return events

    def check_row(self, row):
        events = self.events(row)
        for event in events:
            for field in ('timestamp', 'event_type', 'host'):
                self.assertIn(field, event)
        messages = [e for e in of_type(events, 'smtp') if 'via' in e['smtp']]
        if row['messages_how:octets:sha256_prefix']:
            expected = [tuple(m.split(':')) for m in row['messages_how:octets:sha256_prefix'].split(';')]
            found = [(e['smtp']['via'].upper(), str(e['smtp']['size']), e['smtp']['sha256'][:16])
                     for e in messages]
            self.assertEqual(found, expected)
            accepted = sum(e['smtp']['outcome'] == 'accepted' for e in messages)
            self.assertEqual(accepted, int(row['accepted']))
        flows = of_type(events, 'flow')
        mail = [f for f in flows if f.get('app_proto') == 'smtp' or f['dest_port'] == 25]
        self.assertEqual(len(mail), int(row['smtp_flows']))

    def by_name(self, prefix):
        return self.events(next(r for r in ROWS if r['capture'].startswith(prefix)))

    def test_s01_replies(self):
        replies = ' '.join(e['smtp']['reply']['text'] for e in of_type(self.by_name('s01'), 'smtp')
                           if 'reply' in e['smtp'])
        self.assertIn('OK id=1Mugho-0003Dg-Un', replies)
        self.assertTrue(any('auth' in e['smtp'] for e in of_type(self.by_name('s01'), 'smtp')))

    def test_s02_reply(self):
        self.assertIn('queued as 1E2891CA025',
                      of_type(self.by_name('s02'), 'smtp')[0]['smtp']['reply']['text'])

    def test_s04_starttls(self):
        events = self.by_name('s04')
        tls = of_type(events, 'tls')
        self.assertEqual(len(tls), 1)
        self.assertEqual(tls[0]['tls']['via'], 'starttls')
        self.assertEqual(of_type(events, 'flow')[0]['visibility'], 'tls')

    def test_s05_out_of_order(self):
        self.assertIn('command-sequence', anomalies(self.by_name('s05')))

    def test_s06_rule_and_policy_stop_the_message(self):
        capture = CAPTURES / 's06-simple-session.pcap'
        event = of_type(analyze(capture)[1], 'smtp')[0]
        for name, value in (('mail_from', event['smtp']['mail_from']),
                            ('rcpt_to', event['smtp']['rcpt_to'][0])):
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                rules = folder / 'a.rules'
                rules.write_text('reject smtp any any -> any any (msg:"by envelope"; '
                                 f'smtp.{name}; content:"{value.strip("<>")}"; sid:1;)\n')
                policy = folder / 'p.json'
                policy.write_text('{"sluice:sluice":{"wire":[{"name":"w1","mode":"enforce"}]}}')
                out = folder / 'out.pcap'
                status, events, errors = analyze(capture, '--rules', str(rules), '--policy',
                                                 str(policy), '--out', str(out))
                self.assertEqual(status, 0, errors)
                stopped = of_type(events, 'smtp')[0]
                self.assertEqual(stopped['smtp']['outcome'], 'blocked', name)
                again = of_type(analyze(out)[1], 'smtp')
                self.assertNotEqual(again[0]['smtp']['outcome'], 'accepted')

    def test_s09_no_anomaly(self):
        self.assertEqual(anomalies(self.by_name('s09')), set())

    def test_s10_urls_in_order(self):
        urls = [u for e in of_type(self.by_name('s10'), 'smtp') for u in e['email'].get('url', [])]
        self.assertEqual(urls, ['ftp://172.42.48.124', 'https://facebook.com',
                                'http://test-site.org/blah/123/', 'http://google.com'])
        self.assertIn('bare-lf', anomalies(self.by_name('s10')))

    def test_s11_from(self):
        self.assertEqual(of_type(self.by_name('s11'), 'smtp')[0]['email']['from'],
                         'toto <toto@gmail.com>')

    def test_s12_long_command(self):
        events = self.by_name('s12')
        self.assertIn('long-command', anomalies(events))
        self.assertEqual(len(of_type(events, 'smtp')), 1)

    def test_s13_attachment(self):
        self.assertEqual(of_type(self.by_name('s13'), 'smtp')[0]['email']['attachment'], ['J.txt'])

    def test_s14_zip(self):
        with tempfile.TemporaryDirectory() as folder:
            policy = pathlib.Path(folder) / 'p.json'
            policy.write_text('{"sluice:sluice":{"hashing":{"md5":true}}}')
            status, events, errors = analyze(CAPTURES / 's14-zip.pcap', '--checksums', 'off',
                                             '--policy', str(policy))
        self.assertEqual(status, 0, errors)
        attachment = of_type(events, 'smtp')[0]['sluice']['attachments'][0]
        self.assertEqual(attachment['name'], 'a.zip')
        self.assertEqual(attachment['md5'], '40be8f5100e9beabab293c9d7bacaff0')

    def test_s15_only_the_first_octets_pass(self):
        capture = CAPTURES / 's15-exact-overlap-vlan.pcap'
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / 'out.pcap'
            status, events, errors = analyze(capture, '--out', str(out))
            self.assertEqual(status, 0, errors)
            octets = out.read_bytes()
        self.assertIn(b'EVIL', capture.read_bytes())
        self.assertIn(b'GOOD', octets)
        self.assertNotIn(b'EVIL', octets)
        self.assertIn('overlap-diff', anomalies(events))

    def test_s17_invalid_timestamps(self):
        self.assertIn('invalid-timestamp', anomalies(self.by_name('s17')))

    def test_s19_is_followed_through_pppoe_in_qinq(self):
        flow = of_type(self.by_name('s19'), 'flow')[0]
        self.assertEqual(len(flow['vlan']), 2)
        self.assertEqual(flow['flow']['pkts_toserver'] + flow['flow']['pkts_toclient'], 86)

    def test_s20_syn_in_fragments(self):
        self.assertEqual(len(of_type(self.by_name('s20'), 'flow')), 1)

    def test_cut_short_at_every_length(self):
        octets = (CAPTURES / 's06-simple-session.pcap').read_bytes()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'cut.pcap'
            for size in list(range(0, 64)) + list(range(64, len(octets), 97)):
                path.write_bytes(octets[:size])
                status, _, errors = analyze(path)
                self.assertIn(status, (2,) if size < 24 else (0, 3), errors)
                if status:
                    self.assertIn('cut.pcap', errors)

    def test_every_link_type_and_file_form_tells_the_same(self):
        octets = (CAPTURES / 's06-simple-session.pcap').read_bytes()
        frames, at = [], 24
        while at < len(octets):
            seconds, micros, size, _ = struct.unpack_from('<IIII', octets, at)
            frames.append((seconds, micros, octets[at + 16:at + 16 + size]))
            at += 16 + size
        sll = struct.pack('>HHH8sH', 0, 1, 6, b'', 0x0800)
        sll2 = struct.pack('>HHIHBB8s', 0x0800, 0, 1, 1, 0, 6, b'')
        forms = {'ethernet': (1, b'', 0), 'raw': (101, b'', 14), 'cooked': (113, sll, 14),
                 'cooked2': (276, sll2, 14), 'null': (0, struct.pack('<I', 2), 14)}
        with tempfile.TemporaryDirectory() as folder:
            told = {}
            for order in '<>':
                for name, (link, head, skip) in forms.items():
                    path = pathlib.Path(folder) / f'{name}.pcap'
                    with open(path, 'wb') as file:
                        file.write(struct.pack(order + 'IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 65535, link))
                        for seconds, micros, frame in frames:
                            frame = head + frame[skip:]
                            file.write(struct.pack(order + 'IIII', seconds, micros, len(frame),
                                                   len(frame)) + frame)
                    out = pathlib.Path(folder) / 'out.pcap'
                    status, events, errors = analyze(path, '--out', str(out))
                    self.assertEqual(status, 0, errors)
                    for event in events:
                        event.get('flow', {}).pop('bytes_toserver', None)
                        event.get('flow', {}).pop('bytes_toclient', None)
                    told[name + order] = events
                    self.assertEqual([e['smtp']['outcome'] for e in of_type(analyze(out)[1], 'smtp')],
                                     ['accepted'], name)
            path = pathlib.Path(folder) / 'a.pcapng'
            with open(path, 'wb') as file:
                file.write(struct.pack('<IIIHHqI', 0x0a0d0d0a, 28, 0x1a2b3c4d, 1, 0, -1, 28))
                file.write(struct.pack('<IIHHII', 1, 20, 1, 0, 0, 20))
                for seconds, micros, frame in frames:
                    padded = frame + b'\0' * (-len(frame) % 4)
                    time = seconds * 1_000_000 + micros
                    size = 32 + len(padded)
                    file.write(struct.pack('<IIIIIII', 6, size, 0, time >> 32, time & 0xffffffff,
                                           len(frame), len(frame)) + padded + struct.pack('<I', size))
            status, events, errors = analyze(path)
            self.assertEqual(status, 0, errors)
            for event in events:
                event.get('flow', {}).pop('bytes_toserver', None)
                event.get('flow', {}).pop('bytes_toclient', None)
            told['pcapng'] = events
        first = told.pop('ethernet<')
        self.assertEqual(len(of_type(first, 'smtp')), 1)
        for name, events in told.items():
            self.assertEqual(events, first, name)

    def test_interfaces_of_pcapng_differ(self):
        # libpcap reads no file whose interfaces differ in link type or snapshot length, or whose
        # sections differ in byte order: of such captures nothing was told.
        frames = frames_of((CAPTURES / 's06-simple-session.pcap').read_bytes())

        def file(*interfaces, order='<', cut=None, other='>', head=lambda n, frame: frame, units=lambda n, ns: ns // 1000):
            blocks = Blocks().section(order)
            for one in interfaces:
                blocks.interface(**one)
            for i, (ns, frame) in enumerate(frames):
                if i == cut:
                    blocks.section(other)
                    for one in interfaces:
                        blocks.interface(**one)
                n = i % len(interfaces)
                blocks.packet(n, units(n, ns), head(n, frame))
            return blocks.octets
        null = struct.pack('<I', 2)
        cooked = struct.pack('>HHH8sH', 0, 1, 6, b'abcdef', 0x0800)
        heads = [lambda f: f, lambda f: f[14:], lambda f: null + f[14:], lambda f: cooked + f[14:]]
        resolutions = [lambda ns: ns // 1000, lambda ns: ns, lambda ns: (ns << 20) // 10**9 + 1, lambda ns: ns // 1000 - 10**12]
        forms = {
            'one': file({}),
            'big endian': file({}, order='>'),
            'snapshot lengths': file({'snap': 65535}, {'snap': 262144}),
            'link types': file({'link': 1}, {'link': 101}, {'link': 0}, {'link': 113}, head=lambda n, f: heads[n](f)),
            'raw first': file({'link': 101}, {'link': 1}, head=lambda n, f: heads[1 - n](f)),
            'resolutions': file({}, {'resolution': 9}, {'resolution': 0x94}, {'resolution': 6, 'offset': 10**6},
                                units=lambda n, ns: resolutions[n](ns)),
            'sections': file({'name': b'eth0'}, cut=9),
            'one that is not read': Blocks().section().interface().interface(220).octets
            + b''.join(Blocks().packet(0, ns // 1000, f).octets for ns, f in frames) + Blocks().packet(1, frames[-1][0] // 1000, b'usb!').octets,
            'blocks of other kinds': Blocks().section().block(4, b'\0' * 4).interface().block(5, b'\0' * 12).block(0xbad, b'abcd').octets
            + b''.join(Blocks().packet(0, ns // 1000, f).octets for ns, f in frames),
        }
        told = {}
        with tempfile.TemporaryDirectory() as folder:
            path, out = pathlib.Path(folder) / 'a.pcapng', pathlib.Path(folder) / 'out'
            for name, octets in forms.items():
                path.write_bytes(octets)
                status, events, errors = analyze(path, '--out', str(out))
                self.assertEqual(status, 0, name + errors)
                for event in events:
                    for field in ('bytes_toserver', 'bytes_toclient'):
                        event.get('flow', {}).pop(field, None)
                told[name] = events
                self.assertEqual([e['smtp']['outcome'] for e in of_type(analyze(out)[1], 'smtp')], ['accepted'], name)
                if 'link types' in name or 'raw' in name:
                    self.assertEqual(wirecraft.read_pcap(out.read_bytes()), wirecraft.read_pcap(octets), name)
                if 'not read' in name:
                    self.assertIn('1 frames are of link types that are not read', errors)
                    self.assertEqual(wirecraft.read_pcap(out.read_bytes())[-1], b'usb!')
            self.assertEqual(len(of_type(told['one'], 'smtp')), 1)
            for name, events in told.items():
                self.assertEqual(events, told['one'], name)
            # What we answer goes to an interface of its kind.
            rules, policy = pathlib.Path(folder) / 'a.rules', pathlib.Path(folder) / 'p.json'
            rules.write_text('reject smtp any any -> any any (smtp.mail_from; content:"@"; sid:1;)\n')
            policy.write_text('{"sluice:sluice":{"wire":[{"name":"w1","mode":"enforce"}]}}')
            for name in ('one', 'link types', 'raw first'):
                path.write_bytes(forms[name])
                self.assertEqual(of_type(analyze(path, '--out', str(out), '--rules', str(rules), '--policy', str(policy))[1], 'smtp')[0]['smtp']['outcome'], 'blocked')
                again = of_type(analyze(out)[1], 'smtp')[0]['smtp']
                self.assertEqual((again['outcome'], again['reply']['code']), ('refused', 550), name)
            # Cut short, and broken.
            whole = len(forms['one'])
            for size in (*range(0, 60), whole - 1, whole - 5, whole - 60):
                path.write_bytes(forms['one'][:size])
                status, _, errors = analyze(path)
                self.assertEqual(status, 2 if size < 48 else 0 if size == 48 else 3, f'{size} {errors}')
            ns, frame = frames[0]
            one = Blocks().section().interface().packet(0, ns // 1000, frame).octets
            for broken, words in (
                    (forms['one'][:-4] + b'\1\0\0\0', 'the two lengths of a block differ'),
                    (Blocks().section().interface().packet(1, 0, b'x').octets, 'a packet of interface 1, which is not described'),
                    (Blocks().section().interface().block(6, b'\0' * 8).octets, 'a packet block of 20 octets'),
                    (Blocks().section().interface().block(6, struct.pack('<IIIII', 0, 0, 0, 9, 9)).octets, 'a packet longer than its block'),
                    (one + b'\6\0\0\0\xff\xff\xff\xff', 'a block of 4294967295 octets'),
                    (one + Blocks().block(1, b'\0' * 4).octets, 'an interface that is too short'),
                    (one + Blocks().interface(101).packet(1, ns // 1000, frame[14:]).octets, 'described behind the first frame'),
                    (one + Blocks().block(0x0a0d0d0a, b'abcd' + b'\0' * 12).octets, 'without byte-order magic'),
                    (one + Blocks().block(0x0a0d0d0a, struct.pack('<IHHq', 0x1a2b3c4d, 2, 0, -1)).octets, 'a section of version 2')):
                path.write_bytes(broken)
                status, _, errors = analyze(path)
                self.assertEqual(status, 3, words)
                self.assertIn(f'{path}: ', errors)
                self.assertIn(words, errors)

    def test_what_was_captured_of_a_frame_stays_so(self):
        frames = frames_of((CAPTURES / 's06-simple-session.pcap').read_bytes())
        octets = struct.pack('<IHHiIII', 0xa1b23c4d, 2, 4, 0, 0, 262144, 1)
        for ns, frame in frames:
            octets += struct.pack('<IIII', ns // 10**9, ns % 10**9, len(frame[:100]), len(frame)) + frame[:100]
        with tempfile.TemporaryDirectory() as folder:
            path, out = pathlib.Path(folder) / 'in.pcap', pathlib.Path(folder) / 'out.pcap'
            path.write_bytes(octets)
            self.assertIn('captured only in part', analyze(path, '--out', str(out))[2])
            self.assertEqual(out.read_bytes()[24:], octets[24:])

    def test_frames_that_were_captured_in_part_are_read_as_far_as_they_go(self):
        """What the capture has not is no fault of who sent it. Wherever frames are cut: nobody is told of
        broken packets; once the envelope is whole, it is told."""
        whole = (CAPTURES / 's06-simple-session.pcap').read_bytes()
        frames = frames_of(whole)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'in.pcap'
            path.write_bytes(whole)
            told, = of_type(analyze(path)[1], 'smtp')
            for snap in (*range(1, 80), 100, 200, 400):
                octets = struct.pack('<IHHiIII', 0xa1b23c4d, 2, 4, 0, 0, 262144, 1)
                for ns, frame in frames:
                    kept = frame[:snap]
                    octets += struct.pack('<IIII', ns // 10**9, ns % 10**9, len(kept), len(frame)) + kept
                path.write_bytes(octets)
                status, events, errors = analyze(path)
                self.assertEqual(status, 0, f'{snap}: {errors}')
                self.assertEqual(anomalies(events) & {'bad-ip-length', 'truncated-frame', 'bad-tcp-header',
                                                      'bad-tcp-checksum', 'bad-ip-checksum'}, set(), snap)
                if snap >= 100:
                    there, = of_type(events, 'smtp')
                    self.assertEqual(there['smtp']['mail_from'], told['smtp']['mail_from'], snap)
                    self.assertEqual(there['smtp']['outcome'], told['smtp']['outcome'], snap)

    def test_cooked_captures_keep_what_stands_before_ip(self):
        """A tag, labels or PPPoE behind a cooked header (libpcap writes a VLAN tag back there): the
        protocol of the header says what follows. Nothing was seen of such flows."""
        octets = (CAPTURES / 's06-simple-session.pcap').read_bytes()
        layers = {
            'vlan': (0x8100, lambda ip: struct.pack('>HH', 7, 0x0800) + ip),
            'qinq': (0x88a8, lambda ip: struct.pack('>HHHH', 9, 0x8100, 7, 0x0800) + ip),
            'mpls': (0x8847, lambda ip: struct.pack('>I', 16 << 12 | 1 << 8 | 64) + ip),
            'pppoe': (0x8864, lambda ip: struct.pack('>BBHHH', 0x11, 0, 5, len(ip) + 2, 0x0021) + ip),
        }
        def seen(events):
            flow = of_type(events, 'flow')[0]['flow']
            return ([(e['smtp']['outcome'], e['smtp'].get('reply')) for e in of_type(events, 'smtp')],
                    flow['pkts_toserver'], flow['pkts_toclient'])

        with tempfile.TemporaryDirectory() as folder:
            path, out = pathlib.Path(folder) / 'in.pcap', pathlib.Path(folder) / 'out.pcap'
            rules, policy = pathlib.Path(folder) / 'a.rules', pathlib.Path(folder) / 'p.json'
            rules.write_text('reject smtp any any -> any any (smtp.mail_from; content:"@"; sid:1;)\n')
            policy.write_text('{"sluice:sluice":{"wire":[{"name":"w1","mode":"enforce"}]}}')
            stopping = ('--out', str(out), '--rules', str(rules), '--policy', str(policy))
            analyze(CAPTURES / 's06-simple-session.pcap', *stopping)
            stopped = seen(analyze(out)[1])
            for name, (protocol, wrap) in layers.items():
                for link, head in ((113, struct.pack('>HHH8sH', 4, 1, 6, b'abcdef', protocol)),
                                   (276, struct.pack('>HHIHBB8s', protocol, 0, 3, 1, 4, 6, b'abcdef'))):
                    with open(path, 'wb') as file:
                        file.write(struct.pack('<IHHiIII', 0xa1b23c4d, 2, 4, 0, 0, 262144, link))
                        at = 24
                        while at < len(octets):
                            seconds, micros, size, _ = struct.unpack_from('<IIII', octets, at)
                            ip = octets[at + 16 + 14:at + 16 + size]
                            ip = ip[:struct.unpack_from('>H', ip, 2)[0]]
                            frame = head + wrap(ip)
                            file.write(struct.pack('<IIII', seconds, micros * 1000, len(frame), len(frame)) + frame)
                            at += 16 + size
                    status, events, errors = analyze(path, '--out', str(out))
                    self.assertEqual((status, [e['smtp']['outcome'] for e in of_type(events, 'smtp')]),
                                     (0, ['accepted']), f'{name} {link} {errors}')
                    vlan = {'vlan': [7], 'qinq': [9, 7]}.get(name)
                    self.assertEqual(of_type(events, 'flow')[0].get('vlan'), vlan, f'{name} {link}')
                    self.assertEqual(out.read_bytes()[24:], path.read_bytes()[24:], f'{name} {link}')
                    # What we answer leaves in the same layers.
                    analyze(path, *stopping)
                    again = analyze(out)[1]
                    self.assertEqual(seen(again), stopped, f'{name} {link}')
                    self.assertEqual([f.get('vlan') for f in of_type(again, 'flow')], [vlan], f'{name} {link}')

    def test_direction_follows_the_inside_prefixes(self):
        capture = CAPTURES / 's06-simple-session.pcap'
        event = of_type(analyze(capture)[1], 'smtp')[0]
        for prefix, direction in ((event['src_ip'], 'outbound'), (event['dest_ip'], 'inbound')):
            status, events, errors = analyze(capture, '--inside', prefix + '/32')
            self.assertEqual((status, of_type(events, 'smtp')[0]['direction']), (0, direction), errors)
        status, events, _ = analyze(capture, '--inside', event['src_ip'], '--inside', event['dest_ip'])
        self.assertEqual(of_type(events, 'smtp')[0]['direction'], 'transit')
        self.assertEqual(analyze(capture, '--inside', '10.0.0.0/33')[0], 2)

    def test_unreadable(self):
        for path in ('/nonexistent', '/', str(CAPTURES / 'expected.tsv')):
            status, events, errors = analyze(path)
            self.assertEqual(status, 2)
            self.assertEqual(events, [])
            self.assertIn(path, errors)


ROWS = []


def add_rows():
    with open(CAPTURES / 'expected.tsv', newline='') as file:
        ROWS.extend(csv.DictReader(file, delimiter='\t'))
    for row in ROWS:
        name = 'test_row_' + row['capture'].split('.')[0].replace('-', '_')
        setattr(Captures, name, lambda self, row=row: self.check_row(row))


if __name__ == '__main__':
    SLUICECTL = sys.argv[1]
    CAPTURES = pathlib.Path(sys.argv[2])
    add_rows()
    sys.exit(tap.run(Captures))
