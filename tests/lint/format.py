#!/usr/bin/env python3
"""Fails when a source file is not formatted as .clang-format says."""
import pathlib
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
files = [str(p) for top in ('dataplane', 'control', 'xdp', 'tests', 'perf')
         for p in sorted((root / top).rglob('*')) if p.suffix in ('.h', '.cc', '.c')]
if not files:
    sys.exit('no sources found')
sys.exit(subprocess.run(['clang-format', '--dry-run', '-Werror', *files], cwd=root).returncode)
