#!/usr/bin/env bash
# libnfc where no PN532 is: our phone on a chip that libnfc drives as a target, read by our lock, by nfcpy and by libnfc itself; and
# libnfc's driver for an ACR122U at PC/SC (tests/peers/acr122_pcsc), which no package has, at our ACR122U.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need nfc-list libnfc-bin
need scriptor pcsc-tools
need_peers
need_ifd
in_private_pcscd "$@"
make_site

CR=f0544150444f4f5201 IDENTITY=f0544150444f4f520f
LINE=$WORK/pn532
RETRIES=(--wait 20)

chip() { # OPTION...: a simulated chip at $LINE
    stop chip
    start chip "$TAPDOOR" --json simulate "$LINE" "$@"
    CHIP=$(wait_event chip ready)
}
listens() { printf '%s\n' "$CHIP" | sed 's/.*"listen": *"\([^"]*\)".*/\1/'; }
# phone_on LINE OPTION...: our phone on the chip at LINE, and ready.
phone_on() {
    stop phone
    start phone "$TAPDOOR" --json phone --config "$SITE/phone.toml" --no-server --serve "libnfc:pn532_uart:$1" "${@:2}"
    wait_event phone ready >/dev/null
}
# opens READER APDUS LOCK-OPTION...
opens() {
    timeout --kill-after=5 60 "$TAPDOOR" --json lock --config "$SITE/lock.toml" --no-server --reader "$1" "${@:3}" \
        >"$WORK/lock.log" 2>"$WORK/lock.err" </dev/null
    local status=$?
    cat "$WORK/lock.err" >&2
    has "$(last lock tap)" verdict=open "apdus=$2" || { cat "$WORK/lock.log" "$WORK/lock.err" && return 1; }
    [ "$status" = 0 ] || { cat "$WORK/lock.log" && echo "exit status $status" && return 1; }
}
# ended NAME: by an interrupt, at once, and by itself.
ended() {
    local begun=$SECONDS
    stop "$1" INT
    local status=$?
    if [ "$status" != 130 ] || [ $((SECONDS - begun)) -gt 4 ]; then echo "status $status after $((SECONDS - begun)) s" && return 1; fi
}

# --- the phone on a chip in target mode ------------------------------------------------------------------------------

