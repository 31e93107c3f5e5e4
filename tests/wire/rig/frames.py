#!/usr/bin/python3
"""Frames of all kinds that a wire must carry unchanged (wire cases, section D), from a seed.

    for frame in FrameGenerator(seed=1, mtu=1500).take(1000):
        frame.kind, frame.flow, frame.mail, frame.octets

Each frame is unlike every other of its generator, is 60 octets or longer, and has the source MAC
address 02:52:49:DD:FF:FF (direction, flow), by which soak.py tells it from what hosts send
themselves. Frames of one flow are of one kind and one address pair: they may not overtake each
other. `mail` is set for those that the appliance takes from the wire to look at: TCP on mail ports
and TCP fragments.
"""

import argparse
import collections
import dataclasses
import random
import struct

SOURCE_PREFIX = bytes.fromhex('025249')
MAIL_PORTS = (25, 465, 587, 2525)
VARIANTS = 8  # flows of each kind
LARGEST_MAIL_PORT = max(MAIL_PORTS)


@dataclasses.dataclass(frozen=True)
class Frame:
    kind: str
    flow: int
    mail: bool
    octets: bytes


def checksum(octets, start=0):
    """The Internet checksum (RFC 1071)."""
    if len(octets) % 2:
        octets += b'\0'
    return 0xffff - (int.from_bytes(octets, 'big') + start) % 0xffff


def ipv4(source, destination, protocol, payload, *, identification=1, fragment=0x4000, ttl=60):
    head = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), identification, fragment, ttl,
                       protocol, 0, source, destination)
    return head[:10] + struct.pack('>H', checksum(head)) + head[12:] + payload


def ipv6(source, destination, next_header, payload, *, hop_limit=60):
    return struct.pack('>IHBB16s16s', 6 << 28, len(payload), next_header, hop_limit, source,
                       destination) + payload


def pseudo(source, destination, protocol, length):
    return int.from_bytes(source + destination, 'big') + protocol + length


