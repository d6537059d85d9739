package android.nfc.cardemulation;

import android.app.Activity;
import android.content.ComponentName;
import android.nfc.NfcAdapter;

public final class CardEmulation {
    private CardEmulation() {
    }

    public static CardEmulation getInstance(NfcAdapter adapter) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public boolean setPreferredService(Activity activity, ComponentName service) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public boolean unsetPreferredService(Activity activity) {
        throw new UnsupportedOperationException("there is no screen here");
    }
}
