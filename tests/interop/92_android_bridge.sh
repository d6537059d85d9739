#!/usr/bin/env bash
# The Android bridge: its APK, and its service class, unmodified, on the JVM: in the field of pcscd's virtual reader, with our phone on the desk.
# No Android runs here: docs/real-phone.md says what that leaves untried.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers
for tool in java javac aapt apksigner zipalign smali; do need "$tool" "see scripts/install-deps android"; done
in_private_pcscd "$@"
make_site
app=$ROOT/hce-card/android
aids=$app/src/main/res/xml/apduservice.xml

# --- the APK -----------------------------------------------------------------------------------------------------------

apk=$WORK/apk/tapdoor-bridge.apk
check 'APK: builds from Debian packages' "$app/make-apk" "$WORK/apk" || exit 1
check 'APK: apksigner verifies it for Android 5 and later' apksigner verify --min-sdk-version 21 --Werr "$apk"
schemes() { # the newest that all of them know, and the one that Android 5 and 6 need
    apksigner verify --verbose --min-sdk-version 21 "$apk" >"$WORK/schemes" && grep -q 'v1 scheme.*true' "$WORK/schemes" &&
        grep -q 'v2 scheme.*true' "$WORK/schemes" && grep -q 'v3 scheme.*true' "$WORK/schemes"
}
check 'APK: signed by schemes 1, 2 and 3' schemes
aapt dump badging "$apk" >"$WORK/badging" 2>&1
badging() { grep -qF "$1" "$WORK/badging" || { cat "$WORK/badging" && echo "no $1" && return 1; }; }
check 'APK: aapt reads its name' badging "package: name='org.tapdoor.bridge'"
check 'APK: a targetSdk that current Android installs' badging "targetSdkVersion:'36'"
check 'APK: one screen' badging "launchable-activity: name='org.tapdoor.bridge.BridgeActivity'"
check 'APK: wants host card emulation' badging "uses-feature: name='android.hardware.nfc.hce'"
permissions() { [ "$(grep -o "uses-permission: name='[^']*'" "$WORK/badging" | grep -o '[A-Z]*.$' | tr -d "'" | sort | tr '\n' ' ')" = 'INTERNET NFC ' ]; }
check 'APK: asks for NFC and network and for nothing else' permissions
service() {
    aapt dump xmltree "$apk" AndroidManifest.xml >"$WORK/manifest"
    grep -q 'android.permission.BIND_NFC_SERVICE' "$WORK/manifest" && grep -q 'action.HOST_APDU_SERVICE' "$WORK/manifest" &&
        grep -q 'host_apdu_service' "$WORK/manifest"
}
check 'APK: a service that only the NFC system may bind' service
group() {
    aapt dump xmltree "$apk" res/xml/apduservice.xml >"$WORK/aids"
    [ "$(grep -c 'E: aid-group' "$WORK/aids")" = 1 ] && grep -q 'category.*="other"' "$WORK/aids" &&
        [ "$(grep -o '"[0-9A-F]*" (Raw' "$WORK/aids" | tr -d '"' | cut -d ' ' -f 1 | sort | tr '\n' ' ')" = \
            'A000000909ACCE5501 A000000909ACCE5502 F0544150444F4F5201 F0544150444F4F5202 F0544150444F4F520F ' ]
}
check 'APK: our AIDs and those of Aliro, one group, category other' group
plain_table() { "$PEER_PYTHON" -c 'import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).getinfo("resources.arsc").compress_type)' "$apk" && zipalign -c -p 4 "$apk"; }
check 'APK: the table of resources as Android 11 wants it, all aligned' plain_table

# --- the service on the JVM --------------------------------------------------------------------------------------------

mkdir "$WORK/stubs" "$WORK/app" "$WORK/harness"
compile() {
    # shellcheck disable=SC2046
    javac -Xlint:-options --release 8 -d "$WORK/stubs" $(find "$app/stubs" -name '*.java') &&
        javac -Xlint:-options --release 8 -cp "$WORK/stubs" -d "$WORK/app" $(find "$app/src/main/java" -name '*.java') &&
        javac -cp "$WORK/app:$WORK/stubs" -d "$WORK/harness" "$ROOT"/tests/android/*.java
}
check 'JVM: the service compiles against our own stand-in for Android' compile || exit 1
jvm=(java -Xmx128m -XX:+UseSerialGC -cp "$WORK/harness:$WORK/app:$WORK/stubs")
# Bad desks, while the rest goes on.
start desks "${jvm[@]}" Desks "$aids"

# The desk, always at the same port.
desk() {
    start desk "$TAPDOOR" --json phone --config "$SITE/phone.toml" --serve "tcp-listen:127.0.0.1:${DESK_PORT:-0}" "$@"
    local line
    line=$(wait_event desk ready) || return 1
    DESK_PORT=$(grep -Eo '"listen":"[^"]*' <<<"$line" | grep -Eo '[0-9]+$')
}
# The phone with the app comes into the field.
in_field() {
    stop field
    reader_is empty
    start field "${jvm[@]}" -Dtapdoor.trace=yes "$@" Field "$VPCD_PORT" "$DESK_PORT" "$aids"
    reader_is present
}
# The lock takes the phone that is in the field.
lock_begins() { start lock timeout --kill-after=5 60 "$TAPDOOR" --json lock --config "$SITE/lock.toml" --reader "pcsc:$READER" --once "$@"; }
lock_ends() {
    join lock 60
    STATUS=$?
    cat "$WORK/lock.err" >&2
    TAP=$(last lock tap)
}
lock_taps() { lock_begins "$@" && lock_ends; }
# Behind hundreds of taps within seconds AKA's sequence number is ahead of the clock, and the lock needs one more APDU.
opened() { [ "$STATUS" = 0 ] && has "$TAP" verdict=open reason=null "phone=$MASKED" 'apdus<=3' "$@"; }

if ! desk; then
    not_ok 'the desk' "$(tail -n 1 "$WORK/desk.err")"
    exit 1
fi
in_field
lock_taps --method challenge-response
check 'bridge: opens by challenge-response through pcscd' opened method=challenge-response apdus=2
verdict() { has "$(wait_event desk verdict)" verdict=open; }
check 'bridge: the phone on the desk learns the verdict' verdict
lock_taps --method aka
check 'bridge: opens by AKA through pcscd, the same phone in the same field' opened method=aka apdus=2
lock_taps --method aliro
check 'bridge: opens by Aliro through pcscd' has "$TAP" verdict=open reason=null method=aliro "phone=$MASKED"

# --- probe and doctor, in front of the same phone --------------------------------------------------------------------

probe() {
    timeout --kill-after=5 60 "$TAPDOOR" --json probe --reader "$@" >"$WORK/probe.log" 2>"$WORK/probe.err" </dev/null
    STATUS=$?
    cat "$WORK/probe.err" >&2
}
probe "pcsc:$READER" --record "$WORK/probe.tape"
probed() { [ "$STATUS" = 0 ] && has "$(last probe "$1")" "${@:2}"; }
check 'probe: a contactless card, by its ATR' probed atr kind=contactless atr=3b80800101
check 'probe: a random UID' probed uid kind=random 'uid~^08[0-9a-f]{6}$'
check 'probe: the ATS decoded' probed ats ats=0578807002 frame=256 'waiting_ms>38' 'waiting_ms<39'
check 'probe: Android is alive' probed android answers=true data=14810000
check 'probe: answer times' probed times 'answers>60' 'p50_ms>0'
check 'probe: an Android phone with applications of ours' probed summary android=true 'ours>=3'
there() { grep '"event":"application"' "$WORK/probe.log" | grep '"state":"present"' | grep -Eo '"aid":"[^"]*' | cut -d '"' -f 4 | tr '\n' ' '; }
only_routed() { [[ "$(there)" =~ ^f0544150444f4f5201\ f0544150444f4f5202\ f0544150444f4f520f\ (a000000909acce550[12]\ )*$ ]] || { there && return 1; }; }
check 'probe: nothing else gets past Android' only_routed
# Times aside.
said() { grep -v -e '"event":"ready"' -e '"event":"times"' "$WORK/probe.log" | sed 's/"\([a-z0-9]*_\)\{0,1\}ms":[0-9.]*//g'; }
said >"$WORK/probe.live"
probe "tape:$WORK/probe.tape"
replayed() { said | diff "$WORK/probe.live" -; }
check 'probe: its tape, probed, says the same' replayed

"$TAPDOOR" --json doctor --record "$WORK/machine.json" >"$WORK/doctor.log" 2>"$WORK/doctor.err"
finding() { grep "\"check\":\"$1\"" "$WORK/doctor.log"; }
well() {
    has "$(finding pcscd)" state=ok && has "$(finding permission)" state=ok && has "$(finding readers)" 'found~ACR122U' &&
        has "$(last doctor summary)" problems=0
}
check 'doctor: sees the reader of this pcscd, and nothing in the way' well
PCSCLITE_CSOCK_NAME=$WORK/nobody "$TAPDOOR" --json doctor >"$WORK/doctor.log" 2>>"$WORK/doctor.err"
STATUS=$?
stopped() { [ "$STATUS" = 1 ] && has "$(finding pcscd)" state=problem 'cure~pcscd' && has "$(last doctor summary)" ok=false; }
check 'doctor: a pcscd that does not run is a problem with a cure' stopped
"$TAPDOOR" --json doctor --recorded "$WORK/machine.json" >"$WORK/doctor.log" 2>>"$WORK/doctor.err"
check 'doctor: a recording of this machine says what the machine said' well

# --- the desk dies in mid-tap ------------------------------------------------------------------------------------------

stop desk
desk --lab silent=2 || not_ok 'the silent desk' "$(tail -n 1 "$WORK/desk.err")"
in_field
lock_begins --method challenge-response
app_has() { wait_event field apdu 2 | grep -q '"c":"8088'; }
check 'bridge: AUTHENTICATE is on its way' app_has
stop desk KILL
lock_ends
refused() { [ "$STATUS" = 1 ] && has "$TAP" verdict!=open "$@"; }
check 'bridge: the desk killed in mid-tap: refused, by 6F00 in time' refused reason=card-error
lock_taps --method challenge-response
check 'bridge: no desk at all: refused, by 6F00 in time' refused reason=card-error
desk || not_ok 'the desk again' "$(tail -n 1 "$WORK/desk.err")"
lock_taps --method challenge-response
check 'bridge: the desk is back: the next tap opens, by itself' opened

# --- many taps ---------------------------------------------------------------------------------------------------------

taps=1000
many() {
    timeout --kill-after=5 100 "$PEER_PYTHON" "$HERE/many_taps.py" --reader "$READER" --lock-id "$LOCK_ID" --phone-id "$PHONE_ID" --k-ph "$K_PH" --count $taps \
        >"$WORK/many.log"
}
in_field -Dtapdoor.trace=no
check "bridge: $taps taps through pcscd, both methods in turn: all open" many
echo "# bridge: $(last many taps)"
first=$(wait_event field holdings 3) last=$(wait_event field holdings $((taps / 100 + 1)))
number() { grep -Eo "\"$2\":[0-9]+" <<<"$1" | cut -d : -f 2; }
same() {
    [ "$(number "$first" "$1")" = "$(number "$last" "$1")" ] || { printf '%s\n%s\n' "$first" "$last" && return 1; }
}
check "bridge: as many threads after $taps taps as after 200" same threads
check "bridge: as many sockets after $taps taps as after 200" same sockets
heap() {
    [ "$(($(number "$last" heap) - $(number "$first" heap)))" -lt 262144 ] || { printf '%s\n%s\n' "$first" "$last" && return 1; }
}
check "bridge: the heap has grown by less than 256 KiB from tap 200 to tap $taps" heap
check 'bridge: no answer came when none was awaited, and none was owed' has "$last" late=0
none_owed() { [ "$(events field unanswered)" = 0 ] && [ ! -s "$WORK/field.err" ]; }
check 'bridge: the app answered every command and complained of nothing' none_owed
echo "# bridge: after 200 taps $first"
echo "# bridge: after $taps taps $last"

# --- bad desks ---------------------------------------------------------------------------------------------------------

join desks 60
ended=$?
cat "$WORK/desks.log"
cat "$WORK/desks.err" >&2
all_desks() { [ "$ended" = 0 ] && grep -q '^ok desks: the service ends' "$WORK/desks.log"; }
check 'bad desks: all of them were met' all_desks

# --- the very code that is in the APK ----------------------------------------------------------------------------------

# Debian has no Android to run it, but a translator back: what the phone will run, on the JVM.
if command -v enjarify >/dev/null; then
    back() { # under a Python that has it, which is the distribution's
        (cd "$WORK" && PATH=/usr/bin:/bin enjarify --force -o "$WORK/back.jar" "$apk")
    }
    check 'APK: its code, translated back' back
    stop field
    jvm=(java -Xmx128m -XX:+UseSerialGC -cp "$WORK/harness:$WORK/back.jar:$WORK/stubs")
    in_field
    for method in challenge-response aka; do
        lock_taps --method $method
        check "APK: its code opens by $method through pcscd" opened method=$method
    done
    from_apk() { "${jvm[@]}" Desks "$aids" brief >"$WORK/back.log" && ! grep '^not ok' "$WORK/back.log"; }
    check 'APK: its code and bad desks' from_apk
else
    skip 'APK: its code on the JVM' 'enjarify is missing (see scripts/install-deps android)'
fi

# --- what the bridge costs ---------------------------------------------------------------------------------------------

stop field
stop desk
start desk "$TAPDOOR" --json phone --config "$SITE/phone.toml" --serve tcp-listen:127.0.0.1:0 --serve tcp-listen:127.0.0.1:0
wait_event desk ready 2 >/dev/null
jvm=(java -Xmx128m -XX:+UseSerialGC -cp "$WORK/harness:$WORK/app:$WORK/stubs")
mapfile -t ports < <(grep -Eo '"listen":"[^"]*' "$WORK/desk.log" | grep -Eo '[0-9]+$')
latency() { "${jvm[@]}" Latency "${ports[@]}" "$aids" 4000 >"$WORK/latency.log"; }
check 'bridge: measured' latency
# Shown, not judged: this machine may be busy. The figure to reach is less than 1000 us at p50.
echo "# bridge: what it adds over loopback: $(last latency latency)"
