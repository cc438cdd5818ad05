"""A broker over TLS: it must prove its name by a certificate of an authority that this machine trusts."""

import contextlib
import datetime as dt
import socket
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from workflows.messaging.connecting import open_amqp
from workflows.messaging.port import BusDown


def certificate(folder, name):
    """A certificate for a name, signed by its own key; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / f"{name}.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@contextlib.contextmanager
def server(path):
    """A server that greets whoever trusts it by closing the connection; gives its port and who came in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    let_in = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    plain, _ = listening.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
                        let_in.append(secure.recv(8))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], let_in
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize(("name", "trusted", "greeted"), [
    ("localhost", True, True),
    ("localhost", False, False),
    ("elsewhere.example", True, False),
])  # fmt: skip
def test_only_a_broker_that_proves_its_name_is_spoken_to(tmp_path, monkeypatch, name, trusted, greeted):
    path = certificate(tmp_path, name)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with server(path) as (port, let_in):
        with pytest.raises(BusDown, match=None if greeted else "CERTIFICATE_VERIFY_FAILED"):
            open_amqp(f"amqps://guest:guest@localhost:{port}//", seconds=3)
        assert [said[:4] for said in let_in] == ([b"AMQP"] if greeted else [])
