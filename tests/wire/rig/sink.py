#!/usr/bin/python3
"""A mail server that accepts every message, hashes it and throws it away.

    sink = Sink(ports=[25, 587]); await sink.start(); ...; await sink.stop(); sink.messages

As a program it writes one JSON object a message to --log (or stdout), after "ready" on stdout; from
tests it is started with SinkProcess. It is strict: only CRLF.CRLF ends a message, commands out of
order are refused. Extensions: PIPELINING, 8BITMIME, SMTPUTF8, SIZE, CHUNKING, ENHANCEDSTATUSCODES,
AUTH PLAIN and LOGIN (any password), and STARTTLS with a certificate made at the start.
"""

import argparse
import asyncio
import base64
import binascii
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

if __name__ == '__main__':
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

COMMAND_LIMIT = 4096


@dataclasses.dataclass
class Received:
    """One accepted message. sha256 is of the octets as sent (before dot-unstuffing, the last CRLF
    included; for BDAT the chunks joined), content_sha256 after unstuffing."""
    id: str            # of its X-Rig-Id header; empty: none
    peer: str
    port: int
    helo: str
    mail_from: str
    rcpt_to: list
    via: str           # data or bdat
    size: int
    sha256: str
    content_sha256: str
    tls: bool
    user: str
    time: float        # seconds since the epoch


def unstuffed(octets):
    """The content of message octets in which lines that begin with a dot have one more."""
    octets = octets.replace(b'\r\n.', b'\r\n')
    return octets[1:] if octets.startswith(b'.') else octets


def make_certificate(name='sink.test'):
    """A TLS server context with a certificate of its own, made by the openssl command."""
    folder = tempfile.mkdtemp(prefix='rig-sink-')
    try:
        key, certificate = os.path.join(folder, 'key.pem'), os.path.join(folder, 'cert.pem')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                        'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30', '-subj',
                        f'/CN={name}', '-keyout', key, '-out', certificate],
                       check=True, capture_output=True, timeout=60)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context
    finally:
        shutil.rmtree(folder)


class _Input:
    """Lines, counted octets and dot-ended text from a stream."""

    def __init__(self, reader):
        self._reader = reader
        self._buffer = bytearray()

    async def _more(self):
        octets = await self._reader.read(1 << 16)
        if not octets:
            raise EOFError
        self._buffer += octets

    def _take(self, size):
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def line(self):
        """Up to and with LF; None for one that is longer than a command may be."""
        too_long = False
        while True:
            at = self._buffer.find(b'\n')
            if at >= 0:
                line = self._take(at + 1)
                return None if too_long or len(line) > COMMAND_LIMIT else line
            if len(self._buffer) > COMMAND_LIMIT:
                too_long = True
                self._buffer.clear()
            await self._more()

    async def exactly(self, size):
        while len(self._buffer) < size:
            await self._more()
        return self._take(size)

    async def text(self):
        """The octets up to the line with the dot alone."""
        if len(self._buffer) < 3:
            await self._at_least(3)
        if self._buffer.startswith(b'.\r\n'):
            self._take(3)
            return b''
        searched = 0
        while True:
            at = self._buffer.find(b'\r\n.\r\n', searched)
            if at >= 0:
                octets = self._take(at + 2)
                self._take(3)
                return octets
            searched = max(0, len(self._buffer) - 4)
            await self._more()

    async def _at_least(self, size):
        while len(self._buffer) < size:
            await self._more()

    def forget(self):
        self._buffer.clear()


