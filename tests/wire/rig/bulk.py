#!/usr/bin/python3
"""A stream of octets over one TCP connection, any port: does it arrive whole, and how long did it stall?

    with Bulk(t.subscribers[0].netns, t.far[0].netns, t.far[0].v4, port=8080, rate=20) as b:
        ...                                    # kill, restart, reload
    print(b.report.longest_gap_ms, b.report.intact)

Both ends are processes of their own, so that the caller's work does not look like a stall. A gap is
between two reads that brought octets; the sender's own pauses are measured too, so that a gap can
be put down to the wire or to this machine.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import signal
import socket
import struct
import sys
import time

if __name__ == '__main__':
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from rig.netns import RigError, inside

_BLOCK = random.Random(20261125).randbytes(1 << 20)  # sent over and over, from a moving start
_LONGEST = 10  # gaps that are listed


@dataclasses.dataclass
class BulkReport:
    octets_sent: int = 0
    octets_received: int = 0
    intact: bool = False          # all octets came, in order and unchanged, and the end was orderly
    seconds: float = 0.0
    mbit_s: float = 0.0
    longest_gap_ms: float = 0.0
    longest_send_gap_ms: float = 0.0
    gaps: list = dataclasses.field(default_factory=list)  # [second from the start, ms], longest
    retransmissions: int = 0      # of the sender's TCP
    error: str = ''


def _family(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def _retransmissions(s):
    with contextlib.suppress(OSError, struct.error):
        return struct.unpack_from('I', s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 100)[0]
    return 0


def _part(position, size):
    """Octets of the endless stream, from a position."""
    at = position % len(_BLOCK)
    return memoryview(_BLOCK)[at:min(at + size, len(_BLOCK))]


def send_stream(s, rate, seconds, stop):
    """Sends at `rate` Mbit/s until `seconds` are over or stop() holds; then the digest's worth is
    told by what it returns: (octets, hexdigest, longest pause in ms, retransmissions, error)."""
    digest = hashlib.sha256()
    sent = 0
    longest = 0.0
    error = ''
    start = last = time.monotonic()
    try:
        while not stop() and time.monotonic() - start < seconds:
            due = (time.monotonic() - start) * rate * 125_000
            if sent > due:
                time.sleep(0.001)
                continue
            before = time.monotonic()
            longest = max(longest, before - last)
            part = _part(sent, 16384)
            count = s.send(part)
            digest.update(part[:count])
            sent += count
            # Waiting in send() is the wire's doing, not ours.
            last = time.monotonic()
        s.shutdown(socket.SHUT_WR)
        # Lets the last octets be acknowledged, or the fault be seen.
        s.settimeout(30)
        while s.recv(65536):
            pass
    except OSError as e:
        error = f'{type(e).__name__}: {e}'
    return sent, digest.hexdigest(), longest * 1000, _retransmissions(s), error


def receive_stream(s):
    """Reads to the end. (octets, hexdigest, seconds, gaps as [second, ms], error)."""
    digest = hashlib.sha256()
    count = 0
    gaps = []
    error = ''
    start = last = None
    buffer = bytearray(1 << 18)
    view = memoryview(buffer)
    try:
        while True:
            size = s.recv_into(buffer)
            now = time.monotonic()
            if size == 0:
                break
            if start is None:
                start = now
            else:
                gap = (now - last) * 1000
                if len(gaps) < _LONGEST or gap > gaps[-1][1]:
                    gaps.append([round(last - start, 3), round(gap, 2)])
                    gaps.sort(key=lambda g: -g[1])
                    del gaps[_LONGEST:]
            last = now
            digest.update(view[:size])
            count += size
    except OSError as e:
        error = f'{type(e).__name__}: {e}'
    return count, digest.hexdigest(), (last or 0) - (start or 0), gaps, error


def _run(role, netns, address, port, local, sends, rate, seconds, pipe, stop):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with inside(netns):
            s = socket.socket(_family(address), socket.SOCK_STREAM)
            if role == 'server':
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((address, port))
                s.listen()
                pipe.send(('listening', s.getsockname()[1]))
                s.settimeout(30)
                with s:
                    s, _ = s.accept()
            else:
                if local:
                    s.bind((local, 0))
                s.settimeout(10)
                s.connect((address, port))
                pipe.send(('connected', None))
            s.settimeout(None)
        result = send_stream(s, rate, seconds, stop.is_set) if sends else receive_stream(s)
        s.close()
        pipe.send((('sent' if sends else 'received'), result))
    except OSError as error:
        pipe.send(('failed', f'{role}: {error}'))


class Bulk:
    """One transfer between two namespaces, begun by start() and ended by stop().

    client_ns connects to address:port, where server_ns listens. rate in Mbit/s; at most `seconds`.
    reverse: the server sends. local: the client's address. RigError when no connection comes about.
    """

    def __init__(self, client_ns, server_ns, address, *, port=0, rate=20.0, seconds=3600.0,
                 reverse=False, local=None):
        self._arguments = (client_ns, server_ns, address, port, rate, seconds, reverse, local)
        self._stop = None
        self.report = None

    def start(self):
        client_ns, server_ns, address, port, rate, seconds, reverse, local = self._arguments
        context = multiprocessing.get_context('fork')
        self._stop = context.Event()
        self._ends = {}
        for role in ('server', 'client'):
            here, there = context.Pipe()
            netns = server_ns if role == 'server' else client_ns
            sends = reverse == (role == 'server')
            process = context.Process(target=_run, daemon=True, args=(
                role, netns, address, port, local, sends, rate, seconds, there, self._stop))
            process.start()
            there.close()
            self._ends[role] = (process, here, sends)
            try:
                word, value = here.recv()
            except EOFError:
                word, value = 'failed', 'ended early'
            if word == 'failed':
                self._kill()
                raise RigError(f'bulk transfer: {value}')
            if word == 'listening':
                port = value
        return self

    def _kill(self):
        for process, _, _ in self._ends.values():
            if process.is_alive():
                process.kill()
            process.join()

    def stop(self, timeout=60.0):
        """Lets the sender end, waits for the last octets; the report."""
        if self.report is not None or self._stop is None:
            return self.report
        self._stop.set()
        results = {}
        errors = []
        for role, (_, pipe, _) in self._ends.items():
            try:
                if not pipe.poll(timeout):
                    raise EOFError
                word, value = pipe.recv()
                results[word] = value
            except EOFError:
                errors.append(f'the {role} did not end')
        self._kill()
        r = self.report = BulkReport()
        if 'sent' in results and 'received' in results:
            r.octets_sent, sent_digest, r.longest_send_gap_ms, r.retransmissions, e1 = results['sent']
            r.octets_received, digest, r.seconds, r.gaps, e2 = results['received']
            errors += [e for e in (e1, e2) if e]
            r.intact = not errors and digest == sent_digest
            r.longest_gap_ms = max((g[1] for g in r.gaps), default=0.0)
            r.mbit_s = r.octets_received / 125_000 / r.seconds if r.seconds else 0.0
        elif 'failed' in results:
            errors.append(results['failed'])
        r.error = '; '.join(errors)
        return r

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        elif self._stop is not None:
            self._kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('client', help='namespace of the client ("-": this one)')
    parser.add_argument('server', help='namespace of the server ("-": this one)')
    parser.add_argument('address', help="the server's address")
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument('--rate', type=float, default=20.0, help='Mbit/s')
    parser.add_argument('--seconds', type=float, default=10.0)
    parser.add_argument('--reverse', action='store_true', help='the server sends')
    parser.add_argument('--local', help="the client's address")
    a = parser.parse_args()
    try:
        with Bulk(None if a.client == '-' else a.client, None if a.server == '-' else a.server,
                  a.address, port=a.port, rate=a.rate, seconds=a.seconds, reverse=a.reverse,
                  local=a.local) as bulk:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(a.seconds)
    except RigError as error:
        sys.exit(str(error))
    print(json.dumps(dataclasses.asdict(bulk.report)))
    sys.exit(0 if bulk.report.intact else 1)


if __name__ == '__main__':
    main()
