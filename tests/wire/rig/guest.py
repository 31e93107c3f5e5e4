"""A virtual machine under QEMU that has a kernel of Debian's and this machine's root file system,
read-only, as its own.

    unpacked = fetch('linux-image-amd64')
    with tempfile.TemporaryDirectory() as folder:
        image = make_initramfs(unpacked, folder, ['veth'], 'script of /bin/sh', {'build': build})
        subprocess.run(command(unpacked, image, {'build': build}), ...)

The script runs as root in that root; /tmp, /run and /mnt are its own, and each of the shares is under
/mnt. Under nested KVM the kernel was seen to hang before its first line, after /dev/kvm had opened well:
it is emulated unless SLUICE_KERNEL_ACCEL=kvm. Needs qemu-system-x86, cpio and 70 MB for the kernel, kept
in SLUICE_KERNEL_CACHE or /var/tmp/sluice-kernel."""
import glob
import lzma
import os
import pathlib
import re
import shutil
import subprocess

MODULES = ['virtio_pci', '9pnet_virtio', '9p']

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do insmod /modules/$m || echo "insmod $m failed"; done
mkdir -p /host
share() { mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 $1 $2 || echo no $1; }
share root /host
mount -t proc proc /host/proc
mount -t sysfs sys /host/sys
mount -t devtmpfs dev /host/dev
for d in tmp run mnt; do mount -t tmpfs tmpfs /host/$d; done
mkdir -p /host/run/netns
for s in SHARES; do mkdir /host/mnt/$s; share $s /host/mnt/$s; done
mount -t bpf bpf /host/sys/fs/bpf
ip link set lo up
cp /script /host/run/script
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot /host /bin/sh /run/script
poweroff -f
"""


def run(*command_, **options):
    return subprocess.run(command_, check=True, **options)


def fetch(package):
    """The folder with the unpacked kernel of `package`, or of what that depends on, and the busybox."""
    cache = pathlib.Path(os.environ.get('SLUICE_KERNEL_CACHE', '/var/tmp/sluice-kernel')) / package
    unpacked = cache / 'unpacked'
    if not list(unpacked.glob('boot/vmlinuz-*')):
        cache.mkdir(parents=True, exist_ok=True)
        depends = run('apt-cache', 'depends', package, capture_output=True, text=True).stdout
        found = re.search(r'Depends: (linux-image-\S+)', depends)
        run('apt-get', 'download', found.group(1) if found else package, 'busybox-static', cwd=cache)
        for deb in cache.glob('*.deb'):
            run('dpkg-deb', '-x', deb, unpacked)
    return unpacked


def read_module(path):
    octets = pathlib.Path(path).read_bytes()
    return lzma.decompress(octets) if path.endswith('.xz') else octets


def module_name(path):
    return os.path.basename(path).split('.ko')[0].replace('-', '_')


def dependencies(modules, name, order):
    """Appends the module and those that it needs, which come first."""
    path = modules.get(name)
    if path is None or path in order:
        return  # built into the kernel, or there
    found = re.search(rb'\0depends=([^\0]*)\0', read_module(path))
    for needed in filter(None, (found.group(1).decode() if found else '').split(',')):
        dependencies(modules, needed.replace('-', '_'), order)
    if path not in order:
        order.append(path)


def make_initramfs(unpacked, folder, modules, script, shares):
    """modules: beside those for the root. shares: folders by name."""
    root = pathlib.Path(folder) / 'root'
    for name in ('bin', 'dev', 'modules'):
        (root / name).mkdir(parents=True)
    shutil.copy(next(unpacked.glob('bin/busybox')), root / 'bin/busybox')
    found = {module_name(path): path for path in glob.glob(f'{unpacked}/lib/modules/**/*.ko*', recursive=True)}
    order = []
    for name in (*MODULES, *modules):
        dependencies(found, name, order)
    for path in order:
        (root / 'modules' / module_name(path)).write_bytes(read_module(path))
    (root / 'modules/order').write_text('\n'.join(map(module_name, order)) + '\n')
    (root / 'script').write_text(script)
    (root / 'init').write_text(INIT.replace('SHARES', ' '.join(shares)))
    (root / 'init').chmod(0o755)
    image = pathlib.Path(folder) / 'initramfs'
    with open(image, 'wb') as output:
        names = subprocess.Popen(['find', '.'], cwd=root, stdout=subprocess.PIPE)
        run('cpio', '-o', '-H', 'newc', '--quiet', cwd=root, stdin=names.stdout, stdout=output)
        names.wait()
    return image


def kvm():
    return os.environ.get('SLUICE_KERNEL_ACCEL') == 'kvm'


def command(unpacked, image, shares, cpus=2, arguments='', options=(), emulation='tcg,thread=multi'):
    """The QEMU that boots it, with its console on the standard output. arguments: of the kernel;
    options: further ones of QEMU; emulation: unless kvm()."""
    share = 'local,security_model=none,readonly=on,multidevs=remap'
    folders = [word for tag, path in {'root': '/', **shares}.items()
               for word in ('-virtfs', f'{share},path={path},mount_tag={tag}')]
    return ['qemu-system-x86_64', *(('-accel', 'kvm', '-cpu', 'host') if kvm() else ('-accel', emulation, '-cpu', 'Nehalem')),
            '-smp', str(cpus), '-m', '2048', '-display', 'none', '-serial', 'stdio', '-no-reboot', '-nic', 'none',
            '-kernel', str(next(unpacked.glob('boot/vmlinuz-*'))), '-initrd', str(image),
            '-append', f'console=ttyS0 quiet panic=-1 no_timer_check {arguments}', *folders, *options]