as_a_target() {
    chip --near udp:127.0.0.1:0 || return
    AIR=udp:$(listens)
    phone_on "$LINE" || return
    check 'libnfc target: the lock opens by challenge-response' opens "$AIR" 2 --once --record "$WORK/target.tape"
    check 'libnfc target: and once more' opens "$AIR" 2 --once
    check 'libnfc target: and by AKA' opens "$AIR" 2 --once --method aka
    check 'libnfc target: and by Aliro, commands in chains' opens "$AIR" 4 --once --method aliro
    # What the chip says by itself, and what the phone says through it.
    on_air() {
        local seen
        for seen in '"data":"0400"' '"data":"08[0-9a-f]{8}"' '"data":"20[0-9a-f]{4}"' '"data":"067533920380[0-9a-f]{4}"' '"layer":"apdu"'; do
            grep -Eq "$seen" "$WORK/target.tape" || { echo "no $seen" && cat "$WORK/target.tape" && return 1; }
        done
    }
    check 'libnfc target: ATQA, UID 08, SAK 20, ATS of the chip with our historical byte' on_air
    told() { has "$(last phone verdict)" verdict=open && [ "$(events phone connected)" -ge 4 ] && [ "$(events phone trouble)" = 0 ]; }
    check 'libnfc target: the phone was told' told
    phone_on "$LINE" --retap
    check 'libnfc target: three taps of a phone that leaves and comes back' opens "$AIR" 2 --count 3
    phone_on "$LINE" --lab "answer=$(printf 'ab%.0s' {1..200})9000"
    if [ -x "$ROOT/target/nfcpy/bin/python" ]; then
        nfcpy() { timeout --kill-after=5 60 "$ROOT/target/nfcpy/bin/python" "$HERE/nfcpy_peer.py" "$@"; }
        check 'libnfc target: nfcpy reads it, 200 bytes each way in chains' nfcpy read "$AIR" "00d60000c8+cd*200=ab*200+9000"
        # libnfc has room for 262 bytes, so this is refused, and the next one is answered.
        check 'libnfc target: a command that libnfc has no room for is answered 6700' \
            nfcpy read "$AIR" "00d6000000012c+cd*300=6700" "00a4040000=ab*200+9000"
    else
        skip 'libnfc target: nfcpy' 'nfcpy is missing (scripts/install-deps interop)'
    fi
    phone_on "$LINE" --lab "answer=$(printf 'ab%.0s' {1..300})9000"
    in_parts() {
        "$TAPDOOR" --json apdu --reader "$AIR" "${RETRIES[@]}" 00a4040000 00c0000000 >"$WORK/parts.log" || return
        local part
        for part in '"r":"(ab){255}612d"' '"r":"(ab){45}9000"'; do grep -Eq "$part" "$WORK/parts.log" || { cat "$WORK/parts.log" && return 1; }; done
    }
    check 'libnfc target: a response that libnfc has no room for comes by GET RESPONSE' in_parts
    phone_on "$LINE" --lab slow=600
    slow() { "$TAPDOOR" --json apdu --reader "$AIR" "${RETRIES[@]}" "00a4040009${IDENTITY}00" --sw 9000 >"$WORK/slow.log" || { cat "$WORK/slow.log" && return 1; }; }
    check 'libnfc target: the chip asks for time while the phone works' slow
    phone_on "$LINE"
    stop chip
    lost() { wait_event phone waiting 1 40 >/dev/null; }
    check 'libnfc target: a device that is gone is told' lost
    chip --near "$AIR" || return
    check 'libnfc target: and taken again when it is back' opens "$AIR" 2 --once
    ended phone
    local status=$?
    said() { [ "$status" = 0 ]; }
    check 'libnfc target: the phone ends at once' said
}
refused() { # WORD SERVE: wrong usage, at once
    timeout 10 "$TAPDOOR" phone --config "$SITE/phone.toml" --no-server --serve "$2" >"$WORK/refused.log" 2>&1 </dev/null
    local status=$?
    if [ "$status" != 2 ] || ! grep -q "$1" "$WORK/refused.log"; then cat "$WORK/refused.log" && echo "status $status" && return 1; fi
}
case $("$TAPDOOR" phone --config "$SITE/phone.toml" --serve libnfc:acr122_usb 2>&1) in
*'has no libnfc'*)
    check 'libnfc target: a build without libnfc says how to build with it' refused '--features libnfc' "libnfc:pn532_uart:$LINE"
    skip 'libnfc target:' 'this build has no libnfc (cargo feature libnfc)'
    ;;
*)
    check 'libnfc target: an ACR122U is refused, and why' refused 'cannot be a card' libnfc:acr122_usb:001:002
    as_a_target
    # Two chips near each other, libnfc at both.
    chip --near "pn532:$LINE-2"
    phone_on "$LINE-2"
    seen_by_libnfc() {
        local expression
        LIBNFC_DEFAULT_DEVICE=pn532_uart:$LINE timeout 30 nfc-list -v >"$WORK/nfc.log" 2>&1
        for expression in '1 ISO14443A passive' 'SENS_RES\): 00 +04' 'NFCID3\): 08' 'SEL_RES\): 20' 'ATS: 75 +33 +92 +03 +80'; do
            grep -Eq "$expression" "$WORK/nfc.log" || { cat "$WORK/nfc.log" && echo "no $expression" && return 1; }
        done
    }
    check 'libnfc at both ends: nfc-list sees the phone' seen_by_libnfc
    check 'libnfc at both ends: the lock opens' opens "libnfc:pn532_uart:$LINE" 2 --once
    check 'libnfc target, our own driver: the lock opens' opens "pn532:$LINE" 2 --once
    stop phone
    stop chip INT
    ;;
esac

# --- libnfc's driver for an ACR122U at PC/SC -------------------------------------------------------------------------

