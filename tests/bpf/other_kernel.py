#!/usr/bin/python3
"""Runs the tests of this folder on Debian 12's own kernel (6.1), in a virtual machine
(tests/wire/rig/guest.py).

    other_kernel.py BUILD_FOLDER SOURCE_FOLDER

Opt-in (`meson configure -Dkernel_test=true`), because it fetches the kernel and takes minutes.
SLUICE_KERNEL_ONLY="WireTest.test_..." runs some of the namespace tests."""
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "wire"))
from rig import guest  # noqa: E402

TIMEOUT = int(os.environ.get("SLUICE_KERNEL_TIMEOUT", "3000"))

SCRIPT = """export SLUICE_TEST_WAIT=90
uname -r
/mnt/build/tests/bpf/test_bpf --gtest_brief=1 '--gtest_filter=-FrontTest.*' && \\
  SLUICE_TEST_FRONT=1 /mnt/build/tests/bpf/test_bpf --gtest_brief=1 \\
    --gtest_filter=-LivenessTest.QueueThatNoWorkerServesTakesTheFailurePolicy && \\
  bpf=passed || bpf=failed
/usr/bin/python3 -W ignore /mnt/source/tests/bpf/namespace_test.py /mnt/build/tests/bpf/wire_tool \\
  /mnt/build/xdp/steer_bpf.elf ONLY && namespaces=passed || namespaces=failed
echo "RESULT bpf $bpf namespaces $namespaces"
"""


def main():
    build, source = (os.path.abspath(path) for path in sys.argv[1:3])
    shares = {"build": build, "source": source}
    unpacked = guest.fetch("linux-image-amd64")
    script = SCRIPT.replace("ONLY", os.environ.get("SLUICE_KERNEL_ONLY", ""))
    with tempfile.TemporaryDirectory() as folder:
        image = guest.make_initramfs(unpacked, folder, ["veth", "macvlan", "sch_ingress", "cls_bpf", "cls_u32", "tun"], script, shares)
        with open(pathlib.Path(folder) / "console", "wb+") as console:
            try:
                subprocess.run(guest.command(unpacked, image, shares), stdin=subprocess.DEVNULL, stdout=console,
                               stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False)
            except subprocess.TimeoutExpired:
                pass  # what it said so far tells where it stopped
            console.seek(0)
            output = console.read().decode(errors="replace")
    print(output[-20000:])
    return 0 if "RESULT bpf passed namespaces passed" in output else 1


if __name__ == "__main__":
    sys.exit(main())
