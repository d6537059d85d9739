package org.tapdoor.bridge;

import android.content.Context;
import android.content.SharedPreferences;

/** What the person set on the screen: where the desk is, and whether to answer at all. Nothing of it is secret. */
final class Settings {
    /** With `adb reverse tcp:35970 tcp:35970` the desk is on this phone's own loopback. */
    static final String HOST = "127.0.0.1";
    static final int PORT = 35970;

    private final SharedPreferences stored;

    Settings(Context context) {
        stored = context.getSharedPreferences("bridge", Context.MODE_PRIVATE);
    }

    boolean isOn() {
        return stored.getBoolean("on", true);
    }

    String host() {
        return stored.getString("host", HOST);
    }

    int port() {
        return stored.getInt("port", PORT);
    }

    void setOn(boolean on) {
        stored.edit().putBoolean("on", on).apply();
    }

    void setPlace(String host, int port) {
        stored.edit().putString("host", host).putInt("port", port).apply();
    }
}
