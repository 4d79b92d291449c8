"""The program under test: its configuration file, its commands, and `serve`."""

import json
import os
import queue
import re
import signal
import subprocess
import threading
import time

from .base import LabError, Process, free_port, run, tail


def yaml(value, indent=0):
    """Block YAML of plain dictionaries and lists; every text in double quotes, which YAML reads as JSON does."""
    pad = "  " * indent
    lines = []
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, (dict, list)):
                lines += [f"{pad}{key}:", yaml(each, indent + 1)]
            else:
                lines.append(f"{pad}{key}: {json.dumps(each)}")
    else:
        for each in value:
            if isinstance(each, dict):
                lines.append(f"{pad}- {yaml(each, indent + 1).lstrip()}")
            else:
                lines.append(f"{pad}- {json.dumps(each)}")
    return "\n".join(lines)


def app_provider(name, idp, secret_file, imap, **more):
    client, _ = idp.app_client
    return {
        "name": name, "preset": "custom", "flow": "client_credentials", "token_url": idp.token_url,
        "client_id": client, "client_secret": {"file": str(secret_file)}, "scopes": ["mail"],
        "servers": {"imap": imap}, **more,
    }


def certificate_provider(name, idp, certificate, key, passphrase, imap):
    provider = app_provider(name, idp, None, imap, client_id=idp.certificate_client, client_certificate={
        "certificate": str(certificate), "private_key": str(key), "passphrase": {"file": str(passphrase)}})
    del provider["client_secret"]
    return provider


def user_provider(name, idp, imap, **more):
    return {
        "name": name, "preset": "custom", "flow": "authorization_code", "issuer": idp.issuer,
        "authorization_url": idp.authorization_url, "token_url": idp.token_url,
        "device_authorization_url": idp.device_url, "revocation_url": idp.revocation_url,
        "client_id": idp.public_client, "scopes": ["openid", "offline_access", "email", "profile", "mail"],
        "servers": {"imap": imap}, **more,
    }


class Proxy:
    """One configuration with its state directory; `start` runs `serve` on it."""

    def __init__(self, binary, folder, front, upstream_ca, providers, accounts, log_filter="info",
                 environment=None, protocols=("imap",), listeners=(), **sections):
        self.binary = binary
        self.folder = folder
        self.by_protocol = {protocol: {security: free_port() for security in ("implicit", "starttls", "none")}
                            for protocol in protocols}
        self.ports = self.by_protocol.get("imap", {})
        self._binds = [f"127.0.0.1:{port}" for ports in self.by_protocol.values() for port in ports.values()]
        self._binds += [listener["bind"] for listener in listeners]
        self.config = folder / "proxy.yaml"
        self.config.write_text(yaml({
            "state_dir": "./state",
            "store_key": {"file": "./state/store.key"},
            "tls": {"certificate": str(front.certificate), "private_key": str(front.key),
                    "names": ["localhost", "127.0.0.1"]},
            "trust": {"extra_ca": str(upstream_ca)},
            "listeners": [
                {"name": f"{protocol}-{security}", "protocol": protocol, "bind": f"127.0.0.1:{port}", "tls": security}
                for protocol, ports in self.by_protocol.items() for security, port in ports.items()
            ] + list(listeners),
            "providers": providers,
            "accounts": [{"user": user, "provider": provider} for user, provider in accounts],
            **sections,
        }) + "\n")
        self.passwords = {}
        self._log_filter = log_filter
        self._environment = environment or {}
        self._starts = 0
        self._process = None

    def env(self):
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", "NO_COLOR": "1",
                # a browser that opens nothing: the lab's own goes to the printed address
                "BROWSER": "true", "RUST_LOG": self._log_filter, "RUST_BACKTRACE": "1",
                **self._environment}

    def argv(self, *words):
        return [str(self.binary), *words, "--config", str(self.config)]

    def command(self, *words, data=None, ok=(0,)):
        return run(self.argv(*words), env=self.env(), cwd=self.folder, data=data, ok=ok)

    def add_password(self, user, given=None):
        """A device password: the one given, or one the program makes; stdout must hold nothing but that."""
        if given is not None:
            self.command("password", "add", user, "--stdin", data=(given + "\n").encode())
            password = given
        else:
            said = self.command("password", "add", user).stdout.decode()
            password = said.strip()
            if not re.fullmatch(r"[A-Za-z0-9]{16,}", password):
                raise LabError(f"password add {user}: stdout is not the password alone ({len(said)} characters)")
        self.passwords[user] = password
        return password

    def start(self):
        self._starts += 1
        log = self.folder / f"serve-{self._starts}.log"
        self._process = Process(self.argv("serve"), log, env=self.env(), cwd=self.folder)
        self._process.wait_ready(self._ready, "mailsplice serve has a ready line for each listener")

    def _ready(self):
        lines = [line for line in self._process.text().splitlines() if re.search("ready|listening", line, re.IGNORECASE)]
        return all(any(bind in line for line in lines) for bind in self._binds)

    def kill(self):
        """SIGKILL."""
        self._process.kill()

    def stop(self):
        """SIGTERM; the exit status must be 0."""
        status = self._process.stop()
        if status != 0:
            raise LabError(f"serve ended with status {status} after SIGTERM")

    def alive(self):
        return self._process is not None and self._process.alive()

    def logs(self):
        return "".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("serve-*.log")))

    def login(self, user, *options):
        return Login(self, user, options)


class Login:
    """A running `mailsplice login`, as a person at a terminal sees it: both outputs together, line by line."""

    def __init__(self, proxy, user, options):
        self._child = subprocess.Popen(
            proxy.argv("login", user, *options), env=proxy.env(), cwd=proxy.folder, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._parts = queue.Queue()
        self._said = b""
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def _read(self):
        while part := self._child.stdout.read1(65536):
            self._parts.put(part)
        self._parts.put(None)

    def said(self):
        return self._said.decode(errors="replace")

    def wait_for(self, pattern, seconds=15.0):
        """What matches `pattern` in the output; a match counts only when something follows it."""
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(pattern + r"(?=\s)", self.said())
            if found:
                return found.group(0)
            self._more(deadline, f"login prints {pattern}")

    def _more(self, deadline, what):
        try:
            part = self._parts.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise LabError(f"not in time: {what}; it said: {tail(self.said())}") from None
        if part is None:
            raise LabError(f"it ended before: {what}; it said: {tail(self.said())}")
        self._said += part

    def type(self, line):
        self._child.stdin.write(line.encode() + b"\n")
        self._child.stdin.flush()

    def finish(self, seconds=20.0):
        """The exit status."""
        try:
            self._child.stdin.close()
        except BrokenPipeError:
            pass
        try:
            status = self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LabError(f"login does not end; it said: {tail(self.said())}") from None
        while (part := self._parts.get(timeout=5)) is not None:
            self._said += part
        return status
