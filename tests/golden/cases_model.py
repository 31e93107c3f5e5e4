"""Random dialogues against a model of a server (RFC 5321, 3030, 4954). Of every message that it
accepted, the event has the envelope and the octets that the server has, however commands were
refused, repeated, pipelined and cut; and no condemned message gets to it whole."""
import random
import re

import wirecraft as w
from cases_base import ENFORCE, REJECT, SIGNATURE, Cases, sha

BODIES = (b'Subject: x\r\n\r\nhi\r\n', b'', b'a\r\n..b\r\n', b'\r\n\r\n',
          b'Subject: y\r\n\r\nMAIL FROM:<in@x>\r\nRCPT TO:<q@q>\r\nRSET\r\n')
WORDS = (b'NOOP\r\n', b'VRFY x\r\n', b'HELP\r\n', b'FOO\r\n', b'\r\n', b'STARTTLS\r\n')


class Server:
    """Octets of the client in, replies out; `accepted`: (sender, recipients, via, SHA-256)."""

    def __init__(self, random_, chunking):
        self.random, self.chunking, self.accepted = random_, chunking, []
        self.unread, self.mode, self.authenticated = b'', 'command', False
        self.reset()

    def reset(self):
        self.sender, self.recipients, self.content, self.in_chunks = None, [], b'', False

    def say(self, octets):
        self.unread += octets
        replies = b''
        while (reply := getattr(self, self.mode)()) is not None:
            replies += reply
        return replies

    def line(self):
        line, found, rest = self.unread.partition(b'\n')
        if not found:
            return None
        self.unread = rest
        return line.rstrip(b'\r')

    def end(self, via, content):
        code = self.random.choice((250, 250, 250, 451, 554))
        if code == 250:
            self.accepted.append((self.sender, tuple(self.recipients), via, sha(content)))
        self.reset()
        return b'%d x\r\n' % code if self.random.random() < .7 else b'%d-a\r\n%d b\r\n' % (code, code)

    def data(self):
        octets = b'\r\n' + self.unread
        end = octets.find(b'\r\n.\r\n')
        if end < 0:
            return None
        self.unread, self.mode = octets[end + 5:], 'command'
        return self.end('data', octets[2:end + 2])  # stuffed dots count

    def chunk(self):
        if len(self.unread) < self.size:
            return None
        octets, self.unread, self.mode = self.unread[:self.size], self.unread[self.size:], 'command'
        if self.sender is None or not self.recipients:
            return b'503 need rcpt\r\n'
        self.content, self.in_chunks = self.content + octets, True
        return self.end('bdat', self.content) if self.last else b'250 chunk\r\n'

    def response(self):
        line = self.line()
        if line is None:
            return None
        self.steps -= 1
        if line == b'*' or not self.steps:
            self.mode, self.authenticated = 'command', line != b'*'
            return b'501 cancelled\r\n' if line == b'*' else b'235 ok\r\n'
        return b'334 UGFzc3dvcmQ6\r\n'

    def command(self):
        line = self.line()
        if line is None:
            return None
        verb, _, argument = line.partition(b' ')
        answer = getattr(self, 'on_' + verb.decode().lower(), None)
        return answer(argument) if answer else b'500 what\r\n'

    def on_ehlo(self, _):
        self.reset()
        return b'250-mx\r\n250-PIPELINING\r\n' + b'250-CHUNKING\r\n' * self.chunking + b'250 AUTH LOGIN PLAIN\r\n'

    def on_mail(self, argument):
        if self.sender is not None:
            return b'503 nested\r\n'
        if b'bad' in argument:
            return b'550 no\r\n'
        self.sender = argument[5:].decode()
        return b'250 ok\r\n'

    def on_rcpt(self, argument):
        if self.sender is None:
            return b'503 need mail\r\n'
        if b'bad' in argument:
            return b'550-no\r\n550 no\r\n'
        self.recipients.append(argument[3:].decode())
        return b'250 ok\r\n'

    def on_data(self, _):
        if self.in_chunks or self.sender is None or not self.recipients:
            return self.random.choice((b'503 no rcpt\r\n', b'554 no valid\r\n'))
        self.mode = 'data'
        return b'354 go\r\n'

    def on_bdat(self, argument):
        if not self.chunking:
            return b'502 what\r\n'
        words = argument.split()
        self.size, self.last, self.mode = int(words[0]), len(words) > 1, 'chunk'
        return b''

    def on_auth(self, argument):
        if self.sender is not None or self.authenticated:
            return b'503 not now\r\n'
        mechanism, *initial = argument.split()
        self.steps = {b'LOGIN': 2, b'PLAIN': 1}[mechanism] - len(initial)
        self.mode = 'response'
        if self.steps:
            return b'334 x\r\n'
        self.mode, self.authenticated = 'command', True
        return b'235 ok\r\n'

    def on_rset(self, _):
        self.reset()
        return b'250 ok\r\n'

    def on_noop(self, _):
        return b'250 ok\r\n'

    def on_vrfy(self, _):
        return b'252 x\r\n'

    def on_help(self, _):
        return b'214-a\r\n214 b\r\n'

    def on_starttls(self, _):
        return b'454 no\r\n'


