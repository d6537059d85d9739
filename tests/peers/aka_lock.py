#!/usr/bin/python3
"""An AKA lock, profile P, at a PC/SC reader.

Written from docs/protocol.md alone (sections 3, 5, 7).
"""
import sys

import aka_common as aka
import door_crypto as d
import door_lock
from door_lock import Refused


class AkaLock(door_lock.DoorLock):
    aid, method = d.AID_AKA, 2

    def __init__(self, *args, state=None, algorithm="milenage", **kw):
        super().__init__(*args, **kw)
        self.algorithm = algorithm
        self.sequence = aka.LockSequence(state, self.clock)

    def _authenticate(self, exchange, entry, rp, event):
        if entry["flags"] & 1:
            raise Refused("policy")      # AKA carries no flags, so "user authentication required" cannot be met
        phone = entry["phone_id"].hex()
        alg = aka.algorithm(self.algorithm, entry[self.algorithm])
        for attempt in (1, 2):
            rand, seq = self.rng(16), self.sequence.next(phone)
            body, sw = exchange(d.capdu(0x80, 0x88, 0, aka.ALGORITHMS[self.algorithm],
                                        rand + aka.autn(alg, rand, aka.sqn_of(seq)) + self.lock_id))
            context = d.binding(rp, rand, self.lock_id, entry["phone_id"], d.VERSION, self.aid) + bytes([aka.ALGORITHMS[self.algorithm], attempt])
            if sw == "6982":
                raise Refused("wrong-key")
            if sw != "9000":
                raise Refused("card-error")
            if len(body) == 10 and body[:2] == b"\xdb\x08":
                res, ck, ik, _ = alg.f2345(rand)
                if body[2:] != res:
                    raise Refused("wrong-key")
                event["seq"] = seq
                return d.kdf(ck + ik, "AKA3", context, 128)
            if len(body) != 32 or body[:2] != b"\xdc\x1e":
                raise Refused("card-error")
            auts = d.ccm_open(d.kdf(entry["k_l"], "AKA1", context, 128), b"S", body[2:])
            sqn_ms = auts and aka.open_auts(alg, rand, auts)
            if not sqn_ms:
                raise Refused("wrong-key")
            if attempt == 2:
                raise Refused("resync-failed")
            seq_ms = int.from_bytes(sqn_ms, "big") >> 5
            event["resynchronised_to"] = seq_ms
            self.sequence.resynchronise(phone, seq_ms)


def main():
    p = door_lock.arguments(__doc__)
    p.add_argument("--algorithm", choices=list(aka.ALGORITHMS), default="milenage")
    p.add_argument("--state", metavar="FILE", help="keep DIF and last durably here")
    a = p.parse_args()
    return door_lock.run(AkaLock(a.lock_id, door_lock.entries(p, a), state=a.state, algorithm=a.algorithm), a)


if __name__ == "__main__":
    sys.exit(main())
