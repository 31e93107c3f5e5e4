"""The appliance's processes as the lab runs them: in one network namespace (or here), in one folder."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time


class Failed(RuntimeError):
    """Something did not come up; the text says what and what it printed."""


class Appliance:
    """netns: name in /run/netns, or None for the namespace we are in. `folder` is made and holds
    sockets, logs, state and pins."""

    def __init__(self, build, folder, wire, inside, outside, netns=None, memory=256,
                 heartbeat=None, arguments=(), wire_options=''):
        self.build = pathlib.Path(build).resolve()
        self.folder = pathlib.Path(folder)
        self.wire = wire
        self.ports = (inside, outside)
        self.netns = netns
        self.memory = memory
        self.heartbeat = heartbeat  # milliseconds; None: the program's own
        self.arguments = arguments  # further ones of the dataplane
        self.wire_options = wire_options  # further keys of --wire, each with a comma before it
        self.dataplane = None
        self.control = None
        self.dataplane_socket = self.folder / 'dataplane.sock'
        self.control_socket = self.folder / 'control.sock'
        self.eve = self.folder / 'eve.json'
        self.bpffs = self.folder / 'bpf'

    def _command(self, *words):
        if self.netns:
            # Not `ip netns exec`: it hides the bpf file system.
            return ['nsenter', f'--net=/run/netns/{self.netns}', *map(str, words)]
        return [str(w) for w in words]

    def _start(self, name, *words):
        log = open(self.folder / f'{name}.log', 'ab')
        return subprocess.Popen(self._command(*words), stdin=subprocess.DEVNULL, stdout=log,
                                stderr=log, start_new_session=True)

    def _wire_option(self):
        return f'name={self.wire},inside={self.ports[0]},outside={self.ports[1]}{self.wire_options}'

    def prepare(self, configuration):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        self.bpffs.mkdir()
        (self.folder / 'sluice.json').write_text(json.dumps(configuration, indent=2) + '\n')

    def start_dataplane(self):
        self.dataplane = self._start(
            'dataplane', self.build / 'dataplane/app/sluice-dataplane', '--wire',
            self._wire_option(), '--socket', self.dataplane_socket, '--memory', self.memory,
            '--bpffs', self.bpffs,
            *(['--heartbeat-timeout', self.heartbeat] if self.heartbeat else []), *self.arguments)

    def start_control(self):
        self.control = self._start(
            'sluiced', self.build / 'control/daemon/sluiced', '--config',
            self.folder / 'sluice.json', '--dataplane-socket', self.dataplane_socket, '--socket',
            self.control_socket, '--state', self.folder / 'state', '--eve', self.eve, '--bpffs',
            self.bpffs)

    def ctl(self, *words, check=True):
        """Output of a sluicectl command."""
        done = subprocess.run([str(self.build / 'control/cli/sluicectl'), '--socket',
                               str(self.control_socket), *map(str, words)],
                              capture_output=True, text=True, timeout=30)
        if check and done.returncode:
            raise Failed(f'sluicectl {" ".join(map(str, words))}: {done.stderr.strip()}')
        return done.stdout

    def show(self, *words):
        return json.loads(self.ctl('show', *words, '--json'))

    def wait_adopted(self, seconds=20):
        """Until the dataplane has adopted the policy that control published."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name, process in (('dataplane', self.dataplane), ('sluiced', self.control)):
                if process.poll() is not None:
                    raise Failed(f'{name} ended with {process.returncode}:\n{self.log(name)}')
            try:
                if self.show('policies').get('epoch'):
                    return
            except (Failed, OSError, ValueError):
                pass
            time.sleep(0.05)
        raise Failed(f'no policy was adopted in {seconds} s:\n{self.log("dataplane")}\n'
                     f'{self.log("sluiced")}')

    def log(self, name, lines=15):
        path = self.folder / f'{name}.log'
        return '\n'.join(path.read_text(errors='replace').splitlines()[-lines:]) if path.exists() else ''

    def events(self, kind=None):
        if not self.eve.exists():
            return []
        events = []
        for line in self.eve.read_text(errors='replace').splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the line that is being written
            if kind is None or event['event_type'] == kind:
                events.append(event)
        return events

    def kill_dataplane(self):
        """As a crash would."""
        self.dataplane.send_signal(signal.SIGKILL)
        self.dataplane.wait()

    def stop(self):
        for process in (self.control, self.dataplane):
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def detach(self):
        """Takes the wire out of the kernel again."""
        if not self.folder.exists():
            return
        subprocess.run(self._command(self.build / 'dataplane/app/sluice-dataplane', '--wire',
                                     self._wire_option(), '--bpffs', self.bpffs, '--detach'),
                       capture_output=True, timeout=30)
        if os.path.ismount(self.bpffs):
            subprocess.run(['umount', str(self.bpffs)], capture_output=True)
