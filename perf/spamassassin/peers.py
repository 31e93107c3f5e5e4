#!/usr/bin/env python3
"""Messages scored per second and core: ours with Debian's SpamAssassin rules, `spamassassin -L` and
`rspamd` (without network tests), in one run on the same messages of the corpus. CPU, not wall time.

  peers.py SLUICECTL [--messages N]      one JSON object a line

Engines that are not installed are left out by name. rspamd runs on loopback ports of its own, from a
copy of Debian's configuration, and is ended."""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
for folder in ('golden', 'lab'):
    sys.path.insert(0, str(HERE.parents[1] / 'tests' / folder))
import corpus  # noqa: E402
import spamassassin_side as side  # noqa: E402

MESSAGES = 300  # of the corpus

# What asks the network, or a database that is not there.
OFF = ('asn', 'dkim', 'dkim_signing', 'dmarc', 'spf', 'rbl', 'surbl', 'fuzzy_check', 'neural', 'bayes_expiry',
       'url_redirector', 'ratelimit', 'greylist', 'history_redis', 'reputation', 'replies', 'mx_check', 'arc',
       'metadata_exporter', 'clickhouse', 'elastic', 'antivirus', 'spamtrap', 'bimi', 'aws_s3', 'contextal', 'known_senders')


def ours(sluicectl, files):
    rounds = []
    for _ in range(3):
        run = subprocess.run([sluicectl, 'rules', 'test', '--json', '--summary', '--rules', str(side.RULES), '--cache',
                              '/var/cache/sluice-lab/databases', *files * 5], capture_output=True, text=True, check=False)
        if run.returncode not in (0, 3):
            sys.exit('sluice: ' + run.stderr[-1000:])
        summary = json.loads(run.stdout.splitlines()[-1])['summary']
        rounds.append(summary['cpu_seconds'] / summary['messages'])
    check = json.loads(subprocess.run([sluicectl, 'rules', 'check', '--json', str(side.RULES)], capture_output=True,
                                      text=True, check=False).stdout)
    return sorted(rounds)[1], {'rules': check['rules'], 'refused': check['refused']}


def spamassassin(files):
    with tempfile.TemporaryDirectory() as site:
        for path in side.PLUGINS.glob('*.pre'):
            shutil.copy(path, site)
        (pathlib.Path(site) / 'local.cf').write_text(side.LOCAL)
        # The first message pays for what is made on demand.
        out = subprocess.run(['perl', str(side.HERE / 'spamassassin_hits.pl'), site, str(side.RULES)], check=True,
                             input='\n'.join([files[0], *files]) + '\n', capture_output=True, text=True).stdout
    seconds = [json.loads(line)['seconds'] for line in out.splitlines()][1:]
    return sum(seconds) / len(seconds), {}


def cpu_of(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf('SC_CLK_TCK')


def scanners(pid):
    """The workers that scan: not the controller, nor the one that compiles expressions."""
    pids = [int(p) for p in pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    return [p for p in pids if b'normal process' in pathlib.Path(f'/proc/{p}/cmdline').read_bytes()]


def rspamd(files, port=21333):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        cache = pathlib.Path('/var/cache/sluice-lab/rspamd')  # of compiled expressions: it takes minutes
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copytree('/etc/rspamd', root / 'etc')
        local = root / 'etc/local.d'
        local.mkdir(exist_ok=True)
        for name in OFF:
            (local / f'{name}.conf').write_text('enabled = false;\n')
        (local / 'options.inc').write_text('dns { nameserver = ["127.0.0.1:9:1"]; timeout = 0.01s; retransmits = 1; }\n')
        (local / 'classifier-bayes.conf').write_text('backend = "null";\n')
        (local / 'worker-normal.inc').write_text(f'bind_socket = "127.0.0.1:{port}";\ncount = 1;\n')
        (local / 'worker-controller.inc').write_text(f'bind_socket = "127.0.0.1:{port + 1}";\n')
        (local / 'worker-proxy.inc').write_text('enabled = false;\n')
        (local / 'worker-fuzzy.inc').write_text('enabled = false;\n')
        (local / 'logging.inc').write_text(f'type = "file";\nfilename = "{root}/log";\nlevel = "warning";\n')
        variables = [f'--var={name}={value}' for name, value in
                     (('CONFDIR', root / 'etc'), ('LOCAL_CONFDIR', root / 'etc'), ('DBDIR', cache), ('RUNDIR', root),
                      ('LOGDIR', root))]
        server = subprocess.Popen(['rspamd', '-f', '-i', '-u', 'root', '-g', 'root', '-c', str(root / 'etc/rspamd.conf'),
                                   *variables], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            end = time.monotonic() + 300
            while True:
                try:
                    link = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
                    link.request('GET', '/ping')
                    link.getresponse().read()
                    break
                except OSError:
                    if server.poll() is not None or time.monotonic() > end:
                        return None, {'error': (server.stderr.read() if server.poll() is not None else 'no answer')[-300:]}
                    time.sleep(0.2)

            def check(octets):
                link.request('POST', '/checkv2', body=octets)
                return json.loads(link.getresponse().read())

            texts = [pathlib.Path(f).read_bytes() for f in files]
            for octets in texts[:20]:
                check(octets)
            workers = scanners(server.pid)
            before = cpu_of(workers)
            symbols = sum(len(check(octets).get('symbols', {})) for octets in texts)
            return (cpu_of(workers) - before) / len(texts), {'symbols_per_message': round(symbols / len(texts), 1)}
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sluicectl')
    parser.add_argument('--messages', type=int, default=MESSAGES)
    options = parser.parse_args()
    files = [str(f) for f in corpus.spread(corpus.message_files(), options.messages)]
    octets = sum(os.path.getsize(f) for f in files)
    own = None
    for name, measure, there in (('sluice', lambda: ours(options.sluicectl, files), True),
                                 ('spamassassin -L', lambda: spamassassin(files), side.available()),
                                 ('rspamd', lambda: rspamd(files), shutil.which('rspamd'))):
        line = {'engine': name, 'messages': len(files), 'octets_per_message': octets // len(files)}
        if not there:
            print(json.dumps(line | {'error': 'not installed'}), flush=True)
            continue
        seconds, more = measure()
        if seconds is not None:
            own = own or seconds
            line |= {'cpu_microseconds_per_message': round(seconds * 1e6, 1),
                     'messages_per_second_and_core': round(1 / seconds, 1) if seconds else None,
                     'times_ours': round(seconds / own, 1)}
        print(json.dumps(line | more), flush=True)


if __name__ == '__main__':
    main()
