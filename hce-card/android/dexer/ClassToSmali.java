import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.Type;
import org.objectweb.asm.tree.ClassNode;
import org.objectweb.asm.tree.FieldNode;
import org.objectweb.asm.tree.MethodNode;

/**
 * Turns class files into smali's assembly language, from which `smali assemble` makes classes.dex.
 *
 *     java ClassToSmali CLASSES OUT CLASSPATH
 *
 * Debian has the assembler but no compiler from Java's bytecode (dx, d8). For a small app this is enough: plain Java 8 without lambdas, monitors
 * (synchronized) and annotations. What it does not know it refuses, with the method's name. CLASSPATH is what the classes refer to.
 */
public final class ClassToSmali {
    private ClassToSmali() {
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 3) {
            System.err.println("usage: ClassToSmali CLASSES OUT CLASSPATH");
            System.exit(2);
        }
        Path from = Paths.get(arguments[0]);
        List<URL> path = new ArrayList<>();
        path.add(from.toUri().toURL());
        for (String part : arguments[2].split(File.pathSeparator)) {
            path.add(Paths.get(part).toUri().toURL());
        }
        List<Path> files;
        try (Stream<Path> all = Files.walk(from)) {
            files = all.filter(file -> file.toString().endsWith(".class")).sorted().collect(Collectors.toList());
        }
        try (URLClassLoader loader = new URLClassLoader(path.toArray(new URL[0]))) {
            for (Path file : files) {
                ClassNode node = new ClassNode();
                new ClassReader(Files.readAllBytes(file)).accept(node, ClassReader.SKIP_FRAMES);
                Path to = Paths.get(arguments[1], node.name + ".smali");
                Files.createDirectories(to.getParent());
                try (PrintWriter out = new PrintWriter(Files.newBufferedWriter(to))) {
                    write(node, loader, out);
                }
            }
        }
    }

    private static void write(ClassNode node, ClassLoader loader, PrintWriter out) throws IOException {
        out.println(".class " + flags(node.access & ~Opcodes.ACC_SUPER, "class") + "L" + node.name + ";");
        out.println(".super L" + node.superName + ";");
        if (node.sourceFile != null) {
            out.println(".source " + text(node.sourceFile));
        }
        for (String implemented : node.interfaces) {
            out.println(".implements L" + implemented + ";");
        }
        for (FieldNode field : node.fields) {
            out.println(".field " + flags(field.access, "field") + field.name + ":" + field.desc + constant(field));
        }
        for (MethodNode method : node.methods) {
            if ((method.access & Opcodes.ACC_SYNCHRONIZED) != 0) {
                throw new IOException(node.name + "." + method.name + ": synchronized is not known here; use java.util.concurrent.locks");
            }
            boolean constructor = method.name.startsWith("<");
            out.println();
            out.println(".method " + flags(method.access, "method") + (constructor ? "constructor " : "") + method.name + method.desc);
            if ((method.access & (Opcodes.ACC_ABSTRACT | Opcodes.ACC_NATIVE)) == 0) {
                new Code(node, method, loader, out).write();
            }
            out.println(".end method");
        }
    }

    private static String constant(FieldNode field) {
        if (field.value == null) {
            return "";
        }
        if (field.value instanceof String) {
            return " = " + text((String) field.value);
        }
        if (field.desc.equals("Z")) {
            return " = " + (field.value.equals(1) ? "true" : "false");
        }
        if (field.value instanceof Long) {
            return " = " + field.value + "L";
        }
        if (field.value instanceof Integer) {
            String suffix = field.desc.equals("B") ? "t" : field.desc.equals("S") ? "s" : "";
            return " = " + (field.desc.equals("C") ? String.format("'\\u%04x'", (Integer) field.value) : field.value + suffix);
        }
        throw new IllegalArgumentException("a constant of type " + field.desc);
    }

    /** A string literal, in ASCII. */
    static String text(String value) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : value.toCharArray()) {
            if (c >= ' ' && c < 0x7F && c != '"' && c != '\\') {
                out.append(c);
            } else {
                out.append(String.format("\\u%04x", (int) c));
            }
        }
        return out.append('"').toString();
    }

    /** Access flags in words, a blank behind each. */
    private static String flags(int access, String of) {
        StringBuilder out = new StringBuilder();
        Object[][] names = {
            {Opcodes.ACC_PUBLIC, "public"}, {Opcodes.ACC_PRIVATE, "private"}, {Opcodes.ACC_PROTECTED, "protected"},
            {Opcodes.ACC_STATIC, "static"}, {Opcodes.ACC_FINAL, "final"},
            {Opcodes.ACC_VOLATILE, of.equals("field") ? "volatile" : of.equals("method") ? "bridge" : null},
            {Opcodes.ACC_TRANSIENT, of.equals("field") ? "transient" : of.equals("method") ? "varargs" : null},
            {Opcodes.ACC_INTERFACE, of.equals("class") ? "interface" : null}, {Opcodes.ACC_ABSTRACT, "abstract"},
            {Opcodes.ACC_SYNTHETIC, "synthetic"}, {Opcodes.ACC_ENUM, of.equals("method") ? null : "enum"},
        };
        for (Object[] name : names) {
            if ((access & (Integer) name[0]) != 0 && name[1] != null) {
                out.append(name[1]).append(' ');
            }
        }
        return out.toString();
    }

    /** The descriptor of a class or array by its internal name. */
    static String descriptor(String internal) {
        return internal.startsWith("[") ? internal : Type.getObjectType(internal).getDescriptor();
    }
}
