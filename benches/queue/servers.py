"""A Postfix and a mailsplice that take mail and keep it, each in a folder of its own."""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

# Everything that is kept stays in the hold queue: only the acceptance is measured, and Postfix has nothing else to do.
# Not as Debian ships: in_flow_delay (it would slow acceptance down as long as nothing is delivered), and no name look-ups.
MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/maillog
maillog_file_prefixes = {home}
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_restrictions = static:hold
defer_transports = smtp
in_flow_delay = 0
"""

MASTER = """
{smtpd} inet n - n - 200 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

# The mail server isn't there: mail waits.
PROXY = """
state_dir: ./state
store_key: {{ file: ./state/store.key }}
listeners:
  - name: scanners
    protocol: smtp
    bind: 127.0.0.1:{smtpd}
    tls: none
    allow_from: [127.0.0.0/8]
    login_as: scan@bench.test
    delivery: relay
relay:
  max_messages: 1000000
  max_bytes: 64GiB
providers:
  - name: nowhere
    preset: custom
    flow: client_credentials
    token_url: http://127.0.0.1:{closed}/token
    client_id: bench
    client_secret: {{ file: ./secret }}
    scopes: [mail]
    servers:
      smtp: {{ address: "127.0.0.1:{closed}", tls: none }}
accounts:
  - user: scan@bench.test
    provider: nowhere
"""

_running = []


def free_port():
    """A port nobody listens on, below the range that outgoing connections take theirs from."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Server:
    """A program in the foreground, its output in a file."""

    def __init__(self, home):
        self.home = home
        self.port = free_port()
        home.mkdir()

    def run(self, argv, **more):
        """Starts it; the seconds until it greets."""
        began = time.monotonic()
        with open(self.home / "output.log", "ab") as output:
            self.process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output, start_new_session=True, cwd=self.home, **more)
        _running.append(self)
        while not self._greets():
            if self.process.poll() is not None or time.monotonic() - began > 60:
                raise SystemExit(f"{argv[0]} does not start:\n{(self.home / 'output.log').read_text(errors='replace')}")
            time.sleep(0.01)
        return time.monotonic() - began

    def _greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as one:
                return one.recv(3) == b"220"
        except OSError:
            return False

    def stop(self):
        _running.remove(self)
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def stop_all():
    for one in list(_running):
        one.stop()


class Postfix(Server):
    def __init__(self, home):
        super().__init__(home)
        for part in ("queue", "data"):
            (home / part).mkdir()
        shutil.chown(home / "data", "postfix")
        (home / "main.cf").write_text(MAIN.format(home=home))
        (home / "master.cf").write_text(MASTER.format(smtpd=f"127.0.0.1:{self.port}"))

    def start(self):
        return self.run(["postfix", "-c", self.home, "start-fg"])

    def stop(self):
        # Its master has a session of its own, so that no signal of ours comes to it.
        subprocess.run(["postfix", "-c", str(self.home), "stop"], check=False, stderr=subprocess.DEVNULL)
        super().stop()

    def count(self):
        """Messages in its queues."""
        return sum(1 for name in ("hold", "incoming", "active", "deferred")
                   for one in (self.home / "queue" / name).rglob("*") if one.is_file())


class Mailsplice(Server):
    def __init__(self, home, binary):
        super().__init__(home)
        self.argv = [str(binary)]
        self.config = home / "proxy.yaml"
        self.config.write_text(PROXY.format(smtpd=self.port, closed=free_port()))
        (home / "secret").write_text("bench\n")
        (home / "secret").chmod(0o600)
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "NO_COLOR": "1"}

    def start(self):
        return self.run([*self.argv, "serve", "--config", self.config], env=self.environment)

    def count(self):
        """Messages in its queue."""
        return sum(1 for one in (self.home / "state/spool/queue").iterdir() if one.suffix != ".state")

    def memory(self):
        """What it has in memory, in MiB."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise SystemExit("no VmRSS")

    def list(self):
        """How many messages are listed, in how many seconds."""
        argv = [*self.argv, "queue", "list", "--json", "--config", str(self.config)]
        began = time.monotonic()
        ended = subprocess.run(argv, env=self.environment, capture_output=True, check=False)
        seconds = time.monotonic() - began
        if ended.returncode != 0:
            raise SystemExit(f"queue list: {ended.stderr.decode(errors='replace')}")
        return len(json.loads(ended.stdout)["messages"]), seconds