def tcp(source, destination, ports, payload, *, sequence=0, acknowledgement=0, flags=0x10,
        window=8192, options=b''):
    options += b'\0' * (-len(options) % 4)
    head = struct.pack('>HHIIBBHHH', *ports, sequence, acknowledgement,
                       (20 + len(options)) // 4 << 4, flags, window, 0, 0) + options
    whole = head + payload
    value = checksum(whole, pseudo(source, destination, 6, len(whole)))
    return whole[:16] + struct.pack('>H', value) + whole[18:]


def udp(source, destination, ports, payload):
    whole = struct.pack('>HHHH', *ports, 8 + len(payload), 0) + payload
    value = checksum(whole, pseudo(source, destination, 17, len(whole)))
    return whole[:6] + struct.pack('>H', value or 0xffff) + whole[8:]


class _Flow:
    """What stays the same in all frames of a flow."""

    def __init__(self, seed, number, variant, direction):
        r = random.Random(f'{seed}/{number}/flow')
        self.variant = variant
        self.source_mac = SOURCE_PREFIX + bytes([direction]) + struct.pack('>H', number)
        self.destination_mac = bytes([2, 0x99]) + r.randbytes(4)
        self.v4 = (bytes([198, 18]) + r.randbytes(2), bytes([198, 19]) + r.randbytes(2))
        self.v6 = (bytes.fromhex('20010db8') + r.randbytes(12),
                   bytes.fromhex('20010db9') + r.randbytes(12))
        ports = [r.randrange(1024, 65536), r.choice(MAIL_PORTS)]
        # Neither is a mail port.
        other = [r.randrange(LARGEST_MAIL_PORT + 1, 65536), r.choice((22, 80, 110, 443, 993, 8080))]
        r.shuffle(ports)
        r.shuffle(other)
        self.mail_ports, self.other_ports = tuple(ports), tuple(other)
        self.vids = [r.randrange(1, 4095) for _ in range(3)]
        self.session = r.randrange(1, 65535)
        self.labels = [r.randrange(16, 1 << 20) for _ in range(3)]
        self.is_v6 = bool(variant & 1)

    def addresses(self):
        return self.v6 if self.is_v6 else self.v4


KINDS = {}  # name -> (method of FrameGenerator, is mail, link-local)


def _kind(mail=False, link_local=False):
    def add(method):
        KINDS[method.__name__] = (method, mail, link_local)
        return method
    return add


class FrameGenerator:
    """Endless frames. direction (0 or 1) keeps two generators of one seed apart.

    mtu: the largest frame has mtu + 14 octets, with an 802.1Q tag mtu + 18 (what a raw socket may
    send). kinds: names of KINDS; default all. bridged: without those that a bridge keeps back
    (destination 01:80:c2:00:00:0X).
    """

    def __init__(self, seed, *, direction=0, mtu=1500, kinds=None, bridged=False):
        names = list(kinds or KINDS)
        if bridged:
            names = [n for n in names if not KINDS[n][2]]
        self._names = names
        self._random = random.Random(f'{seed}/{direction}')
        self._mtu = mtu
        self._direction = direction
        self._count = 0
        self._room = 0
        self._flow = None
        self._flows = {}
        for name in names:
            for variant in range(VARIANTS):
                number = list(KINDS).index(name) * VARIANTS + variant
                self._flows[name, variant] = (number, _Flow(f'{seed}/{direction}', number, variant,
                                                            direction))

    def take(self, count):
        for _ in range(count):
            yield self.next()

    def next(self):
        r = self._random
        name = r.choice(self._names)
        method, mail, _ = KINDS[name]
        number, self._flow = self._flows[name, r.randrange(VARIANTS)]
        self._count += 1
        # Octets behind the Ethernet header that may be used: short, full and all between.
        self._room = r.choice((46, self._mtu, r.randrange(46, self._mtu + 1),
                               r.randrange(46, self._mtu + 1)))
        octets = method(self)
        if len(octets) < 60:
            octets += self._mark(60 - len(octets))
        return Frame(name, number, mail, octets)

    # Parts ----------------------------------------------------------------------------------

    def _mark(self, size):
        """`size` octets that no other frame has, as far as they fit."""
        number = self._count.to_bytes(8, 'big')
        if size <= 8:
            return number[8 - size:]
        return number + self._random.randbytes(size - 8)

    def _fill(self, used):
        """Payload up to this frame's size, after `used` octets behind the Ethernet header."""
        return self._mark(max(8, self._room - used))

    def _ethernet(self, ether_type, payload, destination=None):
        f = self._flow
        return ((destination or f.destination_mac) + f.source_mac + struct.pack('>H', ether_type)
                + payload)

    def _ip(self, protocol, payload, **options):
        f = self._flow
        make = ipv6 if f.is_v6 else ipv4
        return make(*f.addresses(), protocol, payload, **options)

    def _ip_type(self):
        return 0x86dd if self._flow.is_v6 else 0x0800

    def _head(self):
        return 40 if self._flow.is_v6 else 20

    def _segment(self, used, ports=None):
        """A TCP segment of any kind, on mail ports unless told."""
        f, r = self._flow, self._random
        options = r.choice((b'', struct.pack('>BBBBII', 1, 1, 8, 10, self._count, 7)))
        flags = r.choice((0x10, 0x10, 0x18, 0x18, 0x02, 0x12, 0x11, 0x14, 0x04, 0x30, 0x00, 0x29))
        size = max(8, self._room - used - 20 - len(options))
        text = self._mark(size)
        if r.random() < 0.3:
            text = b'MAIL FROM:<%d@x.test>\r\n' % self._count + text
            text = text[:size] if size > 40 else self._mark(size)
        return tcp(*f.addresses(), ports or f.mail_ports, text, options=options, flags=flags,
                   sequence=self._sequence(), acknowledgement=r.getrandbits(32))

    def _sequence(self):
        """Anywhere, but no two of 2**18 segments overlap: the appliance would, rightly, replace the
        later one's octets by the first one's."""
        block = self._count * 0x9e3779b1 % (1 << 18)
        return block << 14 | self._random.getrandbits(12)

    def _mail_packet(self, used=0):
        return self._ip(6, self._segment(used + self._head()))

    # Kinds ----------------------------------------------------------------------------------

    @_kind(mail=True)
    def mail_tcp(self):
        return self._ethernet(self._ip_type(), self._mail_packet())

    @_kind()
    def other_tcp(self):
        return self._ethernet(self._ip_type(),
                              self._ip(6, self._segment(self._head(), self._flow.other_ports)))

    @_kind()
    def other_udp(self):
        f = self._flow
        payload = udp(*f.addresses(), f.other_ports, self._fill(self._head() + 8))
        return self._ethernet(self._ip_type(), self._ip(17, payload))

    @_kind()
    def icmp(self):
        f = self._flow
        echo = struct.pack('>BBHHH', 128 if f.is_v6 else 8, 0, 0, 7, self._count & 0xffff)
        echo += self._fill(self._head() + 8)
        start = pseudo(*f.v6, 58, len(echo)) if f.is_v6 else 0
        echo = echo[:2] + struct.pack('>H', checksum(echo, start)) + echo[4:]
        return self._ethernet(self._ip_type(), self._ip(58 if f.is_v6 else 1, echo))

    def _tags(self):
        """Tags of this flow: one, two or three; all EtherTypes; priority tags (vid 0)."""
        v = self._flow.vids
        return ([(0x8100, v[0])], [(0x8100, 0)], [(0x88a8, v[0])], [(0x88a8, v[0]), (0x8100, v[1])],
                [(0x8100, v[0]), (0x8100, v[1])], [(0x9100, v[0]), (0x8100, v[1])],
                [(0x88a8, v[0]), (0x8100, v[1]), (0x8100, v[2])],
                [(0x8100, v[1]), (0x8100, v[0]), (0x8100, v[0])])[self._flow.variant]

    def _tagged(self, ether_type, payload_of):
        """payload_of(used): what stands behind the tags."""
        tags = self._tags()
        # One 802.1Q tag does not count against the MTU.
        used = 4 * (len(tags) - (1 if tags[0][0] == 0x8100 else 0))
        octets = b''
        for (_, vid), following in zip(tags, [t for t, _ in tags[1:]] + [ether_type]):
            octets += struct.pack('>HH', self._random.randrange(8) << 13 | vid, following)
        return self._ethernet(tags[0][0], octets + payload_of(used))

    @_kind(mail=True)
    def vlan_mail(self):
        self._flow.is_v6 = False
        return self._tagged(0x0800, self._mail_packet)

    @_kind(mail=True)
    def vlan_mail_v6(self):
        self._flow.is_v6 = True
        return self._tagged(0x86dd, self._mail_packet)

    @_kind()
    def vlan_other(self):
        return self._tagged(0x88b5, lambda used: self._fill(used))

    def _ppp(self, protocol, payload, used=0, code=0, session=None):
        head = struct.pack('>BBHH', 0x11, code, session or self._flow.session,
                           len(payload) + len(protocol))
        return head + protocol + payload

    def _ppp_protocol(self):
        number = 0x57 if self._flow.is_v6 else 0x21
        compressed = self._flow.variant & 2
        return bytes([number]) if compressed else bytes([0, number])

    @_kind(mail=True)
    def pppoe_mail(self):
        protocol = self._ppp_protocol()
        return self._ethernet(0x8864,
                              self._ppp(protocol, self._mail_packet(6 + len(protocol))))

    @_kind(mail=True)
    def pppoe_in_vlan_mail(self):
        protocol = self._ppp_protocol()

        def session(used):
            return self._ppp(protocol, self._mail_packet(used + 6 + len(protocol)))
        return self._tagged(0x8864, session)

    @_kind()
    def pppoe_control(self):
        protocol = struct.pack('>H', (0xc021, 0x8021, 0xc023, 0xc223, 0x8057, 0xc025, 0x80fd,
                                      0xc021)[self._flow.variant])
        request = struct.pack('>BBH', 1, self._count & 0xff, 12) + self._mark(8)
        return self._ethernet(0x8864, self._ppp(protocol, request))

    @_kind()
    def pppoe_discovery(self):
        code = (0x09, 0x07, 0x19, 0x65, 0xa7, 0x09, 0x19, 0xa7)[self._flow.variant]
        tags = struct.pack('>HHHH', 0x0101, 0, 0x0103, 8) + self._mark(8)
        return self._ethernet(0x8863, self._ppp(b'', tags, code=code))

    def _label_stack(self):
        labels = self._flow.labels[:1 + self._flow.variant % 3]
        return b''.join(struct.pack('>I', label << 12 | (0x100 if label is labels[-1] else 0) | 64)
                        for label in labels)

    @_kind(mail=True)
    def mpls_mail(self):
        stack = self._label_stack()
        return self._ethernet(0x8847, stack + self._mail_packet(len(stack)))

    @_kind()
    def mpls_pseudo_wire(self):
        stack = self._label_stack()
        control_word = struct.pack('>I', self._count & 0xffff)
        inner = self._flow.destination_mac + self._flow.source_mac + b'\x88\xb5'
        return self._ethernet(0x8847, stack + control_word + inner
                              + self._fill(len(stack) + 4 + 14))

    @_kind(mail=True)
    def tunnel_mail(self):
        f = self._flow
        outer = (b'\xcb\x00\x71\x01', b'\xcb\x00\x71\x02')
        if f.variant < 4:
            flags = (0, 0x2000, 0x3000, 0)[f.variant]
            gre = struct.pack('>HH', flags, self._ip_type())
            gre += b''.join(struct.pack('>I', n) for bit, n in ((0x2000, 77), (0x1000, self._count))
                            if flags & bit)
            packet = ipv4(*outer, 47, gre + self._mail_packet(20 + len(gre)))
        else:
            packet = ipv4(*outer, 41 if f.is_v6 else 4, self._mail_packet(20))
        return self._ethernet(0x0800, packet)

    @_kind()
    def arp(self):
        f = self._flow
        packet = struct.pack('>HHBBH', 1, 0x0800, 6, 4, 1 + f.variant % 2)
        packet += f.source_mac + f.v4[0] + bytes(6) + f.v4[1]
        destination = b'\xff' * 6 if f.variant % 2 == 0 else None
        return self._ethernet(0x0806, packet + self._mark(18), destination)

    @_kind(link_local=True)
    def slow_protocols(self):
        """LLDP, LACP, 802.1X, CFM to their reserved addresses, and MRP-like ones beside them."""
        ether_type, last = ((0x88cc, 0x0e), (0x8809, 0x02), (0x888e, 0x03), (0x8902, 0x0f),
                            (0x88cc, 0x00), (0x8809, 0x02), (0x88f7, 0x0e),
                            (0x88b5, 0x0d))[self._flow.variant]
        destination = bytes.fromhex('0180c20000') + bytes([last])
        return self._ethernet(ether_type, b'\x01' + self._fill(1), destination)

    @_kind()
    def macsec(self):
        return self._ethernet(0x88e5, b'\x2c\x00' + struct.pack('>I', self._count) + self._fill(6))

    def _logical_link(self, destination, head):
        size = max(46, min(self._room, 1500))
        return (destination + self._flow.source_mac + struct.pack('>H', size) + head
                + self._mark(size - len(head)))

    @_kind(link_local=True)
    def spanning_tree(self):
        head = b'\x42\x42\x03' + bytes(4) + self._mark(8)
        return (bytes.fromhex('0180c2000000') + self._flow.source_mac + struct.pack('>H', 38) + head
                + self._mark(46 - len(head)))

    @_kind()
    def llc_snap(self):
        head = (b'\xaa\xaa\x03\x00\x00\x0c\x20\x00', b'\xaa\xaa\x03\x00\x00\x00\x08\x00',
                b'\xff\xff', b'\xe0\xe0\x03', b'\xfe\xfe\x03\x83', b'\xf0\xf0\x03',
                b'\xaa\xaa\x03\x00\x00\x0c\x01\x04', b'\x06\x06\x03')[self._flow.variant]
        cisco = bytes.fromhex('01000ccccccc')
        return self._logical_link(cisco if self._flow.variant in (0, 6)
                                  else self._flow.destination_mac, head)

    @_kind()
    def neighbour_discovery(self):
        """IPv6 RS, RA, NS, NA, redirect, MLD queries and reports."""
        f = self._flow
        kind = (133, 134, 135, 136, 137, 130, 131, 143)[f.variant]
        body = struct.pack('>BBHI', kind, 0, 0, 0) + f.v6[1] + self._mark(8)
        source = b'\xfe\x80' + bytes(6) + f.v6[0][:8]
        target = bytes.fromhex('ff0200000000000000000000000000') + b'\x01'
        body = body[:2] + struct.pack('>H', checksum(body, pseudo(source, target, 58, len(body)))) \
            + body[4:]
        if kind in (130, 131, 143):
            packet = ipv6(source, target, 0, b'\x3a\x00\x05\x02\x00\x00\x01\x00' + body,
                          hop_limit=1)
        else:
            packet = ipv6(source, target, 58, body, hop_limit=255)
        return self._ethernet(0x86dd, packet, bytes.fromhex('333300000001'))

    @_kind(mail=True)
    def mail_fragments(self):
        """Pieces of TCP segments: first, middle, last; IPv6 atomic ones too."""
        f, r = self._flow, self._random
        part = r.randrange(3)
        head = self._head() + (8 if f.is_v6 else 0)
        size = max(8, (self._room - head) // 8 * 8)
        if part == 0:
            octets = self._segment(head)
            octets = octets[:max(8, len(octets) // 8 * 8)]
        else:
            octets = self._mark(size - (0 if part == 1 else 3))
        offset = (0, 1480, 2960)[part] // 8 * 8
        if not f.is_v6:
            field = (0 if part == 2 else 0x2000) | offset // 8
            packet = ipv4(*f.v4, 6, octets, identification=self._count & 0xffff, fragment=field)
        else:
            more = 0 if part == 2 or r.random() < 0.2 else 1
            packet = ipv6(*f.v6, 44, struct.pack('>BBHI', 6, 0, offset | more, self._count) + octets)
        return self._ethernet(self._ip_type(), packet)

    @_kind()
    def udp_fragments(self):
        f = self._flow
        octets = self._mark(max(8, (self._room - 20) // 8 * 8))
        return self._ethernet(0x0800, ipv4(*f.v4, 17, octets, identification=self._count & 0xffff,
                                           fragment=0x2000 | self._random.randrange(200)))

    @_kind(mail=True)
    def extension_headers(self):
        """Mail behind Hop-by-Hop, Destination Options, Routing, AH; long chains; unknown ones."""
        f = self._flow
        f.is_v6 = True
        options = b'\x01\x04' + bytes(4)
        routing = b'\x02\x04\x00' + bytes(20)
        chains = {0: [(0, b'\x00' + options)], 1: [(60, b'\x00' + options)] * 8,
                  2: [(43, routing)], 3: [(51, b'\x04' + bytes(22))],
                  4: [(0, b'\x00' + options), (60, b'\x00' + options), (43, routing)],
                  5: [(60, b'\x00' + options)] * 20, 6: [(253, b'\x00' + options)],
                  7: [(135, b'\x00' + options)]}
        chain = chains[f.variant]
        octets = b''
        for i, (_, body) in enumerate(chain):
            following = chain[i + 1][0] if i + 1 < len(chain) else 6
            octets += bytes([following]) + body
        return self._ethernet(0x86dd, ipv6(*f.v6, chain[0][0],
                                           octets + self._segment(40 + len(octets))))

    @_kind()
    def random_octets(self):
        """Nothing at all, under each type whose parser might believe it."""
        ether_type = (0x0800, 0x86dd, 0x8847, 0x8864, 0x8100, 0x88a8, 0x0600, 0xffff)
        octets = self._ethernet(ether_type[self._flow.variant], self._fill(0))
        # A tag that the kernel takes off and we put back has its own four octets; none may lack.
        return octets

    @_kind(mail=True)
    def malformed_lengths(self):
        """IP and PPPoE lengths that lie, in packets on mail ports."""
        f = self._flow
        f.is_v6 = f.variant >= 5
        packet = bytearray(self._mail_packet())
        actual = len(packet)
        if f.variant == 0:
            packet[2:4] = b'\0\0'
        elif f.variant == 1:
            packet[2:4] = struct.pack('>H', actual + 100)
        elif f.variant == 2:
            packet[2:4] = struct.pack('>H', 12)
        elif f.variant == 3:
            packet[0] = 0x43
        elif f.variant == 4:
            packet[0] = 0x4f
        elif f.variant == 5:
            packet[4:6] = b'\0\0'
        elif f.variant == 6:
            packet[4:6] = b'\xff\xff'
        else:
            packet[0] = 0x70 | packet[0] & 15
        return self._ethernet(self._ip_type(), bytes(packet))

    @_kind(mail=True)
    def malformed_tcp(self):
        """Wrong checksums, header lengths, options and flags, on mail ports."""
        f = self._flow
        f.is_v6 = False
        packet = bytearray(self._mail_packet())
        if f.variant == 0:
            packet[36] ^= 0x55  # checksum
        elif f.variant == 1:
            packet[10] ^= 0x55  # IPv4 header checksum
        elif f.variant == 2:
            packet[32] = packet[32] & 15  # header of no octets
        elif f.variant == 3:
            # Header of 60 octets, more than there are. Where there are so many, the segment can be read,
            # and passes another way: the two would not keep their order, and so are two flows.
            packet = bytearray(ipv4(*f.v4, 6, bytes(packet[20:20 + 32]) + self._mark(8)))
            packet[32] = 0xf0
        elif f.variant == 4:
            packet[33] = 0xff
        elif f.variant == 5:
            packet[33] = 0
            if len(packet) >= 20 + 60:
                packet[32] = 0xf0
        elif f.variant == 6:
            packet[28:32] = b'\xff\xff\xff\xff'
        else:
            packet = bytearray(ipv4(*f.v4, 6, bytes(packet[20:20 + 11]) + self._mark(8)))
        return self._ethernet(0x0800, bytes(packet))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--mtu', type=int, default=1500)
    parser.add_argument('--kind', action='append', choices=sorted(KINDS))
    parser.add_argument('--pcap', help='write the frames to a capture')
    arguments = parser.parse_args()
    generator = FrameGenerator(arguments.seed, mtu=arguments.mtu, kinds=arguments.kind)
    frames = list(generator.take(arguments.count))
    if arguments.pcap:
        with open(arguments.pcap, 'wb') as file:
            file.write(struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
            for i, frame in enumerate(frames):
                size = len(frame.octets)
                file.write(struct.pack('<IIII', i // 1000, i % 1000 * 1000, size, size))
                file.write(frame.octets)
    counts = collections.Counter(f.kind for f in frames)
    for kind, count in sorted(counts.items()):
        sizes = [len(f.octets) for f in frames if f.kind == kind]
        print(f'{kind:24}{count:8}  {min(sizes)}..{max(sizes)} octets')


if __name__ == '__main__':
    main()
