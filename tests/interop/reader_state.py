"""Waits for a state of a PC/SC reader, by events:  reader_state.py present|empty|vacant|unplugged FRAGMENT [SECONDS]

pcscd calls a reader empty as soon as a card cannot be powered down or reset, but its watching thread, which looks every 0.4 s,
may not have seen the card go; a card that comes before it has is never announced. That thread alone counts events, one for each
coming and going, so a reader is empty for certain when the count in the state's upper half is even. After a reader was unplugged the
count says nothing: vacant is empty whatever it is.
"""
import sys
import time

from smartcard import scard as s


def main():
    wanted, fragment, seconds = sys.argv[1], sys.argv[2], float((sys.argv + ["20"])[3])
    end = time.monotonic() + seconds
    rc, context = s.SCardEstablishContext(s.SCARD_SCOPE_USER)
    if rc != s.SCARD_S_SUCCESS:
        print("SCardEstablishContext: " + s.SCardGetErrorMessage(rc))
        return 1
    rc, readers = s.SCardListReaders(context, [])
    name = next((r for r in readers if fragment in r), None) if rc == s.SCARD_S_SUCCESS else None
    if name is None:
        print("no reader %r among %r" % (fragment, readers))
        return 1
    state = s.SCARD_STATE_UNAWARE
    while True:
        left = end - time.monotonic()
        if left <= 0:
            print("not %s within %g s" % (wanted, seconds))
            return 1
        rc, new = s.SCardGetStatusChange(context, int(left * 1000) + 1, [(name, state)])
        if rc == s.SCARD_S_SUCCESS:
            state = new[0][1] & ~s.SCARD_STATE_CHANGED
            is_present = bool(state & s.SCARD_STATE_PRESENT) and not state & s.SCARD_STATE_MUTE
            is_empty = bool(state & s.SCARD_STATE_EMPTY) and (state >> 16) % 2 == 0
            is_vacant = bool(state & s.SCARD_STATE_EMPTY)
            is_unplugged = not state & (s.SCARD_STATE_EMPTY | s.SCARD_STATE_PRESENT)
            if {"present": is_present, "empty": is_empty, "vacant": is_vacant, "unplugged": is_unplugged}[wanted]:
                return 0
        elif rc != s.SCARD_E_TIMEOUT:
            print("SCardGetStatusChange: " + s.SCardGetErrorMessage(rc))
            return 1


sys.exit(main())
