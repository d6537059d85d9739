import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.Type;
import org.objectweb.asm.tree.AbstractInsnNode;
import org.objectweb.asm.tree.ClassNode;
import org.objectweb.asm.tree.FieldInsnNode;
import org.objectweb.asm.tree.IincInsnNode;
import org.objectweb.asm.tree.IntInsnNode;
import org.objectweb.asm.tree.JumpInsnNode;
import org.objectweb.asm.tree.LabelNode;
import org.objectweb.asm.tree.LdcInsnNode;
import org.objectweb.asm.tree.LineNumberNode;
import org.objectweb.asm.tree.LookupSwitchInsnNode;
import org.objectweb.asm.tree.MethodInsnNode;
import org.objectweb.asm.tree.MethodNode;
import org.objectweb.asm.tree.TableSwitchInsnNode;
import org.objectweb.asm.tree.TryCatchBlockNode;
import org.objectweb.asm.tree.TypeInsnNode;
import org.objectweb.asm.tree.VarInsnNode;
import org.objectweb.asm.tree.analysis.Analyzer;
import org.objectweb.asm.tree.analysis.AnalyzerException;
import org.objectweb.asm.tree.analysis.BasicValue;
import org.objectweb.asm.tree.analysis.Frame;
import org.objectweb.asm.tree.analysis.SimpleVerifier;

/**
 * One method's bytecode as Dalvik's.
 *
 * Each local variable and each word of the operand stack has a register of its own, so every instruction is translated by itself:
 *
 *     v0 v1 v2 v3 | locals | stack | arguments as they come in
 *
 * The first four are for instructions that reach v0 to v15 only. Arguments of calls lie side by side on the stack, which is what the calls
 * with a range of registers want. The result is longer than a compiler's, and as fast as an app needs that waits for a cable.
 */
final class Code {
    private static final int SCRATCH = 4;

    private final ClassNode owner;
    private final MethodNode method;
    private final ClassLoader loader;
    private final PrintWriter out;
    private final int stack;
    /** What is on the stack before the present instruction, and where in it each value begins. */
    private Frame<BasicValue> frame;
    private final List<String> tables = new ArrayList<>();

    Code(ClassNode owner, MethodNode method, ClassLoader loader, PrintWriter out) {
        this.owner = owner;
        this.method = method;
        this.loader = loader;
        this.out = out;
        this.stack = SCRATCH + method.maxLocals;
    }

    void write() throws IOException {
        Type self = Type.getObjectType(owner.name);
        List<Type> interfaces = new ArrayList<>();
        for (String name : owner.interfaces) {
            interfaces.add(Type.getObjectType(name));
        }
        Type parent = owner.superName == null ? null : Type.getObjectType(owner.superName);
        SimpleVerifier verifier = new SimpleVerifier(Opcodes.ASM9, self, parent, interfaces, false) {
        };
        verifier.setClassLoader(loader);
        Frame<BasicValue>[] frames;
        try {
            frames = new Analyzer<>(verifier).analyze(owner.name, method);
        } catch (AnalyzerException e) {
            throw new IOException(owner.name + "." + method.name + ": " + e.getMessage(), e);
        }
        arguments();
        Set<LabelNode> handlers = new HashSet<>();
        for (TryCatchBlockNode block : method.tryCatchBlocks) {
            handlers.add(block.handler);
        }
        for (int i = 0; i < frames.length; i++) {
            AbstractInsnNode instruction = method.instructions.get(i);
            frame = frames[i];
            if (instruction instanceof LabelNode) {
                out.println("    " + label((LabelNode) instruction));
                if (frame != null && handlers.contains(instruction)) {
                    put("move-exception", stack);
                }
            } else if (instruction instanceof LineNumberNode) {
                out.println("    .line " + ((LineNumberNode) instruction).line);
            } else if (instruction.getOpcode() >= 0 && frame != null) {
                translate(instruction);
            }
        }
        for (TryCatchBlockNode block : method.tryCatchBlocks) {
            if (catches(block, frames)) {
                String range = " {" + label(block.start) + " .. " + label(block.end) + "} " + label(block.handler);
                out.println(block.type == null ? "    .catchall" + range : "    .catch L" + block.type + ";" + range);
            }
        }
        tables.forEach(out::print);
    }

