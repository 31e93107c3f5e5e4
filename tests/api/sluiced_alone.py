"""sluiced without a dataplane, in a folder of its own: what tests of its socket and its HTTP API need."""
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'shell'))
import sluiced  # noqa: E402

TOKENS = {'viewer': 'token-of-a-viewer', 'operator': 'token-of-an-operator', 'admin': 'token-of-an-admin'}


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Sluiced(sluiced.Sluiced):
    """With an HTTP API and its tokens; begins at once."""

    def __init__(self, build, configuration=None, http=True, rate=100000):
        super().__init__(build)
        self.folder.chmod(0o755)
        self.port = free_port()
        configuration = configuration or {}
        root = configuration.setdefault('sluice:sluice', {})
        root.setdefault('wire', [{'name': 'w1'}])
        if http:
            self.certificate()
            root['api'] = {'http': {
                'enabled': True, 'port': self.port, 'rate': rate,
                'certificate': str(self.folder / 'cert.pem'),
                'private-key': str(self.folder / 'key.pem'),
                'token': [{'name': role, 'sha256': hashlib.sha256(text.encode()).hexdigest(),
                           'role': role} for role, text in TOKENS.items()] +
                         [{'name': 'old', 'sha256': hashlib.sha256(b'expired').hexdigest(),
                           'role': 'admin', 'expires': '2020-01-01T00:00:00Z'}]}}
        (self.folder / 'sluice.json').write_text(json.dumps(configuration))
        self.start()

    def certificate(self):
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout',
                        str(self.folder / 'key.pem'), '-out', str(self.folder / 'cert.pem'), '-subj',
                        '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
                       check=True, capture_output=True)

    def wait(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f'{what}\n{self.log()[-2000:]}')
            time.sleep(0.05)

    def ctl(self, *words, check=True, user=None, group=None):
        change = {} if user is None else {'user': user, 'group': group or user, 'extra_groups': []}
        done = subprocess.run([str(self.build / 'control/cli/sluicectl'), '--socket', str(self.socket),
                               *map(str, words)], capture_output=True, text=True, timeout=120, **change)
        if check and done.returncode:
            raise AssertionError(f'{words}: {done.stderr}')
        return done

    def show(self, *words):
        return json.loads(self.ctl(*words, '--json').stdout)

    def events(self, kind):
        lines = (self.folder / 'eve.json').read_text().splitlines()
        return [e for e in map(json.loads, lines) if e['event_type'] == kind]

    def curl(self, method, path, body=None, token='admin', headers=(), raw=False, extra=()):
        """(status, headers, body) as a generic client sees them."""
        command = ['curl', '-s', '--max-time', '120', '--cacert', str(self.folder / 'cert.pem'), *extra]
        command += ['-I'] if method == 'HEAD' else ['-D', '-', '-X', method]
        if token:
            command += ['-H', f'Authorization: Bearer {TOKENS.get(token, token)}']
        for h in headers:
            command += ['-H', h]
        if body is not None:
            text = body if isinstance(body, str) else json.dumps(body)
            command += ['--data-binary', text]
            if not any(h.lower().startswith('content-type') for h in headers):
                command += ['-H', 'Content-Type: application/yang-data+json']
        done = subprocess.run(command + [f'https://localhost:{self.port}{path}'], capture_output=True)
        if done.returncode not in (0, 56):
            raise AssertionError(f'curl {method} {path}: {done.returncode} {done.stderr.decode()}')
        head, _, rest = done.stdout.decode().partition('\r\n\r\n')
        lines = head.split('\r\n')
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(':')
            fields[name.lower()] = value.strip()
        status = int(lines[0].split()[1])
        if raw or not rest or 'json' not in fields.get('content-type', ''):
            return status, fields, rest
        return status, fields, json.loads(rest)


def unprivileged():
    """Whether other users can be tried."""
    return os.geteuid() == 0
