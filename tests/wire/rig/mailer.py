#!/usr/bin/python3
"""A concurrent SMTP client that says of every message what became of it.

    report = run_mailer('10.77.2.1', 25, generate(200, seed=1), netns=..., concurrency=8)
    report.counts['accepted'], report.longest_gap_ms
    compare(report, sink.messages)             # lost, changed, doubled, invented: all empty

Outcomes: accepted (2xx to the end of data), refused (a 4xx or 5xx reply; `stage` tells to what),
broken (the connection ended or could not be made), timeout. A message is tried once.
"""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import email.utils
import hashlib
import json
import os
import random
import re
import ssl
import sys
import time

if __name__ == '__main__':
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from rig.netns import inside

OUTCOMES = ('accepted', 'refused', 'broken', 'timeout')


@dataclasses.dataclass(frozen=True)
class Message:
    """content: octets with CRLF line ends, before dot-stuffing. An X-Rig-Id header carries the id."""
    id: str
    sender: str
    recipients: tuple
    content: bytes


@dataclasses.dataclass
class Outcome:
    id: str
    outcome: str
    code: int = 0          # of the reply that decided
    text: str = ''
    stage: str = ''        # connect, banner, ehlo, starttls, mail, rcpt, data, message
    latency_ms: float = 0.0   # from MAIL to the last reply
    sha256: str = ''       # as sent, before dot-unstuffing (BDAT: of the octets)
    content_sha256: str = ''
    octets: int = 0
    at: float = 0.0        # seconds after the start of the run


@dataclasses.dataclass
class MailReport:
    outcomes: list
    counts: dict
    seconds: float
    # Longest time in which no connection was told anything while at least one waited.
    longest_gap_ms: float
    longest_gap_at: float
    latency_ms: dict       # of accepted messages: median, p99, longest
    refusals: dict         # "CODE text" -> count

    @property
    def per_second(self):
        return self.counts['accepted'] / self.seconds if self.seconds else 0.0

    def summary(self):
        values = dataclasses.asdict(self)
        del values['outcomes']
        return values | {'per_second': round(self.per_second, 1)}


WORDS = ('about above after again along always answer because before between country during enough '
         'every example family father follow found great group house important interest large '
         'letter little might morning never number often other paper people place point program '
         'question report right school second should sound state still story system their thing '
         'think those three through together under water where which while without world would '
         'write young').split()


