"""Recipes for real mail programs. Each works in a mailbox and proves by its effect that it did:
by what the program printed or stored, and by what then lies on the server."""

import dataclasses
import errno
import imaplib
import os
import pathlib
import pty
import select
import signal
import ssl
import subprocess
import time
import uuid

from . import thunderbird
from .base import LabError, give, run, tail, unprivileged, wait_for
from .dovecot import Mailbox


@dataclasses.dataclass
class Target:
    """Where a client logs in, and what it may use."""

    security: str  # implicit | starttls | none
    port: int
    ca: pathlib.Path
    user: str
    password: str
    home: pathlib.Path  # an empty folder of its own
    mailbox: Mailbox
    host: str = "localhost"
    sink: object = None  # where sent mail arrives

    def env(self):
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "TERM": "xterm", "LANG": "C.UTF-8",
                "TMPDIR": str(self.home)}

    def write(self, name, text, mode=0o600):
        path = self.home / name
        path.write_text(text)
        path.chmod(mode)
        give(path)
        return path

    def folder(self, name):
        path = self.home / name
        path.mkdir()
        give(path)
        return path

    def run(self, argv, **options):
        """Runs a client as it is meant to be run: not by root."""
        return run(argv, env=self.env(), cwd=self.home, **options, **unprivileged()[0])

    def deliver(self, subject):
        """Puts a message into the INBOX and returns a word that stands only in this one."""
        marker = uuid.uuid4().hex
        self.mailbox.deliver(message(subject, marker))
        return marker

    def by_security(self, implicit, starttls, none):
        return {"implicit": implicit, "starttls": starttls, "none": none}[self.security]


def message(subject, marker):
    return (f"From: Postman <postman@lab.test>\r\nTo: <someone@lab.test>\r\nSubject: {subject}\r\n"
            f"Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <{marker}@lab.test>\r\n"
            f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{marker}\r\n").encode()


def check(condition, what, output=b""):
    if not condition:
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        raise LabError(f"{what}; it said: {tail(text)}" if text else what)


def quoted(text):
    """In double quotes, with backslashes before quotes and backslashes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def stored(folder, marker):
    """Whether a local file below `folder` holds the marker."""
    return any(marker.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def context(target):
    return ssl.create_default_context(cafile=str(target.ca))


def connect(target, seconds=30):
    """Python's own IMAP client, connected and not logged in."""
    if target.security == "implicit":
        return imaplib.IMAP4_SSL(target.host, target.port, ssl_context=context(target), timeout=seconds)
    client = imaplib.IMAP4(target.host, target.port, timeout=seconds)
    if target.security == "starttls":
        client.starttls(context(target))
    return client


def python_imaplib(target):
    marker = target.deliver("to imaplib")
    with connect(target) as client:
        client.login(target.user, target.password)
        client.select("INBOX")
        _, found = client.search(None, "SUBJECT", '"to imaplib"')
        _, data = client.fetch(found[0].split()[0], "(BODY.PEEK[])")
        check(data[0][1] == message("to imaplib", marker), "the message came back changed", data[0][1])
        client.create("Archive")
        check(client.copy(found[0], "Archive")[0] == "OK", "COPY refused")
    check(target.mailbox.holds(marker, "Archive"), "no copy in Archive on the server")


def python_authenticate(target):
    """AUTHENTICATE PLAIN without an initial response; the answer arrives in two writes."""
    target.deliver("to authenticate")
    with connect(target) as client:
        client.authenticate("PLAIN", lambda _: f"\0{target.user}\0{target.password}".encode())
        status, data = client.select("INBOX")
        check(status == "OK" and int(data[0]) >= 1, "INBOX not there")


def curl(target, *options):
    marker = target.deliver("to curl")
    base = f"{target.by_security('imaps', 'imap', 'imap')}://{target.host}:{target.port}/"
    secure = target.by_security([], ["--ssl-reqd"], [])
    settings = target.write("curlrc", f"user = {quoted(target.user + ':' + target.password)}\n")
    # no proxy settings of the machine, no progress meter
    common = ["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "20", "--cacert", target.ca, "-K", settings,
              *secure, *options]
    got = target.run([*common, base + "INBOX;MAILINDEX=1"])
    check(marker.encode() in got.stdout, "the message did not come", got.stdout + got.stderr)
    sent = uuid.uuid4().hex
    upload = target.write("upload.eml", message("from curl", sent).decode())
    target.run([*common, "-T", upload, base + "INBOX"])
    check(target.mailbox.holds(sent), "the uploaded message is not on the server")


def curl_auth_login(target):
    curl(target, "--login-options", "AUTH=LOGIN")


def in_terminal(argv, env, seconds=15, drop=None):
    """Runs a full-screen program with a terminal and returns what it drew. `drop`: Popen's arguments for another user."""
    drop = unprivileged()[0] if drop is None else drop
    master, slave = pty.openpty()
    child = subprocess.Popen([str(a) for a in argv], stdin=slave, stdout=slave, stderr=slave, env=env,
                             start_new_session=True, **drop)
    os.close(slave)
    screen = b""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.2)[0]:
                if child.poll() is not None:
                    return screen
                continue
            try:
                part = os.read(master, 65536)
            except OSError as error:
                if error.errno == errno.EIO:
                    child.wait(5)
                    return screen
                raise
            screen += part
        raise LabError(f"{argv[0]}: not done within {seconds} s: {screen[-600:]!r}")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        os.close(master)


