#!/usr/bin/env python3
"""What a list of prefixes of a million lines costs sluiced: load, difference, commit, one line
changed, memory; and a configuration of many standing orders. lists.py BUILD [LINES]

Each time is of the whole request over the socket, without a dataplane. `ratio` is to the same with
half the lines in the same run: near-linear is near 2."""
import json
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'tests/shell'))
from sluiced import Sluiced  # noqa: E402


def lines(count):
    """Mixed /32, /24, /128 and /48, random, with a bad line in each ten thousand."""
    r = random.Random(1)
    for i in range(count):
        if i % 10_000 == 5_000:
            yield '010.8.8.8'
            continue
        kind = i % 4
        a = r.getrandbits(32)
        v4 = f'{a >> 24 or 1}.{a >> 16 & 255}.{a >> 8 & 255}'
        v6 = f'2001:{a >> 16:x}:{a & 65535:x}'
        yield (f'{v4}.{r.getrandbits(8)}', f'{v4}.0/24', f'{v6}::{r.getrandbits(16):x}', f'{v6}::/48')[kind]


def resident(pid, field):
    text = pathlib.Path(f'/proc/{pid}/status').read_text()
    return int(next(line for line in text.splitlines() if line.startswith(field)).split()[1]) / 1024


def measure(build, count):
    control = Sluiced(build).start()
    result = {'lines': count}
    try:
        path = control.folder / 'list.txt'
        with open(path, 'w') as out:
            out.writelines(line + '\n' for line in lines(count))
        result['idle_mib'] = resident(control.process.pid, 'VmRSS')

        def timed(name, command, **arguments):
            begin = time.monotonic()
            answer = control.ask(command, **arguments)
            result[name + '_s'] = round(time.monotonic() - begin, 3)
            if not answer['ok']:
                sys.exit(f'{name}: {answer["error"]}')
            return answer

        timed('set', 'config edit', operations=[
            {'operation': 'set', 'words': ['prefix-list', 'big', 'file', str(path)]}])
        timed('compare', 'config compare')
        answer = timed('check', 'config commit', check=True)
        answer = timed('commit', 'config commit')
        listed = answer['result']['lists'][0]
        # Every bad line by its number, the first ones in the answer.
        if listed['bad_lines'] != (count + 4_999) // 10_000 or listed['faults'][0]['line'] != 5_001:
            sys.exit(f'bad lines: {listed}')
        result['prefixes'] = listed['prefixes']
        with open(path, 'a') as out:
            out.write('203.0.113.1\n')
        answer = timed('one_line_changed', 'rules load')
        if answer['result']['lists'][0]['prefixes'] != result['prefixes'] + 1:
            sys.exit('the changed line is not there')
        begin = time.monotonic()
        control.ask('show version')
        result['answer_beside_s'] = round(time.monotonic() - begin, 4)
        result['loaded_mib'] = resident(control.process.pid, 'VmRSS')
        result['peak_mib'] = resident(control.process.pid, 'VmHWM')
    finally:
        control.close()
    return result


def main():
    build = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    half = measure(build, count // 2)
    whole = measure(build, count)
    for name in ('check', 'commit', 'one_line_changed'):
        whole[f'{name}_ratio'] = round(whole[name + '_s'] / max(half[name + '_s'], 1e-6), 2)
    print(json.dumps(half))
    print(json.dumps(whole))


if __name__ == '__main__':
    main()
