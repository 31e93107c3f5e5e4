#!/usr/bin/env python3
"""./dev up: the appliance between subscribers and a real Postfix, on this machine, with real mail.

Five honest subscribers and one whose machine sends spam, a bulk transfer and pings beside; the
dataplane is killed in the middle. Shows what passes, checks what must be true, prints the figures,
and exits non-zero when something is not as it should be. With two interface names it puts the
appliance between them, in monitor mode, until it is interrupted."""
import argparse
import collections
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / 'wire'))
import corpus  # noqa: E402
from appliance import Appliance, Failed  # noqa: E402
from postfix import Postfix  # noqa: E402
from rig import bulk, mailer, netns  # noqa: E402

PREFIX = 'sluicelab'
FOLDER = pathlib.Path('/run/sluice-lab')
STATE = FOLDER.parent / 'sluice-lab.json'  # what --keep left running
WIRE = 'w1'
HONEST = 5
# Phrases of one spam campaign in the corpus; none stands in its honest mail.
PHRASES = (b'lose weight', b'lowest rates', b'HGH', b'100% FREE')
LIMIT_AFTER, BLOCK_AFTER, BLOCK_SECONDS = 3, 8, 600


def say(text):
    print(text, flush=True)


def title(text):
    say(f'\033[1m== {text}\033[0m')


def configuration(inside, outside, mode, rules):
    return {'sluice:sluice': {
        'wire': [{'name': WIRE, 'inside': inside, 'outside': outside, 'mode': mode}],
        'inside': {'prefix': [{'prefix': '10.77.1.0/24', 'role': 'subscriber'}]},
        'rules': {'file': rules},
        'detection': {'window': 600, 'limit-threshold': LIMIT_AFTER, 'block-threshold': BLOCK_AFTER,
                      'limit': {'rate': 60, 'duration': 600},
                      'block': {'duration': BLOCK_SECONDS, 'action': 'reset'}},
        'events': {'statistics-interval': 5},
    }}


def write_rules(path):
    path.write_text(''.join(
        f'reject smtp any any -> any any (msg:"lab campaign: {p.decode()}"; content:"{p.decode()}"; '
        f'classtype:misc-activity; sid:{1001 + i}; rev:1;)\n' for i, p in enumerate(PHRASES)))