def mutt(target):
    marker = target.deliver("to mutt")
    tls = target.by_security("set ssl_starttls=no", "set ssl_starttls=yes\nset ssl_force_tls=yes",
                             "set ssl_starttls=no\nset ssl_force_tls=no")
    rc = target.write("muttrc", f"""
set folder="{target.by_security('imaps', 'imap', 'imap')}://{target.host}:{target.port}/"
set spoolfile="+INBOX"
set imap_user="{target.user}"
set imap_pass='{target.password}'
set ssl_ca_certificates_file="{target.ca}"
{tls}
set header_cache=""
set mail_check=1000 timeout=1000 sleep_time=0
set copy=no confirmappend=no confirmcreate=no delete=yes quit=yes move=no wait_key=no
set mbox_type=maildir
set imap_check_subscribed=no
# one copy on this machine, then the message moves into Archive on the server
push "<tag-pattern>~A<enter><tag-prefix><copy-message>{target.home}/local<enter><tag-prefix><save-message>=Archive<enter><quit>"
""")
    screen = in_terminal(["mutt", "-n", "-F", rc], target.env())
    check(stored(target.home / "local", marker), "no copy on this side", screen[-900:])
    check(target.mailbox.holds(marker, "Archive"), "not in Archive on the server", screen[-900:])
    check(not target.mailbox.holds(marker), "still in INBOX on the server", screen[-900:])


def fetchmail(target):
    marker = target.deliver("to fetchmail")
    secure = target.by_security(f"ssl sslcertck sslcertfile {quoted(str(target.ca))}",
                                f"sslproto \"TLS1.2+\" sslcertck sslcertfile {quoted(str(target.ca))}",
                                "sslproto \"\"")
    spool = target.home / "spool"
    rc = target.write("fetchmailrc", f"""
poll {target.host} protocol IMAP port {target.port} timeout 15 auth password
  user {quoted(target.user)} password {quoted(target.password)} {secure}
  mda "cat >> {spool}" no keep fetchall
""")
    done = target.run(["fetchmail", "-v", "--nosyslog", "--nodetach", "-f", rc, "-i", target.home / "ids"], ok=None)
    check(spool.exists() and marker in spool.read_text(), "nothing delivered", done.stdout + done.stderr)
    check(not target.mailbox.files(), "the message is still on the server", done.stdout)


def getmail(target):
    marker = target.deliver("to getmail")
    kind = target.by_security("SimpleIMAPSSLRetriever", None, "SimpleIMAPRetriever")
    secure = target.by_security(f"ca_certs = {target.ca}", None, "")
    inbox = target.folder("inbox")
    for part in ("cur", "new", "tmp"):
        target.folder(f"inbox/{part}")
    target.write("getmailrc", f"""
[retriever]
type = {kind}
server = {target.host}
port = {target.port}
username = {target.user}
password = {target.password}
timeout = 15
{secure}

[destination]
type = Maildir
path = {inbox}/

[options]
delete = true
read_all = true
""")
    done = target.run(["getmail", f"--getmaildir={target.home}", "--rcfile=getmailrc"], ok=None)
    check(done.returncode == 0 and stored(inbox, marker), "nothing delivered", done.stdout + done.stderr)
    check(not target.mailbox.files(), "the message is still on the server", done.stdout)


def mbsync(target):
    marker = target.deliver("to mbsync")
    password = target.write("password", target.password + "\n")
    local = target.folder("mail")
    rc = target.write("mbsyncrc", f"""
IMAPAccount proxy
Host {target.host}
Port {target.port}
User {target.user}
PassCmd "cat {password}"
SSLType {target.by_security('IMAPS', 'STARTTLS', 'None')}
SystemCertificates no
CertificateFile {target.ca}
Timeout 15

IMAPStore far
Account proxy

MaildirStore near
Path {local}/
Inbox {local}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
Sync All
SyncState *
""")
    argv = ["mbsync", "-V", "-c", rc, "-a"]
    done = target.run(argv, ok=None)
    check(stored(local, marker), "nothing came", done.stdout + done.stderr)
    back = uuid.uuid4().hex
    target.write("mail/INBOX/new/1.lab", message("from mbsync", back).decode().replace("\r\n", "\n"))
    done = target.run(argv, ok=None)
    check(target.mailbox.holds(back), "nothing went back", done.stdout + done.stderr)


