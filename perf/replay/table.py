"""The lines of `./dev bench replay`: the pipeline on generated sessions of every shape, each with the
alerts that it must give."""
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# µs of CPU a message on such work (../shared/perf/README.md: another machine, of AMD's Zen 3).
PEERS = {0: {'suricata': 120, 'snort': 184}, 100: {'suricata': 153, 'snort': 213},
         1000: {'suricata': 209, 'snort': 247}, 10000: {'suricata': 735, 'snort': 404}}
GROUPS = ('stream', 'decoded', 'regex', 'pairs')
MARKED = {'mixed': {'stream', 'decoded', 'regex'}, 'plain': {'stream', 'regex'}, 'base64': {'decoded'}}


class Material:
    """Captures and rule files, each made once, in a folder that goes with it."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self._folder.name)
        self._made = {}
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    def _make(self, name, script, arguments_of):
        if name not in self._made:
            path = self.folder / name
            said = subprocess.run([sys.executable, HERE / script, *arguments_of(path)], check=True,
                                  stdout=subprocess.PIPE, text=True).stdout
            self._made[name] = path, said
        return self._made[name]

    def capture(self, sessions=4000, **options):
        """The file, and how many sessions are open at the same time in it at the most. options: those of
        gen_smtp_pcap.py."""
        words = [str(w) for key, value in options.items()
                 for w in ('--' + key.replace('_', '-'), value)]
        path, said = self._make('-'.join([str(sessions), *words]) + '.pcap', 'gen_smtp_pcap.py',
                                lambda path: [path, '--sessions', str(sessions), '--seed', '2', *words])
        return path, int(said.split('peak=')[1])

    def drop(self, path):
        """Large captures do not outlive their line."""
        path.unlink()
        self._made = {name: made for name, made in self._made.items() if made[0] != path}

    def rules(self, count, groups=GROUPS):
        return self._make(f'{count}-{"-".join(groups)}.rules', 'gen_rules.py',
                          lambda path: [str(count), path, 'suricata', ','.join(groups)])[0]


def run(build, material, line, *, rules=1000, groups=GROUPS, options=(), **shape):
    """One line; ends the program when the alerts are not exactly those of the marked messages."""
    capture, together = material.capture(**shape)
    text = subprocess.run([build / 'perf/replay', capture, '--rules', material.rules(rules, groups),
                           *options], check=True, stdout=subprocess.PIPE, text=True).stdout
    result = json.loads(text)
    marked = shape.get('sessions', 4000) // shape.get('marker_every', 100)
    found = MARKED[shape.get('body', 'mixed')] & set(groups) if rules else set()
    if result['alerts'] != marked * len(found):
        sys.exit(f'replay: {line}: {result["alerts"]} alerts, not {marked * len(found)}')
    if capture.stat().st_size > 100 << 20:
        material.drop(capture)
    return {'line': line, 'shape': shape, 'sessions_at_once': together, 'options': list(options),
            'groups': list(groups)} | result


def beside_floor(build, material, line):
    """The line with what the same octets cost bare Hyperscan and one copy, in the same run."""
    text = subprocess.run([build / 'perf/stages', material.capture()[0], '--rules',
                           material.rules(line['rules']), '--repeat', '3'], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    floor = next(s['ns_per_message'] for s in map(json.loads, text.splitlines()) if s['stage'] == 'floor') / 1000
    return line | {'floor_microseconds': floor, 'ratio_to_floor': line['microseconds_per_message'] / floor}


# Octets of a message and how many sessions are enough to measure.
SIZES = {'1 KB': (1 << 10, 8000), '10 KB': (10240, 3000), '100 KB': (100 << 10, 300), '1 MB': (1 << 20, 40)}


def plan():
    """(name, arguments of run()) of every line."""
    for rules in PEERS:
        yield f'{rules} rules', {'rules': rules}
    yield 'events off', {'options': ['--events', 'off']}
    yield 'hashes of attachments', {'options': ['--hash', 'attachments']}
    yield 'hashes of all', {'options': ['--hash', 'all']}
    for group in GROUPS:
        yield f'only {group} rules', {'groups': [group]}
    for name, (size, sessions) in SIZES.items():
        for body in ('plain', 'base64'):
            # A base64 message of 1 KB has no room for its marker.
            every = sessions + 1 if (name, body) == ('1 KB', 'base64') else 10
            yield f'{name} {body}', {'sessions': sessions, 'size': size, 'body': body, 'marker_every': every}
    yield '10 % clear, 90 % TLS', {'tls': 90}
    yield '10 % clear, 90 % TLS, all frames to the worker', {'tls': 90, 'options': ['--kernel', 'off']}
    for segment in (536, 64, 1):
        yield f'segments of {segment}', {'sessions': 1000 if segment > 1 else 50, 'segment': segment,
                                         'marker_every': 10}
    yield '30,000 sessions at once', {'sessions': 30000, 'concurrency': 300000}
    for idle in (100_000, 1_000_000):
        yield f'{idle:,} idle flows beside', {'options': ['--idle-flows', str(idle)]}


def lines(build, only=''):
    """only: those whose name holds this."""
    with Material() as material:
        for name, arguments in plan():
            if only not in name:
                continue
            result = run(build, material, name, **arguments)
            if list(arguments) == ['rules']:
                result['peers_microseconds'] = PEERS[result['rules']]
                if result['rules']:
                    result = beside_floor(build, material, result)
            yield result
