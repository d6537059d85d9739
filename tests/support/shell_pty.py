"""`tapdoor shell` at a pseudo-terminal: prompt, completion, hints, Ctrl-C, history, Ctrl-D.

    shell_pty.py PROGRAM

Exit status 0, or 1 with what was seen and what was waited for. Standard library only.
"""

import os
import pty
import re
import select
import signal
import sys
import time

LIMIT = 60.0


class Terminal:
    def __init__(self, arguments):
        self.seen = ""
        self.mark = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.environ["NO_COLOR"] = "1"
            os.execv(arguments[0], arguments)

    def type(self, text):
        self.mark = len(self.seen)
        os.write(self.fd, text.encode())

    def read(self, limit):
        ready, _, _ = select.select([self.fd], [], [], limit)
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        if not data:
            return False
        text = data.decode(errors="replace")
        # A terminal is asked where its cursor is.
        if "\x1b[6n" in text:
            os.write(self.fd, b"\x1b[1;1R")
        self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
        return True

    def wait(self, pattern):
        end = time.monotonic() + LIMIT
        while not re.search(pattern, self.seen[self.mark:]):
            if time.monotonic() > end or not self.read(max(0.0, end - time.monotonic())):
                sys.exit(f"waited for {pattern!r} in vain; since then:\n{self.seen[self.mark:]!r}\nall:\n{self.seen}")

    def ends(self):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            self.read(0.05)
        os.kill(self.pid, signal.SIGKILL)
        sys.exit("it does not end")


def main():
    shell = Terminal([sys.argv[1], "shell", "--reader", "sim:"])
    shell.wait(r"sim: \(no card\)> ")
    # The prompt follows reader, card and application.
    shell.type("select aka\r")
    shell.wait(r"9000")
    shell.wait(r"sim: aka> ")
    # Exactly what was typed.
    shell.type("80 88 00 00 04 01 02 03 04\r")
    shell.wait(r"> 808800000401020304")
    shell.wait(r"6700")
    shell.wait(r"sim: aka> ")
    # Completion of a command, and of an application by its name.
    shell.type("sel\tchallenge\t\r")
    shell.wait(r"00a4040009f0544150444f4f520100")
    shell.wait(r"sim: challenge-response> ")
    # The form of a command is hinted at.
    shell.type("expect ")
    shell.wait(r"sw\|data\|tag")
    # Ctrl-C takes back the line,
    shell.type("\x03")
    shell.wait(r"sim: challenge-response> ")
    # and stops a command, and not the shell.
    shell.type("wait 600s\r")
    time.sleep(0.5)
    shell.type("\x03")
    shell.wait(r"stopped")
    shell.wait(r"sim: challenge-response> ")
    # A value, and its name completed.
    shell.type("let nonce = a1a2a3a4\r")
    shell.wait(r"> \r?$")
    shell.type("expect equal {non\t a1a2a3a4\r")
    shell.wait(r"sim: challenge-response> ")
    # A block goes on over lines until its brace.
    shell.type("for x in 0a 0b {\r")
    shell.type("note seen-{x}\r")
    shell.type("}\r")
    shell.wait(r"seen-0a[\s\S]*seen-0b")
    shell.wait(r"sim: challenge-response> ")
    # What fails is told, and the shell goes on. A line that begins with a space is not kept.
    shell.type(" nonsense 0102030405\r")
    shell.wait(r"no command")
    shell.wait(r"sim: challenge-response> ")
    shell.type("release\r")
    shell.wait(r"sim: \(no card\)> ")
    shell.type("reader tape:/nowhere\r")
    shell.wait(r"/nowhere")
    shell.wait(r"> \r?$")
    shell.type("\x04")
    status = shell.ends()
    if status != 0:
        sys.exit(f"exit status {status}")
    # The lines of before are there again: arrow up.
    again = Terminal([sys.argv[1], "shell"])
    again.wait(r"\(no reader\)> ")
    again.type("\x1b[A")
    again.wait(r"reader tape:/nowhere")
    again.type("\x03")
    again.wait(r"\(no reader\)> ")
    again.type("quit\r")
    if again.ends() != 0:
        sys.exit("the second one ended badly")


main()
