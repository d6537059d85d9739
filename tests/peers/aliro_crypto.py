"""Aliro 1.0 for both counterparts: constants, TLV, key derivations, signatures, the secure channel.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code, and judged by recorded transactions
(aliro_vectors.py). Tags, lengths and numbers are big-endian; P-256 points are 65 bytes, uncompressed.
"""
import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AID = bytes.fromhex("A000000909ACCE5501")
AID_STEP_UP = bytes.fromhex("A000000909ACCE5502")
VERSION = b"\x01\x00"
STANDARD, FAST = b"\0", b"\1"
SELECT, AUTH0, AUTH1, LOAD_CERT, EXCHANGE, CONTROL_FLOW, ENVELOPE, GET_RESPONSE = 0xA4, 0x80, 0x81, 0xD1, 0xC9, 0x3C, 0xC3, 0xC0
NAMES = {SELECT: "SELECT", AUTH0: "AUTH0", AUTH1: "AUTH1", LOAD_CERT: "LOAD CERT", EXCHANGE: "EXCHANGE", CONTROL_FLOW: "CONTROL FLOW",
         ENVELOPE: "ENVELOPE", GET_RESPONSE: "GET RESPONSE", 0xCA: "GET DATA"}
READER_SIGNS, DEVICE_SIGNS = bytes.fromhex("415D9569"), bytes.fromhex("4E887B4C")
TO_DEVICE, TO_READER = bytes(8), bytes(7) + b"\1"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


# TLV ----------------------------------------------------------------------------------------------------------------
def tlv(tag, value):
    n = len(value)
    length = bytes([n]) if n < 0x80 else b"\x81" + bytes([n]) if n < 0x100 else b"\x82" + n.to_bytes(2, "big")
    return tag.to_bytes(2 if tag > 0xFF else 1, "big") + length + value


def encode(items):
    """Several objects side by side. A bytes item goes in as it is: that is how a malformed one is made."""
    return b"".join(i if isinstance(i, bytes) else tlv(*i) for i in items)


def decode(data):
    """Objects side by side as [(tag, value)]; ValueError when malformed."""
    out, i = [], 0
    while i < len(data):
        tag, i = data[i], i + 1
        if tag & 0x1F == 0x1F:
            if i == len(data) or data[i] & 0x80:
                raise ValueError("tag")
            tag, i = tag << 8 | data[i], i + 1
        if i == len(data):
            raise ValueError("no length")
        n, i = data[i], i + 1
        if n >= 0x80:
            width = n & 0x7F
            if not 1 <= width <= 2 or i + width > len(data):
                raise ValueError("length")
            n, i = int.from_bytes(data[i:i + width], "big"), i + width
        if i + n > len(data):
            raise ValueError("truncated")
        out.append((tag, data[i:i + n]))
        i += n
    return out


def unique(items, known):
    """The known tags as a dict; ValueError when one of them comes twice. Unknown ones are skipped."""
    out = {}
    for tag, value in items:
        if tag in known:
            if tag in out:
                raise ValueError("%X twice" % tag)
            out[tag] = value
    return out


# APDU ---------------------------------------------------------------------------------------------------------------
def capdu(cla, ins, p1, p2, data=b"", le=0, extended=False):
    """A C-APDU; le None leaves it out, 0 asks for all there is."""
    head = bytes([cla, ins, p1, p2])
    if extended:
        tail = b"" if le is None else le.to_bytes(2, "big")
        return head + (b"\0" + len(data).to_bytes(2, "big") + data + tail if data else b"\0" * bool(tail) + tail)
    return head + (bytes([len(data)]) + data if data else b"") + (b"" if le is None else bytes([le & 0xFF]))


# P-256 --------------------------------------------------------------------------------------------------------------
def private(scalar):
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def scalar(key):
    return key.private_numbers().private_value.to_bytes(32, "big")


def fresh():
    return ec.generate_private_key(ec.SECP256R1())


