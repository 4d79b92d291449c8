"""Test certificates, made fresh for every run: a CA and a leaf that is not a CA."""

import dataclasses
import pathlib

from .base import run


@dataclasses.dataclass
class Certificates:
    ca: pathlib.Path
    certificate: pathlib.Path
    key: pathlib.Path


def client_pair(folder, name, passphrase):
    """A self-signed certificate for a client, with an encrypted RSA key, as the guide says."""
    certificate, key, given = folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.passphrase"
    given.write_text(passphrase + "\n")
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-sha256", "-days", "2", "-subj", "/CN=mailsplice lab client",
         "-keyout", key, "-out", certificate, "-passout", f"file:{given}"])
    return certificate, key, given


def make(folder, name, hosts):
    """`hosts` as openssl wants them, e.g. `DNS:localhost`."""
    ca, ca_key = folder / f"{name}-ca.pem", folder / f"{name}-ca.key"
    leaf, key, request = folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.csr"
    extensions = folder / f"{name}.ext"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    run(["openssl", "req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-days", "60",
         "-subj", f"/CN=mailsplice lab {name} CA",
         "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])
    run(["openssl", "req", *curve, "-keyout", key, "-out", request, "-subj", "/CN=localhost"])
    extensions.write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                          "extendedKeyUsage=serverAuth\n" f"subjectAltName={','.join(hosts)}\n"
                          "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
    run(["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
         "-days", "60", "-extfile", extensions, "-out", leaf])
    ca_key.unlink()
    return Certificates(ca, leaf, key)
