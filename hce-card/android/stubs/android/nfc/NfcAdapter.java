package android.nfc;

import android.content.Context;

public final class NfcAdapter {
    private NfcAdapter() {
    }

    public static NfcAdapter getDefaultAdapter(Context context) {
        return null;
    }

    public boolean isEnabled() {
        return false;
    }
}
