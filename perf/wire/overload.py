"""Twice the capacity: one subscriber floods, three others send less than their share.

The ends of the wire need more of this machine than the appliance does, so nothing here could offer it
twice what it can do: its process gets SHARE of one core (CPU bandwidth of a control group), and its
capacity is measured so, with the same messages. All times are bounded.
"""
import collections
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

SHARE = 0.25
PERIOD_US = 4000
SECONDS = 4
PLAIN_PORT = 9999


@contextlib.contextmanager
def bandwidth(pid):
    """The process, with its threads, gets SHARE of a core."""
    quota = int(SHARE * PERIOD_US)
    old, new = pathlib.Path('/sys/fs/cgroup/cpu'), pathlib.Path('/sys/fs/cgroup')
    if (old / 'cgroup.procs').exists():
        group, limits = old / f'wire-{os.getpid()}', {'cpu.cfs_period_us': PERIOD_US, 'cpu.cfs_quota_us': quota}
    elif 'cpu' in (new / 'cgroup.subtree_control').read_text().split():
        group, limits = new / f'wire-{os.getpid()}', {'cpu.max': f'{quota} {PERIOD_US}'}
    else:
        sys.exit('wire: overload needs a cpu control group under /sys/fs/cgroup')
    group.mkdir()
    try:
        for name, value in limits.items():
            (group / name).write_text(str(value))
        (group / 'cgroup.procs').write_text(str(pid))
        yield
    finally:
        (group.parent / 'cgroup.procs').write_text(str(pid))
        group.rmdir()


def kernel(line):
    """Frames of the kernel by decision or reason, both ports."""
    found = collections.Counter()
    for name, count in line.labelled('sluice_kernel_frames_total', 'decision').items():
        found[name] += count
    for name, count in line.labelled('sluice_kernel_frames_dropped_total', 'reason').items():
        found[name] += count
    return found


class Senders:
    """wire_load mail of several subscribers at the same time. loads: {subscriber: words}."""

    def __init__(self, bench, line, paths, loads):
        self.processes = {who: line.topology.popen(
            line.near.netns, [bench.build / 'perf/wire_load', 'mail', line.far.v4, '25', '--local', who.v4, '--messages',
                              *paths, *map(str, words)], stdout=subprocess.PIPE, text=True)
            for who, words in loads.items()}

    def results(self):
        return {who: json.loads(p.communicate()[0]) for who, p in self.processes.items()}


def verdicts(line, since):
    """Messages with a verdict by subscriber, of all events behind the first `since`."""
    return collections.Counter(e['src_ip'] for e in line.box.events('smtp')[since:])


def settled(line, seconds=10):
    """All events that were made are written."""
    end, count = time.monotonic() + seconds, -1
    while time.monotonic() < end and count != (count := len(line.box.events('smtp'))):
        time.sleep(0.5)
    return count


def run(bench, line, paths):
    """Fields of the report."""
    flooder, *others = line.topology.subscribers
    server = line.topology.popen(line.far.netns, [bench.build / 'perf/wire_load', 'serve', line.far.v4, '25',
                                                  '--threads', '800'], stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    plain = line.topology.popen(line.far.netns, [bench.build / 'perf/wire_load', 'serve', line.far.v4,
                                                 str(PLAIN_PORT), '--threads', '2', '--greeting', '* OK'],
                                stdout=subprocess.PIPE, text=True)
    plain.stdout.readline()
    try:
        with bandwidth(line.box.dataplane.pid):
            return measure(bench, line, paths, flooder, others)
    finally:
        for process in (server, plain):
            process.terminate()
            process.wait()


def measure(bench, line, paths, flooder, others):
    # So few at a time that the rings stay under the watermark, and as many as keep the worker busy.
    before, worker = kernel(line), line.counters()
    closed = ['--count', 10**9, '--rate', 10**6, '--seconds', SECONDS, '--threads', 8]
    calm = Senders(bench, line, paths, {who: closed for who in (flooder, *others)}).results()
    capacity = sum(r['per_second'] for r in calm.values())
    past = kernel(line)['overload-new'] - before['overload-new']
    if past:
        sys.exit(f'wire: overload: {past} flows went past already while the capacity was measured')

    since = settled(line)
    before, worker = kernel(line), line.counters()
    # The others together send half of the capacity, each two thirds of a fair share of it.
    fair = ['--rate', capacity / 6, '--seconds', SECONDS, '--threads', 100]
    flood = ['--rate', 1.5 * capacity, '--seconds', SECONDS, '--threads', 600]
    senders = Senders(bench, line, paths, {flooder: flood} | {who: fair for who in others})
    plain = bench.load(line, 'ping', line.far.v4, PLAIN_PORT, '--count', 1000 * (SECONDS - 1), '--interval', 1000)
    results = senders.results()
    settled(line)
    frames, counters = kernel(line) - before, line.counters()
    counters.subtract(worker)
    found = verdicts(line, since)
    begun = sum(r['begun'] for r in results.values())
    accepted = sum(r['accepted'] for r in results.values())
    dropped = line.labelled('sluice_frames_dropped_total', 'reason')
    to_worker = sum(count for decision, count in frames.items() if decision.endswith('-to-socket'))
    return {
        'share_of_core': SHARE, 'capacity_per_second': round(capacity), 'offered_per_second': round(begun / SECONDS),
        'ratio_offered': round(begun / SECONDS / capacity, 2),
        'subscribers': {name: {'offered': r['begun'], 'accepted': r['accepted'], 'verdicts': found[who.v4],
                               'calm_p50_ms': round(calm[who]['p50_ms'], 1), 'p50_ms': round(r['p50_ms'], 1), 'p99_ms': round(r['p99_ms'], 1)}
                        for (who, r), name in zip(results.items(), ('flooder', 'one', 'two', 'three'))},
        'other_port_us': {key: round(plain[key], 1) for key in ('p50', 'p99', 'longest')},
        'flows_past': frames['overload-new'], 'frames_past': frames['flow-bypassed'],
        # Each message has a connection of its own: it got a verdict, or its SYN went past.
        'accepted': accepted, 'verdicts': sum(found.values()),
        'unaccounted_messages': accepted - sum(found.values()) - frames['overload-new'],
        'frames_to_worker': to_worker, 'frames_received': int(counters['sluice_frames_received_total']),
        'frames_dropped': {reason: int(n) for reason, n in dropped.items() if n},
        'frames_lost_in_rings': to_worker - int(counters['sluice_frames_received_total']),
        'sleeps': int(counters['sluice_sleeps_total'])}
