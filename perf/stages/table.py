"""The lines of `./dev bench stages`: where the time of a 10 KB message goes, in nanoseconds and, where
Valgrind is there, instructions (which no other load on the machine changes)."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

from replay.table import Material


def instructions(build, capture, rules, folder):
    """Instructions a message by stage, as Valgrind's CPU executes them (no AVX-512)."""
    out = pathlib.Path(folder) / 'callgrind'
    said = subprocess.run(['valgrind', '--tool=callgrind', '--instr-atstart=no', f'--callgrind-out-file={out}',
                           build / 'perf/stages', capture, '--rules', rules, '--instructions'],
                          check=True, capture_output=True, text=True).stdout
    messages = json.loads(said)['messages']
    counts = {}
    for path in pathlib.Path(folder).glob('callgrind.*'):
        text = path.read_text()
        trigger = re.search(r'^desc: Trigger: Client Request: (.*)$', text, re.M)
        total = re.search(r'^totals: (\d+)', text, re.M)
        if trigger and total:
            counts[trigger.group(1)] = int(total.group(1)) / messages
    return counts


def lines(build, rules=1000):
    with Material() as material:
        path = material.rules(rules)
        capture, _ = material.capture()
        text = subprocess.run([build / 'perf/stages', capture, '--rules', path], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
        counts = {}
        if shutil.which('valgrind'):
            few, _ = material.capture(sessions=200)
            counts = instructions(build, few, path, material.folder)
        else:
            print('stages: no instructions are counted without the package valgrind', file=sys.stderr)
        if 'whole' in counts:
            stages = ('parse', 'flow', 'tcp', 'smtp', 'mime', 'scan', 'events')
            counts['rest'] = counts['whole'] - sum(counts[s] for s in stages)
            counts['floor'] = counts['memcpy'] + counts['raw hs_scan_stream']
        for line in map(json.loads, text.splitlines()):
            name = line['stage']
            if name == 'distance' and counts:
                line['whole_to_floor_instructions'] = counts['whole'] / counts['floor']
            elif name in counts:
                line['instructions_per_message'] = round(counts[name])
            yield {'rules': rules} | line
