"""unittest results as TAP, so that every case counts in the report and not only the program."""
import sys
import unittest


class _Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.count = 0

    def _line(self, good, test, note=''):
        self.count += 1
        print(f'{"ok" if good else "not ok"} {self.count} - {test.id().split(".")[-1]}{note}', flush=True)

    def addSuccess(self, test):
        self._line(True, test)

    def addSkip(self, test, reason):
        self._line(True, test, f' # SKIP {reason}')

    def _fault(self, test, error):
        self._line(False, test)
        for line in self._exc_info_to_string(error, test).splitlines():
            print('# ' + line, file=sys.stdout)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._fault(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._fault(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._fault(subtest, err)


def run(*cases):
    """Runs the test cases; exit status 0 when all passed."""
    suite = unittest.TestSuite()
    for case in cases:
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    result = _Result()
    suite.run(result)
    print(f'1..{result.count}')
    return 0 if result.wasSuccessful() else 1
