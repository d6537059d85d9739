package android.app;

import android.content.ContextWrapper;
import android.os.Bundle;
import android.view.View;

public class Activity extends ContextWrapper {
    protected void onCreate(Bundle saved) {
    }

    protected void onResume() {
    }

    protected void onPause() {
    }

    public void setContentView(View view) {
        throw new UnsupportedOperationException("there is no screen here");
    }
}
