. "$(dirname "$0")/lib.sh"
need_peers
in_private_pcscd "$@"
make_site --phones 2
me=(--phone-id "$PHONE_ID" --k-ph "$K_PH")
keys=(--lock-id "$LOCK_ID" "${me[@]}")
for i in 1 2 3; do
date +%s.%N
our_phone --retap
date +%s.%N
at_our_phone cr_lock.py "${keys[@]}"; echo $TAP
date +%s.%N
reader_is empty
date +%s.%N
at_our_phone cr_lock.py "${keys[@]}"; echo $TAP
date +%s.%N
cp $WORK/phone.log $WORK/p1.log
our_phone
cat $WORK/p1.log
echo --; cat $WORK/phone.log $WORK/phone.err
date +%s.%N
timeout 5 pcsc_scan -c
ss -tnp 2>/dev/null| grep $VPCD_PORT
done
