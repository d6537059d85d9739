"""AUTN, AUTS, sequence numbers of both sides.

Written from docs/protocol.md alone (section 5), TS 33.102 6.3 and Annex C.
"""
import json
import os
from datetime import datetime, timezone

from milenage import Milenage, xor
from tuak import Tuak

EPOCH = int(datetime(2025, 1, 1, tzinfo=timezone.utc).timestamp())
DELTA = 1 << 28
ALGORITHMS = {"milenage": 0x00, "tuak": 0x01}         # P2


def algorithm(name, keys):
    """From K || OPc (32 bytes) or K || TOPc (64 bytes)."""
    half = len(keys) // 2
    return (Milenage if name == "milenage" else Tuak)(keys[:half], keys[half:])


def sqn_of(seq, ind=0):
    return (seq << 5 | ind).to_bytes(6, "big")


def autn(alg, rand, sqn, amf=bytes(2)):
    return xor(sqn, alg.f2345(rand)[3]) + amf + alg.f1(rand, sqn, amf)[0]


def open_autn(alg, rand, autn_):
    """SQN, or None when the MAC is wrong."""
    sqn, amf = xor(autn_[:6], alg.f2345(rand)[3]), autn_[6:8]
    return sqn if alg.f1(rand, sqn, amf)[0] == autn_[8:] else None


def auts(alg, rand, sqn_ms):
    return xor(sqn_ms, alg.f5star(rand)) + alg.f1(rand, sqn_ms, bytes(2))[1]


def open_auts(alg, rand, auts_):
    """SQN_MS, or None when MAC-S is wrong."""
    sqn_ms = xor(auts_[:6], alg.f5star(rand))
    return sqn_ms if alg.f1(rand, sqn_ms, bytes(2))[1] == auts_[6:] else None


def store(path, value):
    """Durably, or not at all."""
    if path:
        with open(path + ".new", "w", encoding="utf-8") as f:
            json.dump(value, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(path + ".new", path)


def recall(path, default):
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    return default


class LockSequence:
    """SEQ = max(GLC + DIF, last + 1), DIF and last kept for each phone."""

    def __init__(self, path=None, clock=None):
        self.path, self.clock, self.of = path, clock, recall(path, {})

    def glc(self):
        return max(0, int(self.clock()) - EPOCH)

    def next(self, phone):
        s = self.of.setdefault(phone, {"dif": 0, "last": 0})
        s["last"] = max(self.glc() + s["dif"], s["last"] + 1)
        store(self.path, self.of)
        return s["last"]

    def resynchronise(self, phone, seq_ms):
        s = self.of[phone]
        s["dif"] = seq_ms + 1 - self.glc()
        if not seq_ms < s["last"] < seq_ms + DELTA:
            s["last"] = seq_ms
        store(self.path, self.of)