    /** Whether an instruction that can be reached is in the block. */
    private boolean catches(TryCatchBlockNode block, Frame<BasicValue>[] frames) {
        int end = method.instructions.indexOf(block.end);
        for (int i = method.instructions.indexOf(block.start); i < end; i++) {
            if (frames[i] != null && method.instructions.get(i).getOpcode() >= 0) {
                return true;
            }
        }
        return false;
    }

    /** Arguments come in the last registers and go to those of the locals. */
    private void arguments() {
        int words = Type.getArgumentsAndReturnSizes(method.desc) >> 2;
        boolean isStatic = (method.access & Opcodes.ACC_STATIC) != 0;
        int from = stack + method.maxStack;
        int to = SCRATCH;
        out.println("    .registers " + (from + words - (isStatic ? 1 : 0)));
        if (!isStatic) {
            move('A', to++, from++);
        }
        for (Type type : Type.getArgumentTypes(method.desc)) {
            move(kind(type), to, from);
            to += type.getSize();
            from += type.getSize();
        }
    }

    private void translate(AbstractInsnNode instruction) throws IOException {
        int op = instruction.getOpcode();
        if (instruction instanceof VarInsnNode) {
            int local = SCRATCH + ((VarInsnNode) instruction).var;
            if (op >= Opcodes.ILOAD && op <= Opcodes.ALOAD) {
                move("IWIWA".charAt(op - Opcodes.ILOAD), top(), local);
            } else if (op >= Opcodes.ISTORE && op <= Opcodes.ASTORE) {
                move("IWIWA".charAt(op - Opcodes.ISTORE), local, at(1));
            } else {
                throw unknown(op);
            }
        } else if (instruction instanceof IntInsnNode) {
            int operand = ((IntInsnNode) instruction).operand;
            if (op == Opcodes.NEWARRAY) {
                newArray("[" + "ZCFDBSIJ".charAt(operand - Opcodes.T_BOOLEAN));
            } else {
                put("const/16", top(), Integer.toString(operand));
            }
        } else if (instruction instanceof LdcInsnNode) {
            constant(((LdcInsnNode) instruction).cst);
        } else if (instruction instanceof IincInsnNode) {
            increment((IincInsnNode) instruction);
        } else if (instruction instanceof JumpInsnNode) {
            jump(op, label(((JumpInsnNode) instruction).label));
        } else if (instruction instanceof FieldInsnNode) {
            field((FieldInsnNode) instruction);
        } else if (instruction instanceof MethodInsnNode) {
            call((MethodInsnNode) instruction);
        } else if (instruction instanceof TypeInsnNode) {
            type(op, ClassToSmali.descriptor(((TypeInsnNode) instruction).desc));
        } else if (instruction instanceof TableSwitchInsnNode) {
            TableSwitchInsnNode choice = (TableSwitchInsnNode) instruction;
            List<Integer> keys = new ArrayList<>();
            for (int key = choice.min; key <= choice.max; key++) {
                keys.add(key);
            }
            choose(keys, choice.labels, choice.dflt);
        } else if (instruction instanceof LookupSwitchInsnNode) {
            LookupSwitchInsnNode choice = (LookupSwitchInsnNode) instruction;
            choose(choice.keys, choice.labels, choice.dflt);
        } else {
            plain(op);
        }
    }

