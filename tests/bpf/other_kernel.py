#!/usr/bin/python3
"""Runs the tests of this folder on Debian 12's own kernel (6.1), in a virtual machine that has this
machine's root file system, read-only, as its own.

    other_kernel.py BUILD_FOLDER SOURCE_FOLDER

Opt-in (`meson configure -Dkernel_test=true`), because it fetches the kernel's package (70 MB, kept in
SLUICE_KERNEL_CACHE or /var/tmp/sluice-kernel) and needs qemu-system-x86 and cpio. Emulates, which
takes minutes: under nested KVM the kernel was seen to hang before its first line, after /dev/kvm had
opened well. SLUICE_KERNEL_ACCEL=kvm where it works. SLUICE_KERNEL_ONLY="WireTest.test_..." runs some of the
namespace tests."""
import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MODULES = ["virtio_pci", "9pnet_virtio", "9p", "veth"]
TIMEOUT = int(os.environ.get("SLUICE_KERNEL_TIMEOUT", "1500"))

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do insmod /modules/$m || echo "insmod $m failed"; done
mkdir -p /host
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 root /host || echo no root
mount -t proc proc /host/proc
mount -t sysfs sys /host/sys
mount -t devtmpfs dev /host/dev
for d in tmp run mnt; do mount -t tmpfs tmpfs /host/$d; done
mkdir -p /host/run/netns
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 build /host/mnt
mount -t bpf bpf /host/sys/fs/bpf
cat > /host/run/test.sh <<'END'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export SLUICE_TEST_WAIT=90
uname -r
/mnt/tests/bpf/test_bpf --gtest_brief=1 && bpf=passed || bpf=failed
/usr/bin/python3 -W ignore SOURCE/tests/bpf/namespace_test.py /mnt/tests/bpf/wire_tool \\
  /mnt/xdp/steer_bpf.elf ONLY && namespaces=passed || namespaces=failed
echo "RESULT bpf $bpf namespaces $namespaces"
END
chroot /host /bin/sh /run/test.sh
poweroff -f
"""


def run(*command, **options):
    return subprocess.run(command, check=True, **options)


def fetch(cache):
    """Returns the unpacked kernel's folder and the busybox."""
    unpacked = cache / "unpacked"
    if not list(unpacked.glob("boot/vmlinuz-*")):
        cache.mkdir(parents=True, exist_ok=True)
        depends = run("apt-cache", "depends", "linux-image-amd64", capture_output=True,
                      text=True).stdout
        package = re.search(r"Depends: (linux-image-6\S+)", depends).group(1)
        run("apt-get", "download", package, "busybox-static", cwd=cache)
        for deb in cache.glob("*.deb"):
            run("dpkg-deb", "-x", deb, unpacked)
    return unpacked


def dependencies(modules, name, order):
    """Appends the module and those that it needs, which come first."""
    if name in (os.path.basename(path) for path in order):
        return
    path = modules.get(name)
    if path is None:
        return  # built into the kernel
    found = re.search(rb"\0depends=([^\0]*)\0", pathlib.Path(path).read_bytes())
    for needed in filter(None, (found.group(1).decode() if found else "").split(",")):
        dependencies(modules, needed.replace("-", "_"), order)
    if path not in order:
        order.append(path)


def make_initramfs(unpacked, folder, source):
    root = pathlib.Path(folder) / "root"
    for name in ("bin", "dev", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy(next(unpacked.glob("bin/busybox")), root / "bin/busybox")
    modules = {os.path.basename(path)[:-3].replace("-", "_"): path for path in
               glob.glob(f"{unpacked}/lib/modules/**/*.ko", recursive=True)}
    order = []
    for name in MODULES:
        dependencies(modules, name, order)
    for path in order:
        shutil.copy(path, root / "modules")
    (root / "modules/order").write_text("\n".join(os.path.basename(path) for path in order) + "\n")
    (root / "init").write_text(INIT.replace("SOURCE", source).replace("ONLY", os.environ.get("SLUICE_KERNEL_ONLY", "")))
    (root / "init").chmod(0o755)
    image = pathlib.Path(folder) / "initramfs"
    with open(image, "wb") as output:
        names = subprocess.Popen(["find", "."], cwd=root, stdout=subprocess.PIPE)
        run("cpio", "-o", "-H", "newc", "--quiet", cwd=root, stdin=names.stdout, stdout=output)
        names.wait()
    return image


def main():
    build, source = (os.path.abspath(path) for path in sys.argv[1:3])
    cache = pathlib.Path(os.environ.get("SLUICE_KERNEL_CACHE", "/var/tmp/sluice-kernel"))
    unpacked = fetch(cache)
    with tempfile.TemporaryDirectory() as folder:
        image = make_initramfs(unpacked, folder, source)
        share = "local,security_model=none,readonly=on,multidevs=remap"
        accelerator = os.environ.get("SLUICE_KERNEL_ACCEL", "tcg,thread=multi")
        command = ["qemu-system-x86_64", "-accel", accelerator, "-cpu",
                   "host" if accelerator == "kvm" else "Nehalem", "-smp", "2", "-m", "2048", "-nographic", "-no-reboot", "-nic", "none",
                   "-kernel", str(next(unpacked.glob("boot/vmlinuz-*"))), "-initrd", str(image),
                   "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
                   "-virtfs", f"{share},path=/,mount_tag=root",
                   "-virtfs", f"{share},path={build},mount_tag=build"]
        with open(pathlib.Path(folder) / "console", "wb+") as console:
            try:
                subprocess.run(command, stdin=subprocess.DEVNULL, stdout=console,
                               stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False)
            except subprocess.TimeoutExpired:
                pass  # what it said so far tells where it stopped
            console.seek(0)
            output = console.read().decode(errors="replace")
    print(output[-20000:])
    return 0 if "RESULT bpf passed namespaces passed" in output else 1


if __name__ == "__main__":
    sys.exit(main())
