#!/usr/bin/env bash
# Challenge-response: a Python phone at our lock, and our phone at a Python lock, through pcscd.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers
in_private_pcscd "$@"
make_site --phones 2

# --- a Python phone at our lock --------------------------------------------------------------------------------------

me=(--phone-id "$PHONE_ID" --k-ph "$K_PH")
phone_at_our_lock() { at_our_lock cr_phone.py --trace --taps 1 "$@"; }
cr=(-- --once --method challenge-response)

phone_at_our_lock "${me[@]}" "${cr[@]}"
opened() { [ "$STATUS" = 0 ] && has "$TAP" verdict=open reason=null method=challenge-response "phone=$MASKED" apdus=2 downloaded=false 'ms.total>0'; }
check 'Python phone, our lock: opens' opened
check 'Python phone, our lock: the phone believes it, because it is sealed' has "$(last card control-flow)" reason=opened sealed=true
traffic=$(last card traffic)
check 'Python phone, our lock: exactly 2 APDUs, at most 160 bytes' has "$traffic" apdus=2 'bytes<=160'
echo "# challenge-response: $traffic"
clock() { has "$(last card authenticated)" "lock=$LOCK_ID" "clock>=$(($(date +%s) - 60))" "clock<=$(date +%s)"; }
check 'Python phone, our lock: the phone learns lock and clock' clock

at_our_lock cr_phone.py --trace --taps 3 "${me[@]}" -- --count 3 --method challenge-response
fresh() {
    [ "$STATUS" = 0 ] && [ "$(events lock tap)" = 3 ] && [ "$(events card authenticated)" = 3 ] || return 1
    # RL, the first 16 bytes of AUTHENTICATE, is another every time.
    local rl
    rl=$(grep -Eo '"c": "808800002c[0-9a-f]{32}' "$WORK/card.log" | sort -u | wc -l)
    [ "$rl" = 3 ] || { echo "$rl different RL in 3 taps" && return 1; }
}
check 'Python phone, our lock: three taps of one lock process, RL new each time' fresh

# refused_at_our_lock REASON APDUS CONTROL-FLOW CONDITION...: CONTROL-FLOW is how the phone learns it: sealed, plain, none, or
# deaf: told plainly, though its application is not selected.
refused_at_our_lock() {
    local reason=$1 apdus=$2 flow=$3
    shift 3
    [ "$STATUS" = 1 ] || { echo "status $STATUS: $TAP" && return 1; }
    has "$TAP" verdict=refused "reason=$reason" "apdus=$apdus" "$@" || return 1
    case $flow in
    sealed) has "$(last card control-flow)" "reason=$reason" sealed=true ;;
    plain) has "$(last card control-flow)" "reason=$reason" sealed=false ;;
    deaf) grep -q '"c": "803c0000010a", "r": "6985"' "$WORK/card.log" || { cat "$WORK/card.log" && return 1; } ;;
    none) card_got "$apdus" ;;
    esac
}

phone_at_our_lock "${me[@]}" --wrong-key "${cr[@]}"
check 'Python phone, our lock: wrong key' refused_at_our_lock wrong-key 2 plain "phone=$MASKED"
stranger=$(printf '5a%.0s' {1..16})
phone_at_our_lock --phone-id "$PHONE_ID" --k-ph "$stranger" "${cr[@]}"
check 'Python phone, our lock: unknown phone, and nothing more is sent' refused_at_our_lock unknown-phone 1 none phone=null
phone_at_our_lock --phone-id "$PHONE_ID" --k-ph "$stranger" -- --once
check 'Python phone, our lock: unknown phone, with more methods configured' refused_at_our_lock unknown-phone 1 none phone=null
phone_at_our_lock "${me[@]}" --not-personalised "${cr[@]}"
check 'Python phone, our lock: not personalised (6985)' refused_at_our_lock card-error 1 deaf phone=null
phone_at_our_lock "${me[@]}" --aid F0544150444F4F5277 "${cr[@]}"
missing() { has "$TAP" verdict=refused reason=app-missing phone=null && [ -z "$(last card control-flow)" ]; }
check 'Python phone, our lock: application missing' missing

