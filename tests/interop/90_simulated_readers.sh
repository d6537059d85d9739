#!/usr/bin/env bash
# Readers in software before other people's programs: libnfc's tools at our PN532, and PC/SC programs at our ACR122U, behind vpcd and
# behind our own driver.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need nfc-list libnfc-bin
need nfc-anticol libnfc-examples
need nfc-dep-target libnfc-examples
need pcsc_scan pcsc-tools
need scriptor pcsc-tools
need opensc-tool opensc
need_peers
need_ifd
in_private_pcscd "$@"
make_site

CR=f0544150444f4f5201 IDENTITY=f0544150444f4f520f
ATS='75 *77 *80 *02'

# phone_at SERVE OPTION...: our phone there, and ready.
phone_at() {
    stop phone
    start phone "$TAPDOOR" --json phone --config "${CONFIG:-$SITE/phone.toml}" --no-server --serve "$@"
    wait_event phone ready >/dev/null
}

# --- a PN532 on a pseudo-terminal ------------------------------------------------------------------------------------

LINE=$WORK/pn532
export LIBNFC_DEFAULT_DEVICE=pn532_uart:$LINE
nfc() { timeout 30 "$@" 2>>"$WORK/nfc.err"; }
shows() { # PROGRAM... -- EXPRESSION...: its output has all of these
    local program=() text expression
    while [ "$1" != -- ]; do program+=("$1") && shift; done
    shift
    text=$(nfc "${program[@]}")
    echo "$text" >>"$WORK/nfc.log"
    for expression in "$@"; do
        grep -Eq "$expression" <<<"$text" || { echo "$text" && echo "${program[0]} does not show: $expression" && return 1; }
    done
}

phone_at "pn532:$LINE"
check 'nfc-list: ATQA, random UID, SAK and ATS of the phone' shows nfc-list -v -- '1 ISO14443A passive' 'SENS_RES\): 00 +04' \
    'NFCID3\): 08 ( ?[0-9a-f]{2} ){3}' '\* Random UID' 'SEL_RES\): 20' "ATS: $ATS" '0 ISO14443B passive' '0 Felica \(212'
check 'nfc-anticol: anticollision, selection and RATS bit by bit' shows nfc-anticol -- 'Sent bits: +26 \(7 bits\)' 'Received bits: 04 +00' \
    'Found tag with' 'UID: 08[0-9a-f]{6}$' 'ATQA: 0004' 'SAK: 20' "ATS: 05 *$ATS *[0-9a-f]{2} *[0-9a-f]{2}"
other_uids() {
    local uids
    uids=$(for _ in 1 2 3; do nfc nfc-list | grep NFCID3; done | sort -u | wc -l)
    [ "$uids" = 3 ] || { echo "$uids identifiers in 3 fields" && return 1; }
}
check 'nfc-list: another UID each time the field comes' other_uids
phone_at "pn532:$LINE,after=600"
check 'nfc-list: nothing in an empty field' shows nfc-list -v -- '0 ISO14443A passive' '0 ISO14443B passive'
phone_at "pn532:$LINE,after=1,stay=2"
check 'nfc-poll: the phone comes, and goes' shows nfc-poll -v -- 'SENS_RES\): 00 +04' 'NFCID3\): 08' 'SEL_RES\): 20' "ATS: $ATS" \
    'Waiting for card removing.*done'
phone_at "pn532:$LINE,after=600,peer=$LINE-2"
start target env "LIBNFC_DEFAULT_DEVICE=pn532_uart:$LINE-2" timeout 30 nfc-dep-target
sleep 1 # its output is buffered: nothing says when it listens; nfc-dep-initiator polls until then
check 'nfc-dep-initiator and nfc-dep-target: two chips of ours talk by NFC-DEP' shows nfc-dep-initiator -- 'NFCID3: 12 +34 +56 +78' 'Received: Hello Mars'
join target 10
target_heard() { cat "$WORK/target.err" && grep -q 'Received: Hello World' "$WORK/target.log"; }
check 'nfc-dep-target: it got what was sent' target_heard
stop phone
link_is_gone() { [ ! -e "$LINE" ] && [ ! -L "$LINE" ]; }
check 'the symlink goes with the phone' link_is_gone

