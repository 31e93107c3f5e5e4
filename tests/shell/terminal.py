"""A program in a pseudo-terminal, as a person at a screen has it: keys in, screen out.

The screen is drawn by a small emulator of what libedit and pagers send to a vt100, so that a test
reads what a person would see and not control sequences."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time


class Screen:
    """Lines without end; text is put at the cursor."""

    def __init__(self, columns):
        self.columns = columns
        self.lines = [[]]
        self.row = self.column = 0
        self.waiting = ''

    def _put(self, c):
        if self.column >= self.columns:
            self._down()
            self.column = 0
        line = self.lines[self.row]
        line += [' '] * (self.column + 1 - len(line))
        line[self.column] = c
        self.column += 1

    def _down(self):
        self.row += 1
        while len(self.lines) <= self.row:
            self.lines.append([])

    def _sequence(self, numbers, kind):
        n = int(numbers.split(';')[0] or 0) if numbers.replace(';', '').isdigit() or not numbers else 0
        line = self.lines[self.row]
        if kind == 'C':
            self.column += max(n, 1)
        elif kind == 'D':
            self.column = max(0, self.column - max(n, 1))
        elif kind == 'A':
            self.row = max(0, self.row - max(n, 1))
        elif kind == 'B':
            for _ in range(max(n, 1)):
                self._down()
        elif kind == 'K' and n == 0:
            del line[self.column:]
        elif kind == 'J' and n == 0:
            del line[self.column:]
            del self.lines[self.row + 1:]
        elif kind == '@':
            line[self.column:self.column] = [' '] * max(n, 1)
        elif kind == 'P':
            del line[self.column:self.column + max(n, 1)]

    def feed(self, text):
        text = self.waiting + text
        self.waiting = ''
        i = 0
        while i < len(text):
            c = text[i]
            if c == '\x1b':
                found = re.match(r'\x1b\[([0-9;?]*)([@-~])|\x1b[()][A-Z0-9]|\x1b[=>78DEMHc]', text[i:])
                if not found:
                    if len(text) - i < 16:
                        self.waiting = text[i:]
                        return
                    i += 1
                    continue
                if found.group(2):
                    self._sequence(found.group(1), found.group(2))
                i += found.end()
                continue
            if c == '\r':
                self.column = 0
            elif c == '\n':
                self._down()
            elif c == '\b':
                self.column = max(0, self.column - 1)
            elif c >= ' ':
                self._put(c)
            i += 1

    def text(self):
        return '\n'.join(''.join(line).rstrip() for line in self.lines)


class Terminal:
    """`expect` waits for what must come and fails with the whole screen when it does not."""

    PATIENCE = 60  # seconds: the machine may be busy; nothing is asserted about time

    def __init__(self, command, columns=100, rows=40, environment=None):
        self.screen = Screen(columns)
        # What expect() has consumed: all rows above this one, and of this one that beginning.
        self.seen_row, self.seen_text = 0, ''
        self.alive = True
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({'TERM': 'vt100', 'LC_ALL': 'C.UTF-8', 'USER': 'operator',
                               **(environment or {})})
            os.execv(command[0], command)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def _read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.screen.feed(data.decode('utf-8', 'replace'))
        return bool(data)

    def keys(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern):
        """Waits until `pattern` stands behind what was consumed; consumes up to its end and gives
        the text in between, the match included."""
        deadline = time.monotonic() + self.PATIENCE
        alive = True
        while True:
            rows = self.screen.text().split('\n')[self.seen_row:]
            # A row that was drawn anew is to be read again.
            begin = len(self.seen_text) if rows[0].startswith(self.seen_text) else 0
            text = '\n'.join(rows)
            found = re.search(pattern, text[begin:], re.M)
            if found:
                consumed = text[:begin + found.end()]
                self.seen_row += consumed.count('\n')
                self.seen_text = consumed.split('\n')[-1]
                return consumed[begin:]
            if not alive or time.monotonic() > deadline:
                raise AssertionError(f'no {pattern!r} on the screen, behind "{text[begin:][:200]}":\n'
                                     + self.screen.text())
            alive = self._read(0.2)

    PROMPT = r'^[\w.-]+@[\w.-]+[>#] $|^[\w.-]+@[\w.-]+[>#]$'

    def prompt(self):
        return self.expect(self.PROMPT)

    def line(self, text):
        """Types a line and gives what came, without the line and the next prompt."""
        self.keys(text + '\n')
        self.expect(re.escape(text.split('\t')[0][:60]))
        out = self.prompt()
        return '\n'.join(out.split('\n')[1:-1])

    def close(self):
        if not self.alive:
            return
        self.alive = False
        try:
            os.close(self.fd)
        except OSError:
            pass
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)

    def ended(self):
        """Exit status once the program ends by itself."""
        while self._read(0.2):
            pass
        self.alive = False
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
