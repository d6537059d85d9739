import java.io.File;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.tapdoor.bridge.BridgeService;

/**
 * Android's NFC service in miniature, around the app's own service class: it routes by the AIDs of apduservice.xml, gives one command at a time, and
 * tells when the field is gone. One thread uses it, in the place of the app's main thread.
 */
final class Nfc {
    static final byte[] NOT_FOUND = {0x6A, (byte) 0x82};
    static final byte[] UNKNOWN_ERROR = {0x6F, 0x00};
    /** What Android itself answers when it is asked whether it has host card emulation. */
    private static final String LIVENESS = "A000000476416E64726F6964484345";
    private static final byte[] ALIVE = {0x14, (byte) 0x81, 0x00, 0x00, (byte) 0x90, 0x00};

    /** Answers that came when none was awaited. There must be none: Android would give them to whoever is in the field then. */
    final AtomicInteger late = new AtomicInteger();

    private final BridgeService service = new BridgeService();
    private final Set<String> aids = new HashSet<>();
    private final LinkedBlockingQueue<byte[]> answers = new LinkedBlockingQueue<>();
    private volatile boolean awaited;
    private boolean active;

    Nfc(String apduservice, String host, int port) throws Exception {
        Matcher filter = Pattern.compile("<aid-filter\\s+android:name=\"([0-9A-F]+)\"").matcher(new String(Files.readAllBytes(Paths.get(apduservice))));
        while (filter.find()) {
            aids.add(filter.group(1));
        }
        service.field = response -> {
            if (awaited) {
                awaited = false;
                answers.add(response);
            } else {
                late.incrementAndGet();
            }
        };
        service.onCreate();
        desk(host, port);
    }

    /** Where the desk is, as set on the app's screen. */
    void desk(String host, int port) {
        service.getSharedPreferences("bridge", 0).edit().putString("host", host).putInt("port", port).apply();
    }

    void on(boolean on) {
        service.getSharedPreferences("bridge", 0).edit().putBoolean("on", on).apply();
    }

    /** An APDU from the field; null if the app has not answered within ten seconds. */
    byte[] transceive(byte[] apdu) throws InterruptedException {
        send(apdu);
        return answer(10000);
    }

    /** Gives the command to whom it belongs; {@link #answer} has what comes of it. */
    void send(byte[] apdu) {
        if (apdu.length >= 5 && apdu[1] == (byte) 0xA4 && apdu[2] == 0x04) {
            String aid = hex(apdu, 5, Math.min(apdu.length, 5 + (apdu[4] & 0xFF)));
            if (aids.contains(aid)) {
                active = true;
            } else {
                if (active) {
                    service.onDeactivated(BridgeService.DEACTIVATION_DESELECTED);
                }
                active = false;
                answers.add(aid.equals(LIVENESS) ? ALIVE : NOT_FOUND);
                return;
            }
        } else if (!active) {
            answers.add(UNKNOWN_ERROR);
            return;
        }
        awaited = true;
        byte[] now = service.processCommandApdu(apdu, null);
        if (now != null) {
            awaited = false;
            answers.add(now);
        }
    }

    byte[] answer(long milliseconds) throws InterruptedException {
        return answers.poll(milliseconds, TimeUnit.MILLISECONDS);
    }

    /** The field is gone. */
    void fieldGone() {
        awaited = false;
        if (active) {
            service.onDeactivated(BridgeService.DEACTIVATION_LINK_LOSS);
        }
        active = false;
        answers.clear();
    }

    /** The end of the service. */
    void end() {
        service.onDestroy();
    }

    static String hex(byte[] bytes, int from, int to) {
        StringBuilder text = new StringBuilder();
        for (int i = from; i < to; i++) {
            text.append(String.format(Locale.ROOT, "%02X", bytes[i]));
        }
        return text.toString();
    }

    static byte[] bytes(String hex) {
        byte[] bytes = new byte[hex.length() / 2];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
        }
        return bytes;
    }

    /** What this process holds, as fields of a JSON object: live threads, open sockets, bytes of heap in use after a collection. */
    static String holdings() {
        System.gc();
        System.gc();
        Runtime runtime = Runtime.getRuntime();
        return String.format(Locale.ROOT, "\"threads\":%d,\"sockets\":%d,\"heap\":%d", Thread.getAllStackTraces().size(), sockets(),
            runtime.totalMemory() - runtime.freeMemory());
    }

    static int sockets() {
        int count = 0;
        File[] all = new File("/proc/self/fd").listFiles();
        for (File file : all == null ? new File[0] : all) {
            try {
                count += Files.readSymbolicLink(file.toPath()).toString().startsWith("socket:") ? 1 : 0;
            } catch (java.io.IOException e) {
                // Closed meanwhile.
            }
        }
        return count;
    }
}
