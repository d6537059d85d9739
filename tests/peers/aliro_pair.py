#!/usr/bin/python3
"""The Aliro counterparts among themselves: every case of both checklists must hold, and must fail under each fault it names.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. No process. Exit status 0 when all held.
"""
import sys
import threading

import aliro_rdr
import aliro_ud
import vpcd_card
import vpcd_reader
from aliro_cases import SITE, same
from aliro_checklist import RDR, UD, verdict
from aliro_device import Device

UD_PROFILES = {"plain": {}, "descriptor": {"vendor": b"\4\3\1\2\3"}, "extended": {"lengths": (275, 275)},
               "read-only": {"writable": False}, "no-mailbox": {"mailbox": 0}, "counter": {"counters": 0x1FF},
               "vendor": {"extension": b"\4\3\7\7\7", "bits": 0x40}}


def phone(profile, bugs):
    device = Device(SITE.device_groups(), bugs=bugs, **UD_PROFILES[profile])

    def reset():
        device.power(False)
        device.power(True)

    def restart():
        reset()
        if "forgets-on-restart" in bugs:
            device.kpersistent.clear()
            device.mailbox.content[:] = bytes(len(device.mailbox.content))

    def crash(command, _):
        device.apdu(command)
        if "crash-loses" in bugs:
            device.kpersistent.clear()
            device.mailbox.content[:20] = bytes(20)
        restart()
    context = aliro_ud.PhoneUnderTest(SITE, device.apdu, reset, restart, crash)
    context.counters = UD_PROFILES[profile].get("counters", context.counters)
    return context


def over_sockets():
    """The same two through vpcd's framing: a device that connects, a lock that listens; STANDARD, then FAST."""
    context, listener = aliro_rdr.peer("plain", ()), vpcd_reader.Listener()
    device, lock = context.device(), context.lock
    field = threading.Thread(target=vpcd_card.serve, args=(device, listener.address, 2, 0), daemon=True)
    field.start()
    for _ in range(2):
        with listener.card() as card:
            aliro_rdr.Tap(device, lock.tap(card.send)).opened()
    field.join(10)
    listener.close()
    same("commands", device.names(), ["SELECT", "AUTH0", "AUTH1", "EXCHANGE", "SELECT", "AUTH0", "EXCHANGE"])


def main():
    failed = 0
    try:
        over_sockets()
        print("ok   over sockets")
    except Exception as e:
        failed += 1
        print("FAIL over sockets: %s" % e)
    for case, make in [(c, phone) for c in UD] + [(c, aliro_rdr.peer) for c in RDR]:
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
