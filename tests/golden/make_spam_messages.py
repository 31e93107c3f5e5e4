#!/usr/bin/env python3
"""Makes the messages of spam_hits_test.py, and stores what Debian's spamassassin says of them.

  make_spam_messages.py [--messages N] [--seed N] > spam-hits.jsonl

The texts are made of the rules themselves: strings that their regexes match, in bodies, subjects and
HTML of several structures. A line: {"name", "message", "score", "rules"}; the first line says of which
rules (digest of the .cf files) that is."""
import argparse
import base64
import json
import pathlib
import random
import re
import string
import sys
import tempfile
import warnings

import spamassassin_side as side

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import sre_constants as op
    import sre_parse

WORDS = ('we', 'you', 'offer', 'account', 'meeting', 'tomorrow', 'report', 'please', 'thanks', 'invoice', 'for', 'the',
         'team', 'price', 'order', 'and', 'about', 'list', 'patch', 'kernel', 'question', 'reply', 'money', 'time')
CLASSES = {op.CATEGORY_DIGIT: string.digits, op.CATEGORY_WORD: string.ascii_letters, op.CATEGORY_SPACE: ' ',
           op.CATEGORY_NOT_DIGIT: 'xyz ', op.CATEGORY_NOT_WORD: ' .-', op.CATEGORY_NOT_SPACE: 'abcxyz'}


class Maker:
    def __init__(self, rng):
        self.rng = rng

    def text(self, pattern, flags):
        tree = sre_parse.parse(pattern, flags)
        self.groups = {}
        return self.sequence(tree)

    def sequence(self, items):
        return ''.join(self.item(code, value) for code, value in items)

    def members(self, value):
        negated, chars = False, []
        for code, of in value:
            if code is op.NEGATE:
                negated = True
            elif code is op.LITERAL:
                chars.append(chr(of))
            elif code is op.RANGE:
                chars.extend(chr(c) for c in range(of[0], of[1] + 1))
            elif code is op.CATEGORY:
                chars.extend(CLASSES[of])
        if negated:
            chars = [c for c in string.ascii_lowercase + string.digits + ' .' if c not in chars]
        ascii_only = [c for c in chars if 32 <= ord(c) < 127]
        return ascii_only or [' ']

    def item(self, code, value):
        if code is op.LITERAL:
            return chr(value) if value < 128 else '?'
        if code is op.NOT_LITERAL:
            return 'x' if value != ord('x') else 'y'
        if code is op.ANY:
            return self.rng.choice('abc ')
        if code is op.IN:
            return self.rng.choice(self.members(value))
        if code is op.BRANCH:
            return self.sequence(self.rng.choice(value[1]))
        if code is op.SUBPATTERN:
            made = self.sequence(value[-1])
            self.groups[value[0]] = made
            return made
        if code in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, item = value
            times = least if self.rng.random() < 0.6 else self.rng.randint(least, min(most, least + 2))
            return ''.join(self.sequence(item) for _ in range(min(times, 60)))
        if code is op.GROUPREF:
            return self.groups.get(value, '')
        return ''  # anchors, look-around


def read_rules(folder):
    """[(kind, field or None, pattern, flags)]"""
    tags, replaced, rules = {}, set(), []
    for path in sorted(folder.glob('*.cf')):
        for line in path.read_text(encoding='latin-1').splitlines():
            words = line.split(None, 2)
            if len(words) < 2:
                continue
            if words[0] == 'replace_tag' and len(words) > 2:
                tags[words[1]] = words[2].strip()
            elif words[0] == 'replace_rules':
                replaced.update(line.split()[1:])
            elif words[0] in ('body', 'rawbody', 'uri', 'header') and len(words) > 2:
                rules.append((words[0], words[1], words[2]))
    made = []
    for kind, name, rest in rules:
        field = None
        if kind == 'header':
            m = re.match(r'([A-Za-z-]+)(?::\w+)?\s+=~\s+(.*)$', rest)
            if not m or m.group(1) not in ('Subject', 'From', 'To', 'Message-ID', 'X-Mailer', 'User-Agent', 'Reply-To'):
                continue
            field, rest = m.groups()
        m = re.match(r'(?:m(.)|/)(.*)(?:/|\1|[}\])])([a-z]*)\s*(?:#.*)?$', rest.strip())
        if not m:
            continue
        pattern = m.group(2)
        if name in replaced:
            for _ in range(4):
                pattern = re.sub(r'<(\w+)>', lambda t: tags.get(t.group(1), t.group(0)), pattern)
            pattern = re.sub(r'^(?:<(?:inter|post|pre) \w+>)+', '', pattern)
            pattern = re.sub(r'<(\w)>', lambda t: t.group(1), pattern)
        made.append((kind, field, pattern, re.I if 'i' in m.group(3) else 0))
    return made


def snippets(rules, rng):
    maker, found = Maker(rng), {}
    for kind, field, pattern, flags in rules:
        try:
            text = maker.text(pattern, flags)
        except Exception:  # noqa: BLE001  (Perl's own constructs)
            continue
        if 2 < len(text) < 900 and '\r' not in text:
            found.setdefault(field or kind, []).append(text.replace('\n', ' '))
    return found


