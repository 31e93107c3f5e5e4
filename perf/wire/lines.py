"""Wires to compare, alike but for what stands in the middle; each in namespaces of its own.

    cable      the ends joined by one veth pair: what the machine itself takes
    bridge     a kernel bridge
    redirect   an XDP program that redirects every frame to the other port
    testpmd    dpdk-testpmd, io forwarding, over the same driver (AF_XDP) as the appliance, and with the same
               standing among the machine's threads as its worker
    appliance  ours
    front      ours in front mode: TC programs on the ports, XDP on veths behind them
"""
import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
for _folder in ('tests/wire', 'tests/lab'):
    sys.path.insert(0, str(HERE.parents[1] / _folder))
from appliance import Appliance  # noqa: E402
from rig import netns  # noqa: E402


class CableTopology(netns.Topology):
    """The two ends without a wire between them."""

    def _build(self):
        near, far = f'{self.prefix}-sub', f'{self.prefix}-far'
        self._add_netns(near)
        self._add_netns(far)
        self._veth(near, 'eth0', far, 'eth0')
        for end in (near, far):
            self._set_end(end, 'eth0')
        self.subscribers.append(self._address(near, 1, 1))
        self.far.append(self._address(far, 2, 1))


def cpu_of(pid):
    """Seconds of CPU of all threads of a process."""
    total = 0
    for task in pathlib.Path(f'/proc/{pid}/task').iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((task / 'schedstat').read_text().split()[0])
    return total / 1e9


def softirq():
    """Seconds of the machine's CPUs in soft interrupts."""
    fields = pathlib.Path('/proc/stat').read_text().split('\n', 1)[0].split()
    return int(fields[7]) / os.sysconf('SC_CLK_TCK')


class Line:
    """name: as above. start() brings up what stands in the middle; pause() and resume() keep it from
    the CPU while others are measured."""

    def __init__(self, name, build, subscribers=1):
        self.name = name
        self.build = build
        make = CableTopology if name == 'cable' else netns.Topology
        self.topology = make(f'wire{os.getpid()}{name[:4]}', subscribers=subscribers, far=1)
        self.process = None

    @property
    def near(self):
        return self.topology.subscribers[0]

    @property
    def far(self):
        return self.topology.far[0]

    def open(self):
        t = self.topology.open()
        for host in (self.near, self.far):
            with netns.inside(host.netns):
                # One run must not begin with what another found out about the way.
                for setting, value in {'tcp_no_metrics_save': '1', 'tcp_tw_reuse': '1',
                                       'ip_local_port_range': '1024 65535'}.items():
                    pathlib.Path(f'/proc/sys/net/ipv4/{setting}').write_text(value)
        self.start()
        t.wait_reachable(20)
        return self

    def start(self):
        pass

    def pids(self):
        return [self.process.pid] if self.process else []

    def pause(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def cpu(self):
        return sum(cpu_of(pid) for pid in self.pids())

    def frames(self):
        """Frames that a worker of ours has received so far; None: there is none."""
        return None

    def close(self):
        self.resume()
        self.topology.close()


class Bridge(Line):
    def start(self):
        self.topology.bridge_wire()


class Redirect(Line):
    def start(self):
        self.process = self.topology.popen(
            self.topology.wire_ns, [self.build / 'perf/wire_load', 'redirect', 'inside', 'outside'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != 'ready\n':
            sys.exit('wire: the redirecting program did not start')

    def pause(self):
        pass  # it runs in the kernel


class Testpmd(Line):
    def start(self):
        program = shutil.which('dpdk-testpmd')
        if not program:
            sys.exit('wire: needs dpdk-testpmd (apt-get install dpdk-dev)')
        self.log = open(f'/tmp/{self.topology.prefix}-testpmd.log', 'w+', encoding='utf-8')
        self.process = self.topology.popen(
            self.topology.wire_ns,
            [program, '--no-huge', '-m', '256', '--no-pci', '--no-shconf', '--no-telemetry',
             '--file-prefix', self.topology.prefix, '-l', '0,1',
             '--vdev', 'net_af_xdp0,iface=inside', '--vdev', 'net_af_xdp1,iface=outside',
             '--', '--forward-mode=io', '--auto-start', '--nb-cores=1', '--total-num-mbufs=32768',
             '--no-flush-rx'],
            stdin=subprocess.PIPE, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: os.nice(-15))
        end = time.monotonic() + 30
        # What follows stands in its buffer; wait_reachable() has the last word.
        while 'Checking link statuses' not in pathlib.Path(self.log.name).read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit('wire: dpdk-testpmd did not start:\n' + pathlib.Path(self.log.name).read_text()[-1500:])
            time.sleep(0.05)
        # Of threads of other sessions the session's value decides (sched(7)).
        with contextlib.suppress(FileNotFoundError):
            pathlib.Path(f'/proc/{self.process.pid}/autogroup').write_text('-15')

    def close(self):
        super().close()
        if self.process:
            self.log.close()
            os.unlink(self.log.name)


class Ours(Line):
    """arguments: further ones of sluice-dataplane; wire_options: of its --wire."""

    def __init__(self, name, build, rules, folder, arguments=(), scan_budget=0, subscribers=1, wire_options=''):
        super().__init__(name, build, subscribers)
        self._scan_budget = scan_budget
        self._rules = rules
        self._arguments = arguments
        self.box = Appliance(build, folder / name.replace(' ', '-'), 'w1', 'inside', 'outside',
                             netns=self.topology.wire_ns, memory=256,
                             # Where the machine is shared a worker may be kept from its core for longer than
                             # the usual time-out, and the kernel would carry the flow meanwhile.
                             heartbeat=2000, arguments=arguments, wire_options=wire_options)

    def start(self):
        self.box.prepare({'sluice:sluice': {
            'wire': [{'name': 'w1', 'inside': 'inside', 'outside': 'outside', 'mode': 'enforce'}],
            'inside': {'prefix': [{'prefix': '10.77.1.0/24'}]},
            'rules': {'file': [str(self._rules)]},
            'limits': {'scan-budget': str(self._scan_budget)}}})
        self.box.start_dataplane()
        self.box.start_control()
        self.box.wait_adopted()

    def pids(self):
        return [self.box.dataplane.pid]

    def pause(self):
        pass  # it sleeps by itself

    def resume(self):
        pass

    def counters(self):
        """By name, summed over workers and reasons."""
        total = collections.Counter()
        for name, value in re.findall(r'^(sluice_\w+)(?:\{[^}]*\})? ([0-9.e+]+)$',
                                      self.box.ctl('show', 'stats', '--metrics'), re.M):
            total[name] += float(value)
        return total

    def labelled(self, name, label):
        """Values of one metric by one of its labels, summed over the others."""
        total = collections.Counter()
        for labels, value in re.findall(rf'^{name}{{([^}}]*)}} ([0-9.e+]+)$', self.box.ctl('show', 'stats', '--metrics'),
                                        re.M):
            total[dict(re.findall(r'(\w+)="([^"]*)"', labels))[label]] += int(float(value))
        return total

    def frames(self):
        return int(self.counters()['sluice_frames_received_total'])

    def close(self):
        self.box.stop()
        self.box.detach()
        super().close()


KINDS = {'cable': Line, 'bridge': Bridge, 'redirect': Redirect, 'testpmd': Testpmd}
