#!/usr/bin/env python3
"""Compares what the MIME parser sees in messages with what Python's email package sees, as a test.

usage: compare_email.py --dump PATH_OF_mime_dump [--show N] [--every N] [--corpus] [--random N] [PATH...]

PATH is a message or a folder of messages (searched whole); --corpus is SpamAssassin's 6,046 messages
(tests/lab/corpus.py), of which --every takes each N-th: with 1, all; --random is so many made by
random_messages.py. For every message the two parsers'
leaves are compared: the SHA-256 of decoded octets of each, the text of text parts, the subject, the
URLs of plain text and the links of HTML. Every difference is sorted into a cause; the causes that
explain one stand in EXPLAINED with their reason, and a difference with any other fails the test. TAP
with one line for each kind of comparison; the counts stand in the comments.
"""

import argparse
import base64
import collections
import email
import email.header
import email.policy
import hashlib
import html
import html.parser
import json
import pathlib
import quopri
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lab"))
import corpus  # noqa: E402
import random_messages  # noqa: E402

URL = re.compile(rb"\bhttps?://[^\s<>\"'`()\[\]{}|\\^\x00-\x20\x7f-\xff]+", re.I)


# Python takes their body for a message; it is text.
LEAVES = ("message/delivery-status", "message/external-body")


def messages_of(paths):
    for path in paths:
        path = pathlib.Path(path)
        if path.is_dir():
            yield from (p for p in sorted(path.rglob("*")) if p.is_file() and is_message(p))
        else:
            yield path


def is_message(path):
    return path.suffix in (".eml", ".txt", ".msg", "") and not path.name.startswith((".", "LICENSE"))


def leaves_of(message):
    """Leaves in order of appearance: (content type, transfer encoding, raw payload octets)."""
    if message.is_multipart() and message.get_content_type() not in LEAVES:
        for part in message.get_payload():
            yield from leaves_of(part)
    else:
        # Not get_payload(): that decodes octets above 0x7f by the charset.
        payload = message._payload
        raw = (payload if isinstance(payload, str) else "").encode("ascii", "surrogateescape")
        yield message, raw


def sha(octets):
    return hashlib.sha256(octets).hexdigest()


def python_octets(part, raw):
    octets = part.get_payload(decode=True)
    return raw if octets is None else octets


ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def junk_tolerant_base64(raw):
    """All characters of the alphabet, those after padding too; padding ends a group of four."""
    out, group, pads = bytearray(), bytearray(), 0
    for c in raw:
        if c in ALPHABET:
            pads = 0
            group.append(c)
        elif c == ord("=") and len(group) >= 2:
            pads += 1
        if len(group) == 4 or (pads and len(group) + pads >= 4):
            out += base64.b64decode(bytes(group) + b"=" * (4 - len(group)))
            group, pads = bytearray(), 0
    if len(group) >= 2:
        out += base64.b64decode(bytes(group) + b"=" * (4 - len(group)))
    return bytes(out)