def public(key):
    """The point of a private or public key."""
    key = key.public_key() if hasattr(key, "public_key") else key
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def point(data):
    """The public key; ValueError when it is not an uncompressed point of the curve."""
    if len(data) != 65 or data[0] != 4:
        raise ValueError("not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)


def x(data):
    return data[1:33]


def key_slot(credential):
    return hashlib.sha1(credential).digest()[:8]


def sign(key, data):
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verify(key, signature, data):
    if len(signature) != 64:
        return False
    der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        point(key).verify(der, data, ec.ECDSA(hashes.SHA256()))
        return True
    except (InvalidSignature, ValueError):
        return False


# keys ---------------------------------------------------------------------------------------------------------------
def hkdf(ikm, salt, info, n):
    prk, out, block = hmac.digest(salt or bytes(32), ikm, "sha256"), b"", b""
    for i in range(1, -(-n // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([i]), "sha256")
        out += block
    return out[:n]


def kdh(own, other, transaction):
    z = own.exchange(ec.ECDH(), point(other))
    return hashlib.sha256(z + b"\0\0\0\1" + transaction).digest()


@dataclass
class Transcript:
    """What both sides have seen, and what every key and signature is bound to."""
    group_key: bytes = b""       # of the reader's group: its own, or with a certificate its issuer's
    reader: bytes = b""          # reader identifier: group identifier, group sub identifier
    a5: bytes = b""              # the whole object, as in the answer to SELECT
    version: bytes = VERSION
    cp: bytes = STANDARD
    ap: bytes = b"\1"
    transaction: bytes = b""
    reader_ephemeral: bytes = b""
    device_ephemeral: bytes = b""
    b1: bytes = b""              # vendor extensions, the whole objects
    b2: bytes = b""
    interface: int = 0x5E

    def salt(self, word, extra=b""):
        return (x(self.group_key) + word + self.reader + bytes([self.interface]) + tlv(0x5C, self.version) + x(self.reader_ephemeral)
                + self.transaction + self.cp + self.ap + self.a5 + extra)

    def info(self):
        return x(self.device_ephemeral) + self.b1 + self.b2

    def signed(self, usage):
        return encode([(0x4D, self.reader), (0x86, x(self.device_ephemeral)), (0x87, x(self.reader_ephemeral)),
                       (0x4C, self.transaction), (0x93, usage)])

    def volatile(self, key):
        """STANDARD: (ExpeditedSKReader, ExpeditedSKDevice, StepUpSK, BleSK, URSK)."""
        return _split(hkdf(key, self.salt(b"Volatile****"), self.info(), 160))

    def persistent(self, key, credential):
        return hkdf(key, self.salt(b"Persistent**", x(credential)), self.info(), 32)

    def fast(self, kpersistent, credential):
        """FAST: (CryptogramSK, ExpeditedSKReader, ExpeditedSKDevice, BleSK, URSK)."""
        return _split(hkdf(kpersistent, self.salt(b"VolatileFast", x(credential)), self.info(), 160))


def _split(okm):
    return tuple(okm[i:i + 32] for i in range(0, 160, 32))


def step_up_keys(step_up):
    return hkdf(step_up, b"", b"SKReader", 32), hkdf(step_up, b"", b"SKDevice", 32)


# secure messaging ---------------------------------------------------------------------------------------------------
def iv(direction, counter):
    return direction + counter.to_bytes(4, "big")


class Channel:
    """One end of it. `counter_out` and `counter_in` are those of the next message."""

    def __init__(self, sk_reader, sk_device, reader_end, counter_in=1, counter_out=1):
        self.out, self.inward = (sk_reader, sk_device) if reader_end else (sk_device, sk_reader)
        self.to, self.of = (TO_DEVICE, TO_READER) if reader_end else (TO_READER, TO_DEVICE)
        self.counter_in, self.counter_out = counter_in, counter_out

    def seal(self, plain):
        self.counter_out += 1
        return AESGCM(self.out).encrypt(iv(self.to, self.counter_out - 1), plain, None)

    def open(self, sealed):
        """The plaintext, or None. The counter goes on in any case."""
        self.counter_in += 1
        return _open(self.inward, iv(self.of, self.counter_in - 1), sealed)


def _open(key, nonce, sealed):
    try:
        return AESGCM(key).decrypt(nonce, sealed, None) if len(sealed) >= 16 else None
    except InvalidTag:
        return None


def cryptogram(key, bitmap, issued=bytes(20), revoked=bytes(20)):
    return AESGCM(key).encrypt(bytes(12), encode([(0x5E, bitmap), (0x91, issued), (0x92, revoked)]), None)


def open_cryptogram(key, sealed):
    """The bitmap, or None."""
    plain = _open(key, bytes(12), sealed)
    return plain[2:4] if plain is not None and len(plain) == 48 and plain[:2] == b"\x5e\2" else None
