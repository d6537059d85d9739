//! The custom section `tapdoor`: who the module says that it is. Made by the compiler, so that lengths are right.

/// The version of the interface with the chip.
pub const INTERFACE: u8 = 1;

/// One program of a module.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// AID of the executable module, 5 to 16 bytes.
    pub aid: &'static [u8],
    /// The number by which the chip calls it.
    pub entry: u8,
    /// The lock's half of a method, which needs the lock's list; the phone's half otherwise.
    pub lock_half: bool,
    /// A name for people, at most 32 bytes.
    pub name: &'static str,
}

/// The section's content, filled up with 00 (which BER-TLV skips): `80{interface} 4F{elf} 81{version} E1{4F{AID} 82{entry} 83{role} 84{name}}..`.
///
/// Evaluated by the compiler: content that is longer than N does not compile.
#[must_use]
pub const fn declaration<const N: usize>(elf: &[u8], version: [u8; 2], programs: &[Program]) -> [u8; N] {
    let mut section = Section { bytes: [0; N], length: 0 };
    section = section.object(0x80, &[INTERFACE]).object(0x4F, elf).object(0x81, &version);
    let mut n = 0;
    while n < programs.len() {
        let program = &programs[n];
        let name = program.name.as_bytes();
        let role = if program.lock_half { 2 } else { 1 };
        // Four objects of two bytes before each value; far below 128 by the limits of AID and name.
        section = section.header(0xE1, 10 + program.aid.len() + name.len());
        section = section.object(0x4F, program.aid).object(0x82, &[program.entry]);
        section = section.object(0x83, &[role]).object(0x84, name);
        n += 1;
    }
    section.bytes
}

struct Section<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Section<N> {
    const fn header(mut self, tag: u8, length: usize) -> Self {
        assert!(length < 0x80, "an AID has at most 16 bytes, a name at most 32");
        self.bytes[self.length] = tag;
        self.bytes[self.length + 1] = length as u8;
        self.length += 2;
        self
    }

    const fn object(self, tag: u8, value: &[u8]) -> Self {
        let mut section = self.header(tag, value.len());
        let mut n = 0;
        while n < value.len() {
            section.bytes[section.length] = value[n];
            section.length += 1;
            n += 1;
        }
        section
    }
}
