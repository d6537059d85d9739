//! Why a module is refused when it is loaded, and why an applet is stopped while it runs.

use tapdoor_protocol::aid::Aid;

/// Why a module is not taken into the sandbox. Nothing of it has run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// More bytes than [`super::Limits::module`].
    #[error("the module has {got} bytes, and the chip takes {limit}: build it smaller, or raise the limit")]
    TooLarge {
        /// Its length.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// Not WebAssembly, or WebAssembly that this chip does not run (floating point, SIMD, 64-bit memories, several memories).
    #[error("not a WebAssembly module that this chip runs: {0}")]
    Invalid(String),
    /// More of something than the limits allow.
    #[error("the module has {got} {what}, and the chip takes {limit}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        got: u32,
        /// The limit.
        limit: u32,
    },
    /// A start function, which would run before the applet is selected.
    #[error("the module has a start function: an applet runs only when it is selected")]
    Start,
    /// An import that the chip does not give.
    #[error("the module imports \"{module}\".\"{name}\": {reason} (docs/applets.md lists what may be imported)")]
    Import {
        /// Module of the import.
        module: String,
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An export that is missing or of another type.
    #[error("the module does not export {name} as {expected}")]
    Export {
        /// Which.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The custom section `tapdoor` is missing or not as docs/applets.md says.
    #[error("the custom section \"tapdoor\": {0}")]
    Declaration(&'static str),
    /// Made for another version of the interface.
    #[error(
        "the module speaks version {got} of the applet interface, this chip version {}",
        super::abi::VERSION
    )]
    Abi {
        /// Its version.
        got: u8,
    },
    /// The load file says another name or version than the module in it.
    #[error("the load file is named {expected} version {}.{}, and the module in it says {got} version {}.{}",
        expected_version[0], expected_version[1], got_version[0], got_version[1])]
    Identity {
        /// AID of the load file.
        expected: Aid,
        /// Its version.
        expected_version: [u8; 2],
        /// AID in the custom section.
        got: Aid,
        /// Version in the custom section.
        got_version: [u8; 2],
    },
    /// No module of this AID in the code.
    #[error("the code has no module {0}")]
    UnknownModule(Aid),
    /// The module cannot be set up: its data do not fit into its memory, or its memory not into the limit.
    #[error("the module cannot be set up within {memory} bytes of memory: {reason}")]
    Instantiate {
        /// [`super::Limits::memory`].
        memory: usize,
        /// What happened.
        reason: String,
    },
}

/// Why an applet was stopped. Its command is answered 6F00, what it wrote in that command is not stored, its session keys are wiped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It ran too long.
    #[error("it used up its fuel of {limit} units for one command: it loops, or needs a higher limit")]
    Fuel {
        /// [`super::Limits::fuel`].
        limit: u64,
    },
    /// A trap of WebAssembly: unreachable, division by zero, memory or table out of bounds, too deep a recursion.
    #[error("it trapped: {0}")]
    Trap(String),
    /// A pointer and length that do not lie within its memory.
    #[error("it called {function} with {length} bytes at {pointer:#x}, beyond its memory of {memory} bytes")]
    Pointer {
        /// The host function.
        function: &'static str,
        /// Where.
        pointer: u32,
        /// How many bytes.
        length: u32,
        /// The size of its memory.
        memory: usize,
    },
    /// A number that the host function does not know.
    #[error("it called {function} with a wrong {what}: {got}")]
    Argument {
        /// The host function.
        function: &'static str,
        /// Which argument.
        what: &'static str,
        /// Its value.
        got: u32,
    },
    /// More of something in one command than the limits allow.
    #[error("it made more than {limit} {what} in one command")]
    Flood {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Something that is no status word of an application.
    #[error("it returned {0:#x}, which is no status word (9000, 62XX to 6FXX without 6CXX, 9XXX)")]
    Status(i32),
    /// An FCI with another AID than its own.
    #[error("its FCI says another AID than its own")]
    Identity,
    /// It could not be set up.
    #[error("it cannot be set up: {0}")]
    Instantiate(String),
}
