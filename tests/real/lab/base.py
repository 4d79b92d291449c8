"""Processes, waiting and temporary files: what every part of the lab needs."""

import atexit
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


class LabError(Exception):
    """A part of the lab did not do what it should; the text says what."""


def wait_for(condition, what, seconds=15.0):
    """Asks `condition` until it gives something true and returns that; raises after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise LabError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


_taken = set()


def free_port(address="127.0.0.1"):
    """A port nobody listens on, below the range that outgoing connections take theirs from."""
    for _ in range(200):
        port = random.randrange(20000, 32000)
        if port in _taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise LabError("no free port found")


def listening(address, port):
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def unprivileged():
    """Keyword arguments for Popen that drop root, and the owner's name; nothing to drop for others."""
    if os.geteuid() != 0:
        return {}, pwd.getpwuid(os.geteuid()).pw_name
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}, "nobody"


def give(path):
    """Hands a file or folder to the unprivileged user; does nothing where there is no root to drop."""
    drop, owner = unprivileged()
    if drop:
        account = pwd.getpwnam(owner)
        os.chown(path, account.pw_uid, account.pw_gid)


class Directory:
    """The lab's temporary folder. Removed at the end unless `keep`."""

    def __init__(self, keep):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="mailsplice-lab-"))
        self.path.chmod(0o711)
        atexit.register(self._end, keep)

    def _end(self, keep):
        if keep:
            print(f"kept: {self.path}", file=sys.stderr)
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    def make(self, name, mode=0o755):
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        return path


_running = []


class Process:
    """A long-running program with its output in a file. It and its children end with the lab."""

    def __init__(self, argv, log, cwd=None, env=None, **popen):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.popen = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                cwd=cwd, env=env, start_new_session=True, **popen)
        _running.append(self)

    def text(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        return self.popen.poll() is None

    def wait_ready(self, condition, what, seconds=15.0):
        def ready():
            if not self.alive():
                raise LabError(f"{what}: ended with status {self.popen.returncode}: {tail(self.text())}")
            return condition()
        try:
            return wait_for(ready, what, seconds)
        except LabError as error:
            raise LabError(f"{error}: {tail(self.text())}") from None

    def stop(self, seconds=10.0):
        """Asks politely, then kills what is left of the group; returns the exit status."""
        if self in _running:
            _running.remove(self)
        if self.alive():
            self.popen.terminate()
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        return self.popen.returncode

    def kill(self):
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()


def stop_all():
    for process in list(reversed(_running)):
        process.stop(seconds=2.0)


atexit.register(stop_all)


def _leave(number, _frame):
    raise SystemExit(128 + number)


def end_on_signals():
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, _leave)


def tail(text, lines=12):
    return "\n".join(text.rstrip().splitlines()[-lines:])


def run(argv, *, seconds=30, cwd=None, env=None, data=None, ok=(0,), **popen):
    """Runs a short program to its end; raises with its output when the status is not in `ok` (None: any)."""
    argv = [str(a) for a in argv]
    child = subprocess.Popen(
        argv, stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=env, start_new_session=True, **popen)
    try:
        out, err = child.communicate(data, timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        raise LabError(f"{argv[0]}: not done within {seconds:g} s: "
                       f"{tail((out + err).decode(errors='replace'))}") from None
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    if ok is not None and child.returncode not in ok:
        raise LabError(f"{argv[0]}: exit status {child.returncode}: {tail((out + err).decode(errors='replace'))}")
    return subprocess.CompletedProcess(argv, child.returncode, out, err)
