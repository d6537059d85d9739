package android.view;

import android.content.Context;

public class ViewGroup extends View {
    public ViewGroup(Context context) {
        super(context);
    }

    public void addView(View child) {
        throw new UnsupportedOperationException("there is no screen here");
    }
}