    /** Instructions without operands. */
    private void plain(int op) throws IOException {
        if (op == Opcodes.NOP || op == Opcodes.POP || op == Opcodes.POP2) {
            return;
        }
        if (op == Opcodes.ACONST_NULL) {
            put("const/16", top(), "0");
        } else if (op >= Opcodes.ICONST_M1 && op <= Opcodes.ICONST_5) {
            put("const/16", top(), Integer.toString(op - Opcodes.ICONST_0));
        } else if (op == Opcodes.LCONST_0 || op == Opcodes.LCONST_1) {
            constant((long) (op - Opcodes.LCONST_0));
        } else if (op >= Opcodes.FCONST_0 && op <= Opcodes.FCONST_2) {
            constant((float) (op - Opcodes.FCONST_0));
        } else if (op == Opcodes.DCONST_0 || op == Opcodes.DCONST_1) {
            constant((double) (op - Opcodes.DCONST_0));
        } else if (op >= Opcodes.IALOAD && op <= Opcodes.SALOAD) {
            put("aget" + element(op - Opcodes.IALOAD, at(2, true)), at(2), reg(at(2)), reg(at(1)));
        } else if (op >= Opcodes.IASTORE && op <= Opcodes.SASTORE) {
            put("aput" + element(op - Opcodes.IASTORE, at(3, true)), at(1), reg(at(3)), reg(at(2)));
        } else if (op >= Opcodes.DUP && op <= Opcodes.SWAP) {
            duplicate(op);
        } else if (op >= Opcodes.IADD && op <= Opcodes.LXOR) {
            arithmetic(op);
        } else if (op >= Opcodes.I2L && op <= Opcodes.I2S) {
            String[] names = {"int-to-long", "int-to-float", "int-to-double", "long-to-int", "long-to-float", "long-to-double", "float-to-int",
                "float-to-long", "float-to-double", "double-to-int", "double-to-long", "double-to-float", "int-to-byte", "int-to-char",
                "int-to-short"};
            String name = names[op - Opcodes.I2L];
            unary(name, wide(name.substring(name.lastIndexOf('-') + 1)), wide(name.substring(0, name.indexOf('-'))));
        } else if (op >= Opcodes.LCMP && op <= Opcodes.DCMPG) {
            String[] names = {"cmp-long", "cmpl-float", "cmpg-float", "cmpl-double", "cmpg-double"};
            put(names[op - Opcodes.LCMP], at(2), reg(at(2)), reg(at(1)));
        } else if (op == Opcodes.RETURN) {
            out.println("    return-void");
        } else if (op >= Opcodes.IRETURN && op <= Opcodes.ARETURN) {
            String[] names = {"return", "return-wide", "return", "return-wide", "return-object"};
            put(names[op - Opcodes.IRETURN], at(1));
        } else if (op == Opcodes.ARRAYLENGTH) {
            unary("array-length", 'I', 'A');
        } else if (op == Opcodes.ATHROW) {
            put("throw", at(1));
        } else {
            throw unknown(op);
        }
    }

    private void arithmetic(int op) {
        String[] types = {"int", "long", "float", "double"};
        String[] names = {"add", "sub", "mul", "div", "rem", "neg"};
        String[] bits = {"shl", "shr", "ushr", "and", "or", "xor"};
        int index = op - Opcodes.IADD;
        if (op >= Opcodes.ISHL) {
            index = op - Opcodes.ISHL;
            put(bits[index / 2] + "-" + types[index % 2], at(2), reg(at(2)), reg(at(1)));
        } else if (op >= Opcodes.INEG) {
            String type = types[index % 4];
            unary("neg-" + type, wide(type), wide(type));
        } else {
            put(names[index / 4] + "-" + types[index % 4], at(2), reg(at(2)), reg(at(1)));
        }
    }

    /** An instruction from the uppermost value to its own place, both of which must be among the first sixteen registers. */
    private void unary(String name, char to, char from) {
        int place = at(1);
        int source = low(place, from, 0);
        int target = place < 15 ? place : 2;
        put(name, target, reg(source));
        if (target != place) {
            move(to, place, target);
        }
    }

    private void increment(IincInsnNode instruction) throws IOException {
        int local = SCRATCH + instruction.var;
        if (instruction.incr < -128 || instruction.incr > 127) {
            throw new IOException(where() + "an increment of " + instruction.incr);
        }
        put("add-int/lit8", local, reg(local), Integer.toString(instruction.incr));
    }

    private void jump(int op, String label) throws IOException {
        String[] names = {"eq", "ne", "lt", "ge", "gt", "le"};
        if (op == Opcodes.GOTO) {
            out.println("    goto/16 " + label);
        } else if (op >= Opcodes.IFEQ && op <= Opcodes.IFLE) {
            put("if-" + names[op - Opcodes.IFEQ] + "z", at(1), label);
        } else if (op == Opcodes.IFNULL || op == Opcodes.IFNONNULL) {
            put(op == Opcodes.IFNULL ? "if-eqz" : "if-nez", at(1), label);
        } else if (op >= Opcodes.IF_ICMPEQ && op <= Opcodes.IF_ACMPNE) {
            int index = op - Opcodes.IF_ICMPEQ;
            char kind = index < names.length ? 'I' : 'A';
            int left = low(at(2), kind, 0);
            put("if-" + names[index % names.length], left, reg(low(at(1), kind, 1)), label);
        } else {
            throw unknown(op);
        }
    }

