import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Arrays;
import java.util.Random;

/**
 * The bridge app and desks that misbehave. Each case: one tap at such a desk is answered 6F00 within the app's time-out, and the next tap, where the
 * desk is well again, is answered as it should.
 *
 *     java Desks APDUSERVICE-XML [brief]
 *
 * Briefly: without most of the cases that last until the time-out.
 */
final class Desks {
    private static final byte[] SELECT = Nfc.bytes("00A4040009F0544150444F4F520100");
    private static final byte[] OTHER = Nfc.bytes("80CA000000");
    private static final byte[] GOOD = Nfc.bytes("CAFE9000");
    private static final byte[] ATR = Nfc.bytes("00053B80800101");
    /** Worker.ANSWER_TIME, and as much again for a machine that is busy. */
    private static final long WITHIN = 4000;

    /** What a desk does with its first connection; null: as it should. */
    private interface Manner {
        void meet(Socket socket, DataInputStream in, OutputStream out) throws Exception;
    }

    private final ServerSocket server;
    private final Nfc nfc;
    /** Sockets of this process before there is a connection. */
    private final int listening;
    private volatile Manner next;
    private int failed;

    private Desks(String apduservice) throws Exception {
        server = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
        listening = Nfc.sockets();
        nfc = new Nfc(apduservice, "127.0.0.1", server.getLocalPort());
        Thread thread = new Thread(this::serve, "desk");
        thread.setDaemon(true);
        thread.start();
    }

    public static void main(String[] arguments) throws Exception {
        Desks desks = new Desks(arguments[0]);
        desks.run(arguments.length > 1);
        System.exit(desks.failed == 0 ? 0 : 1);
    }

    private void run(boolean brief) throws Exception {
        tapThatWorks("a desk that is well");
        String before = threadsAndSockets();
        bad("silent from the start", (socket, in, out) -> untilHungUp(in));
        if (!brief) {
            lasting();
        }
        Random random = new Random(1);
        for (int i = 0; i < 20; i++) {
            byte[] garbage = new byte[2 + random.nextInt(300)];
            random.nextBytes(garbage);
            // Whatever it is, it is not the length of what follows, and not a short ATR.
            garbage[0] = (byte) (1 + random.nextInt(255));
            bad("garbage for an ATR, " + i, (socket, in, out) -> {
                out.write(garbage);
                untilHungUp(in);
            });
            bad("garbage for an answer, " + i, (socket, in, out) -> {
                start(in, out);
                command(in);
                out.write(garbage);
                out.close();
            });
        }
        bad("an answer of no bytes", (socket, in, out) -> answer(in, out, new byte[] {0, 0}));
        bad("an answer of one byte", (socket, in, out) -> answer(in, out, new byte[] {0, 1, (byte) 0x90}));
        bad("two answers to one command", (socket, in, out) -> answer(in, out, Nfc.bytes("00029000000290006A82")));
        byte[] flood = new byte[70000];
        bad("70,000 bytes of zeros", (socket, in, out) -> answer(in, out, flood));
        byte[] full = flood.clone();
        Arrays.fill(full, (byte) 0xFF);
        bad("70,000 bytes that announce 65,535", (socket, in, out) -> answer(in, out, full));
        byte[] cut = flood.clone();
        cut[0] = (byte) (70000 >> 8);
        cut[1] = (byte) 70000;
        bad("70,000 bytes with their length cut to 16 bits", (socket, in, out) -> answer(in, out, cut));
        bad("70,000 bytes before it is asked", (socket, in, out) -> {
            out.write(full);
            untilHungUp(in);
        });
        bad("hangs up at once", (socket, in, out) -> { });
        bad("hangs up hard", (socket, in, out) -> socket.setSoLinger(true, 0));
        bad("hangs up at a command", (socket, in, out) -> {
            start(in, out);
            command(in);
        });
        bad("hangs up in the middle of an answer", (socket, in, out) -> answerAndLeave(in, out, new byte[] {0, 9, 1, 2}));
        bad("hangs up hard in the middle of an answer", (socket, in, out) -> {
            answerAndLeave(in, out, new byte[] {0, 9, 1, 2});
            socket.setSoLinger(true, 0);
        });
        fallsSilentBetweenTaps();
        restartedBetweenTaps();
        nobodyListens();
        noAddress();
        torn();
        switchedOff();
        longApdus();
        String after = threadsAndSockets();
        report("desks: as many threads and sockets as before", before.equals(after), before + " before, " + after + " after");
        report("desks: no answer ever came when none was awaited", nfc.late.get() == 0, nfc.late.get() + " did");
        nfc.end();
        for (int i = 0; i < 100 && running("tapdoor-bridge"); i++) {
            Thread.sleep(50);
        }
        report("desks: the service ends, and its thread with it", !running("tapdoor-bridge"), "it still runs");
    }

