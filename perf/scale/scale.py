#!/usr/bin/env python3
"""How cost grows: workers 1 and 2; flows, rules, hosts and list entries by decades; and a simulation of
100 Gbit/s on 32 cores (model.py) with the costs just measured.

    scale.py BUILD        (root, for the XDP program's part)

Prints JSON lines. `slope` is what a decade more adds to a message or frame, by least squares.
"""
import json
import math
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import model  # noqa: E402
from replay import table  # noqa: E402


def tell(**fields):
    print(json.dumps(fields), flush=True)


def slope(points):
    """Of (at, value) over decades; at 0 is the first point without any."""
    xs = [math.log10(max(at, 1)) for at, _ in points]
    ys = [value for _, value in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / spread if spread else 0.0


def by_decades(what, values, run):
    points = []
    for at in values:
        result = run(at)
        points.append((at, result['microseconds_per_message']))
        tell(what=what, at=at, **{k: result[k] for k in ('microseconds_per_message', 'spread_percent', 'alerts')})
    tell(what=what, slope_us_a_decade=round(slope(points), 3))


def workers(build, material):
    """One engine, and two at the same time on a core each: they share nothing but the machine."""
    capture, rules = material.capture()[0], material.rules(1000)
    cores = sorted(os.sched_getaffinity(0))
    alone = None
    for count in (1, 2):
        if count > len(cores):
            break
        running = [subprocess.Popen(['taskset', '-c', str(core), build / 'perf/replay', capture, '--rules', rules,
                                     '--repeat', '7'], stdout=subprocess.PIPE, text=True)
                   for core in cores[:count]]
        results = [json.loads(process.communicate()[0]) for process in running]
        micros = [r['microseconds_per_message'] for r in results]
        alone = alone or micros[0]
        tell(what='workers', at=count, microseconds_per_message=max(micros), each=micros,
             spread_percent=max(r['spread_percent'] for r in results),
             messages_per_second=round(sum(1e6 / m for m in micros)), speedup=round(sum(alone / m for m in micros), 3))


def frame_costs(build, material):
    """Nanoseconds a frame on a worker: clear mail, and what a session in TLS costs it."""
    clear = table.run(build, material, 'clear', rules=1000)
    sealed = table.run(build, material, 'TLS', rules=1000, tls=90)
    clear_frame = clear['microseconds_per_frame'] * 1000
    # One session in ten is clear; the frames that the kernel takes cost nothing here.
    frames_seen = sealed['frames'] - sealed['frames_of_kernel']
    micros = (sealed['microseconds_per_session'] * sealed['sessions']
              - sealed['messages'] * clear['microseconds_per_message'])
    sealed_frame = 1000 * micros / (frames_seen - sealed['messages'] * clear['frames'] / clear['sessions'])
    return {'clear_ns': clear_frame, 'tls_seen_ns': sealed_frame,
            'clear_frame_octets': clear['octets'] / clear['frames'],
            'tls_frames_by_kernel': sealed['frames_of_kernel'] / sealed['frames'],
            'tls_frame_octets': sealed['octets'] / sealed['frames']}


def xdp_costs(build):
    """{way: {entries: (ns with random keys, ns with one key)}}, beyond the clock's own."""
    text = subprocess.run([build / 'perf/xdp_bench', '--frames', '5000'], check=True, stdout=subprocess.PIPE,
                          text=True).stdout
    lines = [json.loads(line) for line in text.splitlines()]
    floor = {r['entries']: (r['random_ns'], r['hot_ns']) for r in lines if r['way'] == 'nothing'}
    costs = {}
    for r in lines:
        random, hot = floor[r['entries']]
        costs.setdefault(r['way'], {})[r['entries']] = (
            round(r['random_ns'] - random, 1), None if r.get('hot_ns') is None else r['hot_ns'] - hot)
    return costs


def on_a_busy_core(costs, entries):
    """ns of a way on a core that does nothing else: its code is warm, what the lists' size adds is not."""
    few, many = costs[1000], costs[entries]
    return few[1] + max(many[0] - few[0], 0)


def mixes(frame, xdp, entries=1000):
    """Shares of octets. Mail by itself is 10 % clear and 90 % TLS, unless said otherwise."""
    def ns(way):
        return on_a_busy_core(xdp[way], entries)

    def other(share):
        return model.Kind('other', share, 900, ns('other TCP to the peer'), 0, 8)

    def clear(share):
        return model.Kind('clear mail', share, frame['clear_frame_octets'], ns('mail to the socket'),
                          frame['clear_ns'], 4)

    def tls(share):
        by_kernel = frame['tls_frames_by_kernel']
        return [model.Kind('TLS mail, beginning', share * (1 - by_kernel), frame['tls_frame_octets'],
                           ns('mail to the socket'), frame['tls_seen_ns'], 1),
                model.Kind('TLS mail, in the kernel', share * by_kernel, frame['tls_frame_octets'],
                           ns('in TLS or given up, past the dataplane'), 0, 4)]

    yield 'access network: 1 % mail', [other(0.99), clear(0.001), *tls(0.009)]
    yield 'hosting: 10 % mail', [other(0.90), clear(0.01), *tls(0.09)]
    yield 'mail farm: mail alone', [clear(0.1), *tls(0.9)]
    yield 'all mail in clear', [clear(1.0)]
    yield 'access network, SYN flood of 10 Gbit/s', [
        other(0.89), clear(0.001), *tls(0.009),
        model.Kind('SYNs', 0.1, 84, ns('mail to the socket'), frame['tls_seen_ns'], 1)]


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    with table.Material() as material:
        workers(build, material)
        by_decades('idle flows', (0, 1000, 10_000, 100_000, 1_000_000), lambda n: table.run(
            build, material, f'{n} flows', options=['--idle-flows', str(n)]))
        by_decades('rules', (0, 10, 100, 1000, 10_000), lambda n: table.run(
            build, material, f'{n} rules', rules=n))
        by_decades('hosts in the policy', (0, 1000, 10_000, 100_000, 1_000_000), lambda n: table.run(
            build, material, f'{n} hosts', options=['--hosts', str(n)]))
        xdp = xdp_costs(build)
        for way in ('mail to the socket', 'other TCP to the peer', 'in TLS or given up, past the dataplane',
                    'dropped by a host entry', 'dropped by a prefix'):
            by_entries = {entries: random for entries, (random, _) in sorted(xdp[way].items())}
            tell(what=f'entries of lists: {way}', ns_by_entries=by_entries,
                 slope_ns_a_decade=round(slope(list(by_entries.items())), 1))
        frame = frame_costs(build, material)
        tell(what='inputs of the simulation', **{k: round(v, 3) for k, v in frame.items()}, xdp_ns={
            way: on_a_busy_core(xdp[way], 1000)
            for way in ('mail to the socket', 'other TCP to the peer', 'in TLS or given up, past the dataplane')})
        for entries in (1000, 1_000_000):
            for name, kinds in mixes(frame, xdp, entries):
                tell(what='simulation', entries=entries,
                     **model.study(name if entries == 1000 else f'{name}, lists of {entries:,}', kinds))


if __name__ == '__main__':
    main()
