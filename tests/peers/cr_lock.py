#!/usr/bin/python3
"""A challenge-response lock at a PC/SC reader.

Written from docs/protocol.md alone (sections 3, 4, 7).
"""
import sys

import door_crypto as d
import door_lock
from door_lock import Refused


class CrLock(door_lock.DoorLock):
    aid, method = d.AID_CR, 1

    def _authenticate(self, exchange, entry, rp, event):
        rl = self.rng(16)
        k1, k2, k3 = d.cr_keys(entry["k_l"], rp, rl, self.lock_id, entry["phone_id"], d.VERSION, self.aid)
        tl = d.ccm_seal(k1, b"L", int(self.clock()).to_bytes(4, "big"))
        tp, sw = exchange(d.capdu(0x80, 0x88, 0, 0, rl + self.lock_id + tl))
        if sw == "6982":
            raise Refused("wrong-key")
        if sw != "9000" or len(tp) != 20:
            raise Refused("card-error")
        flags = d.ccm_open(k2, b"P" + tl, tp)
        if flags is None:
            raise Refused("wrong-key")
        event["flags"] = flags.hex()
        if entry["flags"] & 1 and not flags[0] & 0x80:
            raise Refused("policy", sealed_with=k3)
        return k3


def main():
    p = door_lock.arguments(__doc__)
    a = p.parse_args()
    return door_lock.run(CrLock(a.lock_id, door_lock.entries(p, a)), a)


if __name__ == "__main__":
    sys.exit(main())