    /** Cases that end with the time-out. */
    private void lasting() throws Exception {
        bad("silent to a command", (socket, in, out) -> {
            start(in, out);
            untilHungUp(in);
        });
        bad("stops behind half a length", (socket, in, out) -> {
            start(in, out);
            command(in);
            out.write(0);
            untilHungUp(in);
        });
        bad("stops in the middle of an answer", (socket, in, out) -> {
            start(in, out);
            command(in);
            out.write(new byte[] {0, 9, 1, 2});
            untilHungUp(in);
        });
        bad("a byte now and then", (socket, in, out) -> {
            start(in, out);
            command(in);
            out.write(new byte[] {0, 100});
            for (int i = 0; i < 100; i++) {
                out.write(1);
                Thread.sleep(100);
            }
        });
    }

    // --- cases -----------------------------------------------------------------------------------------------------

    private void bad(String name, Manner manner) throws Exception {
        // Hung up here, so that the bad desk is the one that the app connects to.
        nfc.desk("127.0.0.1", 1);
        tap(SELECT);
        nfc.fieldGone();
        nfc.desk("127.0.0.1", server.getLocalPort());
        next = manner;
        long begun = System.nanoTime();
        byte[] response = tap(SELECT);
        long took = (System.nanoTime() - begun) / 1000000;
        boolean good = response != null && Arrays.equals(response, Nfc.UNKNOWN_ERROR) && took < WITHIN;
        String why = (response == null ? "no answer" : Nfc.hex(response, 0, Math.min(20, response.length))) + " after " + took + " ms";
        // Until the next SELECT the tap is over.
        byte[] rest = good ? nfc.transceive(OTHER) : null;
        if (good && !Arrays.equals(rest, Nfc.UNKNOWN_ERROR)) {
            good = false;
            why = "the tap went on";
        }
        nfc.fieldGone();
        byte[] again = tap(SELECT);
        if (good && !Arrays.equals(again, GOOD)) {
            good = false;
            why = "the next tap was not answered as it should";
        }
        nfc.fieldGone();
        report("desks: " + name + ": 6F00, and the next tap is well", good, why);
    }

    private void tapThatWorks(String name) throws Exception {
        byte[] first = tap(SELECT);
        byte[] second = nfc.transceive(OTHER);
        nfc.fieldGone();
        report("desks: " + name, Arrays.equals(first, GOOD) && Arrays.equals(second, GOOD), "not what it answers");
    }

    /** A connection that was good at the last tap and is dead at this one. */
    private void fallsSilentBetweenTaps() throws Exception {
        reconnect((socket, in, out) -> {
            start(in, out);
            command(in);
            out.write(message(GOOD));
            untilHungUp(in);
        });
        tapThatWorks("falls silent between two taps: the next tap connects anew");
    }

    private void restartedBetweenTaps() throws Exception {
        reconnect((socket, in, out) -> {
            start(in, out);
            command(in);
            out.write(message(GOOD));
        });
        tapThatWorks("started again between two taps: the next tap connects anew");
    }

    /** One good tap on a new connection, which goes as `manner` has it. */
    private void reconnect(Manner manner) throws Exception {
        nfc.desk("127.0.0.1", 1);
        tap(SELECT);
        nfc.fieldGone();
        nfc.desk("127.0.0.1", server.getLocalPort());
        next = manner;
        byte[] response = tap(SELECT);
        nfc.fieldGone();
        if (!Arrays.equals(response, GOOD)) {
            report("desks: a new connection", false, "not answered");
        }
    }

    private void nobodyListens() throws Exception {
        int port;
        try (ServerSocket free = new ServerSocket(0)) {
            port = free.getLocalPort();
        }
        nfc.desk("127.0.0.1", port);
        byte[] response = tap(SELECT);
        nfc.fieldGone();
        nfc.desk("127.0.0.1", server.getLocalPort());
        report("desks: nobody listens: 6F00", Arrays.equals(response, Nfc.UNKNOWN_ERROR), "something else");
        tapThatWorks("somebody listens again");
    }

    private void noAddress() throws Exception {
        nfc.desk("desk.example", 5);
        byte[] response = tap(SELECT);
        nfc.fieldGone();
        nfc.desk("127.0.0.1", 70000);
        byte[] other = tap(SELECT);
        nfc.fieldGone();
        nfc.desk("127.0.0.1", server.getLocalPort());
        report("desks: a name, or a port that is none: 6F00",
            Arrays.equals(response, Nfc.UNKNOWN_ERROR) && Arrays.equals(other, Nfc.UNKNOWN_ERROR), "something else");
        tapThatWorks("an address again");
    }