def generate(count, *, seed=1, size=(400, 20_000), sender='sender{n}@rig.test',
             recipient='user{n}@sink.test', text=None):
    """`count` messages (None: without end), plain and multipart, of about size[0]..size[1] octets.

    text: put into each body, e.g. what a rule matches. The same seed gives the same messages.
    """
    r = random.Random(seed)
    n = 0
    while count is None or n < count:
        n += 1
        mark = f'{seed}-{n}'
        want = r.randint(*size)
        lines = []
        length = 0
        while length < want:
            line = ' '.join(r.choices(WORDS, k=r.randint(1, 12)))
            if r.random() < 0.02:
                line = '.' * r.randint(1, 3) + line[:r.choice((0, 5))]
            lines.append(line)
            length += len(line) + 2
        if text:
            lines.insert(r.randrange(len(lines) + 1), text)
        body = '\r\n'.join(lines) + '\r\n'
        kind = 'Content-Type: text/plain; charset=utf-8'
        if r.random() < 0.4:
            boundary = f'=_{mark}'
            attachment = ''.join(r.choices('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
                                           '0123456789+/', k=76 * max(1, want // 160)))
            body = (f'--{boundary}\r\n{kind}\r\n\r\n{body}\r\n--{boundary}\r\n'
                    'Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n'
                    f'Content-Disposition: attachment; filename="file{n}.bin"\r\n\r\n'
                    + '\r\n'.join(attachment[i:i + 76] for i in range(0, len(attachment), 76))
                    + f'\r\n--{boundary}--\r\n')
            kind = f'Content-Type: multipart/mixed; boundary="{boundary}"'
        sent_by, sent_to = sender.format(n=n), recipient.format(n=n)
        head = (f'From: <{sent_by}>\r\nTo: <{sent_to}>\r\nSubject: {" ".join(r.choices(WORDS, k=4))}'
                f'\r\nDate: {email.utils.formatdate(1795632084 + n)}\r\nMessage-ID: <{mark}@rig.test>'
                f'\r\nX-Rig-Id: {mark}\r\nMIME-Version: 1.0\r\n{kind}\r\n\r\n')
        yield Message(mark, sent_by, (sent_to,), (head + body).encode())


def from_files(paths, *, sender='sender@rig.test', recipient='user@sink.test', prefix='file'):
    """Messages from files (or all files below folders): any line ends, an mbox line is taken off."""
    names = []
    for path in paths:
        if os.path.isdir(path):
            for folder, _, files in os.walk(path):
                names += [os.path.join(folder, f) for f in files]
        else:
            names.append(path)
    for n, name in enumerate(sorted(names)):
        with open(name, 'rb') as f:
            octets = re.sub(rb'\r\n|\r|\n', b'\r\n', f.read())
        if octets.startswith(b'From '):
            octets = octets.partition(b'\r\n')[2]
        mark = f'{prefix}-{n}'
        if not octets.endswith(b'\r\n'):
            octets += b'\r\n'
        yield Message(mark, sender, (recipient,), f'X-Rig-Id: {mark}\r\n'.encode() + octets)


class Refused(Exception):
    def __init__(self, code, text, stage):
        super().__init__(f'{code} {text}')
        self.code, self.text, self.stage = code, text, stage


class _Progress:
    """When anything was last heard on any connection, and the longest silence while one waited."""

    def __init__(self):
        self.start = self.last = time.monotonic()
        self.waiting = 0
        self.longest = 0.0
        self.longest_at = 0.0

    def heard(self):
        now = time.monotonic()
        if now - self.last > self.longest:
            self.longest, self.longest_at = now - self.last, self.last - self.start
        self.last = now

    @contextlib.contextmanager
    def wait(self):
        if self.waiting == 0:
            self.last = time.monotonic()
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            self.heard()


class _Connection:
    def __init__(self, options, progress):
        self._o = options
        self._progress = progress
        self._reader = self._writer = None
        self.extensions = set()

    async def _reply(self, stage, good):
        """The next reply, whose first digit has to be in `good`. (code, text)."""
        lines = []
        while True:
            with self._progress.wait():
                line = await asyncio.wait_for(self._reader.readline(), self._o.timeout)
            if not line.endswith(b'\n'):
                raise ConnectionError(f'the connection ended ({stage})')
            if not re.match(rb'\d\d\d[ \r\n-]', line):
                raise ConnectionError(f'no reply: {line[:60]!r} ({stage})')
            lines.append(line[4:].decode('utf-8', 'replace').rstrip())
            if line[3:4] != b'-':
                break
        code = int(line[:3])
        if str(code)[0] not in good:
            raise Refused(code, ' '.join(lines), stage)
        return code, lines

    def _say(self, line):
        self._writer.write(line.encode() + b'\r\n')

    async def open(self):
        o = self._o
        local = (o.local, 0) if o.local else None
        with self._progress.wait():
            self._reader, self._writer = await asyncio.wait_for(
                asyncio.open_connection(o.address, o.port, local_addr=local, limit=1 << 16),
                o.timeout)
        await self._reply('banner', '2')
        await self._hello()
        if o.starttls:
            self._say('STARTTLS')
            await self._reply('starttls', '2')
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with self._progress.wait():
                await asyncio.wait_for(self._writer.start_tls(context), o.timeout)
            await self._hello()

    async def _hello(self):
        self._say(f'EHLO {self._o.helo}')
        _, lines = await self._reply('ehlo', '2')
        self.extensions = {line.split(' ')[0].upper() for line in lines[1:]}

    async def send(self, message):
        """Sends one message; (code, text, wire octets). Raises Refused, OSError, timeouts."""
        o = self._o
        chunks = o.chunking and 'CHUNKING' in self.extensions
        together = o.pipelining and 'PIPELINING' in self.extensions
        commands = [('mail', f'MAIL FROM:<{message.sender}>')]
        commands += [('rcpt', f'RCPT TO:<{r}>') for r in message.recipients]
        if not chunks:
            commands.append(('data', 'DATA'))
        if together:
            self._writer.write(b''.join(c.encode() + b'\r\n' for _, c in commands))
        refused = None
        for stage, line in commands:
            if not together:
                self._say(line)
            try:
                await self._reply(stage, '3' if stage == 'data' else '2')
            except Refused as error:
                refused = refused or error
                if not together:
                    break
            else:
                if refused and stage == 'data':  # a server that takes data for nobody
                    self._writer.write(b'.\r\n')
                    with contextlib.suppress(Refused):
                        await self._reply('message', '2')
        if refused:
            self._say('RSET')
            await self._reply('rset', '2')
            raise refused
        if chunks:
            wire = message.content
            for at in range(0, len(wire), o.chunk_size):
                part = wire[at:at + o.chunk_size]
                last = at + o.chunk_size >= len(wire)
                self._say(f'BDAT {len(part)}{" LAST" if last else ""}')
                self._writer.write(part)
                if last or not together:
                    await self._writer.drain()
                    code, lines = await self._reply('message', '2')
            if together:  # the replies to the chunks before the last
                for _ in range(0, len(wire) - o.chunk_size, o.chunk_size):
                    code, lines = await self._reply('message', '2')
        else:
            wire = message.content.replace(b'\r\n.', b'\r\n..')
            wire = b'.' + wire if wire.startswith(b'.') else wire
            self._writer.write(wire + b'.\r\n')
            await self._writer.drain()
            code, lines = await self._reply('message', '2')
        return code, ' '.join(lines), wire

    async def close(self, orderly=True):
        if self._writer is None:
            return
        if orderly:
            with contextlib.suppress(OSError, asyncio.TimeoutError, Refused):
                self._say('QUIT')
                await self._reply('quit', '2')
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError, ssl.SSLError):
            await asyncio.wait_for(self._writer.wait_closed(), 2)
        self._writer = None


@dataclasses.dataclass
class Options:
    """How to send. rate: messages a second, all connections together; None: as fast as they go."""
    address: str
    port: int = 25
    local: str = None
    helo: str = 'client.rig.test'
    concurrency: int = 8
    per_connection: int = 10   # messages before the connection is closed
    pipelining: bool = True
    chunking: bool = False
    chunk_size: int = 8192
    starttls: bool = False
    timeout: float = 30.0      # for each reply, seconds
    rate: float = None
    seconds: float = None      # no message is begun later than this


async def send_all(messages, options):
    """Sends the messages of an iterable; the MailReport."""
    progress = _Progress()
    source = iter(messages)
    outcomes = []
    begun = 0

    def take():
        nonlocal begun
        if options.seconds and time.monotonic() - progress.start >= options.seconds:
            return None
        message = next(source, None)
        begun += message is not None
        return message

    async def worker():
        connection = None
        used = 0
        while (message := take()) is not None:
            if options.rate:
                await asyncio.sleep(max(0.0, progress.start + begun / options.rate
                                        - time.monotonic()))
            outcome = Outcome(message.id, 'accepted', octets=len(message.content),
                              content_sha256=hashlib.sha256(message.content).hexdigest())
            start = time.monotonic()
            stage = 'message'
            try:
                if connection is None:
                    stage = 'connect'
                    connection = _Connection(options, progress)
                    used = 0
                    await connection.open()
                    stage = 'message'
                    start = time.monotonic()
                outcome.code, outcome.text, wire = await connection.send(message)
                outcome.stage = 'message'
                outcome.sha256 = hashlib.sha256(wire).hexdigest()
                used += 1
            except Refused as error:
                outcome.outcome, outcome.stage = 'refused', error.stage
                outcome.code, outcome.text = error.code, error.text
                used += 1
                if error.code == 421 or error.stage in ('banner', 'ehlo', 'starttls'):
                    used = options.per_connection
            except asyncio.TimeoutError:
                outcome.outcome, outcome.stage = 'timeout', stage
            except (OSError, EOFError, ssl.SSLError, ValueError) as error:
                outcome.outcome, outcome.stage = 'broken', stage
                outcome.text = f'{type(error).__name__}: {error}'
            now = time.monotonic()
            outcome.latency_ms = (now - start) * 1000
            outcome.at = now - progress.start
            outcomes.append(outcome)
            lost = outcome.outcome in ('broken', 'timeout')
            if connection is not None and (lost or used >= options.per_connection):
                await connection.close(orderly=not lost and outcome.code != 421)
                connection = None
            if lost and stage == 'connect':
                await asyncio.sleep(0.05)  # not a storm of attempts
        if connection is not None:
            await connection.close()

    await asyncio.gather(*(worker() for _ in range(options.concurrency)))
    latencies = sorted(o.latency_ms for o in outcomes if o.outcome == 'accepted') or [0.0]
    counts = collections.Counter(o.outcome for o in outcomes)
    return MailReport(
        outcomes=outcomes, counts={name: counts[name] for name in OUTCOMES},
        seconds=time.monotonic() - progress.start, longest_gap_ms=progress.longest * 1000,
        longest_gap_at=progress.longest_at,
        latency_ms={'median': latencies[len(latencies) // 2],
                    'p99': latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)],
                    'longest': latencies[-1]},
        refusals=dict(collections.Counter(f'{o.code} {o.text}' for o in outcomes
                                          if o.outcome == 'refused')))


def run_mailer(address, port, messages, *, netns=None, **options):
    """send_all() from a namespace, in the calling thread. Options: see Options."""
    with inside(netns):
        return asyncio.run(send_all(messages, Options(address, port, **options)))


def compare(report, received):
    """Lists of ids: lost (accepted, but did not arrive), changed, doubled, invented (arrived, but
    was not accepted). A message whose connection broke may rightly have arrived: `uncertain`."""
    arrived = collections.defaultdict(list)
    for message in received:
        arrived[message.id].append(message)
    result = {k: [] for k in ('lost', 'changed', 'doubled', 'invented', 'uncertain')}
    known = set()
    for outcome in report.outcomes:
        known.add(outcome.id)
        copies = arrived.get(outcome.id, [])
        if outcome.outcome == 'accepted' and not copies:
            result['lost'].append(outcome.id)
        if outcome.outcome == 'refused' and copies:
            result['invented'].append(outcome.id)
        if outcome.outcome in ('broken', 'timeout') and copies:
            result['uncertain'].append(outcome.id)
        if len(copies) > 1:
            result['doubled'].append(outcome.id)
        if any(c.content_sha256 != outcome.content_sha256 for c in copies):
            result['changed'].append(outcome.id)
    result['invented'] += [mark for mark in arrived if mark not in known]
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('address')
    parser.add_argument('files', nargs='*', help='messages to send; default: made ones')
    parser.add_argument('--count', type=int, default=100, help='made messages; 0: without end')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--size', type=int, nargs=2, default=(400, 20_000), metavar=('MIN', 'MAX'))
    parser.add_argument('--text', help='put into each made message')
    parser.add_argument('--sender', default='sender@rig.test')
    parser.add_argument('--recipient', default='user@sink.test')
    parser.add_argument('--outcomes', action='store_true', help='one JSON line a message')
    numbers = (('port', int), ('concurrency', int), ('per-connection', int), ('chunk-size', int),
               ('timeout', float), ('rate', float), ('seconds', float))
    for name, kind in numbers:
        default = getattr(Options, name.replace('-', '_'), None)
        parser.add_argument(f'--{name}', type=kind, default=default)
    parser.add_argument('--local', help='address to send from')
    parser.add_argument('--helo', default=Options.helo)
    parser.add_argument('--no-pipelining', action='store_true')
    parser.add_argument('--chunking', action='store_true')
    parser.add_argument('--starttls', action='store_true')
    a = parser.parse_args()
    if a.files:
        messages = from_files(a.files, sender=a.sender, recipient=a.recipient)
    else:
        messages = generate(a.count or None, seed=a.seed, size=tuple(a.size), sender=a.sender,
                            recipient=a.recipient, text=a.text)
    report = run_mailer(a.address, a.port, messages, local=a.local, helo=a.helo,
                        concurrency=a.concurrency, per_connection=a.per_connection,
                        pipelining=not a.no_pipelining, chunking=a.chunking,
                        chunk_size=a.chunk_size, starttls=a.starttls, timeout=a.timeout,
                        rate=a.rate, seconds=a.seconds)
    if a.outcomes:
        for outcome in report.outcomes:
            print(json.dumps(dataclasses.asdict(outcome)))
    print(json.dumps(report.summary()))
    sys.exit(0 if report.outcomes and report.counts['accepted'] == len(report.outcomes) else 1)


if __name__ == '__main__':
    main()