variant lock-user lock.toml 's/^weakest = .*/&\nrequire-user-authentication = true/'
CONFIG=$SITE/lock-user.toml phone_at_our_lock "${me[@]}" "${cr[@]}"
check 'Python phone, our lock: user authentication is required and was done' opened
CONFIG=$SITE/lock-user.toml phone_at_our_lock "${me[@]}" --no-user "${cr[@]}"
check 'Python phone, our lock: user authentication is required and was not done' refused_at_our_lock policy 2 sealed "phone=$MASKED"
phone_at_our_lock "${me[@]}" --no-user "${cr[@]}"
check 'Python phone, our lock: user authentication is not required' opened
variant lock-strict lock.toml 's/^weakest = .*/weakest = "aka"/'
CONFIG=$SITE/lock-strict.toml phone_at_our_lock "${me[@]}" "${cr[@]}"
check 'Python phone, our lock: weaker than the entry allows' refused_at_our_lock policy 1 plain "phone=$MASKED"
variant lock-ended lock.toml 's/^# not-after = .*/not-after = "2025-01-01T00:00:00Z"/'
CONFIG=$SITE/lock-ended.toml phone_at_our_lock "${me[@]}" "${cr[@]}"
check 'Python phone, our lock: the entry has ended' refused_at_our_lock not-entitled 1 plain "phone=$MASKED"
variant lock-later lock.toml 's/^# not-after = .*/not-after = "2099-01-01T00:00:00Z"/'
CONFIG=$SITE/lock-later.toml phone_at_our_lock "${me[@]}" "${cr[@]}"
check 'Python phone, our lock: the entry has not ended yet' opened
variant lock-other-aid lock.toml 's/^\[aka\]/[applications]\nchallenge-response = "F0544150444F4F5277"\n\n&/'
CONFIG=$SITE/lock-other-aid.toml phone_at_our_lock "${me[@]}" --aid F0544150444F4F5277 "${cr[@]}"
check 'Python phone, our lock: another AID on both sides' opened

rp=$(printf 'a5%.0s' {1..16})
at_our_lock cr_phone.py --trace --taps 2 "${me[@]}" --rp "$rp" -- --count 2 --method challenge-response
replayed() {
    [ "$STATUS" = 1 ] && has "$(grep '"event":"tap"' "$WORK/lock.log" | head -n 1)" verdict=open &&
        has "$TAP" verdict=refused reason=replay apdus=1 "phone=$MASKED" &&
        [ "$(events card control-flow)" = 1 ] && [ "$(events card authenticated)" = 1 ]
}
check 'Python phone, our lock: an RP used before is a replay, and nothing more is sent' replayed

bad_fci() { phone_at_our_lock "${me[@]}" --select-answer "$1" "${cr[@]}"; }
aid=8409f0544150444f4f5201 sixteen=$(printf '77%.0s' {1..16})
bad_fci "6f34${aid}a5278001028110${sixteen}8210${sixteen}9000"
check 'Python phone, our lock: another version' refused_at_our_lock card-error 1 deaf
bad_fci "6f22${aid}a5158001018110${sixteen}9000"
check 'Python phone, our lock: FCI without T' refused_at_our_lock card-error 1 deaf
bad_fci "6f34${aid}a5278001018110${sixteen}8210${sixteen:2}9000"
check 'Python phone, our lock: FCI cut off' refused_at_our_lock card-error 1 deaf
bad_fci 9000
check 'Python phone, our lock: no FCI at all' refused_at_our_lock card-error 1 deaf
bad_fci 6f00
check 'Python phone, our lock: SELECT answered 6F00' refused_at_our_lock card-error 1 deaf

bad_answer() { phone_at_our_lock "${me[@]}" --authenticate-answer "$1" "${cr[@]}"; }
twenty=$(printf '99%.0s' {1..20})
bad_answer reflect
check 'Python phone, our lock: the lock'"'"'s own proof sent back' refused_at_our_lock wrong-key 2 plain "phone=$MASKED"
bad_answer "${twenty}9000"
check 'Python phone, our lock: 20 bytes of rubbish' refused_at_our_lock wrong-key 2 plain "phone=$MASKED"
bad_answer "${twenty:2}9000"
check 'Python phone, our lock: 19 bytes' refused_at_our_lock card-error 2 plain "phone=$MASKED"
bad_answer 9000
check 'Python phone, our lock: no proof' refused_at_our_lock card-error 2 plain "phone=$MASKED"
bad_answer 6a80
check 'Python phone, our lock: AUTHENTICATE answered 6A80' refused_at_our_lock card-error 2 plain "phone=$MASKED"

# --- our phone at a Python lock --------------------------------------------------------------------------------------

keys=(--lock-id "$LOCK_ID" "${me[@]}")
# verdict_reaches VERDICT REASON: what our phone tells its user; it does so as soon as it knows.
verdict_reaches() {
    local line
    line=$(wait_event phone verdict "${VERDICTS:-1}") && has "$line" "verdict=$1" "reason=$2"
}
opens() { [ "$STATUS" = 0 ] && has "$TAP" verdict=open reason=opened "phone=$PHONE_ID" apdus=2 sealed=true control_flow=9000 "$@"; }
refused() { # REASON APDUS CONDITION...
    [ "$STATUS" = 1 ] && has "$TAP" verdict=refused "reason=$1" "apdus=$2" "${@:3}"
}

