"""SCardControl at an ACR122U: pseudo-APDUs by escape, without a card (SHARE_DIRECT) or beside one.

    escape.py READER empty|present

Ends with status 1 and says why if an answer is not what ACS's API has.
"""
import sys

from smartcard.scard import (
    SCARD_CTL_CODE, SCARD_LEAVE_CARD, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1, SCARD_S_SUCCESS, SCARD_SCOPE_USER, SCARD_SHARE_DIRECT,
    SCARD_SHARE_SHARED, SCARD_STATE_EMPTY, SCARD_STATE_PRESENT, SCARD_STATE_UNAWARE, SCardConnect, SCardControl, SCardDisconnect,
    SCardEstablishContext, SCardGetErrorMessage, SCardGetStatusChange,
)

GET_FEATURES = SCARD_CTL_CODE(3400)
ESCAPES = [SCARD_CTL_CODE(1), SCARD_CTL_CODE(3500)]
FEATURE_ESCAPE = 0x13


def check(result):
    """The rest of what a call gave, if it succeeded."""
    if result[0] != SCARD_S_SUCCESS:
        sys.exit(f"escape: {SCardGetErrorMessage(result[0])}")
    return result[1:]


def main():
    """Asks what the reader is, has its antenna switched, and looks for a card by the chip's own commands."""
    reader, wanted = sys.argv[1:]
    (context,) = check(SCardEstablishContext(SCARD_SCOPE_USER))
    is_empty = wanted == "empty"
    (states,) = check(SCardGetStatusChange(context, 0, [(reader, SCARD_STATE_UNAWARE)]))
    flag = SCARD_STATE_EMPTY if is_empty else SCARD_STATE_PRESENT
    if not states[0][1] & flag:
        sys.exit(f"escape: the reader is not {wanted}: state {states[0][1]:x}")
    mode, protocols = (SCARD_SHARE_DIRECT, 0) if is_empty else (SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1)
    handle, _ = check(SCardConnect(context, reader, mode, protocols))

    def control(code, command):
        (answer,) = check(SCardControl(handle, code, list(bytes.fromhex(command))))
        return bytes(answer).hex()

    features = bytes.fromhex(control(GET_FEATURES, ""))
    found = {features[at]: features[at + 2:at + 2 + features[at + 1]] for at in range(0, len(features), 6)}
    if int.from_bytes(found.get(FEATURE_ESCAPE, b""), "big") != ESCAPES[0]:
        sys.exit(f"escape: FEATURE_CCID_ESC_COMMAND is not announced: {features.hex()}")
    wakes = "d54b01010004200408" if not is_empty else "d54b009000"
    for code in ESCAPES:
        for command, expected in [
            ("ff00480000", b"ACR122U207".hex()),
            ("ff00000002d402", "d503320106079000"),
            ("ff00517f00", "907f"),
            ("ff00000004d4320100", "d5339000"),
            ("ff00000004d4320101", "d5339000"),
            ("ff00000006d43205ff0100", "d5339000"),
            ("ff00000004d44a0100", wakes),
            ("ff00000003d44400", "d545009000"),
            ("00a4040000", "6300"),
        ]:
            answer = control(code, command)
            if not answer.startswith(expected) or (len(answer) != len(expected) and expected != wakes):
                sys.exit(f"escape: {command} was answered {answer}, not {expected}")
    control(ESCAPES[0], "ff0051ff00")
    SCardDisconnect(handle, SCARD_LEAVE_CARD)


main()
