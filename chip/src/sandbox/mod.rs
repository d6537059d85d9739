//! Downloaded applets: WebAssembly modules, run with limited fuel and memory (docs/applets.md).
//!
//! | module | what |
//! |---|---|
//! | [`limits`] | how much an applet may use |
//! | [`declaration`] | what a module says that it is |
//! | [`code`] | a module that was checked and compiled once |
//! | [`abi`] | the host functions: names, types, prices |
//! | [`error`] | why a module is refused, why an applet is stopped |
//!
//! An applet that loops, allocates, recurses, traps, points beyond its memory, floods or lies about itself is stopped: its command is
//! answered 6F00, what it wrote in that command is not stored, its instance and its session keys are gone, and the next SELECT begins anew.

pub mod abi;
mod applet;
pub mod code;
pub mod declaration;
pub mod error;
mod host;
mod instance;
pub mod limits;
mod sections;

pub use code::Code;
pub use declaration::{Declaration, ModuleInfo};
pub use error::{Fault, SandboxError};
pub use limits::Limits;
