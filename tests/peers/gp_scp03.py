"""The host's end of SCP03, GlobalPlatform's secure channel, with all its levels, in S8 and S16 mode.

Written from GlobalPlatform Card Specification v2.3 Amendment D as docs/protocol.md section 13 sums it up; none of it comes from our own Rust
implementation. `python3 gp_scp03.py VECTORS.json` replays recorded sessions of others' cards.
"""
import json
import os
import sys

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import door_crypto as d

LEVELS = (0x00, 0x01, 0x03, 0x11, 0x13, 0x33)
C_MAC, C_ENC, R_MAC, R_ENC = 0x01, 0x02, 0x10, 0x20


class ChannelError(Exception):
    """The card did not prove itself, or an answer is not the card's."""


def derive(key, constant, context, bits):
    """SP 800-108 in counter mode over AES-CMAC: 11 x 00, constant, 00, L, i, context."""
    blocks = [d.cmac(key, bytes(11) + bytes([constant, 0]) + bits.to_bytes(2, "big") + bytes([i + 1]) + context)
              for i in range((bits + 127) // 128)]
    return b"".join(blocks)[: bits // 8]


def cbc(key, iv, data, decrypt=False):
    cipher = Cipher(algorithms.AES(key), modes.CBC(iv))
    c = cipher.decryptor() if decrypt else cipher.encryptor()
    return c.update(data) + c.finalize()


def ecb(key, block):
    c = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # one block, to make a CBC's first one of a counter
    return c.update(block) + c.finalize()


def check_value(key):
    """The first three bytes of sixteen 01, enciphered."""
    return ecb(key, b"\x01" * 16)[:3]


def pad(data):
    return data + b"\x80" + bytes(-(len(data) + 1) % 16)


def unpad(data):
    bare = data.rstrip(b"\0")
    if not bare or bare[-1] != 0x80:
        raise ChannelError("padding of an enciphered answer")
    return bare[:-1]


class KeySet:
    def __init__(self, kvn, enc, mac, dek):
        self.kvn, self.enc, self.mac, self.dek = kvn, enc, mac, dek

    def dek_encrypt(self, secret):
        """AES-CBC with a zero IV, for keys that travel in PUT KEY and STORE DATA."""
        return cbc(self.dek, bytes(16), secret)

    def put_key_data(self, new):
        """The data of PUT KEY for the key set `new`, and what the card should answer."""
        data = answer = bytes([new.kvn])
        for key in (new.enc, new.mac, new.dek):
            cipher = self.dek_encrypt(key + bytes(-len(key) % 16))
            data += bytes([0x88, len(cipher) + 1, len(key)]) + cipher + b"\x03" + check_value(key)
            answer += check_value(key)
        return data, answer


class Channel:
    """INITIALIZE UPDATE and EXTERNAL AUTHENTICATE as bytes in and out; then wrap() and unwrap()."""

    def __init__(self, keys, aid, s16=False, challenge=None):
        self.keys, self.aid, self.size = keys, aid, 16 if s16 else 8
        self.host_challenge = challenge or os.urandom(self.size)
        self.chain, self.counter, self.level = bytes(16), 0, 0

    def initialize_update(self, kvn=None):
        return d.capdu(0x80, 0x50, self.keys.kvn if kvn is None else kvn, 0, self.host_challenge)

    def take(self, answer, check_challenge=True):
        """The data of the answer: session keys, and the card's proof checked."""
        n = self.size
        if len(answer) not in (13 + 2 * n, 16 + 2 * n) or answer[11] != 3:
            raise ChannelError("no answer to INITIALIZE UPDATE in SCP03: " + answer.hex())
        self.kvn, self.i = answer[10], answer[12]
        if bool(self.i & 0x01) != (n == 16):
            raise ChannelError("mode: i is %02X" % self.i)
        card_challenge, cryptogram = answer[13:13 + n], answer[13 + n:13 + 2 * n]
        self.sequence = answer[13 + 2 * n:]
        if bool(self.i & 0x10) != (len(self.sequence) == 3):
            raise ChannelError("sequence counter: i is %02X" % self.i)
        context = self.host_challenge + card_challenge
        bits = 8 * len(self.keys.enc)
        self.s_enc = derive(self.keys.enc, 0x04, context, bits)
        self.s_mac = derive(self.keys.mac, 0x06, context, bits)
        self.s_rmac = derive(self.keys.mac, 0x07, context, bits)
        if cryptogram != derive(self.s_mac, 0x00, context, 8 * n):
            raise ChannelError("card cryptogram")
        if check_challenge and self.sequence:
            if card_challenge != derive(self.keys.enc, 0x02, self.sequence + self.aid, 8 * n):
                raise ChannelError("the card challenge does not follow from the sequence counter")
        self.host_cryptogram = derive(self.s_mac, 0x01, context, 8 * n)

    def external_authenticate(self, level):
        """The C-APDU; from then on wrap() is for `level`."""
        c = self._with_mac(0x84, 0x82, level, 0, self.host_cryptogram, b"")
        self.level = level
        return c

    def _with_mac(self, cla, ins, p1, p2, data, le):
        head = bytes([cla, ins, p1, p2, len(data) + self.size])
        self.chain = d.cmac(self.s_mac, self.chain + head + data)
        return head + data + self.chain[:self.size] + le

    def wrap(self, c):
        if not self.level & C_MAC:
            return c
        cla, ins, p1, p2, data, ne = d.parse_capdu(c)
        if self.level & C_ENC:
            self.counter += 1
            if data:
                data = cbc(self.s_enc, ecb(self.s_enc, self.counter.to_bytes(16, "big")), pad(data))
        if len(data) + self.size > 255:
            raise ValueError("too long for one command")
        return self._with_mac(cla | 0x04, ins, p1, p2, data, bytes([ne & 0xFF]) if ne else b"")

    def unwrap(self, r):
        """Data and status word of an answer."""
        data, sw = r[:-2], r[-2:]
        if not self.level & R_MAC or (sw != b"\x90\x00" and sw[0] not in (0x62, 0x63)):
            if self.level & R_MAC and data:
                raise ChannelError("data with an error")
            return data, sw
        data, mac = data[:-self.size], data[-self.size:]
        if mac != d.cmac(self.s_rmac, self.chain + data + sw)[:self.size]:
            raise ChannelError("R-MAC")
        if self.level & R_ENC and data:
            block = b"\x80" + self.counter.to_bytes(15, "big")
            data = unpad(cbc(self.s_enc, ecb(self.s_enc, block), data, decrypt=True))
        return data, sw


# --- recorded sessions ---------------------------------------------------------------------------------------------------

def replay(v):
    """Everything that the session's host sends and reads, anew."""
    def x(name):
        return bytes.fromhex(v[name])
    init = x("initialize_update_cmd")
    keys = KeySet(init[2], x("K_ENC"), x("K_MAC"), x("K_DEK"))
    known = "isd_aid" in v or v.get("card_challenge_pseudorandom_over_ISD_AID") or v.get("card_challenge_pseudorandom_over_AID")
    aid = x("isd_aid") if "isd_aid" in v else bytes.fromhex(known[0]) if known else b""
    channel = Channel(keys, aid, v["s_mode"] == 16, x("host_challenge"))
    # P2 is not always 00 in these sessions, and not always is there an Le.
    assert channel.initialize_update()[5:-1] == init[5:5 + channel.size]
    channel.take(x("initialize_update_rsp"), check_challenge=bool(known))
    assert (channel.s_enc, channel.s_mac, channel.s_rmac) == (x("S_ENC"), x("S_MAC"), x("S_RMAC"))
    expected = x("external_authenticate_cmd")
    assert channel.external_authenticate(v["security_level"]) == expected[:5 + expected[4]], "EXTERNAL AUTHENTICATE"
    for step in v["steps"]:
        assert channel.wrap(bytes.fromhex(step["plain_cmd"])).hex() == step["wrapped_cmd"], step
        if step.get("protected_rsp_data") is not None:
            r = bytes.fromhex(step["protected_rsp_data"] + step["sw"])
            assert channel.unwrap(r)[0].hex() == step["plain_rsp_data"], step


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        v = json.load(f)
    sessions = v["sessions_real_cards"] + v["sessions_computed"] + v["sessions_other"]
    failed = 0
    for session in sessions:
        try:
            replay(session)
        except (AssertionError, ChannelError) as e:
            failed += 1
            print("%s: %s" % (session["name"], e))
    for k in v["kcv"]:
        if check_value(bytes.fromhex(k["key"])).hex() != k["kcv"]:
            failed += 1
            print("check value of " + k["key"])
    print("%d sessions, %d failed" % (len(sessions), failed))
    return 1 if failed or len(sessions) < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
