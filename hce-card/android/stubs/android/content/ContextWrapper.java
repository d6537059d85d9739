package android.content;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** Its preferences are in memory. */
public class ContextWrapper extends Context {
    private final Preferences preferences = new Preferences();

    @Override
    public SharedPreferences getSharedPreferences(String name, int mode) {
        return preferences;
    }

    private static final class Preferences implements SharedPreferences, SharedPreferences.Editor {
        private final Map<String, Object> values = new ConcurrentHashMap<>();

        private Object get(String key, Object otherwise) {
            Object value = values.get(key);
            return value == null ? otherwise : value;
        }

        @Override
        public boolean getBoolean(String key, boolean otherwise) {
            return (Boolean) get(key, otherwise);
        }

        @Override
        public int getInt(String key, int otherwise) {
            return (Integer) get(key, otherwise);
        }

        @Override
        public String getString(String key, String otherwise) {
            return (String) get(key, otherwise);
        }

        @Override
        public Editor edit() {
            return this;
        }

        @Override
        public Editor putBoolean(String key, boolean value) {
            values.put(key, value);
            return this;
        }

        @Override
        public Editor putInt(String key, int value) {
            values.put(key, value);
            return this;
        }

        @Override
        public Editor putString(String key, String value) {
            values.put(key, value);
            return this;
        }

        @Override
        public void apply() {
        }
    }
}
