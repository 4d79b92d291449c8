"""What a case is, and the lab it runs in."""

import dataclasses
import shutil

from . import certs
from .base import LabError, Directory, give
from .clients import Target
from .dovecot import Dovecot
from .idp import IdentityProvider
from .proxy import Proxy, app_provider, certificate_provider, user_provider

SPECIAL_PASSWORD = 'pa"ss\\w rd{3}'

# The two upstreams a mail case can have behind it, by the provider's name.
IMPLICIT, STARTTLS = "lab-implicit", "lab-starttls"


@dataclasses.dataclass
class Case:
    """One test. `user` is an account of its own on the proxy for clients (none where it is empty); cases with `oauth`
    use the other proxy."""

    name: str
    works: callable
    user: str = ""
    provider: str = IMPLICIT
    security: str = "implicit"
    password: str = None  # None: one that mailsplice makes
    program: str = "python3"
    oauth: bool = False
    protocol: str = "imap"  # pop3 and smtp have a proxy of their own


class Lab:
    """Everything that runs: identity provider, Dovecot, and three proxies.

    `clients` has two providers, so two different upstreams behind each listener: implicit TLS with XOAUTH2 and
    STARTTLS with OAUTHBEARER, both app-only. `people` has one upstream for all: accounts that sign in, and app-only ones.
    `mail` is like `clients`, for POP3 and SMTP.
    """

    def __init__(self, binary, keep):
        self.binary = binary
        self.directory = Directory(keep)
        folder = self.directory.make("certificates")
        self.front = certs.make(folder, "front", ["DNS:localhost", "IP:127.0.0.1"])
        self.upstream = certs.make(folder, "upstream", ["DNS:localhost", "IP:127.0.0.1", "IP:127.0.0.2"])
        secrets = self.directory.make("secrets", 0o700)
        # The first pair of a client and the one that replaces it; the provider knows both.
        self.first_pair = certs.client_pair(secrets, "first", "s3cret of the lab")
        self.renewed_pair = certs.client_pair(secrets, "renewed", "another s3cret")
        self.client_pair = [secrets / f"client{file.suffix}" for file in self.first_pair]
        self.use_pair(self.first_pair)
        self.secret = secrets / "app"
        self.clients = self.people = self.mail = None

    def use_pair(self, pair):
        """Puts certificate, key and passphrase where the proxies look for them."""
        for new, place in zip(pair, self.client_pair):
            shutil.copy(new, place)

    def start(self, cases):
        self.idp = IdentityProvider(self.directory.make("idp"), certificateClient={
            "id": IdentityProvider.certificate_client,
            "certificates": [str(pair[0]) for pair in (self.first_pair, self.renewed_pair)]})
        self.idp.start()
        self.dovecot = Dovecot(self.directory.make("dovecot"), self.upstream, self.idp)
        self.dovecot.start()
        secret = self.secret
        secret.write_text(self.idp.app_client[1] + "\n")
        secret.chmod(0o600)

        implicit = {"address": f"{Dovecot.tls_address}:{self.dovecot.tls_port}", "tls": "implicit"}
        starttls = {"address": f"{self.dovecot.starttls_address}:{self.dovecot.starttls_port}", "tls": "starttls"}
        self.imap = {IMPLICIT: implicit, STARTTLS: starttls}
        self.clients = self._started("clients", [case for case in cases if case.user and not case.oauth and case.protocol == "imap"], [
            app_provider(IMPLICIT, self.idp, secret, implicit),
            app_provider(STARTTLS, self.idp, secret, starttls, sasl="oauthbearer"),
        ])
        self.people = self._started("people", [case for case in cases if case.oauth], [
            user_provider("lab-people", self.idp, implicit),
            app_provider("lab-app", self.idp, secret, implicit),
            certificate_provider("lab-certificate", self.idp, *self.client_pair, implicit),
        ], log_filter="trace")

        self.mail = self._started("mail", [case for case in cases if case.protocol != "imap"], [
            app_provider(IMPLICIT, self.idp, secret, None, servers=self._servers("implicit", Dovecot.tls_address)),
            app_provider(STARTTLS, self.idp, secret, None, sasl="oauthbearer",
                         servers=self._servers("starttls", self.dovecot.starttls_address)),
        ], protocols=("pop3", "smtp"))

    def _servers(self, kind, address):
        return {protocol: {"address": f"{address}:{ports[kind]}", "tls": kind}
                for protocol, ports in self.dovecot.ports.items()}

    def _started(self, name, cases, providers, **more):
        """A proxy that serves the accounts of these cases; none where there are none."""
        if not cases:
            return None
        proxy = self.proxy(name, providers, [(case.user, case.provider) for case in cases], **more)
        proxy.command("check")
        for case in cases:
            proxy.add_password(case.user, case.password)
        proxy.start()
        return proxy

    def proxies(self):
        return [proxy for proxy in (self.clients, self.people, self.mail) if proxy]

    def proxy(self, name, providers, accounts, **more):
        ca = more.pop("upstream_ca", self.upstream.ca)
        return Proxy(self.binary, self.directory.make(name, 0o700), self.front, ca, providers, accounts, **more)

    def target(self, case, security=None):
        """What a client needs for the case's account."""
        if case.protocol != "imap":
            port = self.mail.by_protocol[case.protocol][security or case.security]
            return self._target(case, security or case.security, port, case.user, self.mail.passwords[case.user])
        proxy = self.people if case.oauth else self.clients
        return self.target_on(proxy, case, case.user, security)

    def target_on(self, proxy, case, user, security=None):
        """The same on a proxy of the case's own."""
        security = security or case.security
        return self._target(case, security, proxy.ports[security], user, proxy.passwords[user])

    def _target(self, case, security, port, user, password):
        home = self.directory.make(f"homes/{case.name.replace('/', '-')}", 0o700)
        give(home)
        return Target(security, port, self.front.ca, user, password, home, self.dovecot.mailbox(user),
                      sink=self.dovecot.sink)

    def log_tail(self):
        return [proxy.logs() for proxy in self.proxies()]


class DirectLab(Lab):
    """No proxy and no OAuth: the clients talk to a Dovecot with passwords, to try recipes and cases themselves."""

    def start(self, cases):
        self.dovecot = Dovecot(self.directory.make("dovecot"), self.front)
        self._passwords = {case.user: case.password or "Abc123xyz" for case in cases}
        for user, password in self._passwords.items():
            self.dovecot.add_password(user, password)
        self.dovecot.start()

    def target(self, case, security=None):
        security = security or case.security
        port = self.dovecot.tls_port if security == "implicit" else self.dovecot.starttls_port
        if case.protocol != "imap":
            port = self.dovecot.ports[case.protocol]["implicit" if security == "implicit" else "starttls"]
        return self._target(case, security, port, case.user, self._passwords[case.user])


def need(condition, what):
    if not condition:
        raise LabError(what)
