"""Which figures of two runs of a bench differ by more than their noise.

    between files   each figure has its samples, or their range; a change is told when the two ranges do
                    not touch and the middles differ by more than 2 %
    paired          both builds run in turn, --pairs times; a change is told when the 95 % interval of the
                    ratio (bootstrap over the pairs) does not hold 1 and the ratio is beyond 1 %

Two runs on a shared machine differ by what else ran there: only paired ones judge a few per cent.
"""
import json
import random
import statistics

# bench: (fields that name a line, {figure: (True: more is better, field with its samples or range)})
FIGURES = {
    'replay': (('line',), {'microseconds_per_session': (False, 'seconds')}),
    'stages': (('stage',), {'ns_per_message': (False, 'spread_percent'),
                            'instructions_per_message': (False, None)}),
    'xdp': (('way', 'entries'), {'random_ns': (False, 'random_ns_range'), 'hot_ns': (False, 'hot_ns_range')}),
    'rules': (('rules',), {'microseconds_per_message': (False, 'spread_percent'),
                           'database_octets': (False, None), 'stream_octets': (False, None)}),
    'wire': (('part', 'line', 'work', 'load_mbit', 'syns_per_second'),
             {'mbit': (True, 'mbits'), 'added_us': (False, 'medians_us'), 'per_second': (True, 'each'),
              'worker_us_per_message': (False, None), 'idle_cpu_percent': (False, None)}),
    'scale': (('what', 'at'), {'microseconds_per_message': (False, 'spread_percent')}),
}


def read(path):
    """Results of a baseline, or of what --out wrote."""
    text = open(path, encoding='utf-8').read()
    return json.loads(text) if text.startswith('[') else [json.loads(line) for line in text.splitlines()]


def figures_of(results):
    """{(bench, name of the line, figure): (value, relative lowest, relative highest, more is better)}"""
    found = {}
    for result in results:
        if result['bench'] not in FIGURES:
            continue
        naming, figures = FIGURES[result['bench']]
        name = ', '.join(str(result[field]) for field in naming if field in result)
        for figure, (more, noise) in figures.items():
            value = result.get(figure)
            if not isinstance(value, (int, float)) or value == 0:
                continue
            samples = result.get(noise) if noise else None
            if isinstance(samples, list) and samples:
                middle = statistics.median(samples)
                low, high = (min(samples) / middle, max(samples) / middle) if middle else (1, 1)
            else:
                half = (samples or 0) / 200
                low, high = 1 - half, 1 + half
            found[result['bench'], name, figure] = (value, low, high, more)
    return found


def verdict(ratio, changed, more_is_better):
    if not changed:
        return 'same'
    return 'better' if (ratio > 1) == more_is_better else 'worse'


def between(old_results, new_results):
    """Lines of the comparison."""
    old, new = figures_of(old_results), figures_of(new_results)
    for key in new:
        if key not in old:
            yield dict(zip(('bench', 'line', 'figure'), key)) | {'new': new[key][0], 'verdict': 'new'}
            continue
        (a, a_low, a_high, more), (b, b_low, b_high, _) = old[key], new[key]
        ratio = b / a
        apart = a * a_high < b * b_low or b * b_high < a * a_low
        yield dict(zip(('bench', 'line', 'figure'), key)) | {
            'old': a, 'new': b, 'ratio': round(ratio, 4), 'noise': [round(a_low, 3), round(a_high, 3)],
            'verdict': verdict(ratio, apart and abs(ratio - 1) > 0.02, more)}
    for key in old:
        if key not in new:
            yield dict(zip(('bench', 'line', 'figure'), key)) | {'old': old[key][0], 'verdict': 'gone'}


def interval(ratios, rounds=4000):
    """95 % of the median, over pairs drawn anew."""
    draw = random.Random(1)
    middles = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(rounds))
    return middles[rounds // 40], middles[-rounds // 40]


def paired(pairs):
    """pairs: [(results of the old build, results of the new one)]."""
    found = [(figures_of(old), figures_of(new)) for old, new in pairs]
    for key in found[0][1]:
        ratios = [new[key][0] / old[key][0] for old, new in found if key in old and key in new]
        if not ratios:
            continue
        low, high = interval(ratios)
        ratio = statistics.median(ratios)
        # So few pairs cannot exclude chance, however alike they are.
        changed = len(ratios) >= 3 and (low > 1 or high < 1) and abs(ratio - 1) > 0.01
        yield dict(zip(('bench', 'line', 'figure'), key)) | {
            'ratio': round(ratio, 4), 'ratio_95_percent': [round(low, 4), round(high, 4)], 'pairs': len(ratios),
            'verdict': verdict(ratio, changed, found[0][1][key][3])}
