"""A real Postfix of the lab's own: own configuration, queue and log in one folder, in one network
namespace. Nothing of the machine's mail system is read, changed or started."""
import os
import pathlib
import shutil
import subprocess
import time

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {base}/log/maillog
maillog_file_prefixes = {base}/log
myhostname = mx.lab.test
mydomain = lab.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = {address}
inet_protocols = all
alias_maps =
virtual_mailbox_domains = lab.test
virtual_mailbox_base = {base}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_mailbox_limit = 0
message_size_limit = 104857600
mailbox_size_limit = 0
hopcount_limit = 500
header_size_limit = 1048576
disable_mime_input_processing = yes
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_peername_lookup = no
message_drop_headers =
in_flow_delay = 0
default_process_limit = 60
# Names are looked up nowhere: the lab has no resolver.
smtp_dns_support_level = disabled
notify_classes =
"""

# name type private unpriv chroot wakeup maxproc command
MASTER_CF = """\
smtp      inet  n  -  n  -     -  smtpd
pickup    unix  n  -  n  60    1  pickup
cleanup   unix  n  -  n  -     0  cleanup
qmgr      unix  n  -  n  300   1  qmgr
rewrite   unix  -  -  n  -     -  trivial-rewrite
bounce    unix  -  -  n  -     0  discard
defer     unix  -  -  n  -     0  bounce
trace     unix  -  -  n  -     0  bounce
verify    unix  -  -  n  -     1  verify
flush     unix  n  -  n  1000? 0  flush
proxymap  unix  -  -  n  -     -  proxymap
proxywrite unix -  -  n  -     1  proxymap
error     unix  -  -  n  -     -  error
retry     unix  -  -  n  -     -  error
discard   unix  -  -  n  -     -  discard
virtual   unix  -  n  n  -     -  virtual
anvil     unix  -  -  n  -     1  anvil
scache    unix  -  -  n  -     1  scache
postlog   unix-dgram n - n -    1  postlogd
"""


class Postfix:
    """`namespace` is a name of /run/netns, `address` one that it owns; `base` is made, and removed
    by stop()."""

    def __init__(self, namespace, address, base):
        self.namespace = namespace
        self.base = pathlib.Path(base)
        self.config = self.base / 'etc'
        self.address = address

    def _run(self, *command, check=True):
        return subprocess.run(['nsenter', f'--net=/run/netns/{self.namespace}', *command],
                              check=check, capture_output=True, text=True, timeout=60)

    def start(self):
        if self.base.exists():
            shutil.rmtree(self.base)
        for folder in ('etc', 'queue', 'data', 'mail', 'log'):
            (self.base / folder).mkdir(parents=True)
        self.base.chmod(0o755)
        shutil.chown(self.base / 'data', 'postfix')
        shutil.chown(self.base / 'mail', 65534, 65534)
        (self.config / 'main.cf').write_text(
            MAIN_CF.format(base=self.base, address=self.address))
        (self.config / 'master.cf').write_text(MASTER_CF)
        result = self._run('postfix', '-c', str(self.config), 'start', check=False)
        if result.returncode:
            raise RuntimeError(f'postfix did not start: {result.stderr}{result.stdout}')

    def queue_empty(self):
        """True when every accepted message has been delivered."""
        for name in ('maildrop', 'incoming', 'active', 'deferred'):
            for _, _, files in os.walk(self.base / 'queue' / name):
                if files:
                    return False
        return True

    def wait_delivered(self, seconds):
        deadline = time.monotonic() + seconds
        while not self.queue_empty():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def delivered(self):
        """The files of delivered messages."""
        return sorted((self.base / 'mail' / 'all' / 'new').glob('*'))

    def log(self):
        path = self.base / 'log' / 'maillog'
        return path.read_text(errors='replace') if path.exists() else ''

    def stop(self):
        if (self.config / 'main.cf').exists():
            self._run('postfix', '-c', str(self.config), 'stop', check=False)
        shutil.rmtree(self.base, ignore_errors=True)
