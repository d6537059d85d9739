package org.tapdoor.bridge;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;

/**
 * The program on the desk that is the phone's chip: `tapdoor phone --serve tcp-listen:HOST:PORT`.
 *
 * The framing is vpcd's: a big-endian length of two bytes and a body. Bodies of one byte are requests to the card's power supply and for its
 * ATR, longer ones are C-APDUs; ATR and APDUs are answered. A message goes out in one write, or two delays of TCP add up to 44 ms.
 *
 * Nothing here waits longer than its deadline, a value of System.nanoTime(): connecting, writing and reading are all non-blocking. One thread
 * uses a Desk; only {@link #abandon} may come from another. After any IOException the stream is out of step and has to be closed.
 */
final class Desk {
    /** The longest body that the length can express. */
    static final int MAX_BODY = 0xFFFF;
    /** An R-APDU of a short C-APDU: 256 bytes and the status word. */
    static final int MAX_SHORT_RESPONSE = 258;
    /** TS, T0, at most 4 * 4 interface bytes, at most 15 historical bytes, TCK (ISO/IEC 7816-3 8). */
    static final int MAX_ATR = 33;

    private static final byte[] POWER_OFF = {0x00};
    private static final byte[] POWER_ON = {0x01};
    private static final byte[] GET_ATR = {0x04};

    private final ByteBuffer in = ByteBuffer.allocate(2 + MAX_BODY);
    private final ByteBuffer out = ByteBuffer.allocate(2 + MAX_BODY);
    private Selector selector;
    private SocketChannel channel;
    private SelectionKey key;
    private String place = "";
    private volatile boolean abandoned;
    private volatile Selector waiting;

    /** Whether a connection is there, as far as is known. */
    boolean isConnected() {
        return channel != null;
    }

    /** Whether the connection leads to this place. */
    boolean isAt(String host, int port) {
        return place.equals(place(host, port));
    }

    /**
     * Connects. The host is an address, or localhost: looking a name up would have no deadline.
     *
     * Fails with an IOException that says what to do.
     */
    void connect(String host, int port, long deadline) throws IOException {
        close();
        if (!isAddress(host)) {
            throw new IOException(host + " is no address; write one such as 192.168.1.20");
        }
        place = place(host, port);
        try {
            selector = Selector.open();
            channel = SocketChannel.open();
            channel.configureBlocking(false);
            channel.socket().setTcpNoDelay(true);
            key = channel.register(selector, SelectionKey.OP_CONNECT);
            if (!channel.connect(new InetSocketAddress(InetAddress.getByName(host), port))) {
                do {
                    await(SelectionKey.OP_CONNECT, deadline);
                } while (!channel.finishConnect());
            }
            // The kernel may connect a socket to itself when nobody listens on an ephemeral port.
            if (channel.socket().getLocalPort() == port && channel.socket().getLocalAddress().equals(channel.socket().getInetAddress())) {
                throw new IOException("nobody listens at " + place);
            }
        } catch (IOException e) {
            close();
            throw e;
        } catch (RuntimeException e) {
            // A port out of range, no permission for the network.
            close();
            throw new IOException(String.valueOf(e.getMessage()), e);
        }
    }

    /** Powers the card and asks for its ATR: whoever answers that is a card. */
    byte[] powerOn(long deadline) throws IOException {
        out.clear();
        put(POWER_ON);
        put(GET_ATR);
        send(deadline);
        byte[] atr = receive(MAX_ATR, deadline);
        if (atr.length < 2) {
            throw new IOException(place + " has no ATR: no phone is there");
        }
        return atr;
    }

    /** Cuts the card's power; not answered. */
    void powerOff(long deadline) throws IOException {
        out.clear();
        put(POWER_OFF);
        send(deadline);
    }

    /** Sends a C-APDU of 2 to 65,535 bytes and gives its R-APDU. */
    byte[] transmit(byte[] command, long deadline) throws IOException {
        out.clear();
        put(command);
        send(deadline);
        byte[] response = receive(isExtended(command) ? MAX_BODY : MAX_SHORT_RESPONSE, deadline);
        if (response.length < 2) {
            throw new IOException("an answer of " + response.length + " bytes, shorter than a status word");
        }
        return response;
    }

    /** Ends whatever this Desk waits for, now or next, with an IOException, until {@link #resume}. From any thread. */
    void abandon() {
        abandoned = true;
        Selector sleeper = waiting;
        if (sleeper != null) {
            sleeper.wakeup();
        }
    }

    /** The end of {@link #abandon}. */
    void resume() {
        abandoned = false;
    }

    /** Hangs up; the card loses its power by that. */
    void close() {
        SocketChannel old = channel;
        Selector sleeper = selector;
        channel = null;
        selector = null;
        waiting = null;
        key = null;
        in.clear();
        try {
            if (old != null) {
                old.close();
            }
        } catch (IOException e) {
            // It is gone either way.
        }
        try {
            if (sleeper != null) {
                sleeper.close();
            }
        } catch (IOException e) {
            // The same.
        }
    }

    private void put(byte[] body) throws IOException {
        if (body.length > MAX_BODY || out.remaining() < 2 + body.length) {
            throw new IOException("a command of " + body.length + " bytes cannot be expressed");
        }
        out.putShort((short) body.length);
        out.put(body);
    }

    private void send(long deadline) throws IOException {
        if (channel == null) {
            throw new IOException("not connected");
        }
        // What comes unasked would pass for an answer.
        if (in.position() > 0 || channel.read(in) != 0) {
            throw new IOException(in.position() > 0 ? place + " talks without being asked" : place + " hung up");
        }
        out.flip();
        while (channel.write(out) >= 0 && out.hasRemaining()) {
            await(SelectionKey.OP_WRITE, deadline);
        }
    }

    private byte[] receive(int most, long deadline) throws IOException {
        int wanted = 2;
        while (in.position() < wanted) {
            await(SelectionKey.OP_READ, deadline);
            if (channel.read(in) < 0) {
                throw new IOException(place + (in.position() > 0 ? " hung up in the middle of an answer" : " hung up"));
            }
            if (in.position() >= 2) {
                int length = in.getShort(0) & 0xFFFF;
                if (length > most) {
                    throw new IOException("an answer of " + length + " bytes, where at most " + most + " can be");
                }
                wanted = 2 + length;
            }
        }
        if (in.position() > wanted) {
            throw new IOException(place + " said more than was asked");
        }
        byte[] body = new byte[wanted - 2];
        in.position(2);
        in.get(body);
        in.clear();
        return body;
    }

    private void await(int operation, long deadline) throws IOException {
        key.interestOps(operation);
        waiting = selector;
        for (;;) {
            if (abandoned) {
                throw new IOException("the phone left the field");
            }
            long left = deadline - System.nanoTime();
            if (left <= 0) {
                throw new SocketTimeoutException(place + " does not answer");
            }
            selector.select(left / 1000000 + 1);
            if (!selector.selectedKeys().isEmpty()) {
                selector.selectedKeys().clear();
                return;
            }
        }
    }

    private static String place(String host, int port) {
        return host + ":" + port;
    }

    /** Whether it is written as an address (IPv4, or anything with a colon), or is localhost: none of them is looked up on the network. */
    static boolean isAddress(String host) {
        return host.equals("localhost") || host.indexOf(':') >= 0 || host.matches("[0-9]{1,3}(\\.[0-9]{1,3}){3}");
    }

    /** Whether an APDU has the extended form (ISO/IEC 7816-3 12.1.3): a zero where Lc would be, and more behind it. */
    static boolean isExtended(byte[] apdu) {
        return apdu.length >= 7 && apdu[4] == 0;
    }
}
