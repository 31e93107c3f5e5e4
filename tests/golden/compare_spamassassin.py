#!/usr/bin/env python3
"""Our hits beside those of `spamassassin -L` on the same messages with the same rules.

  compare_spamassassin.py SLUICECTL [--messages N] [--rules PATH] [--out FILE] [--bar FILE] [FOLDER...]

Says: the share of rules that run; for rules that both run, the intersection over union of the
(message, rule) hits, and the rules that differ with counts and examples; the classification of both
at 5.0. What spamassassin says is kept in /var/cache/sluice-lab (spamassassin_side.py). With --bar the
exit status is 1 when a figure is below the one stored there: {"share", "intersection_over_union",
"classified_alike"}."""
import argparse
import collections
import json
import pathlib
import subprocess
import sys

import spamassassin_side as side

sys.path.insert(0, str(side.HERE.parent / 'lab'))
import corpus  # noqa: E402

REQUIRED = 5.0


def ours(sluicectl, rules, files, cache):
    """({file: {"score", "rules"}}, report of `rules check`)"""
    check = subprocess.run([sluicectl, 'rules', 'check', '--json', str(rules)], capture_output=True,
                           text=True, timeout=900)
    if check.returncode not in (0, 3):
        sys.exit(f'rules check: {check.stderr[-2000:]}')
    found = {}
    # A command line holds some thousand names.
    for at in range(0, len(files), 1000):
        run = subprocess.run([sluicectl, 'rules', 'test', '--json', '--rules', str(rules), '--cache', cache,
                              *map(str, files[at:at + 1000])], capture_output=True, text=True, timeout=900)
        if run.returncode not in (0, 3):
            sys.exit(f'rules test: {run.stderr[-2000:]}')
        for line in run.stdout.splitlines():
            one = json.loads(line)
            found[one['file']] = one
    return found, json.loads(check.stdout)


def is_spam(file):
    return '/spam-' in file


def percent(part, whole):
    return round(100 * part / whole, 2) if whole else 0.0


def classification(found):
    spam = [f for f in found if is_spam(f)]
    ham = [f for f in found if not is_spam(f)]
    over = lambda files: sum(found[f]['score'] >= REQUIRED for f in files)  # noqa: E731
    return {'spam_percent': percent(over(spam), len(spam)), 'ham_percent': percent(over(ham), len(ham))}


def compare(theirs, mine, their_rules, report):
    visible = {n for n in their_rules if not n.startswith('__')}
    both = visible & set(report['names'])
    pairs = lambda found: {(f, r) for f, one in found.items() for r in one['rules'] if r in both}  # noqa: E731
    a, b = pairs(theirs), pairs(mine)
    by_rule = collections.defaultdict(lambda: {'spamassassin': [], 'ours': [], 'both': 0})
    for f, r in a - b:
        by_rule[r]['spamassassin'].append(f)
    for f, r in b - a:
        by_rule[r]['ours'].append(f)
    for f, r in a & b:
        if r in by_rule:
            by_rule[r]['both'] += 1
    alike = sum((theirs[f]['score'] >= REQUIRED) == (mine[f]['score'] >= REQUIRED) for f in theirs)
    return {
        'messages': len(theirs),
        'rules_of_spamassassin': len(visible),
        'rules_that_both_run': len(both),
        'share': percent(len(both), len(visible)),
        'hits_of_spamassassin': len(a), 'hits_of_ours': len(b),
        'intersection_over_union': percent(len(a & b), len(a | b)),
        'classification': {'spamassassin': classification(theirs), 'ours': classification(mine)},
        'classified_alike': percent(alike, len(theirs)),
        'not_run': sorted(visible - both),
        'differences': {r: {'both': d['both'], 'only_spamassassin': len(d['spamassassin']), 'only_ours': len(d['ours']),
                            'examples': sorted(d['spamassassin'])[:3] + sorted(d['ours'])[:3]}
                        for r, d in sorted(by_rule.items(),
                                           key=lambda i: -len(i[1]['spamassassin']) - len(i[1]['ours']))},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sluicectl')
    parser.add_argument('paths', nargs='*')
    parser.add_argument('--messages', type=int, help='so many, spread over all')
    parser.add_argument('--rules', type=pathlib.Path, default=side.RULES)
    parser.add_argument('--cache', default='/var/cache/sluice-lab/databases')
    parser.add_argument('--out', help='everything, as JSON')
    parser.add_argument('--bar', help='figures that must be reached')
    options = parser.parse_args()
    if not side.available():
        print('spamassassin is not installed (Debian: apt-get install spamassassin)')
        return 77
    files = [str(f) for f in (side.message_files(options.paths) if options.paths else corpus.message_files())]
    if options.messages:
        files = corpus.spread(files, options.messages)
    theirs = side.hits(files)
    mine, report = ours(options.sluicectl, options.rules, files, options.cache)
    result = compare(theirs, mine, side.rules(), report)
    result['our_faults'] = [f'{f["file"]}:{f["line"]}: {f["rule"]}: {f["text"]}' for f in report['faults']]
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(result, indent=1) + '\n')
    print(f'{result["messages"]} messages; {result["rules_that_both_run"]} of {result["rules_of_spamassassin"]} rules '
          f'run ({result["share"]} %)')
    print(f'hits: {result["hits_of_spamassassin"]} of spamassassin, {result["hits_of_ours"]} ours, intersection over '
          f'union {result["intersection_over_union"]} %')
    for who, figures in result['classification'].items():
        print(f'{who}: {figures["spam_percent"]} % of spam and {figures["ham_percent"]} % of ham at {REQUIRED}')
    print(f'{result["classified_alike"]} % of the messages are classified alike')
    for rule, d in list(result['differences'].items())[:40]:
        print(f'  {rule:40} both {d["both"]:5}  only spamassassin {d["only_spamassassin"]:5}  only ours '
              f'{d["only_ours"]:5}  {pathlib.Path(d["examples"][0]).parent.name}/{pathlib.Path(d["examples"][0]).name}')
    if options.bar:
        bar = json.loads(pathlib.Path(options.bar).read_text())
        low = [f'{name}: {result[name]}, at least {least} is expected' for name, least in bar.items() if result[name] < least]
        print('\n'.join(low))
        return 1 if low else 0
    return 0


if __name__ == '__main__':
    sys.exit(main())