DRIVER=${ACR122_PCSC:-$ROOT/target/acr122_pcsc/release/acr122-pcsc}
if [ ! -x "$DRIVER" ]; then
    skip 'acr122_pcsc:' "$DRIVER is missing (\`make interop\` builds it)"
    exit 0
fi
# exchanges READER: the phone there, and what it answers.
exchanges() {
    printf '%s\n' "00A4040009${IDENTITY}00" "00A4040009${CR}00" 8088000000 "00A4040007A000000003101000" |
        timeout 30 "$DRIVER" "$1" >"$WORK/driver.log" 2>"$WORK/driver.err" || { cat "$WORK/driver.log" "$WORK/driver.err" && return 1; }
    cat "$WORK/driver.log" >&2
    grep -q "\"acr122_pcsc:$1\"" <<<"$(last driver devices)" || { last driver devices && echo "not listed: $1" && return 1; }
    grep -q "\"$1 / ACR122U" <<<"$(last driver opened)" || { last driver opened && return 1; }
    has "$(last driver card)" atqa=0004 sak=20 ats=75778002 || { last driver card && return 1; }
    grep -Eq '"uid": "08[0-9a-f]{6}"' <<<"$(last driver card)" || { last driver card && return 1; }
    [ "$(events driver apdu)" = 4 ] || { echo "$(events driver apdu) answers" && return 1; }
    local n=0 expression
    for expression in '6f[0-9a-f]+9000' '6f[0-9a-f]+9000' '6700' '6a82'; do
        n=$((n + 1))
        wait_event driver apdu "$n" 1 | grep -Eq "\"r\": \"$expression\"" || { wait_event driver apdu "$n" 1 && echo "answer $n is not $expression" && return 1; }
    done
}
taps() { # READER: a lock in Python, through that driver
    peer cr_lock.py --reader "program:'$DRIVER' '$1'" --lock-id "$LOCK_ID" --phone-id "$PHONE_ID" --k-ph "$K_PH" >"$WORK/peer.log" || { cat "$WORK/peer.log" && return 1; }
    has "$(last peer tap)" verdict=open apdus=2 control_flow=9000 && wait_event phone verdict >/dev/null
}
phone_at() {
    stop phone
    start phone "$TAPDOOR" --json phone --config "$SITE/phone.toml" --no-server --serve "$@"
    wait_event phone ready >/dev/null
}
# no_polling READER: the driver does not switch the reader's own polling off, and is disturbed by it.
no_polling() {
    echo FF00517F00 >"$WORK/script"
    timeout 30 scriptor -r "$1" "$WORK/script" 2>&1 | grep -q '^< 90 7F' || { echo 'the PICC operating parameter was not set' && return 1; }
}

phone_at "vpcd:127.0.0.1:$VPCD_PORT,as=acr122u"
reader_is present
check "acr122_pcsc at vpcd: the reader's own polling is switched off" no_polling "$READER"
check 'acr122_pcsc at vpcd: the phone, and its applications' exchanges "$READER"
check 'acr122_pcsc at vpcd: a Python lock opens through it' taps "$READER"
stop phone
reader_is empty

OURS=$("$PEER_PYTHON" -c 'from smartcard.System import readers
print(next(str(reader) for reader in readers() if "ACR122U Tapdoor" in str(reader)))')
phone_at "ifd:$IFD_SOCKET,after=600"
wait_event phone connected >/dev/null
nobody() {
    timeout 30 "$DRIVER" "$OURS" </dev/null >"$WORK/driver.log" 2>"$WORK/driver.err"
    local status=$?
    if [ "$status" != 3 ] || [ "$(events driver opened)" != 1 ] || ! grep -q 'no card' "$WORK/driver.err"; then
        cat "$WORK/driver.log" "$WORK/driver.err" && echo "status $status" && return 1
    fi
}
check 'acr122_pcsc at our driver: an empty field, by escape commands' nobody
phone_at "ifd:$IFD_SOCKET"
reader_is present "$OURS"
check "acr122_pcsc at our driver: the reader's own polling is switched off" no_polling "$OURS"
check 'acr122_pcsc at our driver: the phone, and its applications' exchanges "$OURS"
check 'acr122_pcsc at our driver: a Python lock opens through it' taps "$OURS"
