#!/usr/bin/env python3
"""Operational commands of sluicectl with sluiced alone: roles, audit, reports, what survives a kill.
operations_test.py BUILD"""
import grp
import json
import os
import pathlib
import pty
import pwd
import select
import signal
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / 'golden'):
    sys.path.insert(0, str(folder))
import tap  # noqa: E402
from sluiced_alone import Sluiced, unprivileged  # noqa: E402

BUILD = None


class Operations(unittest.TestCase):
    def sluiced(self, root=None, **options):
        s = Sluiced(BUILD, {'sluice:sluice': root or {}}, http=False, **options)
        self.addCleanup(s.close)
        return s

    @unittest.skipUnless(unprivileged(), 'needs root, to become others')
    def test_roles_by_group_and_named_refusals(self):
        nobody, daemon = pwd.getpwnam('nobody'), grp.getgrnam('daemon')
        s = self.sluiced({'access': {'group': [{'name': 'daemon', 'role': 'viewer'},
                                               {'name': 'bin', 'role': 'operator'}]}})

        def ask(*words, groups):
            return subprocess.run([str(s.build / 'control/cli/sluicectl'), '--socket', str(s.socket), *words],
                                  capture_output=True, text=True, user=nobody.pw_uid, group=nobody.pw_gid,
                                  extra_groups=groups)
        none = ask('show', 'hosts', groups=[])
        self.assertEqual(none.returncode, 1)
        self.assertIn('none of the groups daemon, bin', none.stderr)
        viewer = [daemon.gr_gid]
        self.assertEqual(ask('show', 'hosts', groups=viewer).returncode, 0)
        refused = ask('host', 'block', '192.0.2.1', groups=viewer)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("'host order' needs the role operator; nobody is viewer by group daemon", refused.stderr)
        operator = [daemon.gr_gid, grp.getgrnam('bin').gr_gid]
        self.assertEqual(ask('request', 'host', '192.0.2.1', 'block', 'ticket', 'T-1', groups=operator).returncode, 0)
        self.assertIn('needs the role admin', ask('config', 'load', str(s.folder / 'sluice.json'),
                                                  groups=operator).stderr)
        # The shell says so when it is asked to edit, and goes on.
        shell = subprocess.run([str(s.build / 'control/cli/sluicectl'), '--socket', str(s.socket)],
                               input='configure\nshow version\n', capture_output=True, text=True,
                               user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=viewer)
        self.assertIn("'config open' needs the role admin", shell.stderr)
        self.assertIn('sluice@', shell.stdout)
        rows = s.show('show', 'audit')['audit']
        self.assertEqual([(r['who'], r['role'], r['what']) for r in rows],
                         [('nobody', 'viewer', 'refused: config open'),
                          ('nobody', 'operator', 'refused: config load'),
                          ('nobody', 'operator', 'host block 192.0.2.1 ticket T-1'),
                          ('nobody', 'viewer', 'refused: host order')])
        self.assertIn(f'uid {nobody.pw_uid}', rows[0]['from'])
        events = [e['audit'] for e in s.events('audit')]
        self.assertEqual(events[1]['what'], 'host block 192.0.2.1 ticket T-1')

    def test_orders_and_the_audit_log_survive_kills(self):
        s = self.sluiced()
        for i in range(6):
            s.ctl('request', 'host', f'192.0.2.{i}', 'limit', 'messages', '20/h', 'for', '2h', 'ticket', f'AB-{i}')
            s.kill()
            s.start()
            orders = {o['prefix']: o for o in s.show('show', 'hosts')['orders']}
            self.assertEqual(set(orders), {f'192.0.2.{n}' for n in range(i + 1)})
            self.assertEqual(orders[f'192.0.2.{i}']['ticket'], f'AB-{i}')
            self.assertGreater(orders[f'192.0.2.{i}']['seconds_left'], 7000)
        self.assertEqual(len(s.show('show', 'audit')['audit']), 6)

    def test_a_configuration_that_cannot_be_read_changes_nothing(self):
        s = self.sluiced({'wire': [{'name': 'w1', 'mode': 'enforce'}]})
        file = s.folder / 'sluice.json'
        octets = file.read_bytes()
        for how in ('folder', 'failing read', 'gone', 'empty'):
            file.unlink()
            if how == 'folder':
                file.mkdir()
            elif how == 'failing read':
                file.symlink_to('/proc/self/mem')
            elif how == 'empty':
                file.touch()
            before = s.log().count(' error: ')
            s.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 60
            while s.log().count(' error: ') == before:
                self.assertTrue(s.process.poll() is None and time.monotonic() < deadline, how)
                time.sleep(0.02)
            self.assertIn('sluice.json', s.log().splitlines()[-1], how)
            self.assertIn('w1', s.ctl('show', 'config').stdout, how)
            file.rmdir() if how == 'folder' else file.unlink(missing_ok=True)
            file.write_bytes(octets)
        self.assertIn("'nope': no such wire", s.ctl('show', 'wire', 'nope', check=False).stderr)

    def test_policy_is_explained(self):
        rules = {'file': []}
        s = self.sluiced({'wire': [{'name': 'w1', 'mode': 'enforce'}],
                          'inside': {'prefix': [{'prefix': '203.0.113.0/24', 'role': 'shared-web'}]},
                          'rules': rules,
                          'policy': {'group': [{'name': 'default', 'reject-score': '8.0'},
                                               {'name': 'gold', 'member': ['203.0.113.64/26'], 'reject-score': '5.0'}]},
                          'host': [{'prefix': '203.0.113.0/24', 'action': 'limit', 'rate': 100}]})
        (s.folder / 'a.rules').write_text('reject smtp any any -> any any (msg:"marker"; file_data; content:"XMARKERX"; sid:7;)\n')
        s.ctl('rules', 'load', s.folder / 'a.rules')
        s.ctl('host', 'allow', '203.0.113.77', '--ticket', 'VIP')
        (s.folder / 'm.eml').write_bytes(b'Subject: caf\xe9\r\n\r\nXMARKERX\r\n')
        r = s.show('test', 'policy', 'host', '203.0.113.77', 'account', 'bob', 'message', s.folder / 'm.eml')
        self.assertEqual(r['group']['name'], 'gold')
        self.assertEqual(r['group']['by'], '203.0.113.64/26')
        self.assertEqual([(e['source'], e['decides']) for e in r['entries']],
                         [('configuration', False), ('operator', True)])
        self.assertIn('allowed', r['detection'])
        self.assertEqual(r['message']['verdict'], 'reject')
        self.assertEqual([rule['sid'] for rule in r['message']['rules']], [7])
        text = s.ctl('test', 'policy', 'host', '203.0.113.9').stdout
        self.assertIn('100 messages an hour', text)

    def test_reports_hold_no_personal_data(self):
        secrets = ['203.0.113.77', '198.51.100.9', 'ticket-4711', 'some comment', 'alice', '2001:db8:77']
        s = self.sluiced({'inside': {'prefix': [{'prefix': '203.0.113.77/32', 'comment': 'some comment'}]},
                          'access': {'user': [{'name': 'alice', 'role': 'viewer'}]},
                          'host': [{'prefix': '198.51.100.9/32', 'action': 'block'},
                                   {'prefix': '2001:db8:77::/48', 'action': 'allow'}]})
        s.ctl('host', 'block', '203.0.113.77', '--ticket', 'ticket-4711', '--comment', 'some comment')
        for words in (('show', 'tech-support'), ('show', 'tech-support', '--json')):
            report = s.ctl(*words).stdout
            for secret in secrets:
                self.assertNotIn(secret, report)
            self.assertIn('addr-', report)
            self.assertIn('sluice_hosts', report)
        evidence = s.folder / 'evidence.json'
        s.ctl('request', 'evidence', 'host', '203.0.113.77', 'reason', 'abuse report 12', 'to', evidence)
        bundle = json.loads(evidence.read_text())
        self.assertEqual(bundle['evidence']['host']['treatment']['action'], 'block')
        self.assertEqual(s.show('show', 'audit')['audit'][0]['comment'], 'abuse report 12')
        self.assertEqual(s.ctl('request', 'evidence', 'host', '203.0.113.77', check=False).returncode, 2)

    def test_captures_need_a_dataplane_and_a_reason(self):
        s = self.sluiced()
        done = s.ctl('request', 'capture', 'host', '192.0.2.1', 'reason', 'complaint', check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn('no dataplane', done.stderr)
        self.assertEqual(s.ctl('request', 'capture', 'host', '192.0.2.1', check=False).returncode, 2)
        wide = s.ctl('request', 'capture', 'host', '10.0.0.0/8', 'reason', 'all', check=False)
        self.assertIn('at most a /24', wide.stderr)
        self.assertEqual(s.ctl('show', 'captures').stdout, 'no capture\n')

    def test_live_screens_in_a_terminal(self):
        s = self.sluiced()
        for words, expected in ((('monitor', 'traffic'), b'DATAPLANE'), (('monitor', 'hosts'), b'no host has sent')):
            pid, fd = pty.fork()
            if pid == 0:
                os.environ.update(TERM='xterm', COLUMNS='80', LINES='24')
                os.execv(str(s.build / 'control/cli/sluicectl'), ['sluicectl', '--socket', str(s.socket), *words])
            seen = b''
            while expected not in seen:
                self.assertTrue(select.select([fd], [], [], 30)[0], seen)
                seen += os.read(fd, 65536)
            os.write(fd, b'q')
            try:
                while chunk := os.read(fd, 65536):
                    seen += chunk
            except OSError:
                pass  # the other end is closed
            _, status = os.waitpid(pid, 0)
            os.close(fd)
            self.assertEqual(status, 0)
            self.assertIn(b'\x1b[?1049l', seen, 'the terminal is left as it was')
        # Without a terminal: one below the other, no escapes.
        text = s.ctl('monitor', 'traffic', 'count', '2').stdout
        self.assertEqual(text.count('DATAPLANE'), 2)
        self.assertNotIn('\x1b', text)

    def test_tables_fit_eighty_columns(self):
        s = self.sluiced({'host': [{'prefix': '2001:db8:1111:2222:3333:4444:5555:6666/128', 'action': 'tempfail',
                                    'comment': 'a rather long comment that says why ' * 5}]})
        for words in (('hosts',), ('policies',), ('interfaces',), ('audit',), ('captures',), ('would-have',),
                      ('wire', 'w1', 'visibility'), ('stats',)):
            for line in s.ctl('show', *words).stdout.splitlines():
                self.assertLessEqual(len(line), 80, (words, line))


if __name__ == '__main__':
    BUILD = sys.argv[1]
    sys.exit(tap.run(Operations))
