package android.nfc.cardemulation;

import android.app.Service;
import android.os.Bundle;
import java.util.function.Consumer;

/** The base of a card in software. Here, {@link #field} is where its answers go; on a phone, that is the system's NFC service. */
public abstract class HostApduService extends Service {
    public static final int DEACTIVATION_LINK_LOSS = 0;
    public static final int DEACTIVATION_DESELECTED = 1;

    /** Not Android's: who is told of the answers. */
    public volatile Consumer<byte[]> field;

    public abstract byte[] processCommandApdu(byte[] apdu, Bundle extras);

    public abstract void onDeactivated(int reason);

    public final void sendResponseApdu(byte[] response) {
        field.accept(response);
    }
}
