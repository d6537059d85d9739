#!/usr/bin/python3
"""The Aliro counterparts among themselves: every case of both checklists must hold, and must fail under each fault it names.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. No process, no socket. Exit status 0 when all held.
"""
import sys

import aliro_rdr
import aliro_rdr_more
import aliro_ud
import aliro_ud_bytes
import aliro_ud_more
from aliro_cases import Site
from aliro_device import Device

SITE = Site()
UD_PROFILES = {"plain": {}, "descriptor": {"vendor": b"\4\3\1\2\3"}, "extended": {"lengths": (275, 275)},
               "read-only": {"writable": False}, "no-mailbox": {"mailbox": 0}}


def phone(profile, bugs):
    device = Device(SITE.device_groups(), bugs=bugs, **UD_PROFILES[profile])

    def reset():
        device.power(False)
        device.power(True)
    return aliro_ud.PhoneUnderTest(SITE, device.apdu, reset)


def verdict(case, context, then_clean=True):
    """None when the case held, else why not."""
    try:
        case.run(context)
        if then_clean:
            context.clean()
        return None
    except Exception as e:             # whatever it is, the case did not hold
        return "%s: %s" % (type(e).__name__, e)


def main():
    failed = 0
    for case, make in ([(c, phone) for c in aliro_ud.CASES + aliro_ud_more.CASES + aliro_ud_bytes.CASES] + [(c, aliro_rdr.peer) for c in aliro_rdr.CASES + aliro_rdr_more.CASES]):
        why = verdict(case, make(case.profile, ()))
        blind = [bug for bug in case.bugs if verdict(case, make(case.profile, (bug,)), False) is None]
        if not case.bugs:
            blind = ["nothing: no fault is named"]
        if why or blind:
            failed += 1
            print("FAIL %s: %s" % (case.name, why or "does not see " + ", ".join(blind)))
        else:
            print("ok   %s, and sees %s" % (case.name, ", ".join(case.bugs)))
    print("%d failed" % failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