def sentence(rng):
    return ' '.join(rng.choice(WORDS) for _ in range(rng.randint(4, 12))).capitalize() + '.'


def one_line(text):
    return re.sub(r'[^\x20-\x7e]', ' ', text).strip()[:200]


def message(parts, rng, number):
    pick = lambda kind, n: [rng.choice(parts[kind]) for _ in range(n) if parts.get(kind)]  # noqa: E731
    paragraphs = [sentence(rng) for _ in range(rng.randint(1, 5))]
    for text in pick('body', rng.choice((0, 1, 3, 6, 12))):
        paragraphs.insert(rng.randrange(len(paragraphs) + 1), f'{rng.choice(WORDS)} {text} {rng.choice(WORDS)}')
    for text in pick('uri', rng.choice((0, 0, 1, 3))):
        paragraphs.append('http://' + re.sub(r'^.*?//', '', one_line(text)).replace(' ', '') if '//' in text
                          else f'http://www.example{number % 7}.com/{one_line(text).replace(" ", "")}')
    one = rng.random() < 0.5
    head = [f'Received: from mail{number}.example.net (mail{number}.example.net [203.0.113.{number % 250 + 1}])',
            f'\tby mx.example.org (Postfix) with ESMTP id {rng.getrandbits(40):010X}',
            f'\tfor <user@example.org>; Mon, 12 Oct 2020 {number % 24:02}:{number % 60:02}:07 +0000 (UTC)']
    if rng.random() < 0.4:
        head += [f'Received: from [192.168.1.{number % 200}] (helo=desktop) by mail{number}.example.net',
                 f'\twith SMTP; Mon, 12 Oct 2020 {number % 24:02}:{number % 60:02}:01 +0000']
    def field(name, usual):
        special = parts.get(name)
        return f'{name}: {one_line(rng.choice(special)) if special and rng.random() < 0.35 else usual}'
    head += [field('From', f'"Sender {number}" <sender{number}@example.com>'), field('To', '<user@example.org>'),
             field('Subject', sentence(rng)), f'Date: Mon, 12 Oct 2020 {number % 24:02}:{number % 60:02}:00 +0000']
    if rng.random() < 0.9:
        head.append(field('Message-ID', f'<{rng.getrandbits(48):012x}@example.com>'))
    for name in ('X-Mailer', 'User-Agent', 'Reply-To'):
        if rng.random() < 0.2 and parts.get(name):
            head.append(f'{name}: {one_line(rng.choice(parts[name]))}')
    plain = '\n\n'.join(paragraphs)
    html = ('<html><body bgcolor="#ffffff">' + ''.join(
        f'<p><font color="{rng.choice(("red", "#fefefe", "#000000", "blue"))}" size="{rng.randint(1, 7)}">{p}</font></p>\n'
        for p in paragraphs) + ''.join(pick('rawbody', rng.choice((0, 1, 3))))
        + (f'<a href="http://www.example.com/{number}">click here</a><img src="http://x.example.com/i.gif" height=1 width=1>'
           if rng.random() < 0.5 else '') + '</body></html>')
    head.append('MIME-Version: 1.0')
    def part(kind, text):
        encoding = rng.choice(('7bit', '7bit', 'base64', 'quoted-printable'))
        charset = rng.choice(('us-ascii', 'iso-8859-1', 'utf-8'))
        if encoding == 'base64':
            text = base64.encodebytes(text.encode()).decode()
        elif encoding == 'quoted-printable':
            text = text.replace('=', '=3D')
        return f'Content-Type: text/{kind}; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n{text}\n'
    if one:
        body = part('plain', plain) if rng.random() < 0.6 else part('html', html)
        return '\n'.join(head) + '\n' + body
    kind = rng.choice(('alternative', 'alternative', 'mixed'))
    boundary = f'----=_Part_{number}_{rng.getrandbits(32):08x}'
    return ('\n'.join(head) + f'\nContent-Type: multipart/{kind}; boundary="{boundary}"\n\n--{boundary}\n' + part('plain', plain)
            + f'--{boundary}\n' + part('html', html) + f'--{boundary}--\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--messages', type=int, default=200)
    parser.add_argument('--seed', type=int, default=4)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    rules = read_rules(side.RULES)
    print(json.dumps({'rules': side.rules_digest()}))
    with tempfile.TemporaryDirectory() as folder:
        texts = {}
        for number in range(options.messages):
            text = message(snippets(rng.sample(rules, 250), rng), rng, number)
            path = pathlib.Path(folder) / f'{number:04}.eml'
            path.write_bytes(text.encode('ascii', 'replace').replace(b'\n', b'\r\n'))
            texts[str(path)] = path
        theirs = side.hits(sorted(texts))
        for name in sorted(texts):
            print(json.dumps({'name': pathlib.Path(name).name, 'message': texts[name].read_bytes().decode('ascii'),
                              'score': theirs[name]['score'], 'rules': theirs[name]['rules']}))


if __name__ == '__main__':
    sys.exit(main())
