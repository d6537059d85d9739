#!/usr/bin/env bash
# opensc-tool, scriptor and pcsc_scan at a phone of ours, through pcscd: documented answers, byte by byte where they are fixed.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need opensc-tool opensc
need scriptor pcsc-tools
need pcsc_scan pcsc-tools
need_peers # to wait for the reader's state
in_private_pcscd "$@"
make_site --usim
# A chip without a key set: nobody manages it, and everybody may look (70_card_manager has the other kind).
sed -i '/^\[chip\]/,/^$/d' "$SITE/phone.toml"

# --- what docs/protocol.md sections 2, 3 and 8 and the card manager's standard say, as expressions over hexadecimal digits ---

CR=f0544150444f4f5201 AKA=f0544150444f4f5202 IDENTITY=f0544150444f4f520f ALIRO=a000000909acce5501
USIM=a0000000871002ffffffff8907090000 MANAGER=a000000151000000
RECOGNITION=732206072a864886fc6b01600c060a2a864886fc6b02020301630906072a864886fc6b03
fci() { echo "6f348409${1}a5278001018110.{32}8210.{32}"; }
length_fci() { echo "6f108409${IDENTITY}a503800101"; }
MANAGER_FCI=6f348408${MANAGER}a528${RECOGNITION}9f6501ff

# --- the programs, brought to one line an answer: data and status word in hexadecimal, without spaces --------------------

# opensc APDU...: by opensc-tool -s
opensc() {
    local apdu options=()
    for apdu in "$@"; do options+=(-s "$apdu"); done
    timeout 30 opensc-tool --reader "$READER" "${options[@]}" | tee -a "$WORK/opensc.log" | awk '
        function out() { if (sw != "") print tolower(data sw) }
        /^Sending:/ { next }
        /^Received/ {
            out(); data = ""; first = 1; sw = $0
            gsub(/.*SW1=0x|\).*/, "", sw); sub(/, SW2=0x/, "", sw)
            next
        }
        # "6F 10 o.": three characters a byte and then one a byte; only after a first line of 16 bytes is the last one padded.
        { line = substr($0, 1, first && length($0) < 64 ? length($0) / 4 * 3 : 48); first = 0; gsub(/ /, "", line); data = data line }
        END { out() }'
}

# script LINE...: by scriptor, from a file
script() {
    printf '%s\n' "$@" >"$WORK/script"
    timeout 30 scriptor -r "$READER" "$WORK/script" | tee -a "$WORK/scriptor.log" | awk '
        /^> / { collecting = 0 }
        /^< OK: / { sub(/^< OK: /, "ok:"); gsub(/ /, ""); print tolower($0); next }
        /^< / { collecting = 1; data = "" }
        collecting {
            ended = / : /
            sub(/^< /, ""); sub(/ : .*/, ""); gsub(/ /, "")
            data = data $0
            if (ended) { print tolower(data); collecting = 0 }
        }'
}

