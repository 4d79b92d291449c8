"""Dovecot as an upstream that accepts only XOAUTH2 and OAUTHBEARER, or (for trying recipes) only plain passwords."""

import base64
import email.utils
import pwd
import re
import shutil

from .base import Process, free_port, give, listening, run, unprivileged, wait_for
from .sink import Sink

COMMON = """
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
auth_debug = yes
default_internal_user = {owner}
default_internal_group = {group}
default_login_user = {owner}
protocols = imap pop3 submission
hostname = lab
submission_relay_host = 127.0.0.1
submission_relay_port = {relay_port}
submission_max_mail_size = 200M
disable_plaintext_auth = yes
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2
auth_failure_delay = 0
mail_max_userip_connections = 0
mail_location = maildir:~/Maildir
mail_fsync = never
first_valid_uid = 1
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Sent {{
    auto = subscribe
    special_use = \\Sent
  }}
  mailbox Trash {{
    auto = create
    special_use = \\Trash
  }}
}}
service imap-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  process_limit = 2
  client_limit = 1000
  inet_listener imap {{
    address = {starttls_address}
    port = {starttls_port}
  }}
  inet_listener imaps {{
    address = {tls_address}
    port = {tls_port}
    ssl = yes
  }}
}}
service pop3-login {{
  chroot =
  service_count = 0
  inet_listener pop3 {{
    address = {starttls_address}
    port = {pop3_starttls}
  }}
  inet_listener pop3s {{
    address = {tls_address}
    port = {pop3_implicit}
    ssl = yes
  }}
}}
service submission-login {{
  chroot =
  service_count = 0
  inet_listener submission {{
    address = {starttls_address}
    port = {smtp_starttls}
  }}
  inet_listener submissions {{
    address = {tls_address}
    port = {smtp_implicit}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 400
}}
service auth {{
  # for Postfix
  inet_listener {{
    address = 127.0.0.1
    port = {auth_port}
  }}
}}
service anvil {{
  chroot =
  # every client here has one address: a refusal must not slow the others down
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""

OAUTH = """
auth_mechanisms = xoauth2 oauthbearer
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {home}/oauth2-user.ext
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {home}/oauth2-app.ext
}}
"""

# A token of a signed-in user opens the mailbox it names, an app-only token opens any.
OAUTH_DB = """
introspection_mode = post
introspection_url = {introspection}
username_attribute = username
force_introspection = yes
scope = mail
openid_configuration_url = {issuer}/.well-known/openid-configuration
timeout_msecs = 5000
"""
OAUTH_APP = "username_format = app\nactive_attribute = idtyp\nactive_value = app\n"

PLAIN = """
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = {home}/passwords
}}
"""


class Dovecot:
    """`idp` makes it an OAuth-only server; without one it knows the passwords given by `add_password`."""

    tls_address = "127.0.0.1"

    def __init__(self, folder, certificates, idp=None):
        self.home = folder
        # Another address than the client's own: Dovecot takes a connection between equal addresses for secured
        # and would let a token through before STARTTLS. With passwords that is wanted: it stands in for all listeners.
        self.starttls_address = "127.0.0.2" if idp else "127.0.0.1"
        self.tls_port = free_port(self.tls_address)
        self.starttls_port = free_port(self.starttls_address)
        # For POP3 and SMTP: by protocol, then by kind.
        self.ports = {protocol: {"implicit": free_port(self.tls_address), "starttls": free_port(self.starttls_address)}
                      for protocol in ("pop3", "smtp")}
        self.sink = Sink()
        self.auth_port = free_port()
        self._drop, owner = unprivileged()
        account = pwd.getpwnam(owner)
        group = run(["id", "-gn", owner]).stdout.decode().strip()
        certificate, key = folder / "server.pem", folder / "server.key"
        shutil.copy(certificates.certificate, certificate)
        shutil.copy(certificates.key, key)
        values = {
            "home": folder, "owner": owner, "group": group, "uid": account.pw_uid, "gid": account.pw_gid,
            "certificate": certificate, "key": key, "tls_port": self.tls_port, "tls_address": self.tls_address,
            "starttls_port": self.starttls_port, "starttls_address": self.starttls_address,
            "relay_port": self.sink.port, "auth_port": self.auth_port,
            **{f"{protocol}_{kind}": port for protocol, ports in self.ports.items() for kind, port in ports.items()},
        }
        text = COMMON.format(**values) + (OAUTH if idp else PLAIN).format(**values)
        (folder / "dovecot.conf").write_text(text)
        if idp:
            database = OAUTH_DB.format(introspection=idp.introspection_url, issuer=idp.issuer)
            (folder / "oauth2-user.ext").write_text(database)
            (folder / "oauth2-app.ext").write_text(database + OAUTH_APP)
        else:
            (folder / "passwords").touch()
        for part in ("run", "state", "mail"):
            (folder / part).mkdir()
        (folder / "dovecot.log").touch()
        for path in [folder, *folder.iterdir()]:
            give(path)
        self._process = None

    def start(self):
        self._process = Process(["dovecot", "-F", "-c", self.home / "dovecot.conf"], self.home / "stdout.log",
                                cwd=self.home, **self._drop)
        self._process.wait_ready(
            lambda: listening(self.tls_address, self.tls_port) and listening(self.starttls_address, self.starttls_port),
            "Dovecot listens")

    def add_password(self, user, password):
        """Only for the server with passwords, and before it starts."""
        encoded = base64.b64encode(password.encode()).decode()
        with open(self.home / "passwords", "a") as file:
            file.write(f"{user}:{{PLAIN.B64}}{encoded}\n")

    # What the server saw

    def log(self):
        return (self.home / "dovecot.log").read_text(errors="replace")

    def mark(self):
        """A place in the log, to look at what comes after it."""
        return len(self.log())

    def since(self, mark):
        return self.log()[mark:]

    def attempts(self, mark=0):
        """How many AUTHENTICATE commands arrived."""
        return len(re.findall(r"client in: AUTH\t", self.since(mark)))

    def logins(self, user, mark=0):
        """The methods of the successful logins of `user`, each with ` in clear` behind it where there was no TLS."""
        lines = re.findall(rf"Login: user=<{re.escape(user)}>, method=(\S+), (.*)", self.since(mark))
        return [method + ("" if re.search(r"\bTLS\b", rest) else " in clear") for method, rest in lines]

    def wait_login(self, user, mark=0):
        return wait_for(lambda: self.logins(user, mark), f"a login of {user} in Dovecot's log")

    # What lies in the mailboxes

    def mailbox(self, user):
        return Mailbox(user, self.home / "mail" / user / "Maildir")


class Mailbox:
    """A user's Maildir on the server, looked at from behind."""

    def __init__(self, user, path):
        self.user = user
        self.path = path

    def deliver(self, message, folder="INBOX"):
        """Puts a message in as a delivery agent would; makes the mailbox where it is missing."""
        where = self._folder(folder)
        for missing in [*reversed(where.parents), where, where / "tmp", where / "new", where / "cur"]:
            if not missing.exists():
                missing.mkdir(mode=0o700)
                give(missing)
        name = email.utils.make_msgid(domain="lab").strip("<>")
        temporary = where / "tmp" / name
        temporary.write_bytes(message)
        give(temporary)
        temporary.rename(where / "new" / name)

    def _folder(self, folder):
        return self.path if folder == "INBOX" else self.path / ("." + folder.replace("/", "."))

    def files(self, folder="INBOX"):
        where = self._folder(folder)
        return [file for part in ("new", "cur") if (where / part).is_dir() for file in sorted((where / part).iterdir())]

    def messages(self, folder="INBOX"):
        return [file.read_bytes() for file in self.files(folder)]

    def flags(self, folder="INBOX"):
        """The Maildir flags of each message, such as `FS`."""
        return [file.name.partition(":2,")[2] for file in self.files(folder)]

    def holds(self, text, folder="INBOX"):
        wanted = text.encode() if isinstance(text, str) else text
        return any(wanted in message for message in self.messages(folder))

