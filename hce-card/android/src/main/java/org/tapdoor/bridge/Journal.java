package org.tapdoor.bridge;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.concurrent.locks.ReentrantLock;

/** What the screen shows: how the connection is, and the last APDUs. In memory only, and gone with the process. */
final class Journal {
    /** How many APDUs are kept. */
    static final int SIZE = 40;
    /** How many bytes of each are kept. */
    static final int SHOWN = 40;

    /** The one of this process: service and screen live in it together. */
    static final Journal SHARED = new Journal();

    private final ReentrantLock lock = new ReentrantLock();
    private final ArrayDeque<Object[]> lines = new ArrayDeque<Object[]>(SIZE);
    private String state = "waiting for the first tap";
    private long apdus;
    private long taps;

    /** A tap begins. */
    void tap() {
        lock.lock();
        taps++;
        lock.unlock();
    }

    /** What the connection is now; a person reads it. */
    void state(String text) {
        lock.lock();
        state = text;
        lock.unlock();
    }

    /** An exchange; written out only when somebody looks. */
    void apdu(byte[] command, byte[] response, long nanoseconds) {
        lock.lock();
        apdus++;
        if (lines.size() == SIZE) {
            lines.removeFirst();
        }
        lines.addLast(new Object[] {beginning(command), command.length, beginning(response), response.length, nanoseconds});
        lock.unlock();
    }

    /** The state, and how much has passed. */
    String state() {
        lock.lock();
        String text = state + "\n" + taps + " taps, " + apdus + " APDUs";
        lock.unlock();
        return text;
    }

    /** The last APDUs, the newest first. */
    String apdus() {
        StringBuilder text = new StringBuilder();
        lock.lock();
        Object[] all = lines.toArray();
        lock.unlock();
        for (int i = all.length - 1; i >= 0; i--) {
            Object[] line = (Object[]) all[i];
            text.append("> ");
            hex(text, (byte[]) line[0], (Integer) line[1]);
            text.append("\n< ");
            hex(text, (byte[]) line[2], (Integer) line[3]);
            text.append("  ").append((Long) line[4] / 1000).append(" us\n");
        }
        return text.toString();
    }

    private static byte[] beginning(byte[] bytes) {
        return bytes.length <= SHOWN ? bytes : Arrays.copyOf(bytes, SHOWN);
    }

    private static void hex(StringBuilder text, byte[] bytes, int length) {
        for (int i = 0; i < bytes.length; i++) {
            text.append(Character.forDigit(bytes[i] >> 4 & 0xF, 16)).append(Character.forDigit(bytes[i] & 0xF, 16));
        }
        if (length > bytes.length) {
            text.append(".. (").append(length).append(" bytes)");
        }
    }
}