class _Session:
    def __init__(self, sink, reader, writer):
        self._sink = sink
        self._reader = reader
        self._writer = writer
        self._input = _Input(reader)
        self._helo = ''
        self._tls = False
        self._user = ''
        self._reset()

    def _reset(self):
        self._from = None
        self._to = []
        self._chunks = None

    def _reply(self, *lines):
        code, last = lines[-1].split(' ', 1)
        for line in lines[:-1]:
            self._writer.write(f'{code}-{line}\r\n'.encode())
        self._writer.write(f'{code} {last}\r\n'.encode())

    async def run(self):
        if self._sink.banner_delay:
            await asyncio.sleep(self._sink.banner_delay)
        self._reply(f'220 {self._sink.name} ESMTP rig')
        while True:
            await self._writer.drain()
            line = await self._input.line()
            if line is None:
                self._reply('500 5.5.2 Line too long')
                continue
            verb, _, argument = line.rstrip(b'\r\n').decode('utf-8', 'replace').partition(' ')
            verb = verb.upper()
            if verb == 'QUIT':
                self._reply('221 2.0.0 Bye')
                await self._writer.drain()
                return
            command = getattr(self, f'_do_{verb.lower()}', None)
            if command is None or not verb.isalpha():
                self._reply('500 5.5.2 Command not known')
            else:
                await command(argument)

    async def _do_helo(self, argument):
        self._helo = argument
        self._reset()
        self._reply(f'250 {self._sink.name}')

    async def _do_ehlo(self, argument):
        self._helo = argument
        self._reset()
        lines = [self._sink.name, 'PIPELINING', f'SIZE {self._sink.size}', '8BITMIME', 'SMTPUTF8',
                 'AUTH PLAIN LOGIN']
        if self._sink.chunking:
            lines.append('CHUNKING')
        if self._sink.tls and not self._tls:
            lines.append('STARTTLS')
        self._reply(*lines, '250 ENHANCEDSTATUSCODES')

    async def _do_noop(self, _):
        self._reply('250 2.0.0 Ok')

    async def _do_rset(self, _):
        self._reset()
        self._reply('250 2.0.0 Ok')

    async def _do_starttls(self, argument):
        if not self._sink.tls or self._tls or argument:
            self._reply('501 5.5.4 Not here' if argument else '503 5.5.1 Not here')
            return
        self._reply('220 2.0.0 Ready to start TLS')
        await self._writer.drain()
        self._input.forget()  # RFC 3207 4.2: what was said before is as though it never was
        await self._writer.start_tls(self._sink.tls)
        self._tls = True
        self._helo = ''
        self._reset()

    async def _do_auth(self, argument):
        mechanism, _, initial = argument.partition(' ')
        try:
            if mechanism.upper() == 'PLAIN':
                parts = (await self._answer('', initial)).split(b'\0')
                user = parts[1]
            elif mechanism.upper() == 'LOGIN':
                user = await self._answer('Username:', initial)
                await self._answer('Password:', '')
            else:
                self._reply('504 5.5.4 Mechanism not known')
                return
        except (binascii.Error, IndexError, ValueError):
            self._reply('501 5.5.2 Cannot decode')
            return
        self._user = user.decode('utf-8', 'replace')
        self._reply('235 2.7.0 Authenticated')

    async def _answer(self, challenge, initial):
        if not initial:
            self._reply('334 ' + base64.b64encode(challenge.encode()).decode())
            await self._writer.drain()
            initial = ((await self._input.line()) or b'').decode('ascii', 'replace').strip()
        return base64.b64decode(initial, validate=True)

    async def _do_mail(self, argument):
        match = re.match(r'FROM: ?(<[^>]*>|\S+)(.*)', argument, re.IGNORECASE)
        if not self._helo:
            self._reply('503 5.5.1 EHLO first')
        elif self._from is not None:
            self._reply('503 5.5.1 Nested MAIL')
        elif not match:
            self._reply('501 5.1.7 Bad sender')
        elif (size := re.search(r' SIZE=(\d+)', match[2], re.IGNORECASE)) \
                and int(size[1]) > self._sink.size:
            self._reply('552 5.3.4 Too big')
        else:
            self._from = match[1]
            self._reply('250 2.1.0 Ok')

    async def _do_rcpt(self, argument):
        match = re.match(r'TO: ?(<[^>]+>|\S+)', argument, re.IGNORECASE)
        if self._from is None:
            self._reply('503 5.5.1 MAIL first')
        elif not match:
            self._reply('501 5.1.3 Bad recipient')
        elif self._sink.refuse and re.search(self._sink.refuse, match[1]):
            self._reply('550 5.1.1 No such user here')
        else:
            self._to.append(match[1])
            self._reply('250 2.1.5 Ok')

    async def _do_data(self, _):
        if not self._to or self._chunks is not None:
            self._reply('503 5.5.1 No recipients' if not self._to else '503 5.5.1 BDAT begun')
            return
        self._reply('354 End data with <CR><LF>.<CR><LF>')
        await self._writer.drain()
        await self._accept(await self._input.text(), 'data')

    async def _do_bdat(self, argument):
        match = re.fullmatch(r'(\d{1,15})( LAST)?', argument, re.IGNORECASE)
        if not match or not self._sink.chunking:
            self._reply('501 5.5.4 Bad chunk')
            return
        if int(match[1]) > self._sink.size:
            self._reply('552 5.3.4 Too big')
            await self._writer.drain()
            raise EOFError  # its octets cannot be told from commands
        octets = await self._input.exactly(int(match[1]))
        if not self._to:
            self._reply('503 5.5.1 No recipients')
            return
        self._chunks = (self._chunks or b'') + octets
        if match[2]:
            await self._accept(self._chunks, 'bdat')
        else:
            self._reply(f'250 2.0.0 {len(octets)} octets')

    async def _accept(self, octets, via):
        content = unstuffed(octets) if via == 'data' else octets
        if len(octets) > self._sink.size:
            self._reply('552 5.3.4 Too big')
            self._reset()
            return
        head = content[:content.find(b'\r\n\r\n') + 2]
        mark = re.search(rb'^X-Rig-Id: *(\S+)', head, re.MULTILINE)
        self._sink.take(Received(
            id=mark[1].decode('ascii', 'replace') if mark else '',
            peer=self._writer.get_extra_info('peername')[0],
            port=self._writer.get_extra_info('sockname')[1], helo=self._helo,
            mail_from=self._from, rcpt_to=self._to, via=via, size=len(octets),
            sha256=hashlib.sha256(octets).hexdigest(),
            content_sha256=hashlib.sha256(content).hexdigest(), tls=self._tls, user=self._user,
            time=time.time()))
        if self._sink.delay:
            await asyncio.sleep(self._sink.delay)
        self._reset()
        self._reply(f'250 2.0.0 Ok: queued as {len(self._sink.messages)}')


