"""Random messages for compare_email.py: multiparts and messages in one another, every transfer
encoding, charsets, parameters in all the ways of RFC 2045, 2047 and 2231. All of it is well formed,
so that two parsers must agree to the octet; boundaries may begin alike."""
import base64
import quopri
import random

WORDS = ('alpha beta visit http://one.test/p?q=1&x=2 now https://a.b.test/é/ü ünïcödé 日本語 текст 🎉 = == '
         '. .. -- --b From dot = end').split()
NAMES = ('a.bin', 'räport.pdf', 'x y.exe', 'data.zip', 'n.txt.scr')
CHARSETS = ('utf-8', 'utf-8', 'iso-8859-1', 'windows-1252', 'koi8-r', 'iso-2022-jp', 'gb18030', 'utf-16')
BOUNDARIES = ('b', 'b1', '=_x', '----=_Part_7', "a'b", 'x y', 'bb', '0')


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pick = self.random.choice

    def text(self):
        return ' '.join(self.pick(WORDS) + self.pick(('', '\r\n', '\r\n\r\n', '  ')) for _ in range(self.random.randrange(60)))

    def parameter(self, name, value):
        way = self.random.randrange(4)
        if not value.isascii():
            if way < 2:
                return f"{name}*=utf-8'en'" + ''.join(f'%{c:02X}' for c in value.encode())
            return f'{name}="=?utf-8?B?{base64.b64encode(value.encode()).decode()}?="'
        if way == 0:
            return f"{name}*=us-ascii''" + ''.join(c if c.isalnum() else f'%{ord(c):02X}' for c in value)
        if way == 1:
            return f'{name}*0="{value[:2]}";\r\n {name}*1="{value[2:]}"'
        return f'{name}={value}' if way == 2 and ' ' not in value else f'{name}="{value}"'

    def encoded(self, octets, way):
        if way == 'base64':
            word, width = base64.b64encode(octets), self.pick((76, 60, 4, 72, 1000))
            return b'\r\n'.join(word[i:i + width] for i in range(0, len(word), width))
        if way == 'quoted-printable':
            return quopri.encodestring(octets.replace(b'\r\n', b'\n')).replace(b'\n', b'\r\n')
        return octets

    def text_leaf(self):
        charset, kind, text = self.pick(CHARSETS), self.pick(('plain', 'plain', 'html', 'csv')), self.text()
        if kind == 'html':
            lines = text.replace('&', '&amp;').replace('\r\n', '<br>\r\n')
            text = f'<html><body><p>{lines}</p><a href="http://link.test/{self.random.randrange(99)}">x</a></body></html>'
        way = 'base64' if charset == 'utf-16' else self.pick(('base64', 'quoted-printable', '8bit', '7bit'))
        label = self.pick((f'charset={charset}', f'charset="{charset}"', f'charset={charset.upper()}'))
        return [f'Content-Type: text/{kind}; {label}'], text.encode(charset, 'replace'), way

    def binary_leaf(self):
        name = self.pick(NAMES)
        fields = [self.pick(('Content-Type: application/octet-stream; ' + self.parameter('name', name),
                             'Content-Type: image/png', 'Content-Type: APPLICATION/PDF'))]
        if self.random.random() < .7:
            fields.append('Content-Disposition: attachment; ' + self.parameter('filename', name))
        return fields, self.random.randbytes(self.random.randrange(3000)), 'base64'

    def leaf(self):
        fields, octets, way = self.pick((self.text_leaf, self.binary_leaf))()
        fields.append(self.pick(('Content-Transfer-Encoding: ', 'content-transfer-encoding:', 'Content-Transfer-Encoding:\t')) +
                      self.pick((way, way.upper())))
        self.random.shuffle(fields)
        return fields, self.encoded(octets, way)

    def part(self, depth=0):
        """(header fields, body)"""
        kind = self.random.randrange(8)
        if depth > 4 or kind < 3:
            return self.leaf()
        if kind == 3:
            fields, body = self.part(depth + 1)
            return ['Content-Type: message/rfc822'], self.joined(['Subject: inner', 'From: a@b.test', *fields], body)
        boundary = f'{self.pick(BOUNDARIES)}.{depth}.{self.random.randrange(10**6)}'
        line = b'--' + boundary.encode()
        body = self.pick((b'', b'preamble\r\n', b'This is multi\r\n\r\n'))
        for _ in range(self.random.randrange(1, 4)):
            body += line + self.pick((b'', b'  ', b'\t')) + b'\r\n' + self.joined(*self.part(depth + 1)) + b'\r\n'
        if self.random.random() < .9:
            body += line + b'--' + self.pick((b'\r\n', b'\r\nepilogue\r\n', b''))
        kind = self.pick(('mixed', 'alternative', 'related', 'x-other', 'report'))
        return [f'Content-Type: multipart/{kind};' + self.pick((' ', '\r\n ', '\r\n\t')) +
                self.pick((f'boundary="{boundary}"', f'BOUNDARY="{boundary}"'))], body

    @staticmethod
    def joined(fields, body):
        return '\r\n'.join(fields).encode() + b'\r\n\r\n' + body


def message(seed):
    maker = Maker(seed)
    subject = maker.pick(('s', '=?utf-8?Q?s=C3=BC?=', '=?utf-8?B?' + base64.b64encode('süß 日本'.encode()).decode() + '?='))
    fields, body = maker.part()
    return maker.joined(['From: x <a@a.test>', 'To: b@b.test', f'Subject: {subject}', 'MIME-Version: 1.0', *fields], body)