# --- an ACR122U behind vpcd ------------------------------------------------------------------------------------------

# The phone before is gone as pcscd sees it, too: else a client connects to what is about to leave.
acr122u() { stop phone; reader_is empty && phone_at "vpcd:127.0.0.1:$VPCD_PORT,as=acr122u" "$@" && reader_is present; }
# script LINE...: by scriptor, one answer a line, without spaces.
script() {
    printf '%s\n' "$@" >"$WORK/script"
    timeout 30 scriptor -r "${AT:-$READER}" "$WORK/script" 2>>"$WORK/scriptor.log" | awk '
        /^> / { collecting = 0 }
        /^< / { collecting = 1; data = "" }
        collecting {
            ended = / : /
            sub(/^< /, ""); sub(/ : .*/, ""); gsub(/ /, "")
            data = data $0
            if (ended) { print tolower(data); collecting = 0 }
        }'
}
answers() { # COMMAND EXPRESSION...: in one session, each answer as a whole
    local commands=() expressions=() got n
    while [ $# -gt 0 ]; do
        commands+=("$1") expressions+=("$2")
        shift 2
    done
    mapfile -t got < <(script "${commands[@]}")
    for n in "${!commands[@]}"; do
        [[ ${got[n]:-none} =~ ^${expressions[n]}$ ]] || { echo "${commands[n]} was answered ${got[n]:-by nothing}, not ${expressions[n]}" && return 1; }
    done
}
# What ACS's API says, by which other people's drivers know the reader. FF 00 48 has no status word: scriptor shows its last two bytes as one.
API=(FFCA000000 '08[0-9a-f]{6}9000' FFCA010000 05757780029000 FFCA000002 6c04
    FF0048000000 6a81 FF00000002D402 d503320106079000 FF00000003D40000 d501009000
    FF00400F0401010101 9003 FF00400C0401010101 9000 FF00517F00 907f FF00500000 907f FF0051FF00 90ff FF00410100 9000 FF00520000 9000
    FF00000002D4EE 637f FF00000005D402 6700 FFB0000410 6a81)
opens() { # LOCK-OPTION...
    timeout --kill-after=5 60 "$TAPDOOR" --json lock --config "$SITE/lock.toml" "$@" >"$WORK/lock.log" 2>"$WORK/lock.err" </dev/null
    local status=$?
    cat "$WORK/lock.err" >&2
    [ "$status" = 0 ] && has "$(last lock tap)" verdict=open reason=null
}

reader_is empty
acr122u
check 'scriptor: pseudo-APDUs of ACS, at the ACR122U behind vpcd' answers "${API[@]}" "00A4040009${CR}00" '6f.*9000'
atr() { [ "$(timeout 30 opensc-tool --reader "$READER" --atr)" = 3b:80:80:01:01 ]; }
check 'opensc-tool: the ATR is that of an ATS without historical bytes' atr
check 'the lock opens at the ACR122U behind vpcd, the phone there first' opens --reader "pcsc:$READER" --once
stop phone
reader_is empty
start late "$TAPDOOR" --json lock --config "$SITE/lock.toml" --reader "pcsc:$READER" --once
wait_event late ready >/dev/null
acr122u
join late 30 # not in a check: only this shell can wait for its child
STATUS=$?
late_opens() { cat "$WORK/late.err" && [ "$STATUS" = 0 ] && has "$(last late tap)" verdict=open reason=null; }
check 'the lock opens at the ACR122U behind vpcd, the phone arriving later' late_opens
acr122u --retap
check 'the lock opens three times for a phone that taps again' opens --reader "pcsc:$READER" --count 3
if NODE_PATH=$(node_modules_with_nfc_pcsc); then
    export NODE_PATH
    acr122u
    nfc_pcsc() {
        timeout 30 node "$HERE/nfc_pcsc.js" "$1" "$IDENTITY" >"$WORK/node.log" 2>&1
        cat "$WORK/node.log"
        has "$(last node reader)" class=ACR122Reader && has "$(last node card)" type=TAG_ISO_14443_4 &&
            grep -Eq '"data":"6f[0-9a-f]*"' "$WORK/node.log" && grep -Eq '"event":"uid","data":"08[0-9a-f]{6}9000"' "$WORK/node.log" &&
            { [ "$1" != Tapdoor ] || [ -n "$(last node buzzer)" ]; }
    }
    check 'npm nfc-pcsc: an ACR122 behind vpcd, and an application on it' nfc_pcsc 'PICC Interface'
else
    skip 'npm nfc-pcsc' 'nfc-pcsc is not here (scripts/install-deps interop)'
fi
stop phone

# --- the same ACR122U behind our own driver --------------------------------------------------------------------------

OURS=$("$PEER_PYTHON" -c 'from smartcard.System import readers
print(next(str(reader) for reader in readers() if "ACR122U Tapdoor" in str(reader)))')
check 'our driver: pcscd lists the reader, which has not come yet, as empty' reader_is vacant "$OURS"
phone_at "ifd:$IFD_SOCKET,after=600"
wait_event phone connected >/dev/null
check 'our driver: escape at an empty field, by SHARE_DIRECT' "$PEER_PYTHON" "$HERE/escape.py" "$OURS" empty
stop phone
check 'our driver: a reader that is pulled out is gone' reader_is unplugged "$OURS"
phone_at "ifd:$IFD_SOCKET,after=4,stay=3"
check 'our driver: and is found again' reader_is vacant "$OURS"
start scan pcsc_scan -n -t 60
seen() { grep -A 3 'Reader [0-9]: ACS ACR122U Tapdoor' "$WORK/scan.log" | grep -q "$1"; }
watched() { wait_for 20 seen "$1" || { cat "$WORK/scan.log" && return 1; }; }
check 'our driver: pcsc_scan sees the phone arrive' watched 'Card inserted'
scanned_atr() { wait_for 5 grep -q 'ATR: 3B 80 80 01 01' "$WORK/scan.log"; }
check 'our driver: pcsc_scan sees its ATR' scanned_atr
gone() { awk '/Tapdoor/ { here = 3 } here-- > 0 && /Card inserted/ { came = 1 } here >= 0 && came && /Card removed/ { left = 1 } END { exit !left }' "$WORK/scan.log"; }
leaves() { wait_for 20 gone || { cat "$WORK/scan.log" && return 1; }; }
check 'our driver: pcsc_scan sees it leave' leaves
stop scan
phone_at "ifd:$IFD_SOCKET"
reader_is present "$OURS"
AT=$OURS
check 'our driver: pseudo-APDUs of ACS, with a card' answers "${API[@]}" "00A4040009${CR}00" '6f.*9000'
check 'our driver: escape with a card' "$PEER_PYTHON" "$HERE/escape.py" "$OURS" present
check 'our driver: the lock opens, the phone there first' opens --reader 'pcsc:Tapdoor' --once
phone_at "ifd:$IFD_SOCKET,after=3"
reader_is vacant "$OURS"
start late "$TAPDOOR" --json lock --config "$SITE/lock.toml" --reader 'pcsc:Tapdoor' --once
join late 30
STATUS=$?
check 'our driver: the lock opens, the phone arriving later' late_opens
if [ -n "${NODE_PATH:-}" ]; then
    check 'our driver: npm nfc-pcsc' nfc_pcsc Tapdoor
fi
check 'our phone is well' phone_is_well
