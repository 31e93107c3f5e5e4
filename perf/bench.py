#!/usr/bin/env python3
"""./dev bench [NAME...] [--out FILE] [--save]: measures and prints one JSON object a line.
./dev bench [NAME...] --compare [OLD [NEW]]: tells what changed beyond noise (perf/compare.py), and ends
with 1 when something is worse: two files; a file and a run; the baseline and a run; with --against
BUILD that build and this one in turn, --pairs times.

  replay    the whole pipeline on made messages: 0 to 10,000 rules, each switch, 1 KB to 1 MB, TLS,
            small segments, many flows (alerts exact)
  stages    each stage alone on the same octets: time, instructions, distance to what cannot be saved
  xdp       the XDP program by the way of a frame, lists of 0 to 1,000,000 entries (root)
  scan      the scanner and host look-ups alone
  rules     1 to 100,000 rules: compile time, octets of databases and of state, speed (alerts exact)
  spamassassin  Debian's SpamAssassin rules: CPU a message, ours, spamassassin -L and rspamd
  lists     a million entries of each kind: load, memory, look-ups
  adversarial  the worst that a sender can do, as multiples of ordinary mail
  micro     hot functions (Google Benchmark)
  config    what a list of 1,000,000 prefixes costs: load, difference, commit, memory
  memory    octets of a flow that is half-open, idle, in DATA, and of a million and ten million idle
            ones; the time of a look-up among as many
  scale     workers 1 and 2, cost by decades of flows, rules, hosts and list entries, and a simulation of
            100 Gbit/s on 32 cores from the costs measured (root)
  wire      live: latency, bulk, connections, a SYN flood, messages, sleep, beside a bridge, a bare
            redirect and dpdk-testpmd (root, namespaces, three minutes)
  virtio    what is not mail, and that mail is inspected, on a driver that does XDP as NICs' do: a guest
            under QEMU, beside a bridge, one with GRO, and a bare redirect, in instructions (root, namespaces,
            fetches Debian's kernel, ten minutes)
  loss      throughput of one flow that loses segments, beside a bare wire (root, namespaces)
  failover  how long mail stands still when the dataplane dies or hangs (root, namespaces)
"""
import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

import compare
from replay import adversarial
from replay import table as replay_table
from stages import table as stages_table

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ('libhyperscan5', 'libmimalloc2.0', 'dpdk', 'libbpf1', 'g++')


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    return done.stdout.strip() if done.returncode == 0 else ''


def versions():
    """Of the programs, by commit ("+": and what is not committed), and of what they run on."""
    listed = output_of('dpkg-query', '-W', '-f', '${Package} ${Version}\n', *PACKAGES)
    changed = '+' if output_of('git', 'status', '--porcelain', '--untracked-files=no') else ''
    return {'sluice': output_of('git', 'rev-parse', '--short', 'HEAD') + changed} | dict(
        line.split() for line in listed.splitlines() if len(line.split()) == 2)


def machine():
    text = pathlib.Path('/proc/cpuinfo').read_text()
    model = re.search(r'model name\s*: (.*)', text)
    return {'cpu': model.group(1) if model else '', 'cores': os.cpu_count(),
            'kernel': platform.release(), 'load': os.getloadavg()[0], 'versions': versions()}


def lines_of(command):
    def measure(build):
        out = subprocess.run([str(c).format(build=build) for c in command], check=True,
                             capture_output=True, text=True).stdout
        for line in out.splitlines():
            yield {'line': line}
    return measure


def json_lines_of(command):
    def measure(build):
        with subprocess.Popen([str(c).format(build=build) for c in command], stdout=subprocess.PIPE,
                              text=True) as process:
            for line in process.stdout:
                yield json.loads(line)
        if process.returncode != 0:
            sys.exit(f'{command[1]}: exit {process.returncode}')
    return measure


def rules(build, counts=(1, 100, 1000, 10000, 100000), sessions=2000):
    with tempfile.TemporaryDirectory() as folder:
        capture = pathlib.Path(folder) / 'mail.pcap'
        subprocess.run([sys.executable, HERE / 'replay/gen_smtp_pcap.py', capture, '--sessions', str(sessions),
                        '--seed', '2'], check=True, stdout=subprocess.DEVNULL)
        for count in counts:
            path = pathlib.Path(folder) / f'{count}.rules'
            subprocess.run([sys.executable, HERE / 'replay/gen_rules.py', str(count), path, 'suricata'], check=True)
            report = json.loads(subprocess.run([build / 'control/cli/sluicectl', 'rules', 'check', '--json', path],
                                               check=True, capture_output=True, text=True).stdout)
            # It fails on allocations, which are a figure here: streams as large as those of 100,000 rules do
            # not all wait in the pool.
            run = subprocess.run([build / 'perf/replay', capture, '--rules', path], capture_output=True, text=True)
            if not run.stdout:
                sys.exit(f'rules: {run.stderr}')
            replayed = json.loads(run.stdout)
            # One in a hundred messages carries each of the markers that the first three rules look for.
            expected = sessions // 100 * min(len(report['names']), 3)
            if report['refused'] or replayed['alerts'] != expected:
                sys.exit(f'rules: {report["refused"]} refused, {replayed["alerts"]} alerts, not {expected}')
            yield {'rules': count, 'compile_seconds': report['compile_seconds'],
                   'section_octets': report['image_octets'],
                   'databases': {d['buffer']: {k: d[k] for k in ('patterns', 'literals', 'octets', 'stream_octets')}
                                 for d in report['databases']},
                   'database_octets': sum(d['octets'] for d in report['databases']),
                   'stream_octets': sum(d['stream_octets'] for d in report['databases']),
                   'microseconds_per_message': replayed['microseconds_per_message'],
                   'messages_per_hour': replayed['messages_per_hour'],
                   'allocations_per_session': replayed['allocations_per_session'],
                   'spread_percent': replayed['spread_percent'], 'alerts': replayed['alerts']}


