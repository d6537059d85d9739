#!/usr/bin/python3
"""An AKA phone, profile P, over vpcd.

Written from docs/protocol.md alone (sections 3, 5, 7).
"""
import sys
import time

import aka_common as aka
import door_crypto as d
import door_phone
from door_phone import Refuse

LOCKS = 64


class PhoneSequence:
    """The highest SEQ accepted from each of the last 64 locks, least recently used first, and a floor."""

    def __init__(self, floor=0, path=None):
        self.path, self.s = path, aka.recall(path, {"floor": floor, "locks": {}})

    def reference(self, lock):
        return self.s["locks"].get(lock, self.s["floor"])

    def fresh(self, lock, seq):
        ref = self.reference(lock)
        return ref < seq <= ref + aka.DELTA

    def accept(self, lock, seq):
        locks = self.s["locks"]
        locks.pop(lock, None)
        locks[lock] = seq
        while len(locks) > LOCKS:
            self.s["floor"] = max(self.s["floor"], locks.pop(next(iter(locks))))
        aka.store(self.path, self.s)


class AkaPhone(door_phone.DoorPhone):
    aid = d.AID_AKA

    def __init__(self, *args, floor=0, state=None, algorithms=("milenage", "tuak"), stubborn=False, **kw):
        self.stubborn = stubborn
        self.sequence = PhoneSequence(floor, state)
        self.p2 = {aka.ALGORITHMS[a]: a for a in algorithms}
        super().__init__(*args, **kw)

    def _selected(self):
        self.once_more = True

    def _authenticate(self, p1, p2, data):
        if p1 != 0 or p2 not in aka.ALGORITHMS.values():
            raise Refuse("6A86")
        if p2 not in self.p2:
            raise Refuse("6984")
        if len(data) != 0x28:
            raise Refuse("6700")
        rp, self.rp, self.k3 = self.rp, None, None
        if rp is None:
            raise Refuse("6985")
        rand, autn, lock_id = data[:16], data[16:32], data[32:]
        name = self.p2[p2]
        keys = (d.k_milenage if name == "milenage" else d.k_tuak)(self.k_ph, lock_id)
        alg = aka.algorithm(name, keys)
        context = d.binding(rp, rand, lock_id, self.phone_id, d.VERSION, self.aid) + bytes([p2, 1 if self.once_more else 2])
        lock = lock_id.hex()

        sqn = aka.open_autn(alg, rand, autn)
        seq = None if sqn is None else int.from_bytes(sqn, "big") >> 5
        if seq is None or self.stubborn or not self.sequence.fresh(lock, seq):
            if self.once_more:                       # one AUTHENTICATE more after a DC
                self.once_more, self.rp = False, rp
            if seq is None:
                self.report({"event": "wrong-mac", "lock": lock})
                x = self.rng(30)
            else:
                ref = self.sequence.reference(lock)
                self.report({"event": "sequence-failure", "lock": lock, "seq": seq, "seq_ms": ref})
                ka = d.kdf(d.k_l(self.k_ph, lock_id), "AKA1", context, 128)
                x = d.ccm_seal(ka, b"S", aka.auts(alg, rand, aka.sqn_of(ref)))
            return b"\xdc\x1e" + x

        try:
            self.sequence.accept(lock, seq)
        except OSError:
            raise Refuse("6F00") from None
        res, ck, ik, _ = alg.f2345(rand)
        self.k3 = d.kdf(ck + ik, "AKA3", context, 128)
        self.report({"event": "authenticated", "lock": lock, "seq": seq, "algorithm": name})
        return b"\xdb\x08" + res


def main():
    p = door_phone.arguments(__doc__)
    p.add_argument("--ahead", type=int, metavar="N", help="start with SEQ N seconds ahead of the real time")
    p.add_argument("--state", metavar="FILE", help="keep accepted SEQ durably here")
    p.add_argument("--algorithms", default="milenage,tuak", metavar="LIST")
    p.add_argument("--stubborn", action="store_true", help="laboratory: call every SEQ a failure")
    a = p.parse_args()
    floor = 0 if a.ahead is None else int(time.time()) - aka.EPOCH + a.ahead
    return door_phone.serve(AkaPhone(a.phone_id, a.k_ph, door_phone.print_event, wrong_key=a.wrong_key,
                                     personalised=not a.not_personalised, floor=floor, state=a.state,
                                     algorithms=a.algorithms.split(","), stubborn=a.stubborn), a)


if __name__ == "__main__":
    sys.exit(main())
