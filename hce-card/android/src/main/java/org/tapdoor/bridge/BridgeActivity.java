package org.tapdoor.bridge;

import android.app.Activity;
import android.content.ComponentName;
import android.graphics.Typeface;
import android.nfc.NfcAdapter;
import android.nfc.cardemulation.CardEmulation;
import android.os.Bundle;
import android.text.InputType;
import android.view.View;
import android.widget.Button;
import android.widget.EditText;
import android.widget.LinearLayout;
import android.widget.ScrollView;
import android.widget.TextView;

/** The one screen: state, where the desk is, on and off, the last APDUs. It is made here, without generated code. */
public final class BridgeActivity extends Activity implements View.OnClickListener, Runnable {
    /** How often the screen is brought up to date, in milliseconds. */
    private static final long REFRESH = 500;

    private Settings settings;
    private TextView nfc;
    private TextView state;
    private TextView apdus;
    private EditText host;
    private EditText port;
    private Button save;
    private Button power;
    private String problem = "";
    private boolean visible;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        settings = new Settings(this);
        LinearLayout column = new LinearLayout(this);
        column.setOrientation(LinearLayout.VERTICAL);
        // Since Android 15 an app is drawn below the system's bars unless it asks to be kept out of them.
        column.setFitsSystemWindows(true);
        column.setPadding(32, 32, 32, 32);
        nfc = text(column);
        state = text(column);
        host = field(column, "Address of the desk", settings.host(), InputType.TYPE_CLASS_TEXT | InputType.TYPE_TEXT_FLAG_NO_SUGGESTIONS);
        port = field(column, "Port", Integer.toString(settings.port()), InputType.TYPE_CLASS_NUMBER);
        save = button(column, "Use this desk");
        power = button(column, "");
        apdus = text(column);
        apdus.setTypeface(Typeface.MONOSPACE);
        apdus.setTextSize(11);
        ScrollView scroll = new ScrollView(this);
        scroll.addView(column);
        setContentView(scroll);
    }

    @Override
    protected void onResume() {
        super.onResume();
        visible = true;
        prefer(true);
        run();
    }

    @Override
    protected void onPause() {
        visible = false;
        prefer(false);
        super.onPause();
    }

    @Override
    public void onClick(View view) {
        if (view == power) {
            settings.setOn(!settings.isOn());
        } else if (view == save) {
            save();
        }
        show();
    }

    /** Brings the screen up to date, again and again while it is seen. */
    @Override
    public void run() {
        if (visible) {
            show();
            state.removeCallbacks(this);
            state.postDelayed(this, REFRESH);
        }
    }

    private void show() {
        NfcAdapter adapter = NfcAdapter.getDefaultAdapter(this);
        if (adapter == null) {
            nfc.setText("This phone has no NFC.");
        } else if (!adapter.isEnabled()) {
            nfc.setText("NFC is off: switch it on in the system's settings.");
        } else {
            nfc.setText("NFC is on.");
        }
        state.setText(problem + (settings.isOn() ? Journal.SHARED.state() : "Off: every application is answered 6A82."));
        power.setText(settings.isOn() ? "Switch off" : "Switch on");
        apdus.setText(Journal.SHARED.apdus());
    }

    private void save() {
        String address = host.getText().toString().trim();
        int number = 0;
        try {
            number = Integer.parseInt(port.getText().toString().trim());
        } catch (NumberFormatException e) {
            // Said below.
        }
        if (!Desk.isAddress(address)) {
            problem = "The address is written in digits, as 192.168.1.20.\n";
        } else if (number < 1 || number > 65535) {
            problem = "A port is a number from 1 to 65535.\n";
        } else {
            problem = "";
            settings.setPlace(address, number);
        }
    }

    /** While this screen is seen, SELECTs of our AIDs go to this app even if another one has them too. */
    private void prefer(boolean us) {
        NfcAdapter adapter = NfcAdapter.getDefaultAdapter(this);
        if (adapter == null) {
            return;
        }
        try {
            CardEmulation emulation = CardEmulation.getInstance(adapter);
            if (us) {
                emulation.setPreferredService(this, new ComponentName(this, BridgeService.class));
            } else {
                emulation.unsetPreferredService(this);
            }
        } catch (RuntimeException e) {
            problem = "This phone has no card emulation: " + e.getMessage() + "\n";
        }
    }

    private TextView text(LinearLayout column) {
        TextView view = new TextView(this);
        view.setTextIsSelectable(true);
        view.setPadding(0, 16, 0, 16);
        column.addView(view);
        return view;
    }

    private EditText field(LinearLayout column, String hint, String value, int type) {
        EditText view = new EditText(this);
        view.setHint(hint);
        view.setInputType(type);
        view.setText(value);
        column.addView(view);
        return view;
    }

    private Button button(LinearLayout column, String label) {
        Button view = new Button(this);
        view.setText(label);
        view.setOnClickListener(this);
        column.addView(view);
        return view;
    }
}
