#!/usr/bin/env python3
"""Throughput of one TCP flow that loses segments, through the appliance and over a bare wire.

    loss.py BUILD [--loss 0.001 0.01] [--port 25 9999] [--repetitions 8] [--seconds 6] [--rtt 10]

    subscriber -- link that loses and delays (tests/wire/rig) -- wire -- far side

There are two of these lines, alike but for the wire: a kernel bridge, and the appliance with
--rules rules loaded, in enforcement. One message (port 25: a whole SMTP session, a large message in
DATA) or one stream (other ports) is sent over each in turn, never at the same time; which comes
first changes with each repetition. The link loses the same frames, by number, in both runs of a
repetition, and has a round trip of --rtt, without which the speed would be that of the processor.
Loss is upstream of the appliance (--where after: behind it), in the direction of the data.

The speed is the receiver's, from the first octet of the message to the last. Printed for each port
and loss, one JSON object: the ratio of the means (appliance / wire), its 95 % interval over the
repetitions (bootstrap), and all figures. Root; network namespaces only.
"""
import argparse
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
for folder in ('tests/wire', 'tests/lab'):
    sys.path.insert(0, str(HERE.parents[1] / folder))
from appliance import Appliance  # noqa: E402
from rig import netns  # noqa: E402
from rig.forwarder import Forwarder  # noqa: E402

LINES = b''.join(b'%s\r\n' % bytes(random.Random(n).choices(
    b'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', k=76)) for n in range(800))
HEADER = (b'From: <a@customer.example>\r\nTo: <b@elsewhere.example>\r\nSubject: figures\r\n'
          b'MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name="figures.bin"\r\n'
          b'Content-Transfer-Encoding: base64\r\n\r\n')
END = b'\r\n.\r\n'
DIALOGUE = ((b'EHLO customer.example\r\n', b'250-far.example\r\n250 SIZE 1000000000\r\n'),
            (b'MAIL FROM:<a@customer.example>\r\n', b'250 2.1.0 Ok\r\n'),
            (b'RCPT TO:<b@elsewhere.example>\r\n', b'250 2.1.5 Ok\r\n'),
            (b'DATA\r\n', b'354 go on\r\n'))


def read_line(s):
    """A command, or a reply with all its lines."""
    text = b''
    while not text.endswith(b'\r\n') or text.rsplit(b'\r\n', 2)[-2][3:4] == b'-':
        part = s.recv(4096)
        if not part:
            raise ConnectionError('closed in the dialogue')
        text += part
    return text


def answer(s, dialogue=DIALOGUE):
    """The server's half, up to the message."""
    s.sendall(b'220 far.example ESMTP\r\n')
    for _, reply in dialogue:
        read_line(s)
        s.sendall(reply)


def introduce(s, dialogue=DIALOGUE):
    """The client's half."""
    read_line(s)
    for command, reply in dialogue:
        s.sendall(command)
        if read_line(s)[:3] != reply[:3]:
            raise ConnectionError(f'{command} was refused')


def receive(s, mail, pipe, prologue=None):
    """prologue(socket): what comes before the octets that are counted; of mail the dialogue."""
    prologue = prologue or (answer if mail else None)
    if prologue:
        prologue(s)
    first = last = None
    octets, tail = 0, b''
    while tail[-5:] != END and (part := s.recv(1 << 18)):
        last = time.monotonic()
        first = first or last
        octets += len(part)
        if mail:
            tail = tail[-4:] + part[-5:]
    if mail:
        s.sendall(b'250 2.0.0 Ok\r\n')
    s.close()
    pipe.send((octets, octets / 125_000 / (last - first)))


def send(s, mail, seconds, pipe, prologue=None):
    prologue = prologue or (introduce if mail else None)
    if prologue:
        prologue(s)
    if mail:
        s.sendall(HEADER)
    sent = len(HEADER) if mail else 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        s.sendall(LINES)
        sent += len(LINES)
    if mail:
        s.sendall(END[2:])
        sent += len(END[2:])
        if read_line(s)[:3] != b'250':
            raise ConnectionError('the message was refused')
    s.shutdown(socket.SHUT_WR)  # the other process has the descriptor too
    s.close()
    pipe.send(sent)


