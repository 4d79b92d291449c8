"""Where the mail that Dovecot's submission server takes ends: a small SMTP server that keeps every octet."""

import socketserver
import threading

GREETING = b"220 sink ESMTP\r\n"
EXTENSIONS = b"250-sink\r\n250-SIZE 200000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250 PIPELINING\r\n"


class Sink(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.mails = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def find(self, marker):
        """The messages that hold the marker."""
        return [mail for mail in self.mails if marker.encode() in mail]


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(GREETING)
        chunks = []
        while line := self.rfile.readline():
            words = line.split()
            verb = words[0].upper() if words else b""
            if verb in (b"EHLO", b"HELO"):
                self.wfile.write(EXTENSIONS)
            elif verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.server.mails.append(self.data())
                self.wfile.write(b"250 2.0.0 kept\r\n")
            elif verb == b"BDAT":
                chunks.append(self.rfile.read(int(words[1])))
                if words[-1].upper() == b"LAST":
                    self.server.mails.append(b"".join(chunks))
                    chunks = []
                self.wfile.write(b"250 2.0.0 kept\r\n")
            elif verb == b"QUIT":
                self.wfile.write(b"221 2.0.0 bye\r\n")
                return
            else:
                self.wfile.write(b"250 2.0.0 ok\r\n")

    def data(self):
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)