our_phone --retap
at_our_phone cr_lock.py "${keys[@]}"
first=$TAP
check 'our phone, Python lock: opens' opens flags=80000000
check 'our phone, Python lock: exactly 2 APDUs, at most 160 bytes' has "$TAP" apdus=2 'bytes<=160'
check 'our phone, Python lock: our phone believes it' verdict_reaches open null
learns() { has "$(wait_event phone authenticated)" "lock=$LOCK_ID" aid=f0544150444f4f5201 "clock>=$(($(date +%s) - 60))" "clock<=$(date +%s)"; }
check 'our phone, Python lock: our phone learns lock and clock' learns
reader_is empty
at_our_phone cr_lock.py "${keys[@]}"
check 'our phone, Python lock: the next tap opens too' opens
again() { has "$TAP" "rp!=$(grep -Eo '"rp": "[0-9a-f]*' <<<"$first" | cut -d '"' -f 4)"; }
check 'our phone, Python lock: with another RP' again

our_phone
at_our_phone cr_lock.py "${keys[@]}" --weakest 2
check 'our phone, Python lock: weaker than the entry allows' refused policy 1 control_flow=9000 sealed=false
check 'our phone, Python lock: our phone is told' verdict_reaches refused policy
at_our_phone cr_lock.py "${keys[@]}" --not-after 1735689600
check 'our phone, Python lock: the entry has ended' refused not-entitled 1 control_flow=9000
VERDICTS=2 check 'our phone, Python lock: our phone is told that too' verdict_reaches refused not-entitled
at_our_phone cr_lock.py "${keys[@]}" --wrong-key
check 'our phone, Python lock: a lock with a wrong key is refused (6982)' refused wrong-key 2 control_flow=9000 sealed=false
at_our_phone cr_lock.py --lock-id "$LOCK_ID" --phone-id "$PHONE_ID" --k-ph "$stranger"
check 'our phone, Python lock: unknown phone' refused unknown-phone 1 phone=null control_flow=null
at_our_phone cr_lock.py --lock-id 0102030405060708 "${me[@]}"
check 'our phone, Python lock: another lock of the site' opens
at_our_phone cr_lock.py "${keys[@]}" --require-user
check 'our phone, Python lock: user authentication is required and was done' opens flags=80000000

variant phone-nobody phone.toml 's/^user-authenticated = .*/user-authenticated = false/'
CONFIG=$SITE/phone-nobody.toml our_phone
at_our_phone cr_lock.py "${keys[@]}" --require-user
check 'our phone, Python lock: user authentication is required and was not done' refused policy 2 sealed=true control_flow=9000 flags=00000000
check 'our phone, Python lock: our phone believes that, sealed' verdict_reaches refused policy
at_our_phone cr_lock.py "${keys[@]}"
check 'our phone, Python lock: user authentication is not required' opens flags=00000000
our_phone --lab wrong-key
at_our_phone cr_lock.py "${keys[@]}"
check 'our phone, Python lock: our phone with a wrong key' refused wrong-key 2 "phone=$PHONE_ID" control_flow=9000
check 'our phone, Python lock: and it is told' verdict_reaches refused wrong-key
our_phone --lab missing=challenge-response
at_our_phone cr_lock.py "${keys[@]}"
check 'our phone, Python lock: application missing' refused app-missing 1 control_flow=null
variant phone-other-aid phone.toml 's/^\[identity\]/[aids]\nchallenge-response = "F0544150444F4F5277"\n\n&/'
CONFIG=$SITE/phone-other-aid.toml our_phone
at_our_phone cr_lock.py "${keys[@]}" --aid F0544150444F4F5277
check 'our phone, Python lock: another AID on both sides' opens

# Two of our phones, of which the lock lists one.
eval "$(peer site.py "$SITE" --phone 2 | sed 's/^/SECOND_/')"
CONFIG=$SITE/phone-2.toml our_phone
at_our_phone cr_lock.py "${keys[@]}"
check 'our second phone, Python lock: unknown there' refused unknown-phone 1 phone=null
at_our_phone cr_lock.py --lock-id "$LOCK_ID" --phone-id "$SECOND_PHONE_ID" --k-ph "$SECOND_K_PH"
second() { [ "$STATUS" = 0 ] && has "$TAP" verdict=open "phone=$SECOND_PHONE_ID" apdus=2 sealed=true; }
check 'our second phone, Python lock: opens where it is listed' second
