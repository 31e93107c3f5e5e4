#!/usr/bin/env python3
"""Draws docs/charts/*.svg from perf/baselines/*.json: charts.py [FOLDER]. No network, no library."""
import html
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
COLOURS = ('#2563a8', '#d1731f', '#5f8f3a', '#9a5fb0', '#777777')
WIDTH, LEFT, ROW, FONT = 760, 270, 20, 'font-family="sans-serif" font-size="12"'


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


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / 'docs/charts'
    folder.mkdir(parents=True, exist_ok=True)
    for draw in (peers, replay, large, stages, xdp, bulk, latency, memory, scale):
        picture = draw()
        if picture:
            (folder / f'{draw.__name__}.svg').write_text(picture, encoding='utf-8')


if __name__ == '__main__':
    main()
