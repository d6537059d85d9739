package android.util;

/** Tells what goes wrong on standard error if the property tapdoor.log is set. */
public final class Log {
    private static final boolean ON = System.getProperty("tapdoor.log") != null;

    private Log() {
    }

    public static int w(String tag, String message) {
        if (ON) {
            System.err.println(tag + ": " + message);
        }
        return 0;
    }

    public static int w(String tag, String message, Throwable thrown) {
        if (ON) {
            thrown.printStackTrace();
        }
        return w(tag, message);
    }
}