class Reading(Server):
    """What is in the messages that a server takes from these octets; `ends`: what ends a line to it."""

    def __init__(self, chunking, ends):
        super().__init__(random.Random(0), chunking)
        self.end_of_data = re.compile(rb'(?:%s)\.(?:%s)' % (ends, ends))

    def end(self, via, content):
        self.accepted.append(content)
        self.reset()
        return b''

    def data(self):
        octets = b'\r\n' + self.unread
        end = self.end_of_data.search(octets)
        if not end:
            return None
        self.unread, self.mode = octets[end.end():], 'command'
        return self.end('data', octets[2:end.start()])


class Client:
    """Says commands to a server, in flights of one or many; `waits`: for the reply to DATA."""

    def __init__(self, seed, waits, bodies=BODIES, server=Server):
        self.random, self.waits, self.bodies = random.Random(seed), waits, bodies
        self.chunking = self.random.random() < .8
        self.server = server(self.random, self.chunking)
        self.steps, self.flight = [('S', b'220 mx\r\n')], b'EHLO c\r\n'
        self.flush()

    def flush(self, chance=1.0):
        if not self.flight or self.random.random() >= chance:
            return
        replies = self.server.say(self.flight)
        self.steps += [('C', self.flight)] + [('S', replies)] * bool(replies)
        self.flight = b''

    def message(self, body):
        self.flight += b'DATA\r\n'
        if self.waits or self.random.random() < .7:
            self.flush()
            if self.server.mode != 'data':
                return
        self.flight += body + b'.\r\n'
        self.flush(.55)

    def chunk(self):
        content = self.random.choice(self.bodies) if self.bodies != BODIES else b'NOOP\r\n'.ljust(30, b'z')
        size = self.random.choice((0, 1, 7, len(content)))
        self.flight += b'BDAT %d%s\r\n' % (size, self.random.choice((b'', b' LAST')))
        self.flight += content[:size] + b'\r\n' * (not self.chunking)
        self.flush(.5)

    def authenticate(self):
        self.flush()
        self.flight += b'AUTH ' + self.random.choice((b'LOGIN', b'PLAIN', b'LOGIN dXNlcg==', b'PLAIN AHUAcA==')) + b'\r\n'
        self.flush()
        while self.server.mode == 'response':
            self.flight += self.random.choice((b'dXNlcg==\r\n', b'*\r\n', b'DATA\r\n', b'\r\n'))
            self.flush()

    def act(self):
        kind, number = self.random.randrange(20), self.random.randrange(99)
        if 10 <= kind < 14:
            self.message(self.random.choice(self.bodies))
        elif 14 <= kind < 16:
            self.chunk()
        elif kind == 19:
            self.authenticate()
        else:
            self.flight += (b'MAIL FROM:<%s%d@a.test>\r\n' % (self.random.choice((b'a', b'a', b'bad')), number) if kind < 4 else
                            b'RCPT TO:<%s%d@b.test>\r\n' % (self.random.choice((b'r', b'r', b'bad')), number) if kind < 10 else
                            b'RSET\r\n' if kind == 16 else
                            self.random.choice(WORDS) if kind == 17 else b'EHLO c\r\n')
            self.flush(1 if kind >= 17 else .4)

    def talk(self):
        for _ in range(self.random.randrange(3, 14)):
            self.act()
        self.flush()
        self.flight = {'data': b'\r\n.\r\n', 'chunk': b'z' * getattr(self.server, 'size', 0)}.get(self.server.mode, b'')
        self.flush()
        for line in (b'RSET', b'MAIL FROM:<last@a.test>', b'RCPT TO:<last@b.test>', b'DATA', b'Subject: s\r\n\r\nend\r\n.'):
            self.flight = line + b'\r\n'
            self.flush()
        return self.steps


