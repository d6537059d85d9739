package org.tapdoor.bridge;

import android.nfc.cardemulation.HostApduService;
import android.os.Bundle;

/**
 * The phone in the field: each C-APDU goes to the desk, and what the desk says goes back.
 *
 * Android calls these methods on the main thread and gives the next command only when the last is answered. So nothing here waits: null says that
 * the answer will come by sendResponseApdu, from the {@link Worker}.
 */
public final class BridgeService extends HostApduService {
    /** File or application not found: what a phone without this app says. */
    private static final byte[] NOT_FOUND = {0x6A, (byte) 0x82};
    /** Wrong length. */
    private static final byte[] WRONG_LENGTH = {0x67, 0x00};

    private Settings settings;
    private Worker worker;

    @Override
    public void onCreate() {
        super.onCreate();
        settings = new Settings(this);
        worker = new Worker(this, settings);
        worker.start();
    }

    @Override
    public byte[] processCommandApdu(byte[] apdu, Bundle extras) {
        if (!settings.isOn()) {
            return NOT_FOUND;
        }
        if (apdu == null || apdu.length < 4 || apdu.length > Desk.MAX_BODY) {
            return WRONG_LENGTH;
        }
        worker.command(apdu);
        return null;
    }

    /** The phone left the field, or the reader selected another app: the card on the desk loses its power. */
    @Override
    public void onDeactivated(int reason) {
        worker.fieldGone();
    }

    @Override
    public void onDestroy() {
        worker.end();
        super.onDestroy();
    }
}
