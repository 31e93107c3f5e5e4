#!/usr/bin/env python3
"""Draws docs/charts/*.svg and writes docs/figures.md from perf/baselines/*.json: charts.py [DOCS].
No network, no library."""
import html
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
COLOURS = ('#2563a8', '#d1731f', '#5f8f3a', '#9a5fb0', '#777777')
WIDTH, LEFT, ROW, FONT = 840, 350, 20, 'font-family="sans-serif" font-size="12"'


def baseline(name):
    path = HERE / f'baselines/{name}.json'
    return json.loads(path.read_text()) if path.exists() else []


def number(value):
    return f'{value:,.0f}' if value >= 100 else f'{value:.1f}' if value >= 10 else f'{value:.2g}'


def bars(title, unit, rows, marks=()):
    """A chart of horizontal bars. rows: [(label, [(series, value or None)])]. marks: [(text, value)]: lines
    across."""
    values = [v for _, series in rows for _, v in series if v is not None] + [v for _, v in marks]
    if not rows:
        return None
    scale = (WIDTH - LEFT - 80) / max(values)
    names = list(dict.fromkeys(name for _, series in rows for name, _ in series))
    colour = dict(zip(names, COLOURS))
    body, y = [], 50
    if len(names) > 1:
        x = LEFT
        for name in names:
            body.append(f'<rect x="{x}" y="28" width="10" height="10" fill="{colour[name]}"/>'
                        f'<text x="{x + 14}" y="37" {FONT}>{html.escape(name)}</text>')
            x += 34 + 7 * len(name)
    top = y
    for label, series in rows:
        middle = y + ROW * len(series) / 2 + 4
        body.append(f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end" {FONT}>{html.escape(label)}</text>')
        for name, value in series:
            if value is not None:
                body.append(f'<rect x="{LEFT}" y="{y + 2}" width="{max(value * scale, 1):.1f}" height="{ROW - 5}" '
                            f'fill="{colour[name]}"/>'
                            f'<text x="{LEFT + value * scale + 4:.1f}" y="{y + 14}" {FONT}>{number(value)}</text>')
            y += ROW
        y += 6
    for text, value in marks:
        x = LEFT + value * scale
        body.append(f'<line x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{y}" stroke="#c00" stroke-dasharray="4 3"/>'
                    f'<text x="{x + 3:.1f}" y="{y + 10}" fill="#c00" {FONT}>{html.escape(text)}</text>')
    y += 20
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">'
            f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'
            f'<text x="8" y="18" font-weight="bold" {FONT}>{html.escape(title)} ({unit})</text>{"".join(body)}</svg>\n')


def peers():
    rows = []
    for r in baseline('replay'):
        if 'peers_microseconds' in r:
            series = [('Sluice', r['microseconds_per_message'])]
            series += [('its floor', r.get('floor_microseconds'))]
            series += [(name.capitalize(), value) for name, value in r['peers_microseconds'].items()]
            rows.append((r['line'], series))
    return bars('A message of 10 KB in 29 frames, by number of rules', 'µs of CPU', rows, [('required 36', 36)])


def replay():
    return bars('Switches, sizes, TLS, segments, flows; 1,000 rules', 'µs of CPU a session',
                [(r['line'], [('Sluice', r['microseconds_per_session'])]) for r in baseline('replay')
                 if r['microseconds_per_session'] < 500])


def large():
    rows = {}
    for r in baseline('replay'):
        size = r['shape'].get('size')
        if size:
            rows.setdefault(r['line'].rsplit(' ', 1)[0], []).append(
                (r['shape']['body'], r['microseconds_per_session'] * 1000 / size))
    return bars('By size of the message, 1,000 rules', 'ns of CPU an octet', list(rows.items()))


def stages():
    order = ('memcpy', 'raw hs_scan_stream', 'parse', 'flow', 'tcp', 'smtp', 'mime', 'scan', 'events', 'rest', 'whole')
    found = {r['stage']: r for r in baseline('stages')}
    return bars('Where the time of a message goes, 1,000 rules', 'µs of CPU',
                [(name, [('time', found[name]['ns_per_message'] / 1000)]) for name in order if name in found])


def xdp():
    rows = {}
    for r in baseline('xdp'):
        rows.setdefault(r['way'], []).append((f'{r["entries"]:,} entries', r['random_ns']))
    return bars('The XDP program, random flows and hosts, one run a system call', 'ns', list(rows.items()))


def bulk():
    return bars('Bulk TCP of one flow, live on two cores', 'Mbit/s',
                [(f'{r["line"]}: {r["work"]}', [('', r['mbit'])]) for r in baseline('wire') if r['part'] == 'bulk'])


