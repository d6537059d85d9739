import java.io.DataInputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.util.Arrays;
import java.util.Locale;

/**
 * What the bridge adds to each APDU: the same command through the app's service and straight to the phone, in turn.
 *
 *     java Latency DESK-PORT OTHER-DESK-PORT APDUSERVICE-XML COUNT
 */
final class Latency {
    private static final byte[] SELECT = Nfc.bytes("00A4040009F0544150444F4F520100");
    /** No application knows it: the phone's own time is as short as can be. */
    private static final byte[] COMMAND = Nfc.bytes("80FE000000");
    private static final int BATCH = 100;

    private Latency() {
    }

    public static void main(String[] arguments) throws Exception {
        Nfc nfc = new Nfc(arguments[2], "127.0.0.1", Integer.parseInt(arguments[0]));
        int count = Integer.parseInt(arguments[3]);
        long[] bridged = new long[count];
        long[] direct = new long[count];
        try (Socket socket = new Socket("127.0.0.1", Integer.parseInt(arguments[1]))) {
            socket.setTcpNoDelay(true);
            DataInputStream in = new DataInputStream(socket.getInputStream());
            OutputStream out = socket.getOutputStream();
            out.write(new byte[] {0, 1, 1});
            exchange(in, out, SELECT);
            nfc.transceive(SELECT);
            // The first half is for the compiler of the JVM to wake up.
            for (int n = -count; n < count; n += BATCH) {
                for (int i = n; i < n + BATCH; i++) {
                    long begun = System.nanoTime();
                    byte[] response = nfc.transceive(COMMAND);
                    long took = System.nanoTime() - begun;
                    if (response == null || response.length != 2) {
                        throw new IllegalStateException("the bridge does not answer");
                    }
                    if (i >= 0) {
                        bridged[i] = took;
                    }
                }
                for (int i = n; i < n + BATCH; i++) {
                    long begun = System.nanoTime();
                    exchange(in, out, COMMAND);
                    if (i >= 0) {
                        direct[i] = System.nanoTime() - begun;
                    }
                }
            }
        }
        nfc.end();
        long[] added = new long[count];
        for (int i = 0; i < count; i++) {
            added[i] = bridged[i] - direct[i];
        }
        System.out.println("{\"event\":\"latency\",\"apdus\":" + count + ",\"bridged_us\":" + percentiles(bridged) + ",\"direct_us\":"
            + percentiles(direct) + ",\"added_us\":" + percentiles(added) + "}");
    }

    private static String percentiles(long[] nanoseconds) {
        Arrays.sort(nanoseconds);
        return String.format(Locale.ROOT, "{\"p50\":%.1f,\"p99\":%.1f}", at(nanoseconds, 50), at(nanoseconds, 99));
    }

    private static double at(long[] sorted, int percent) {
        return sorted[(sorted.length - 1) * percent / 100] / 1000.0;
    }

    private static void exchange(DataInputStream in, OutputStream out, byte[] command) throws Exception {
        byte[] message = new byte[2 + command.length];
        message[1] = (byte) command.length;
        System.arraycopy(command, 0, message, 2, command.length);
        out.write(message);
        in.readFully(new byte[in.readUnsignedShort()]);
    }
}
