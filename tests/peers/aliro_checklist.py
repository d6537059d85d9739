"""Both checklists, and how a case is judged.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code.
"""
import aliro_rdr
import aliro_rdr_last
import aliro_rdr_more
import aliro_rdr_status
import aliro_ud
import aliro_ud_bytes
import aliro_ud_certificates
import aliro_ud_last
import aliro_ud_more
import aliro_ud_neg

UD = [case for part in (aliro_ud, aliro_ud_neg, aliro_ud_more, aliro_ud_certificates, aliro_ud_bytes, aliro_ud_last) for case in part.CASES]
RDR = [case for part in (aliro_rdr, aliro_rdr_more, aliro_rdr_status, aliro_rdr_last) for case in part.CASES]


def verdict(case, context, then_clean=True):
    """None when the case held and the next tap was clean, else why not."""
    try:
        case.run(context)
        if then_clean:
            context.clean()
        return None
    except Exception as e:             # whatever it is, the case did not hold
        return "%s: %s" % (type(e).__name__, e)
