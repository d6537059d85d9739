"""Both checklists, and how a case is judged.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code.
"""
import aliro_rdr
import aliro_rdr_more
import aliro_ud
import aliro_ud_bytes
import aliro_ud_certificates
import aliro_ud_more
import aliro_ud_neg

UD = aliro_ud.CASES + aliro_ud_neg.CASES + aliro_ud_more.CASES + aliro_ud_certificates.CASES + aliro_ud_bytes.CASES
RDR = aliro_rdr.CASES + aliro_rdr_more.CASES


def verdict(case, context, then_clean=True):
    """None when the case held and the next tap was clean, else why not."""
    try:
        case.run(context)
        if then_clean:
            context.clean()
        return None
    except Exception as e:             # whatever it is, the case did not hold
        return "%s: %s" % (type(e).__name__, e)