def rfc_quoted_printable(raw):
    """RFC 2045 6.7 with blanks before line ends removed, which Python leaves."""
    out = bytearray()
    for line in raw.splitlines(keepends=True):
        body = line.rstrip(b"\r\n")
        end = line[len(body):]
        body = body.rstrip(b" \t")
        soft = body.endswith(b"=")
        if soft:
            body = body[:-1]
        out += re.sub(rb"=([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), body)
        if not soft:
            out += end
    return bytes(out)


def encoding_of(part):
    return str(part.get("Content-Transfer-Encoding", "")).strip().lower()


def why_octets_differ(part, raw, ours):
    """The cause for which the octets of a leaf differ, or None."""
    want = python_octets(part, raw)
    encoding = encoding_of(part)
    have, size = ours["sha256_decoded"], ours["decoded_size"]
    if have in (sha(want.rstrip(b"\r\n")), sha(want + b"\n"), sha(want + b"\r\n")) or (
            size < len(want) and have == sha(want[:size]) and not want[size:].strip()):
        return "line end at the end of the part"
    if encoding == "base64" and have == sha(junk_tolerant_base64(raw)):
        return "base64 with junk or data after padding: all of it is decoded"
    if encoding == "quoted-printable":
        for candidate in (rfc_quoted_printable(raw), rfc_quoted_printable(raw.rstrip(b"\n"))):
            if have == sha(candidate):
                return "quoted-printable: blanks before line ends are not text (RFC 2045 6.7)"
        if have == sha(quopri.decodestring(raw)):
            return "quoted-printable: transport form"
    if encoding in ("x-uuencode", "uuencode", "uue", "x-uue") or b"\nbegin " in b"\n" + want:
        return "uuencoded file is a part of its own"
    if b"\r" in raw:
        return "Python's splitlines rewrites bare CR"
    return None


def compare(path, octets, ours, counts, samples):
    message = email.message_from_bytes(octets)
    first = [p for p in ours["parts"] if not p["alternative"]]
    uu = [p for p in first if p["encoding"] == "x-uuencode" and not p.get("headers") and p["number"] != 0]
    our_leaves = [p for p in first if not p["multipart"] and not p["nested"] and p not in uu]
    their_leaves = list(leaves_of(message))

    def differ(kind, cause, detail=""):
        counts[kind, cause] += 1
        if len(samples[kind, cause]) < 200:
            samples[kind, cause].append((str(path), detail))

    if len(our_leaves) != len(their_leaves):
        anomalies = set(ours.get("anomalies") or [])
        defects = {type(d).__name__ for p in message.walk() for d in p.defects}
        if "missing-boundary" in anomalies and len(our_leaves) < len(their_leaves):
            cause = "no part in a multipart: its text is its container's (alternative)"
        elif "bad-boundary" in anomalies:
            cause = "parts after the closing delimiter, or without a declared boundary, are read"
        elif defects & {"MultipartInvariantViolationDefect", "NoBoundaryInMultipartDefect",
                        "StartBoundaryNotFoundDefect"}:
            cause = "no part in a multipart: its text is its container's (alternative)"
        elif any(p["nested"] and p["encoding"] in ("base64", "quoted-printable") for p in first):
            cause = "a nested message in base64 or quoted-printable: Python does not undo it"
        else:
            cause = "unexplained"
        differ("parts", cause, f"ours {len(our_leaves)} theirs {len(their_leaves)}")
        return
    for mine, (part, raw) in zip(our_leaves, their_leaves):
        counts["leaves", "compared"] += 1
        if not part.is_multipart() and part.get_content_type() != mine["type"]:
            differ("type", "content type cannot be read: default differs"
                   if mine["type"] == "text/plain" or part.get_content_type() == "text/plain"
                   else "unexplained", f'{mine["type"]} {part.get("Content-Type")}')
        if mine["type"] in LEAVES:
            counts["octets", "of a delivery-status or external-body: Python divides it"] += 1
            continue
        want = python_octets(part, raw)
        if sha(want) == mine["sha256_decoded"]:
            counts["octets", "equal"] += 1
        else:
            differ("octets", why_octets_differ(part, raw, mine) or "unexplained",
                   f'part {mine["number"]} {encoding_of(part)} ours {mine["decoded_size"]} theirs {len(want)}')
            continue
        if part.get_content_type() == "text/plain":
            compare_text(part, want, mine, differ, counts)
        if part.get_content_type() == "text/html":
            compare_links(want, mine, differ, counts)
    compare_subject(message, first[0], differ, counts)


# Default_Ignorable_Code_Point: our text is without them.
UNSEEN = re.compile("[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
                    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]")


def seen(text):
    return UNSEEN.sub("", text)


def as_shown(part, text):
    """Lines of format=flowed with delsp=yes as one (RFC 3676 4.2), which Python leaves as they are."""
    if (part.get_param("format") or "").lower() != "flowed" or (part.get_param("delsp") or "").lower() != "yes":
        return text
    shown, begins = [], True
    for line in re.findall(r"[^\n]*\n|[^\n]+\Z", text):
        body = line.rstrip("\n").removesuffix("\r")
        fixed = begins and (line.startswith(">") or body == "-- ")
        joined = line.endswith("\n") and body.endswith(" ") and not fixed
        shown.append(body[:-1] if joined else line)
        begins = not joined
    return "".join(shown)


def compare_text(part, want, mine, differ, counts):
    charset = part.get_content_charset() or "us-ascii"
    try:
        text = want.decode({"iso-8859-1": "windows-1252"}.get(charset, charset))
    except (LookupError, UnicodeDecodeError):
        counts["text", "not of its charset (to both)"] += 1
        return
    text = as_shown(part, text)
    if seen(text) == mine["text"]:
        counts["text", "equal"] += 1
    else:
        differ("text", "unexplained", f'part {mine["number"]} {charset}')
    theirs = {normal(u) for u in URL.findall(text.encode())}
    have = {normal(u.encode()) for u, _ in mine.get("urls", [])}
    missing = {u for u in theirs - have if not any(h.startswith(u) or u.startswith(h) for h in have)}
    counts["URLs of plain text", "of theirs"] += len(theirs)
    for url in sorted(missing):
        differ("URLs of plain text", why_url_missing(url, mine), url.decode("ascii", "replace"))


def masked(text):
    return "".join(c if c.isascii() else "?" for c in text)


class Links(html.parser.HTMLParser):
    """Places that a document names, as html.parser reads it."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.found = set()

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            value = re.sub(r"[\t\r\n]", "", value or "").strip()
            if name in ("href", "src", "action", "background") and re.match(r"https?://[^\s/]", value, re.I):
                self.found.add(value)


def compare_links(octets, mine, differ, counts):
    links = Links()
    links.feed(octets.decode("utf-8", "replace"))
    links.close()
    have = {re.sub(r"[^\x21-\x7e]", "", u) for u, _ in mine.get("urls", [])}
    counts["links of HTML", "of theirs"] += len(links.found)
    for url in sorted(links.found):
        plain = re.sub(r"[^\x21-\x7e]", "", url)
        if plain in have or any(h.startswith(plain.rstrip(".,:;!?'*_~|}")) for h in have):
            continue
        if url in {html.unescape(u) for u, _ in mine.get("urls", [])}:
            differ("links of HTML", "html.parser takes '&sectionid' for a reference (HTML 13.2.5.73 does not)", url[:160])
        elif "\ufffd" in url:
            differ("links of HTML", "octets of another charset in it", url[:160])
        else:
            differ("links of HTML", "unexplained", url[:160])


def normal(url):
    return url.rstrip(b".,:;!?*_~'/").lower()


def why_url_missing(url, mine):
    host = re.sub(rb"^https?://", b"", url).split(b"/")[0]
    if not re.search(rb"[a-z0-9]", host):
        return "no host in it"
    return "unexplained"


def compare_subject(message, mine, differ, counts):
    theirs = message.get("Subject")
    ours = next((v for n, v in mine.get("headers", []) if n.lower() == "subject"), None)
    if theirs is None and ours is None:
        return
    if theirs is None or ours is None:
        differ("subject", "header ends at different places", repr((theirs, ours))[:200])
        return
    raw = str(theirs)
    try:
        text = str(email.header.make_header(email.header.decode_header(theirs)))
    except (LookupError, UnicodeError, email.errors.HeaderParseError):
        counts["subject", "undecodable to Python"] += 1
        return
    squeeze = lambda s: re.sub(r"\s+", "", s)
    if squeeze(text) == squeeze(ours):
        counts["subject", "equal"] += 1
    elif masked(text) == masked(ours):
        differ("subject", "ISO-8859-1 is read as Windows-1252", repr((text, ours))[:200])
    elif not raw.isascii() or "\ufffd" in text or isinstance(theirs, email.header.Header):
        differ("subject", "raw octets above 0x7f: Windows-1252 or UTF-8, Python says unknown", repr((text, ours))[:200])
    elif re.search(r"=\?[^?]*\?[bBqQ]\?[^?]*[ ]", raw):
        differ("subject", "encoded word with blanks inside is decoded", repr((text, ours))[:200])
    else:
        differ("subject", "unexplained", repr((text, ours))[:200])


# Cause: why the parser does what it does where Python does otherwise.
EXPLAINED = {
    "parts": {
        "no part in a multipart: its text is its container's (alternative)":
            "Python makes such a multipart a leaf of its own type; readers show its text",
        "parts after the closing delimiter, or without a declared boundary, are read":
            "some readers show them, so they are scanned",
        "a nested message in base64 or quoted-printable: Python does not undo it":
            "RFC 2046 5.2.1 forbids it, readers open it all the same",
    },
    "type": {
        "content type cannot be read: default differs": "RFC 2045 5.2 leaves it open",
    },
    "octets": {
        "line end at the end of the part": "the line end before a delimiter is the delimiter's (RFC 2046 5.1.1)",
        "base64 with junk or data after padding: all of it is decoded": "readers differ: B02",
        "quoted-printable: blanks before line ends are not text (RFC 2045 6.7)": "Python keeps them",
        "quoted-printable: transport form": "Python's quopri and its email package differ with each other",
        "uuencoded file is a part of its own": "B15; Python leaves it in the text",
        "Python's splitlines rewrites bare CR": "its parser cuts lines at CR",
    },
    "text": {},
    "URLs of plain text": {
        "no host in it": "nothing to go to",
    },
    "links of HTML": {
        "html.parser takes '&sectionid' for a reference (HTML 13.2.5.73 does not)": "browsers do not",
        "octets of another charset in it": "html.parser was given UTF-8 with replacements",
    },
    "subject": {
        "header ends at different places": "a line that is no field: Postfix and Python end the header there, others do not",
        "ISO-8859-1 is read as Windows-1252": "Encoding Standard",
        "raw octets above 0x7f: Windows-1252 or UTF-8, Python says unknown": "RFC 6532, and what is sent",
        "encoded word with blanks inside is decoded": "RFC 2047 forbids blanks, readers decode it",
    },
}
# Not differences.
COUNTED = ("equal", "compared", "of theirs", "not of its charset (to both)", "undecodable to Python",
           "of a delivery-status or external-body: Python divides it")


def dumps_of(dump, paths):
    """Objects of mime_dump, in the order of `paths`, some files at a time."""
    for at in range(0, len(paths), 200):
        chunk = [str(p) for p in paths[at:at + 200]]
        out = subprocess.run([dump, *chunk], check=True, stdout=subprocess.PIPE).stdout
        yield from (json.loads(line) for line in out.splitlines())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dump", required=True, help="the mime_dump program of the build folder")
    parser.add_argument("--show", type=int, default=3, help="examples for each cause")
    parser.add_argument("--corpus", action="store_true", help="SpamAssassin's messages too")
    parser.add_argument("--every", type=int, default=1, help="of the corpus each N-th")
    parser.add_argument("--random", type=int, default=0, help="so many random messages")
    parser.add_argument("paths", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.random):
            pathlib.Path(folder, f"random-{number:05}").write_bytes(random_messages.message(number))
        return check([*options.paths, folder], options)


def check(folders, options):
    paths = list(messages_of(folders))
    if options.corpus:
        paths += corpus.message_files()[::options.every]
    counts = collections.Counter()
    samples = collections.defaultdict(list)
    for path, ours in zip(paths, dumps_of(options.dump, paths)):
        counts["messages", "compared"] += 1
        compare(path, path.read_bytes(), ours, counts, samples)
    for (kind, cause), count in sorted(counts.items()):
        print(f"# {count:8}  {kind}: {cause}")
        for path, detail in samples[kind, cause][:options.show]:
            print(f"#               {path}: {detail}")
    print(f"1..{len(EXPLAINED) + 1}")
    good = counts["messages", "compared"] == len(paths) > 0
    print(f'{"ok" if good else "not ok"} 1 - {len(paths)} messages')
    for number, (kind, causes) in enumerate(EXPLAINED.items(), 2):
        unknown = {c: n for (k, c), n in counts.items() if k == kind and c not in causes and c not in COUNTED}
        print(f'{"not ok" if unknown else "ok"} {number} - {kind} {unknown or ""}')
        good = good and not unknown
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
