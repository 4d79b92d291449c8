"""Every mail program, on every kind of listener it can use, in front of both kinds of upstream."""

from .cases import IMPLICIT, SPECIAL_PASSWORD, STARTTLS, Case, need
from .clients import CLIENTS
from .clients_mail import POP3, SMTP


def _through(client):
    def works(lab, case):
        target = lab.target(case)
        client.works(target)
        methods = lab.dovecot.wait_login(case.user)
        if lab.proxies():
            wanted = {IMPLICIT: "XOAUTH2", STARTTLS: "OAUTHBEARER"}[case.provider]
            need(set(methods) == {wanted}, f"Dovecot saw {methods}, not {wanted}")
    return works


def cases():
    return _of(CLIENTS, "imap") + _of(POP3, "pop3") + _of(SMTP, "smtp")


def _of(clients, protocol):
    every = []
    for client in clients:
        for security in client.securities:
            for password in [None, SPECIAL_PASSWORD] if client.special and security == "implicit" else [None]:
                name = f"{client.name}/{security}" + ("/special-password" if password else "")
                # upstreams in turn, so that each program meets both
                provider = STARTTLS if security == "starttls" or password else IMPLICIT
                every.append(Case(name, _through(client), f"{name.replace('/', '-')}@lab.test", provider, security,
                                  password, client.program, protocol=protocol))
    return every
