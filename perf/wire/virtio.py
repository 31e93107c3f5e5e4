#!/usr/bin/env python3
"""What is not mail, through the appliance on a driver that does XDP as those of NICs do (veth copies
each frame of a TCP sender for an XDP program): virtio_net, in a guest of Debian's kernel under QEMU.

    virtio.py BUILD [--pairs 9] [--seconds 2] [--kernel linux-image-amd64] [--cpus 1]

    near (namespace, tap) --- NIC [ line in the guest ] NIC --- (tap, namespace) far

Lines, each on two virtio NICs of its own: `bridge`, a kernel bridge that takes and sends frame by frame;
`gro`, one that merges what it receives (GRO) and leaves to the NIC to cut it again (TSO), as Linux does
by itself; `redirect`, a bare XDP redirect; `appliance`, ours in enforcement. iperf3 on a port that is
not mail's, in turn, the order turned around each time; the ratios are the medians of pairs.

All NICs are alike: 1,500 octets, the sender's segments are cut before they enter the tap (guest_tso off);
checksums are the host's affair, as they are the NIC's elsewhere: a bridge neither makes nor checks one. No
mitigations, which would cost the bridge more: it makes more indirect calls.

The guest's CPU is emulated and counts its instructions, each of which takes the same time (icount), so that
what else runs on this machine changes little: `ratio_to` is of the throughputs that one CPU would have, were
it always busy, that is the inverse ratio of the instructions for each octet received, ACKs, interrupts and
both processes of the appliance included. Caches and what a real instruction takes are not in it. `least` is
of the run in which most frames met at a time, from which `gro` gains most.
`mbit_ratio_to` is of what passed meanwhile, where both ends and the emulation share this machine's cores.

Before that it is seen that the program is attached in native mode, mail passes and is inspected, a
condemned message is stopped, nothing stops when the dataplane is killed, and ports whose queues or
offloads would do harm (xdp/loader/port.h) are refused. Prints JSON lines.
Root; network namespaces only. Some five minutes of both cores.
"""
import argparse
import fcntl
import json
import os
import pathlib
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from wire import iperf3
from rig import guest, mailer, netns
from rig.sink import SinkProcess

HERE = pathlib.Path(__file__).resolve().parent
LINES = ('bridge', 'gro', 'redirect', 'appliance')
MODULES = ('virtio_net', 'bridge')
SCRIPT = 'exec python3 -u -B /mnt/source/perf/wire/virtio_guest.py /mnt/build\n'
TUNSETIFF = 0x400454ca
TAP, NO_PI, VNET_HDR, MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
SEGMENT = 1448  # octets of a full one, with time stamps
# Octets that a receiver lets be on their way, so that they wait and are not lost where they wait.
WINDOW = 2_000_000
PORT = 5201
# Of the emulated CPU: an instruction takes 2 to this nanoseconds of the guest's clock.
SHIFT = 1


class TapTopology(netns.Topology):
    """The two ends of a line, each with a tap, whose descriptors are `taps`[side]."""

    def __init__(self, prefix, queues):
        super().__init__(prefix, subscribers=1, far=1)
        self.queues = queues
        self.taps = []

    def _build(self):
        for net, (end, hosts) in enumerate((('sub', self.subscribers), ('far', self.far)), 1):
            name = f'{self.prefix}-{end}'
            self._add_netns(name)
            flags = TAP | NO_PI | VNET_HDR | (MULTI_QUEUE if self.queues > 1 else 0)
            descriptors = []
            with netns.inside(name):
                for _ in range(self.queues):
                    descriptors.append(os.open('/dev/net/tun', os.O_RDWR))
                    fcntl.ioctl(descriptors[-1], TUNSETIFF, struct.pack('16sH22x', b'eth0', flags))
                pathlib.Path('/proc/sys/net/ipv4/tcp_rmem').write_text(f'4096 {WINDOW} {WINDOW}')
            self.taps.append(descriptors)
            self._ip(name, 'link set eth0 txqueuelen 10000 up')
            hosts.append(self._address(name, net, 1))

    def close(self):
        super().close()
        for descriptors in self.taps:
            for descriptor in descriptors:
                os.close(descriptor)
        self.taps = []


class Line:
    def __init__(self, name, number, queues):
        self.name = name
        self.number = number
        self.topology = TapTopology(f'vn{os.getpid()}{name[:5]}', queues).open()
        self.near, self.far = self.topology.subscribers[0], self.topology.far[0]

    def options(self):
        """QEMU's, of the two NICs."""
        words = []
        for side, descriptors in enumerate(self.topology.taps):
            fds = (f'fds={":".join(map(str, descriptors))}' if len(descriptors) > 1 else f'fd={descriptors[0]}')
            words += ['-netdev', f'tap,id=n{self.number}{side},{fds},vhost=off', '-device',
                      f'virtio-net-pci,netdev=n{self.number}{side},mac=02:53:4c:00:{self.number:02x}:{side:02x},'
                      f'mq={"on" if len(descriptors) > 1 else "off"},vectors={2 * len(descriptors) + 2},'
                      'rx_queue_size=1024,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,romfile=']
        return words