    /** The phone leaves while the desk thinks; what the desk says then belongs to nobody. */
    private void torn() throws Exception {
        nfc.desk("127.0.0.1", 1);
        tap(SELECT);
        nfc.fieldGone();
        nfc.desk("127.0.0.1", server.getLocalPort());
        Object[] asked = {null};
        next = (socket, in, out) -> {
            start(in, out);
            command(in);
            synchronized (asked) {
                asked[0] = true;
                asked.notifyAll();
            }
            // Answers when the next tap is under way, if it still can.
            Thread.sleep(300);
            out.write(message(Nfc.bytes("BAD09000")));
        };
        nfc.send(SELECT);
        synchronized (asked) {
            while (asked[0] == null) {
                asked.wait();
            }
        }
        nfc.fieldGone();
        byte[] response = tap(SELECT);
        Thread.sleep(400);
        byte[] second = nfc.transceive(OTHER);
        nfc.fieldGone();
        report("desks: torn in the middle of a command: the next tap is its own", Arrays.equals(response, GOOD) && Arrays.equals(second, GOOD),
            response == null ? "no answer" : Nfc.hex(response, 0, response.length));
    }

    private void switchedOff() throws Exception {
        nfc.on(false);
        byte[] response = tap(SELECT);
        nfc.fieldGone();
        nfc.on(true);
        report("desks: switched off: 6A82", Arrays.equals(response, Nfc.NOT_FOUND), "something else");
        tapThatWorks("switched on again");
    }

    /** Extended length: 65,535 bytes each way. */
    private void longApdus() throws Exception {
        byte[] command = new byte[65535];
        command[0] = (byte) 0x80;
        command[1] = (byte) 0xCB;
        command[5] = (byte) 0xFF;
        command[6] = (byte) 0xF8;
        byte[] answer = new byte[65535];
        Arrays.fill(answer, (byte) 0x5A);
        long[] heard = {0};
        nfc.desk("127.0.0.1", 1);
        tap(SELECT);
        nfc.fieldGone();
        nfc.desk("127.0.0.1", server.getLocalPort());
        next = (socket, in, out) -> {
            start(in, out);
            command(in);
            out.write(message(GOOD));
            heard[0] = command(in).length;
            out.write(message(answer));
            untilHungUp(in);
        };
        tap(SELECT);
        byte[] response = nfc.transceive(command);
        nfc.fieldGone();
        report("desks: 65,535 bytes each way", heard[0] == 65535 && Arrays.equals(response, answer), heard[0] + " bytes were heard");
    }

    // --- the desk --------------------------------------------------------------------------------------------------

    private byte[] tap(byte[] command) throws InterruptedException {
        return nfc.transceive(command);
    }

    private void serve() {
        while (true) {
            try (Socket socket = server.accept()) {
                socket.setTcpNoDelay(true);
                Manner manner = next;
                next = null;
                DataInputStream in = new DataInputStream(socket.getInputStream());
                OutputStream out = socket.getOutputStream();
                if (manner != null) {
                    manner.meet(socket, in, out);
                    continue;
                }
                start(in, out);
                while (true) {
                    if (command(in).length == 1) {
                        out.write(ATR);
                    } else {
                        out.write(message(GOOD));
                    }
                }
            } catch (Exception e) {
                // The app hung up, as it may.
            }
        }
    }

    /** Power on, and the request for the ATR. */
    private static void start(DataInputStream in, OutputStream out) throws IOException {
        command(in);
        out.write(ATR);
    }

    /** The next command, or the next request for the ATR; requests to the power supply are passed over. */
    private static byte[] command(DataInputStream in) throws IOException {
        while (true) {
            byte[] body = new byte[in.readUnsignedShort()];
            in.readFully(body);
            if (body.length > 1 || body[0] == 4) {
                return body;
            }
        }
    }

    private static void answer(DataInputStream in, OutputStream out, byte[] bytes) throws IOException {
        answerAndLeave(in, out, bytes);
        untilHungUp(in);
    }

    private static void answerAndLeave(DataInputStream in, OutputStream out, byte[] bytes) throws IOException {
        start(in, out);
        command(in);
        out.write(bytes);
    }

    private static void untilHungUp(DataInputStream in) throws IOException {
        while (in.read() >= 0) {
            continue;
        }
    }

    private static byte[] message(byte[] body) {
        byte[] message = new byte[2 + body.length];
        message[0] = (byte) (body.length >> 8);
        message[1] = (byte) body.length;
        System.arraycopy(body, 0, message, 2, body.length);
        return message;
    }

    // --- reporting -------------------------------------------------------------------------------------------------

    private static boolean running(String name) {
        return Thread.getAllStackTraces().keySet().stream().anyMatch(thread -> thread.getName().equals(name));
    }

    /** Counted with the app hung up, as soon as both ends of what was there are closed. */
    private String threadsAndSockets() throws Exception {
        nfc.desk("127.0.0.1", 1);
        tap(SELECT);
        nfc.fieldGone();
        nfc.desk("127.0.0.1", server.getLocalPort());
        for (int i = 0; i < 100 && Nfc.sockets() > listening; i++) {
            Thread.sleep(20);
        }
        return Thread.getAllStackTraces().size() + " threads, " + Nfc.sockets() + " sockets";
    }

    private void report(String name, boolean good, String why) {
        System.out.println(good ? "ok " + name : "not ok " + name + " - " + why);
        failed += good ? 0 : 1;
    }
}
