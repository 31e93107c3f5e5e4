#!/usr/bin/python3
"""Starts the frame forwarder (forwarder.cc) in a namespace and reads its counts.

    with Topology(impair='outside') as t, Forwarder(t, loss=0.01, seed=7) as f:
        ...
    print(f.counts['right']['lost'])

The program is found in $SLUICE_RIG_FORWARDER, or in a build folder given with `program`.
"""

import json
import os
import signal
import subprocess

from rig.netns import RigError

OPTIONS = ('loss', 'burst', 'delay', 'jitter', 'reorder', 'reorder_delay', 'duplicate', 'corrupt',
           'direction', 'limit', 'seed')


def program_path(program=None):
    path = program or os.environ.get('SLUICE_RIG_FORWARDER')
    if not path or not os.access(path, os.X_OK):
        raise RigError('the forwarder is not built: ninja -C BUILD tests/wire/rig_forwarder, then '
                       'SLUICE_RIG_FORWARDER=BUILD/tests/wire/rig_forwarder')
    return path


class Forwarder:
    """Forwards between the two ports of the topology's impairment, or between any two interfaces.

    netns, left, right: where; default: those of `topology.impair_ns`, or, when the topology has
    none, the ports of the wire itself (left is inside).
    Other keywords are the program's options (probabilities 0..1, times in milliseconds).
    `counts` is there after stop().
    """

    def __init__(self, topology, *, netns=None, left=None, right=None, program=None, **options):
        unknown = set(options) - set(OPTIONS)
        if unknown:
            raise RigError(f'unknown options of the forwarder: {sorted(unknown)}')
        at_wire = topology.impair_ns is None
        self.counts = None
        self._topology = topology
        self._netns = netns or (topology.wire_ns if at_wire else topology.impair_ns)
        self._line = [program_path(program),
                      '--left', left or (topology.inside_port if at_wire else 'left'),
                      '--right', right or (topology.outside_port if at_wire else 'right')]
        for key, value in options.items():
            self._line += ['--' + key.replace('_', '-'), str(value)]
        self._process = None

    def start(self):
        self._process = self._topology.popen(self._netns, self._line, stdout=subprocess.PIPE,
                                             text=True)
        if self._process.stdout.readline() != 'ready\n':
            raise RigError(f'the forwarder did not start (exit {self._process.wait()})')
        return self

    def stop(self):
        """Ends it; its counts: {'right': {'received': ..., 'lost': ...}, 'left': {...}}."""
        if self._process is not None:
            self.resume()
            self._process.terminate()
            text, _ = self._process.communicate(timeout=10)
            self._process = None
            self.counts = json.loads(text)
        return self.counts

    def pause(self):
        """Nothing is forwarded until resume(); what comes meanwhile waits in the sockets."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