class Guest:
    """The virtual machine; call() has virtio_guest.py do something."""

    def __init__(self, options, lines, folder):
        shares = {'build': options.build, 'source': HERE.parents[1]}
        unpacked = guest.fetch(options.kernel)
        image = guest.make_initramfs(unpacked, folder, MODULES, SCRIPT, shares)
        self.console = folder / 'console'
        path = folder / 'port'
        nics = [word for line in lines for word in line.options()]
        counting = [] if guest.kvm() else ['-icount', f'shift={SHIFT},sleep=on']
        command = guest.command(unpacked, image, shares, cpus=options.cpus, arguments='mitigations=off',
                                options=['-serial', f'unix:{path},server=on,wait=off', *counting, *nics],
                                emulation='tcg,thread=single')
        taps = [d for line in lines for descriptors in line.topology.taps for d in descriptors]
        with open(self.console, 'wb') as console:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console,
                                            stderr=subprocess.STDOUT, pass_fds=taps)
        self.port = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 20
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        self.port.connect(str(path))
        self.text = b''
        self.answer(300)

    def call(self, *words, seconds=300):
        self.port.sendall(json.dumps(words).encode() + b'\n')
        return self.answer(seconds)

    def answer(self, seconds):
        end = time.monotonic() + seconds
        while b'\n' not in self.text:
            self.port.settimeout(max(end - time.monotonic(), 0.01))
            try:
                part = self.port.recv(65536)
            except TimeoutError:
                part = b''
            if not part:
                sys.exit(f'virtio: the guest does not answer:\n{self.said()}')
            self.text += part
        line, self.text = self.text.split(b'\n', 1)
        answer = json.loads(line)
        if 'error' in answer:
            sys.exit(f'virtio: {answer["error"]}\n{self.said()}')
        return answer['result']

    def said(self):
        return self.console.read_text(errors='replace')[-3000:]

    def close(self):
        self.port.close()
        self.process.kill()
        self.process.wait()


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.lines = {}
        self.guest = None
        for number, name in enumerate(LINES):
            self.lines[name] = Line(name, number, options.cpus)
        # Never a wire: it has queues that the driver would keep for XDP.
        self.lines['twice'] = Line('twice', len(LINES), 2 * options.cpus)
        self.guest = Guest(options, list(self.lines.values()), folder)

    def close(self):
        if self.guest:
            self.guest.close()
        for line in self.lines.values():
            line.topology.close()

    def open(self):
        self.about = self.guest.call('name', list(self.lines)) | {
            'queues': self.options.cpus,
            'accelerator': 'kvm' if guest.kvm() else 'tcg',
            'qemu': subprocess.run(['qemu-system-x86_64', '--version'], capture_output=True, text=True,
                                   check=True).stdout.split('\n')[0].split('version ')[-1]}
        self.guest.call('bridge', 'bridge', 'off')
        self.guest.call('bridge', 'gro', 'on')
        self.guest.call('redirect', 'redirect')
        self.interfaces = self.guest.call('appliance', 'appliance')
        for name in LINES:
            self.lines[name].topology.wait_reachable(30)

    def report(self, part, **fields):
        print(json.dumps({'part': part} | fields | {'guest': self.about}), flush=True)

    def mail(self, count, **options):
        """Messages through the appliance: the mailer's report and what arrived."""
        line = self.lines['appliance']
        with SinkProcess(line.topology, line.far.netns) as sink:
            report = mailer.run_mailer(line.far.v4, 25, mailer.generate(count, **options), netns=line.near.netns,
                                       concurrency=2, per_connection=1, timeout=60)
        return report, sink.messages

    def works(self):
        """That mail is inspected, and that a death does not stop it; ends the program if not."""
        faults = []

        def check(good, *what):
            if not good:
                faults.append(' '.join(map(str, what)))
        cpus = self.options.cpus
        refusals = []
        # The last: what the host's own ends send has half a checksum, and mail did not pass.
        for queues, options, words in ((cpus, '', 'cannot be inspected'), (2 * cpus, '', 'brings the kernel down'),
                                       (cpus, ',xdp_mode=generic', 'guest_csum=off')):
            refusals.append(self.guest.call('refused', 'twice', queues, options))
            check(words in (refusals[-1] or ''), queues, options, 'was taken:', refusals[-1])
        xdp = [i['xdp'] for i in self.interfaces]
        check(xdp == ['native', 'native'], 'attached as', xdp)
        check([i.get('kernel_driver') for i in self.interfaces] == ['virtio_net'] * 2, self.interfaces)
        clean, arrived = self.mail(20, seed=1)
        check(clean.counts['accepted'] == 20 == len(arrived), 'clean mail:', clean.counts)
        check(not any(mailer.compare(clean, arrived).values()), mailer.compare(clean, arrived))
        condemned, stopped = self.mail(10, seed=2, text='X-MARKER-0001-SPAM')
        check(condemned.counts['accepted'] == 0 and not stopped, 'condemned mail:', condemned.counts)
        end = time.monotonic() + 20
        wanted = {'accepted': 20, 'blocked': 10}
        while True:
            outcomes = [e['smtp'].get('outcome') for e in self.guest.call('events', 'smtp') if 'via' in e['smtp']]
            found = {name: outcomes.count(name) for name in wanted}
            if found == wanted or time.monotonic() > end:
                break
            time.sleep(0.5)
        check(found == wanted, 'inspected:', found)
        counters = self.guest.call('counters')
        past = {name: value for name, value in counters.items() if 'open-' in name or 'queue' in name}
        check(not past, 'went past the dataplane:', past)
        # Frames that are on their way when it dies, and mail after that.
        line = self.lines['appliance']
        pings = line.topology.popen(line.near.netns, ['ping', '-i', '0.02', '-c', '400', '-W', '10', '-q', line.far.v4],
                                    stdout=subprocess.PIPE, text=True)
        time.sleep(2)
        self.guest.call('kill')
        killed, passed = self.mail(10, seed=3, text='X-MARKER-0001-SPAM')
        check(killed.counts['accepted'] == 10 == len(passed), 'mail without the dataplane:', killed.counts)
        told = pings.communicate(timeout=60)[0]
        check(' 0% packet loss' in told, told)
        self.guest.call('restart')
        again, stopped = self.mail(5, seed=4, text='X-MARKER-0001-SPAM')
        check(again.counts['accepted'] == 0 and not stopped, 'condemned mail after a restart:', again.counts)
        self.report('works', xdp=xdp, driver=self.interfaces[0].get('kernel_driver'), inspected=found,
                    after_kill={'accepted': killed.counts['accepted'], 'pings': told.strip().split('\n')[-2]},
                    after_restart=again.counts, counters=counters, refusals=refusals, faults=faults)
        if faults:
            print(json.dumps(self.guest.call('log'), indent=1), file=sys.stderr)
            sys.exit('virtio: ' + '; '.join(faults))

    def bulk(self):
        found = {name: [] for name in LINES}
        for repetition in range(self.options.pairs):
            for name in LINES if repetition % 2 == 0 else LINES[::-1]:
                self.guest.call('signal', 'SIGCONT' if name == 'appliance' else 'SIGSTOP')
                before = self.guest.call('work')
                mbit = iperf3(self.lines[name], PORT, self.options.seconds)
                after = self.guest.call('work')
                clock = (after['now'] - before['now']) * self.options.cpus
                busy = clock - after['idle'] + before['idle']
                segments = mbit * 1e6 / 8 * self.options.seconds / SEGMENT
                found[name].append({
                    'mbit': mbit, 'busy': 100 * busy / clock, 'cost': busy / segments,
                    'frames': [after['frames'][f'{name}-{side}'] - before['frames'][f'{name}-{side}']
                               for side in ('in', 'out')]})
        self.guest.call('signal', 'SIGCONT')

        def middle(name, key, digits):
            return round(statistics.median(r[key] for r in found[name]), digits)

        def beside(name, ratio):
            return {other: round(statistics.median(map(ratio, found[name], found[other])), 3)
                    for other in LINES if other != name}
        for name, runs in found.items():
            cost = ({'guest_ns_a_segment': middle(name, 'cost', 0)} if guest.kvm() else
                    {'instructions_a_segment': round(middle(name, 'cost', 3) / 2 ** SHIFT),
                     'least': round(min(r['cost'] for r in runs) / 2 ** SHIFT)})
            self.report('bulk', line=name, work='iperf3 on another port',
                        ratio_to=beside(name, lambda a, b: b['cost'] / a['cost']),
                        ratios_to_bridge=[round(b['cost'] / a['cost'], 3) for a, b in zip(runs, found['bridge'])],
                        **cost, mbit=middle(name, 'mbit', 1), mbits=[round(r['mbit'], 1) for r in runs],
                        mbit_ratio_to=beside(name, lambda a, b: a['mbit'] / b['mbit']),
                        guest_busy_percent=middle(name, 'busy', 1),
                        frames=[round(statistics.median(r['frames'][side] for r in runs)) for side in (0, 1)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('build', type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument('--pairs', type=int, default=9)
    parser.add_argument('--seconds', type=int, default=2, help='of one transfer')
    parser.add_argument('--kernel', default='linux-image-amd64', help="Debian's package")
    parser.add_argument('--cpus', type=int, default=1, help='of the guest')
    parser.add_argument('--only', nargs='+', choices=('works', 'bulk'), default=('works', 'bulk'))
    options = parser.parse_args()
    netns.exit_on_signals()
    folder = pathlib.Path(tempfile.mkdtemp(prefix='virtio-'))
    bench = None
    try:
        bench = Bench(options, folder)
        bench.open()
        for part in options.only:
            getattr(bench, part)()
    finally:
        if bench:
            bench.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
