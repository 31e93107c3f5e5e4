"""What the case files share: dialogues, and a check of many conversations in one run."""
import hashlib
import unittest

import wirecraft as w

SIGNATURE = b'XSIGNATUREX'
RULES = ('alert smtp any any -> any any (msg:"stream"; content:"XSIGNATUREX"; sid:1;)\n'
         'alert smtp any any -> any any (msg:"text"; sluice.text; content:"XSIGNATUREX"; sid:2;)\n'
         'alert smtp any any -> any any (msg:"raw"; sluice.raw; content:"XSIGNATUREX"; sid:3;)\n')
REJECT = 'reject smtp any any -> any any (msg:"stop"; sluice.raw; content:"XSIGNATUREX"; sid:9;)\n'
ENFORCE = {'sluice:sluice': {'wire': [{'name': 'w1', 'mode': 'enforce'}]}}

GREETING = [('S', b'220 mx.test ESMTP\r\n'), ('C', b'EHLO c.test\r\n'),
            ('S', b'250-mx.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n')]
BYE = [('C', b'QUIT\r\n'), ('S', b'221 bye\r\n')]
OK = b'250 ok\r\n'


def envelope(sender=b'a@a.test', *recipients):
    steps = [('C', b'MAIL FROM:<%s>\r\n' % sender), ('S', OK)]
    for r in recipients or (b'b@b.test',):
        steps += [('C', b'RCPT TO:<%s>\r\n' % r), ('S', OK)]
    return steps


def data(body, reply=OK):
    return [('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', body), ('S', reply)]


def mail(body=b'Subject: s\r\n\r\ntext\r\n.\r\n', sender=b'a@a.test', *recipients):
    return envelope(sender, *recipients) + data(body)


BODY = b'Subject: s\r\n\r\n' + SIGNATURE + b'\r\n.\r\n'


def talk(connection, steps):
    for who, octets in steps:
        connection.send('CS'.index(who), octets)
    return connection


def sha(octets):
    return hashlib.sha256(octets).hexdigest()


class Cases(unittest.TestCase):
    analyzer = None

    def run_capture(self, capture, *, rules=RULES, wire=True, **more):
        result = self.analyzer.run(capture, rules=rules, **more)
        self.assertEqual(result.status, 0, result.errors)
        if wire:
            self.assertEqual(len(result.left), len(result.sent))
            self.assertTrue(result.left == result.sent, 'frames were changed or reordered')
        return result

    def check(self, scripts, expect, *, modes=w.MODES, close=True, **more):
        """Plays every script {name: steps} in every mode, all in one capture, and calls
        expect(name, flow), which asserts. What the modes tell must be the same, to the last field.
        Reports every fault, not only the first."""
        capture = w.Capture()
        played = []
        for name, steps in scripts.items():
            for mode in modes:
                played.append((name, mode, w.play(w.connection(capture, mode), steps, mode, close)))
        result = self.run_capture(capture, **more)
        faults, stories = [], {}
        for name, mode, connection in played:
            flow = result.flow(connection)
            try:
                expect(name, flow)
                self.maxDiff = None
                self.assertEqual(flow.story(), stories.setdefault(name, flow.story()), f'not as [{modes[0]}]')
            except (AssertionError, LookupError) as fault:
                faults.append(f'{name} [{mode}]: {type(fault).__name__} {fault}; anomalies {sorted(flow.anomalies)}, '
                              f'{flow.envelopes()}, {[(m["smtp"]["size"], m["smtp"]["outcome"]) for m in flow.messages]}')
        if faults:
            self.fail(f'{len(faults)} of {len(played)} conversations:\n' + '\n'.join(faults[:25]))

    def check_flow(self, script, expect, **more):
        self.check({'': script}, lambda _, flow: expect(flow), **more)


class Segments(Cases):
    """Cases that build their segments themselves."""

    def analyze(self, build, check, *, names=(None,), wire=True, **more):
        """build(capture, name) makes one connection for each name; check(name, flow) asserts."""
        capture = w.Capture()
        played = [(name, build(capture, name)) for name in names]
        result = self.run_capture(capture, wire=wire, **more)
        faults = []
        for name, connection in played:
            flow = result.flow(connection)
            try:
                check(name, flow)
            except (AssertionError, LookupError) as fault:
                faults.append(f'{name}: {fault}; {sorted(flow.anomalies)} {flow.hits} {flow.envelopes()} '
                              f'{[(m["smtp"]["size"], m["smtp"]["outcome"]) for m in flow.messages]} flows {len(flow.flows)}')
        if faults:
            self.fail('\n'.join(faults))
        return result

    def whole(self, flow, anomalies=None, outcome='accepted', body=BODY):
        """One message was read, whole, and scanned."""
        self.assertEqual([(m['smtp']['size'], m['smtp']['outcome']) for m in flow.messages], [(len(body) - 3, outcome)])
        self.assertEqual(flow.hits, {1, 2, 3})
        if anomalies is not None:
            self.assertEqual(flow.anomalies, anomalies)
