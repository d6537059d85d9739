package org.tapdoor.bridge;

import android.util.Log;
import java.io.IOException;
import java.net.ConnectException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The thread that talks to the desk, so that the main thread never waits.
 *
 * Whatever the desk does, an APDU is answered within {@link #ANSWER_TIME}: by what came from the desk, or by 6F00. A failure ends the tap, since the
 * card on the desk has lost its state: until the next SELECT by name everything is answered 6F00 at once. That SELECT connects anew.
 */
final class Worker implements Runnable {
    /** How long an APDU may take altogether, connecting included, in milliseconds. */
    static final long ANSWER_TIME = 2000;
    /** How long an earlier connection has to show that it still lives. */
    static final long PROOF_TIME = 500;
    /** How long a connection is kept when no phone is in the field: the desk serves one at a time. */
    static final long IDLE_TIME = 30000;
    /** No precise diagnosis (ISO/IEC 7816-4 table 6). */
    static final byte[] NO_DIAGNOSIS = {0x6F, 0x00};

    private static final String TAG = "tapdoor";
    private static final long MS = 1000000;

    /** A C-APDU; without one, the field has gone. */
    private static final class Work {
        final byte[] command;
        final int tap;
        final long begun = System.nanoTime();

        Work(byte[] command, int tap) {
            this.command = command;
            this.tap = tap;
        }
    }

    private final BridgeService service;
    private final Settings settings;
    private final Desk desk = new Desk();
    private final LinkedBlockingQueue<Work> queue = new LinkedBlockingQueue<Work>();
    /** Held while an answer is given, so that none of an old tap reaches a new one. */
    private final ReentrantLock answering = new ReentrantLock();
    private volatile int tap = 1;
    private volatile boolean ended;
    /** The tap for which the card has power; 0: none. */
    private int powered;
    /** The tap that has seen its first APDU. */
    private int seen;

    Worker(BridgeService service, Settings settings) {
        this.service = service;
        this.settings = settings;
    }

    /** Begins to work. */
    void start() {
        Thread thread = new Thread(this, "tapdoor-bridge");
        thread.setDaemon(true);
        thread.start();
    }

    /** A command came. On the main thread; returns at once. */
    void command(byte[] apdu) {
        queue.add(new Work(apdu, tap));
    }

    /** The field went. On the main thread; returns at once. */
    void fieldGone() {
        answering.lock();
        tap++;
        answering.unlock();
        // In this order: the work takes it back.
        desk.abandon();
        queue.add(new Work(null, tap));
    }

    /** The service ends, and this thread with it. */
    void end() {
        ended = true;
        fieldGone();
    }

    @Override
    public void run() {
        while (!ended) {
            try {
                Work work = queue.poll(IDLE_TIME, TimeUnit.MILLISECONDS);
                if (work == null) {
                    if (desk.isConnected() && powered == 0) {
                        hangUp("hung up after " + IDLE_TIME / 1000 + " s without a tap; the next one connects");
                    }
                } else if (work.command == null) {
                    powerOff(work);
                } else if (work.tap == tap) {
                    answer(work);
                }
            } catch (InterruptedException e) {
                break;
            } catch (RuntimeException e) {
                // Nothing that the desk or the settings hold may end the service.
                Log.w(TAG, "unexpected", e);
                hangUp("trouble: " + e);
            }
        }
        desk.close();
    }

    private void answer(Work work) {
        byte[] response;
        try {
            response = exchange(work);
        } catch (IOException e) {
            String why = work.tap == tap ? explain(e) : "the phone left the field in the middle of a command";
            Log.w(TAG, why);
            hangUp(why);
            response = NO_DIAGNOSIS;
        } catch (RuntimeException e) {
            Log.w(TAG, "unexpected", e);
            hangUp("trouble: " + e);
            response = NO_DIAGNOSIS;
        }
        answering.lock();
        try {
            if (work.tap == tap) {
                service.sendResponseApdu(response);
            }
        } finally {
            answering.unlock();
        }
        Journal.SHARED.apdu(work.command, response, System.nanoTime() - work.begun);
    }

    private byte[] exchange(Work work) throws IOException {
        long deadline = work.begun + ANSWER_TIME * MS;
        if (seen != work.tap) {
            seen = work.tap;
            Journal.SHARED.tap();
        }
        if (powered != work.tap || !desk.isConnected()) {
            if (!isSelect(work.command)) {
                return NO_DIAGNOSIS;
            }
            begin(deadline);
            powered = work.tap;
        }
        return desk.transmit(work.command, deadline);
    }

    /** A connection with a card that has power. */
    private void begin(long deadline) throws IOException {
        String host = settings.host();
        int port = settings.port();
        if (desk.isConnected() && desk.isAt(host, port)) {
            try {
                desk.powerOn(Math.min(deadline, System.nanoTime() + PROOF_TIME * MS));
                return;
            } catch (IOException e) {
                // The cable was pulled or the desk started again since the last tap.
                desk.close();
            }
        }
        desk.connect(host, port, deadline);
        desk.powerOn(deadline);
        Journal.SHARED.state("connected to " + host + ":" + port);
    }

    private void powerOff(Work work) {
        if (work.tap == tap) {
            desk.resume();
        }
        powered = 0;
        if (desk.isConnected()) {
            try {
                desk.powerOff(System.nanoTime() + PROOF_TIME * MS);
            } catch (IOException e) {
                hangUp(explain(e));
            }
        }
    }

    private void hangUp(String why) {
        desk.close();
        powered = 0;
        Journal.SHARED.state(why);
    }

    /** In clear text, with the cure. */
    private String explain(IOException e) {
        String place = settings.host() + ":" + settings.port();
        if (e instanceof ConnectException) {
            String cure = "On the desk: tapdoor phone --config door/phone.toml --serve tcp-listen:" + place;
            if (Settings.HOST.equals(settings.host())) {
                cure = cure + ", and adb reverse tcp:" + settings.port() + " tcp:" + settings.port();
            }
            return "Nobody listens at " + place + ". " + cure;
        }
        return "The desk failed: " + e.getMessage();
    }

    /** SELECT by DF name, in any class. */
    private static boolean isSelect(byte[] apdu) {
        return apdu[1] == (byte) 0xA4 && apdu[2] == 0x04;
    }
}
