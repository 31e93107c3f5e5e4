#!/usr/bin/env python3
"""What Debian's own spamassassin says of messages, for comparison: `spamassassin -L` (no network, no
Bayes, no AWL or TxRep: score set 0) through its Perl API, some processes at a time, the results kept
by content of the message and of all that decides (version, rules, plugins, configuration).

  spamassassin_side.py [--out FILE] [FOLDER|FILE...]     default: the corpus of tests/lab/corpus.py

writes one JSON object a line: {"file", "score", "rules", "subrules", "seconds"}."""
import argparse
import hashlib
import json
import pathlib
import selectors
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'lab'))
import corpus  # noqa: E402

RULES = pathlib.Path('/usr/share/spamassassin')
PLUGINS = pathlib.Path('/etc/spamassassin')
CACHE = pathlib.Path('/var/cache/sluice-lab/spamassassin')
# Everything else is Debian's default. No address is trusted but what spamassassin infers itself.
FORM = b'1'  # of what is kept: to be raised when spamassassin_hits.pl says other things
LOCAL = 'use_bayes 0\nuse_bayes_rules 0\n'


def available():
    return shutil.which('spamassassin') is not None and (RULES / '72_active.cf').exists()


def rules_digest(folder=RULES):
    """Of the rule files, by content."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob('*.cf')):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _key():
    """Digest of what decides about a message's hits."""
    digest = hashlib.sha256(LOCAL.encode() + FORM)
    version = subprocess.run(['dpkg-query', '-W', '-f=${Version}', 'spamassassin'], check=True,
                             capture_output=True).stdout
    digest.update(version)
    for folder, pattern in ((RULES, '*.cf'), (PLUGINS, '*.pre')):
        for path in sorted(folder.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _read(path):
    known = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                one = json.loads(line)
                known[one.pop('message')] = one
            except (ValueError, KeyError):
                pass  # the end of a run that was stopped
    return known


def _run(files, keys, out, processes):
    """Runs the messages and appends to `out` as results come."""
    with tempfile.TemporaryDirectory() as site:
        for path in PLUGINS.glob('*.pre'):
            shutil.copy(path, site)
        (pathlib.Path(site) / 'local.cf').write_text(LOCAL)
        shares = [files[i::processes] for i in range(processes)]
        running = []
        errors = tempfile.TemporaryFile('w+')
        for share in shares:
            if not share:
                continue
            names = tempfile.TemporaryFile('w+')
            names.write(''.join(f'{name}\n' for name in share))
            names.seek(0)
            running.append(subprocess.Popen(
                ['nice', '-n', '10', 'perl', str(HERE / 'spamassassin_hits.pl'), site, str(RULES)],
                stdin=names, stdout=subprocess.PIPE, stderr=errors, text=True))
        ready = selectors.DefaultSelector()
        for process in running:
            ready.register(process.stdout, selectors.EVENT_READ, process)
        left = len(running)
        with open(out, 'a') as file:
            while left:
                for key, _ in ready.select():
                    line = key.fileobj.readline()
                    if not line:
                        ready.unregister(key.fileobj)
                        left -= 1
                        continue
                    one = json.loads(line)
                    one['message'] = keys[one.pop('file')]
                    file.write(json.dumps(one, sort_keys=True) + '\n')
                    file.flush()
        for process in running:
            if process.wait() != 0:
                errors.seek(0)
                raise RuntimeError('spamassassin: ' + errors.read()[-2000:])


def hits(files, processes=2):
    """{file: {"score", "rules", "subrules", "seconds"}}; what was not run before is run now."""
    CACHE.mkdir(parents=True, exist_ok=True)
    cache = CACHE / (_key() + '.jsonl')
    keys = {str(f): hashlib.sha256(pathlib.Path(f).read_bytes()).hexdigest() for f in files}
    known = _read(cache)
    missing = [f for f, key in keys.items() if key not in known]
    if missing:
        _run(missing, keys, cache, processes)
        known = _read(cache)
    return {f: known[key] for f, key in keys.items()}


def rules():
    """{name: type} of the rules that it runs so: those without a score, or for the network, are out."""
    with tempfile.TemporaryDirectory() as site:
        for path in PLUGINS.glob('*.pre'):
            shutil.copy(path, site)
        (pathlib.Path(site) / 'local.cf').write_text(LOCAL)
        out = subprocess.run(['perl', str(HERE / 'spamassassin_hits.pl'), site, str(RULES), 'rules'],
                             check=True, capture_output=True, text=True, timeout=300).stdout
    return json.loads(out)


def message_files(paths):
    files = []
    for path in map(pathlib.Path, paths):
        files += sorted(path.rglob('*.eml')) if path.is_dir() else [path]
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='*')
    parser.add_argument('--out', default='-')
    parser.add_argument('--processes', type=int, default=2)
    options = parser.parse_args()
    files = message_files(options.paths) if options.paths else corpus.message_files()
    found = hits(files, options.processes)
    out = sys.stdout if options.out == '-' else open(options.out, 'w')
    for file, one in found.items():
        out.write(json.dumps({'file': file, **one}, sort_keys=True) + '\n')


if __name__ == '__main__':
    main()