def memory(build):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / '1000.rules'
        subprocess.run([sys.executable, HERE / 'replay/gen_rules.py', '1000', path, 'suricata'], check=True)
        # Ten million flows take 4 GB and some minutes.
        for options in ([], ['--rules', path], ['--flows', '1000000', '--lookups'],
                        ['--flows', '1000000', '--lookups', '--prefault'],
                        ['--flows', '10000000', '--lookups'],
                        ['--flows', '10000000', '--lookups', '--prefault'],
                        ['--flows', '10000000', '--only-idle']):
            yield {'options': [str(o) for o in options]} | json.loads(
                subprocess.run([build / 'perf/memory_bench', *options], check=True,
                               capture_output=True, text=True).stdout)


MEASURES = {
    'memory': memory,
    'scale': json_lines_of([sys.executable, HERE / 'scale/scale.py', '{build}']),
    'wire': json_lines_of([sys.executable, HERE / 'wire/wire.py', '{build}']),
    'virtio': json_lines_of([sys.executable, HERE / 'wire/virtio.py', '{build}']),
    'loss': json_lines_of([sys.executable, HERE / 'wire/loss.py', '{build}']),
    'rules': rules,
    'spamassassin': json_lines_of([sys.executable, HERE / 'spamassassin/peers.py', '{build}/control/cli/sluicectl']),
    'lists': json_lines_of(['{build}/perf/lists_bench']),
    'replay': replay_table.lines,
    'adversarial': adversarial.lines,
    'stages': stages_table.lines,
    'xdp': json_lines_of(['{build}/perf/xdp_bench']),
    'scan': lines_of(['{build}/perf/scan_bench']),
    'micro': lines_of(['{build}/perf/micro_flow_tcp', '--benchmark_min_time=0.2']),
    'config': lines_of([sys.executable, HERE / 'config/lists.py', '{build}']),
    'failover': lines_of([sys.executable, HERE / 'wire/failover.py',
                          '{build}/dataplane/app/sluice-dataplane']),
}


def measure(name, build, arguments):
    """Results of one bench."""
    about = {'machine': machine()}
    options = {'only': arguments.line} if name == 'replay' else {}
    for result in MEASURES[name](build, **options):
        yield {'bench': name} | result | about


def tell(differences):
    """Prints what changed, and how much did not; the exit status."""
    counts = {}
    for difference in differences:
        counts[difference['verdict']] = counts.get(difference['verdict'], 0) + 1
        if difference['verdict'] != 'same':
            print(json.dumps(difference), flush=True)
    print(json.dumps({'figures': counts}))
    return 1 if counts.get('worse') else 0


def compare_runs(arguments):
    build = pathlib.Path(arguments.build).resolve()
    if len(arguments.compare) == 2:
        return tell(compare.between(*map(compare.read, arguments.compare)))
    if arguments.against:
        other = pathlib.Path(arguments.against).resolve()
        pairs = []
        for number in range(arguments.pairs):
            results = {}
            for of in (other, build) if number % 2 == 0 else (build, other):
                results[of] = [r for name in arguments.names for r in measure(name, of, arguments)]
            pairs.append((results[other], results[build]))
        return tell(compare.paired(pairs))
    old = [r for path in arguments.compare or [HERE / f'baselines/{name}.json' for name in arguments.names]
           for r in compare.read(path)]
    new = [r for name in arguments.names for r in measure(name, build, arguments)]
    return tell(d for d in compare.between(old, new) if not arguments.line or d['verdict'] != 'gone')


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME')
    parser.add_argument('--build', default='build')
    parser.add_argument('--out', help='also append the lines to this file')
    parser.add_argument('--save', action='store_true', help='as perf/baselines/NAME.json too')
    parser.add_argument('--line', default='', help='of replay: only lines whose name holds this')
    parser.add_argument('--compare', nargs='*', metavar='FILE')
    parser.add_argument('--against', metavar='BUILD', help='another build folder')
    parser.add_argument('--pairs', type=int, default=5)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MEASURES)
    if unknown:
        parser.error(f'unknown: {", ".join(sorted(unknown))}; there are {", ".join(MEASURES)}')
    if arguments.compare is not None:
        if len(arguments.compare) > 2 or (not arguments.names and len(arguments.compare) < 2):
            parser.error('--compare takes two files, or a NAME to run')
        sys.exit(compare_runs(arguments))
    out = open(arguments.out, 'a', encoding='utf-8') if arguments.out else None
    for name in arguments.names or ('replay', 'scan', 'micro'):
        results = []
        for result in measure(name, pathlib.Path(arguments.build).resolve(), arguments):
            results.append(result)
            line = json.dumps(result)
            print(line, flush=True)
            if out:
                out.write(line + '\n')
        if arguments.save:
            text = ',\n '.join(map(json.dumps, results))
            (HERE / f'baselines/{name}.json').write_text(f'[{text}]\n')


if __name__ == '__main__':
    main()