class Pings:
    """Pings from a subscriber until stop(); (sent, lost)."""

    def __init__(self, topology, source, target):
        self._process = topology.popen(
            topology.subscribers[0].netns, ['ping', '-i', '0.02', '-q', '-I', source, target],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def stop(self):
        self._process.send_signal(signal.SIGINT)
        text = self._process.communicate(timeout=10)[0]
        sent, received = map(int, re.search(r'(\d+) packets transmitted, (\d+) received', text).groups())
        return sent, sent - received


class Live(threading.Thread):
    """A line a second of what the appliance says that it sees."""

    def __init__(self, appliance):
        super().__init__(daemon=True)
        self.appliance = appliance
        self.ended = threading.Event()

    def run(self):
        start = time.monotonic()
        seen = 0
        while not self.ended.wait(1):
            events = self.appliance.events()
            outcomes = collections.Counter(e['smtp'].get('outcome') for e in events
                                           if e['event_type'] == 'smtp' and 'via' in e['smtp'])
            say(f'   {time.monotonic() - start:5.1f} s  messages: {outcomes["accepted"]} accepted, '
                f'{outcomes["blocked"]} blocked, {outcomes["aborted"] + outcomes["unknown"]} cut or '
                f'unknown')
            for event in events[seen:]:
                if event['event_type'] == 'entity':
                    entity = event['entity']
                    say(f'            {entity["id"]}: {entity["from"]} -> {entity["to"]} '
                        f'({entity.get("action", "")})')
            seen = len(events)


class Lab:
    def __init__(self, build, messages):
        self.build = build
        self.count = messages
        self.faults = []
        self.topology = netns.Topology(PREFIX, subscribers=HONEST + 1, far=1)
        self.appliance = Appliance(build, FOLDER / 'sluice', WIRE, 'inside', 'outside',
                                   netns=self.topology.wire_ns)
        self.postfix = None

    def check(self, good, text):
        say(f'   {"ok  " if good else "FAIL"}  {text}')
        if not good:
            self.faults.append(text)

    def up(self):
        title('namespaces, Postfix, the wire')
        netns.remove(PREFIX)
        self.topology.open()
        self.far = self.topology.far[0]
        self.hosts = self.topology.subscribers
        self.spammer = self.hosts[HONEST]
        rules = FOLDER / 'lab.rules'
        FOLDER.mkdir(parents=True, exist_ok=True)
        write_rules(rules)
        self.appliance.prepare(configuration('inside', 'outside', 'enforce', [str(rules)]))
        self.appliance.start_dataplane()
        self.appliance.start_control()
        self.appliance.wait_adopted()
        self.topology.wait_reachable()
        self.postfix = Postfix(self.far.netns, self.far.v4, FOLDER / 'postfix')
        self.postfix.start()
        say(f'   subscribers {self.hosts[0].v4} .. {self.spammer.v4}, Postfix at {self.far.v4}, '
            f'policy epoch {self.appliance.show("policies")["epoch"]} in force')

    def _messages(self, kinds, count, first, sender, wanted=lambda m: True):
        """Marked messages of the corpus, numbered from `first`."""
        chosen = [m for m in corpus.load(kinds, 10_000) if wanted(m)][:count]
        marked = [corpus.marked(m, first + i) for i, m in enumerate(chosen)]
        self.sent.update({first + i: corpus.digest(m) for i, m in enumerate(marked)})
        return [mailer.Message(str(first + i), sender, ('user@lab.test',), m)
                for i, m in enumerate(marked)]

    def _swaks(self, message, host):
        """One message by swaks; True when the server accepted it."""
        path = FOLDER / 'swaks.eml'
        # As on the wire: swaks would put more than line ends into octets that it fixes up.
        stuffed = message.content.replace(b'\r\n.', b'\r\n..')
        path.write_bytes((b'.' if stuffed.startswith(b'.') else b'') + stuffed + b'.\r\n')
        done = self.topology.popen(host.netns, [
            'swaks', '--server', self.far.v4, '--local-interface', host.v4, '--from', message.sender,
            '--to', message.recipients[0], '--data', f'@{path}', '--no-data-fixup', '--helo',
            'client.lab.test', '--timeout', '20', '--silent', '2'],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        done.communicate(timeout=60)
        return done.returncode == 0

    def run(self):
        title('mail, and other traffic beside it')
        self.sent = {}
        ham = self._messages(corpus.HAM, self.count, 0, 'someone@subscriber.lab.test')
        spam = self._messages(corpus.SPAM, 60, 100_000, 'winner@campaign.lab.test',
                              lambda m: any(p in m for p in PHRASES))
        by_swaks, ham = ham[:5], ham[5:]
        reports = {}

        def send(name, host, messages, **options):
            reports[name] = mailer.run_mailer(self.far.v4, 25, messages, netns=host.netns,
                                              local=host.v4, timeout=20.0, **options)

        pings = Pings(self.topology, self.hosts[0].v4, self.far.v4)
        transfer = bulk.Bulk(self.hosts[1].netns, self.far.netns, self.far.v4, rate=40.0,
                             local=self.hosts[1].v4).start()
        live = Live(self.appliance)
        live.start()
        share = len(ham) // (HONEST - 1)
        threads = [threading.Thread(target=send, args=(f'subscriber {i + 1}', self.hosts[i],
                                                       ham[i * share:(i + 1) * share]),
                                    kwargs={'concurrency': 4, 'rate': 25.0})
                   for i in range(HONEST - 1)]
        threads.append(threading.Thread(target=send, args=('spammer', self.spammer, spam),
                                        kwargs={'concurrency': 2, 'rate': 8.0, 'per_connection': 1}))
        for t in threads:
            t.start()
        swaks_accepted = sum(self._swaks(m, self.hosts[4]) for m in by_swaks)
        time.sleep(2)
        say('            kill -9 of the dataplane; it is started again after a second')
        self.appliance.kill_dataplane()
        time.sleep(1)
        self.appliance.start_dataplane()
        for t in threads:
            t.join(300)
        self.ping_result = pings.stop()
        self.transfer = transfer.stop()
        self.appliance.wait_adopted()
        self.postfix.wait_delivered(60)
        live.ended.set()
        live.join()
        self.reports = reports
        self.swaks = (swaks_accepted, len(by_swaks))
        self.by_swaks = {int(m.id) for m in by_swaks}

    def verify(self):
        title('checks')
        arrived = dict(corpus.arrived(p) for p in self.postfix.delivered())
        honest = [o for name, r in self.reports.items() if name != 'spammer' for o in r.outcomes]
        accepted = [int(o.id) for o in honest if o.outcome == 'accepted'] + sorted(self.by_swaks)
        self.check(len(accepted) == len(honest) + self.swaks[1] and self.swaks[0] == self.swaks[1],
                   f'honest mail: {len(honest)} messages by the concurrent sender and {self.swaks[1]} '
                   f'by swaks, all accepted'
                   + ''.join(f'; {o.id}: {o.outcome} {o.code} {o.text}' for o in honest
                             if o.outcome != 'accepted')[:300])
        changed = [n for n in accepted if arrived.get(n) != self.sent[n]]
        self.check(not changed, f'{len(accepted)} arrived at Postfix with unchanged octets (SHA-256)'
                   + (f'; not: {changed[:5]}' if changed else ''))
        spam = self.reports['spammer'].outcomes
        refused = [o for o in spam if o.outcome == 'refused']
        # What went by in the second without a dataplane was accepted: fail-open is the policy.
        passed = [o for o in spam if o.outcome == 'accepted']
        leaked = [n for n in arrived if n is not None and n >= 100_000]
        self.check(len(leaked) == len(passed) and len(passed) <= 12,
                   f'spam: {len(spam)} sent, {len(refused)} refused with a reply, '
                   f'{len(spam) - len(refused) - len(passed)} cut off, {len(passed)} passed while '
                   f'the dataplane was dead')
        codes = {o.code for o in refused}
        self.check(550 in codes, f'the client was told: {sorted(codes)}')
        host = next((h for h in self.appliance.show('hosts')['hosts']
                     if h['host'] == self.spammer.v4), {})
        self.check(host.get('standing') == 'block',
                   f'the spammer {self.spammer.v4} was named and is blocked ({host.get("condemned")} '
                   f'messages condemned)')
        acted = [h['host'] for h in self.appliance.show('hosts')['hosts']
                 if h['standing'] not in ('clean', 'none') and h['host'] != self.spammer.v4]
        self.check(not acted, 'no other host was acted on' + (f': {acted}' if acted else ''))
        steps = [(e['entity']['from'], e['entity']['to']) for e in self.appliance.events('entity')
                 if e['entity']['id'] == self.spammer.v4]
        self.check(len(steps) >= 2, f'its way there: {steps}')
        t = self.transfer
        self.check(t.intact, f'bulk TCP beside it: {t.octets_received / 1e6:.0f} MB intact at '
                   f'{t.mbit_s:.0f} Mbit/s, longest gap {t.longest_gap_ms:.0f} ms {t.error}')
        sent, lost = self.ping_result
        self.check(lost == 0, f'ping: {sent} sent, {lost} lost')
        self._check_block()

    def _reaches(self, port):
        """How a connection from the spammer to a port of the far side goes."""
        with netns.inside(self.spammer.netns):
            import socket
            s = socket.socket()
            s.settimeout(2)
            s.bind((self.spammer.v4, 0))
            try:
                s.connect((self.far.v4, port))
                return s.recv(3) == b'220' if port == 25 else True
            except OSError:
                return False
            finally:
                s.close()

    def _check_block(self):
        self.check(not self._reaches(25), 'a new connection of the spammer to port 25 is stopped')
        ping = self.topology.popen(self.spammer.netns, ['ping', '-c3', '-i0.1', '-W2', '-q', '-I',
                                                        self.spammer.v4, self.far.v4],
                                   stdout=subprocess.DEVNULL)
        self.check(ping.wait(10) == 0, "the spammer's other traffic goes on")
        say(self.appliance.ctl('explain', 'host', self.spammer.v4))
        self.appliance.ctl('host', 'release', self.spammer.v4, '--comment', 'lab')
        deadline = time.monotonic() + 5
        while not self._reaches(25) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.check(self._reaches(25), 'released, its mail passes again')
        self.appliance.ctl('host', 'block', self.hosts[0].v4, '--for', '1m', '--comment', 'lab')
        self.spammer, kept = self.hosts[0], self.spammer
        deadline = time.monotonic() + 5
        while self._reaches(25) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.check(not self._reaches(25), f'an operator blocked {self.spammer.v4}: its mail stops')
        self.appliance.ctl('host', 'release', self.spammer.v4)
        self.spammer = kept

    def figures(self):
        title('figures')
        latencies = [o.latency_ms for n, r in self.reports.items() if n != 'spammer'
                     for o in r.outcomes if o.outcome == 'accepted']
        latencies.sort()
        gap = max(r.longest_gap_ms for n, r in self.reports.items() if n != 'spammer')
        say(f'   messages of honest hosts: {len(latencies)}, latency median '
            f'{latencies[len(latencies) // 2]:.1f} ms, 99 % {latencies[len(latencies) * 99 // 100]:.1f} ms, '
            f'longest silence {gap:.0f} ms (a kill -9 inside)')
        events = collections.Counter(e['event_type'] for e in self.appliance.events())
        say('   events: ' + ', '.join(f'{n} {t}' for t, n in events.most_common()))
        say(f'   EVE JSON: {self.appliance.eve}' if self.kept else '')

    def down(self):
        self.appliance.stop()
        self.appliance.detach()
        if self.postfix:
            self.postfix.stop()
        self.topology.close()
        import shutil
        shutil.rmtree(FOLDER, ignore_errors=True)

    def keep(self):
        """Leaves everything running; says how to look at it."""
        STATE.write_text(json.dumps({
            'mode': 'lab', 'pids': [self.appliance.dataplane.pid, self.appliance.control.pid],
            'build': str(self.build)}))
        import atexit
        atexit.unregister(self.topology.close)
        title('left running; ./dev down takes it away')
        say(f'   {self.appliance.build}/control/cli/sluicectl --socket {self.appliance.control_socket} '
            f'show hosts\n   nsenter --net=/run/netns/{self.hosts[0].netns} swaks --server '
            f'{self.far.v4} --to you@lab.test')


def lab(arguments):
    test = Lab(arguments.build, arguments.messages)
    test.kept = arguments.keep
    kept = False
    try:
        test.up()
        test.run()
        test.verify()
        test.figures()
        if arguments.keep:
            test.keep()
            kept = True
    except (Failed, netns.RigError, subprocess.SubprocessError, RuntimeError) as error:
        say(f'   FAIL  {error}')
        for name in ('dataplane', 'sluiced'):
            say(f'-- {name}\n{test.appliance.log(name)}')
        test.faults.append(str(error))
    finally:
        if not kept:
            test.down()
    if test.faults:
        title(f'{len(test.faults)} not as it should be')
        return 1
    title('all as it should be')
    return 0


def between(arguments):
    """The appliance between two real interfaces, in monitor mode, until interrupted."""
    inside, outside = arguments.interfaces
    for name in (inside, outside):
        if not pathlib.Path('/sys/class/net', name).exists():
            say(f'./dev up: there is no interface {name}')
            return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    rules = FOLDER / 'lab.rules'
    write_rules(rules)
    appliance = Appliance(arguments.build, FOLDER / 'sluice', WIRE, inside, outside, memory=1024)
    appliance.prepare(configuration(inside, outside, 'monitor', [str(rules)]))
    netns.exit_on_signals()
    kept = False
    try:
        appliance.start_dataplane()
        appliance.start_control()
        appliance.wait_adopted()
        title(f'{inside} and {outside} are a wire, in monitor mode')
        say(f'   {appliance.build}/control/cli/sluicectl --socket {appliance.control_socket} monitor')
        if arguments.keep:
            STATE.write_text(json.dumps({'mode': 'between', 'inside': inside, 'outside': outside,
                                         'pids': [appliance.dataplane.pid, appliance.control.pid],
                                         'build': str(arguments.build)}))
            kept = True
            return 0
        while appliance.dataplane.poll() is None:
            time.sleep(0.5)
        say(appliance.log('dataplane'))
        return 1
    except Failed as error:
        say(f'   FAIL  {error}')
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        if not kept:
            appliance.stop()
            appliance.detach()


def down(arguments):
    if not STATE.exists():
        netns.remove(PREFIX)
        say('nothing was left running')
        return 0
    state = json.loads(STATE.read_text())
    for pid in state['pids']:
        # Ours only: the process must still be one of our programs.
        try:
            name = os.readlink(f'/proc/{pid}/exe')
        except OSError:
            continue
        if pathlib.Path(name).name in ('sluice-dataplane', 'sluiced'):
            os.kill(pid, signal.SIGTERM)
    time.sleep(1)
    ports = (state.get('inside', 'inside'), state.get('outside', 'outside'))
    appliance = Appliance(state['build'], FOLDER / 'sluice', WIRE, *ports,
                          netns=f'{PREFIX}-wire' if state['mode'] == 'lab' else None)
    appliance.detach()
    if state['mode'] == 'lab':
        Postfix(f'{PREFIX}-far', '', FOLDER / 'postfix').stop()
        netns.remove(PREFIX)
    import shutil
    shutil.rmtree(FOLDER, ignore_errors=True)
    STATE.unlink()
    say('taken away')
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build', default='build')
    parser.add_argument('--keep', action='store_true')
    parser.add_argument('--down', action='store_true')
    parser.add_argument('--messages', type=int, default=400)
    parser.add_argument('interfaces', nargs='*')
    arguments = parser.parse_args()
    if os.geteuid():
        sys.exit('./dev up needs root')
    if arguments.down:
        return down(arguments)
    if arguments.interfaces:
        if len(arguments.interfaces) != 2:
            parser.error('give both interfaces: INSIDE OUTSIDE')
        return between(arguments)
    netns.exit_on_signals()
    return lab(arguments)


if __name__ == '__main__':
    sys.exit(main())
