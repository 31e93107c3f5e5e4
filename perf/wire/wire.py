#!/usr/bin/env python3
"""The appliance live, beside wires that do nothing: latency, bulk, connections, a SYN flood, sleep.

    wire.py BUILD [--only PART...] [--repetitions 3] [--seconds 1] [--rules 1000] [--capacity 1000]

Lines as in lines.py, all in one run, measured in turn, each repetition in another order. Both ends,
what stands in the middle and its kernel part share this machine's cores. Prints JSON lines:

    bulk         Mbit/s of one flow: iperf3 on another port, also with large sends (segmentation and checksums
                 left to the port, as ends do by themselves, which XDP on a veth cannot take) and on port 25; a
                 message in DATA that is scanned; one past its scan limit; a stream inside TLS
    latency      round trips of a NOOP on port 587, idle and while half of what the slower of testpmd and
                 ours can carry passes in eight other flows; `added` is what one crossing costs beyond the cable.
                 Ends on the first core, what forwards on the last; no core halts meanwhile, because what a
                 halted virtual core needs to wake would drown all else
    connections  connect, greeting, QUIT
    flood        an honest session beside a flood of SYNs to port 25
    messages     4,000 of about 10 KB, 50 at a time, each on its connection: CPU of the worker (which
                 polls for 200 us after each frame) and of soft interrupts (both ends' too) for each
    overload     twice what the appliance can do, one of four subscribers floods (overload.py)
    sleep        what an idle wire costs, and what waking costs a round trip (frames 50 us and 5 ms apart)

Root; network namespaces only. About six minutes.
"""
import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

import loss
import overload
from lines import KINDS, Ours, netns, softirq
from rig import mailer, sink

HERE = pathlib.Path(__file__).resolve().parent
TLS_DIALOGUE = ((b'EHLO customer.example\r\n', b'250-far.example\r\n250 STARTTLS\r\n'),
                (b'STARTTLS\r\n', b'220 2.0.0 Ready to start TLS\r\n'))


