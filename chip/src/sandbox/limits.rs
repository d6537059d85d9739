//! How much a downloaded applet may use.

/// Limits of the sandbox. The defaults are far above what the methods of this project need, and far below what would hurt the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest module, in bytes.
    pub module: usize,
    /// Linear memory of one instance, in bytes; whole pages of 65,536 count.
    pub memory: usize,
    /// Fuel for one SELECT, command or deselection: about one unit per instruction, and what [`super::abi`] says per host function.
    pub fuel: u64,
    /// Nested calls within the module.
    pub recursion: usize,
    /// Functions of a module.
    pub functions: u32,
    /// Globals of a module.
    pub globals: u32,
    /// Elements of its table.
    pub table: usize,
    /// Longest answer to one command, in bytes.
    pub answer: usize,
    /// Events of one command.
    pub events: usize,
    /// Records written by one command.
    pub records: usize,
    /// Transient keys held at one time.
    pub keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            module: 256 * 1024,
            memory: 256 * 1024,
            fuel: 2_000_000,
            recursion: 256,
            functions: 4096,
            globals: 64,
            table: 1024,
            answer: 32 * 1024,
            events: 8,
            records: 8,
            keys: 16,
        }
    }
}
