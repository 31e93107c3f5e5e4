"""A sluiced of the test's own in a folder of its own, without a dataplane."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from terminal import Terminal


class Sluiced:
    PATIENCE = 120  # seconds

    def __init__(self, build, configuration=None):
        self.build = pathlib.Path(build).resolve()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='sluice-shell-'))
        (self.folder / 'sluice.json').write_text(json.dumps(configuration or {}))
        self.socket = self.folder / 'control.sock'
        self.process = None

    def start(self):
        log = open(self.folder / 'log', 'ab')
        self.process = subprocess.Popen(
            [self.build / 'control/daemon/sluiced', '--config', self.folder / 'sluice.json',
             '--dataplane-socket', self.folder / 'dataplane.sock', '--socket', self.socket, '--state',
             self.folder / 'state', '--eve', self.folder / 'eve.json', '--bpffs', self.folder / 'bpf'],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + self.PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError('sluiced does not come up:\n' + self.log())
            time.sleep(0.05)
        return self

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(str(self.socket)) == 0

    def log(self):
        return (self.folder / 'log').read_text(errors='replace')

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()
        self.process = None

    def ask(self, command, connection=None, **arguments):
        """One request over a connection of its own, or the given one: the whole answer."""
        s = connection or self.connect()
        s.sendall((json.dumps({'command': command, 'arguments': arguments}) + '\n').encode())
        data = b''
        while not data.endswith(b'\n'):
            piece = s.recv(1 << 20)
            if not piece:
                raise ConnectionError('closed')
            data += piece
        if connection is None:
            s.close()
        return json.loads(data)

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(self.PATIENCE)
        s.connect(str(self.socket))
        return s

    def running(self):
        """The configuration that runs, as commands."""
        return self.ask('config get', source='running', form='set')['result']['text']

    def ctl(self, *words, text=None):
        """sluicectl once: exit status, output, errors."""
        done = subprocess.run([self.build / 'control/cli/sluicectl', '--socket', self.socket, *words],
                              input=text, capture_output=True, text=True, timeout=self.PATIENCE,
                              env={**os.environ, 'HOME': str(self.folder)})
        return done.returncode, done.stdout, done.stderr

    def shell(self, **options):
        """A person at a terminal."""
        terminal = Terminal([str(self.build / 'control/cli/sluicectl'), '--socket', str(self.socket)],
                            environment={'HOME': str(self.folder)}, **options)
        terminal.prompt()
        return terminal

    def close(self):
        if self.process:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