def shake_hands(s, context, server):
    """A true TLS handshake, after which the bare socket goes on."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = context.wrap_bio(incoming, outgoing, server_side=server, server_hostname=None if server else 'far.example')
    done = False
    while not done:
        try:
            end.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        if octets := outgoing.read():
            s.sendall(octets)
        if not done:
            incoming.write(s.recv(65536))


def server_context():
    return sink.make_certificate('far.example')


def client_context():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def answer_tls(s):
    loss.answer(s, TLS_DIALOGUE)
    # No session tickets, which nobody would read.
    context = server_context()
    context.num_tickets = 0
    shake_hands(s, context, True)
    s.sendall(b'ready')


def introduce_tls(s):
    loss.introduce(s, TLS_DIALOGUE)
    shake_hands(s, client_context(), False)
    octets = b''
    while len(octets) < 5:
        octets += s.recv(5 - len(octets))


class Transfer:
    """One flow from the near end to the far one, by two processes. kind: mail or tls. rate: Mbit/s."""

    def __init__(self, line, kind, seconds, rate=None):
        with netns.inside(line.far.netns):
            listener = socket.create_server((line.far.v4, 25))
        with netns.inside(line.near.netns):
            client = socket.create_connection((line.far.v4, 25), 30)
        server, _ = listener.accept()
        listener.close()
        client.settimeout(60)
        server.settimeout(60)
        if rate:
            client.setsockopt(socket.SOL_SOCKET, 47, int(rate * 125_000))  # SO_MAX_PACING_RATE
        fork = multiprocessing.get_context('fork')
        prologues = (answer_tls, introduce_tls) if kind == 'tls' else (None, None)
        mail = kind == 'mail'
        self.pipes, self.processes = [], []
        for work, arguments, prologue in ((loss.receive, (server, mail), prologues[0]),
                                          (loss.send, (client, mail, seconds), prologues[1])):
            here, there = fork.Pipe()
            process = fork.Process(target=work, args=(*arguments, there, prologue), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)
        server.close()
        client.close()
        self.name = line.name

    def result(self):
        """Mbit/s as received."""
        try:
            (received, mbit), sent = [pipe.recv() for pipe in self.pipes]
        except EOFError:
            sys.exit(f'wire: {self.name}: a transfer broke off')
        for process in self.processes:
            process.join()
        if received != sent:
            sys.exit(f'wire: {self.name}: {received} octets of {sent} arrived')
        return mbit


def iperf3(line, port, seconds):
    if not shutil.which('iperf3'):
        sys.exit('wire: needs iperf3 (apt-get install iperf3)')
    server = line.topology.popen(line.far.netns, ['iperf3', '-s', '-1', '-p', str(port), '--forceflush'],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while 'listening' not in (said := server.stdout.readline()):
        if not said:
            sys.exit(f'wire: {line.name}: iperf3 did not start')
    text = line.topology.run(line.near.netns, ['iperf3', '-c', line.far.v4, '-p', str(port), '-t',
                                               str(seconds), '-J'])
    server.wait()
    return json.loads(text)['end']['sum_received']['bits_per_second'] / 1e6


def large_sends(line, seconds):
    def leave(what):
        for host in (line.near, line.far):
            line.topology.ethtool(host.netns, 'eth0', tx=what, tso=what, gso=what)
    leave('on')
    try:
        return iperf3(line, 5201, seconds)
    finally:
        leave('off')


LARGE = 'iperf3 on another port, large sends'
WORKS = {
    'iperf3 on another port': lambda line, seconds: iperf3(line, 5201, seconds),
    LARGE: large_sends,
    'iperf3 on port 25': lambda line, seconds: iperf3(line, 25, seconds),
    'a message in DATA': lambda line, seconds: Transfer(line, 'mail', seconds).result(),
    'inside TLS': lambda line, seconds: Transfer(line, 'tls', seconds).result(),
}


@contextlib.contextmanager
def awake():
    """Keeps every core from halting, and from no work."""
    def spin(core):
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while True:
            pass
    fork = multiprocessing.get_context('fork')
    processes = [fork.Process(target=spin, args=(core,), daemon=True) for core in os.sched_getaffinity(0)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


CORES = sorted(os.sched_getaffinity(0))
PING_PORT = 587
FLOWS = 8
# Who does which work; all but `front` where nothing is said.
DONE_BY = {'iperf3 on another port': ('bridge', 'redirect', 'testpmd', 'appliance', 'front'), LARGE: ('bridge', 'front'),
           'inside TLS': ('appliance', 'front')}
# What is near what is asked of it: told apart by so many times as many pairs.
CLOSE = {('bridge', 'iperf3 on another port'), ('redirect', 'iperf3 on another port'),
         ('appliance', 'iperf3 on another port'), ('front', 'iperf3 on another port'), ('bridge', LARGE),
         ('front', LARGE), ('front', 'inside TLS'), ('testpmd', 'a message in DATA'), ('appliance', 'inside TLS'),
         ('scan limit', 'a message in DATA')}
PAIRS = 4


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.build = options.build
        self.folder = folder
        rules = folder / 'a.rules'
        subprocess.run([sys.executable, HERE.parent / 'replay/gen_rules.py', str(options.rules), rules,
                        'suricata'], check=True)
        self.lines = {name: kind(name, self.build) for name, kind in KINDS.items()}
        self.lines['appliance'] = Ours('appliance', self.build, rules, folder, arguments=('--cores', CORES[-1]))
        self.lines['front'] = Ours('front', self.build, rules, folder, arguments=('--cores', CORES[-1]),
                                   wire_options=',xdp_mode=front')
        # Of its own, because the policy is the wire's: any message is soon past its limit.
        self.lines['scan limit'] = Ours('scan limit', self.build, rules, folder, scan_budget=65536,
                                        arguments=('--cores', CORES[-1]))
        self.lines['overload'] = Ours('overload', self.build, rules, folder, arguments=('--cores', CORES[-1]),
                                      subscribers=4)
        self.lines['polling'] = Ours('polling', self.build, rules, folder,
                                     arguments=('--busy-poll', '--cores', CORES[-1]))

    def open(self, *names):
        for name in names:
            line = self.lines[name]
            if not line.topology.subscribers:
                line.open().pause()

    def close(self):
        for line in self.lines.values():
            line.close()

    def drop(self, name):
        self.lines.pop(name).close()

    def on(self, name, work):
        """work(line) while the line runs: its result, CPU seconds of its process, of soft interrupts, and
        frames of its worker."""
        line = self.lines[name]
        line.resume()
        frames = line.frames()
        cpu, irq = line.cpu(), softirq()
        result = work(line)
        used = (line.cpu() - cpu, softirq() - irq, None if frames is None else line.frames() - frames)
        line.pause()
        return result, *used

    def report(self, part, **fields):
        print(json.dumps({'part': part, 'rules': self.options.rules} | fields), flush=True)

    # Parts ----------------------------------------------------------------------------------

    def bulk(self):
        names = ['bridge', 'redirect', 'testpmd', 'appliance']
        self.open(*names, 'front', 'scan limit')
        plan = [(name, work) for work in WORKS for name in DONE_BY.get(work, names)]
        plan.append(('scan limit', 'a message in DATA'))
        found = {step: [] for step in plan}
        by_worker = {step: [] for step in plan}
        for repetition in range(self.options.repetitions * PAIRS):
            steps = [step for step in plan if step in CLOSE or repetition < self.options.repetitions]
            for step in steps if repetition % 2 == 0 else reversed(steps):
                mbit, _, _, frames = self.on(
                    step[0], lambda line, work=step[1]: WORKS[work](line, self.options.seconds))
                found[step].append(mbit)
                by_worker[step].append(frames)
        middle = {step: statistics.median(mbits) for step, mbits in found.items()}
        for (name, work), mbits in found.items():
            beside = {other: round(statistics.median(a / b for a, b in zip(mbits, found[other, same])), 3)
                      for other in ('bridge', 'redirect', 'testpmd')
                      for same in (work, 'a message in DATA') if (other, same) in middle and other != name
                      and (same == work or (work != LARGE and (other, work) not in middle))}
            self.report('bulk', line=name, work='past its scan limit' if name == 'scan limit' else work,
                        mbit=round(middle[name, work], 1), mbits=[round(m, 1) for m in mbits],
                        ratio_to=beside, frames_by_worker=by_worker[name, work])
        self.drop('scan limit')
        return min(middle['testpmd', 'a message in DATA'], middle['appliance', 'a message in DATA'])

    def latency(self, capacity):
        """capacity: Mbit/s."""
        names = ['cable', 'bridge', 'redirect', 'testpmd', 'appliance', 'front', 'polling']
        found = {}
        for load in (0, capacity / 2):
            for repetition in range(self.options.repetitions):
                # What polls would keep a core from all others: it is there in its turn only.
                for name in names if repetition % 2 == 0 else names[::-1]:
                    self.open(name)
                    with awake():
                        found.setdefault((load, name), []).append(
                            self.on(name, lambda line, mbit=load: self.pings(line, mbit))[0])
                    if name == 'polling':
                        self.renew(name)
            middle = {name: {key: round(statistics.median(r[key] for r in found[load, name]), 1)
                             for key in ('p10', 'p50', 'p90', 'p99', 'p999')} for name in names}
            added = {name: (middle[name]['p50'] - middle['cable']['p50']) / 2 for name in names}
            for name in names:
                self.report('latency', line=name, load_mbit=round(load), round_trip_us=middle[name],
                            medians_us=[round(r['p50'], 1) for r in found[load, name]],
                            added_us=round(added[name], 2),
                            ratio_to_testpmd=(round(added[name] / added['testpmd'], 2)
                                              if added['testpmd'] > 0 else None))

    def renew(self, name):
        """Ends a line; it is there again when it is opened."""
        line = self.lines[name]
        line.close()
        line.topology.subscribers.clear()
        line.topology.far.clear()

    def served(self, line, port, threads=16, first=()):
        command = [*first, 'taskset', '-c', str(CORES[0]), self.build / 'perf/wire_load', 'serve', line.far.v4,
                   str(port), '--threads', str(threads)]
        server = line.topology.popen(line.far.netns, command, stdout=subprocess.PIPE, text=True)
        server.stdout.readline()
        return server

    def load(self, line, *words, first=()):
        return json.loads(line.topology.run(line.near.netns, [*first, 'taskset', '-c', str(CORES[0]), str(
            self.build / 'perf/wire_load'), *map(str, words)]))

    def pings(self, line, mbit=0, count=1000, interval=1000):
        # Before all others, or their time slices would be measured.
        first = ('chrt', '-f', '50')
        server = self.served(line, PING_PORT, first=first)
        # Many senders: one alone sends its millisecond's worth at once, and the ping waits behind it.
        bulk = [p for _ in range(FLOWS if mbit else 0)
                for p in Transfer(line, 'mail', 30, mbit / FLOWS).processes[::-1]]  # the sender first
        try:
            return self.load(line, 'ping', line.far.v4, PING_PORT, '--count', count, '--interval', interval,
                             first=first)
        finally:
            server.terminate()
            server.wait()
            for process in bulk:
                process.terminate()
                process.join()

    def connections(self):
        names = ['cable', 'bridge', 'redirect', 'testpmd', 'appliance']
        self.open(*names)
        found = {name: [] for name in names}
        for repetition in range(self.options.repetitions):
            for name in names if repetition % 2 == 0 else names[::-1]:
                found[name].append(self.on(name, self.connect)[0])
        for name, results in found.items():
            self.report('connections', line=name, per_second=round(statistics.median(r['per_second'] for r in results)),
                        each=[round(r['per_second']) for r in results], failed=sum(r['failed'] for r in results))

    def connect(self, line):
        server = self.served(line, 25)
        try:
            return self.load(line, 'connect', line.far.v4, 25, '--seconds', 1, '--threads', 8)
        finally:
            server.terminate()
            server.wait()

    def flood(self):
        for name in ('bridge', 'appliance'):
            self.open(name)
            for rate in (None, 50_000, 0):
                result, cpu, _, frames = self.on(name, lambda line, r=rate: self.pings_in_flood(line, r))
                pings, sent = result
                self.report('flood', line=name, syns_per_second=round(sent['per_second']) if sent else 0,
                            round_trip_us=pings, frames_by_worker=frames, cpu_seconds=round(cpu, 3))

    def pings_in_flood(self, line, rate):
        """rate: SYNs a second; 0: as many as can be sent."""
        flood = None
        if rate is not None:
            mac = json.loads(line.topology.run(line.far.netns, ['ip', '-j', 'link', 'show', 'eth0']))[0]['address']
            # To an address that nobody has, so that nobody answers.
            flood = line.topology.popen(
                line.near.netns, [self.build / 'perf/wire_load', 'flood', 'eth0', mac, '10.78.0.1', '25', '--seconds',
                                  '3', '--rate', str(rate)], stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        pings = self.pings(line, count=1000, interval=1000)
        return pings, json.loads(flood.communicate()[0]) if flood else None

    def letters(self):
        """Files of messages of about 10 KB, as they go over the wire."""
        paths = []
        for message in mailer.generate(50, size=(9000, 11000)):
            paths.append(self.folder / f'{message.id}.eml')
            paths[-1].write_bytes(re.sub(rb'(?m)^\.', b'..', message.content))
        return paths

    def overload(self):
        self.open('overload')
        self.report('overload', line='appliance', **overload.run(self, self.lines['overload'], self.letters()))
        self.drop('overload')

    def messages(self, count=4000, at_once=50):
        paths = self.letters()
        names = ('bridge', 'appliance')
        self.open(*names)
        for name in names:
            result, cpu, irq, frames = self.on(name, lambda line: self.deliver(line, paths, count, at_once))
            if result['accepted'] != count:
                sys.exit(f'wire: {name}: {result["accepted"]} messages of {count} were accepted')
            self.report('messages', line=name, messages=count, at_once=at_once, per_second=round(result['per_second']),
                        octets=sum(p.stat().st_size for p in paths) // len(paths),
                        worker_us_per_message=round(cpu / count * 1e6, 1) if name == 'appliance' else None,
                        softirq_us_per_message=round(irq / count * 1e6, 1), frames_by_worker=frames)

    def deliver(self, line, paths, count, at_once):
        server = self.served(line, 25, at_once)
        try:
            return self.load(line, 'mail', line.far.v4, 25, '--threads', at_once, '--count', count, '--messages',
                             *paths)
        finally:
            server.terminate()
            server.wait()

    def sleep(self, seconds=3):
        self.open('appliance')
        line = self.lines['appliance']
        before, cpu = line.counters(), line.cpu()
        time.sleep(seconds)
        idle = (line.cpu() - cpu) / seconds
        sleeps = line.counters()['sluice_sleeps_total'] - before['sluice_sleeps_total']
        awake = self.pings(line, count=2000, interval=50)
        asleep = self.pings(line, count=300, interval=5000)
        self.open('cable')
        cable = [self.pings(self.lines['cable'], count=2000, interval=50),
                 self.pings(self.lines['cable'], count=300, interval=5000)]
        self.report('sleep', idle_cpu_percent=round(idle * 100, 2), sleeps_per_second=round(sleeps / seconds, 1),
                    awake_us=awake, asleep_us=asleep, cable_awake_us=cable[0], cable_asleep_us=cable[1],
                    # Two crossings, each of which wakes the worker; what the ends' own sleep costs taken off.
                    wake_us=round((asleep['p50'] - awake['p50'] - cable[1]['p50'] + cable[0]['p50']) / 2, 1))


PARTS = ('bulk', 'latency', 'connections', 'flood', 'messages', 'overload', 'sleep')


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('build', type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--repetitions', type=int, default=3)
    parser.add_argument('--seconds', type=int, default=1, help='of one transfer')
    parser.add_argument('--rules', type=int, default=1000)
    parser.add_argument('--capacity', type=float, default=1000,
                        help='Mbit/s, of which half is the load of latency where bulk is not measured before')
    options = parser.parse_args()
    netns.exit_on_signals()
    folder = pathlib.Path(tempfile.mkdtemp(prefix='wire-'))
    bench = Bench(options, folder)
    try:
        capacity = bench.bulk() if 'bulk' in options.only else options.capacity
        for part in options.only:
            if part == 'latency':
                bench.latency(capacity)
            elif part != 'bulk':
                getattr(bench, part)()
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
