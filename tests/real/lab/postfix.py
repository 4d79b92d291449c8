"""Postfix as a submission server that lets in by XOAUTH2 and OAUTHBEARER alone (Dovecot judges the tokens), and what
lies between it and mailsplice: a policy that refuses by chance, and a wire that breaks."""

import atexit
import random
import re
import shutil
import socket
import socketserver
import threading
import time

from .base import Process, free_port, listening, run, wait_for
from .sink import Sink

MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/maillog
maillog_file_prefixes = {home}
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.lab.test
mydestination =
local_header_rewrite_clients =
always_add_missing_headers = no
mynetworks = 127.0.0.99/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_bind_address = 127.0.0.1
alias_maps =
relayhost = [127.0.0.1]:{sink}
disable_dns_lookups = yes
smtp_tls_security_level = none
message_size_limit = 104857600
smtpd_banner = $myhostname ESMTP
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{auth}
smtpd_sasl_mechanism_filter = xoauth2, oauthbearer
smtpd_sasl_security_options = noanonymous
smtpd_delay_reject = no
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_sender_restrictions = {policy}
smtpd_recipient_restrictions = {policy}
smtpd_end_of_data_restrictions = {policy}
smtpd_policy_service_timeout = 5s
smtpd_forbid_bare_newline = reject
smtpd_forbid_unauth_pipelining = yes
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
smtpd_junk_command_limit = 10000
"""

MASTER = """
{plain} inet n - n - 200 smtpd
{tls} inet n - n - 200 smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_tls_security_level=encrypt
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
smtp unix - - n - 50 smtp
relay unix - - n - 50 smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """What it takes, it hands to `sink`."""

    def __init__(self, folder, certificates, auth_port):
        self.home = folder
        self.sink = Sink()
        self.policy = Policy()
        self.plain_port = free_port()
        self.tls_port = free_port()
        for part in ("queue", "data"):
            (folder / part).mkdir()
        shutil.chown(folder / "data", "postfix")
        policy = f"check_policy_service inet:127.0.0.1:{self.policy.port}"
        values = {"home": folder, "sink": self.sink.port, "auth": auth_port, "policy": policy,
                  "certificate": certificates.certificate, "key": certificates.key}
        (folder / "main.cf").write_text(MAIN.format(**values))
        (folder / "master.cf").write_text(MASTER.format(plain=f"127.0.0.1:{self.plain_port}",
                                                        tls=f"127.0.0.1:{self.tls_port}"))
        self._process = None

    def start(self):
        self._process = Process(["postfix", "-c", self.home, "start-fg"], self.home / "stdout.log")
        atexit.register(self.stop)
        self._process.wait_ready(lambda: listening("127.0.0.1", self.plain_port), "Postfix listens", 30)

    def stop(self):
        # Its master has a session of its own, which no signal to ours reaches.
        run(["postfix", "-c", self.home, "stop"], ok=None)
        self._process.stop()

    def log(self):
        path = self.home / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def logins(self):
        """The methods of the logins so far."""
        return re.findall(r"sasl_method=(\w+)", self.log())


class Policy(socketserver.ThreadingTCPServer):
    """Answers Postfix's policy questions: `choose(stage)` gives an action, DUNNO to go on."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Asked)
        self.port = self.server_address[1]
        self.choose = lambda stage, asked: "DUNNO"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Asked(socketserver.StreamRequestHandler):
    def handle(self):
        asked = {}
        while line := self.rfile.readline().decode(errors="replace"):
            name, _, value = line.rstrip("\n").partition("=")
            if name:
                asked[name] = value
                continue
            action = self.server.choose(asked.get("protocol_state"), asked)
            self.wfile.write(f"action={action}\n\n".encode())
            asked = {}


class Wire:
    """A TCP connection to `port` that breaks: `cut(what)` is asked at each connection (`connect`), at octets of a
    message (`data`) and behind its final dot (`dot`). While `away`, nobody listens."""

    def __init__(self, port, cut=lambda what: False):
        self.target = port
        self.cut = cut
        self.port = free_port()
        self.cuts = {"connect": 0, "data": 0, "dot": 0}
        self.open = self.most = 0
        self._lock = threading.Lock()
        self._socket = None
        self.listen()

    def listen(self):
        self._socket = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    def away(self, seconds):
        """Nobody listens for a while; connections that are open break."""
        listener, self._socket = self._socket, None
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        time.sleep(seconds)
        wait_for(self._listens, "the port is free again")

    def _listens(self):
        try:
            self.listen()
        except OSError:
            return False
        return True

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client, listener), daemon=True).start()

    def _carry(self, client, listener):
        if self._cuts("connect"):
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        with self._lock:
            self.open += 1
            self.most = max(self.most, self.open)
        deaf = threading.Event()
        back = threading.Thread(target=self._copy, args=(server, client, deaf), daemon=True)
        back.start()
        seen = b""
        try:
            while self._socket is listener and (piece := client.recv(65536)):
                seen = (seen + piece)[-5:] if len(piece) < 5 else piece[-5:]
                if len(piece) > 1000 and self._cuts("data"):
                    break
                if seen == b"\r\n.\r\n" and self._cuts("dot"):
                    # The server gets the message; its answer is lost.
                    deaf.set()
                    server.sendall(piece)
                    time.sleep(0.5)
                    break
                server.sendall(piece)
        except OSError:
            pass
        for one in (client, server):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        back.join()
        client.close()
        server.close()
        with self._lock:
            self.open -= 1

    def _cuts(self, what):
        if not self.cut(what):
            return False
        self.cuts[what] += 1
        return True

    @staticmethod
    def _copy(source, target, deaf):
        try:
            while piece := source.recv(65536):
                if not deaf.is_set():
                    target.sendall(piece)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def by_chance(seed, chances):
    """A choice by chance, the same for the same seed: `chances` has a probability for each answer."""
    chance = random.Random(seed)
    lock = threading.Lock()

    def choose():
        with lock:
            number = chance.random()
        for answer, probability in chances.items():
            number -= probability
            if number < 0:
                return answer
        return None
    return choose
