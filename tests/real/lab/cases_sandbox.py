"""The sandbox, as a newcomer uses it: what it prints is typed into real mail programs."""

import os
import re
import subprocess

from . import base
from .cases import Case, need
from .clients import in_terminal


def printed_commands(lab, _case):
    """The printed curl and mutt commands, as they stand, open the practice INBOX."""
    folder = lab.directory.make("sandbox", 0o700)
    environment = {**os.environ, "HOME": str(folder), "TERM": "xterm"}
    port = str(base.free_port())
    sandbox = base.Process([lab.binary, "sandbox", "--port", port], folder / "log", env=environment)
    try:
        sandbox.wait_ready(lambda: "-f imaps://" in sandbox.text(), "sandbox")
        commands = dict(re.findall(r"^  ((?:curl|mutt) )((?:.*\\\n)*.*)", sandbox.text(), re.M))
        commands = {name.strip(): name + rest for name, rest in commands.items()}
        need(set(commands) == {"curl", "mutt"}, f"printed: {sandbox.text()[-900:]}")

        fetched = subprocess.run(commands["curl"], shell=True, env=environment, capture_output=True, text=True,
                                 timeout=30)
        need("Subject: Welcome to the practice mailbox" in fetched.stdout, f"curl: {fetched.stdout}{fetched.stderr}")

        seen = folder / "seen"
        keys = f"<tag-pattern>~A<enter><pipe-message>cat >>{seen}<enter><exit>"
        quiet = "set auto_tag=yes wait_key=no pipe_split=yes pipe_decode=no quit=yes delete=no header_cache=\"\""
        typed = f"exec {commands['mutt']} -e '{quiet}' -e 'push \"{keys}\"'"
        screen = in_terminal(["sh", "-c", typed], environment, drop={})
        text = seen.read_text() if seen.exists() else ""
        for part in ["Subject: Welcome", "日本語", "square.bmp"]:
            need(part in text, f"mutt: no {part!r} in {text}\n{screen[-600:]!r}")
    finally:
        sandbox.stop()


def cases():
    return [Case("sandbox/printed-commands", printed_commands, program="mutt")]