class Sink:
    """The server. hosts and ports: where it listens (port 0: any; see `addresses` after start).

    size: largest message in octets. tls: a server context (make_certificate()) for STARTTLS.
    refuse: pattern of recipients that do not exist. delay, banner_delay: seconds before the reply
    to a message, before the first line. keep: messages are kept in `messages`; on_message(Received)
    is called for each.
    """

    def __init__(self, hosts=('0.0.0.0', '::'), ports=(25,), *, name='sink.test', size=64 << 20,
                 tls=None, chunking=True, refuse=None, delay=0.0, banner_delay=0.0,
                 on_message=None):
        self.hosts, self.ports = hosts, ports
        self.name, self.size, self.tls, self.chunking = name, size, tls, chunking
        self.refuse, self.delay, self.banner_delay = refuse, delay, banner_delay
        self.messages = []
        self.connections = 0
        self.addresses = []
        self._on_message = on_message
        self._servers = []
        self._tasks = set()

    def take(self, message):
        self.messages.append(message)
        if self._on_message:
            self._on_message(message)

    async def start(self):
        for host in self.hosts:
            for port in self.ports:
                server = await asyncio.start_server(self._serve, host, port, backlog=1024,
                                                    limit=1 << 20)
                self._servers.append(server)
                self.addresses += [s.getsockname()[:2] for s in server.sockets]

    async def _serve(self, reader, writer):
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            writer.get_extra_info('socket').setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await _Session(self, reader, writer).run()
        except (EOFError, OSError, ssl.SSLError):
            pass  # the client went: its message was not complete
        except asyncio.CancelledError:
            pass  # stop()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()

    async def stop(self):
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class SinkProcess:
    """A sink as a process in a namespace of a topology; `messages` is read when it is stopped.

        with SinkProcess(t, t.far[0].netns, ports=[25, 587], tls=True) as sink: ...
        sink.messages
    """

    def __init__(self, topology, netns, *, ports=(25,), tls=False, refuse=None, chunking=True,
                 delay=0.0):
        self._log = tempfile.NamedTemporaryFile(prefix='rig-sink-', suffix='.json')
        line = [sys.executable, os.path.abspath(__file__), '--quiet', '--log', self._log.name,
                '--delay', str(delay)]
        for port in ports:
            line += ['--port', str(port)]
        if tls:
            line.append('--tls')
        if not chunking:
            line.append('--no-chunking')
        if refuse:
            line += ['--refuse', refuse]
        self._start = lambda: topology.popen(netns, line, stdout=subprocess.PIPE, text=True)
        self._process = None
        self.messages = None

    def start(self):
        self._process = self._start()
        if self._process.stdout.readline() != 'ready\n':
            raise RuntimeError(f'the sink did not start (exit {self._process.wait()})')
        return self

    def read(self):
        """What has been accepted so far."""
        with open(self._log.name, encoding='utf-8') as f:
            return [Received(**json.loads(line)) for line in f if line.endswith('\n')]

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=10)
            self._process = None
            self.messages = self.read()
            self._log.close()
        return self.messages

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


async def _main(arguments):
    log = open(arguments.log, 'a', encoding='utf-8') if arguments.log else sys.stdout

    def write(message):
        log.write(json.dumps(dataclasses.asdict(message)) + '\n')
        log.flush()

    sink = Sink(arguments.host or ('0.0.0.0', '::'), arguments.port or (25,), name=arguments.name,
                size=arguments.size, tls=make_certificate(arguments.name) if arguments.tls else None,
                chunking=not arguments.no_chunking, refuse=arguments.refuse, delay=arguments.delay,
                banner_delay=arguments.banner_delay, on_message=write)
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    await sink.start()
    print('ready', flush=True)
    await done.wait()
    await sink.stop()
    if not arguments.quiet:
        print(json.dumps({'connections': sink.connections, 'messages': len(sink.messages),
                          'octets': sum(m.size for m in sink.messages)}), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--host', action='append')
    parser.add_argument('--port', action='append', type=int)
    parser.add_argument('--name', default='sink.test')
    parser.add_argument('--size', type=int, default=64 << 20, help='largest message, octets')
    parser.add_argument('--tls', action='store_true', help='offer STARTTLS')
    parser.add_argument('--no-chunking', action='store_true')
    parser.add_argument('--refuse', help='pattern of recipients that do not exist')
    parser.add_argument('--delay', type=float, default=0.0, help='before accepting, seconds')
    parser.add_argument('--banner-delay', type=float, default=0.0)
    parser.add_argument('--quiet', action='store_true', help='no summary at the end')
    parser.add_argument('--log', help='file for the messages; default stdout')
    asyncio.run(_main(parser.parse_args()))


if __name__ == '__main__':
    main()