def offlineimap(target):
    marker = target.deliver("to offlineimap")
    password = target.write("password", target.password)
    local = target.folder("mail")
    rc = target.write("offlineimaprc", f"""
[general]
accounts = lab
metadata = {target.home}/meta
ui = basic
socktimeout = 20

[Account lab]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {local}

[Repository far]
type = IMAP
remotehost = {target.host}
remoteport = {target.port}
remoteuser = {target.user}
remotepassfile = {password}
ssl = {target.by_security('yes', 'no', 'no')}
starttls = {target.by_security('no', 'yes', 'no')}
{target.by_security(f'sslcacertfile = {target.ca}', f'sslcacertfile = {target.ca}', '')}
folderfilter = lambda name: name == 'INBOX'
""")
    argv = ["offlineimap", "-o", "-1", "-c", rc]
    done = target.run(argv, ok=None)
    check(done.returncode == 0 and stored(local, marker), "nothing came", done.stdout + done.stderr)
    back = uuid.uuid4().hex
    target.write("mail/INBOX/new/1700000000.1.lab", message("from offlineimap", back).decode().replace("\r\n", "\n"))
    done = target.run(argv, ok=None)
    check(target.mailbox.holds(back), "nothing went back", done.stdout + done.stderr)


def imapfilter(target):
    marker = target.deliver("to imapfilter")
    other = target.deliver("to stay")
    rc = target.write("config.lua", f"""
options.timeout = 15
options.create = true
options.starttls = {target.by_security('false', 'true', 'false')}
options.certificates = true
account = IMAP {{
  server = '{target.host}', port = {target.port},
  username = '{target.user}', password = {quoted(target.password)},
  {target.by_security("ssl = 'auto',", '', '')}
}}
found = account.INBOX:contain_subject('to imapfilter')
found:move_messages(account.Archive)
""")
    argv = ["imapfilter", "-v", "-c", rc, "-t", target.ca]
    done = target.run(argv, ok=None)
    check(target.mailbox.holds(marker, "Archive") and not target.mailbox.holds(marker), "the message did not move",
          done.stdout + done.stderr)
    check(target.mailbox.holds(other), "the other message is gone", done.stdout + done.stderr)


def thunderbird_reads(target):
    marker = target.deliver("to thunderbird")
    with thunderbird.Thunderbird(target.home, target.env()) as program:
        program.trust(target.ca)
        program.add_account(target)
        found = wait_for(lambda: program.inbox().get("to thunderbird"), "the message in Thunderbird's INBOX", 30)
        check(marker in found["messageId"], "another message came", str(found))
        program.star("to thunderbird")
        wait_for(lambda: any("F" in flags for flags in target.mailbox.flags()), "the star on the server", 20)
        sent = uuid.uuid4().hex
        program.append(target.write("upload.eml", message("from thunderbird", sent).decode()))
        wait_for(lambda: target.mailbox.holds(sent), "the message Thunderbird copied, on the server", 20)


@dataclasses.dataclass
class Client:
    name: str
    program: str
    works: callable
    securities: tuple = ("implicit",)
    special: bool = False  # can carry a password with quotes, backslashes, blanks and braces


EVERY = ("implicit", "starttls", "none")

CLIENTS = [
    Client("imaplib", "python3", python_imaplib, EVERY, special=True),
    Client("imaplib-authenticate", "python3", python_authenticate, EVERY, special=True),
    Client("curl", "curl", curl, EVERY, special=True),
    Client("curl-auth-login", "curl", curl_auth_login),
    Client("mutt", "mutt", mutt, EVERY, special=True),
    Client("fetchmail", "fetchmail", fetchmail, EVERY),
    # getmail has no STARTTLS
    Client("getmail", "getmail", getmail, ("implicit", "none"), special=True),
    Client("mbsync", "mbsync", mbsync, EVERY, special=True),
    # offlineimap's own STARTTLS hangs now and then, with any server
    Client("offlineimap", "offlineimap", offlineimap, ("implicit", "none"), special=True),
    # imapfilter sends a backslash unescaped, so the server sees another password
    Client("imapfilter", "imapfilter", imapfilter, EVERY),
    Client("thunderbird", "thunderbird", thunderbird_reads, ("implicit", "starttls"), special=True),
]
