"""`./dev bench adversarial`: what the worst that a sender can do costs, beside ordinary mail.

Each line is a session, all in one capture, one after the other, with the rules and beside the ordinary
sessions of `./dev bench replay`; the least of the rounds counts. What a sender has to pay are frames and
octets (both directions, with headers), whatever he makes of them, so that is what a cost is divided by:

    per_frame, per_octet   microseconds a frame, an octet, as multiples of ordinary mail's
    ratio                  the lesser: by what a sender spends most of. A segment of one octet takes a whole
                           frame, and is judged by frames; a message in full segments by octets
"""
import base64
import gzip
import io
import json
import pathlib
import random
import re
import statistics
import struct
import subprocess
import sys
import zipfile

from . import table

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / 'tests/golden'))
import wirecraft  # noqa: E402

CORPUS = HERE.parents[1] / 'tests/fuzz/corpus'
SIZE = 10_000  # octets of what is repeated
ORDINARY = 60
ROUNDS = 7
SEGMENT = 1400


def filled(piece, size=SIZE):
    return piece * (size // max(len(piece), 1) + 1)


def contents_of(rules):
    text = pathlib.Path(rules).read_text()
    return [c.encode() for c in re.findall(r'content:"([^"|\\]{6,})"', text)], re.findall(r'pcre:"/([a-z]+)\\s\+', text)


def lined(octets, size=76):
    return b'\r\n'.join(octets[at:at + size] for at in range(0, len(octets), size)) + b'\r\n'


def head(kind='text/plain', more=b''):
    return (b'From: <a@customer.example>\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: ' + kind.encode()
            + b'\r\n' + more + b'\r\n')


def nested(depth):
    """Multiparts in multiparts."""
    text = head('multipart/mixed; boundary="b0"')
    for n in range(depth):
        text += b'--b%d\r\nContent-Type: multipart/mixed; boundary="b%d"\r\n\r\n' % (n, n + 1)
    return text + filled(b'text\r\n--b\r\n', SIZE - len(text) if len(text) < SIZE else 1)


def letters(depth):
    """Messages in messages."""
    return filled(head('message/rfc822'), depth * len(head('message/rfc822'))) + b'text\r\n'


def zipped():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w') as archive:
        for n in range(100):
            archive.writestr(f'{n}.exe', b'')
    return (head('application/zip; name=a.zip', b'Content-Transfer-Encoding: base64\r\n')
            + lined(base64.b64encode(packed.getvalue())[:SIZE]))


def messages(rules):
    """(name, message without its end) of what goes into DATA."""
    literals, words = contents_of(rules)
    r = random.Random(3)
    r.shuffle(literals)
    begun = b' '.join(c[:-1] for c in literals)
    windows = b''.join(c[at:at + 8] for c in literals for at in (r.randrange(len(c) - 5),))
    yield 'rules: all their literals', head() + lined(b' '.join(literals))[:SIZE]
    yield 'rules: literals but for the last octet', head() + lined(begun)[:SIZE]
    yield 'rules: eight octets of each literal', head() + lined(windows * 3)[:SIZE]
    yield 'rules: regular expressions begun', head() + filled(lined(b' '.join(w.encode() + b' abc ' for w in words)))[:SIZE]
    yield 'rules: one literal again and again', head() + lined(filled(literals[0] + b' '))[:SIZE]
    yield 'ends: LF . LF', head() + filled(b'a\n.\n')
    yield 'ends: CR . CR', head() + filled(b'a\r.\r')
    yield 'ends: LF . CRLF', head() + filled(b'a\n.\r\n')
    yield 'ends: CRLF . LF', head() + filled(b'a\r\n.\n')
    yield 'ends: LF . LF and a command', head() + filled(b'a\n.\nMAIL FROM:<b@c.d>\r\n')
    yield 'lines: empty', head() + filled(b'\r\n')
    yield 'lines: a dot stuffed', head() + filled(b'..\r\n')
    yield 'lines: bare LF', head() + filled(b'a\n')
    yield 'lines: bare CR', head() + filled(b'a\r')
    yield 'lines: NUL', head() + filled(b'\0')
    yield 'header: short fields', filled(b'A: b\r\n') + b'\r\ntext\r\n'
    yield 'header: Received', filled(b'Received: from a.b (c.d [192.0.2.1]) by e.f; Tue, 14 Nov 2023 22:13:20 +0000\r\n') + b'\r\n'
    yield 'header: folded', b'Subject: x\r\n' + filled(b' y\r\n') + b'\r\ntext\r\n'
    yield 'header: one line', b'Subject: ' + filled(b'x') + b'\r\n\r\ntext\r\n'
    yield 'header: encoded words', b'Subject: x\r\n' + filled(b' =?utf-8?B?YQ==?=\r\n') + b'\r\ntext\r\n'
    yield 'header: parameters', b'Content-Type: text/plain' + filled(b';\r\n a*0*=u') + b'\r\n\r\ntext\r\n'
    yield 'header: addresses', b'To: ' + filled(b'"a" <b@c.d>,\r\n ') + b'e@f.g\r\n\r\ntext\r\n'
    for depth in (20, 100):
        yield f'MIME: {depth} multiparts deep', nested(depth)
    yield 'MIME: 100 messages deep', letters(100)
    yield 'MIME: empty parts', head('multipart/mixed; boundary=b') + filled(b'--b\r\n\r\n')
    yield 'MIME: parts with a name', head('multipart/mixed; boundary=b') + filled(
        b'--b\r\nContent-Type: application/octet-stream; name="a.exe"\r\n\r\nMZ\r\n')
    yield 'MIME: nearly boundaries', head('multipart/mixed; boundary=' + 'b' * 70) + filled(b'--' + b'b' * 69 + b'\r\n')
    yield 'base64: a blank after each octet', head(more=b'Content-Transfer-Encoding: base64\r\n') + filled(b'Y W J j ')
    yield 'quoted-printable: all of it', head(more=b'Content-Transfer-Encoding: quoted-printable\r\n') + lined(filled(b'=61'), 75)
    yield 'uuencode: empty files', head() + filled(b'begin 644 a\r\n`\r\nend\r\n')
    yield 'charset: UTF-16', head('text/plain; charset=utf-16') + lined('a'.encode('utf-16-le') * (SIZE // 2))
    yield 'charset: ISO-2022-JP', head('text/plain; charset=iso-2022-jp') + filled(b'\x1b$B$"\x1b(B\r\n')
    yield 'HTML: tags', head('text/html') + lined(filled(b'<b></b>'))
    yield 'HTML: entities', head('text/html') + lined(filled(b'&amp;'), 75)
    yield 'HTML: links', head('text/html') + filled(b'<a href="http://a.b/c">d</a>\r\n')
    yield 'HTML: never closed', head('text/html') + lined(filled(b'<a href="<!--'))
    yield 'text: URLs', head() + filled(b'http://a.b/c d@e.f\r\n')
    yield 'archive: 100 names', zipped()
    title = struct.pack('<BII', 2, 0x18010, 4) + b'a.x\0' + bytes(2)
    entry = struct.pack('<HBHHIIBIIBBHI', 0, 0x74, 0, 35, 0, 0, 0, 0, 0, 0, 0, 3, 0) + b'a.x'
    for kind, octets in (('TNEF', b'\x78\x9f\x3e\x22\0\0' + filled(title)),
                         ('RAR', b'Rar!\x1a\7\0' + filled(entry))):
        yield f'archive: names in {kind}', (head('application/x; name=a', b'Content-Transfer-Encoding: base64\r\n')
                                            + lined(base64.b64encode(octets)[:SIZE]))
    inside = {'zeros': bytes(7 << 20), 'words': filled(lined(b' '.join(literals)), 4 << 20)}
    inside['words in an archive'] = gzip.compress(inside['words'])
    for name, octets in inside.items():
        yield f'archive: {name}', (head('application/gzip; name=a.gz', b'Content-Transfer-Encoding: base64\r\n')
                                   + lined(base64.b64encode(gzip.compress(octets))[:SIZE]))


GREETING = (('S', b'220 mx ESMTP\r\n'), ('C', b'EHLO c\r\n'),
            ('S', b'250-mx\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-CHUNKING\r\n250 8BITMIME\r\n'))
ENVELOPE = (('C', b'MAIL FROM:<a@b.c>\r\n'), ('S', b'250 ok\r\n'), ('C', b'RCPT TO:<d@e.f>\r\n'), ('S', b'250 ok\r\n'))


def letter(message):
    """The dialogue of one message, its end ready to be read whatever stands before it."""
    text = message if message.endswith(b'\r\n') else message + b'\r\n'
    return (*GREETING, *ENVELOPE, ('C', b'DATA\r\n'), ('S', b'354 go on\r\n'), ('C', text + b'.\r\n'),
            ('S', b'250 ok\r\n'), ('C', b'QUIT\r\n'), ('S', b'221 bye\r\n'))


def dialogues():
    for name, line in (('NOOP', b'NOOP\r\n'), ('RSET', b'RSET\r\n'), ('nonsense', b'A\r\n'), ('HELP', b'HELP x\r\n')):
        count = SIZE // len(line)
        yield f'commands: {name}', (*GREETING, ('C', line * count), ('S', b'250 ok\r\n' * count))
    count = SIZE // 16
    yield 'commands: recipients', (*GREETING, ENVELOPE[0], ENVELOPE[1], ('C', b'RCPT TO:<a@b.c>\r\n' * count),
                                   ('S', b'250 ok\r\n' * count))
    yield 'commands: transactions', (*GREETING, ('C', b'MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nRSET\r\n' * (count // 3)),
                                     ('S', b'250 ok\r\n' * (count // 3 * 3)))
    yield 'BDAT: chunks of one octet', (*GREETING, *ENVELOPE, ('C', b'BDAT 1\r\na' * count + b'BDAT 0 LAST\r\n'),
                                        ('S', b'250 ok\r\n' * (count + 1)))


def of_corpus(path):
    """A dialogue of the SMTP fuzzers: FE and FF begin a turn of the client and of the server."""
    turns = re.findall(rb'([\xfe\xff])([^\xfe\xff]*)', path.read_bytes())
    return tuple(('C' if who == b'\xfe' else 'S', octets) for who, octets in turns if octets)


def sessions(rules):
    """(name, steps, octets of a segment)"""
    ordinary = head() + filled(lined(b'The quick brown fox jumps over the lazy dog and goes home'))
    for size in (1, 8, 64):
        yield f'segments of {size}', letter(ordinary), size
    for name, message in messages(rules):
        yield name, letter(message), SEGMENT
    for name, steps in dialogues():
        yield name, steps, SEGMENT
    for folder in ('smtp', 'streams'):
        for path in sorted((CORPUS / folder).iterdir()):
            yield f'corpus: {folder}/{path.name}', of_corpus(path), SEGMENT
    for path in sorted((CORPUS / 'mime').iterdir()):
        # What stands in it costs by itself, not the session around it.
        start, end, body = path.read_bytes()[1:].partition(b'\r\n\r\n')
        yield f'corpus: mime/{path.name}', letter(start + end + (filled(body) if body else filled(start + end))), SEGMENT


def add_session(capture, number, steps, size):
    connection = wirecraft.Connection(capture, client=f'10.9.{number >> 8}.{number & 255}').open()
    for who, octets in steps:
        for at in range(0, len(octets), 32 * size):
            window = octets[at:at + 32 * size]
            connection.pieces('CS'.index(who), [window[i:i + size] for i in range(0, len(window), size)])
    connection.close()


def add_sessions(capture, rules):
    """Adds all of them, one after the other; their names."""
    plan = list(sessions(rules))
    for number, (_, steps, size) in enumerate(plan):
        add_session(capture, number, steps, size)
    return [name for name, _, _ in plan]


def lines(build):
    with table.Material() as material:
        rules = material.rules(1000)
        capture = wirecraft.Capture()
        ordinary, _ = material.capture(ORDINARY, marker_every=0)
        by_client = {}
        for frame in wirecraft.read_pcap(ordinary.read_bytes()):
            inside = frame[26:30] if frame[26] == 10 else frame[30:34]
            by_client.setdefault(inside, []).append(frame)
        for frames in by_client.values():
            for frame in frames:
                capture.add(frame)
        names = add_sessions(capture, rules)
        path, each = material.folder / 'adversarial.pcap', material.folder / 'each.json'
        path.write_bytes(capture.octets())
        subprocess.run([build / 'perf/replay', path, '--rules', rules, '--repeat', str(ROUNDS), '--each', each],
                       check=True, stdout=subprocess.DEVNULL)
        found = json.loads(each.read_text())
    if len(found) != len(by_client) + len(names):
        sys.exit(f'adversarial: {len(found)} sessions, not {len(by_client) + len(names)}')
    mean = {key: statistics.mean(s[key] for s in found[:len(by_client)]) for key in ('microseconds', 'frames', 'octets')}
    yield {'line': 'ordinary mail', 'ratio': 1.0, 'per_frame': 1.0, 'per_octet': 1.0} | {
        key: round(value, 1) for key, value in mean.items()}
    results = []
    for name, s in zip(names, found[len(by_client):]):
        times = {key: s['microseconds'] / s[key] / (mean['microseconds'] / mean[key]) for key in ('frames', 'octets')}
        results.append({'line': name, 'ratio': round(min(times.values()), 2), 'per_frame': round(times['frames'], 2),
                        'per_octet': round(times['octets'], 2), 'microseconds': round(s['microseconds'], 1),
                        'frames': s['frames'], 'octets': s['octets']})
    results.sort(key=lambda result: -result['ratio'])
    named = [r for r in results if not r['line'].startswith('corpus')]
    corpus = [r for r in results if r['line'].startswith('corpus')]
    yield from named
    for folder in ('smtp', 'streams', 'mime'):
        yield from [r for r in corpus if r['line'].startswith(f'corpus: {folder}/')][:3]
