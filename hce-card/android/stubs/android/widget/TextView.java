package android.widget;

import android.content.Context;
import android.graphics.Typeface;
import android.view.View;

public class TextView extends View {
    public TextView(Context context) {
        super(context);
    }

    public final void setText(CharSequence text) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public final void setHint(CharSequence hint) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public void setInputType(int type) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public void setTextIsSelectable(boolean selectable) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public void setTypeface(Typeface typeface) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public void setTextSize(float size) {
        throw new UnsupportedOperationException("there is no screen here");
    }
}