def latency():
    rows = {}
    for r in baseline('wire'):
        if r['part'] == 'latency' and r['line'] != 'cable':
            rows.setdefault(r['line'], []).append(('half load' if r['load_mbit'] else 'idle', max(r['added_us'], 0)))
    return bars('What one crossing adds to the median round trip', 'µs', list(rows.items()))


def memory():
    return bars('Memory of a flow', 'octets', [
        (name, [('', r[key])]) for r in baseline('memory') if 'in_data_octets' in r and not r['options']
        for name, key in (('half-open', 'half_open_octets'), ('idle after EHLO', 'idle_after_ehlo_octets'),
                          ('idle after a message', 'idle_after_message_octets'),
                          ('in an attachment', 'in_data_octets'), ('in HTML', 'in_data_html_octets'))])


def scale():
    return bars('100 Gbit/s on 32 cores, simulated: how busy each part is', '%',
                [(r['mix'], [(part, value) for part, value in r['utilization_percent'].items()])
                 for r in baseline('scale') if 'utilization_percent' in r], [('full', 100)])


def table(title, head, rows):
    lines = [f'## {title}', '', f'| {" | ".join(head)} |', f'|{"---|" * len(head)}']
    lines += [f'| {" | ".join(str(cell) for cell in row)} |' for row in rows]
    return '\n'.join(lines) + '\n'


def machine_of(name):
    results = baseline(name)
    about = results[0]['machine'] if results else {}
    versions = about.get('versions', {})
    return (f'`./dev bench {name}`: {about.get("cores")} cores of {about.get("cpu")}, Linux {about.get("kernel")}, '
            f'load {about.get("load", 0):.1f}, commit {versions.get("sluice", "?")}, '
            f'Hyperscan {versions.get("libhyperscan5", "?")}, DPDK {versions.get("dpdk", "?")}.\n')


def requirements():
    """(what, required, measured, met) of what the project asks for."""
    for r in baseline('replay'):
        if r['line'] == '1000 rules':
            micros = r['microseconds_per_message']
            yield 'a message of 10 KB, 1,000 rules, hashes off', '36 µs', f'{micros:.1f} µs', micros <= 36
            each = r['allocations_per_session']
            yield 'allocations in steady state', '0', f'{each:g}', each == 0
        if r['line'] == '10 % clear, 90 % TLS':
            each = r['allocations_per_session']
            yield 'the same, nine sessions of ten in TLS, a session', '0', f'{each:.1f}', each == 0
    for r in baseline('wire'):
        to = r.get('ratio_to', {})
        if (r['part'], r.get('line'), r.get('work')) == ('bulk', 'appliance', 'iperf3 on another port'):
            yield 'bulk on another port, to a kernel bridge, on veth', '1', to['bridge'], to['bridge'] >= 1
        if r['part'] == 'bulk' and r.get('line') == 'front' and r['work'].startswith('iperf3'):
            how = 'large sends, ' if 'large' in r['work'] else ''
            yield f'the same, {how}in front mode', '1', to['bridge'], to['bridge'] >= 1
        if r['part'] == 'bulk' and r['work'] in ('inside TLS', 'past its scan limit'):
            yield f'bulk on a mail port, {r["work"]}, to testpmd', '0.9', to['testpmd'], to['testpmd'] >= 0.9
        if r['part'] == 'latency' and r['line'] in ('appliance', 'front', 'polling'):
            ratio, load = r['ratio_to_testpmd'], 'half load' if r['load_mbit'] else 'idle'
            how = {'polling': '--busy-poll', 'front': 'front mode'}.get(r['line'], 'as installed')
            yield f'median latency added, {load}, {how}, to testpmd', '1.3', ratio, ratio < 1.3
        if r['part'] == 'overload':
            others = [s for name, s in r['subscribers'].items() if name != 'flooder']
            share = sum(s['verdicts'] for s in others) / sum(s['accepted'] for s in others)
            yield (f'at {r["ratio_offered"]} times the capacity, messages with a verdict of who does not flood', '100 %',
                   f'{100 * share:.1f} %', share == 1)
    emulated = {r['line']: r for r in baseline('virtio') if r['part'] == 'bulk'}
    if emulated:
        ours = emulated['appliance']
        yield ('bulk on another port, to a kernel bridge, on virtio_net, by instructions', '1', ours['ratio_to']['bridge'],
               ours['ratio_to']['bridge'] >= 1)
        ratio = round(emulated['gro']['least'] / ours['instructions_a_segment'], 2)
        yield 'bulk on another port, to the best run of a bridge with GRO and TSO, likewise', '1', ratio, ratio >= 1
    worst = max(baseline('adversarial'), key=lambda r: r['ratio'], default=None)
    if worst:
        yield (f'the worst input, to ordinary mail (here {worst["line"].split("/")[0]})', '10', worst['ratio'],
               worst['ratio'] <= 10)
    for r in baseline('memory'):
        idle = r.get('idle')
        if idle and idle['flows'] >= 1_000_000 and (idle['flows'] > 1_000_000 or not r['options']):
            octets = idle['table_octets'] + idle['flow_octets']
            gib = idle['flows'] / 1_000_000
            yield (f'{idle["flows"]:,} idle flows', f'{gib:.0f} GiB', f'{octets / 2**30:.2f} GiB',
                   octets <= gib * 2**30)


