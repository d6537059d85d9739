import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.Socket;
import java.util.concurrent.ThreadLocalRandom;
import jdk.net.ExtendedSocketOptions;

/**
 * The bridge app in the field of a virtual reader: a card of vpcd, whose answers come from the app's service. FF is for the reader, and is answered
 * here as an ACR122U would.
 *
 *     java Field VPCD-PORT DESK-PORT APDUSERVICE-XML
 *
 * Prints JSON events: ready; apdu, before each goes to the app, if the property tapdoor.trace is yes; unanswered, if the app owes an answer; holdings,
 * at the first tap and every 100.
 */
final class Field {
    private static final byte[] ATR = Nfc.bytes("3B80800101");
    private static final boolean TRACE = "yes".equals(System.getProperty("tapdoor.trace"));

    private Field() {
    }

    public static void main(String[] arguments) throws Exception {
        Nfc nfc = new Nfc(arguments[2], "127.0.0.1", Integer.parseInt(arguments[1]));
        System.out.println("{\"event\":\"ready\"}");
        int[] taps = {0};
        int vain = 0;
        while (true) {
            try (Socket socket = new Socket("127.0.0.1", Integer.parseInt(arguments[0]))) {
                socket.setTcpNoDelay(true);
                vain = 0;
                serve(socket, nfc, taps);
            } catch (IOException e) {
                // No reader yet, or it hung up; none for a minute: its suite has died.
                if (++vain > 3000) {
                    System.exit(1);
                }
                Thread.sleep(20);
            }
            nfc.fieldGone();
        }
    }

    private static void serve(Socket socket, Nfc nfc, int[] taps) throws IOException, InterruptedException {
        DataInputStream in = new DataInputStream(socket.getInputStream());
        OutputStream out = socket.getOutputStream();
        boolean used = false;
        byte[] uid = another();
        while (true) {
            // Else the two writes of Debian's vpcd cost 44 ms: the option holds for a moment only.
            socket.setOption(ExtendedSocketOptions.TCP_QUICKACK, true);
            byte[] body = new byte[in.readUnsignedShort()];
            socket.setOption(ExtendedSocketOptions.TCP_QUICKACK, true);
            in.readFully(body);
            if (body.length == 1 && body[0] == 4) {
                send(out, ATR);
            } else if (body.length == 1) {
                nfc.fieldGone();
                uid = another();
                if (used) {
                    used = false;
                    count(nfc, taps);
                }
            } else if (body.length > 1) {
                if (body[0] == (byte) 0xFF) {
                    send(out, reader(body, uid));
                    continue;
                }
                used = true;
                if (TRACE) {
                    System.out.println("{\"event\":\"apdu\",\"c\":\"" + Nfc.hex(body, 0, Math.min(body.length, 5)) + "\"}");
                }
                byte[] response = nfc.transceive(body);
                if (response == null) {
                    System.out.println("{\"event\":\"unanswered\",\"c\":\"" + Nfc.hex(body, 0, Math.min(body.length, 5)) + "\"}");
                    response = Nfc.UNKNOWN_ERROR;
                }
                send(out, response);
            }
        }
    }

    /** A UID as Android phones have it: 08 and three random bytes, another one at every activation. */
    private static byte[] another() {
        byte[] uid = new byte[4];
        ThreadLocalRandom.current().nextBytes(uid);
        uid[0] = 0x08;
        return uid;
    }

    /** What the reader answers itself: UID and ATS. The ATS is one that a phone might have. */
    private static byte[] reader(byte[] command, byte[] uid) {
        String hex = Nfc.hex(command, 0, command.length);
        if (hex.equals("FFCA000000")) {
            return Nfc.bytes(Nfc.hex(uid, 0, uid.length) + "9000");
        }
        return Nfc.bytes(hex.equals("FFCA010000") ? "05788070029000" : "6A81");
    }

    private static void count(Nfc nfc, int[] taps) {
        taps[0]++;
        if (taps[0] == 1 || taps[0] % 100 == 0) {
            System.out.println("{\"event\":\"holdings\",\"taps\":" + taps[0] + "," + Nfc.holdings() + ",\"late\":" + nfc.late.get() + "}");
        }
    }

    private static void send(OutputStream out, byte[] body) throws IOException {
        byte[] message = new byte[2 + body.length];
        message[0] = (byte) (body.length >> 8);
        message[1] = (byte) body.length;
        System.arraycopy(body, 0, message, 2, body.length);
        out.write(message);
    }
}
