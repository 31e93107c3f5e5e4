"""Frames, TCP conversations and captures built octet by octet, and what `sluicectl analyze` says of
them. Standard library only; small on purpose: the tests say what goes wrong on the wire, not this."""
import functools
import ipaddress
import json
import pathlib
import struct
import subprocess
import tempfile

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
INSIDE, OUTSIDE = b'\x02\0\0\0\0\x01', b'\x02\0\0\0\0\x02'


def checksum(octets):
    """RFC 1071. Folding carries is taking the remainder by 0xFFFF, where all of zero but nothing is
    0xFFFF."""
    if len(octets) % 2:
        octets += b'\0'
    number = int.from_bytes(octets, 'big')
    return (number % 0xFFFF or (0xFFFF if number else 0)) ^ 0xFFFF


@functools.cache
def packed(address):
    return ipaddress.ip_address(address).packed


def tcp(source, destination, sport, dport, seq, ack, flags, payload=b'', *, options=b'', window=65000,
        urgent=0, bad_sum=False):
    options += b'\0' * (-len(options) % 4)
    head = struct.pack('!HHIIBBHHH', sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF,
                       (5 + len(options) // 4) << 4, flags, window, 0, urgent) + options
    a, b = packed(source), packed(destination)
    pseudo = a + b + (struct.pack('!HH', 6, len(head) + len(payload)) if len(a) == 4 else
                      struct.pack('!IHBB', len(head) + len(payload), 0, 0, 6))
    total = checksum(pseudo + head + payload)
    if bad_sum:
        total ^= 0x5555
    return head[:16] + struct.pack('!H', total) + head[18:] + payload


def ip(source, destination, payload, *, protocol=6, chain=b'', first=6, total=None, ident=0, frag=0,
       bad_sum=False):
    """An IPv4 or IPv6 datagram. `frag`: the IPv4 flags and offset field. `chain`: octets of IPv6
    extension headers, the first of them of type `first`."""
    a, b = packed(source), packed(destination)
    if len(a) == 4:
        head = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(payload) if total is None else total,
                           ident, frag, 64, protocol, 0) + a + b
        total_sum = checksum(head) ^ (0x0F0F if bad_sum else 0)
        return head[:10] + struct.pack('!H', total_sum) + head[12:] + payload
    size = len(chain) + len(payload) if total is None else total
    return struct.pack('!IHBB', 6 << 28, size, first if chain else protocol, 64) + a + b + chain + payload


def ethernet(datagram, to_server=True, encap=(), pad=b''):
    """`encap`, outer first: ('vlan', tpid, id), ('mpls', label), ('pppoe',) or ('pppoe-pfc',)."""
    v6 = datagram[0] >> 4 == 6
    kind, head = (0x86DD if v6 else 0x0800), b''
    for layer in reversed(encap):
        if layer[0] == 'vlan':
            head, kind = struct.pack('!HH', layer[2], kind) + head, layer[1]
        elif layer[0] == 'mpls':
            bottom = not head
            head, kind = struct.pack('!I', layer[1] << 12 | bottom << 8 | 64) + head, 0x8847
        else:
            ppp = 0x57 if v6 else 0x21
            ppp = bytes([ppp]) if layer[0] == 'pppoe-pfc' else struct.pack('!H', ppp)
            head = struct.pack('!BBHH', 0x11, 0, 0x1234, len(ppp) + len(datagram)) + ppp + head
            kind = 0x8864
    macs = OUTSIDE + INSIDE if to_server else INSIDE + OUTSIDE
    return macs + struct.pack('!H', kind) + head + datagram + pad


class Capture:
    def __init__(self):
        self.frames = []
        self.now = 1_700_000_000.0
        self.port = 20000

    def add(self, frame, wait=0.001):
        self.now += wait
        self.frames.append((self.now, frame))

    def octets(self):
        parts = [struct.pack('<IHHiIII', 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
        for time, frame in self.frames:
            parts += [struct.pack('<IIII', int(time), int(time % 1 * 1e6), len(frame), len(frame)), frame]
        return b''.join(parts)


def read_pcap(octets):
    """The frames of a classic pcap or pcapng file, in order."""
    magic = octets[:4]
    frames, at = [], 24
    if magic == b'\x0a\x0d\x0d\x0a':
        at = 0
        while at < len(octets):
            kind, size = struct.unpack_from('<II', octets, at)
            if kind == 6:
                length = struct.unpack_from('<I', octets, at + 20)[0]
                frames.append(octets[at + 28:at + 28 + length])
            at += size
        return frames
    while at < len(octets):
        length = struct.unpack_from('<I', octets, at + 8)[0]
        frames.append(octets[at + 16:at + 16 + length])
        at += 16 + length
    return frames


def stream(frames, connection, side):
    """What the receiver of `side`'s octets reads (the last copy of each octet wins). Plain IPv4."""
    octets = {}
    for f in frames:
        ports = struct.unpack_from('!HH', f, 34)
        if ports[side] != connection.port or ports[1 - side] != connection.dport:
            continue
        seq = struct.unpack_from('!I', f, 38)[0]
        payload = f[34 + (f[46] >> 4) * 4:14 + struct.unpack_from('!H', f, 16)[0]]
        at = (seq - connection.isn[side] - 1) & 0xFFFFFFFF
        octets.update(enumerate(payload, at))
    out = bytearray()
    while len(out) in octets:
        out.append(octets[len(out)])
    return bytes(out)


class Connection:
    """One TCP connection. `c()` and `s()` send the next octets of client and server; `frame()` sends
    anything. Sequence numbers given to frame() are relative to the first octet of the stream."""

    def __init__(self, capture, *, client='10.0.0.1', server='192.0.2.25', dport=25, encap=(),
                 isn=1000, server_isn=500000, stamps=False, chain=b'', first=6):
        self.capture, self.client, self.server, self.dport = capture, client, server, dport
        self.encap, self.chain, self.first = encap, chain, first
        capture.port += 1
        self.port = capture.port
        self.isn = [isn, server_isn]
        self.next = [0, 0]  # octets sent by client, by server
        self.stamps, self.clock, self.echo = stamps, 1000, [0, 0]

    def segment(self, side, flags, payload=b'', *, seq=None, ack=None, options=None, stamp=None, **more):
        """TCP octets of a segment from side 0 (client) or 1."""
        ends = [(self.client, self.port), (self.server, self.dport)]
        (a, ap), (b, bp) = ends[side], ends[1 - side]
        if seq is None:
            seq = self.next[side]
        if ack is None:
            ack = self.isn[1 - side] + 1 + self.next[1 - side] if flags & ACK else 0
        elif flags & ACK:
            ack = self.isn[1 - side] + 1 + ack
        if options is None:
            options = b''
            if self.stamps:
                self.clock += 1
                value = self.clock if stamp is None else stamp
                options = struct.pack('!BBBBII', 1, 1, 8, 10, value, self.echo[1 - side])
                self.echo[side] = value
        return tcp(a, b, ap, bp, self.isn[side] + 1 + seq, ack, flags, payload, options=options, **more)

    def datagram(self, side, segment, **more):
        a, b = (self.client, self.server) if side == 0 else (self.server, self.client)
        return ip(a, b, segment, chain=self.chain, first=self.first, **more)

    def put(self, side, datagram, wait=0.001, pad=b''):
        self.capture.add(ethernet(datagram, side == 0, self.encap, pad), wait)

    def frame(self, side, flags, payload=b'', *, wait=0.001, pad=b'', **more):
        self.put(side, self.datagram(side, self.segment(side, flags, payload, **more)), wait, pad)

    def open(self, wait=0.001):
        self.frame(0, SYN, seq=-1, wait=wait)
        self.frame(1, SYN | ACK, seq=-1)
        self.frame(0, ACK)
        return self

    def send(self, side, octets, answer=True):
        self.frame(side, ACK | PSH, octets)
        self.next[side] += len(octets)
        if answer:
            self.frame(1 - side, ACK)

    def c(self, octets):
        self.send(0, octets)
        return self

    def s(self, octets):
        self.send(1, octets)
        return self

    def close(self):
        self.frame(0, FIN | ACK)
        self.next[0] += 1
        self.frame(1, FIN | ACK)
        self.next[1] += 1
        self.frame(0, ACK)
        return self

    def pieces(self, side, pieces, order=None):
        """Segments of one flight, sent in `order` (their indexes; may repeat), then one ACK."""
        starts, at = [], self.next[side]
        for piece in pieces:
            starts.append(at)
            at += len(piece)
        for i in order or range(len(pieces)):
            self.frame(side, ACK | PSH, pieces[i], seq=starts[i])
        self.next[side] = at
        self.frame(1 - side, ACK)

    def flight(self, side, octets, mode):
        """The octets in segments cut and ordered as `mode` says (see MODES), a window at a time."""
        few = len(octets) < 100_000
        size = {'one': 1, '536': 536, 'swap': 7 if few else 701, 'twice': 11 if few else 1103}.get(mode, 1400)
        for at in range(0, len(octets), 48_000):
            window = octets[at:at + 48_000]
            pieces = [window[i:i + size] for i in range(0, len(window), size)]
            order = list(range(len(pieces)))
            if mode == 'swap':
                order = [j for i in range(0, len(pieces), 3) for j in reversed(order[i:i + 3])]
            if mode == 'twice':
                order = [i for i in order for _ in range(2)]
            self.pieces(side, pieces, order)


# Ways to send the same dialogue: cuts and orders of the segments, and roads. Every one must give the
# same events.
CUTS = ('whole', 'one', '536', 'swap', 'twice')
ROADS = {'v6': {'client': '2001:db8::1', 'server': '2001:db8:1::25'}, 'vlan': {'encap': (('vlan', 0x8100, 7),)},
         'qinq': {'encap': (('vlan', 0x88A8, 7), ('vlan', 0x8100, 8))}, 'pppoe': {'encap': (('pppoe',),)},
         'mpls': {'encap': (('mpls', 16), ('mpls', 17))}}
MODES = CUTS + tuple(ROADS)


def connection(capture, mode):
    """A connection on the road that `mode` names, if it names one."""
    return Connection(capture, **ROADS.get(mode, {}))


def play(connection, steps, mode='whole', close=True):
    """`steps`: ('C' or 'S', octets or a list of segments)."""
    connection.open()
    for who, octets in steps:
        side = 'CS'.index(who)
        if isinstance(octets, list) and mode == 'whole':
            connection.pieces(side, octets)
        else:
            connection.flight(side, b''.join(octets) if isinstance(octets, list) else octets, mode)
    if close:
        connection.close()
    return connection


# Fields that say where and when, not what.
PLACE = ('timestamp', 'flow_id', 'src_ip', 'src_port', 'dest_ip', 'dest_port', 'community_id', 'vlan', 'pcap_cnt', 'in_iface')


class Flow:
    """The events of one connection."""

    def __init__(self, events):
        self.events = events
        self.smtp = [e for e in events if e['event_type'] == 'smtp']
        self.messages = [e for e in self.smtp if 'via' in e['smtp']]
        self.anomalies = {e['anomaly']['event'] for e in events if e['event_type'] == 'anomaly'}
        self.anomaly_list = [e['anomaly']['event'] for e in events if e['event_type'] == 'anomaly']
        self.hits = {e['alert']['signature_id'] for e in events if e['event_type'] == 'alert'}
        self.tls = [e for e in events if e['event_type'] == 'tls']
        self.flows = [e for e in events if e['event_type'] == 'flow']

    def story(self):
        """What the events say but for place and time; comparable between ways to send the same."""
        told = [{k: v for k, v in e.items() if k not in PLACE} for e in self.events]
        ordered = [e for e in told if e['event_type'] in ('smtp', 'fileinfo', 'tls')]
        # When each became known depends on the cuts.
        others = sorted((e for e in told if e['event_type'] in ('alert', 'anomaly')), key=lambda e: json.dumps(e, sort_keys=True))
        return ordered + others

    def envelopes(self):
        return [(e['smtp'].get('mail_from'), e['smtp'].get('rcpt_to', [])) for e in self.smtp]

    def urls(self):
        return [u for e in self.smtp for u in e.get('email', {}).get('url', [])]

    def names(self):
        return [a for e in self.smtp for a in e.get('email', {}).get('attachment', [])]


class Result:
    def __init__(self, status, events, errors, sent, left):
        self.status, self.events, self.errors = status, events, errors
        self.sent, self.left = sent, left  # frames

    def flow(self, connection):
        return Flow([e for e in self.events if e.get('src_port') == connection.port
                     or e.get('dest_port') == connection.port])


class Analyzer:
    def __init__(self, sluicectl):
        self.sluicectl = sluicectl

    def run(self, capture, *, rules='', policy=None, options=()):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / 'in.pcap').write_bytes(capture.octets())
            arguments = [self.sluicectl, 'analyze', str(folder / 'in.pcap'), '--out', str(folder / 'out.pcap'),
                         *options]
            if rules:
                (folder / 'a.rules').write_text(rules)
                arguments += ['--rules', str(folder / 'a.rules')]
            if policy is not None:
                (folder / 'p.json').write_text(json.dumps(policy))
                arguments += ['--policy', str(folder / 'p.json')]
            done = subprocess.run(arguments, capture_output=True, timeout=100)
            events = [json.loads(line) for line in done.stdout.splitlines()]
            left = read_pcap((folder / 'out.pcap').read_bytes()) if done.returncode == 0 else []
        return Result(done.returncode, events, done.stderr.decode(), [f for _, f in capture.frames], left)
