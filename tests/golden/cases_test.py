#!/usr/bin/env python3
"""The wire cases end to end: captures built octet by octet, run through `sluicectl analyze`, judged
by its events and by the frames that leave.

cases_test.py SLUICECTL [NAME PART]..."""
import sys
import unittest

import cases_base
import tap
import wirecraft
from cases_ip import Ip
from cases_mime import Mime
from cases_mime_more import MimeMore
from cases_model import Model
from cases_smtp import Smtp
from cases_smtp_more import SmtpMore
from cases_stop import Stop
from cases_tcp import Tcp
from cases_tcp_more import TcpMore

if __name__ == '__main__':
    cases_base.Cases.analyzer = wirecraft.Analyzer(sys.argv[1])
    if sys.argv[2:]:
        loader = unittest.TestLoader()
        loader.testNamePatterns = [f'*{part}*' for part in sys.argv[2:]]
        unittest.defaultTestLoader = loader
    sys.exit(tap.run(Smtp, SmtpMore, Model, Mime, MimeMore, Tcp, TcpMore, Ip, Stop))
