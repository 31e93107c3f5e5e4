#!/usr/bin/env python3
"""The documentation of all settings is that of the model. settings.py PROGRAM SOURCE"""
import pathlib
import subprocess
import sys

made = subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout
written = pathlib.Path(sys.argv[2]) / 'control/model/settings.md'
if not written.exists() or written.read_text() != made:
    sys.exit('control/model/settings.md is not that of the model; ./dev settings writes it')
