#!/usr/bin/env python3
"""Fails when an include goes against the direction of dependencies (architecture: folders and what
may know what), or when a library's header is included outside the folders that may use it."""
import pathlib
import re
import sys

# folder -> folders that it may include
CORE = {
    'dataplane/base': [],
    'dataplane/contract': ['dataplane/base'],
    'dataplane/net': ['dataplane/base', 'dataplane/contract'],
    'dataplane/flow': ['dataplane/base', 'dataplane/contract', 'dataplane/net'],
    'dataplane/tcp': ['dataplane/base', 'dataplane/contract', 'dataplane/net', 'dataplane/flow'],
    'dataplane/smtp': ['dataplane/base', 'dataplane/contract'],
    'dataplane/tls': ['dataplane/base', 'dataplane/contract'],
    'dataplane/mime': ['dataplane/base', 'dataplane/contract'],
    'dataplane/scan': ['dataplane/base', 'dataplane/contract'],
    'dataplane/spam': ['dataplane/base', 'dataplane/contract', 'dataplane/mime', 'dataplane/scan'],
    'dataplane/lists': ['dataplane/base', 'dataplane/contract', 'dataplane/scan'],
    'dataplane/policy': ['dataplane/base', 'dataplane/contract', 'dataplane/scan', 'dataplane/lists'],
}
CORE['dataplane/inspect'] = list(CORE)
SHELL = [*CORE, 'dataplane/inspect', 'dataplane/mem', 'dataplane/io', 'dataplane/event',
         'dataplane/app', 'xdp/contract', 'xdp/loader']
RULES = dict(CORE)
for folder in ('mem', 'io', 'event', 'app'):
    RULES[f'dataplane/{folder}'] = SHELL
RULES['xdp/contract'] = []
RULES['xdp/loader'] = ['xdp/contract', 'dataplane/base']
# Control sees the contract, the loader and the inspection library (analyze, rules test) and the
# types of the policy that it publishes.
CONTROL = ['control', 'dataplane/base', 'dataplane/contract', 'dataplane/inspect', 'dataplane/policy',
           'dataplane/scan', 'dataplane/lists', 'dataplane/spam', 'dataplane/net', 'dataplane/mime',
           'xdp/contract', 'xdp/loader']
LIBRARIES = [
    (r'rte_.*\.h', ['dataplane/mem', 'dataplane/io', 'dataplane/app']),
    (r'hs(_compile)?\.h|hs/hs(_compile)?\.h', ['control/policy']),
    (r'(hs/)?hs_runtime\.h', ['dataplane/scan', 'control/policy']),  # to size what it compiles
    (r'bpf/.*|xdp/xsk\.h|linux/if_xdp\.h', ['xdp', 'dataplane/io']),
    (r'nlohmann/.*|libyang/.*|httplib\.h|sqlite3\.h', ['control']),
    (r'thread|mutex|condition_variable', ['dataplane/mem', 'dataplane/io', 'dataplane/event',
                                          'dataplane/app', 'control', 'xdp/loader']),
    (r'chrono', ['dataplane/mem', 'dataplane/io', 'dataplane/event', 'dataplane/app', 'control',
                 'xdp/loader']),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')


def within(path, folders):
    return any(path == f or path.startswith(f + '/') for f in folders)


def main():
    root = pathlib.Path(sys.argv[1])
    faults = 0
    files = 0
    for top in ('dataplane', 'control', 'xdp'):
        for path in sorted((root / top).rglob('*')):
            if path.suffix not in ('.h', '.cc', '.c'):
                continue
            files += 1
            name = path.relative_to(root).as_posix()
            folder = path.parent.relative_to(root).as_posix()
            allowed = CONTROL if top == 'control' else RULES.get(folder)
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                header = match.group(1)
                target = header.rsplit('/', 1)[0] if '/' in header else ''
                ours = not header.startswith('xdp/') or target in ('xdp/contract', 'xdp/loader')
                if ours and within(target, ['dataplane', 'control', 'xdp']) and allowed is not None:
                    if target != folder and not within(target, allowed):
                        print(f'{name}:{number}: {folder} must not include {header}')
                        faults += 1
                for pattern, users in LIBRARIES:
                    if re.fullmatch(pattern, header) and not within(folder, users):
                        print(f'{name}:{number}: {header} is included only in {", ".join(users)}')
                        faults += 1
    if files == 0:
        print('no sources found')
        return 1
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