class Model(Cases):
    def test_A06_accepted_messages_are_told_as_the_server_has_them(self):
        capture, played = w.Capture(), []
        for seed in range(600):
            client = Client(seed, waits=seed % 2 == 0)
            steps = client.talk()
            for mode in ('whole', '536', 'swap') if seed % 5 == 0 else ('whole',):
                played.append((seed, mode, client, w.play(w.connection(capture, mode), steps, mode)))
        result = self.run_capture(capture, rules='')
        for seed, mode, client, connection in played:
            told = [(smtp.get('mail_from'), tuple(smtp.get('rcpt_to', ())), smtp['via'], smtp['sha256'])
                    for smtp in (event['smtp'] for event in result.flow(connection).messages)
                    if smtp['outcome'] == 'accepted']
            with self.subTest(seed=seed, mode=mode):
                self.assertEqual(told, client.server.accepted)

    def test_E15_no_condemned_message_gets_to_a_server(self):
        bodies = BODIES + (b'Subject: s\r\n\r\n' + SIGNATURE + b'\r\n', SIGNATURE, b'a\r\n.' + SIGNATURE + b'\r\n',
                           b'x\r\n' * 40 + SIGNATURE[:5] + b'\r\n', SIGNATURE[5:] + b'\r\n')
        ends = (b'\n.\n', b'\r.\r', b'\n.\r\n', b'\r\n.\r', b'\r\n.\n', b'\r\n.\r\r\n')
        lenient = bodies + tuple(b'S: s\r\n\r\n' + SIGNATURE + end + b'more\r\n' for end in ends)
        for name, readings, said in (('strict', (b'\r\n',), bodies),
                                     ('lenient', (b'\r\n', b'\n', b'\r\n|\n', b'\r\n|\n|\r'), lenient)):
            capture, played = w.Capture(), []
            for seed in range(600):
                client = Client(seed, seed % 2 == 0, said)
                steps = client.talk()
                mode = ('whole', '536', 'swap', 'whole')[seed % 4]
                played.append((seed, client, w.play(w.connection(capture, mode), steps, mode)))
            result = self.run_capture(capture, wire=False, rules=REJECT, policy=ENFORCE)
            blocked = 0
            for seed, client, connection in played:
                octets = w.stream(result.left, connection, 0)
                blocked += any(e['smtp']['outcome'] == 'blocked' for e in result.flow(connection).messages)
                for lines in readings:
                    server = Reading(client.chunking, lines)
                    server.say(octets)
                    with self.subTest(name, seed=seed, lines=lines):
                        self.assertFalse([m for m in server.accepted if SIGNATURE in m])
            self.assertGreater(blocked, 30)