# answers 'PROGRAM' COMMAND EXPRESSION [COMMAND EXPRESSION]...: one session, each answer must match as a whole.
answers() {
    local by=$1 commands=() expressions=() got n
    shift
    while [ $# -gt 0 ]; do
        commands+=("$1") expressions+=("$2")
        shift 2
    done
    mapfile -t got < <("$by" "${commands[@]}")
    if [ ${#got[@]} -ne ${#commands[@]} ]; then
        echo "$by gave ${#got[@]} answers to ${#commands[@]} commands"
        return 1
    fi
    for n in "${!commands[@]}"; do
        if ! [[ ${got[n]} =~ ^${expressions[n]}$ ]]; then
            echo "${commands[n]} was answered ${got[n]}, not ${expressions[n]}"
            return 1
        fi
    done
}

select_of() { echo "00A4040009${1}00"; }

# --- pcsc_scan ------------------------------------------------------------------------------------------------------

lists_readers() {
    local list
    list=$(timeout 20 pcsc_scan -r) || return 1
    [ "$list" = "0: $READER
1: ${READER%0}1" ] || { echo "$list" && return 1; }
}
check 'pcsc_scan -r lists both slots of the reader' lists_readers

start scan pcsc_scan -q -n -t 120
seen() { [ "$(grep -c "$1" "$WORK/scan.log")" -ge "$2" ]; }
wait_for 20 seen 'Card removed' 2
our_phone
watched() { wait_for 20 seen "$1" "$2" || { tail -n 5 "$WORK/scan.log" && return 1; }; }
check 'pcsc_scan sees the phone come' watched 'Card inserted' 1
check 'pcsc_scan sees its ATR, 3B 80 80 01 01' watched 'ATR: 3B 80 80 01 01' 1
stop phone
check 'pcsc_scan sees it go' watched 'Card removed' 3
stop scan
our_phone
analysed() {
    local text
    text=$(timeout 30 pcsc_scan -t 1 </dev/null) || return 1
    echo "$text"
    grep -q 'TCK = 01 (correct checksum)' <<<"$text" && grep -q 'Protocol T = 1' <<<"$text"
}
check 'pcsc_scan finds nothing wrong with the ATR' analysed

# --- opensc-tool ----------------------------------------------------------------------------------------------------

atr() { [ "$(timeout 30 opensc-tool --reader "$READER" --atr)" = 3b:80:80:01:01 ]; }
check 'opensc-tool --atr' atr
check 'opensc-tool -s: SELECT challenge-response' answers opensc "$(select_of $CR)" "$(fci $CR)9000"
check 'opensc-tool -s: SELECT AKA' answers opensc "$(select_of $AKA)" "$(fci $AKA)9000"
check 'opensc-tool -s: SELECT identity' answers opensc "$(select_of $IDENTITY)" "$(length_fci)9000"
new_rp() {
    local got
    for aid in $CR $AKA; do
        mapfile -t got < <(opensc "$(select_of "$aid")" "$(select_of "$aid")" "$(select_of "$aid")")
        # RP and T of three SELECTs: six values, none of them twice.
        if [ "$(for n in 0 1 2; do echo "${got[n]:42:32}" && echo "${got[n]:78:32}"; done | sort -u | grep -Ec '^[0-9a-f]{32}$')" != 6 ]; then
            printf '%s\n' "${got[@]}"
            return 1
        fi
    done
}
check 'opensc-tool -s: RP and T are new for every SELECT' new_rp
check 'opensc-tool -s: partial AIDs, first and next' answers opensc \
    00A4040005F05441504400 "$(fci $CR)9000" 00A4040205F05441504400 "$(fci $AKA)9000" \
    00A4040205F05441504400 "$(length_fci)9000" 00A4040205F05441504400 6a82
check 'opensc-tool -s: P2 = 0C, no answer data' answers opensc "00A4040C09$CR" 9000
check 'opensc-tool -s: without Le' answers opensc "00A4040009$CR" "$(fci $CR)9000"
check 'opensc-tool -s: no such application, and the one before stays selected' answers opensc \
    "$(select_of $CR)" "$(fci $CR)9000" "$(select_of f0544150444f4f527e)" 6a82 "$(select_of f0544150444f4f5281)" 6a82 80FE0000 6d00
check 'opensc-tool -s: SELECT the USIM by partial AID, FCP' answers opensc 00A4040407A000000087100200 '62..82027821.*84 *10'"$USIM"'.*9000'
check 'opensc-tool -s: SELECT the card manager' answers opensc 00A40400 "${MANAGER_FCI}9000" \
    "00A4040008${MANAGER}00" "${MANAGER_FCI}9000" 00A4040005A00000015100 "${MANAGER_FCI}9000"
check 'opensc-tool -s: GET DATA' answers opensc 00A40400 "${MANAGER_FCI}9000" 80CA006600 "6624${RECOGNITION}9000" \
    80CA004200 42009000 80CA004500 '4508.{16}9000' 80CA9F7F00 6a88 80CA00E000 6a88 80CA7E7E00 6a88 \
    80CA2F0000 "610b4f09${CR}610b4f09${AKA}610b4f09${IDENTITY}610b4f09${ALIRO}61124f10${USIM}9000"
# A default-selected USIM gets what comes before a SELECT, so the manager is selected first.
same_number() {
    local first second
    first=$(opensc 00A40400 80CA004500 | tail -n 1)
    second=$(opensc 00A40400 80CA004500 | tail -n 1)
    echo "$first, then $second"
    [ -n "$first" ] && [ "$first" = "$second" ]
}
check 'opensc-tool -s: the chip keeps its number' same_number
application() { echo "e3124f09${1}9f70010fc501.."; }
check 'opensc-tool -s: GET STATUS' answers opensc 00A40400 "${MANAGER_FCI}9000" \
    80F28002024F0000 "e3114f08${MANAGER}9f700101c501809000" \
    80F24002024F0000 "$(application $CR)$(application $AKA)$(application $IDENTITY)$(application $ALIRO)e3194f10${USIM}9f7001..c501..9000" \
    "80F240020B4F09${AKA}00" "$(application $AKA)9000" 80F22002024F0000 6a88 80F24001024F0000 6985 80F24004024F0000 6a86 \
    80F24002025C0000 "$(application $CR)$(application $AKA)$(application $IDENTITY)$(application $ALIRO)e3194f10${USIM}9f7001..c501..9000"

# --- scriptor: any bytes ----------------------------------------------------------------------------------------------

check 'scriptor: SELECT of every application' answers script "$(select_of $CR)" "$(fci $CR)9000" \
    "$(select_of $AKA)" "$(fci $AKA)9000" "$(select_of $IDENTITY)" "$(length_fci)9000" "$(select_of f0544150444f4f527e)" 6a82 \
    00A4040000 "${MANAGER_FCI}9000" 80CA006600 "6624${RECOGNITION}9000"
check 'scriptor: extended lengths' answers script "00A40400000009${CR}0000" "$(fci $CR)9000"
check 'scriptor: command chaining, and a chain broken off' answers script \
    10A4040005F054415044 9000 00A40400044F4F520100 "$(fci $CR)9000" 10A4040005F054415044 9000 80880000 6883 \
    "$(select_of $AKA)" "$(fci $AKA)9000"
check 'scriptor: what is no APDU' answers script 00A404 6700 00A4040009F0 6700 808800002C0000 6700 00A40400000009F0 6700 \
    00A404000000000000 6700
check 'scriptor: class, channel, secure messaging, instruction, P1-P2, length' answers script "$(select_of $CR)" "$(fci $CR)9000" \
    A0880000 6e00 FFFFFFFF 6e00 FFCA000000 6e00 81880000 6881 84880000 6882 80FE0000 6d00 80880100 6a86 8088000001FF 6700 \
    00C0000010 6985 0070000001 6881 00A4000C02A000 6a86
zeros=$(printf '0%.0s' {1..88})
check 'scriptor: a proof that is wrong spends the RP' answers script "$(select_of $CR)" "$(fci $CR)9000" \
    "808800002C${zeros}00" 6982 "808800002C${zeros}00" 6985 803C000000 6700 803C00000100 6a80 803C000001FF 6a80 803C00000104 9000
check 'scriptor: a reset deselects' answers script "$(select_of $CR)" "$(fci $CR)9000" RESET ok:3b80800101 \
    "808800002C${zeros}00" 6e00
check 'the phone is as it was after all this' phone_is_well
