package android.view;

import android.content.Context;

public class View {
    public View(Context context) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public void setPadding(int left, int top, int right, int bottom) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public void setFitsSystemWindows(boolean fits) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public void setOnClickListener(OnClickListener listener) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public boolean postDelayed(Runnable action, long milliseconds) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public boolean removeCallbacks(Runnable action) {
        throw new UnsupportedOperationException("there is no screen here");
    }

    public interface OnClickListener {
        void onClick(View view);
    }
}
