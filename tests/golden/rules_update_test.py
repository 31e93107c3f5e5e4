#!/usr/bin/env python3
"""`sluicectl rules update`: channels of rules from disk, signed and not, hostile archives, and what a
running sluiced has in force before and after.

rules_update_test.py SLUICECTL SLUICED"""
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

import tap

SLUICECTL = SLUICED = None
RULE = 'alert smtp any any -> any any (msg:"{0}"; content:"{0}"; sid:{1};)\n'


def archive(path, files, kind='w:gz'):
    with tarfile.open(path, kind) as tar:
        for name, content in files:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = content.encode() if isinstance(content, str) else content
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def special(name, kind, target=''):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


class Update(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keys = tempfile.TemporaryDirectory()
        os.chmod(cls.keys.name, 0o700)
        cls.environment = dict(os.environ, GNUPGHOME=cls.keys.name)
        for name in ('good', 'other'):
            cls.gpg('--passphrase', '', '--quick-gen-key', name + '@test', 'ed25519', 'sign', 'never')
        keys = pathlib.Path(cls.keys.name)
        (keys / 'good.gpg').write_bytes(cls.gpg('--export', 'good@test'))
        (keys / 'good.asc').write_bytes(cls.gpg('--armor', '--export', 'good@test'))
        cls.keyring = keys / 'good.gpg'

    @classmethod
    def tearDownClass(cls):
        subprocess.run(['gpgconf', '--kill', 'gpg-agent'], env=cls.environment, check=False)
        cls.keys.cleanup()

    @classmethod
    def gpg(cls, *words):
        return subprocess.run(['gpg', '--batch', '--quiet', '--yes', *map(str, words)], check=True,
                              env=cls.environment, capture_output=True, timeout=60).stdout

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        self.root = self.path / 'root'
        self.current = self.root / 'updates' / 'current'
        self.sluiced = None

    def tearDown(self):
        if self.sluiced:
            self.sluiced.terminate()
            self.sluiced.wait(10)
        self.folder.cleanup()

    def sign(self, path, who='good@test'):
        self.gpg('--local-user', who, '--armor', '--output', f'{path}.asc', '--detach-sign', path)
        return path

    def channel(self, version, text=None, who='good@test'):
        text = RULE.format('word' + str(version), version) if text is None else text
        path = archive(self.path / f'{version}.tar.gz', [('a.rules', text)])
        return self.sign(path, who) if who else path

    def update(self, source, *options, keyring=None, load=False):
        words = [SLUICECTL, 'rules', 'update', source, '--root', self.root, '--json', '--keyring',
                 keyring or self.keyring, *options, *([] if load else ['--no-load'])]
        if self.sluiced:
            words += ['--socket', self.path / 'sock']
        run = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120)
        return run.returncode, json.loads(run.stdout) if run.stdout else None, run.stderr

    def refused(self, source, reason, *options, **more):
        status, _, errors = self.update(source, *options, **more)
        self.assertEqual(status, 1, errors)
        self.assertIn(reason, errors)
        versions = self.root / 'updates' / 'versions'
        return sorted(p.name for p in versions.iterdir()) if versions.exists() else []

    def test_a_signed_channel(self):
        for keyring in ('good.gpg', 'good.asc'):
            status, report, errors = self.update(self.channel(100), keyring=pathlib.Path(self.keys.name) / keyring)
            self.assertEqual(status, 0, errors)
            self.assertEqual((report['version'], report['rules'], report['signed']), ('100', 1, True))
            self.assertIn('word100', (self.current / 'a.rules').read_text())

    def test_the_highest_version_of_a_folder(self):
        for version in (99, 1000, 200):
            self.channel(version)
        status, report, errors = self.update(self.path)
        self.assertEqual(status, 0, errors)
        self.assertEqual(report['version'], '1000')

    def test_signatures_that_are_not_good(self):
        self.assertEqual(self.refused(self.channel(1, who=None), 'has no signature'), [])
        self.assertEqual(self.refused(self.channel(2, who='other@test'), 'is not good'), [])
        changed = self.channel(3)
        changed.write_bytes(changed.read_bytes() + b'x')
        self.assertEqual(self.refused(changed, 'is not good'), [])
        (self.path / '3.tar.gz.asc').write_text('nonsense')
        self.assertEqual(self.refused(changed, 'is not good'), [])
        self.assertEqual(self.refused(self.channel(4), 'keyring /nonexistent', keyring='/nonexistent'), [])
        # --unsigned is for archives without a signature, not for those with a bad one.
        self.assertEqual(self.refused(self.channel(5, who='other@test'), 'is not good', '--unsigned'), [])

    def test_unsigned_when_asked_and_checksums(self):
        plain = self.channel(1, who=None)
        digest = hashlib.sha512(plain.read_bytes()).hexdigest()
        (self.path / '1.tar.gz.sha512').write_text(digest + '  1.tar.gz\n')
        status, report, errors = self.update(plain, '--unsigned')
        self.assertEqual((status, report['signed']), (0, False), errors)
        (self.path / '1.tar.gz.sha512').write_text('0' * 128 + '\n')
        self.refused(plain, 'is damaged', '--unsigned')
        (self.path / '1.tar.gz.sha512').unlink()
        (self.path / '1.tar.gz.sha256').write_text('short\n')
        self.refused(plain, 'does not begin with 64', '--unsigned')

    def test_hostile_archives(self):
        good = ('a.rules', RULE.format('x', 1))
        cases = {
            'up': ([good, ('../evil.rules', 'x')], 'no plain file name'),
            'deep': ([good, ('a/b/../../../evil', 'x')], 'no plain file name'),
            'absolute': ([good, ('/tmp/evil', 'x')], 'no plain file name'),
            'hidden': ([good, ('.profile', 'x')], 'no plain file name'),
            'link': ([good, (special('l', tarfile.SYMTYPE, '/etc/passwd'), '')], 'no regular file'),
            'hard': ([good, (special('l', tarfile.LNKTYPE, '/etc/passwd'), '')], 'no regular file'),
            'device': ([good, (special('d', tarfile.CHRTYPE), '')], 'no regular file'),
            'fifo': ([good, (special('d', tarfile.FIFOTYPE), '')], 'no regular file'),
            'twice': ([good, good], 'twice'),
            'many': ([good] + [(f'{i}.pre', '') for i in range(1001)], 'more than 1000 files'),
            'large': ([good, ('b.rules', b'\0' * (17 << 20))], 'too large'),
            'empty': ([], 'holds no file'),
        }
        for name, (files, reason) in cases.items():
            path = self.sign(archive(self.path / f'{name}.tar.gz', files))
            self.assertEqual(self.refused(path, reason), [], name)
        self.assertFalse((self.path / 'evil.rules').exists())
        cut = self.channel(1)
        cut.write_bytes(cut.read_bytes()[:60])
        self.refused(self.sign(cut), '1.tar.gz')
        (self.path / 'notes.txt').write_text('x')
        self.refused(self.path / 'notes.txt', 'an archive is named')

    def test_rules_that_do_not_compile(self):
        self.assertEqual(self.refused(self.channel(1, 'nonsense\n'), 'no rule in it compiles'), [])
        status, report, _ = self.update(self.channel(2, 'nonsense\n' + RULE.format('x', 2)))
        self.assertEqual((status, report['rules'], report['refused']), (3, 1, 1))

    def test_old_versions_go(self):
        for version in range(1, 8):
            self.assertEqual(self.update(self.channel(version))[0], 0)
        versions = self.root / 'updates' / 'versions'
        self.assertEqual(len(list(versions.iterdir())), 3)
        self.assertEqual(os.readlink(self.current), 'versions/7')

    # ---- with sluiced ----

    def start(self, files):
        config = self.path / 'sluice.json'
        config.write_text(json.dumps({'sluice:sluice': {'rules': {'file': [str(f) for f in files]}}}))
        self.sluiced = subprocess.Popen(
            [SLUICED, '--config', config, '--state', self.path / 'state', '--socket', self.path / 'sock',
             '--dataplane-socket', self.path / 'none', '--eve', self.path / 'eve.json'],
            stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not (self.path / 'sock').exists():
            self.assertIsNone(self.sluiced.poll(), 'sluiced ended')
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def in_force(self):
        run = subprocess.run([SLUICECTL, '--socket', self.path / 'sock', 'show', 'rules', '--json'],
                             capture_output=True, text=True, check=True, timeout=60)
        return sorted(r['message'] for r in json.loads(run.stdout)['rules'])

    def test_a_running_sluiced_takes_it(self):
        self.assertEqual(self.update(self.channel(1))[0], 0)
        self.start([self.current])
        self.assertEqual(self.in_force(), ['word1'])
        status, report, errors = self.update(self.channel(2), load=True)
        self.assertEqual(status, 0, errors)
        self.assertTrue(report['loaded'])
        self.assertEqual(self.in_force(), ['word2'])
        # What is broken changes nothing, on disk or in force.
        self.refused(self.channel(3, 'nonsense\n'), 'no rule in it compiles', load=True)
        self.assertEqual(self.in_force(), ['word2'])
        self.assertEqual(os.readlink(self.current), 'versions/2')

    def test_when_sluiced_refuses_the_old_version_comes_back(self):
        self.assertEqual(self.update(self.channel(1))[0], 0)
        other = self.path / 'other.rules'
        other.write_text(RULE.format('other', 9))
        self.start([self.current, other])
        other.unlink()  # so that the new set cannot be read
        self.refused(self.channel(2), 'other.rules', load=True)
        self.assertEqual(os.readlink(self.current), 'versions/1')
        self.assertEqual(self.in_force(), ['other', 'word1'])

    def test_a_folder_that_the_configuration_does_not_name(self):
        self.start([])
        status, report, _ = self.update(self.channel(1), load=True)
        self.assertEqual((status, report['loaded']), (3, False))
        self.assertIn('does not name', report['note'])

    def test_without_sluiced(self):
        self.update(self.channel(1))
        self.refused(self.channel(2), '--no-load', '--socket', self.path / 'nothing', load=True)
        self.assertEqual(os.readlink(self.current), 'versions/1')

    def test_loading_a_broken_set_keeps_the_old_one(self):
        rules = self.path / 'a.rules'
        rules.write_text(RULE.format('first', 1))
        self.start([rules])
        rules.write_text('nonsense\n')
        run = subprocess.run([SLUICECTL, '--socket', self.path / 'sock', 'rules', 'load'],
                             capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, 1)
        self.assertIn('none of the 1 rules compiles, the rules in force stay', run.stderr)
        self.assertIn('a.rules:1', run.stderr)
        self.assertEqual(self.in_force(), ['first'])


if __name__ == '__main__':
    SLUICECTL, SLUICED = sys.argv[1:3]
    sys.exit(tap.run(Update))
