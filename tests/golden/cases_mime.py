"""Section B of the wire cases: MIME, end to end."""
import base64
import hashlib
import io
import zipfile
import zlib

import wirecraft as w
from cases_base import BYE, GREETING, RULES, SIGNATURE, Cases, mail

MIXED = b'Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=%s\r\n\r\n'
MOST = tuple(m for m in w.MODES if m != 'one')  # for large messages


def stuffed(message):
    return message.replace(b'\r\n.', b'\r\n..')


def lines(octets, size=76):
    coded = base64.b64encode(octets)
    return b''.join(coded[i:i + size] + b'\r\n' for i in range(0, len(coded), size))


def text_part(body, kind=b'text/plain', encoding=b'', charset=b''):
    head = b'Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: ' + kind
    if charset:
        head += b'; charset=' + charset
    return head + b'\r\n' + (b'Content-Transfer-Encoding: ' + encoding + b'\r\n' if encoding else b'') + b'\r\n' + body


def with_attachment(headers, body=SIGNATURE, boundary=b'b'):
    return (MIXED % boundary + b'--' + boundary + b'\r\n\r\nhi\r\n--' + boundary + b'\r\n' + headers + b'\r\n' + body +
            b'\r\n--' + boundary + b'--\r\n')


class Mime(Cases):
    def messages(self, table, expect, modes=w.MODES, **more):
        """`table`: {name: message}; each is sent and expect(name, event of the message, flow) asserts."""
        scripts = {k: GREETING + mail(stuffed(m) + (b'' if m.endswith(b'\n') else b'\r\n') + b'.\r\n') + BYE for k, m in table.items()}

        def check(name, flow):
            self.assertEqual(len(flow.messages), 1)
            self.assertEqual(flow.messages[0]['smtp']['outcome'], 'accepted')
            expect(name, flow.messages[0], flow)
        self.check(scripts, check, modes=modes, **more)

    def signature_in_text(self, table, **more):
        self.messages(table, lambda _, m, f: self.assertIn(2, f.hits), **more)

    def test_B02_base64_with_junk(self):
        text = b'filler text ' * 20 + SIGNATURE + b' more text' * 9
        table = {}
        for size in (1, 3, 5, 76, 77, 1000):
            table[size] = text_part(lines(text, size), encoding=b'base64')
            table[size, 'blanks'] = text_part(lines(text, size).replace(b'\r\n', b'  \t\r\n'), encoding=b'base64')
            table[size, 'junk'] = text_part(lines(text, size).replace(b'\r\n', b'\r\n; * # %\r\n', 3), encoding=b'base64')
        table['lf'] = text_part(lines(text).replace(b'\r\n', b'\n'), encoding=b'base64')
        table['parts'] = MIXED % b'b' + b'--b\r\nContent-Transfer-Encoding: BASE64\r\n\r\n' + base64.b64encode(text) + b'\r\n--b--\r\n'
        table['padding inside'] = text_part(base64.b64encode(b'ab') + base64.b64encode(text) + b'\r\n', encoding=b'base64')
        table['comment'] = text_part(lines(text), encoding=b'base64 (x)')
        table['quoted'] = text_part(lines(text), encoding=b'"base64"')
        table['folded'] = text_part(lines(text), encoding=b'\r\n base64')
        for order in ((b'7bit', b'base64'), (b'base64', b'7bit'), (b'quoted-printable', b'base64')):
            table[order] = (b'Content-Transfer-Encoding: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n' % order) + lines(text)

        def expect(name, message, flow):
            self.assertIn(2, flow.hits)
            if isinstance(name, tuple) and isinstance(name[0], bytes):
                self.assertIn('dup-cte', flow.anomalies)
        self.messages(table, expect)
        twice = b'Content-Transfer-Encoding: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n' + SIGNATURE + b'\r\n'
        self.signature_in_text({o: twice % o for o in ((b'7bit', b'base64'), (b'base64', b'7bit'))})

    def test_B03_urls_over_borders(self):
        text = b'see http://a.test/p now, and much more text of no interest follows here\r\n'
        table = {}
        for shift in range(0, 60):
            table[shift] = text_part(lines(b'x' * shift + b' ' + text, 40), encoding=b'base64')
        self.messages(table, lambda _, m, f: self.assertEqual(f.urls(), ['http://a.test/p']), modes=w.MODES)
        html = {i: text_part(b'<p>' + b'y' * i + b'<a href=3D"https://b.test/x">z</a>=\r\n</p>\r\n', b'text/html', b'quoted-printable') for i in range(0, 40, 3)}
        self.messages(html, lambda _, m, f: self.assertEqual(f.urls(), ['https://b.test/x']))
        soft = {i: text_part(b'see ' + b'http://a.test/p'[:i] + b'=\r\n' + b'http://a.test/p'[i:] + b' end\r\n', b'text/plain', b'quoted-printable') for i in range(1, 15)}
        self.messages(soft, lambda _, m, f: self.assertEqual(f.urls(), ['http://a.test/p']))

    def test_B05_boundary_forms(self):
        head = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="%s"\r\n\r\n'
        table = {'-': head % b'-' + SIGNATURE + b'\r\n', '----': head % b'----' + SIGNATURE + b'\r\n',
                 'end first': head % b'b' + b'--b--\r\n' + SIGNATURE + b'\r\n--b\r\n\r\nx\r\n',
                 'part after end': head % b'b' + b'--b--\r\n--b\r\n\r\n' + SIGNATURE + b'\r\n',
                 'epilogue': head % b'b' + b'--b\r\n\r\nx\r\n--b--\r\n' + SIGNATURE + b'\r\n',
                 'preamble': head % b'b' + SIGNATURE + b'\r\n--b\r\n\r\nx\r\n--b--\r\n',
                 'none': b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n\r\n' + SIGNATURE + b'\r\n',
                 'empty': head % b'' + SIGNATURE + b'\r\n', 'dashes parts': head % b'----' + b'------\r\n\r\n' + SIGNATURE + b'\r\n--------\r\n',
                 'no boundary line': head % b'b' + b'\r\n\r\n' + SIGNATURE}
        self.signature_in_text(table)

    def test_B06_line_break_belongs_to_delimiter(self):
        def one(body, end=b'\r\n'):
            return (MIXED % b'b' + b'--b\r\nContent-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n\r\n' + body +
                    b'--b--\r\n').replace(b'\r\n', end) if end != b'\r\n' else (
                        MIXED % b'b' + b'--b\r\nContent-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n\r\n' + body + b'--b--\r\n')
        table = {'crlf': (one(b'abc\r\n'), b'abc'), 'lf': (one(b'abc\n'), b'abc'), 'empty': (one(b'\r\n'), b''), 'no line': (one(b''), b''),
                 'two': (one(b'abc\r\n\r\n'), b'abc\r\n')}

        def expect(name, message, flow):
            found = message['sluice']['attachments'][0]
            self.assertEqual(found['size'], len(table[name][1]))
            if table[name][1]:
                self.assertEqual(found['md5'], hashlib.md5(table[name][1]).hexdigest())
        self.messages({k: v[0] for k, v in table.items()}, expect, policy={'sluice:sluice': {'hashing': {'md5': True}}})

    def test_B07_nested_message(self):
        inner = (b'Subject: B\r\nFrom: b@b.test\r\nReceived: from x (192.0.2.999)\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n'
                 b'Content-Type: application/x-y; name=in.bin\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n' +
                 lines(b'pre ' + SIGNATURE) + b'--i--\r\n')
        outer = b'From: a@a.test\r\nSubject: A\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nhi\r\n--o\r\nContent-Type: message/rfc822\r\n'
        table = {'plain': outer + b'\r\n' + inner + b'\r\n--o--\r\n',
                 'base64': outer + b'Content-Transfer-Encoding: base64\r\n\r\n' + lines(inner) + b'\r\n--o--\r\n',
                 'qp': outer + b'Content-Transfer-Encoding: quoted-printable\r\n\r\n' + inner.replace(b'=', b'=3D') + b'\r\n--o--\r\n'}

        def expect(_, message, flow):
            self.assertEqual(message['email']['subject'], 'A')
            self.assertEqual(message['email']['from'], 'a@a.test')
            self.assertIn('in.bin', flow.names())
            self.assertIn(4, flow.hits)
        self.messages(table, expect, rules=RULES + 'alert smtp any any -> any any (msg:"f"; file_data; content:"XSIGNATUREX"; sid:4;)\n')

    def test_B08_bombs(self):
        nested = b''.join(b'Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n' % (i, i) for i in range(500))
        table = {'rfc822': b'Content-Type: message/rfc822\r\n\r\n' * 20000 + SIGNATURE,
                 'multiparts': nested + b'\r\n' + SIGNATURE + b'\r\n',
                 'parts': b'Content-Type: multipart/mixed; boundary=a\r\n\r\n' + b'--a\nx:y\n\n' * 300000 + SIGNATURE,
                 'lines': b'\r\n' * 100000 + SIGNATURE}

        def expect(name, message, flow):
            self.assertTrue(flow.hits & {2, 3}, flow.hits)
            limit = {'rfc822': 'depth-limit', 'multiparts': 'depth-limit', 'parts': 'part-limit'}.get(name)
            if limit:
                self.assertEqual(flow.anomaly_list.count(limit), 1)
        self.messages(table, expect, modes=MOST)

    def test_B09_boundary_parameter(self):
        body = b'--%s\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a\r\n\r\n' + lines(SIGNATURE) + b'--%s--\r\n'

        def one(parameter, boundary, extra=b''):
            return b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; ' + parameter + b'\r\n' + extra + b'\r\n' + body % (boundary, boundary)
        long = b'L' * 300
        table = {'space': one(b'boundary=" ab"', b' ab'), 'space trimmed': one(b'boundary=" ab"', b'ab'), 'blanks': one(b'boundary=a b c', b'a b c'), 'blanks first': one(b'boundary=a b c', b'a'),
                 'escape': one(b'boundary="a\\"b"', b'a"b'), 'open quote': one(b'boundary="ab', b'ab'), 'two first': one(b'boundary=one; boundary=two', b'one'),
                 'two last': one(b'boundary=one; boundary=two', b'two'), 'continued': one(b'boundary*0="ab"; boundary*1="cd"', b'abcd'),
                 'long': one(b'boundary=' + long, long), 'folded': one(b'boundary=\r\n ab', b'ab'), 'folded quote': one(b'boundary=\r\n "ab"', b'ab'),
                 'case': one(b'BOUNDARY=ab', b'ab'), 'trailing': one(b'boundary="ab" ; charset=x', b'ab'), 'comment': one(b'boundary=ab (c)', b'ab'),
                 'star': one(b"boundary*=us-ascii''a%62", b'ab'), 'no space': one(b'type=x;boundary=ab', b'ab'), 'equals': one(b'boundary = "ab"', b'ab'),
                 'disposition': b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\nContent-Disposition: inline; boundary=ab\r\n\r\n' + body % (b'ab', b'ab'),
                 'semi': one(b'; boundary=ab', b'ab'), 'two types': b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\nContent-Type: multipart/mixed; boundary=ab\r\n\r\n' + body % (b'ab', b'ab'),
                 'two types first': b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=ab\r\nContent-Type: text/plain\r\n\r\n' + body % (b'ab', b'ab'),
                 'tspecials': one(b'boundary=a:b=?c', b'a:b=?c'), 'no mime-version': one(b'boundary=ab', b'ab')[19:]}
        rules = 'alert smtp any any -> any any (msg:"f"; file_data; content:"XSIGNATUREX"; sid:4;)\n'
        self.messages(table, lambda _, m, f: self.assertIn(4, f.hits), rules=rules)

    def test_B10_delimiter_over_borders(self):
        message = (MIXED % b'boundary' + b'--boundary  \r\nContent-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n\r\n--bou is text\r\n--boundar\r\n-- boundary\r\n'
                   b'--boundary\r\nContent-Type: text/plain; name=b.txt\r\nContent-Disposition: attachment\r\n\r\nz\r\n--boundary-- \r\n')
        start = message.index(b'\r\n\r\n') + 2
        scripts = {}
        for cut in range(start, len(message)):
            scripts[cut] = GREETING + mail([message[:cut], message[cut:] + b'.\r\n']) + BYE
        first = b'--bou is text\r\n--boundar\r\n-- boundary'

        def expect(_, flow):
            self.assertEqual([(a['name'], a['size'], a['sha256']) for a in flow.messages[0]['sluice']['attachments']],
                             [('a.txt', len(first), hashlib.sha256(first).hexdigest()), ('b.txt', 1, hashlib.sha256(b'z').hexdigest())])
        self.check(scripts, expect, modes=('whole',))
        self.check({'': scripts[start]}, expect)

    def test_B11_names(self):
        table = {
            b"Content-Disposition: attachment; filename*0*=iso-8859-1''aaa.pd; filename*1=f\r\n": ['aaa.pdf'],
            b'Content-Disposition: attachment; filename*0="a"; filename*1=.exe;\r\n': ['a.exe'],
            b"Content-Disposition: attachment; filename*=utf-8''x%2Eexe\r\n": ['x.exe'],
            b'Content-Type: application/x; name="r.txt"\r\nContent-Disposition: attachment; filename="p.exe"\r\n': ['r.txt', 'p.exe'],
            b'Content-Disposition: attachment; filename="r.txt"; filename="p.exe"\r\n': ['r.txt', 'p.exe'],
            b'Content-Disposition: attachment filename="p.exe"\r\n': ['p.exe'],
            b'Content-Disposition: attachment;\r\nfilename="p.exe"\r\n': ['p.exe'],
            b'Content-Type: application/x;\r\nname="p.exe"\r\nContent-Disposition: attachment\r\n': ['p.exe'],
            b'Content-Disposition: attachment;\r\n\tfilename="p.exe"\r\n': ['p.exe'],
            b'Content-Disposition: attachment; filename="=?utf-8?B?cC5leGU=?="\r\n': ['p.exe'],
            b'Content-Disposition: attachment; filename=" p.exe "\r\n': ['p.exe'],
            b'Content-Disposition: attachment; filename=p q.exe\r\n': ['p q.exe'],
            b'Content-Disposition: attachment; filename="p.exe\r\n': ['p.exe'],
            b"Content-Disposition: attachment; filename*1*=%2Eexe; filename*0*=utf-8''p\r\n": ['p.exe'],
            b'Content-Disposition: attachment; FILENAME=p.exe\r\n': ['p.exe'],
            b'Content-Disposition: attachment; filename="a\\"b.exe"\r\n': ['a"b.exe'],
            b"Content-Disposition: attachment; filename=r.txt; filename*=utf-8''p.exe\r\n": ['r.txt', 'p.exe'],
            b'Content-Disposition: attachment; filename = "p.exe"\r\n': ['p.exe'],
            b'Content-Disposition: attachment; filename=(c)p.exe\r\n': ['p.exe'],
        }

        def expect(head, message, flow):
            text = str(message['email'].get('attachment')) + str(message['sluice'].get('attachments'))
            for name in table[head]:
                self.assertIn(name, text)
            if len(table[head]) == 2:
                self.assertIn('two-names', flow.anomalies)
            self.assertIn(4, flow.hits)
        rules = 'alert smtp any any -> any any (msg:"n"; file.name; content:".exe"; endswith; sid:4;)\n' \
            'alert smtp any any -> any any (msg:"n"; file.name; content:".pdf"; endswith; sid:4; rev:2;)\n'
        rules = 'alert smtp any any -> any any (msg:"n"; file.name; pcre:"/\\.(exe|pdf) ?$/"; sid:4;)\n'
        self.messages({h: with_attachment(h) for h in table}, expect, rules=rules)

    def test_B12_encoded_words(self):
        table = {
            b'=?UTF-8?Q?Z=C3?=\r\n =?UTF-8?Q?=BCrich?=': 'Zürich', b'=?utf-8?q?a?= =?utf-8?q?b?=': 'ab', b'=?utf-8?q?a?= b': 'a b', b'[TAG]=?utf-8?B?b2s=?=': '[TAG]ok',
            b'=?utf-8?Q??=': '', b'=?utf-8?B?WsO8?=\r\n\t=?utf-8?B?cmljaA==?=': 'Zürich', b'=?utf-8?B?WsM=?= =?utf-8?B?vHJpY2g=?=': 'Zürich', b'=?iso-8859-1?Q?Z=FCrich?=': 'Zürich',
            b'=?utf-8?q?a_b?=': 'a b', b'a =?utf-8?q?b?= c': 'a b c', b'=?utf-8*en?q?a?=': 'a', b'=?utf-8?q?a': '=?utf-8?q?a', b'=?utf-8?x?a?=': '=?utf-8?x?a?=',
            b'x\r\n y': 'x y', b'=?windows-1252?Q?=80?=': '€', b'=?utf-8?q?a=3Fb?=': 'a?b', b'=?koi8-r?B?8NLJ18XU?=': 'Привет', b'=?utf-8?Q?a b?=': 'a b',
            b'=?utf-8?q?a?=x=?utf-8?q?b?=': 'axb', b'=?gb2312?B?xOO6ww==?=': '你好', b'=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=': '日本', b'=?shift_jis?B?k/qWew==?=': '日本'}
        table[b'=?utf-8?B?' + base64.b64encode('é'.encode() * 20) + b'?='] = 'é' * 20

        def expect(raw, message, flow):
            self.assertEqual(message['email'].get('subject', ''), table[raw])
        self.messages({raw: b'Subject: ' + raw + b'\r\nFrom: a@a.test\r\n\r\nx\r\n' for raw in table}, expect)
        rules = 'alert smtp any any -> any any (msg:"r"; sluice.raw; content:"=?utf-8?B?b2s=?="; sid:1;)\nalert smtp any any -> any any (msg:"d"; email.subject; content:"[TAG]ok"; sid:2;)\n'
        self.messages({'': b'Subject: [TAG]=?utf-8?B?b2s=?=\r\n\r\nx\r\n'}, lambda _, m, f: self.assertEqual(f.hits, {1, 2}), rules=rules)

    def test_B13_quoted_printable(self):
        table = {b'http://ex=\r\nample.test/': b'http://example.test/', b'=\r\n': b'', b'a=ZZb': b'a=ZZb', b'==41': b'=A', b'a=20  \r\nb': b'a \r\nb', b'=3d': b'=', b'a\r\n\r\n\r\nb': b'a\r\n\r\n\r\nb',
                 b'end=': b'end', b'=3D=3d': b'==', b'a=': b'a', b'a=4': b'a=4', b'a=\nb': b'ab', b'a= \t\r\nb': b'ab', b'tab\t\r\nx': b'tab\r\nx', b'=0D=0A': b'\r\n', b'=00x': b'\0x', b'a=\r\n=\r\nb': b'ab'}

        def one(coded):
            return (MIXED % b'b' + b'--b\r\nContent-Type: application/x; name=a\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n' + coded + b'\r\n--b--\r\n')

        def expect(coded, message, flow):
            found = message['sluice']['attachments'][0]
            self.assertEqual((found['size'], found['sha256']), (len(table[coded]), hashlib.sha256(table[coded]).hexdigest()))
        self.messages({k: one(k) for k in table}, expect)

    def test_B14_urls(self):
        html = {b'<a href=" http://a.test/x">': ['http://a.test/x'], b'<a href=http://a.test/?q=1>2</a>': ['http://a.test/?q=1'], b'<a href="https://bad&#46;a&#46;test">x': ['https://bad.a.test'],
                b'<div>http://a.test/p</div>': ['http://a.test/p'], b'<a href="user.name@a.test">': ['mailto:user.name@a.test'], b'<a\nhref\n=\n"http://a.test/n">': ['http://a.test/n'],
                b'<a href="http://a.&#x74;est/h">': ['http://a.test/h'], b"<IMG SRC='http://a.test/i'>": ['http://a.test/i'], b'<a href="http://a.test/?x=1&amp;y=2">': ['http://a.test/?x=1&y=2'],
                b'<form action="http://a.test/f">': ['http://a.test/f'], b'www.a.test&amp;sp': None, b'<a href="ht\ttp://a.test/t">': ['http://a.test/t'], b'<a title=">" href="http://a.test/q">': ['http://a.test/q'],
                b'<area href=http://a.test/ar>': ['http://a.test/ar'], b'<base href="http://a.test/"><a href="x">': ['http://a.test/'], b'<style>a{background:url(http://a.test/css)}</style>': ['http://a.test/css'],
                b'<meta http-equiv=refresh content="0;url=http://a.test/m">': ['http://a.test/m']}
        plain = {b'url:http://a.test: u@a.test': ['http://a.test'], b'x?r=https://b.test/cGE=': ['https://b.test/cGE='], b'http://a.test//p': ['http://a.test//p'], b'hxxp://a[.]test': None,
                 b'https://ok.test' + b' ' * 3000 + b'@evil.test/': None, b'(http://a.test/p).': ['http://a.test/p'], b'<http://a.test/p>': ['http://a.test/p'], b'HTTP://A.test/P': ['HTTP://A.test/P'],
                 b'http://a.test/a http://a.test/b': ['http://a.test/b', 'http://a.test/a'], b'http://192.0.2.1:8080/x': ['http://192.0.2.1:8080/x'], b'http://[2001:db8::1]/x': ['http://[2001:db8::1]/x']}

        def expect(key, message, flow):
            kind, body = key
            wanted = (html if kind == b'text/html' else plain)[body]
            if wanted is not None:
                self.assertEqual([u.lower() if 'A.test' in u else u for u in flow.urls()], [u.lower() if 'A.test' in u else u for u in wanted])
            if body.startswith(b'hxxp'):
                self.assertIn('defanged-url', flow.anomalies)
            if body.startswith(b'https://ok'):
                self.assertIn('deceptive-url', flow.anomalies)
                self.assertTrue(any('evil.test' in u for u in flow.urls()), flow.urls())
        table = {(b'text/html', k): text_part(k + b'\r\n', b'text/html') for k in html}
        table.update({(b'text/plain', k): text_part(k + b'\r\n') for k in plain})
        self.messages(table, expect)
        # EVE lists the URL found last first.
        long = {(n, c): text_part(b'<a href="https://ok.test' + c * n + b'@evil.test/">x</a>\r\n', b'text/html') for n in (1, 50, 3000) for c in (b'x', b'.', b' ')}
        self.messages(long, lambda _, m, f: (self.assertTrue(any('evil.test' in u for u in f.urls()), [u[:40] for u in f.urls()]), self.assertIn('deceptive-url', f.anomalies)))
        both = (b'MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nhttp://a.test/s\r\n--b\r\nContent-Type: text/html\r\n\r\n<a href="http://a.test/s">x</a>\r\n--b--\r\n')
        self.messages({'': both}, lambda _, m, f: self.assertIn('http://a.test/s', f.urls()))
        flood = text_part(b''.join(b'http://a.test/%d\r\n' % i for i in range(50000)))
        self.messages({'': flood}, lambda _, m, f: self.assertEqual(f.anomaly_list.count('url-limit'), 1), modes=MOST)

    def test_B15_uuencode(self):
        def uu(octets, name=b't.exe', end=b'`\r\nend\r\n'):
            import binascii
            return b'begin 644 ' + name + b'\r\n' + b''.join(binascii.b2a_uu(octets[i:i + 45]).replace(b'\n', b'\r\n') for i in range(0, len(octets), 45)) + end
        content = b'content of it ' * 10 + SIGNATURE
        head = b'Subject: s\r\n\r\nsome text\r\n'
        table = {'one': head + uu(content), 'blank end': head + uu(content, end=b' \r\nend\r\n'), 'two': head + uu(b'other', b'u.txt') + b'between\r\n' + uu(content), 'cut': head + uu(content, end=b''),
                 'prose': head + b'begin 644 is how it starts\r\nand then prose.\r\nend\r\n', 'typed': text_part(uu(content))}

        def expect(name, message, flow):
            if name == 'prose':
                self.assertEqual(flow.names(), [])
                return
            self.assertIn('t.exe', flow.names())
            self.assertIn(4, flow.hits)
            if name == 'two':
                self.assertEqual(flow.names(), ['u.txt', 't.exe'])
        self.messages(table, expect, rules='alert smtp any any -> any any (msg:"f"; file_data; content:"XSIGNATUREX"; sid:4;)\n')

    def test_B17_charsets(self):
        url = 'go to http://u.test/p now'
        utf7 = b'go to +AGgAdAB0AHA-://u.test/p now'
        table = {}
        for charset, octets in ((b'utf-16', url.encode('utf-16-le')), (b'utf-16', url.encode('utf-16-be')), (b'utf-16', b'\xff\xfe' + url.encode('utf-16-le')), (b'utf-16', b'\xfe\xff' + url.encode('utf-16-be')),
                                (b'utf-16le', url.encode('utf-16-le')), (b'utf-16be', url.encode('utf-16-be')), (b'utf-16le', url.encode('utf-16-le') + b'x'), (b'utf-32', url.encode('utf-32')),
                                (b'utf-16', b'\x4e\x00' + url.encode('utf-16-le')), (b'utf-7', utf7), (b'unicode-1-1-utf-7', utf7), (b'UTF-7', b'+' + base64.b64encode(url.encode('utf-16-be')).rstrip(b'=') + b'-'),
                                (b'foo', url.encode()), (b'"foo bar"', url.encode()), (b'us-ascii', url.encode()), (b'cp1252', url.encode())):
            table[charset, octets] = text_part(lines(octets), encoding=b'base64', charset=charset)

        def expect(key, message, flow):
            self.assertEqual(flow.urls(), ['http://u.test/p'])
            self.assertNotIn('nul', flow.anomalies)
            if b'foo' in key[0]:
                self.assertIn('charset', flow.anomalies)
        self.messages(table, expect)

    def test_B18_header_floods(self):
        end = b'\r\n' + SIGNATURE + b'\r\n'
        table = {'many': b''.join(b'X-%d: y\r\n' % i for i in range(100000)) + end, 'big': b'X: ' + b'a' * (2 << 20) + b'\r\n' + end,
                 'to': b'To: ' + b','.join(b'u%d@t.test' % i for i in range(50000)) + b'\r\n' + end, 'twice': b'Subject: one\r\nSubject: two\r\n' + end,
                 'blank fold': b'Subject: a\r\n \r\n b\r\nX: y\r\n' + end, 'no body': b'Subject: a\r\nX-A:'}
        for size in (1998, 1999, 2000, 2001):
            table[size] = b'X-H: ' + b'p' * (size - 6) + b';\r\n' + end

        def expect(name, message, flow):
            if name != 'no body':
                self.assertIn(2, flow.hits)
            if name in ('many', 'big'):
                self.assertEqual(flow.anomaly_list.count('header-limit'), 1)
            if name == 'twice':
                self.assertIn('dup-header', flow.anomalies)
        self.messages(table, expect, modes=MOST)

    def test_B19_archive_bombs(self):
        def attached(octets, name=b'a.zip'):
            return with_attachment(b'Content-Type: application/zip; name=' + name + b'\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n', lines(octets))

        def zipped(members):
            file = io.BytesIO()
            with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as z:
                for name, octets in members:
                    z.writestr(name, octets)
            return file.getvalue()
        deep = zipped([('x.txt', SIGNATURE * 3)])
        for _ in range(6):
            deep = zipped([('n.zip', deep)])
        zeros = zipped([(f'{i}', bytes(10 << 20)) for i in range(100)])
        gz = zlib.compressobj(9, zlib.DEFLATED, 31)
        table = {'deep': attached(deep), 'zeros': attached(zeros), 'gz': attached(gz.compress(bytes(200 << 20)) + gz.flush(), b'a.gz')}
        self.messages(table, lambda _, m, f: self.assertEqual(f.anomaly_list.count('limit'), 1), modes=('whole',))
        self.messages({'': attached(zipped([('s.txt', b'ok ' * 50 + SIGNATURE)]))}, lambda _, m, f: self.assertIn(4, f.hits), rules='alert smtp any any -> any any (msg:"f"; file_data; content:"XSIGNATUREX"; sid:4;)\n')
