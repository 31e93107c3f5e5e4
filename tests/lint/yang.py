#!/usr/bin/env python3
"""The models are such as others' tools take: yanglint finds no error and no warning in that of the
configuration and in that of the operations, and takes the configuration of the README.
yang.py YANGLINT SETTINGS_DOC SOURCE"""
import pathlib
import re
import subprocess
import sys
import tempfile

yanglint, settings_doc, source = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
model = source / 'control/model/sluice.yang'


def lint(*words):
    done = subprocess.run([yanglint, *map(str, words)], capture_output=True, text=True)
    return [] if done.returncode == 0 and not done.stderr else [done.stderr or f'exit {done.returncode}']


faults = lint('-f', 'yang', '-o', '/dev/null', model)
with tempfile.TemporaryDirectory() as folder:
    operations = pathlib.Path(folder) / 'sluice-operations.yang'
    operations.write_text(subprocess.run([settings_doc, 'operations'], check=True, capture_output=True,
                                         text=True).stdout)
    faults += lint('-f', 'yang', '-o', '/dev/null', operations)
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
