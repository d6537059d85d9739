package android.text;

public interface InputType {
    int TYPE_CLASS_TEXT = 0x00000001;
    int TYPE_CLASS_NUMBER = 0x00000002;
    int TYPE_TEXT_FLAG_NO_SUGGESTIONS = 0x00080000;
}
