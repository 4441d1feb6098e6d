"""Signed words on what made a picture: a C2PA manifest, with a key that is made at the first use and stays here.

The key's certificate is nobody's but this machine's own: others see that nothing was changed since it was signed, and
that the same key signed other pictures, but not whose key it is. See https://spec.c2pa.org.
"""

import datetime
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import makar
from makar.core.errors import ResourceError
from makar.core.files import lock, mending, write_atomic

KEY_FILE, CHAIN_FILE = "signing-key.pem", "signing-chain.pem"

MADE = "org.makar.made"
"""The assertion that holds what makar knows of a picture."""

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"

YEARS = 30

State = Literal["signed here", "signed elsewhere", "broken", "none", "unread"]


@dataclass(frozen=True)
class Signature:
    """What became of a signature.

    Args:
        state: "signed here" by this machine's own key, "signed elsewhere" by another one, "broken" where the file is
            not what was signed, "none", or "unread" where the package to read it is missing.
        by: Who signed it, as the certificate says.
        said: What was signed of how it was made.
        faults: What is wrong, in C2PA's own codes.
    """

    state: State
    by: str | None = None
    said: Mapping[str, Any] | None = None
    faults: Sequence[str] = ()


def home() -> Path:
    """Where makar keeps what belongs to the person: $MAKAR_CONFIG, or makar's folder among the system's settings."""
    if own := os.environ.get("MAKAR_CONFIG"):
        return Path(own)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "makar"


def available() -> bool:
    """Whether the packages are there."""
    from importlib.util import find_spec

    return find_spec("c2pa") is not None and find_spec("cryptography") is not None


def credentials(folder: Path) -> tuple[bytes, bytes]:
    """The certificates and the private key, made at the first use.

    Raises:
        ResourceError: They cannot be written or read.
        RunError: Another process is still making them.
    """
    key, chain = folder / KEY_FILE, folder / CHAIN_FILE

    def whole() -> bool:
        return key.is_file() and chain.is_file()

    with mending(folder):
        if not whole():
            with lock(folder):  # of several first uses at once, one makes the key
                if not whole():
                    make(key, chain)
    try:
        return chain.read_bytes(), key.read_bytes()
    except OSError as fault:
        fix = f"remove {key} to make a new one"
        raise ResourceError(f"the signing key cannot be read: {fault.strerror}", where=key, fix=fix) from None


def make(key: Path, chain: Path) -> None:
    """Write a new key that nobody else reads, and then its certificates: without these it does not count."""
    made_chain, made_key = fresh()
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(made_key)
        file.flush()
        os.fsync(file.fileno())
    write_atomic(chain, made_chain)


def fresh() -> tuple[bytes, bytes]:
    """A new key with its certificate and that of its issuer, whose own key is forgotten."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    issuer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = "makar on this machine", "makar"
    chain = certificate(names[1], names[0], key, issuer), certificate(names[0], names[0], issuer, issuer)
    pem = b"".join(each.public_bytes(form.Encoding.PEM) for each in chain)
    return pem, key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def certificate(subject: str, issuer: str, key: Any, issuer_key: Any) -> Any:
    """A certificate as C2PA asks for it: of a signer, or of the issuer where both are the same."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "makar (self-signed)")
        return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])

    issues, now = key is issuer_key, datetime.datetime.now(datetime.UTC)
    may = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usage = x509.KeyUsage(digital_signature=not issues, key_cert_sign=issues, crl_sign=issues, **may)
    builder = (
        x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=issues, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not issues:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def context(folder: Path) -> Any:
    """What C2PA may do: trust this machine's own issuer, and never ask the network."""
    import c2pa

    chain = folder / CHAIN_FILE
    trust = {"trust_anchors": chain.read_text(encoding="ascii")} if chain.is_file() else {}
    verify = {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}
    return c2pa.Context.from_dict({"verify": verify, "trust": trust, "builder": {"thumbnail": {"enabled": False}}})


def signed(data: bytes, said: Mapping[str, Any], *, begun: bool = False) -> bytes:
    """A PNG file with a signed manifest.

    Args:
        data: The file.
        said: Plain data on how it was made; it is signed with the file.
        begun: Whether it was made from a picture that was given.

    Raises:
        ResourceError: There is no key, and none can be made, or the signing fails.
    """
    import c2pa

    folder = home()
    chain, key = credentials(folder)
    source = SOURCE + ("compositeWithTrainedAlgorithmicMedia" if begun else "trainedAlgorithmicMedia")
    agent = {"name": "makar", "version": makar.__version__}
    action = {"action": "c2pa.created", "digitalSourceType": source, "softwareAgent": agent}
    manifest = {
        "claim_generator_info": [agent],
        "format": "image/png",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": MADE, "data": dict(said)},
        ],
    }
    out = io.BytesIO()
    try:
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=key, ta_url=None))
        c2pa.Builder(manifest, context(folder)).sign(signer, "image/png", io.BytesIO(data), out)
    except c2pa.C2paError as fault:
        fix = f"remove {folder / KEY_FILE} to make a new key"
        raise ResourceError(f"the picture cannot be signed: {fault}", where=folder, fix=fix) from None
    return out.getvalue()


def signature_of(data: bytes) -> Signature:
    """What a PNG file's manifest says, and whether the file is what was signed."""
    import c2pa

    try:
        with c2pa.Reader("image/png", io.BytesIO(data), context=context(home())) as reader:
            state, results = reader.get_validation_state(), reader.get_validation_results() or {}
            active = reader.get_active_manifest() or {}
    except c2pa.C2paError as fault:
        if "ManifestNotFound" in str(fault):
            return Signature("none")
        return Signature("broken", faults=(str(fault),))
    except KeyError:  # what cannot be read of a manifest is left out, and then there is none that is meant
        return Signature("broken", faults=("manifest.unreadable",))
    failures = [each["code"] for each in results.get("activeManifest", {}).get("failure", [])]
    by = active.get("signature_info", {})
    said = next((each["data"] for each in active.get("assertions", []) if each["label"] == MADE), None)
    known: dict[str | None, State] = {"Trusted": "signed here", "Valid": "signed elsewhere"}
    found = known.get(state, "broken")
    faults = failures if found == "broken" else ()
    return Signature(found, f"{by.get('common_name')}, {by.get('issuer')}", said, tuple(faults))