    private void field(FieldInsnNode instruction) {
        Type type = Type.getType(instruction.desc);
        String name = "L" + instruction.owner + ";->" + instruction.name + ":" + instruction.desc;
        char kind = kind(type);
        if (instruction.getOpcode() == Opcodes.GETSTATIC) {
            put("sget" + suffix(type), top(), name);
        } else if (instruction.getOpcode() == Opcodes.PUTSTATIC) {
            put("sput" + suffix(type), at(1), name);
        } else if (instruction.getOpcode() == Opcodes.GETFIELD) {
            int place = at(1);
            int object = low(place, 'A', 0);
            int target = place < 15 ? place : 2;
            put("iget" + suffix(type), target, reg(object), name);
            if (target != place) {
                move(kind, place, target);
            }
        } else {
            int object = low(at(2), 'A', 0);
            put("iput" + suffix(type), low(at(1), kind, 2), reg(object), name);
        }
    }

    private void call(MethodInsnNode instruction) {
        boolean isStatic = instruction.getOpcode() == Opcodes.INVOKESTATIC;
        Type[] types = Type.getArgumentTypes(instruction.desc);
        int values = types.length + (isStatic ? 0 : 1);
        int words = (Type.getArgumentsAndReturnSizes(instruction.desc) >> 2) - (isStatic ? 1 : 0);
        int first = values == 0 ? top() : at(values);
        boolean direct = instruction.name.equals("<init>") || instruction.owner.equals(owner.name);
        String kind = "virtual";
        if (isStatic) {
            kind = "static";
        } else if (instruction.getOpcode() == Opcodes.INVOKEINTERFACE) {
            kind = "interface";
        } else if (instruction.getOpcode() == Opcodes.INVOKESPECIAL) {
            kind = direct ? "direct" : "super";
        }
        String range = words == 0 ? " {}, " : "/range {" + reg(first) + " .. " + reg(first + words - 1) + "}, ";
        out.println("    invoke-" + kind + range + ClassToSmali.descriptor(instruction.owner) + "->" + instruction.name + instruction.desc);
        Type result = Type.getReturnType(instruction.desc);
        if (result != Type.VOID_TYPE) {
            char how = kind(result);
            put("move-result" + (how == 'W' ? "-wide" : how == 'A' ? "-object" : ""), first);
        }
    }

    private void type(int op, String descriptor) throws IOException {
        if (op == Opcodes.NEW) {
            put("new-instance", top(), descriptor);
        } else if (op == Opcodes.ANEWARRAY) {
            newArray("[" + descriptor);
        } else if (op == Opcodes.CHECKCAST) {
            put("check-cast", at(1), descriptor);
        } else if (op == Opcodes.INSTANCEOF) {
            int place = at(1);
            int object = low(place, 'A', 0);
            int target = place < 16 ? place : 2;
            put("instance-of", target, reg(object), descriptor);
            if (target != place) {
                move('I', place, target);
            }
        } else {
            throw unknown(op);
        }
    }

    private void newArray(String descriptor) {
        int place = at(1);
        int length = low(place, 'I', 0);
        int target = place < 16 ? place : 2;
        put("new-array", target, reg(length), descriptor);
        if (target != place) {
            move('A', place, target);
        }
    }

    private void constant(Object value) throws IOException {
        if (value instanceof Integer) {
            put("const", top(), value.toString());
        } else if (value instanceof Float) {
            put("const", top(), Integer.toString(Float.floatToRawIntBits((Float) value)));
        } else if (value instanceof Long) {
            put("const-wide", top(), value + "L");
        } else if (value instanceof Double) {
            put("const-wide", top(), Double.doubleToRawLongBits((Double) value) + "L");
        } else if (value instanceof String) {
            put("const-string", top(), ClassToSmali.text((String) value));
        } else if (value instanceof Type && ((Type) value).getSort() >= Type.ARRAY && ((Type) value).getSort() <= Type.OBJECT) {
            put("const-class", top(), ((Type) value).getDescriptor());
        } else {
            throw new IOException(where() + "a constant " + value);
        }
    }

    private void choose(List<Integer> keys, List<LabelNode> labels, LabelNode otherwise) {
        String table = ":table" + tables.size();
        put("sparse-switch", at(1), table);
        out.println("    goto/16 " + label(otherwise));
        StringBuilder text = new StringBuilder("    " + table + "\n    .sparse-switch\n");
        for (int i = 0; i < keys.size(); i++) {
            text.append("        ").append(keys.get(i)).append(" -> ").append(label(labels.get(i))).append('\n');
        }
        tables.add(text.append("    .end sparse-switch\n").toString());
    }

