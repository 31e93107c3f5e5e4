#!/usr/bin/env python3
"""What virtio.py does inside its guest: virtio_guest.py BUILD. One JSON list a line on the second serial
port, [method, arguments...], and one JSON object for an answer, {"result"} or {"error"}.

Ports are told apart by the last two octets of their hardware address: line, side."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import traceback
import tty

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / 'tests/lab'))
from appliance import Appliance  # noqa: E402

RULE = 'reject smtp any any -> any any (msg:"marker"; content:"X-MARKER-0001-SPAM"; sid:1;)\n'


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{" ".join(map(str, words))}: {done.stderr.strip()}')
    return done.stdout


class Guest:
    def __init__(self, build):
        self.build = pathlib.Path(build)
        self.box = None
        self.redirector = None

    def name(self, lines):
        """Names the ports LINE-in and LINE-out, and makes each deaf and mute of itself."""
        for link in json.loads(run('ip', '-j', 'link')):
            found = re.fullmatch(r'02:53:4c:00:(..):(..)', link['address'])
            if not found:
                continue
            name = f'{lines[int(found[1], 16)]}-{("in", "out")[int(found[2], 16)]}'
            run('ip', 'link', 'set', link['ifname'], 'name', name)
            pathlib.Path(f'/proc/sys/net/ipv6/conf/{name}/disable_ipv6').write_text('1')
            run('ip', 'link', 'set', name, 'arp', 'off', 'multicast', 'off', 'promisc', 'on', 'up')
        return {'kernel': os.uname().release, 'cpus': os.cpu_count()}

    def bridge(self, line, gro):
        for side in ('in', 'out'):
            run('ethtool', '-K', f'{line}-{side}', 'gro', gro)
        run('ip', 'link', 'add', f'{line}-br', 'type', 'bridge', 'forward_delay', '0', 'mcast_snooping', '0',
            'group_fwd_mask', '0xfff8')
        run('ip', 'link', 'set', f'{line}-br', 'arp', 'off', 'up')
        for side in ('in', 'out'):
            run('ip', 'link', 'set', f'{line}-{side}', 'master', f'{line}-br')

    def redirect(self, line):
        self.redirector = subprocess.Popen(
            [self.build / 'perf/wire_load', 'redirect', f'{line}-in', f'{line}-out'], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        if self.redirector.stdout.readline() != 'ready\n':
            raise RuntimeError('the redirecting program did not start')

    def appliance(self, line, options=''):
        self.box = Appliance(self.build, '/tmp/sluice', 'w1', f'{line}-in', f'{line}-out', heartbeat=2000,
                             wire_options=options)
        rules = pathlib.Path('/tmp/a.rules')
        rules.write_text(RULE)
        self.box.prepare({'sluice:sluice': {
            'wire': [{'name': 'w1', 'inside': f'{line}-in', 'outside': f'{line}-out', 'mode': 'enforce'}],
            'inside': {'prefix': [{'prefix': '10.77.1.0/24'}]},
            'rules': {'file': [str(rules)]},
            # The sender of the condemned messages shall go on sending.
            'detection': {'limit-threshold': 1000, 'block-threshold': 2000}}})
        self.box.start_dataplane()
        self.box.start_control()
        self.box.wait_adopted(240)
        return self.interfaces()

    def interfaces(self):
        return self.box.show('interfaces')['interfaces']

    def counters(self):
        """Frames by decision of the kernel's part, and the worker's, that are not zero."""
        return {f'{name}{labels or ""}': float(value) for name, labels, value in re.findall(
            r'^(sluice_\w*frames\w*)(\{[^}]*\})? ([0-9.e+]+)$', self.box.ctl('show', 'stats', '--metrics'), re.M)
            if float(value)}

    def events(self, kind):
        return self.box.events(kind)

    def log(self):
        return {name: self.box.log(name, 40) for name in ('dataplane', 'sluiced')}

    def signal(self, name):
        """To both processes."""
        for process in (self.box.dataplane, self.box.control):
            process.send_signal(signal.Signals[name])

    def kill(self):
        self.box.kill_dataplane()

    def restart(self):
        ready = self.log()['dataplane'].count(' ready: ')
        self.box.start_dataplane()
        end = time.monotonic() + 240
        while self.log()['dataplane'].count(' ready: ') == ready and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(1)
        self.box.wait_adopted(240)

    def refused(self, line, queues, options=''):
        """Why the dataplane does not take the line's ports with so many queues in use; None: it does."""
        for side in ('in', 'out'):
            run('ethtool', '-L', f'{line}-{side}', 'combined', str(queues))
        os.makedirs('/tmp/refused', exist_ok=True)
        try:
            done = subprocess.run(
                [self.build / 'dataplane/app/sluice-dataplane', '--wire',
                 f'name=r,inside={line}-in,outside={line}-out{options}', '--socket', '/tmp/refused.sock', '--bpffs',
                 '/tmp/refused', '--memory', '256'], capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return None
        return (done.stdout + done.stderr).strip()[-500:] if done.returncode else None

    def work(self):
        """Nanoseconds of the clock, and of all CPUs idle, and frames that each port has received."""
        text = pathlib.Path('/proc/timer_list').read_text()
        return {'now': int(re.search(r'now at (\d+)', text)[1]),
                'idle': sum(map(int, re.findall(r'\.idle_sleeptime *: *(\d+)', text))),
                'frames': {link['ifname']: link['stats64']['rx']['packets']
                           for link in json.loads(run('ip', '-j', '-s', 'link'))}}

    def run(self, *words):
        return run(*words)


def main():
    guest = Guest(sys.argv[1])
    with open('/dev/ttyS1', 'r+b', buffering=0) as port:
        tty.setraw(port)
        text = b''
        port.write(b'{"result": "ready"}\n')
        while True:
            text += port.read(4096)
            while b'\n' in text:
                line, text = text.split(b'\n', 1)
                method, *arguments = json.loads(line)
                try:
                    answer = {'result': getattr(guest, method)(*arguments)}
                except Exception as error:  # pylint: disable=broad-except
                    traceback.print_exc()
                    answer = {'error': f'{type(error).__name__}: {error}'}
                octets = json.dumps(answer).encode() + b'\n'
                while octets:
                    octets = octets[port.write(octets):]


if __name__ == '__main__':
    main()
