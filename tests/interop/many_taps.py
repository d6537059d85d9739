"""Many taps at a PC/SC reader within one process: the locks of tests/peers, both methods in turn, and a reset of the card behind each tap.

    many_taps.py --reader FRAGMENT --lock-id HEX --phone-id HEX --k-ph HEX --count N

Prints one JSON object: how many opened, and how many gave which reason.
"""
import collections
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))
import aka_lock  # noqa: E402
import cr_lock  # noqa: E402
import door_lock  # noqa: E402
import pcsc_lock  # noqa: E402


def main():
    p = door_lock.arguments(__doc__)
    p.add_argument("--count", type=int, required=True)
    a = p.parse_args()
    entries = door_lock.entries(p, a)
    locks = [cr_lock.CrLock(a.lock_id, entries), aka_lock.AkaLock(a.lock_id, entries)]
    opened, reasons = 0, collections.Counter()
    begun = time.monotonic()
    with pcsc_lock.open_card(a.reader, a.time_out) as card:
        s = card.s
        for n in range(a.count):
            event = locks[n % 2].tap(card.transmit)
            opened += event["verdict"] == "open"
            reasons[event["reason"]] += 1
            rc, card.protocol = s.SCardReconnect(card.card, s.SCARD_SHARE_EXCLUSIVE, s.SCARD_PROTOCOL_T0 | s.SCARD_PROTOCOL_T1,
                                                 s.SCARD_RESET_CARD)
            if rc != s.SCARD_S_SUCCESS:
                print(json.dumps({"event": "taps", "opened": opened, "detail": s.SCardGetErrorMessage(rc)}))
                return 1
    print(json.dumps({"event": "taps", "opened": opened, "reasons": reasons, "seconds": round(time.monotonic() - begun, 1)}))
    return 0 if opened == a.count else 1


if __name__ == "__main__":
    sys.exit(main())