    /** DUP and its kin: the values above the insertion point move up, and the copy goes below them. */
    private void duplicate(int op) throws IOException {
        if (op == Opcodes.DUP) {
            move(kindAt(1), top(), at(1));
        } else if (op == Opcodes.DUP2) {
            if (kindAt(1) == 'W') {
                move('W', top(), at(1));
            } else {
                move(kindAt(2), top(), at(2));
                move(kindAt(1), top() + 1, at(1));
            }
        } else if ((op == Opcodes.DUP_X1 || op == Opcodes.DUP_X2 && kindAt(2) != 'W') && kindAt(1) != 'W') {
            int below = op == Opcodes.DUP_X1 ? 1 : 2;
            move(kindAt(1), top(), at(1));
            for (int n = 1; n <= below; n++) {
                move(kindAt(n + 1), at(n), at(n + 1));
            }
            move(kindAt(1), at(below + 1), top());
        } else {
            throw unknown(op);
        }
    }

    // --- registers -------------------------------------------------------------------------------------------------

    /** Where the next value goes. */
    private int top() {
        int words = 0;
        for (int i = 0; i < frame.getStackSize(); i++) {
            words += frame.getStack(i).getSize();
        }
        return stack + words;
    }

    /** Where the Nth value from above begins; 1 is the uppermost. */
    private int at(int n) {
        int place = top();
        for (int i = 1; i <= n; i++) {
            place -= frame.getStack(frame.getStackSize() - i).getSize();
        }
        return place;
    }

    private BasicValue at(int n, boolean value) {
        return frame.getStack(frame.getStackSize() - n);
    }

    private char kindAt(int n) {
        BasicValue value = at(n, true);
        return value.getSize() == 2 ? 'W' : value.isReference() ? 'A' : 'I';
    }

    /** A register among the first sixteen that holds what `register` holds; the scratch register `spare` (and the next) if it must be. */
    private int low(int register, char kind, int spare) {
        if (register < 15 || register == 15 && kind != 'W') {
            return register;
        }
        move(kind, spare, register);
        return spare;
    }

    private void move(char kind, int to, int from) {
        if (to != from) {
            out.println("    move" + (kind == 'W' ? "-wide" : kind == 'A' ? "-object" : "") + "/from16 " + reg(to) + ", " + reg(from));
        }
    }

    private void put(String name, int register, String... rest) {
        if (register > 255) {
            throw new IllegalStateException(where() + "more than 256 registers");
        }
        out.println("    " + name + " " + reg(register) + (rest.length == 0 ? "" : ", " + String.join(", ", rest)));
    }

    private static String reg(int register) {
        return "v" + register;
    }

    /** W for two words, A for a reference, I for the rest. */
    private static char kind(Type type) {
        return type.getSize() == 2 ? 'W' : type.getSort() >= Type.ARRAY ? 'A' : 'I';
    }

    private static char wide(String type) {
        return type.equals("long") || type.equals("double") ? 'W' : 'I';
    }

    /** The ending of instructions for fields of this type. */
    private static String suffix(Type type) {
        switch (type.getSort()) {
            case Type.BOOLEAN: return "-boolean";
            case Type.BYTE: return "-byte";
            case Type.CHAR: return "-char";
            case Type.SHORT: return "-short";
            case Type.LONG:
            case Type.DOUBLE: return "-wide";
            case Type.ARRAY:
            case Type.OBJECT: return "-object";
            default: return "";
        }
    }

    /** The ending for elements of an array; bytes and booleans have one instruction in Java and two here. */
    private static String element(int index, BasicValue array) {
        String[] endings = {"", "-wide", "", "-wide", "-object", "-byte", "-char", "-short"};
        return index == 5 && "[Z".equals(array.getType().getDescriptor()) ? "-boolean" : endings[index];
    }

    private String label(LabelNode label) {
        return ":l" + method.instructions.indexOf(label);
    }

    private String where() {
        return owner.name + "." + method.name + ": ";
    }

    private IOException unknown(int op) {
        return new IOException(where() + "instruction " + op + " is not known here");
    }
}
