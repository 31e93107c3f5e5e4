#!/usr/bin/env python3
"""Runs what a build with -Db_pgo=generate is to learn from: the pipeline on generated sessions of many
shapes, none of them those that `./dev bench replay` measures (another seed, other sizes; the rules are of
the same generator), and the hostile sessions of `./dev bench adversarial`, once: else what only these do
would be laid out as what never happens; and Debian's SpamAssassin rules on messages of the corpus, none of
them those of `./dev bench spamassassin`. `./dev release` calls it."""
import pathlib
import subprocess
import sys
import tempfile

from replay import adversarial
from spamassassin import peers

HERE = pathlib.Path(__file__).resolve().parent

# Options of gen_smtp_pcap.py, and of replay.
SHAPES = (
    ('--size 9000', '--rules {rules}'),
    ('--size 14000', ''),
    ('--size 3000 --body plain', '--rules {rules}'),
    ('--size 60000 --body base64', '--rules {rules} --hash attachments'),
    ('--size 7000 --tls 60', '--rules {rules}'),
    ('--size 6000 --segment 300', '--rules {rules}'),
)


def main(build):
    with tempfile.TemporaryDirectory() as folder:
        rules, capture = f'{folder}/rules', f'{folder}/capture.pcap'
        subprocess.run([sys.executable, HERE / 'replay/gen_rules.py', '800', rules, 'suricata'], check=True)
        for shape, options in SHAPES:
            subprocess.run([sys.executable, HERE / 'replay/gen_smtp_pcap.py', capture, '--sessions', '400', '--seed',
                            '11', *shape.split()], check=True, stdout=subprocess.DEVNULL)
            subprocess.run([f'{build}/perf/replay', capture, '--repeat', '2', *options.format(rules=rules).split()],
                           check=True, stdout=subprocess.DEVNULL)
        hostile = adversarial.wirecraft.Capture()
        adversarial.add_sessions(hostile, pathlib.Path(rules))
        pathlib.Path(capture).write_bytes(hostile.octets())
        # --each, since what these allocate is not asked.
        subprocess.run([f'{build}/perf/replay', capture, '--rules', rules, '--each', f'{folder}/each.json'],
                       check=True, stdout=subprocess.DEVNULL)
    with tempfile.NamedTemporaryFile('w') as names:
        messages = peers.corpus.message_files()
        measured = set(peers.corpus.spread(messages, peers.MESSAGES))
        names.writelines(f'{file}\n' for file in messages[3::8] if file not in measured)
        names.flush()
        subprocess.run([f'{build}/perf/spam_bench', '--rounds', '2', '/usr/share/spamassassin', '--', f'@{names.name}'],
                       check=True, stdout=subprocess.DEVNULL)


if __name__ == '__main__':
    main(*sys.argv[1:])
