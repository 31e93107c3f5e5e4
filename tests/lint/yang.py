#!/usr/bin/env python3
"""The model is one that others' tools take: yanglint finds no error and no warning in it, and takes
the configuration of the README. yang.py YANGLINT SOURCE"""
import pathlib
import re
import subprocess
import sys
import tempfile

yanglint, source = sys.argv[1], pathlib.Path(sys.argv[2])
model = source / 'control/model/sluice.yang'


def lint(*words):
    done = subprocess.run([yanglint, *map(str, words)], capture_output=True, text=True)
    return [] if done.returncode == 0 and not done.stderr else [done.stderr or f'exit {done.returncode}']


faults = lint('-f', 'yang', '-o', '/dev/null', model)
examples = re.findall(r'^```json\n(.*?)^```', (source / 'README.md').read_text(), re.S | re.M)
if not examples:
    faults.append('README.md: no configuration found')
for text in examples:
    with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
        file.write(text)
        file.flush()
        faults += lint('-f', 'json', '-o', '/dev/null', model, file.name)
# What yanglint must find, or it looks at nothing.
with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
    file.write('{"sluice:sluice":{"detection":{"limit-threshold":1}}}')
    file.flush()
    if not lint('-f', 'json', '-o', '/dev/null', model, file.name):
        faults.append('yanglint took a threshold of 1')
print('\n'.join(faults) or 'clean')
sys.exit(bool(faults))
