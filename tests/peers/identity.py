"""The identity: what the phone conceals and the server reveals.

Written from docs/protocol.md alone (section 8), TS 33.501 Annex C profile B and ANSI X9.63.
"""
import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import door_crypto as d

KINDS = {"imei": 1, "iccid": 2, "imsi": 3, "msisdn": 4}


def x963(z, info, n):
    out, i = b"", 1
    while len(out) < n:
        out += hashlib.sha256(z + i.to_bytes(4, "big") + info).digest()
        i += 1
    return out[:n]


def private(scalar):
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def compressed(key):
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def _keys(own, other, e):
    kd = x963(own.exchange(ec.ECDH(), other), e, 64)
    return kd[:16], kd[16:32], kd[32:]


def _ctr(key, counter, data):
    c = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return c.update(data) + c.finalize()


def plain(kind, digits, k_agent, lock_id, nonce, e):
    return (bytes([KINDS[kind], len(digits)]) + digits.encode("ascii") + d.cmac(k_agent, lock_id + nonce + e))


def conceal(kind, digits, k_agent, lock_id, nonce, ephemeral, server_public):
    """The body of R: form 00."""
    e = compressed(ephemeral.public_key())
    enc, icb, mac = _keys(ephemeral, server_public, e)
    c = _ctr(enc, icb, plain(kind, digits, k_agent, lock_id, nonce, e))
    return b"\0" + e + c + hmac.digest(mac, c, "sha256")[:8]


def reveal(body, k_agent, lock_id, nonce, server_private):
    """(kind, digits), or None."""
    e, c, m = body[1:34], body[34:-8], body[-8:]
    try:
        other = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), e)
    except ValueError:
        return None
    enc, icb, mac = _keys(server_private, other, e)
    if body[:1] != b"\0" or not hmac.compare_digest(hmac.digest(mac, c, "sha256")[:8], m):
        return None
    p = _ctr(enc, icb, c)
    digits, proof = p[2:2 + p[1]], p[2 + p[1]:]
    if proof != d.cmac(k_agent, lock_id + nonce + e):
        return None
    return next(k for k, v in KINDS.items() if v == p[0]), digits.decode("ascii")