class Line:
    """One of the two lines."""

    def __init__(self, name, where):
        self.name = name
        self.topology = netns.Topology(f'loss{os.getpid()}{name[0]}', subscribers=1, far=1,
                                       impair={'before': 'inside', 'after': 'outside'}[where])

    def open(self):
        t = self.topology.open()
        for host in (t.subscribers[0], t.far[0]):
            with netns.inside(host.netns):
                # One run must not begin with what another found out about the way.
                pathlib.Path('/proc/sys/net/ipv4/tcp_no_metrics_save').write_text('1')
        return self

    def run(self, port, loss, seconds, rtt, seed):
        """Mbit/s of one transfer, and what the link lost."""
        t, far = self.topology, self.topology.far[0]
        fork = multiprocessing.get_context('fork')
        with Forwarder(t, loss=loss, delay=rtt, direction='right', seed=seed) as link:
            t.wait_reachable()
            with netns.inside(far.netns):
                listener = socket.create_server((far.v4, port))
            with netns.inside(t.subscribers[0].netns):
                client = socket.create_connection((far.v4, port), 30)
            server, _ = listener.accept()
            listener.close()
            client.settimeout(60)
            server.settimeout(60)
            # Of those that every kernel has. BBR takes no notice of loss and would measure the
            # processor.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b'reno')
            pipes, processes = [], []
            for work, arguments in ((receive, (server, port == 25)),
                                    (send, (client, port == 25, seconds))):
                here, there = fork.Pipe()
                process = fork.Process(target=work, args=(*arguments, there), daemon=True)
                process.start()
                there.close()
                pipes.append(here)
                processes.append(process)
            server.close()
            client.close()
            try:
                (received, mbit), sent = [pipe.recv() for pipe in pipes]
            except EOFError:
                sys.exit(f'loss: {self.name}: a transfer on port {port} broke off')
            for process in processes:
                process.join()
            if received != sent:
                sys.exit(f'loss: {self.name}: {received} octets of {sent} arrived')
        return mbit, link.counts['right']['lost']


def interval(pairs, rounds=4000):
    """95 % of the ratio of means, over repetitions drawn anew."""
    draw = random.Random(1)
    ratios = []
    for _ in range(rounds):
        some = draw.choices(pairs, k=len(pairs))
        ratios.append(sum(a for _, a in some) / sum(w for w, _ in some))
    ratios.sort()
    return ratios[rounds // 40], ratios[-rounds // 40]


def measure(wire, appliance, port, loss, options):
    pairs, lost = [], {'wire': 0, 'appliance': 0}
    for repetition in range(options.repetitions):
        order = (wire, appliance) if repetition % 2 == 0 else (appliance, wire)
        mbit = {}
        for line in order:
            mbit[line.name], gone = line.run(port, loss, options.seconds, options.rtt, repetition + 1)
            lost[line.name] += gone
        pairs.append((mbit['wire'], mbit['appliance']))
        print(f'port {port} loss {loss}: {pairs[-1]}', file=sys.stderr)
    low, high = interval(pairs)
    ratio = sum(a for _, a in pairs) / sum(w for w, _ in pairs)
    return {'port': port, 'loss': loss, 'where': options.where, 'rtt_ms': options.rtt,
            'congestion_control': 'reno', 'seconds': options.seconds, 'repetitions': options.repetitions,
            'ratio': round(ratio, 4), 'ratio_95_percent': [round(low, 4), round(high, 4)],
            'median_of_ratios': round(statistics.median(a / w for w, a in pairs), 4),
            'wire_mbit': [round(w, 2) for w, _ in pairs],
            'appliance_mbit': [round(a, 2) for _, a in pairs], 'frames_lost': lost}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('build')
    parser.add_argument('--loss', type=float, nargs='+', default=[0.001, 0.01])
    parser.add_argument('--port', type=int, nargs='+', default=[25, 9999])
    parser.add_argument('--repetitions', type=int, default=8)
    parser.add_argument('--seconds', type=float, default=6.0)
    parser.add_argument('--rtt', type=float, default=10.0, help='milliseconds')
    parser.add_argument('--where', choices=('before', 'after'), default='before')
    parser.add_argument('--rules', type=int, default=1000)
    options = parser.parse_args()
    build = pathlib.Path(options.build).resolve()
    os.environ.setdefault('SLUICE_RIG_FORWARDER', str(build / 'tests/wire/rig_forwarder'))
    netns.exit_on_signals()
    folder = pathlib.Path(tempfile.mkdtemp(prefix='loss-'))
    wire, appliance = Line('wire', options.where), Line('appliance', options.where)
    box = None
    try:
        rules = folder / 'a.rules'
        subprocess.run([sys.executable, HERE.parent / 'replay/gen_rules.py', str(options.rules),
                        rules, 'suricata'], check=True)
        wire.open().topology.bridge_wire()
        appliance.open()
        # Where the machine is shared a worker may be kept from its core for longer than the usual
        # time-out, and the kernel would carry the flow meanwhile: here it is the worker's to carry.
        box = Appliance(build, folder / 'sluice', 'w1', 'inside', 'outside',
                        netns=appliance.topology.wire_ns, memory=256, heartbeat=2000)
        box.prepare({'sluice:sluice': {
            'wire': [{'name': 'w1', 'inside': 'inside', 'outside': 'outside', 'mode': 'enforce'}],
            'inside': {'prefix': [{'prefix': '10.77.1.0/24'}]},
            'rules': {'file': [str(rules)]}}})
        box.start_dataplane()
        box.start_control()
        box.wait_adopted()
        for port in options.port:
            for loss in options.loss:
                print(json.dumps(measure(wire, appliance, port, loss, options)), flush=True)
    finally:
        if box:
            box.stop()
            box.detach()
        for line in (wire, appliance):
            line.topology.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
