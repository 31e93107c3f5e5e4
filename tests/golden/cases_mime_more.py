"""Variants of section B: the same kinds of fault in other clothes."""
import base64
import binascii
import gzip
import hashlib
import io
import struct
import zipfile
import zlib

import wirecraft as w
from cases_base import BYE, GREETING, OK, SIGNATURE, Cases, envelope
from cases_mime import MIXED, MOST, Mime, lines, text_part, with_attachment

FILE = 'alert smtp any any -> any any (msg:"f"; file_data; content:"XSIGNATUREX"; sid:4;)\n'
TEXT = 'alert smtp any any -> any any (msg:"t"; sluice.text; content:"XSIGNATUREX"; sid:2;)\n'
URL = 'http://u.test/p'


def zipped(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', method) as z:
        for name, octets in members:
            z.writestr(name, octets)
    return file.getvalue()


def attached(octets, name=b'a.zip', kind=b'application/zip'):
    return with_attachment(b'Content-Type: ' + kind + b'; name=' + name + b'\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n', lines(octets))


class MimeMore(Cases):
    messages = Mime.messages
    signature_in_text = Mime.signature_in_text

    def signature_in_file(self, table, **more):
        self.messages(table, lambda _, m, f: self.assertIn(4, f.hits), rules=FILE, **more)

    def urls_are(self, table, urls, **more):
        self.messages(table, lambda _, m, f: self.assertEqual(f.urls(), urls), **more)

    def test_B02_base64_edges(self):
        text = b'filler text ' * 9 + SIGNATURE + b' more'
        coded = base64.b64encode(text)
        table = {'no padding': text_part(coded.rstrip(b'=') + b'\r\n', encoding=b'base64'), 'no end of line': text_part(coded, encoding=b'base64'),
                 'cr only': text_part(coded[:60] + b'\r' + coded[60:] + b'\r\n', encoding=b'base64'), 'blank lines': text_part(b'\r\n\r\n' + lines(text, 20).replace(b'\r\n', b'\r\n\r\n'), encoding=b'base64'),
                 'boundary without line end': MIXED % b'b' + b'--b\r\nContent-Transfer-Encoding: base64\r\n\r\n' + coded + b'--b--\r\n', 'text behind': text_part(lines(text) + b'-- \r\nfooter of a list\r\n', encoding=b'base64'),
                 'text before': text_part(b'-----\r\n' + lines(text), encoding=b'base64'), 'each padded': text_part(b''.join(base64.b64encode(text[i:i + 10]) + b'\r\n' for i in range(0, len(text), 10)), encoding=b'base64'),
                 'nul': text_part(coded[:40] + b'\0' + coded[40:] + b'\r\n', encoding=b'base64'), 'high octets': text_part(coded[:40] + b'\xe9\xff' + coded[40:] + b'\r\n', encoding=b'base64'),
                 'cased': text_part(lines(text), encoding=b'BaSe64'), 'semicolon': text_part(lines(text), encoding=b'base64;'), 'twice the same': text_part(b'', encoding=b'base64\r\nContent-Transfer-Encoding: base64')[:-2] + b'\r\n' + lines(text)}
        self.signature_in_text(table)

    def test_B02_encodings_that_lie(self):
        plain = SIGNATURE + b' in clear\r\n'
        table = {e: text_part(plain, encoding=e) for e in (b'7bit', b'8bit', b'binary', b'x-unknown', b'none', b'utf-8', b'7 bit', b'base 64')}
        self.messages(table, lambda _, m, f: self.assertTrue(f.hits & {2, 3}))

    def test_B03_urls_between_parts_and_encodings(self):
        half = b'see http://u.test/p '
        table = {'qp in html': text_part(b'<a href=3D"http://u.te=\r\nst/p">x</a>\r\n', b'text/html', b'quoted-printable'), 'b64 html': text_part(lines(b'<a href="http://u.test/p">x</a>', 4), b'text/html', b'base64'),
                 'utf-16 in b64': text_part(lines(half.decode().encode('utf-16-le'), 8), encoding=b'base64', charset=b'utf-16le'), 'qp of utf-8': text_part(b'=C3=A9 http://u.test/=70 \r\n', encoding=b'quoted-printable', charset=b'utf-8'),
                 'in a nested message': b'Content-Type: message/rfc822\r\n\r\nSubject: x\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(half, 10), 'at the very end': text_part(b'http://u.test/p'), 'at the very beginning': text_part(b'http://u.test/p\r\n')}
        self.urls_are(table, [URL])

    def test_B05_multiparts_in_odd_shape(self):
        head = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="%s"\r\n\r\n'
        table = {'outer ends inner': head % b'o' + b'--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n\r\nx\r\n--o\r\n\r\n' + SIGNATURE + b'\r\n--o--\r\n',
                 'inner is a prefix': head % b'ab' + b'--ab\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n--ab\r\n\r\n' + SIGNATURE + b'\r\n--ab--\r\n',
                 'outer is a prefix': head % b'a' + b'--a\r\nContent-Type: multipart/mixed; boundary=ab\r\n\r\n--ab\r\n\r\n' + SIGNATURE + b'\r\n--ab--\r\n--a--\r\n',
                 'same boundary inside': head % b'a' + b'--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n' + SIGNATURE + b'\r\n--a--\r\n--a--\r\n',
                 'never ended': head % b'a' + b'--a\r\n\r\n' + SIGNATURE, 'header never ended': head % b'a' + b'--a\r\nX-A: ' + b'y\r\n--a\r\n\r\n' + SIGNATURE + b'\r\n--a--\r\n',
                 'part of the boundary alone': head % b'a' + b'--a', 'report': head.replace(b'mixed', b'report') % b'a' + b'--a\r\n\r\nx\r\n--a\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; ' + SIGNATURE + b'\r\n\r\n--a--\r\n',
                 'digest': head.replace(b'mixed', b'digest') % b'a' + b'--a\r\n\r\nSubject: in\r\n\r\n' + SIGNATURE + b'\r\n--a--\r\n', 'signed': head.replace(b'mixed', b'signed') % b'a' + b'--a\r\n\r\n' + SIGNATURE + b'\r\n--a\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--a--\r\n',
                 'unknown multipart': head.replace(b'mixed', b'x-odd') % b'a' + b'--a\r\n\r\n' + SIGNATURE + b'\r\n--a--\r\n'}
        del table['part of the boundary alone']
        self.signature_in_text(table)
        self.messages({'': head % b'a' + b'--a'}, lambda _, m, f: self.assertEqual(len(f.messages), 1))

    def test_B06_line_feeds_alone(self):
        message = (MIXED % b'b' + b'--b\r\nContent-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n\r\nabc\r\nd\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(SIGNATURE) + b'--b--\r\n')
        for name, octets in (('lf', message.replace(b'\r\n', b'\n')), ('mixed', message.replace(b'\r\n', b'\n', 5)), ('lf in bodies', message.replace(b'abc\r\nd', b'abc\nd'))):
            wanted = b'abc\r\nd' if name == 'mixed' else b'abc\nd'
            steps = GREETING + envelope() + [('C', b'BDAT %d LAST\r\n' % len(octets) + octets), ('S', OK)] + BYE  # as it is, binary

            def expect(flow):
                found = flow.messages[0]['sluice']['attachments'][0]
                self.assertEqual((found['name'], found['size'], found['sha256']), ('a.txt', len(wanted), hashlib.sha256(wanted).hexdigest()), name)
                self.assertIn(2, flow.hits)
            self.check_flow(steps, expect)

    def test_B07_messages_in_messages(self):
        inner = (b'Subject: B\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nhi\r\n--i\r\nContent-Type: application/x; name=in.bin\r\nContent-Disposition: attachment\r\n'
                 b'Content-Transfer-Encoding: base64\r\n\r\n' + lines(b'pre ' + SIGNATURE) + b'--i--\r\n')
        outer = MIXED % b'o' + b'--o\r\n\r\nhi\r\n--o\r\n'
        plain = outer + b'Content-Type: message/rfc822; name=fwd.eml\r\nContent-Disposition: attachment\r\n\r\n' + inner + b'\r\n--o--\r\n'
        coded = outer + b'Content-Type: message/rfc822; name=fwd.eml\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(inner) + b'--o--\r\n'
        file = outer + b'Content-Type: application/octet-stream; name=fwd.eml\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(inner) + b'--o--\r\n'
        text = outer + b'Content-Type: text/plain; name=fwd.eml\r\n\r\n' + inner + b'\r\n--o--\r\n'
        twice = outer + b'Content-Type: message/rfc822\r\n\r\nSubject: C\r\nContent-Type: message/rfc822; name=fwd.eml\r\n\r\n' + inner + b'\r\n--o--\r\n'

        def expect(name, message, flow):
            files = {a['name']: a for a in message['sluice']['attachments']}
            self.assertEqual((files['fwd.eml']['size'], files['fwd.eml']['sha256']), (len(inner), hashlib.sha256(inner).hexdigest()))
            self.assertEqual((files['in.bin']['size'], files['in.bin']['sha256']), (15, hashlib.sha256(b'pre ' + SIGNATURE).hexdigest()))
            self.assertEqual(message['email']['subject'], 's')
        self.messages({'plain': plain, 'coded': coded, 'file': file, 'text': text, 'twice': twice}, expect)
        self.signature_in_file({'plain': plain, 'coded': coded, 'twice': twice})

    def test_B08_more_floods(self):
        table = {'parts of a line': b'Content-Type: multipart/mixed; boundary=a\r\n\r\n' + b'--a\r\n' * 100000 + b'\r\n' + SIGNATURE,
                 'nested in turn': b''.join(b'Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\nContent-Type: message/rfc822\r\n\r\n' % (i, i) for i in range(300)) + SIGNATURE,
                 'boundaries alike': b'Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n' + b'--aa\r\n' * 50000 + SIGNATURE, 'dashes': b'Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n' + b'--' * 200000 + SIGNATURE,
                 'words': b'Subject: ' + b'=?utf-8?q?a?= ' * 20000 + b'\r\n\r\n' + SIGNATURE, 'parameters': b'Content-Type: text/plain' + b'; a=b' * 50000 + b'\r\n\r\n' + SIGNATURE,
                 'tags': text_part(b'<b>' * 100000 + SIGNATURE, b'text/html'), 'entities': text_part(b'&amp' * 100000 + b' ' + SIGNATURE, b'text/html'), 'open tags': text_part(b'<' * 300000 + b'> ' + SIGNATURE, b'text/html'),
                 'soft breaks': text_part(b'=\r\n' * 100000 + SIGNATURE, encoding=b'quoted-printable'), 'begin lines': text_part(b'begin 644 x\r\n' * 30000 + SIGNATURE), 'comments': text_part(b'<!--' * 100000 + b'--> ' + SIGNATURE, b'text/html')}

        def expect(name, message, flow):
            self.assertTrue(flow.hits & {2, 3}, flow.hits)
            self.assertEqual(len(flow.anomaly_list), len(flow.anomalies))
        self.messages(table, expect, modes=('whole', '536'))

    def test_B09_more_parameters(self):
        body = b'--%s\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a\r\n\r\n' + lines(SIGNATURE) + b'--%s--\r\n'

        def one(field, boundary):
            return b'MIME-Version: 1.0\r\n' + field + b'\r\n\r\n' + body % (boundary, boundary)
        kind = b'Content-Type: multipart/mixed'
        table = {'tab': one(kind + b';\tboundary=ab', b'ab'), 'newlines': one(kind + b'\r\n ;\r\n boundary\r\n =\r\n ab', b'ab'), 'single quotes': one(kind + b"; boundary='ab'", b"'ab'"), 'upper type': one(b'CONTENT-TYPE: MULTIPART/MIXED; BOUNDARY=ab', b'ab'),
                 'blank before colon': one(b'Content-Type : multipart/mixed; boundary=ab', b'ab'), 'no blank': one(b'Content-Type:multipart/mixed;boundary=ab', b'ab'), 'three pieces': one(kind + b'; boundary*0=a; boundary*1="b"; boundary*2=c', b'abc'),
                 'pieces in disorder': one(kind + b'; boundary*1="b"; boundary*0=a', b'ab'), 'piece and whole': one(kind + b'; boundary*0=x; boundary*1=y; boundary=ab', b'ab'), 'percent': one(kind + b"; boundary*=utf-8'en'a%62", b'ab'),
                 'equals inside': one(kind + b'; boundary="a=b"', b'a=b'), 'semicolon inside': one(kind + b'; boundary="a;b"', b'a;b'), 'slash': one(kind + b'; boundary=a/b', b'a/b'), 'at end a semicolon': one(kind + b'; boundary=ab;', b'ab'),
                 'comment in front': one(b'Content-Type: (c) multipart/mixed; boundary=ab', b'ab'), 'comment inside': one(b'Content-Type: multipart(c)/(d)mixed; boundary=ab', b'ab'), 'no subtype': one(b'Content-Type: multipart; boundary=ab', b'ab'),
                 'blank in the type': one(b'Content-Type: multipart / mixed; boundary=ab', b'ab'), 'dashes': one(kind + b'; boundary="--ab"', b'--ab'), 'seventy': one(kind + b'; boundary=' + b'x' * 70, b'x' * 70), 'seventy-one': one(kind + b'; boundary=' + b'x' * 71, b'x' * 71),
                 'folded with a blank line': one(kind + b';\r\n \r\n boundary=ab', b'ab')}
        self.signature_in_file(table)

    def test_B10_delimiter_lines(self):
        begin = MIXED % b'boundary' + b'--boundary\r\nContent-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n\r\n'
        end = b'\r\n--boundary--\r\n'
        for text in (b'--boundaryx', b'-boundary', b'---boundary', b'--Boundary', b'-- boundary', b'x--boundary', b' --boundary', b'--boundary'[:-1], b'--\r\n-boundary', b'--bound\r\nary', b'-', b'--', b'\r\n', b'--boundary-x'):
            looks = text.startswith(b'--boundary')  # another reader may take it for a delimiter: that reading comes beside

            def expect(name, message, flow):
                found = message['sluice']['attachments'][0]
                self.assertEqual((found['name'], found['size'], found['sha256']), ('a.txt', len(text), hashlib.sha256(text).hexdigest()), text)
                if not looks:
                    self.assertEqual(len(message['sluice']['attachments']), 1)
            self.messages({text: begin + text + end}, expect)

    def test_B11_more_names(self):
        head = b'Content-Disposition: attachment; '
        table = {head + b"filename*0*=utf-8''p%C3; filename*1*=%A9.exe": ['pé.exe'], head + b"filename*0*=utf-8''p; filename*1=.e; filename*2*=%78e": ['p.exe'], head + b'filename="=?iso-8859-1?Q?p=E9.exe?="': ['pé.exe'],
                 head + b'filename="=?utf-8?Q?p.?=\r\n =?utf-8?Q?exe?="': ['p.exe'], head + b'filename==?utf-8?Q?p.exe?=': ['p.exe'], head + b'filename="p.exe "': ['p.exe'], head + b'filename="p.exe."': ['p.exe.'],
                 head + b'filename="..\\\\..\\\\p.exe"': ['p.exe'], head + b'filename="/tmp/p.exe"': ['p.exe'], head + b'filename="C:\\dir\\p.exe"': ['p.exe'], head + b'filename="p\r\n .exe"': ['.exe'],
                 head + b'filename=p.exe; filename=q.pdf': ['p.exe', 'q.pdf'], head + b'filename="r.pdf"; filename*=utf-8\'\'p.exe': ['p.exe', 'r.pdf'], b'Content-Type: application/x; name*=utf-8\'\'p%2eexe\r\nContent-Disposition: attachment': ['p.exe'],
                 b'Content-Type: application/x; name="p.exe"': ['p.exe'], head + b'\r\n  filename=\r\n  "p.exe"': ['p.exe'], b'content-disposition: ATTACHMENT; FileName="P.EXE"': ['P.EXE'], head + b'filename="p.txt.exe"': ['p.txt.exe'],
                 head + b'filename="' + 'p‮gpj.exe'.encode() + b'"': ['.exe'], head + b'filename="' + b'x' * 3000 + b'.exe"': ['x'], b'Content-Disposition: inline; filename=p.exe': ['p.exe'],
                 b'Content-Disposition: form-data; name=u; filename=p.exe': ['p.exe']}

        def expect(name, message, flow):
            told = str(message['sluice'].get('attachments'))
            for part in table[name]:
                self.assertIn(part, told)
        self.messages({k: with_attachment(k + b'\r\n') for k in table}, expect)

    def test_B12_words_in_other_places(self):
        table = {b'=?utf-8?B?w?=': None, b'=?utf-8?B?/w==?=': None, b'=?utf-8?Q?=ZZ?=': '=ZZ', b'=?UTF-8?q?=c3=bc?=': 'ü', b'=?utf-8?b?w7w?=': 'ü', b'=?utf-8?B?w7w=?==?utf-8?B?w7w=?=': 'üü', b'a=?utf-8?q?b?=c': 'abc',
                 b'"=?utf-8?q?a?="': '"a"', b'(=?utf-8?q?a?=)': '(a)', '=?utf-8?q?ü?='.encode(): 'ü', 'raw ü'.encode(): 'raw ü', 'raw ü'.encode('cp1252'): 'raw ü', b'=?us-ascii?q?a?=\r\n\t\r\n =?us-ascii?q?b?=': 'ab', b'=?x-unknown?q?a?=': 'a',
                 b'=?utf-8?q?' + b'a' * 2000 + b'?=': 'a' * 1024, b'=?utf-8?q?a?=\r\n b\r\n =?utf-8?q?c?=': 'a b c', b'=?utf-16?B?/v8A/A==?=': 'ü', b'=?utf-7?Q?+APw-?=': 'ü', b'=?big5?B?pKSk5Q==?=': '中文', b'=?euc-kr?B?x9GxuQ==?=': '한국',
                 b'=?utf-8?q?=00?=x': None}

        def expect(raw, message, flow):
            if table[raw] is not None:
                self.assertEqual(message['email'].get('subject', ''), table[raw])
        self.messages({raw: b'Subject: ' + raw + b'\r\nFrom: =?utf-8?q?J=C3=B6rg?= <j@a.test>\r\n\r\nx\r\n' for raw in table}, lambda r, m, f: (expect(r, m, f), self.assertEqual(m['email']['from'], 'Jörg <j@a.test>')))

    def test_B12_fields_are_cut_between_characters(self):
        table = {'ü' * 700: 'ü' * 512, 'a' + 'ü' * 700: 'a' + 'ü' * 511, '€' * 400: '€' * 341, '😀' * 300: '😀' * 256, 'xx' + '😀' * 300: 'xx' + '😀' * 255}
        self.messages({k: b'Subject: ' + k.encode() + b'\r\n\r\nx\r\n' for k in table}, lambda k, m, f: self.assertEqual(m['email']['subject'], table[k]))

    def test_B12_places_in_fields_are_counted_from_their_first_octet(self):
        # The field as it was sent was looked at with the blank behind its colon, where nothing starts
        # with anything, and what its encoding hides was taken for absent.
        options = ('email.subject; content:!"Re:"; startswith; content:"offer";', 'email.subject; content:"offer"; offset:5;', 'email.subject; content:!"Re:"; file_data; content:"body";',
                   'email.from; content:!"Ann"; startswith; content:"@";', 'email.subject; content:"offer"; content:!"today"; within:8;', 'email.subject; content:"?Q?Re"; nocase;')
        rules = ''.join(f'alert smtp any any -> any any (msg:"{i}"; {o} sid:{i};)\n' for i, o in enumerate(options, 1))
        table = {b'Re: offer today': set(), b'=?utf-8?Q?Re=3A=20offer=20toda?= =?utf-8?Q?y?=': {2, 6}, b'=?utf-8?B?UmU6IG9mZmVyIHRvZGF5?=': set(), b'my offer': {1, 3, 5}, b'Fwd: offer': {1, 2, 3, 5}}
        self.messages({k: b'Subject: ' + k + b'\r\nFrom: Ann <a@a.test>\r\n\r\nbody\r\n' for k in table}, lambda k, m, f: self.assertEqual(f.hits, table[k]), rules=rules)

    def test_B12_each_buffer_is_its_own_field(self):
        fields = ('from', 'to', 'cc', 'subject', 'date', 'message_id', 'x_mailer', 'received')
        rules = ''.join(f'alert smtp any any -> any any (msg:"{f}"; email.{f}; content:"mark"; startswith; sid:{i};)\n' for i, f in enumerate(fields, 1))
        table = {b'Message-ID': {6}, b'X-Mailer': {7}, b'received': {8}, b'CC': {3}, b'To': {2}, b'From': {1}, b'Subject': {4}, b'Date': {5}, b'Bcc': set(), b'X-Received': set()}
        self.messages({k: b'Received: from a by b\r\n' + k + b': =?utf-8?q?mar?=\r\n =?utf-8?q?k?= x\r\n\r\nbody\r\n' for k in table}, lambda k, m, f: self.assertEqual(f.hits, table[k]), rules=rules)

    def test_B12_lists_are_cut_before_they_are_decoded(self):
        table = {b'=?utf-8?q?Doe=2C_J?= <j@a.test>, b@b.test': ['Doe, J <j@a.test>', 'b@b.test'], b'"Doe, J" <j@a.test>,b@b.test': ['"Doe, J" <j@a.test>', 'b@b.test'], b'a@a.test (x, y), <b@b.test>': ['a@a.test (x, y)', '<b@b.test>'],
                 b'friends: a@a.test, B <b@b.test>;, c@c.test': ['a@a.test', 'B <b@b.test>', 'c@c.test'], b'undisclosed-recipients:;': ['undisclosed-recipients:;'], b'=?utf-8?b?w7w=?= <a@a.test>': ['ü <a@a.test>'], b'a@a.test; b@b.test': ['a@a.test', 'b@b.test']}
        self.messages({k: b'To: ' + k + b'\r\nCc: ' + k + b'\r\n\r\nx\r\n' for k in table}, lambda k, m, f: self.assertEqual((m['email']['to'], m['email']['cc']), (table[k], table[k])))

    def test_B14_urls_of_two_readings_at_every_cut(self):
        many = b''.join(b'http://h%d.test/=\r\nx ' % i for i in range(150))
        table = {'bare cr': b'n:\nContent-Transfer-Encoding:quoted-printable\r\nContent-Transfer-Encoding:\n\nhttp://-\rhttp://o\r\n', 'many': b'Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n' + many}
        self.messages(table, lambda k, m, f: self.assertTrue(f.urls()))

    def test_B13_more_quoted_printable(self):
        table = {b'=\r\n=\r\n=\r\nx': b'x', b'a=\t\r\nb': b'ab', b'=E2=82=AC': '€'.encode(), b'=e2=82=ac': '€'.encode(), b'=3D=\r\n=3D': b'==', b'=20': b' ', b'=20=\r\n': b' ', b'a \r\nb': b'a\r\nb', b'a=0D\r\nb': b'a\r\r\nb', b'=0A': b'\n',
                 b'=1': b'=1', b'=G1': b'=G1', b'===': b'==', b'a=3': b'a=3', b'\xe9=E9': b'\xe9\xe9', b'=\n\r\nx': b'\r\nx', b'=2E\r\n=2E': b'.\r\n.', b'a' * 2000 + b'=\r\nb': b'a' * 2000 + b'b'}

        def one(coded):
            return (MIXED % b'b' + b'--b\r\nContent-Type: application/x; name=a\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n' + coded + b'\r\n--b--\r\n')

        def expect(coded, message, flow):
            found = message['sluice']['attachments'][0]
            self.assertEqual((found['size'], found['sha256']), (len(table[coded]), hashlib.sha256(table[coded]).hexdigest()), coded)
        self.messages({k: one(k) for k in table}, expect)

    def test_B14_text_that_html_hides(self):
        half, rest = SIGNATURE[:5], SIGNATURE[5:]
        table = {k: text_part(b'<html><body>' + k + b'</body></html>\r\n', b'text/html') for k in (
            half + b'<b></b>' + rest, half + b'<!-- c -->' + rest, half + b'<span style="display:none"></span>' + rest, half + b'&shy;' + rest, half + b'&#8203;' + rest, half + '​'.encode() + rest, half + b'<font size=1>' + rest + b'</font>',
            b''.join(b'&#%d;' % c for c in SIGNATURE), b''.join(b'&#x%X;' % c for c in SIGNATURE), b''.join(b'&#%d' % c + b'<i></i>' for c in SIGNATURE), b''.join(b'<b>%c</b>' % c for c in SIGNATURE), half + b'<a href="x>y">' + rest + b'</a>',
            half + b"<img alt='>'>" + rest, half + b'<x-unknown>' + rest, half + b'<![CDATA[ ]]>' + rest, half + b'<?php x ?>' + rest, half + b'</>' + rest, half + b'<style>b{}</style>' + rest, half + b'<script>var x = "</b>";</script>' + rest)}
        self.signature_in_text(table)

    def test_B14_more_urls(self):
        html = {b'<a href="http:\\\\u.test\\p">': ['u.test'], b'<a href="http:/u.test/p">': ['u.test'], b'<a href="http:///u.test/p">': ['u.test'], b'<a href="//u.test/p">': ['u.test'], b'<a href="HtTp://U.TeSt/p">': ['u.test'], b'<a href="http://u%2etest/p">': ['u.test'],
                b'<a href="http://u.test:80/p">': ['u.test'], b'<a href="http://0x7f000001/p">': ['127.0.0.1'], b'<a href="http://2130706433/p">': ['127.0.0.1'], b'<a href="http://0177.0.0.1/p">': ['127.0.0.1'], '<a href="http://bücher.test/">'.encode(): ['xn--bcher-kva.test'],
                '<a href="http://u。test/p">'.encode(): ['u.test'], b'<a href="http://u.test&#47;p">': ['u.test'], b'<a href="\x01http://u.test/p">': ['u.test'], b'<a href="http://user@u.test/p">': ['u.test'], b'<a href="http://good.test@u.test/p">': ['u.test'],
                b'<img srcset="http://u.test/a 1x, http://u.test/b 2x">': ['u.test'], b'<svg><a xlink:href="http://u.test/p">': ['u.test'], b'<button formaction="http://u.test/p">': ['u.test'], b'<div onclick="location=\'http://u.test/p\'">': ['u.test'],
                b'<a href = http://u.test/p >': ['u.test'], b'<a/href="http://u.test/p">': ['u.test'], b'<a href="http://u.test/p" href="http://v.test/">': ['u.test'], b'<link rel=x href="http://u.test/p">': ['u.test'], b'<iframe src=http://u.test/p>': ['u.test']}
        rules = 'alert smtp any any -> any any (msg:"h"; email.url; content:"{}"; nocase; sid:5;)\n'
        by_host = {}
        for text, hosts in html.items():
            by_host.setdefault(hosts[0], {})[text] = text_part(text + b'x</a>\r\n', b'text/html')
        for host, table in by_host.items():
            self.messages(table, lambda k, m, f: self.assertIn(5, f.hits, f.urls()), rules=rules.format(host))

    def test_B15_more_uuencode(self):
        def uu(octets, head=b'begin 644 t.exe', end=b'`\r\nend\r\n'):
            return head + b'\r\n' + b''.join(binascii.b2a_uu(octets[i:i + 45], backtick=True).replace(b'\n', b'\r\n') for i in range(0, len(octets), 45)) + end
        content = b'content of it ' * 10 + SIGNATURE
        table = {'mode 4': uu(content, b'begin 0644 t.exe'), 'name with blanks': uu(content, b'begin 644 my t.exe'), 'at once': uu(content), 'upper': uu(content, end=b'`\r\nEND\r\n'), 'lf': uu(content).replace(b'\r\n', b'\n'),
                 'in a part': MIXED % b'b' + b'--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n' + uu(content) + b'--b--\r\n', 'declared': text_part(uu(content), b'application/octet-stream', b'x-uuencode'), 'declared uue': text_part(uu(content), b'text/plain', b'uuencode')}
        self.signature_in_file({k: v if k in ('in a part', 'declared', 'declared uue') else b'Subject: s\r\n\r\ntext\r\n\r\n' + v for k, v in table.items()})

    def test_B17_more_charsets(self):
        word = 'реклама ' + SIGNATURE.decode()
        table = {c: text_part(lines(word.encode(p)), encoding=b'base64', charset=c) for c, p in ((b'koi8-r', 'koi8-r'), (b'windows-1251', 'cp1251'), (b'CP1251', 'cp1251'), (b'x-mac-cyrillic', 'mac-cyrillic'), (b'iso-8859-5', 'iso8859-5'), (b'utf8', 'utf-8'), (b'UTF_8', 'utf-8'),
                                                                                       (b'"utf-8"', 'utf-8'), (b'utf-16', 'utf-16'), (b'ucs-2', 'utf-16-be'), (b'utf-32le', 'utf-32-le'), (b'ibm866', 'cp866'))}
        rules = 'alert smtp any any -> any any (msg:"t"; sluice.text; content:"' + ''.join(f'|{b:02x}|' for b in word.encode()) + '"; sid:6;)\n'
        self.messages(table, lambda k, m, f: self.assertIn(6, f.hits), rules=rules)
        cjk = '日本語 ' + SIGNATURE.decode()
        table = {c: text_part(lines(cjk.encode(p)), encoding=b'base64', charset=c) for c, p in ((b'iso-2022-jp', 'iso2022_jp'), (b'shift_jis', 'shift_jis'), (b'x-sjis', 'shift_jis'), (b'euc-jp', 'euc_jp'), (b'gb18030', 'gb18030'), (b'gbk', 'gbk'))}
        rules = 'alert smtp any any -> any any (msg:"t"; sluice.text; content:"' + ''.join(f'|{b:02x}|' for b in cjk.encode()) + '"; sid:6;)\n'
        self.messages(table, lambda k, m, f: self.assertIn(6, f.hits), rules=rules)
        meta = {m: b'Content-Type: text/html\r\n\r\n' + m + word.encode('cp1251') for m in (b'<meta charset=windows-1251>', b'<meta http-equiv=Content-Type content="text/html; charset=windows-1251">')}
        rules = 'alert smtp any any -> any any (msg:"t"; sluice.text; content:"' + ''.join(f'|{b:02x}|' for b in word.encode()) + '"; sid:6;)\n'
        self.messages(meta, lambda k, m, f: self.assertIn(6, f.hits), rules=rules)

    def test_B18_odd_headers(self):
        end = b'\r\n' + SIGNATURE + b'\r\n'
        table = {'no header': end, 'header only': b'Subject: s\r\n', 'colon alone': b': x\r\nSubject: s\r\n' + end, 'no colon': b'Subject\r\nFrom: a@a.test\r\n' + end, 'tab fold': b'Subject: a\r\n\tb\r\n' + end, 'blank name': b' Subject: s\r\n' + end,
                 'from line': b'From x@y Mon Jan 1 00:00:00 2026\r\nSubject: s\r\n' + end, 'mbox quoted': b'>From x\r\nSubject: s\r\n' + end, 'high octets': 'Betreff: grüß\r\nSubject: ü\r\n'.encode() + end, 'cr inside': b'Subject: a\rb\r\n' + end, 'nul': b'Subject: a\0b\r\n' + end,
                 'empty values': b'Subject:\r\nFrom: \r\nTo:\r\n' + end, 'long name': b'X' * 3000 + b': y\r\n' + end, 'lone cr line': b'Subject: s\r\r\n' + end}

        def expect(name, message, flow):
            if name != 'header only':
                self.assertTrue(flow.hits & {2, 3}, flow.hits)
        self.messages(table, expect)

    def test_B19_archives_built_to_hurt(self):
        compress = zlib.compressobj(9, zlib.DEFLATED, -15)
        kernel = compress.compress(bytes(10 << 20)) + compress.flush()
        crc = zlib.crc32(bytes(10 << 20))

        def local(name, size):
            return struct.pack('<IHHHHHIIIHH', 0x04034B50, 20, 0, 8, 0, 0, crc, size, 10 << 20, len(name), 0) + name

        def central(name, size, at):
            return struct.pack('<IHHHHHHIIIHHHHHII', 0x02014B50, 20, 20, 0, 8, 0, 0, crc, size, 10 << 20, len(name), 0, 0, 0, 0, 0, at) + name
        body = local(b'0', len(kernel)) + kernel
        directory = b''.join(central(b'%d' % i, len(kernel), 0) for i in range(2000))
        full = body + directory + struct.pack('<IHHHHIIH', 0x06054B50, 0, 0, 2000, 2000, len(directory), len(body), 0)
        # Each file's compressed data quotes the header of the next as a stored block.
        tail, listed = kernel, []
        for i in range(200, 0, -1):
            head = local(b'%d' % i, len(tail))
            listed.append((i, len(tail)))
            tail = b'\0' + struct.pack('<HH', len(head), len(head) ^ 0xFFFF) + head + tail
        body = local(b'0', len(tail)) + tail
        directory = central(b'0', len(tail), 0) + b''.join(central(b'%d' % i, n, len(body) - n - 30 - len(b'%d' % i)) for i, n in listed)
        quoted = body + directory + struct.pack('<IHHHHIIH', 0x06054B50, 0, 0, 201, 201, len(directory), len(body), 0)
        gz = SIGNATURE * 2
        for _ in range(40):
            gz = gzip.compress(gz)
        many = zipped([(f'{i}.txt', b'x') for i in range(20000)])
        lying = bytearray(zipped([('a', bytes(1000))], zipfile.ZIP_STORED))
        lying[18:22] = struct.pack('<I', 0xFFFFFFFF)
        table = {'overlap': attached(full), 'quoted': attached(quoted), 'deep gzip': attached(gz, b'a.gz'), 'many members': attached(many), 'lying size': attached(bytes(lying)),
                 'members of gzip': attached(gzip.compress(bytes(1 << 20)) * 300, b'a.gz')}
        honest = GREETING + Mime_mail() + BYE
        capture, played = w.Capture(), []
        for name, message in table.items():
            connection = w.Connection(capture).open()
            beside = w.Connection(capture).open()
            steps = [o for o in (GREETING + envelope() + [('C', b'DATA\r\n'), ('S', b'354 go\r\n'), ('C', message.replace(b'\r\n.', b'\r\n..') + b'.\r\n'), ('S', OK)] + BYE)]
            for (who, octets), other in zip(steps, honest + [None] * len(steps)):
                if other:
                    beside.send('CS'.index(other[0]), other[1])
                connection.flight('CS'.index(who), octets, 'whole')
            played.append((name, connection.close(), beside.close()))
        result = self.run_capture(capture)
        for name, connection, beside in played:
            flow = result.flow(connection)
            self.assertEqual([m['smtp']['outcome'] for m in flow.messages], ['accepted'], name)
            self.assertEqual(len(flow.anomaly_list), len(flow.anomalies), name)
            if name not in ('lying size',):
                self.assertTrue(flow.anomalies & {'limit', 'part-limit'}, (name, flow.anomalies))
            other = result.flow(beside)
            self.assertEqual([m['smtp']['outcome'] for m in other.messages], ['accepted'], name)
            self.assertEqual(other.hits, {1, 2, 3})

    def test_B09_pairs_comments_and_fragments(self):
        body = b'--%s\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a\r\n\r\n' + lines(SIGNATURE) + b'--%s--\r\n'
        table = {p: b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; ' + p + b'\r\n\r\n' + body % (b, b) for p, b in (
            (b'boundary="a\\b"', b'ab'), (b'boundary="a\\b" ', b'a\\b'), (b'boundary(c)=(d)"ab"', b'ab'), (b'boundary=(d)ab', b'ab'), (b'boundary=ab(c)', b'ab'), (b'(a "b) c) boundary=ab', b'ab'), (b'(open; boundary=ab', b'ab'), (b'boundary=ab, charset=x', b'ab'))}
        table['partial'] = b'Content-Type: message/partial; id="x@y"; number=1; total=2\r\n\r\nSubject: in\r\nMIME-Version: 1.0\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(SIGNATURE)
        self.signature_in_file(table)

    def test_B19_nul_in_header_fields(self):
        octets = lines(SIGNATURE)
        parts = b'--ab\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n' + octets + b'--ab--\r\n'
        mixed = {n: b'MIME-Version: 1.0\r\n' + n + b'multipart/mixed; boundary=ab\r\n\r\n' + parts for n in (
            b'Content-Type\0: ', b'Content-\0Type: ', b'\0Content-Type: ', b'C\0ontent-Typ\0e: ', b'Content-Type: \0', b'Content-Type\x01: ', b'Content-Type\xa0: ')}
        mixed |= {v: b'Content-Type: multipart/mixed; ' + v + b'\r\n\r\n' + parts for v in (
            b'boundary=ab\0', b'boundary="ab\0c"', b'boundary=a\0b', b'bound\0ary=ab')}
        self.signature_in_file(mixed)
        coded = {n: n + v + b'\r\nX: y\r\n\r\n' + body for n in (b'Content-Transfer-Encoding\0: ', b'Content-\0Transfer-Encoding: ')
                 for v, body in ((b'base64', octets), (b'base64', SIGNATURE + b'\r\n'))}
        coded |= {(v, body): b'Content-Transfer-Encoding: ' + v + b'\r\n\r\n' + body for v in (b'base64\0', b'ba\0se64', b'\0base64') for body in (octets,)}
        coded['not believed'] = b'Content-Transfer-Encoding: \0base64\r\n\r\n' + SIGNATURE + b'\r\n'
        coded['charset'] = b'Content-Type: text/plain; charset=utf-16le\0\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(SIGNATURE.decode().encode('utf-16-le'))
        self.signature_in_text(coded)

    def test_B09_empty_and_unclosed_boundaries(self):
        body = b'--%s\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(SIGNATURE) + b'--%s--\r\n'
        table = {(p, b): b'Content-Type: multipart/mixed; ' + p + b'\r\n\r\n' + body % (b, b) for p, b in (
            (b'boundary=""', b''), (b'boundary=', b''), (b'boundary=" "', b''), (b'boundary=""', b'x'), (b'boundary="ab', b'ab'), (b'boundary="ab', b'"ab'), (b'boundary="ab; x=y', b'"ab'))}
        self.signature_in_file(table)

    def test_B17_two_charsets(self):
        table = {p: b'Content-Type: text/plain; ' + p + b'\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(SIGNATURE.decode().encode('utf-16-le'))
                 for p in (b'charset=us-ascii; charset=utf-16le', b'charset=utf-16le; charset=us-ascii', b'charset=utf-16be; charset=utf-16le', b"charset='utf-16le'")}
        self.signature_in_text(table)

    def test_B05_lines_that_end_at_a_cr(self):
        parts = b'--b\r\n\r\nhi\r\n--b\r\nContent-Type: application/x; name=p.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(b'pre ' * 40 + SIGNATURE) + b'--b--\r\n'
        head = MIXED % b'b'
        table = {'all': (head + parts).replace(b'\r\n', b'\r'), 'body': head + parts.replace(b'\r\n', b'\r'), 'delimiter': head + parts.replace(b'hi\r\n--b', b'hi\r--b'), 'lf': (head + parts).replace(b'\r\n', b'\n'), 'cr cr lf': (head + parts).replace(b'\r\n', b'\r\r\n')}
        scripts = {k: GREETING + envelope() + [('C', b'BDAT %d LAST\r\n' % len(m) + m), ('S', OK)] + BYE for k, m in table.items()}

        def expect(name, flow):
            self.assertIn(4, flow.hits)
            self.assertEqual('bare-cr' in flow.anomalies, name in ('all', 'body', 'delimiter'), flow.anomalies)
        self.check(scripts, expect, rules=FILE)

    def test_B11_names_in_every_reading(self):
        head = b'Content-Disposition: attachment; '
        table = {b'filename(c)=(d)"p.exe"': 'p.exe', b'filename=p.exe (comment)': 'p.exe', b'filename="p.e\\xe"': 'p.exe', b'filename*0="=?utf-8?Q?p?="; filename*1="=?utf-8?Q?.exe?="': 'p.exe', b'filename*0="=?utf-8?B?cC5"; filename*1="leGU=?="': 'p.exe',
                 b'filename=(1).pdf': '(1).pdf', b'filename="C:\\dir\\x.pdf"': 'C:\\dir\\x.pdf'}
        self.messages({k: with_attachment(head + k + b'\r\n') for k in table}, lambda k, m, f: self.assertIn(m['sluice']['attachments'][0]['name'].rsplit('\\', 1)[-1], table[k]))

    def test_B14_ends_and_nests_of_urls(self):
        table = {'http://u.test/p' + end + 'y': end for end in ' 　​”»」）。，！…'}
        self.urls_are({k: text_part(k.encode() + b'\r\n', charset=b'utf-8') for k in table}, [URL])
        html = (b"<a href=\"javascript:window.open('http://u.test/p')\">", b'<a href="data:text/html,<a href=http://u.test/p>x">', b'<a href="data:text/html;base64,' + base64.b64encode(b'<a href="http://u.test/p">x</a>') + b'">', b'<iframe srcdoc="&lt;a href=http://u.test/p&gt;">')
        self.urls_are({k: text_part(k + b'x</a>\r\n', b'text/html') for k in html}, [URL])

    def test_B14_urls_behind_the_escapes_of_strings(self):
        html = (b'<script type="application/ld+json">{"url":"http:\\/\\/u.test\\/p"}</script>', b'<script>a="\\x68ttp://u.test/p"</script>', b"<script>a='http\\u003a//u.test/p'</script>", b'<a onclick="location=\'http:\\/\\/u.test\\/p\'">x</a>',
                b'<style>a{background:url(\\68ttp://u.test/p)}</style>', b'<i style="background:url(\\68 ttp://u.test/p)">x</i>', b'<i style="background:url(http\\3a//u.test/\\000070)">x</i>', b'<style>@import "http:\\2f\\2fu.test/\\70";</style>')
        self.urls_are({k: text_part(k + b'\r\n', b'text/html') for k in html}, [URL])
        # None of them: a backslash that means itself, and one that is left alone.
        for text, url in ((b'"http:\\\\u.test/p"', 'http:\\\\u.test/p'), (b'"http://u.test/\\q"', 'http://u.test/\\q')):
            self.urls_are({text: text_part(b'<!-- ' + text + b' -->\r\n', b'text/html')}, [url])

    def test_B14_words_around_hidden_elements(self):
        half, rest = SIGNATURE[:5], SIGNATURE[5:]
        hidden = (b'<span style="display:none">zzz</span>', b"<SPAN STYLE='color:red; DISPLAY : None !important'>z</SPAN >", b'<div style=visibility:hidden>z<br>z</div>', b'<b style="font-size:0px">z</b>', b'<i hidden>z</i>', b'<i hidden=until-found title=x>z</i>', b'<span style="mso-hide:all">z</span>',
                  b'<span style="opacity:0.0">z <span>q</span> z</span>', b'<span style="display:&#110;one">z</span>', b'<p hidden>z <p>q</p></p>', b'<font style="font-size:0"><b>z</b></font>', b'<span hidden>z</span><i></i><span hidden>z</span>', b'<span hidden>z </span>')
        table = {h: text_part(b'<html><body><p>' + half + h + rest + b'</p></body></html>\r\n', b'text/html') for h in hidden}
        table['chain'] = text_part(b'<p>' + b''.join(bytes([c]) + b'<s style="display:none">%c</s>' % (97 + i) for i, c in enumerate(SIGNATURE)) + b'</p>\r\n', b'text/html')
        table['far'] = text_part(b'<p>' + b'word ' * 300 + half + b'<s hidden>' + b'chaff ' * 300 + b'</s>' + rest + b'</p>\r\n', b'text/html')
        self.signature_in_text(table)
        # Shown, or a blank between: nothing is made of it that nobody sees.
        shown = (b'<span style="display:block">z</span>', b'<span style="font-size:0.9em">z</span>', b'<span style="font-size:10px">z</span>', b' <span hidden>z</span>', b'<span hidden>z</span> ', b'<span title="hidden">z</span>', b'<input type=hidden> z', b'<span style="opacity:1">z</span>')
        self.messages({h: text_part(b'<p>' + half + h + rest + b'</p>\r\n', b'text/html') for h in shown}, lambda _, m, f: self.assertNotIn(2, f.hits), rules=TEXT)

    def test_B14_characters_that_nobody_sees(self):
        half, rest = SIGNATURE[:5], SIGNATURE[5:]
        table = {}
        for c in (0xad, 0x34f, 0x61c, 0x115f, 0x17b4, 0x180e, 0x200d, 0x202e, 0x2062, 0x2069, 0x3164, 0xfe0f, 0xfeff, 0xffa0, 0xe0020):
            table[c, 'octets'] = text_part(half + chr(c).encode() + rest + b'\r\n', b'text/html', charset=b'utf-8')
            table[c, 'reference'] = text_part(half + b'&#%d;' % c + rest + b'\r\n', b'text/html')
            table[c, 'plain'] = text_part(half + chr(c).encode() + rest + b'\r\n', charset=b'utf-8')
        self.signature_in_text(table)

    def test_B17_labels_of_the_encoding_standard(self):
        for text, codec, labels in (('мир', 'cp1251', 'x-cp1251'), ('мир', 'koi8-r', 'koi koi8 cskoi8r'), ('мир', 'mac-cyrillic', 'x-mac-ukrainian'), ('你好', 'gbk', 'x-gbk gb_2312-80 chinese iso-ir-58 csiso58gb231280'), ('中文', 'big5', 'cn-big5 x-x-big5'),
                                    ('日本', 'cp932', 'ms932'), ('한국', 'cp949', 'korean'), ('שלום', 'iso8859-8', 'visual logical csiso88598i'), ('سلام', 'iso8859-6', 'csiso88596e'), ('ไทย', 'cp874', 'dos-874'), ('ü', 'utf-16-le', 'csunicode unicodefeff')):
            word = text + ' ' + SIGNATURE.decode()
            rules = 'alert smtp any any -> any any (msg:"t"; sluice.text; content:"' + ''.join(f'|{b:02x}|' for b in word.encode()) + '"; sid:6;)\n'
            self.messages({label: text_part(lines(word.encode(codec)), encoding=b'base64', charset=label.encode()) for label in labels.split()}, lambda k, m, f: (self.assertIn(6, f.hits), self.assertNotIn('charset', f.anomalies)), modes=('whole', '536'), rules=rules)

    def test_B19_archives_behind_other_octets(self):
        inner = zipped([('s.txt', b'ok ' * 50 + SIGNATURE)])
        self.signature_in_file({f: attached(f + inner) for f in (b'\0', b'junk', b'PK', b'MZ' + bytes(500), b'\x1f')})

    def test_B19_deflated_data_that_is_called_stored(self):
        def local(name, data, crc=0):
            return struct.pack('<IHHHHHIIIHH', 0x04034b50, 20, 0, 0, 0, 0, crc, len(data), len(data), len(name), 0) + name + data
        table = {}
        for n in (1, 20, 400):
            for level in (1, 9):
                z = zlib.compressobj(level, zlib.DEFLATED, -15)
                data = z.compress(bytes(range(97, 123)) * n + SIGNATURE + b' end') + z.flush()
                table[n, level] = attached(local(b's.txt', data) + local(b't.txt', b'other'))
                table[n, level, 'behind'] = attached(local(b't.txt', b'other' * 50) + local(b's.txt', data))
        # And stored data is read as that, whatever it begins with.
        for first in (b'', b'\x03\0', b'\x4b', b'\x01\x05\0\xfa\xff', b'\0' * 40, b'<html>', b'%PDF-'):
            table[first] = attached(local(b's.txt', first + SIGNATURE))
            table[first, 'zip'] = attached(local(b's.zip', first + zipped([('i.txt', b'ok ' * 50 + SIGNATURE)])))
        self.signature_in_file(table)

    def test_B19_archives_are_opened(self):
        content = b'ok ' * 50 + SIGNATURE
        inner = zipped([('s.txt', content)])
        table = {'stored': zipped([('s.txt', content)], zipfile.ZIP_STORED), 'deflated': inner, 'second member': zipped([('a', b'x'), ('b', content)]), 'zip in zip': zipped([('i.zip', inner)]), 'gzip': gzip.compress(content), 'gzip twice': gzip.compress(gzip.compress(content)),
                 'gzip member two': gzip.compress(b'x') + gzip.compress(content), 'comment': inner + b'trailing', 'docx': zipped([('[Content_Types].xml', b'<x/>'), ('word/document.xml', content)])}
        self.signature_in_file({k: attached(v) for k, v in table.items()})


def Mime_mail():
    from cases_base import mail
    return mail(b'Subject: s\r\n\r\n' + SIGNATURE + b'\r\n.\r\n')