def figures():
    """All tables, as Markdown."""
    parts = ['# Figures\n', 'Written by `perf/charts.py` from `perf/baselines/`; what they mean stands in '
             '[performance.md](performance.md).\n',
             table('Required and measured', ('what', 'required', 'measured', ''), [
                 (what, wanted, got, 'met' if met else '**not met**') for what, wanted, got, met in requirements()])]
    rows = []
    for r in baseline('replay'):
        peers_ = r.get('peers_microseconds', {})
        rows.append((r['line'], f'{r["microseconds_per_session"]:.1f}', f'{r["microseconds_per_frame"]:.2f}',
                     f'{r["tsc_cycles_per_message"] * r["messages"] / r["sessions"]:,.0f}',
                     f'{3600e6 / r["microseconds_per_session"] / 1e6:.1f} million',
                     f'{r["ratio_to_floor"]:.2f}' if 'ratio_to_floor' in r else '',
                     peers_.get('suricata', ''), peers_.get('snort', ''), f'{r["allocations_per_session"]:.1f}',
                     r['alerts'], f'{r["spread_percent"]:.1f} %'))
    parts += [table('The pipeline (replay)', (
        '10 KB and 1,000 rules unless said', 'µs a session', 'µs a frame', 'cycles a session', 'an hour on one core',
        'to the floor', 'Suricata µs', 'Snort µs', 'allocations', 'alerts', 'spread'), rows), machine_of('replay'),
        'Peers on another machine (AMD Zen 3, same work). Alerts are exact in every run. No soft interrupts: frames '
        'come from memory.\n']
    parts += [table('Stages', ('stage', 'ns a message', 'of the whole', 'instructions', 'spread'), [
        (r['stage'], f'{r["ns_per_message"]:,.0f}', f'{r["percent_of_whole"]:.1f} %',
         f'{r.get("instructions_per_message", 0):,}' if r.get('instructions_per_message') else '',
         f'{r["spread_percent"]:.1f} %') for r in baseline('stages') if 'ns_per_message' in r])]
    for r in baseline('stages'):
        if r['stage'] == 'distance':
            parts.append(f'The whole is {r["whole_to_floor"]:.2f} times the floor (bare Hyperscan and one memcpy); our '
                         f'scanner alone is {r["scan_to_raw_scan"]:.2f} times bare Hyperscan.\n')
    parts.append(machine_of('stages'))
    ways = {}
    for r in baseline('xdp'):
        ways.setdefault(r['way'], {})[r['entries']] = (r['random_ns'], r.get('hot_ns'))
    parts += [table('The XDP program', ('way of a frame', '0 entries: random / one key, ns', '1,000', '1,000,000'), [
        (way, *(f'{by[n][0]:.0f} / {by[n][1] if by[n][1] is not None else "-"}' if n in by else ''
                for n in (0, 1000, 1_000_000))) for way, by in ways.items()]), machine_of('xdp')]
    live = baseline('wire')
    parts += [table('Bulk TCP, one flow, live', ('line', 'work', 'Mbit/s', 'to the bridge', 'to the redirect', 'to testpmd'), [
        (r['line'], r['work'], f'{r["mbit"]:,.0f}', *(r['ratio_to'].get(to, '') for to in ('bridge', 'redirect', 'testpmd')))
        for r in live if r['part'] == 'bulk'])]
    parts += [table('Bulk TCP on another port, one flow, on virtio_net (a guest with an emulated CPU)', (
        'line', 'instructions a segment', 'in the best run', 'to the bridge', 'to the bridge with GRO and TSO', 'to the redirect',
        'Mbit/s meanwhile', 'to the bridge'), [
        (r['line'], f'{r["instructions_a_segment"]:,}', f'{r["least"]:,}',
         *(r['ratio_to'].get(to, '') for to in ('bridge', 'gro', 'redirect')), f'{r["mbit"]:,.0f}',
         r['mbit_ratio_to'].get('bridge', '')) for r in baseline('virtio') if r['part'] == 'bulk']),
        machine_of('virtio')]
    parts += [table('Latency, live', ('line', 'load, Mbit/s', 'p10', 'median', 'p90', 'p99, µs',
                                      'added by one crossing', 'to testpmd'), [
        (r['line'], r['load_mbit'], *(r['round_trip_us'][k] for k in ('p10', 'p50', 'p90', 'p99')), r['added_us'],
         r['ratio_to_testpmd'] if r['ratio_to_testpmd'] is not None else '') for r in live if r['part'] == 'latency'])]
    parts += [table('Connections, flood, messages, sleep, live', ('what', 'line', 'figure'), [
        ('connections a second', r['line'], f'{r["per_second"]:,}') for r in live if r['part'] == 'connections'] + [
        (f'honest round trip, {r["syns_per_second"]:,} SYNs a second', r['line'],
         f'median {r["round_trip_us"]["p50"]:.0f} µs, p99 {r["round_trip_us"]["p99"]:.0f} µs')
        for r in live if r['part'] == 'flood'] + [
        (f'{r["messages"]:,} messages, {r["at_once"]} at a time', r['line'],
         f'{r["per_second"]:,} a second; worker {r["worker_us_per_message"] or "-"} µs, soft interrupts '
         f'{r["softirq_us_per_message"]} µs a message') for r in live if r['part'] == 'messages'] + [
        ('idle wire', 'appliance', f'{r["idle_cpu_percent"]} % of a core; waking costs a round trip '
         f'{2 * r["wake_us"]:.0f} µs more') for r in live if r['part'] == 'sleep']), machine_of('wire')]
    for r in live:
        if r['part'] == 'overload':
            parts += [table(f'{r["ratio_offered"]} times the capacity, one of four subscribers floods', (
                'subscriber', 'messages begun', 'accepted', 'with a verdict', 'median before', 'median', 'p99, ms'), [
                (name, s['offered'], s['accepted'], s['verdicts'], s['calm_p50_ms'], s['p50_ms'], s['p99_ms'])
                for name, s in r['subscribers'].items()]),
                f'Capacity {r["capacity_per_second"]:,} messages a second with {r["share_of_core"]} of a core. '
                f'{r["flows_past"]:,} connections went past the worker, counted; messages in no count: '
                f'{r["unaccounted_messages"]}; frames lost: {r["frames_lost_in_rings"]} in rings, '
                f'{sum(r["frames_dropped"].values())} dropped. A round trip on another port meanwhile: median '
                f'{r["other_port_us"]["p50"]:.0f} µs.\n']
    parts += [table('Adversarial cost', ('input', 'ratio', 'a frame', 'an octet', 'µs', 'frames', 'octets'), [
        (r['line'], r['ratio'], r['per_frame'], r['per_octet'], r['microseconds'], r['frames'], r['octets'])
        for r in baseline('adversarial')]),
        'A session of 10,000 octets and more, as multiples of what ordinary mail costs a frame and an octet; the ratio '
        'is the lesser, by what a sender spends most of.\n', machine_of('adversarial')]
    grow = baseline('scale')
    parts += [table('Growth by decades', ('what', 'at', 'µs a message'), [
        (r['what'], f'{r["at"]:,}', f'{r["microseconds_per_message"]:.1f}') for r in grow if 'at' in r] + [
        (r['what'], 'a decade more', f'{r["slope_us_a_decade"]:+.2f}') for r in grow if 'slope_us_a_decade' in r])]
    parts += [table('100 Gbit/s on 32 cores, simulated', (
        'mix', 'kernel cores', 'workers', 'busy', 'saturates first', 'at Gbit/s', 'p99 of clear mail, µs'), [
        (r['mix'], r['kernel_cores'], r['workers'],
         ', '.join(f'{part} {value} %' for part, value in r['utilization_percent'].items()), r['saturates_first'],
         r['saturates_at_gbit_s'], r['delay_us'].get('clear mail', {}).get('p99', ''))
        for r in grow if r['what'] == 'simulation']), machine_of('scale')]
    return '\n'.join(parts)


def main():
    docs = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / 'docs'
    (docs / 'charts').mkdir(parents=True, exist_ok=True)
    for draw in (peers, replay, large, stages, xdp, bulk, latency, memory, scale):
        picture = draw()
        if picture:
            (docs / f'charts/{draw.__name__}.svg').write_text(picture, encoding='utf-8')
    (docs / 'figures.md').write_text(figures(), encoding='utf-8')


if __name__ == '__main__':
    main()
