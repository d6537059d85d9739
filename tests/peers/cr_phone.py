#!/usr/bin/python3
"""A challenge-response phone over vpcd.

Written from docs/protocol.md alone (sections 3, 4, 7).
"""
import sys

import door_crypto as d
import door_phone
from door_phone import Refuse


class CrPhone(door_phone.DoorPhone):
    aid = d.AID_CR

    def __init__(self, *args, user_authenticated=True, **kw):
        super().__init__(*args, **kw)
        self.flags = (0x80000000 if user_authenticated else 0).to_bytes(4, "big")

    def _authenticate(self, p1, p2, data):
        if (p1, p2) != (0, 0):
            raise Refuse("6A86")
        if len(data) != 0x2C:
            raise Refuse("6700")
        rp, self.rp, self.k3 = self.rp, None, None     # spent, right or wrong
        if rp is None:
            raise Refuse("6985")
        rl, lock_id, tl = data[:16], data[16:24], data[24:]
        k1, k2, k3 = d.cr_keys(d.k_l(self.k_ph, lock_id), rp, rl, lock_id, self.phone_id, d.VERSION, self.aid)
        clock = d.ccm_open(k1, b"L", tl)
        if clock is None:
            raise Refuse("6982")
        self.k3 = k3
        self.report({"event": "authenticated", "lock": lock_id.hex(), "clock": int.from_bytes(clock, "big")})
        return d.ccm_seal(k2, b"P" + tl, self.flags)


def main():
    p = door_phone.arguments(__doc__)
    p.add_argument("--no-user", action="store_true", help="flags 0: the user was not authenticated")
    a = p.parse_args()
    return door_phone.serve(CrPhone(a.phone_id, a.k_ph, door_phone.print_event, wrong_key=a.wrong_key,
                                    personalised=not a.not_personalised, user_authenticated=not a.no_user), a)


if __name__ == "__main__":
    sys.exit(main())
